//! The keys that are kept over a restart, which run of which daemon holds them, and who was evicted.

use std::{collections::BTreeMap, path::Path};

use karp_core::{
    config::{Eviction, KeyUse, MAX_RESUMED, ResumedKey},
    crypto::ct_eq,
    time::Instant,
};
use karp_std::kept::{File, Kept, KeptEviction, KeptKey};

/// What tells one state of the file from another.
#[derive(PartialEq, Eq)]
struct Mark {
    id: u16,
    usage: KeyUse,
    expires: Instant,
    holders: BTreeMap<String, Option<String>>,
}

/// The kept keys of one group.
pub(super) struct Keeper {
    file: Option<File>,
    keys: Vec<KeptKey>,
    evictions: Vec<KeptEviction>,
    written: Option<(Vec<Mark>, Vec<KeptEviction>)>,
    /// What is wrong with the file.
    pub(super) error: Option<String>,
}

impl Keeper {
    pub(super) fn new(state: &Path, group: &str, identity: &str) -> Self {
        let (file, error) = match File::new(state, group, identity) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            file,
            keys: Vec::new(),
            evictions: Vec::new(),
            written: None,
            error,
        }
    }

    /// Reads what an earlier karpd kept. What is not believed is as if nothing was kept.
    pub(super) fn load(&mut self, now: Instant) {
        let Some(file) = &self.file else { return };
        let kept = file.load(now).unwrap_or_else(|error| {
            tracing::warn!(%error, "kept keys are not used");
            Kept::default()
        });
        (self.keys, self.evictions) = (kept.keys, kept.evictions);
        self.written = None;
    }

    /// The keys that every sink has held all along, for a new engine; the others are forgotten. `epochs` are the runs of
    /// the daemons now, as [`KeptKey::is_held_by`] takes them.
    pub(super) fn resume(
        &mut self,
        epochs: &BTreeMap<String, Option<Option<String>>>,
        now: Instant,
    ) -> heapless::Vec<ResumedKey, MAX_RESUMED> {
        self.keys
            .retain(|key| key.expires > now && key.is_held_by(epochs));
        let resumed = self.keys.iter().map(|kept| ResumedKey {
            id: kept.key.id,
            key: kept.key.key.duplicate(),
            usage: kept.key.usage,
            lifetime: kept.expires.since(now),
            protocols: kept.key.protocols.clone(),
        });
        resumed.take(MAX_RESUMED).collect()
    }

    /// Who was evicted, for a new engine.
    pub(super) fn evictions(&self, now: Instant) -> impl Iterator<Item = Eviction> {
        let remembered = self.evictions.iter().filter(move |kept| kept.until > now);
        remembered.map(move |kept| Eviction {
            digest: kept.digest,
            remaining: kept.until.since(now),
        })
    }

    /// These are the engine's evictions now.
    pub(super) fn update_evictions(&mut self, evictions: impl Iterator<Item = Eviction>, now: Instant) {
        let old = std::mem::take(&mut self.evictions);
        self.evictions = evictions
            .map(|eviction| {
                let until = now.after(eviction.remaining);
                let same = old.iter().find(|kept| kept.digest == eviction.digest);
                KeptEviction {
                    digest: eviction.digest,
                    until: same.map_or(until, |same| steady(same.until, until)),
                }
            })
            .collect();
    }

    /// These are the engine's keys now.
    pub(super) fn update(&mut self, keys: impl Iterator<Item = ResumedKey>, now: Instant) {
        let old = std::mem::take(&mut self.keys);
        for key in keys {
            let same = old
                .iter()
                .find(|old| old.key.id == key.id && ct_eq(old.key.key.expose(), key.key.expose()));
            self.keys.push(KeptKey {
                expires: same.map_or(now.after(key.lifetime), |same| {
                    steady(same.expires, now.after(key.lifetime))
                }),
                holders: same.map(|same| same.holders.clone()).unwrap_or_default(),
                key,
            });
        }
    }

    /// `sink` has taken the keys with these ids, and `epoch` is the run of its daemon. Keys that it had before stay with
    /// the run that took them first: a daemon that was filled anew has lost its replay state.
    pub(super) fn took(&mut self, sink: &str, epoch: Option<&str>, ids: &[u16]) {
        for kept in self.keys.iter_mut().filter(|kept| ids.contains(&kept.key.id)) {
            let held = kept.holders.entry(sink.to_owned());
            held.or_insert_with(|| epoch.map(str::to_owned));
        }
    }

    /// Writes the file if it does not say so already.
    pub(super) fn write(&mut self) {
        let Some(file) = &self.file else { return };
        let marks = || -> Vec<Mark> {
            let mark = |kept: &KeptKey| Mark {
                id: kept.key.id,
                usage: kept.key.usage,
                expires: kept.expires,
                holders: kept.holders.clone(),
            };
            self.keys.iter().map(mark).collect()
        };
        let marks = marks();
        let marks = (marks, self.evictions.clone());
        if self.written.as_ref() == Some(&marks) {
            return;
        }
        match file.save(&self.keys, &self.evictions) {
            Ok(()) => {
                self.written = Some(marks);
                self.error = None;
            }
            Err(error) => {
                let text = error.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::error!(%error, "the keys cannot be kept; a restart of karpd will need new ones");
                }
                self.error = Some(text);
            }
        }
    }
}

/// The same thing ends at the same instant: rounding must not let it drift.
fn steady(before: Instant, new: Instant) -> Instant {
    if before.since(new).as_millis().max(new.since(before).as_millis()) <= 2 {
        before
    } else {
        new
    }
}
