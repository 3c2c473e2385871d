//! Colours, hatchings and short texts of the classes.

use std::collections::BTreeMap;

use super::{Chart, Class};

pub(super) const TEXT: &str = "#222222";
pub(super) const FAINT_TEXT: &str = "#5c5c5c";
pub(super) const GRID: &str = "#dcdcd6";
pub(super) const BACKGROUND: &str = "#ffffff";
pub(super) const SHADE: &str = "#f5f5f0";
pub(super) const TRACK: &str = "#f0f0ec";
pub(super) const STALL: &str = "#882255";

/// Tol's light scheme without its grey, in an order in which neighbours differ most. Black text is readable on each.
const KEYS: [&str; 8] = [
    "#77aadd", "#eedd88", "#ffaabb", "#44bb99", "#ee8866", "#99ddff", "#bbcc33", "#d3b3e0",
];

/// How a class looks as a bar.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) fill: &'static str,
    /// The colour of lines across it, for what must differ in more than colour.
    pub(super) hatch: Option<&'static str>,
    pub(super) text: &'static str,
}

/// Which colour each key has: the first key that is sent with has the first, and so on.
pub(super) struct Keys {
    order: Vec<u16>,
    places: BTreeMap<u16, usize>,
}

impl Keys {
    pub(super) fn of(chart: &Chart) -> Self {
        let mut first: BTreeMap<u16, u64> = BTreeMap::new();
        let spans = chart.lanes.iter().flat_map(|lane| &lane.spans);
        for span in spans {
            if let Class::Key(id) = span.class {
                let at = first.entry(id).or_insert(span.from_ms);
                *at = span.from_ms.min(*at);
            }
        }
        let mut order: Vec<u16> = first.keys().copied().collect();
        order.sort_by_key(|id| (first[id], *id));
        let places = order.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        Self { order, places }
    }

    /// The key ids, in the order of their first use.
    pub(super) fn order(&self) -> &[u16] {
        &self.order
    }

    fn colour(&self, id: u16) -> &'static str {
        let place = self.places.get(&id).copied().unwrap_or(usize::from(id));
        KEYS[place % KEYS.len()]
    }

    pub(super) fn look(&self, class: Class) -> Look {
        let (fill, hatch) = match class {
            Class::Initial => ("#ffffff", Some("#9a9a9a")),
            Class::Member => ("#bcd7ee", None),
            Class::Gcks => ("#e69f00", None),
            Class::Left => ("#ffffff", None),
            Class::Down => ("#8c8c8c", None),
            Class::Key(id) => (self.colour(id), None),
            Class::ManualKey(_) => ("#dddddd", None),
            Class::Blocked => ("#ffffff", Some("#555555")),
            Class::Full => ("#5cc3a0", None),
            Class::Forming => ("#f0e442", Some("#b3a400")),
            Class::Alone => ("#d55e00", None),
            Class::Stall => ("#ffffff", Some(STALL)),
            Class::Lost => ("#c02a00", None),
            Class::Trouble => ("#cc79a7", None),
            Class::LinkRole => ("#ffffff", None),
            Class::Refused => ("#882255", None),
            Class::Office => ("#e69f00", None),
            Class::Rekey => ("#0072b2", None),
            Class::Return => ("#ffffff", None),
            Class::Phase => (SHADE, None),
            Class::Act | Class::Crash => (TEXT, None),
        };
        let dark = matches!(
            class,
            Class::Down
                | Class::Alone
                | Class::Act
                | Class::Crash
                | Class::Rekey
                | Class::Lost
                | Class::Refused
        );
        let text = if dark { "#ffffff" } else { TEXT };
        Look { fill, hatch, text }
    }
}

impl Class {
    /// What stands on a span without a text of its own that fits.
    pub(super) fn short(self) -> String {
        match self {
            Self::Key(id) | Self::ManualKey(id) => id.to_string(),
            Self::Initial => "Initial".to_owned(),
            Self::Member => "Member".to_owned(),
            Self::Gcks => "GCKS".to_owned(),
            Self::Left => "left".to_owned(),
            Self::Down => "down".to_owned(),
            Self::Blocked => "no key".to_owned(),
            _ => String::new(),
        }
    }

    /// The name in `class` attributes.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Member => "member",
            Self::Gcks => "gcks",
            Self::Left => "left",
            Self::Down => "down",
            Self::Key(_) => "key",
            Self::ManualKey(_) => "manual-key",
            Self::Blocked => "blocked",
            Self::Full => "full",
            Self::Forming => "forming",
            Self::Alone => "alone",
            Self::Phase => "phase",
            Self::Stall => "stall",
            Self::Act => "act",
            Self::Crash => "crash",
            Self::Return => "return",
            Self::Rekey => "rekey",
            Self::Office => "office",
            Self::Trouble => "trouble",
            Self::LinkRole => "link-role",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    /// What the legend says; keys have an entry of their own.
    pub(super) const fn legend(self) -> Option<&'static str> {
        match self {
            Self::Key(_) | Self::Phase => None,
            Self::Initial => Some("role Initial"),
            Self::Member => Some("Member"),
            Self::Gcks => Some("GCKS"),
            Self::Left => Some("left"),
            Self::Down => Some("down"),
            Self::ManualKey(_) => Some("manual key"),
            Self::Blocked => Some("no key: fails closed"),
            Self::Full => Some("all adjacencies"),
            Self::Forming => Some("some"),
            Self::Alone => Some("none"),
            Self::Stall => Some("the machine stood still"),
            Self::Act => Some("done to the network"),
            Self::Crash => Some("crash"),
            Self::Return => Some("return"),
            Self::Rekey => Some("rollover"),
            Self::Office => Some("office changes"),
            Self::Trouble => Some("failed, tried again"),
            Self::LinkRole => Some("role on the link changes"),
            Self::Refused => Some("refused, as it should be"),
            Self::Lost => Some("lost (must not be)"),
        }
    }
}
