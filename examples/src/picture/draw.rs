//! From a chart to elements: the frame, the strips above the plot, and the bands.

use svg::{
    Document,
    node::element::{Circle, Definitions, Group, Line, Pattern, Rectangle, Text, Title},
};

use super::{
    Chart, Class, Lane, Mark, Span,
    glyph::{self, round},
    legend,
    measure::{Scale, rows, shorten, text_width, widest_gap},
    palette::{BACKGROUND, FAINT_TEXT, GRID, Keys, SHADE, STALL, TEXT, TRACK},
};

pub(super) const WIDTH: f64 = 1400.0;
pub(super) const MARGIN: f64 = 24.0;
/// Font size of the lists and of the axis.
pub(super) const SMALL: f64 = 11.0;
const FONT: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// All lanes together are about so high, as far as they stay readable.
const LANES_HEIGHT: f64 = 820.0;
const LANE_HEIGHTS: (f64, f64) = (10.0, 20.0);
/// Of the strip of steps, and of the flags below it.
const PHASE_HEIGHT: f64 = 18.0;
const FLAG: f64 = 17.0;
/// Ticks are so far apart at least.
const TICKS: f64 = 64.0;

/// What all parts of the picture need to know.
pub(super) struct Frame<'c> {
    pub(super) chart: &'c Chart,
    pub(super) keys: Keys,
    pub(super) scale: Scale,
    lane: f64,
    gap: f64,
    label: f64,
}

pub(super) fn document(chart: &Chart) -> Document {
    let frame = Frame::new(chart);
    let mut body = Group::new();
    let mut y = MARGIN;
    body = heading(&frame, body, &mut y);
    let (strips, top) = strips(&frame, y);
    let bottom = top + frame.height();
    body = body.add(backdrop(&frame, top, bottom)).add(strips);
    body = body.add(tick_labels(&frame, top, bottom));
    let mut band_top = top;
    for band in bands(&chart.lanes) {
        body = body.add(frame.band(band, band_top));
        band_top += frame.band_height(band);
    }
    body = body.add(frame.stalls(top, bottom));
    y = bottom + 24.0;
    body = body.add(legend::legend(&frame, &mut y));
    body = body.add(legend::lists(&frame, &mut y));
    let height = (y + MARGIN / 2.0).ceil();
    Document::new()
        .set("width", WIDTH)
        .set("height", height)
        .set("viewBox", (0, 0, WIDTH as u32, height as u32))
        .set("font-family", FONT)
        .set("role", "img")
        .add(Title::new(chart.title.as_str()))
        .add(definitions(&frame))
        .add(rectangle(0.0, 0.0, WIDTH, height).set("fill", BACKGROUND))
        .add(body)
}

impl<'c> Frame<'c> {
    fn new(chart: &'c Chart) -> Self {
        let count = chart.lanes.len().max(1);
        let lane = (LANES_HEIGHT / count as f64)
            .floor()
            .clamp(LANE_HEIGHTS.0, LANE_HEIGHTS.1);
        let label = (lane * 0.62).clamp(7.5, SMALL);
        let names = chart
            .lanes
            .iter()
            .map(|lane| text_width(&lane.router, label + 2.0));
        let labels = chart.lanes.iter().map(|lane| text_width(&lane.label, label));
        let gutter = names.fold(0.0, f64::max) + labels.fold(0.0, f64::max) + 26.0;
        let left = MARGIN + gutter.clamp(80.0, 330.0);
        Self {
            chart,
            keys: Keys::of(chart),
            scale: Scale {
                from_ms: chart.from_ms,
                to_ms: chart.to_ms,
                left,
                width: WIDTH - MARGIN - left,
            },
            lane,
            gap: (lane * 0.55).round(),
            label,
        }
    }

    fn band_height(&self, band: &[Lane]) -> f64 {
        band.len() as f64 * self.lane + self.gap
    }

    fn height(&self) -> f64 {
        bands(&self.chart.lanes).map(|band| self.band_height(band)).sum()
    }

    /// A time of the chart, as it is written.
    pub(super) fn time(&self, at_ms: u64) -> String {
        self.scale.time_text(at_ms)
    }

    /// One router.
    fn band(&self, band: &[Lane], top: f64) -> Group {
        let router = band.first().map_or("", |lane| lane.router.as_str());
        let top = top + self.gap / 2.0;
        let height = band.len() as f64 * self.lane;
        let size = self.label + 2.0;
        let room = self.scale.left - MARGIN - 8.0;
        let mut group = Group::new()
            .set("class", "router")
            .set("data-router", router)
            .add(
                text(
                    shorten(router, size, room),
                    MARGIN,
                    top + height / 2.0 + size * 0.36,
                    size,
                )
                .set("font-weight", "bold"),
            );
        for (at, lane) in band.iter().enumerate() {
            group = group.add(self.lane(lane, top + at as f64 * self.lane));
        }
        group
    }

    fn lane(&self, lane: &Lane, top: f64) -> Group {
        let middle = top + self.lane / 2.0;
        let bar = self.lane - 2.0;
        let label = text(
            lane.label.as_str(),
            self.scale.left - 8.0,
            middle + self.label * 0.36,
            self.label,
        )
        .set("text-anchor", "end")
        .set("fill", FAINT_TEXT);
        let mut group = Group::new()
            .set("class", "lane")
            .set("data-lane", lane.label.as_str())
            .add(label)
            .add(rectangle(self.scale.left, top + 1.0, self.scale.width, bar).set("fill", TRACK));
        let marks: Vec<&Mark> = lane
            .marks
            .iter()
            .filter(|mark| self.scale.contains(mark.at_ms))
            .collect();
        let taken = marks.iter().map(|mark| mark.at_ms);
        let points: Vec<f64> = taken
            .chain(self.stall_ends())
            .map(|at| self.scale.x(at))
            .collect();
        for span in &lane.spans {
            if let Some(drawn) = self.span(span, top + 1.0, bar, &points) {
                group = group.add(drawn);
            }
        }
        // Those that matter most lie on top.
        let mut marks: Vec<&Mark> = marks;
        marks.sort_by_key(|mark| (mark.class, mark.at_ms));
        for mark in marks {
            let sign = glyph::sign(
                mark.class,
                &self.keys,
                self.scale.x(mark.at_ms),
                middle,
                self.lane * 0.42,
            );
            let title = format!("{}: {}", self.time(mark.at_ms), mark.text);
            group = group.add(
                sign.set("class", format!("mark {}", mark.class.name()))
                    .add(Title::new(title)),
            );
        }
        group
    }

    fn span(&self, span: &Span, top: f64, height: f64, points: &[f64]) -> Option<Group> {
        if span.to_ms <= self.scale.from_ms || span.from_ms >= self.scale.to_ms || span.to_ms <= span.from_ms
        {
            return None;
        }
        let from = self.scale.x(span.from_ms);
        // Short is still seen.
        let to = self.scale.x(span.to_ms).max(from + 1.0).min(self.scale.right());
        let look = self.keys.look(span.class);
        let fill = match look.hatch {
            Some(_) => format!("url(#hatch-{})", span.class.name()),
            None => look.fill.to_owned(),
        };
        let short = span.class.short();
        let title = format!(
            "{} to {}: {}",
            self.time(span.from_ms),
            self.time(span.to_ms),
            if span.text.is_empty() { &short } else { &span.text }
        );
        let edge = if look.fill == BACKGROUND || span.class == Class::Left {
            "#9a9a9a"
        } else {
            BACKGROUND
        };
        let mut group = Group::new()
            .set("class", format!("span {}", span.class.name()))
            .add(
                rectangle(from, top, to - from, height)
                    .set("fill", fill)
                    .set("stroke", edge)
                    .set("stroke-width", if to - from > 3.0 { 0.6 } else { 0.0 })
                    .add(Title::new(title)),
            );
        let size = (height * 0.72).clamp(6.5, SMALL);
        let (gap_from, gap_to) = widest_gap(from, to, points, self.lane * 0.5);
        let fits = |text: &&str| !text.is_empty() && text_width(text, size) + 4.0 <= gap_to - gap_from;
        if let Some(label) = [span.text.as_str(), short.as_str()]
            .iter()
            .find(|text| fits(text))
        {
            let middle = (gap_from + gap_to) / 2.0;
            if look.hatch.is_some() {
                let width = text_width(label, size) + 3.0;
                let plate = rectangle(middle - width / 2.0, top + 1.0, width, height - 2.0);
                group = group.add(
                    plate
                        .set("fill", look.fill)
                        .set("opacity", 0.85)
                        .set("pointer-events", "none"),
                );
            }
            group = group.add(
                text(*label, middle, top + height / 2.0 + size * 0.36, size)
                    .set("text-anchor", "middle")
                    .set("fill", look.text)
                    .set("pointer-events", "none"),
            );
        }
        Some(group)
    }

    /// Times at which the machine stood still, over everything.
    fn stalls(&self, top: f64, bottom: f64) -> Group {
        let mut group = Group::new().set("class", "stalls");
        let stalls = self
            .chart
            .phases
            .iter()
            .filter(|phase| phase.class == Class::Stall);
        for stall in stalls.filter(|stall| self.shows(stall)) {
            let from = self.scale.x(stall.from_ms);
            let width = (self.scale.x(stall.to_ms) - from).max(1.5);
            let title = format!(
                "{} to {}: {}",
                self.time(stall.from_ms),
                self.time(stall.to_ms),
                stall.text
            );
            group = group.add(
                rectangle(from, top, width, bottom - top)
                    .set("class", "stall")
                    .set("fill", "url(#hatch-stall)")
                    .set("opacity", 0.7)
                    .set("stroke", STALL)
                    .set("stroke-width", 0.6)
                    .add(Title::new(title)),
            );
        }
        group
    }

    /// Where no text should be.
    fn stall_ends(&self) -> impl Iterator<Item = u64> {
        let phases = self.chart.phases.iter();
        let stalls = phases.filter(|phase| phase.class == Class::Stall && self.shows(phase));
        stalls.flat_map(|stall| [stall.from_ms, stall.to_ms])
    }

    const fn shows(&self, span: &Span) -> bool {
        span.from_ms < self.scale.to_ms && self.scale.from_ms < span.to_ms
    }

    /// The steps of the scenario, in their order.
    pub(super) fn phases(&self) -> impl Iterator<Item = &'c Span> {
        let phases = self.chart.phases.iter();
        phases.filter(|phase| phase.class != Class::Stall && self.shows(phase))
    }

    /// The numbered events, in the order of time.
    pub(super) fn events(&self) -> Vec<&'c Mark> {
        let marks = self.chart.marks.iter();
        let mut marks: Vec<&Mark> = marks.filter(|mark| self.scale.contains(mark.at_ms)).collect();
        marks.sort_by_key(|mark| mark.at_ms);
        marks
    }
}

/// Lanes of one router that follow each other.
fn bands(lanes: &[Lane]) -> impl Iterator<Item = &[Lane]> {
    lanes.chunk_by(|one, other| one.router == other.router)
}

fn heading(frame: &Frame<'_>, body: Group, y: &mut f64) -> Group {
    let room = WIDTH - 2.0 * MARGIN;
    *y += 10.0;
    let title = text(shorten(&frame.chart.title, 19.0, room), MARGIN, *y, 19.0);
    let body = body.add(title.set("font-weight", "bold"));
    *y += 10.0;
    if frame.chart.subtitle.is_empty() {
        return body;
    }
    *y += 10.0;
    let subtitle = text(shorten(&frame.chart.subtitle, 12.0, room), MARGIN, *y, 12.0);
    *y += 8.0;
    body.add(subtitle.set("fill", FAINT_TEXT))
}

/// Steps and flags above the plot. Where the plot begins.
fn strips(frame: &Frame<'_>, top: f64) -> (Group, f64) {
    let mut group = Group::new();
    let scale = &frame.scale;
    let mut y = top + 6.0;
    let phases: Vec<&Span> = frame.phases().collect();
    for (at, phase) in phases.iter().enumerate() {
        let (from, to) = (scale.x(phase.from_ms), scale.x(phase.to_ms));
        let number = (at + 1).to_string();
        let long = format!("{number}  {}", phase.text);
        let size = SMALL;
        let fits = |text: &&String| text_width(text, size) + 4.0 <= to - from;
        group = group.add(
            rectangle(from, y, to - from, PHASE_HEIGHT)
                .set("class", "phase")
                .set("fill", if at % 2 == 0 { "#e7e7e0" } else { SHADE })
                .set("stroke", BACKGROUND)
                .add(Title::new(long.as_str())),
        );
        if let Some(label) = [&long, &number].into_iter().find(fits) {
            group = group.add(
                text(
                    label.as_str(),
                    (from + to) / 2.0,
                    y + PHASE_HEIGHT / 2.0 + size * 0.36,
                    size,
                )
                .set("text-anchor", "middle"),
            );
        }
    }
    if !phases.is_empty() {
        y += PHASE_HEIGHT + 4.0;
    }
    let events = frame.events();
    let places: Vec<(f64, f64)> = events
        .iter()
        .map(|event| {
            (
                scale.x(event.at_ms) - FLAG / 2.0 - 1.0,
                scale.x(event.at_ms) + FLAG / 2.0 + 1.0,
            )
        })
        .collect();
    let rows = rows(&places);
    let depth = rows.iter().max().map_or(0, |row| row + 1);
    let plot = y + depth as f64 * (FLAG + 2.0) + 22.0;
    let bottom = plot + frame.height();
    let (mut poles, mut flags) = (Group::new(), Group::new());
    // The first row is the lowest.
    for (at, (event, row)) in events.iter().zip(&rows).enumerate() {
        let x = scale.x(event.at_ms);
        let middle = y + (depth - 1 - row) as f64 * (FLAG + 2.0) + FLAG / 2.0;
        poles = poles.add(
            line((x, middle), (x, bottom))
                .set("stroke", "#555555")
                .set("stroke-width", 0.7)
                .set("stroke-dasharray", "2,3"),
        );
        flags = flags.add(flag(frame, event, at + 1, x, middle));
    }
    (group.add(poles).add(flags), plot)
}

/// An event's number in a circle.
pub(super) fn flag(frame: &Frame<'_>, event: &Mark, number: usize, x: f64, y: f64) -> Group {
    let look = frame.keys.look(event.class);
    let (fill, ink) = match event.class {
        Class::Return => (BACKGROUND, TEXT),
        _ => (look.fill, look.text),
    };
    let size = if number > 99 { 7.5 } else { 9.0 };
    Group::new()
        .set("class", format!("event {}", event.class.name()))
        .add(
            Circle::new()
                .set("cx", round(x))
                .set("cy", round(y))
                .set("r", FLAG / 2.0 - 0.5)
                .set("fill", fill)
                .set("stroke", TEXT)
                .set("stroke-width", 0.8),
        )
        .add(
            text(number.to_string(), x, y + size * 0.36, size)
                .set("text-anchor", "middle")
                .set("fill", ink),
        )
        .add(Title::new(format!("{}: {}", frame.time(event.at_ms), event.text)))
}

/// Shading of the steps, and a line for each tick of the time axis.
fn backdrop(frame: &Frame<'_>, top: f64, bottom: f64) -> Group {
    let scale = &frame.scale;
    let mut group = Group::new().set("class", "axis");
    for phase in frame.phases().skip(1).step_by(2) {
        let (from, to) = (scale.x(phase.from_ms), scale.x(phase.to_ms));
        group = group.add(rectangle(from, top, to - from, bottom - top).set("fill", SHADE));
    }
    for (at, _) in scale.ticks(TICKS) {
        let x = scale.x(at);
        group = group.add(
            line((x, top - 3.0), (x, bottom + 3.0))
                .set("stroke", GRID)
                .set("stroke-width", 1),
        );
    }
    group
}

/// Over the poles of events, each with a halo.
fn tick_labels(frame: &Frame<'_>, top: f64, bottom: f64) -> Group {
    let mut group = Group::new().set("class", "axis");
    for (at, label) in frame.scale.ticks(TICKS) {
        let x = frame.scale.x(at);
        for y in [top - 7.0, bottom + 14.0] {
            group = group.add(
                text(label.as_str(), x, y, SMALL - 1.0)
                    .set("text-anchor", "middle")
                    .set("fill", FAINT_TEXT)
                    .set("stroke", BACKGROUND)
                    .set("stroke-width", 4)
                    .set("paint-order", "stroke"),
            );
        }
    }
    group
}

/// One hatching for each class that has one.
fn definitions(frame: &Frame<'_>) -> Definitions {
    let hatched = [Class::Initial, Class::Blocked, Class::Forming, Class::Stall];
    let mut definitions = Definitions::new();
    for class in hatched {
        let look = frame.keys.look(class);
        let Some(colour) = look.hatch else { continue };
        let ground = if class == Class::Stall { "none" } else { look.fill };
        let step = if class == Class::Blocked { 4.0 } else { 6.0 };
        definitions = definitions.add(
            Pattern::new()
                .set("id", format!("hatch-{}", class.name()))
                .set("width", step)
                .set("height", step)
                .set("patternUnits", "userSpaceOnUse")
                .set(
                    "patternTransform",
                    if class == Class::Forming {
                        "rotate(-45)"
                    } else {
                        "rotate(45)"
                    },
                )
                .add(rectangle(0.0, 0.0, step, step).set("fill", ground))
                .add(rectangle(0.0, 0.0, 1.4, step).set("fill", colour)),
        );
    }
    definitions
}

pub(super) fn rectangle(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new()
        .set("x", round(x))
        .set("y", round(y))
        .set("width", round(width.max(0.0)))
        .set("height", round(height.max(0.0)))
}

fn line(from: (f64, f64), to: (f64, f64)) -> Line {
    Line::new()
        .set("x1", round(from.0))
        .set("y1", round(from.1))
        .set("x2", round(to.0))
        .set("y2", round(to.1))
}

pub(super) fn text(words: impl Into<String>, x: f64, y: f64, size: f64) -> Text {
    Text::new(words)
        .set("x", round(x))
        .set("y", round(y))
        .set("font-size", round(size))
        .set("fill", TEXT)
}
