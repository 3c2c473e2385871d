//! The line on standard error that says how far it has come.

use std::{
    cell::Cell,
    io::{IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Between two lines where standard error is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

pub(crate) struct Progress {
    total: u64,
    terminal: bool,
    shown: AtomicBool,
    logged: std::sync::Mutex<Cell<Duration>>,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            total,
            terminal: std::io::stderr().is_terminal(),
            shown: AtomicBool::new(false),
            logged: std::sync::Mutex::default(),
        }
    }

    /// Says that `played` are over after `elapsed`.
    pub(crate) fn tell(&self, played: u64, failures: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let rate = played as f64 / seconds.max(0.001);
        let left = (self.total.saturating_sub(played)) as f64 / rate.max(0.001);
        let line = format!(
            "{played} of {} seeds, {rate:.1} a second, {failures} failed, {} left",
            self.total,
            minutes(left)
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            _ = std::io::stderr().flush();
            self.shown.store(true, Ordering::Relaxed);
        } else if let Ok(logged) = self.logged.lock()
            && elapsed.saturating_sub(logged.get()) >= LOG_EVERY
        {
            logged.set(elapsed);
            eprintln!("{line}");
        }
    }

    /// Makes room for other lines.
    pub(crate) fn clear(&self) {
        if self.shown.swap(false, Ordering::Relaxed) {
            eprint!("\r\x1b[K");
        }
    }
}

fn minutes(seconds: f64) -> String {
    let seconds = seconds.min(360_000.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
