//! `netlab strongswan`: karp's pairwise mode against strongSwan, software that nobody here wrote (PROTOCOL.md section 9).
//!
//! Two namespaces on a bridge: karp's pair on a socket in one, charon from the Debian tree in the other ([`swan`]). Each of
//! the [`cases`] starts both anew, prints one line, and fails the run if what it states did not come about. There is no
//! case that is left out because something is missing: then the run fails.

mod bench;
mod cases;
pub mod swan;
pub mod vectors;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::bail;

use self::bench::Bench;
use super::{report::tell, tree::Tree};

/// Plays all cases, or those whose name contains `only`. Gives how many failed.
///
/// # Errors
/// What the system says, and if no case has that name.
pub fn run(tree: &Tree, results: &Path, only: Option<&str>) -> anyhow::Result<usize> {
    let bench = Bench::open(tree, results)?;
    let mut failed = 0;
    let mut played = 0;
    for case in cases::ALL {
        if only.is_some_and(|only| !case.name.contains(only)) {
            continue;
        }
        played += 1;
        let began = Instant::now();
        let outcome = (case.play)(&bench.case(case.name)?);
        let took = began.elapsed();
        failed += usize::from(outcome.is_err());
        tell(&line(case.name, &outcome, took));
    }
    if played == 0 {
        bail!("no case's name contains {}", only.unwrap_or_default());
    }
    tell(&format!(
        "netlab strongswan: {} of {played} cases held{}",
        played - failed,
        if failed == 0 { "" } else { ": FAILED" }
    ));
    Ok(failed)
}

fn line(name: &str, outcome: &anyhow::Result<String>, took: Duration) -> String {
    match outcome {
        Ok(seen) => format!("ok     {name:<34} {:>5} ms  {seen}", took.as_millis()),
        Err(error) => format!("FAILED {name:<34} {:>5} ms  {error:#}", took.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_outcomes_are_told() {
        for case in cases::ALL {
            assert_eq!(
                cases::ALL.iter().filter(|other| other.name == case.name).count(),
                1
            );
        }
        let failed = line("x", &Err(anyhow::anyhow!("no answer")), Duration::ZERO);
        assert!(failed.starts_with("FAILED") && failed.contains("no answer"));
    }
}
