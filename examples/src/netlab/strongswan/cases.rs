//! The cases.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use karp_core::{
    error::DropReason,
    io::Handled,
    pairwise::{Command, Cookies, DownReason, Event, Failure},
};

use super::{
    bench::{Case, Karp, Keys, SOON, settings},
    swan::{SUITE, Setup, Swan},
};

/// A case by its name.
pub(super) struct Named {
    pub(super) name: &'static str,
    pub(super) play: fn(&Case<'_>) -> anyhow::Result<String>,
}

/// All of them.
pub(super) const ALL: &[Named] = &[
    Named {
        name: "psk-karp-initiates",
        play: |case| karp_initiates(case, false),
    },
    Named {
        name: "psk-strongswan-initiates",
        play: |case| swan_initiates(case, false),
    },
    Named {
        name: "raw-keys-karp-initiates",
        play: |case| karp_initiates(case, true),
    },
    Named {
        name: "raw-keys-strongswan-initiates",
        play: |case| swan_initiates(case, true),
    },
    Named {
        name: "strongswan-asks-for-a-cookie",
        play: swan_asks_for_a_cookie,
    },
    Named {
        name: "karp-asks-for-a-cookie",
        play: karp_asks_for_a_cookie,
    },
    Named {
        name: "wrong-key-at-strongswan",
        play: |case| wrong_key(case, false),
    },
    Named {
        name: "wrong-key-at-karp",
        play: |case| wrong_key(case, true),
    },
    Named {
        name: "wrong-raw-key-karp-initiates",
        play: wrong_raw_key,
    },
    Named {
        name: "wrong-identity-karp-initiates",
        play: |case| wrong_identity(case, true),
    },
    Named {
        name: "wrong-identity-strongswan-initiates",
        play: |case| wrong_identity(case, false),
    },
    Named {
        name: "third-proposal-and-invalid-ke",
        play: third_proposal,
    },
    Named {
        name: "no-proposal-strongswan-initiates",
        play: |case| no_proposal(case, false),
    },
    Named {
        name: "no-proposal-karp-initiates",
        play: |case| no_proposal(case, true),
    },
    Named {
        name: "rekey-by-karp",
        play: rekey_by_karp,
    },
    Named {
        name: "rekey-by-strongswan",
        play: rekey_by_swan,
    },
    Named {
        name: "delete-by-karp",
        play: delete_by_karp,
    },
    Named {
        name: "delete-by-strongswan",
        play: delete_by_swan,
    },
    Named {
        name: "liveness-asked-by-karp",
        play: liveness_by_karp,
    },
    Named {
        name: "liveness-asked-by-strongswan",
        play: liveness_by_swan,
    },
    Named {
        name: "strongswan-restarts",
        play: swan_restarts,
    },
    Named {
        name: "loss-20-karp-initiates",
        play: |case| loss(case, true),
    },
    Named {
        name: "loss-20-strongswan-initiates",
        play: |case| loss(case, false),
    },
];

/// strongSwan has exactly one IKE SA with karp, established.
fn one_sa(swan: &Swan) -> anyhow::Result<()> {
    let list = swan.list()?;
    let count = list.matches("ESTABLISHED").count();
    ensure!(
        count == 1,
        "strongSwan lists {count} established IKE SAs:\n{list}"
    );
    ensure!(
        list.contains("CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_25519"),
        "another suite:\n{list}"
    );
    Ok(())
}

fn established(karp: &mut Karp, swan: &Swan) -> anyhow::Result<()> {
    karp.up()?;
    swan.wait_log("established between", SOON)?;
    one_sa(swan)
}

fn karp_initiates(case: &Case<'_>, raw: bool) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(raw)))?;
    case.play(&mut swan, settings(true), keys.store(raw)?, |karp, swan| {
        established(karp, swan)?;
        let Some(Event::Up {
            initiated: true,
            elapsed,
        }) = karp.seen.first()
        else {
            anyhow::bail!("karp did not initiate");
        };
        Ok(format!(
            "established in {} ms, {} messages",
            elapsed.as_millis(),
            karp.messages.len()
        ))
    })
}

fn swan_initiates(case: &Case<'_>, raw: bool) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(raw)))?;
    case.play(&mut swan, settings(false), keys.store(raw)?, |karp, swan| {
        initiate(karp, swan)?;
        established(karp, swan)?;
        let up = karp.seen.iter().find_map(|event| match event {
            Event::Up {
                initiated: false,
                elapsed,
            } => Some(*elapsed),
            _ => None,
        });
        let elapsed = up.context("karp did not answer")?;
        Ok(format!("established in {} ms", elapsed.as_millis()))
    })
}

/// Has strongSwan begin while karp's loop runs.
fn initiate(karp: &mut Karp, swan: &Swan) -> anyhow::Result<()> {
    during(karp, || swan.initiate())
}

/// Runs something that blocks while karp's loop goes on.
fn during<T: Send>(karp: &mut Karp, what: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let done = scope.spawn(what);
        while !done.is_finished() {
            karp.pass(Duration::from_millis(20))?;
        }
        done.join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
    })
}

fn swan_asks_for_a_cookie(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup {
        cookies: true,
        ..Setup::new(keys.swan_auth(false))
    })?;
    // charon asks only while exchanges are half-open: two are begun that nobody goes on with.
    case.abandon(2, keys.store(false)?)?;
    case.play(&mut swan, settings(true), keys.store(false)?, |karp, swan| {
        established(karp, swan)?;
        let given = karp.counters().cookies_given;
        ensure!(given >= 1, "strongSwan asked for no cookie");
        ensure!(swan.log().contains("N(COOKIE)"), "strongSwan's log has no COOKIE");
        Ok(format!("{given} cookie given"))
    })
}

fn karp_asks_for_a_cookie(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    let mut settings = settings(false);
    settings.cookies = Cookies::Always;
    case.play(&mut swan, settings, keys.store(false)?, |karp, swan| {
        initiate(karp, swan)?;
        established(karp, swan)?;
        let asked = karp.counters().cookies_asked;
        ensure!(asked >= 1, "karp asked for no cookie");
        ensure!(swan.log().contains("N(COOKIE)"), "strongSwan saw no COOKIE");
        Ok(format!("{asked} cookie asked and got"))
    })
}

fn wrong_key(case: &Case<'_>, at_karp: bool) -> anyhow::Result<String> {
    let (keys, others) = (Keys::new(), Keys::new());
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    case.play(
        &mut swan,
        settings(at_karp),
        others.store(false)?,
        |karp, swan| {
            if !at_karp {
                initiate(karp, swan)?;
            }
            let reason = karp.failure();
            ensure!(!karp.host.pair().is_up(), "karp takes a peer with another key");
            ensure!(
                !swan.list()?.contains("ESTABLISHED"),
                "strongSwan takes a peer with another key"
            );
            if at_karp {
                let reason = reason?;
                ensure!(
                    reason == Failure::ProofRefused,
                    "karp gives {reason:?} as the reason"
                );
                swan.wait_log("AUTH_FAILED", SOON)?;
                return Ok("refused by strongSwan: proof refused".to_owned());
            }
            ensure!(karp.counters().failures >= 1, "karp counted no failure");
            swan.wait_log("received AUTHENTICATION_FAILED notify error", SOON)?;
            Ok("refused by karp: AUTHENTICATION_FAILED".to_owned())
        },
    )
}

/// karp has another public key of strongSwan than strongSwan signs with: strongSwan is satisfied, and karp is not.
fn wrong_raw_key(case: &Case<'_>) -> anyhow::Result<String> {
    let (mut keys, others) = (Keys::new(), Keys::new());
    let mut swan = case.swan(&Setup::new(keys.swan_auth(true)))?;
    keys.swan = others.swan;
    case.play(&mut swan, settings(true), keys.store(true)?, |karp, swan| {
        let reason = karp.failure()?;
        ensure!(reason == Failure::BadProof, "karp gives {reason:?} as the reason");
        // It is told, and drops what it took for established.
        swan.wait_log("AUTH_FAILED", SOON)?;
        karp.pass(Duration::from_millis(300))?;
        ensure!(!karp.host.pair().is_up(), "karp is up");
        let list = swan.list()?;
        ensure!(!list.contains("ESTABLISHED"), "strongSwan keeps it:\n{list}");
        Ok("refused by karp, and strongSwan dropped it when it was told".to_owned())
    })
}

fn wrong_identity(case: &Case<'_>, karp_initiates: bool) -> anyhow::Result<String> {
    let keys = Keys::new();
    let setup = Setup {
        id: "c.example".to_owned(),
        ..Setup::new(keys.swan_auth(false))
    };
    let mut swan = case.swan(&setup)?;
    case.play(
        &mut swan,
        settings(karp_initiates),
        keys.store(false)?,
        |karp, swan| {
            if !karp_initiates {
                initiate(karp, swan)?;
            }
            let reason = karp.failure();
            ensure!(!karp.host.pair().is_up(), "karp takes another identity");
            ensure!(!swan.list()?.contains("ESTABLISHED"), "strongSwan is up");
            if karp_initiates {
                let reason = reason?;
                ensure!(
                    reason == Failure::ProofRefused,
                    "karp gives {reason:?} as the reason"
                );
                return Ok("strongSwan is not whom karp asked for: proof refused".to_owned());
            }
            swan.wait_log("received AUTHENTICATION_FAILED notify error", SOON)?;
            Ok("refused by karp: AUTHENTICATION_FAILED".to_owned())
        },
    )
}

/// The suite is third, and strongSwan guesses another group first: INVALID_KE_PAYLOAD, and another round.
fn third_proposal(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let proposals = format!("aes256-sha512-modp2048,aes128gcm16-prfsha384-ecp256,{SUITE}");
    let mut swan = case.swan(&Setup {
        proposals,
        ..Setup::new(keys.swan_auth(false))
    })?;
    case.play(&mut swan, settings(false), keys.store(false)?, |karp, swan| {
        initiate(karp, swan)?;
        established(karp, swan)?;
        let refused = karp
            .messages
            .iter()
            .any(|(_, _, handled)| *handled == Some(Handled::Dropped(DropReason::BadKeyMaterial)));
        ensure!(refused, "strongSwan guessed the group at once");
        ensure!(
            swan.log().contains("INVAL_KE"),
            "strongSwan saw no INVALID_KE_PAYLOAD"
        );
        Ok("third proposal taken after INVALID_KE_PAYLOAD".to_owned())
    })
}

fn no_proposal(case: &Case<'_>, karp_initiates: bool) -> anyhow::Result<String> {
    let keys = Keys::new();
    let proposals = "aes256gcm16-prfsha384-ecp256".to_owned();
    let mut swan = case.swan(&Setup {
        proposals,
        ..Setup::new(keys.swan_auth(false))
    })?;
    case.play(
        &mut swan,
        settings(karp_initiates),
        keys.store(false)?,
        |karp, swan| {
            if karp_initiates {
                let reason = karp.failure()?;
                ensure!(
                    reason == Failure::NoProposal,
                    "karp gives {reason:?} as the reason"
                );
                swan.wait_log("received proposals unacceptable", SOON)?;
                return Ok("refused by strongSwan, told as no_proposal".to_owned());
            }
            initiate(karp, swan)?;
            swan.wait_log("received NO_PROPOSAL_CHOSEN notify error", SOON)?;
            ensure!(!karp.host.pair().is_up(), "karp is up");
            Ok("refused by karp: NO_PROPOSAL_CHOSEN".to_owned())
        },
    )
}

fn rekey_by_karp(case: &Case<'_>) -> anyhow::Result<String> {
    rekey(case, |karp, _| karp.command(Command::RekeyIkeSa))
}

fn rekey_by_swan(case: &Case<'_>) -> anyhow::Result<String> {
    rekey(case, |karp, swan| {
        during(karp, || {
            swan.control(&["--rekey", "--ike", super::swan::CONNECTION])
                .map(drop)
        })
    })
}

/// Three times: the IKE SA is another one on both sides, and messages go under it.
fn rekey(case: &Case<'_>, ask: fn(&mut Karp, &Swan) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    case.play(&mut swan, settings(true), keys.store(false)?, |karp, swan| {
        established(karp, swan)?;
        for turn in 1..=3 {
            let before = karp.host.pair().ike_sa();
            ask(karp, swan)?;
            karp.until("another IKE SA", SOON, |pair| {
                pair.ike_sa() != before && pair.ike_sa().is_some()
            })?;
            let confirmed = karp.counters().probes_confirmed;
            karp.command(Command::Probe)?;
            karp.until("an answer under it", SOON, |pair| {
                pair.pair_counters().probes_confirmed > confirmed
            })?;
            karp.pass(Duration::from_millis(200))?;
            let (spi_i, spi_r) = karp.host.pair().ike_sa().context("none")?;
            let list = swan.list()?;
            for spi in [spi_i, spi_r] {
                let hex: String = spi.iter().map(|octet| format!("{octet:02x}")).collect();
                ensure!(
                    list.contains(&hex),
                    "turn {turn}: strongSwan does not have SPI {hex}:\n{list}"
                );
            }
            one_sa(swan)?;
        }
        ensure!(karp.counters().ike_rekeys == 3, "{:?}", karp.counters());
        ensure!(
            !karp.seen.iter().any(|event| matches!(event, Event::Down { .. })),
            "it went down"
        );
        Ok("3 times, with an answered request under each".to_owned())
    })
}

fn delete_by_karp(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    case.play(&mut swan, settings(true), keys.store(false)?, |karp, swan| {
        established(karp, swan)?;
        karp.command(Command::Stop)?;
        karp.until("the end", SOON, |pair| !pair.is_up())?;
        swan.wait_log("received DELETE for IKE_SA", SOON)?;
        karp.pass(Duration::from_millis(100))?;
        ensure!(
            karp.seen.contains(&Event::Down {
                reason: DownReason::Stopped
            }),
            "no event"
        );
        ensure!(!swan.list()?.contains("ESTABLISHED"), "strongSwan keeps it");
        Ok("strongSwan answered and dropped it".to_owned())
    })
}

fn delete_by_swan(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    case.play(&mut swan, settings(false), keys.store(false)?, |karp, swan| {
        initiate(karp, swan)?;
        established(karp, swan)?;
        during(karp, || {
            swan.control(&["--terminate", "--ike", super::swan::CONNECTION])
                .map(drop)
        })?;
        karp.until("the end", SOON, |pair| !pair.is_up())?;
        karp.pass(Duration::from_millis(100))?;
        ensure!(
            karp.seen.contains(&Event::Down {
                reason: DownReason::Deleted
            }),
            "no event"
        );
        swan.wait_log("IKE_SA deleted", SOON)?;
        Ok("answered".to_owned())
    })
}

fn liveness_by_karp(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    let mut settings = settings(true);
    settings.liveness = karp_core::Duration::from_secs(1);
    case.play(&mut swan, settings, keys.store(false)?, |karp, swan| {
        established(karp, swan)?;
        karp.until("three answers", SOON, |pair| {
            pair.pair_counters().probes_confirmed >= 3
        })?;
        ensure!(karp.counters().retransmissions == 0, "{:?}", karp.counters());
        one_sa(swan)?;
        Ok(format!(
            "{} answered by strongSwan",
            karp.counters().probes_confirmed
        ))
    })
}

fn liveness_by_swan(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup {
        dpd: 1,
        ..Setup::new(keys.swan_auth(false))
    })?;
    case.play(&mut swan, settings(true), keys.store(false)?, |karp, swan| {
        established(karp, swan)?;
        karp.until("three questions", SOON, |pair| {
            pair.pair_counters().probes_answered >= 3
        })?;
        one_sa(swan)?;
        Ok(format!("{} answered by karp", karp.counters().probes_answered))
    })
}

/// strongSwan is killed and comes back: its INITIAL_CONTACT ends karp's old IKE SA at once.
fn swan_restarts(case: &Case<'_>) -> anyhow::Result<String> {
    let keys = Keys::new();
    let setup = Setup::new(keys.swan_auth(false));
    let mut swan = case.swan(&setup)?;
    case.play(&mut swan, settings(false), keys.store(false)?, |karp, swan| {
        initiate(karp, swan)?;
        established(karp, swan)?;
        swan.crash()?;
        *swan = case.swan(&setup)?;
        initiate(karp, swan)?;
        let restarted = Event::Down {
            reason: DownReason::PeerRestarted,
        };
        karp.pass(Duration::from_millis(300))?;
        ensure!(karp.seen.contains(&restarted), "karp did not see the restart");
        ensure!(
            karp.host.pair().is_up() && karp.host.pair().ike_sas() == 1,
            "not one IKE SA"
        );
        one_sa(swan)?;
        Ok("INITIAL_CONTACT ended the old IKE SA at once".to_owned())
    })
}

/// A fifth of all packets is lost at each side: start, rekey by both, liveness and end come through by repeats.
fn loss(case: &Case<'_>, karp_initiates: bool) -> anyhow::Result<String> {
    let keys = Keys::new();
    let mut swan = case.swan(&Setup::new(keys.swan_auth(false)))?;
    let long = Duration::from_secs(60);
    let mut settings = settings(karp_initiates);
    settings.tries = 10;
    case.lose(20)?;
    let outcome = case.play(&mut swan, settings, keys.store(false)?, |karp, swan| {
        if !karp_initiates {
            initiate(karp, swan)?;
        }
        karp.until("an IKE SA at karp", long, |pair| pair.is_up())?;
        for _ in 0..4 {
            let before = karp.host.pair().ike_sa();
            karp.command(Command::RekeyIkeSa)?;
            karp.until("another IKE SA", long, |pair| {
                pair.ike_sa() != before && pair.ike_sa().is_some()
            })?;
        }
        let confirmed = karp.counters().probes_confirmed;
        for turn in 1..=10 {
            karp.command(Command::Probe)?;
            karp.until("an answer", long, |pair| {
                pair.pair_counters().probes_confirmed >= confirmed + turn
            })?;
        }
        let counters = karp.counters();
        ensure!(
            counters.retransmissions + counters.responses_repeated > 0,
            "nothing was lost"
        );
        karp.command(Command::Stop)?;
        karp.until("the end", long, |pair| !pair.is_up())?;
        Ok(format!(
            "start, 4 rekeys, 10 probes and the end with {} requests sent again and {} answers",
            counters.retransmissions, counters.responses_repeated
        ))
    });
    case.keep()?;
    outcome
}
