//! A picture of what happened on a network, as an SVG: time runs from left to right, and each router is a band of lanes.
//!
//! A [`Chart`] says what was; how it looks is decided here. Lanes of one router stand together in the order in which
//! they are given, usually its role, the id of the key that it sends with, and its adjacencies. What concerns the whole
//! network (the steps of a scenario, what the laboratory did, a stall of the machine) goes through all bands, is
//! numbered, and is written out below the plot, so that no text has to fit between two events.
//!
//! Colours are told apart also by those who do not see all colours (roles and states after Okabe and Ito, keys after
//! Tol's light scheme), and what matters most differs in hatching or shape too. The same chart always makes the same
//! octets. Elements carry `data-router`, `data-lane` and `class` attributes, and every span and mark a `title`, which a
//! browser shows under the pointer.
//!
//! ```
//! use karp_examples::picture::{Chart, Class, Lane, Span};
//!
//! let mut role = Lane::new("r1", "role");
//! role.spans.push(Span::new(0, 800, Class::Initial, ""));
//! role.spans.push(Span::new(800, 10_000, Class::Gcks, ""));
//! let chart = Chart {
//!     title: "one router".to_owned(),
//!     to_ms: 10_000,
//!     lanes: vec![role],
//!     ..Chart::default()
//! };
//! assert!(chart.svg().contains("data-router=\"r1\""));
//! ```

mod draw;
mod glyph;
mod legend;
mod measure;
mod palette;

use std::{fs, io, path::Path};

/// What is shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chart {
    /// The heading.
    pub title: String,
    /// A line below it: when, with what, how it ended. May be empty.
    pub subtitle: String,
    /// The left end of the time axis in milliseconds, on the clock of all other times here. The axis counts from it.
    pub from_ms: u64,
    /// The right end.
    pub to_ms: u64,
    /// What went on for a while in the whole network: the steps of a scenario ([`Class::Phase`]) and times at which the
    /// machine stood still ([`Class::Stall`]).
    pub phases: Vec<Span>,
    /// What happened to the network at a point in time. Listed by number below the plot.
    pub marks: Vec<Mark>,
    /// The lanes; those with the same router that follow each other are one band.
    pub lanes: Vec<Lane>,
}

/// One row of a router's band.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lane {
    /// The router, as the band is labelled.
    pub router: String,
    /// What the lane shows, in a word or two: `role`, `OSPFv2 key`.
    pub label: String,
    /// States, in the order of time. Where there is none, nothing is known and nothing drawn.
    pub spans: Vec<Span>,
    /// Events.
    pub marks: Vec<Mark>,
}

/// A state that lasted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its begin.
    pub from_ms: u64,
    /// Its end. What is cut off by the chart's ends is not drawn.
    pub to_ms: u64,
    /// What it was.
    pub class: Class,
    /// What is written on it where there is room, and shown under the pointer in any case. Where it is empty or does
    /// not fit, a short text of its class stands there instead, such as the key id.
    pub text: String,
}

/// Something that happened at a point in time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// When.
    pub at_ms: u64,
    /// What kind of event it was.
    pub class: Class,
    /// What happened, in a few words.
    pub text: String,
}

/// What a span or a mark stands for: its colour, hatching and shape.
///
/// Any class can be used in either: a state as a mark is a dot of its colour, an event as a span a plain bar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Role: looks for a key server.
    Initial,
    /// Role: a member.
    Member,
    /// Role: the key server.
    Gcks,
    /// Role: has left the group, or was evicted from it.
    Left,
    /// Nothing runs: the router, its daemon or its karpd, whatever the lane is about.
    Down,
    /// Sends with the key of this id, which came from the group.
    Key(u16),
    /// Sends with the manual key of this id.
    ManualKey(u16),
    /// Fails closed: neither sends what others accept nor accepts anything.
    Blocked,
    /// Every adjacency that there should be is Full (or Up, or heard).
    Full,
    /// Some are, or all are still coming up.
    Forming,
    /// None is.
    Alone,
    /// Of a chart: a step of the scenario.
    Phase,
    /// Of a chart: the machine stood still.
    Stall,
    /// Event: somebody did something to the network.
    Act,
    /// Event: something was made to crash.
    Crash,
    /// Event: something was started again.
    Return,
    /// Event: a rollover began, or was asked for.
    Rekey,
    /// Event: the office of the key server changed hands.
    Office,
    /// Event: what the router is to its routing protocol on the link changed, such as DR or backup.
    LinkRole,
    /// Event: something failed that is tried again, such as a sink.
    Trouble,
    /// Event: a packet was refused, and should be.
    Refused,
    /// Event: an adjacency was lost, or a packet refused, between routers that had the group's keys. There should be
    /// none.
    Lost,
}

impl Chart {
    /// The picture, as the text of an SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        text.push_str(&draw::document(self).to_string());
        text.push('\n');
        text
    }

    /// Writes the picture to a file, and makes the directory that it is in.
    ///
    /// # Errors
    /// What the system says about the directory or the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(path, self.svg())
    }
}

impl Lane {
    /// A lane on which nothing is yet.
    #[must_use]
    pub fn new(router: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            router: router.into(),
            label: label.into(),
            spans: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Goes on in a state from `from_ms` to `to_ms`: the last span is made longer if it is the same, otherwise a new
    /// one begins.
    pub fn extend(&mut self, from_ms: u64, to_ms: u64, class: Class, text: &str) {
        if let Some(last) = self.spans.last_mut()
            && (last.class, last.text.as_str()) == (class, text)
            && last.to_ms >= from_ms
        {
            last.to_ms = to_ms;
            return;
        }
        self.spans.push(Span::new(from_ms, to_ms, class, text));
    }
}

impl Span {
    /// A state from `from_ms` to `to_ms`.
    #[must_use]
    pub fn new(from_ms: u64, to_ms: u64, class: Class, text: impl Into<String>) -> Self {
        Self {
            from_ms,
            to_ms,
            class,
            text: text.into(),
        }
    }
}

impl Mark {
    /// An event at `at_ms`.
    #[must_use]
    pub fn new(at_ms: u64, class: Class, text: impl Into<String>) -> Self {
        Self {
            at_ms,
            class,
            text: text.into(),
        }
    }
}

#[cfg(test)]
mod tests;
