//! Below the plot: what colours and signs mean, and what the numbers stand for.

use std::collections::BTreeSet;

use svg::node::element::Group;

use super::{
    Class,
    draw::{Frame, MARGIN, SMALL, WIDTH, flag, rectangle, text},
    glyph,
    measure::{shorten, text_width},
    palette::FAINT_TEXT,
};

const LINE: f64 = 19.0;
/// Room for a time in a list.
const TIMES: f64 = 58.0;
const SMALLEST: f64 = 9.0;
/// A key's swatch holds its id.
const SWATCH: (f64, f64) = (24.0, 13.0);
/// So many keys are shown; by then the colours have come round several times.
const MOST_KEYS: usize = 40;

/// Puts things beside each other, and begins a new line where there is no room.
struct Flow {
    x: f64,
    y: f64,
}

impl Flow {
    fn take(&mut self, width: f64) -> (f64, f64) {
        if self.x + width > WIDTH - MARGIN && self.x > MARGIN {
            self.x = MARGIN;
            self.y += LINE;
        }
        let place = (self.x, self.y);
        self.x += width;
        place
    }
}

/// What is used in the chart, and nothing else.
pub(super) fn legend(frame: &Frame<'_>, y: &mut f64) -> Group {
    let mut states = BTreeSet::new();
    let mut signs = BTreeSet::new();
    let chart = frame.chart;
    for lane in &chart.lanes {
        states.extend(lane.spans.iter().map(|span| group_of(span.class)));
        signs.extend(lane.marks.iter().map(|mark| group_of(mark.class)));
    }
    states.extend(chart.phases.iter().map(|phase| phase.class));
    signs.extend(chart.marks.iter().map(|mark| mark.class));
    let mut group = Group::new().set("class", "legend");
    let mut flow = Flow {
        x: MARGIN,
        y: *y + 14.0,
    };
    for class in states {
        let Some(label) = class.legend() else { continue };
        let (x, y) = flow.take(SWATCH.0 + 6.0 + text_width(label, SMALL) + 14.0);
        group = group
            .add(swatch(frame, class, x, y))
            .add(text(label, x + SWATCH.0 + 6.0, y, SMALL));
    }
    for class in signs {
        let Some(label) = class.legend() else { continue };
        let (x, y) = flow.take(20.0 + text_width(label, SMALL) + 14.0);
        let sign = glyph::sign(class, &frame.keys, x + 7.0, y - 4.0, 6.5);
        group = group.add(sign).add(text(label, x + 20.0, y, SMALL));
    }
    let keys = frame.keys.order();
    if !keys.is_empty() {
        if flow.x > MARGIN {
            flow = Flow {
                x: MARGIN,
                y: flow.y + LINE,
            };
        }
        let label = "keys sent with, in order:";
        let (x, y) = flow.take(text_width(label, SMALL) + 6.0);
        group = group.add(text(label, x, y, SMALL));
        for id in keys.iter().take(MOST_KEYS) {
            let (x, y) = flow.take(SWATCH.0 + 4.0);
            let id_text = text(id.to_string(), x + SWATCH.0 / 2.0, y - 0.5, SMALL - 1.5);
            group = group
                .add(swatch(frame, Class::Key(*id), x, y))
                .add(id_text.set("text-anchor", "middle"));
        }
        if keys.len() > MOST_KEYS {
            let (x, y) = flow.take(20.0);
            group = group.add(text("…", x, y, SMALL));
        }
    }
    *y = flow.y + 10.0;
    group
}

fn swatch(frame: &Frame<'_>, class: Class, x: f64, y: f64) -> Group {
    let look = frame.keys.look(class);
    let fill = match look.hatch {
        Some(_) => format!("url(#hatch-{})", class.name()),
        None => look.fill.to_owned(),
    };
    let box_ = rectangle(x, y - SWATCH.1 + 2.5, SWATCH.0, SWATCH.1);
    Group::new().add(
        box_.set("fill", fill)
            .set("stroke", "#9a9a9a")
            .set("stroke-width", 0.6),
    )
}

/// All manual keys are one entry; keys have a list of their own.
const fn group_of(class: Class) -> Class {
    match class {
        Class::ManualKey(_) => Class::ManualKey(0),
        Class::Key(_) => Class::Key(0),
        other => other,
    }
}

/// The steps and the numbered events, in columns.
pub(super) fn lists(frame: &Frame<'_>, y: &mut f64) -> Group {
    let mut group = Group::new().set("class", "lists");
    let steps: Vec<(String, String)> = frame
        .phases()
        .map(|phase| (frame.time(phase.from_ms), phase.text.clone()))
        .collect();
    let events = frame.events();
    if !steps.is_empty() {
        let texts: Vec<&str> = steps.iter().map(|(_, text)| text.as_str()).collect();
        group = list(group, "Steps", &texts, y, |at, x, y, room| {
            let (time, words) = &steps[at];
            entry(time, words, x, y, room)
                .add(text((at + 1).to_string(), x + 8.5, y, SMALL).set("text-anchor", "middle"))
        });
    }
    if !events.is_empty() {
        let texts: Vec<&str> = events.iter().map(|event| event.text.as_str()).collect();
        group = list(group, "Events", &texts, y, |at, x, y, room| {
            let event = events[at];
            let time = frame.time(event.at_ms);
            entry(&time, &event.text, x, y, room).add(flag(frame, event, at + 1, x + 8.5, y - 4.0))
        });
    }
    group
}

fn entry(time: &str, words: &str, x: f64, y: f64, room: f64) -> Group {
    let room = room - TIMES - 44.0;
    // A little too long is written a little smaller.
    let size = (SMALL * room / text_width(words, SMALL).max(1.0)).clamp(SMALLEST, SMALL);
    let time = text(time, x + 20.0 + TIMES, y, SMALL)
        .set("text-anchor", "end")
        .set("fill", FAINT_TEXT);
    Group::new()
        .add(time)
        .add(text(shorten(words, size, room), x + 28.0 + TIMES, y, size))
}

/// Columns that are filled from top to bottom: as many as keep the list short, and fewer where the longest entry would
/// not fit. An entry is drawn at a place, into so much room.
fn list(
    mut group: Group,
    title: &str,
    texts: &[&str],
    y: &mut f64,
    draw: impl Fn(usize, f64, f64, f64) -> Group,
) -> Group {
    let count = texts.len();
    let most = match count {
        0..=4 => 1,
        5..=12 => 2,
        _ => 3,
    };
    let longest = texts.iter().map(|text| text_width(text, SMALL * 0.9));
    let longest = longest.fold(0.0, f64::max) + TIMES + 44.0;
    let fits = |columns: &usize| longest <= (WIDTH - 2.0 * MARGIN) / *columns as f64;
    // A long list of long entries is cut instead.
    let least = if count > 40 { 2 } else { 1 };
    let columns = (1..=most).rev().find(fits).unwrap_or(1).max(least);
    let height = count.div_ceil(columns);
    let width = (WIDTH - 2.0 * MARGIN) / columns as f64;
    *y += LINE;
    group = group.add(text(title, MARGIN, *y, SMALL + 1.0).set("font-weight", "bold"));
    for at in 0..count {
        let x = MARGIN + (at / height) as f64 * width;
        let down = (at % height + 1) as f64 * LINE;
        group = group.add(draw(at, x, *y + down, width));
    }
    *y += height as f64 * LINE + 6.0;
    group
}
