//! The key table as the harness keeps and compares it.

use karp_core::{
    algorithm::RoutingProtocol,
    keytable::{Row, RowState},
    time::Instant,
};

use super::node::TestEngine;

/// A copy of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub protocol: RoutingProtocol,
    pub id: u16,
    pub octets: Vec<u8>,
    pub state: State,
    pub manual: bool,
    pub expires: Option<Instant>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    Pending,
    Active,
    Retiring,
}

impl Held {
    /// A name for traces that gives nothing away.
    pub fn short(&self) -> String {
        let state = match self.state {
            State::Pending => "pending",
            State::Active => "active",
            State::Retiring => "retiring",
        };
        format!("{}{} {state}", if self.manual { "manual " } else { "" }, self.id)
    }
}

fn held(row: &Row<'_>) -> Held {
    Held {
        protocol: row.protocol,
        id: row.id,
        octets: row.octets().to_vec(),
        state: match row.state {
            RowState::Pending => State::Pending,
            RowState::Active => State::Active,
            RowState::Retiring => State::Retiring,
        },
        manual: row.manual,
        expires: row.expires,
    }
}

pub fn rows(engine: &TestEngine, now: Instant) -> Vec<Held> {
    engine.key_table().rows(now).map(|row| held(&row)).collect()
}

pub fn sending(engine: &TestEngine, protocol: RoutingProtocol, now: Instant) -> Option<Held> {
    engine.key_table().sending(protocol, now).map(|row| held(&row))
}

pub fn receiving(engine: &TestEngine, protocol: RoutingProtocol, id: u16, now: Instant) -> Option<Held> {
    engine
        .key_table()
        .receiving(protocol, id, now)
        .map(|row| held(&row))
}
