//! The sinks of one group: what they should have, and what they have.

use std::{collections::BTreeMap, thread::JoinHandle};

use karp_std::sinks::{
    KeySet, Sink, SinkError,
    worker::{Report, Standing, Worker},
};
use serde_json::{Value, json};

use super::{Message, Post, turns::Turns};
use crate::karpd::sinks::SinkSettings;

/// A sink's outcome, as it reaches the group's thread.
pub(super) struct Fed {
    /// Which set of workers it is of, and which of them.
    set: u64,
    pub(super) at: usize,
    pub(super) what: Outcome,
}

pub(super) enum Outcome {
    Report(Report),
    /// The worker's thread panicked.
    Died,
}

/// The runs of the sinks' daemons now, by the sinks' names, as
/// [`KeptKey::is_held_by`](karp_std::kept::KeptKey::is_held_by) takes them.
pub(super) type Epochs = BTreeMap<String, Option<Option<String>>>;

/// What follows from a report.
#[derive(Default)]
pub(super) struct Follows {
    /// This generation can be confirmed.
    pub(super) confirm: Option<u32>,
    /// The sink took the keys with these ids.
    pub(super) took: Option<Vec<u16>>,
    /// The generation that the report is about.
    pub(super) generation: Option<u32>,
    /// The sink's daemon was down, and is there again.
    pub(super) up: bool,
}

/// One sink that runs.
struct Fill {
    worker: Worker,
    reported: bool,
    down: bool,
}

pub(super) struct Feed {
    settings: Vec<SinkSettings>,
    names: Vec<String>,
    /// Built, and not at work yet.
    prepared: Vec<Box<dyn Sink>>,
    fills: Vec<Fill>,
    /// Tells reports of these workers from those of earlier ones.
    set: u64,
    /// Earlier workers that end.
    ending: Option<JoinHandle<()>>,
    wanted: Option<KeySet>,
    turns: Turns,
    /// Why the sinks cannot be had.
    error: Option<SinkError>,
}

impl Feed {
    pub(super) fn new(settings: Vec<SinkSettings>) -> Self {
        Self {
            settings,
            names: Vec::new(),
            prepared: Vec::new(),
            fills: Vec::new(),
            set: 0,
            ending: None,
            wanted: None,
            turns: Turns::default(),
            error: None,
        }
    }

    pub(super) fn settings(&self) -> &[SinkSettings] {
        &self.settings
    }

    pub(super) const fn wanted(&self) -> Option<&KeySet> {
        self.wanted.as_ref()
    }

    pub(super) fn name(&self, at: usize) -> String {
        self.names.get(at).cloned().unwrap_or_default()
    }

    /// Which run of its daemon each sink has now. May ask the daemons, and wait for their answers.
    ///
    /// # Errors
    /// Why a sink cannot be had; try again.
    pub(super) fn epochs(&mut self) -> Result<Epochs, String> {
        self.prepare()?;
        if !self.fills.is_empty() {
            let epoch = |fill: &Fill| {
                let status = fill.worker.status();
                (status.standing != Standing::Down).then_some(status.epoch)
            };
            return Ok(self
                .names
                .iter()
                .cloned()
                .zip(self.fills.iter().map(epoch))
                .collect());
        }
        let epochs = self.names.iter().cloned().zip(&mut self.prepared);
        Ok(epochs.map(|(name, sink)| (name, sink.epoch().ok())).collect())
    }

    /// Builds the sinks, once those before them have ended.
    fn prepare(&mut self) -> Result<(), String> {
        if self.ending.as_ref().is_some_and(|ending| !ending.is_finished()) {
            return Err("the sinks finish what they are at".to_owned());
        }
        self.ending = None;
        if !self.fills.is_empty() || self.prepared.len() == self.settings.len() {
            return Ok(());
        }
        let built: Result<Vec<_>, _> = self.settings.iter().map(SinkSettings::build).collect();
        match built {
            Ok(built) => {
                self.error = None;
                self.names = names(&built);
                self.prepared = built;
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                self.error = Some(error);
                Err(text)
            }
        }
    }

    /// Wants `set` of all sinks from now on; gives the generation that can be confirmed at once.
    ///
    /// # Errors
    /// Why nobody is there to take it; try again.
    pub(super) fn want(
        &mut self,
        set: KeySet,
        generation: Option<u32>,
        post: &Post,
    ) -> Result<Option<u32>, String> {
        self.start(post)?;
        let ids = set.iter().filter(|key| !key.manual).map(|key| key.id);
        let turn = self.turns.take(generation, ids.collect());
        for fill in &self.fills {
            fill.worker.want(set.clone(), turn);
        }
        self.wanted = Some(set);
        Ok(self.turns.confirmable())
    }

    /// A new engine begins: what an earlier one waits for is not confirmed any more.
    pub(super) fn forget_generations(&mut self) {
        self.turns.forget_generations();
    }

    fn start(&mut self, post: &Post) -> Result<(), String> {
        self.prepare()?;
        if self.prepared.is_empty() {
            return Ok(());
        }
        self.set += 1;
        let mut fills = Vec::new();
        for (at, (sink, settings)) in self.prepared.drain(..).zip(&self.settings).enumerate() {
            let teller = Teller {
                post: post.clone(),
                set: self.set,
                at,
            };
            let on_report = Box::new(move |report| teller.tell(Outcome::Report(report)));
            match Worker::spawn(sink, settings.protocols(), on_report) {
                Ok(worker) => fills.push(Fill {
                    worker,
                    reported: false,
                    down: false,
                }),
                // All or none: a sink that is missing must not look done.
                Err(error) => return Err(error.to_string()),
            }
        }
        self.turns.begin(fills.len());
        self.fills = fills;
        Ok(())
    }

    /// Whether a report is of the present workers.
    pub(super) const fn knows(&self, fed: &Fed) -> bool {
        fed.set == self.set
    }

    /// Takes note of a report.
    pub(super) fn reported(&mut self, at: usize, report: &Report) -> Follows {
        let mut follows = Follows {
            generation: self.turns.generation(report.generation),
            ..Follows::default()
        };
        if report.result.is_ok() {
            follows.took = self.turns.ids(report.generation).map(<[u16]>::to_vec);
        }
        if let Some(fill) = self.fills.get_mut(at) {
            fill.reported = true;
            follows.up = fill.down && report.result.is_ok();
            fill.down = report.down;
        }
        if report.is_done() {
            self.turns.done(at, report.generation);
        }
        follows.confirm = self.turns.confirmable();
        follows
    }

    /// Whether every sink has been tried.
    pub(super) fn is_tried(&self) -> bool {
        self.settings.is_empty() || (!self.fills.is_empty() && self.fills.iter().all(|fill| fill.reported))
    }

    /// Lets the sinks be; the daemons keep what they have. The workers end in the background, with what they are at.
    pub(super) fn release(&mut self) {
        self.prepared.clear();
        self.wanted = None;
        self.turns.begin(0);
        // What they still say is not listened to.
        self.set += 1;
        let fills = std::mem::take(&mut self.fills);
        let before = self.ending.take();
        if fills.is_empty() && before.is_none() {
            return;
        }
        let end = move || {
            drop(fills);
            if let Some(before) = before {
                let _ = before.join();
            }
        };
        match std::thread::Builder::new()
            .name("karpd sinks".to_owned())
            .spawn(end)
        {
            Ok(ending) => self.ending = Some(ending),
            // They have ended: the closure was dropped, and waited for them.
            Err(error) => tracing::warn!(%error, "no thread for sinks that end"),
        }
    }

    /// Waits for released sinks.
    pub(super) fn finish(&mut self) {
        if let Some(ending) = self.ending.take() {
            let _ = ending.join();
        }
    }

    /// Other sinks from now on.
    pub(super) fn replace(&mut self, settings: Vec<SinkSettings>) {
        self.release();
        self.names.clear();
        self.settings = settings;
    }

    /// What `karpd status` shows.
    pub(super) fn status(&self) -> Value {
        if self.fills.is_empty() {
            let of = |settings: &SinkSettings| {
                json!({
                    "sink": settings.describe(),
                    "state": if self.error.is_some() { "failing" } else { "idle" },
                    "generation": null,
                    "attempts": 0,
                    "error": self.error.as_ref().map(SinkError::problem),
                    "remedy": self.error.as_ref().map(SinkError::remedy),
                })
            };
            return self.settings.iter().map(of).collect();
        }
        let of = |(name, fill): (&String, &Fill)| {
            let status = fill.worker.status();
            json!({
                "sink": name,
                "state": match status.standing {
                    Standing::Idle => "idle",
                    Standing::Working => "working",
                    Standing::Done => "ok",
                    Standing::Failing => "failing",
                    Standing::Down => "down",
                },
                "generation": status.generation.and_then(|turn| self.turns.generation(turn)),
                "attempts": status.attempts,
                "error": status.error.as_ref().map(SinkError::problem),
                "remedy": status.error.as_ref().map(SinkError::remedy),
                "epoch": status.epoch,
            })
        };
        self.names.iter().zip(&self.fills).map(of).collect()
    }
}

/// Carries reports to the group's thread, and the news of a worker that panicked.
struct Teller {
    post: Post,
    set: u64,
    at: usize,
}

impl Teller {
    fn tell(&self, what: Outcome) {
        // The group may have ended.
        let _ = self.post.send(Message::Fed(Fed {
            set: self.set,
            at: self.at,
            what,
        }));
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Outcome::Died);
        }
    }
}

/// What each sink is called: as it describes itself, numbered where two say the same.
fn names(sinks: &[Box<dyn Sink>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sink in sinks {
        let plain = sink.describe();
        let mut name = plain.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{plain} ({number})");
            number += 1;
        }
        names.push(name);
    }
    names
}
