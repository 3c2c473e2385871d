//! Telling a stall of the machine from a fault: a thread that notices when it is woken late, and the idle control LAN.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::watch::unix_ms;

/// How often the thread wants to be woken.
const PACE: Duration = Duration::from_millis(20);
/// Woken so much later than it asked for, and the machine stood still. Half the routers' hold, and a tenth of OSPF's dead
/// interval.
const LATE: Duration = Duration::from_millis(1000);
/// A stall explains what fails until so much later: a dead interval, and some time to log it.
const AFTERMATH_MS: u64 = 12_000;

/// A time in which nothing ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// Its begin, Unix time in milliseconds.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
}

#[derive(Default)]
struct Seen {
    stalls: Vec<Stall>,
    longest: Duration,
}

/// The thread. Dropping it ends it.
pub struct Lateness {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lateness {
    /// Starts it.
    #[must_use]
    pub fn start() -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    std::thread::sleep(PACE);
                    let late = before.elapsed().saturating_sub(PACE);
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.longest = seen.longest.max(late);
                    if late >= LATE {
                        let to_ms = unix_ms();
                        let from_ms = to_ms.saturating_sub(u64::try_from(late.as_millis()).unwrap_or(0));
                        seen.stalls.push(Stall { from_ms, to_ms });
                    }
                }
            })
        };
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// The stalls so far.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stalls
            .clone()
    }

    /// The longest lateness so far, also if it was no stall, in milliseconds.
    #[must_use]
    pub fn longest_ms(&self) -> u64 {
        let longest = self.seen.lock().unwrap_or_else(PoisonError::into_inner).longest;
        u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether a stall, or a loss of the control LAN (which nothing but the machine can cause), may explain something that
/// went wrong between two times.
#[must_use]
pub fn explains(stalls: &[Stall], control_losses: &[u64], from_ms: u64, to_ms: u64) -> bool {
    let near = |begin: u64, end: u64| begin <= to_ms && end.saturating_add(AFTERMATH_MS) >= from_ms;
    stalls.iter().any(|stall| near(stall.from_ms, stall.to_ms))
        // The control LAN notices about when the others do, a little before or after.
        || control_losses
            .iter()
            .any(|at| near(at.saturating_sub(AFTERMATH_MS), *at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Stall = Stall {
        from_ms: 50_000,
        to_ms: 54_000,
    };

    #[test]
    fn a_stall_explains_what_follows_within_a_dead_interval() {
        assert!(explains(&[STALL], &[], 55_000, 55_000));
        assert!(explains(&[STALL], &[], 66_000, 66_000));
        assert!(!explains(&[STALL], &[], 67_000, 67_000), "too long after");
        assert!(!explains(&[STALL], &[], 49_000, 49_000), "before");
        assert!(
            explains(&[STALL], &[], 10_000, 51_000),
            "a wait that it fell into"
        );
        assert!(!explains(&[], &[], 0, u64::MAX));
    }

    #[test]
    fn the_control_lan_explains_what_fails_beside_it() {
        assert!(explains(&[], &[60_000], 59_000, 59_000));
        assert!(explains(&[], &[60_000], 62_000, 62_000));
        assert!(!explains(&[], &[60_000], 90_000, 90_000));
    }

    #[test]
    fn the_thread_counts_and_ends() {
        let lateness = Lateness::start();
        std::thread::sleep(Duration::from_millis(60));
        let _ = lateness.longest_ms();
        assert!(lateness.stalls().len() < 2);
    }
}
