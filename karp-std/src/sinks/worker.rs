//! A thread that keeps one sink at what is wanted, whatever happens to its daemon.

use std::{
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use karp_core::algorithm::RoutingProtocol;

use super::{KeySet, Plan, Sink, SinkError};

/// Before the second attempt; doubled before each further one, up to the other.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LAST_DELAY: Duration = Duration::from_secs(5);
/// Between two looks whether the daemon is there and still the same.
const PROBE: Duration = Duration::from_secs(1);

/// An outcome that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The sink, as it describes itself.
    pub sink: String,
    /// The generation of the state that it was about.
    pub generation: u32,
    /// How long it took, or why it failed.
    pub result: Result<Duration, SinkError>,
    /// How many attempts there were since the last that succeeded, this one included.
    pub attempt: u32,
    /// The run of the daemon ([`Sink::epoch`]), if there is one.
    pub epoch: Option<String>,
    /// The daemon is another run than the one that was filled last.
    pub restarted: bool,
    /// The daemon is not running; [`result`](Self::result) says so as well.
    pub down: bool,
}

impl Report {
    /// The generation may be confirmed ([`Command::Installed`](karp_core::command::Command::Installed)) as far as this
    /// sink goes: the daemon has its keys, or is not running and so has nothing to lose.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.result.is_ok() || self.down
    }
}

/// How a sink stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing was wanted of it so far.
    Idle,
    /// It is being brought to what is wanted, for the first time since that changed.
    Working,
    /// It has what is wanted.
    Done,
    /// It has not what is wanted, or cannot be asked, and is tried again.
    Failing,
    /// Its daemon is not running.
    Down,
}

/// What a worker says of its sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The sink, as it describes itself.
    pub sink: String,
    /// How it stands.
    pub standing: Standing,
    /// The newest generation that is done ([`Report::is_done`]).
    pub generation: Option<u32>,
    /// Attempts that failed since the last that succeeded.
    pub attempts: u32,
    /// Why, if it is failing or down.
    pub error: Option<SinkError>,
    /// The run of the daemon that has the keys.
    pub epoch: Option<String>,
}

/// Keeps a sink at what is wanted, on a thread of its own.
///
/// When it is dropped it ends, and the daemon keeps the keys that it has. That waits for what the sink is at, so that no
/// two workers are ever at one sink; a sink's own time-outs bound it.
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What is wanted since the thread looked last: a mailbox with one place.
    wanted: Option<(KeySet, u32)>,
    stopped: bool,
    status: Status,
}

impl Shared {
    /// No code panics while it holds the lock, and if one did the state would still be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("status", &self.status()).finish()
    }
}

impl Worker {
    /// A worker for `sink`, which is given the keys of `protocols`. It does nothing before the first
    /// [`want`](Self::want). `on_report` is called on the worker's thread and must not wait for whoever drops the worker.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        sink: Box<dyn Sink>,
        protocols: Vec<RoutingProtocol>,
        on_report: Box<dyn Fn(Report) + Send>,
    ) -> io::Result<Self> {
        let mut hand = Hand::new(sink, protocols);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                wanted: None,
                stopped: false,
                status: hand.status(),
            }),
            changed: Condvar::new(),
        });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || work(&its, &mut hand, &*on_report))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// From now on the sink should have these keys: those of the state with this generation. What was wanted before and
    /// is not begun yet is forgotten. It does not block.
    pub fn want(&self, keys: KeySet, generation: u32) {
        let mut state = self.shared.lock();
        state.wanted = Some((keys, generation));
        drop(state);
        self.shared.changed.notify_one();
    }

    /// How the sink stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.lock().status.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a sink's thread panicked");
        }
    }
}

fn work(shared: &Shared, hand: &mut Hand, on_report: &dyn Fn(Report)) {
    // When to come back without being called.
    let mut due: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        while !state.stopped && state.wanted.is_none() {
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state = match left {
                None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let woken = shared.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if state.stopped {
            return;
        }
        if let Some((keys, generation)) = state.wanted.take() {
            hand.want(&keys, generation);
        }
        state.status = hand.status();
        drop(state);
        let report = hand.turn(Instant::now());
        due = hand.due();
        shared.lock().status = hand.status();
        if let Some(report) = report {
            on_report(report);
        }
    }
}

/// What a worker does, without the thread and the clock.
struct Hand {
    sink: Box<dyn Sink>,
    protocols: Vec<RoutingProtocol>,
    wanted: Option<(KeySet, u32)>,
    /// What the sink has for certain; `None` before the first time and after a failure.
    has: Option<KeySet>,
    standing: Standing,
    generation: Option<u32>,
    attempts: u32,
    error: Option<SinkError>,
    /// The run of the daemon that was filled last.
    epoch: Option<String>,
    due: Option<Instant>,
}

impl Hand {
    fn new(sink: Box<dyn Sink>, protocols: Vec<RoutingProtocol>) -> Self {
        Self {
            sink,
            protocols,
            wanted: None,
            has: None,
            standing: Standing::Idle,
            generation: None,
            attempts: 0,
            error: None,
            epoch: None,
            due: None,
        }
    }

    fn want(&mut self, keys: &KeySet, generation: u32) {
        self.wanted = Some((keys.only(&self.protocols), generation));
        self.standing = match self.standing {
            // It stays what it is until the attempt, which is at once.
            Standing::Failing => Standing::Failing,
            Standing::Idle | Standing::Working | Standing::Done | Standing::Down => Standing::Working,
        };
        self.due = None;
    }

    /// When to take the next turn; `None` if only a new want can change anything.
    fn due(&self) -> Option<Instant> {
        self.due
    }

    /// One attempt, or one look at the daemon.
    fn turn(&mut self, now: Instant) -> Option<Report> {
        let (wanted, generation) = self.wanted.clone()?;
        let asked = self.sink.epoch();
        let restarted = match (&asked, &self.epoch) {
            (Ok(epoch), Some(filled)) => epoch.as_ref() != Some(filled),
            (Ok(_), None) | (Err(_), _) => false,
        };
        let unchanged =
            self.has.as_ref() == Some(&wanted) && self.generation == Some(generation) && !restarted;
        match (&asked, self.standing) {
            // Still the same, with the same keys.
            (Ok(epoch), Standing::Done | Standing::Failing) if unchanged => {
                let epoch = epoch.clone();
                let was_failing = self.standing == Standing::Failing;
                let attempt = self.attempts.saturating_add(1);
                self.done(now, epoch.as_ref());
                return was_failing
                    .then(|| self.report(generation, Ok(Duration::ZERO), attempt, epoch, false));
            }
            (Err(error), Standing::Down) if error.is_not_running() => {
                self.due = now.checked_add(PROBE);
                return None;
            }
            _ => {}
        }
        let began = Instant::now();
        let (result, epoch) = match asked {
            Ok(epoch) => (self.bring(&wanted, restarted), epoch),
            Err(error) if unchanged && !error.is_not_running() => (Err(error), None),
            Err(_) => self.without_daemon(&wanted),
        };
        let elapsed = began.elapsed();
        let attempt = self.attempts.saturating_add(1);
        let restarted = restarted || epoch.is_some() && self.epoch.is_some() && epoch != self.epoch;
        let was = self.standing;
        match &result {
            Ok(()) => {
                self.has = Some(wanted);
                self.generation = Some(generation);
                self.done(now, epoch.as_ref());
            }
            Err(error) if error.is_not_running() => {
                self.has = None;
                self.standing = Standing::Down;
                self.error = Some(error.clone());
                self.attempts = 0;
                self.due = now.checked_add(PROBE);
                if was == Standing::Down {
                    return None;
                }
                self.generation = Some(generation);
            }
            // What could not be asked may well have what it should.
            Err(error) if unchanged && was != Standing::Working => {
                self.failed(now, error);
                if was == Standing::Failing {
                    return None;
                }
            }
            Err(error) => {
                self.has = None;
                self.failed(now, error);
            }
        }
        Some(self.report(generation, result.map(|()| elapsed), attempt, epoch, restarted))
    }

    fn bring(&mut self, wanted: &KeySet, restarted: bool) -> Result<(), SinkError> {
        match self.has.take() {
            Some(mut has) if !restarted => Plan::new(&has, wanted).run(&mut *self.sink, &mut has),
            _ => self.sink.reconcile(wanted),
        }
    }

    /// It takes what it can without its daemon: a file that the daemon will read, or the keys of another daemon that it fills
    /// as well. If the daemon is there by now, it is not known which run of it took that, and so it is done again for the run
    /// that it is.
    fn without_daemon(&mut self, wanted: &KeySet) -> (Result<(), SinkError>, Option<String>) {
        if let Err(error) = self.sink.reconcile(wanted) {
            return (Err(error), None);
        }
        match self.sink.epoch() {
            Ok(epoch) => (self.sink.reconcile(wanted), epoch),
            Err(error) => (Err(error), None),
        }
    }

    fn done(&mut self, now: Instant, epoch: Option<&String>) {
        self.standing = Standing::Done;
        self.attempts = 0;
        self.error = None;
        self.epoch = epoch.cloned();
        // Without a daemon there is none to lose.
        self.due = epoch.and_then(|_| now.checked_add(PROBE));
    }

    fn failed(&mut self, now: Instant, error: &SinkError) {
        let doublings = self.attempts.min(10);
        let delay = FIRST_DELAY.saturating_mul(1 << doublings).min(LAST_DELAY);
        self.standing = Standing::Failing;
        self.attempts = self.attempts.saturating_add(1);
        self.error = Some(error.clone());
        self.due = now.checked_add(delay);
    }

    fn report(
        &self,
        generation: u32,
        result: Result<Duration, SinkError>,
        attempt: u32,
        epoch: Option<String>,
        restarted: bool,
    ) -> Report {
        Report {
            sink: self.sink.describe(),
            generation,
            result,
            attempt,
            epoch,
            restarted,
            down: self.standing == Standing::Down,
        }
    }

    fn status(&self) -> Status {
        Status {
            sink: self.sink.describe(),
            standing: self.standing,
            generation: self.generation,
            attempts: self.attempts,
            error: self.error.clone(),
            epoch: self.epoch.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
