//! FRR: its configuration, and what its logs say.

use std::{fmt::Write as _, path::Path};

use karp_std::daemons::frr::Vty;
use serde_json::Value;

use super::{
    lines::{Line, router_of, stamp},
    net::INTERFACE,
    record::Watched,
};

/// The key chain of the interface, in each of the daemons.
pub const CHAIN: &str = "karp-eth0";

/// The tree's path of the directory of its sockets and logs.
pub const RUN: &str = "/run/frr";

/// The daemon of a protocol.
#[must_use]
pub const fn daemon(protocol: Watched) -> Option<&'static str> {
    match protocol {
        Watched::Ospf2 => Some("ospfd"),
        Watched::Ospf3 => Some("ospf6d"),
        Watched::Rip | Watched::Babel | Watched::Bfd => None,
    }
}

/// The configuration of zebra, which says little.
#[must_use]
pub fn zebra() -> String {
    format!("log timestamp precision 3\nlog file {RUN}/zebra.log errors\n")
}

/// The configuration of ospfd or ospf6d, with a key chain of one key.
#[must_use]
pub fn configuration(protocol: Watched, host: u8, priority: u8, key_id: u16, key: &str) -> String {
    let name = daemon(protocol).unwrap_or("ospfd");
    let mut text = format!(
        "log timestamp precision 3\nlog file {RUN}/{name}.log informational\nkey chain {CHAIN}\n key {key_id}\n  \
         key-string {key}\n  cryptographic-algorithm hmac-sha-256\n exit\nexit\ninterface {INTERFACE}\n"
    );
    let (command, keychain) = match protocol {
        Watched::Ospf3 => ("ipv6 ospf6", "keychain"),
        _ => ("ip ospf", "key-chain"),
    };
    for line in [
        "area 0".to_owned(),
        "network broadcast".to_owned(),
        "hello-interval 1".to_owned(),
        "dead-interval 10".to_owned(),
        // Seen with 10.3: a Database Description that is sent again goes out under the key of its first sending. If that
        // key is gone by then, the adjacency stays in ExStart for good: the interval must be shorter than the DTD.
        "retransmit-interval 1".to_owned(),
        format!("priority {priority}"),
        format!("authentication {keychain} {CHAIN}"),
    ] {
        let _ = writeln!(text, " {command} {line}");
    }
    let (router, id) = match protocol {
        Watched::Ospf3 => ("ospf6", "ospf6"),
        _ => ("ospf", "ospf"),
    };
    let _ = write!(
        text,
        "exit\nrouter {router}\n {id} router-id 10.9.255.{host}\n log-adjacency-changes detail\nexit\n"
    );
    text
}

/// What the router is on the link, as ospfd or ospf6d says it: `DR`, `Backup` or `BDR`, `DROther`, ..
#[must_use]
pub fn role(directory: &Path, protocol: Watched) -> Option<String> {
    let name = daemon(protocol)?;
    let mut vty = Vty::connect(&directory.join(format!("{name}.vty"))).ok()?;
    let (command, pointer) = match protocol {
        Watched::Ospf3 => (
            format!("show ipv6 ospf6 interface {INTERFACE} json"),
            format!("/{INTERFACE}/ospf6InterfaceState"),
        ),
        _ => (
            format!("show ip ospf interface {INTERFACE} json"),
            format!("/interfaces/{INTERFACE}/state"),
        ),
    };
    let answer = vty.show(&command).ok()?;
    let answer: Value = serde_json::from_str(answer.text()).ok()?;
    Some(answer.pointer(&pointer)?.as_str()?.to_owned())
}

/// What a line of the log of ospfd or ospf6d says, if it says anything of interest.
#[must_use]
pub fn parse(line: &str) -> Option<(u64, Line)> {
    // 2026/11/24 11:22:53.650 OSPF: [Y05P2-YJVXY] AdjChg: ..
    let at_ms = stamp(line.get(..23)?)?;
    let rest = line.get(24..)?;
    let (name, said) = rest.split_once(": ")?;
    let protocol = match name {
        "OSPF" => Watched::Ospf2,
        "OSPF6" => Watched::Ospf3,
        _ => return None,
    };
    let found = neighbour(protocol, said).or_else(|| refused(protocol, said))?;
    Some((at_ms, found))
}

// ospfd: "AdjChg: Nbr 10.9.255.2, NbrIP 10.9.0.2 (default) on eth0:10.9.0.3: Exchange -> Full (ExchangeDone)";
// ospf6d: "AdjChg: Nbr 10.9.255.4(default) on 10.9.255.4%eth0: Twoway -> ExStart (AdjOK?)".
fn neighbour(protocol: Watched, said: &str) -> Option<Line> {
    let (_, change) = said.split_once("AdjChg: Nbr ")?;
    let host = router_of(change.split([' ', '(']).next()?)?;
    let (_, to) = change.split_once(" -> ")?;
    Some(Line::Neighbour {
        protocol,
        host,
        state: to.split(' ').next()?.to_owned(),
    })
}

fn refused(protocol: Watched, said: &str) -> Option<Line> {
    let lower = said.to_ascii_lowercase();
    let is_one = ["mismatch", "auth", "digest", "keychain", "key chain"]
        .iter()
        .any(|word| lower.contains(word))
        && lower.contains("interface");
    is_one.then(|| Line::Refused {
        from: said
            .split_once("Router-ID: ")
            .and_then(|(_, id)| router_of(id.trim())),
        text: format!("{}: {said}", protocol.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<Line> {
        parse(line).map(|(_, said)| said)
    }

    #[test]
    fn adjacencies_of_ospfd_are_read_once() {
        let line = "2026/11/24 11:22:53.655 OSPF: [Y05P2-YJVXY] AdjChg: Nbr 10.9.255.2, NbrIP 10.9.0.2 (default) on \
                    eth0:10.9.0.3: Exchange -> Full (ExchangeDone)";
        assert_eq!(
            said(line),
            Some(Line::Neighbour {
                protocol: Watched::Ospf2,
                host: 2,
                state: "Full".to_owned()
            })
        );
        let again = "2026/11/24 11:22:53.655 OSPF: [S3578-FNEB0] nsm_change_state:[10.9.255.2:default], Exchange -> Full): \
                     scheduling new router-LSA origination";
        assert_eq!(said(again), None, "the same change a second time");
    }

    #[test]
    fn adjacencies_of_ospf6d_are_read() {
        let line = "2026/11/24 11:22:53.655 OSPF6: [GHN28-AMRE7] AdjChg: Nbr 10.9.255.1(default) on 10.9.255.1%eth0: Full -> Down \
                    (InactivityTimer)";
        assert_eq!(
            said(line),
            Some(Line::Neighbour {
                protocol: Watched::Ospf3,
                host: 1,
                state: "Down".to_owned()
            })
        );
    }

    #[test]
    fn refusals_name_the_sender() {
        let line = "2026/11/24 11:23:41.730 OSPF: [SMT20-N2WA4][EC 134217740] interface eth0:10.9.0.3: ospf_check_hmac_sha \
                    checksum mismatch 48, Router-ID: 10.9.255.1";
        assert!(matches!(said(line), Some(Line::Refused { from: Some(1), .. })));
    }

    #[test]
    fn other_lines_are_let_pass() {
        for line in [
            "",
            "2026/11/24",
            "2026/11/24 11:23:43.732 OSPF: [W9T04-QWK6B] Terminating on signal",
            "2026/11/24 11:22:51.000 ZEBRA: [NNACN-54BDA][EC 4043309110] Disabling MPLS support (no kernel support)",
            "2026/11/24 11:22:51.000 OSPF: [Y05P2-YJVXY] AdjChg: Nbr ",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn each_daemon_has_its_own_words() {
        let v2 = configuration(Watched::Ospf2, 3, 1, 7, "secret");
        assert!(
            v2.contains(" ip ospf authentication key-chain karp-eth0\n") && v2.contains("\nrouter ospf\n")
        );
        let v3 = configuration(Watched::Ospf3, 3, 1, 7, "secret");
        assert!(
            v3.contains(" ipv6 ospf6 authentication keychain karp-eth0\n") && v3.contains("\nrouter ospf6\n")
        );
    }
}
