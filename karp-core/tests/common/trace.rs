//! What happened, in lines that a person can read.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

/// The last lines of a run, and a digest of all of them and of every octet sent.
pub struct Trace {
    lines: VecDeque<String>,
    /// How many lines are kept; `None` keeps all.
    pub keep: Option<usize>,
    hash: Sha256,
}

impl Default for Trace {
    fn default() -> Self {
        // KARP_TRACE=all shows a failing run from its beginning.
        let keep = std::env::var_os("KARP_TRACE").is_none().then_some(400);
        Self {
            lines: VecDeque::new(),
            keep,
            hash: Sha256::new(),
        }
    }
}

impl Trace {
    pub fn line(&mut self, now: u64, text: &str) {
        let line = format!("{:>7}.{:03} s  {text}", now / 1000, now % 1000);
        self.hash.update(line.as_bytes());
        self.lines.push_back(line);
        while self.keep.is_some_and(|keep| self.lines.len() > keep) {
            self.lines.pop_front();
        }
    }

    /// Octets that were sent: they count for the digest only.
    pub fn octets(&mut self, octets: &[u8]) {
        self.hash.update(octets);
    }

    /// A digest of the run so far: equal for equal runs.
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The lines that are kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
