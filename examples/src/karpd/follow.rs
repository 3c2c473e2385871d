//! Following the routing protocol: a thread that looks at the daemon and tells the group what follows.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use karp_core::algorithm::RoutingProtocol;
pub use karp_std::follow::Priorities;
use karp_std::follow::{
    Advice, ObserveError, Observer, Snapshot, Tracker, bird::BirdObserver, frr::FrrObserver,
};

/// Between two looks, if the daemon does not tell of changes.
const LOOK: Duration = Duration::from_secs(1);

/// Which daemon is looked at, and what follows from what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowSettings {
    /// The daemon.
    pub kind: FollowKind,
    /// The protocol that is followed.
    pub protocol: RoutingProtocol,
    /// The interface, as the daemon knows it.
    pub interface: String,
    /// The election priorities.
    pub priorities: Priorities,
}

/// Kinds of daemons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FollowKind {
    /// BIRD.
    Bird {
        /// Its control socket.
        socket: PathBuf,
        /// The protocol's name in its configuration.
        instance: String,
    },
    /// FRR.
    Frr {
        /// Where the daemons' sockets are.
        directory: PathBuf,
    },
}

impl FollowSettings {
    /// What looks at the daemon.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn build(&self) -> Result<Box<dyn Observer>, ObserveError> {
        Ok(match &self.kind {
            FollowKind::Bird { socket, instance } => Box::new(BirdObserver::new(
                socket.clone(),
                self.protocol,
                instance.clone(),
                self.interface.clone(),
            )?),
            FollowKind::Frr { directory } => Box::new(FrrObserver::new(
                directory,
                self.protocol,
                self.interface.clone(),
            )?),
        })
    }

    /// In a word or two.
    #[must_use]
    pub fn describe(&self) -> String {
        let protocol = self.protocol.name();
        match &self.kind {
            FollowKind::Bird { socket, instance } => {
                format!(
                    "BIRD at {}, {protocol} instance {instance} on {}",
                    socket.display(),
                    self.interface
                )
            }
            FollowKind::Frr { directory } => {
                format!("FRR in {}, {protocol} on {}", directory.display(), self.interface)
            }
        }
    }
}

/// What an observer saw, as it reaches the group's thread.
pub struct Seen {
    /// Which follower it is of.
    pub number: u64,
    /// What was seen; `None` if the thread panicked.
    pub what: Option<(Result<Snapshot, ObserveError>, Vec<Advice>)>,
}

/// A thread that looks at a daemon until it is dropped.
pub struct Follower {
    stop: Arc<AtomicBool>,
    /// The key that is sent with; over all ids if there is none.
    sending: Arc<AtomicU32>,
}

impl Follower {
    /// Begins to look. `tell` gets what changed, on the thread; it says whether anybody listens.
    ///
    /// # Errors
    /// What is wrong with the settings, or that the system gives no thread.
    pub fn spawn(
        settings: &FollowSettings,
        number: u64,
        tell: impl Fn(Seen) -> bool + Send + 'static,
    ) -> Result<Self, String> {
        let mut observer = settings.build().map_err(|error| error.to_string())?;
        let mut tracker = Tracker::new(settings.priorities);
        let stop = Arc::new(AtomicBool::new(false));
        let sending = Arc::new(AtomicU32::new(u32::MAX));
        let (stopped, sends) = (Arc::clone(&stop), Arc::clone(&sending));
        let mut look = move |tell: &dyn Fn(Seen) -> bool| {
            let mut last = None;
            while !stopped.load(Ordering::Relaxed) {
                let seen = observer.snapshot();
                let advice = tracker.look(&seen, u16::try_from(sends.load(Ordering::Relaxed)).ok());
                if !advice.is_empty() || last.as_ref() != Some(&seen) {
                    last = Some(seen.clone());
                    let what = Some((seen, advice));
                    if !tell(Seen { number, what }) {
                        return;
                    }
                }
                observer.wait(LOOK);
            }
        };
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| look(&tell))).is_err() {
                // The group ends the process, if it is still there.
                let _ = tell(Seen { number, what: None });
            }
        };
        std::thread::Builder::new()
            .name("karpd follow".to_owned())
            .spawn(run)
            .map_err(|error| error.to_string())?;
        Ok(Self { stop, sending })
    }

    /// The protocol sends with this key now.
    pub fn sends(&self, id: Option<u16>) {
        self.sending
            .store(id.map_or(u32::MAX, u32::from), Ordering::Relaxed);
    }
}

impl Drop for Follower {
    /// The thread ends after its present look; nobody waits for it.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
