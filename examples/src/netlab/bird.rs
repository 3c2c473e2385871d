//! BIRD: its configuration, and what its log says.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    lines::{Line, router_of, stamp},
    net::INTERFACE,
    record::{Level, Watched},
};

/// What [`write`] is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The router's number on the LAN: its addresses and its router id.
    pub host: u8,
    /// The numbers of the others: BFD sessions are made to them.
    pub others: &'a [u8],
    /// What it speaks.
    pub protocols: &'a [Watched],
    /// OSPF's own priority on the interface.
    pub priority: u8,
}

/// The tree's path of the directory that is the router's own.
pub const OWN: &str = "/run/own";

/// The name of the protocol instance in the configuration.
#[must_use]
pub const fn instance(protocol: Watched) -> &'static str {
    match protocol {
        Watched::Ospf2 => "o2",
        Watched::Ospf3 => "o3",
        Watched::Rip => "rip",
        Watched::Babel => "babel",
        Watched::Bfd => "bfd",
    }
}

/// The file of passwords of a protocol, in the router's own directory.
#[must_use]
pub fn key_file(protocol: Watched) -> String {
    format!("{}.keys", instance(protocol))
}

/// A file of passwords with one key. BFD takes its algorithm from the line above it.
#[must_use]
pub fn password(protocol: Watched, id: u16, text: &str) -> String {
    let algorithm = match protocol {
        Watched::Bfd => "",
        _ => " algorithm hmac sha256;",
    };
    format!("password \"{text}\" {{ id {id};{algorithm} }};\n")
}

/// The configuration of a router.
#[must_use]
pub fn configuration(settings: &Settings<'_>) -> String {
    let host = settings.host;
    let mut text = format!(
        "log \"{OWN}/bird.log\" all;\n\
         timeformat log iso long ms;\n\
         timeformat base iso long ms;\n\
         router id 10.9.255.{host};\n\
         protocol device {{ scan time 2; }}\n\
         protocol static s4 {{ ipv4; route 10.8.{host}.0/24 blackhole; }}\n\
         protocol static s6 {{ ipv6; route fd08:{host:x}::/64 blackhole; }}\n"
    );
    for protocol in settings.protocols {
        protocol_block(&mut text, *protocol, settings);
    }
    text
}

fn protocol_block(text: &mut String, protocol: Watched, settings: &Settings<'_>) {
    let name = instance(protocol);
    // The include stands at the start of a line of its own: BIRD wants it so.
    let keys = format!("\ninclude \"{OWN}/{}\";\n", key_file(protocol));
    let priority = settings.priority;
    let _ = match protocol {
        Watched::Ospf2 | Watched::Ospf3 => {
            let (version, family) = match protocol {
                Watched::Ospf2 => ("v2", "ipv4"),
                _ => ("v3", "ipv6"),
            };
            writeln!(
                text,
                "protocol ospf {version} {name} {{ debug {{ states, events, interfaces }}; \
                 {family} {{ import none; export none; }}; area 0 {{ interface \"{INTERFACE}\" {{ type broadcast; hello 1; \
                 dead count 10; wait 4; retransmit 2; priority {priority}; authentication cryptographic;{keys}}}; }}; }}"
            )
        }
        Watched::Rip => writeln!(
            text,
            "protocol rip {name} {{ debug {{ states, events, routes }}; \
             ipv4 {{ import all; export where source = RTS_STATIC; }}; interface \"{INTERFACE}\" {{ version 2; mode multicast; \
             update time 1; timeout time 10; garbage time 5; authentication cryptographic;{keys}}}; }}"
        ),
        Watched::Babel => writeln!(
            text,
            "protocol babel {name} {{ debug {{ states, events, interfaces }}; \
             ipv6 {{ import all; export where source = RTS_STATIC; }}; interface \"{INTERFACE}\" {{ type wired; limit 4; \
             hello interval 1s; update interval 4s; authentication mac;{keys}}}; }}"
        ),
        Watched::Bfd => {
            let sessions: String = settings
                .others
                .iter()
                .map(|other| format!(" neighbor 10.9.0.{other} dev \"{INTERFACE}\";"))
                .collect();
            writeln!(
                text,
                "protocol bfd {name} {{ debug {{ states, events }}; interface \"{INTERFACE}\" {{ interval 500ms; \
                 multiplier 10; authentication meticulous keyed sha1;{keys}}};{sessions} }}"
            )
        }
    };
}

/// What a line of the log says, if it says anything of interest.
#[must_use]
pub fn parse(line: &str) -> Option<(u64, Line)> {
    let (stamped, rest) = line.split_once(" <")?;
    let at_ms = stamp(stamped)?;
    let (level, rest) = rest.split_once("> ")?;
    let (name, said) = rest.split_once([':', ' '])?;
    let protocol = [
        Watched::Ospf2,
        Watched::Ospf3,
        Watched::Rip,
        Watched::Babel,
        Watched::Bfd,
    ]
    .into_iter()
    .find(|protocol| {
        name == instance(*protocol) || name.strip_prefix(instance(*protocol)) == Some(".ipv4")
    })?;
    let said = said.trim_start();
    let found = match level {
        "TRACE" => trace(protocol, said),
        "AUTH" => Some(Line::Refused {
            from: said.split_whitespace().find_map(router_of),
            text: format!("{}: {said}", protocol.name()),
        }),
        _ => None,
    }?;
    Some((at_ms, found))
}

fn trace(protocol: Watched, said: &str) -> Option<Line> {
    let neighbour = |host, state: &str| Line::Neighbour {
        protocol,
        host,
        state: state.to_owned(),
    };
    match protocol {
        Watched::Ospf2 | Watched::Ospf3 => {
            let (who, states) = said.split_once(" changed state from ")?;
            let (_, to) = states.split_once(" to ")?;
            if let Some(rest) = who.strip_prefix("Neighbor ") {
                return Some(neighbour(router_of(rest.split(' ').next()?)?, to));
            }
            who.starts_with("Interface ").then(|| Line::Role {
                protocol,
                role: to.to_owned(),
            })
        }
        Watched::Bfd => {
            let (who, to) = said
                .strip_prefix("Session to ")?
                .split_once(" changed state from ")?;
            let (_, to) = to.split_once(" to ")?;
            Some(neighbour(router_of(who)?, to))
        }
        // "Cost of nbr fe80::1 on eth0 changed from 65535 to 96": beyond reach at 65535.
        Watched::Babel => {
            if let Some(rest) = said.strip_prefix("Removing neighbor ") {
                return Some(neighbour(router_of(rest.split(' ').next()?)?, "Down"));
            }
            let (who, costs) = said.strip_prefix("Cost of nbr ")?.split_once(" changed from ")?;
            let (_, cost) = costs.split_once(" to ")?;
            let state = if cost.trim() == "65535" { "Down" } else { "Up" };
            Some(neighbour(router_of(who.split(' ').next()?)?, state))
        }
        // "> added [best] 10.8.2.0/24 ..", "> removed [sole] 10.8.2.0/24 ..": each router has one prefix of its own.
        Watched::Rip => {
            let rest = said.strip_prefix("> ")?;
            let state = match rest.split(' ').next()? {
                "added" | "updated" | "replaced" => "Up",
                "removed" | "filtered" => "Down",
                _ => return None,
            };
            let prefix = rest.split(' ').find(|word| word.starts_with("10.8."))?;
            let host = prefix.strip_prefix("10.8.")?.split('.').next()?.parse().ok()?;
            Some(neighbour(host, state))
        }
    }
}

/// Sends a command to a control socket and gives the lines of its answer.
///
/// # Errors
/// No BIRD there, or no answer within 3 s.
pub fn command(socket: &Path, command: &str) -> anyhow::Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("no BIRD at {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut answer = String::new();
    reader.read_line(&mut answer).context("BIRD does not greet")?;
    answer.clear();
    stream.write_all(format!("{command}\n").as_bytes())?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).context("BIRD does not answer")? == 0 {
            bail!("BIRD ended the connection");
        }
        let is_last =
            line.as_bytes().get(4) == Some(&b' ') && line.bytes().take(4).all(|octet| octet.is_ascii_digit());
        answer.push_str(&line);
        if is_last {
            return Ok(answer);
        }
    }
}

/// The level of a change of the control LAN.
#[must_use]
pub fn control(line: &Line) -> Option<Level> {
    match line {
        Line::Neighbour { state, .. } => Some(Level::of(state)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<Line> {
        parse(line).map(|(_, said)| said)
    }

    fn neighbour(protocol: Watched, host: u8, state: &str) -> Option<Line> {
        Some(Line::Neighbour {
            protocol,
            host,
            state: state.to_owned(),
        })
    }

    #[test]
    fn adjacencies_of_each_protocol_are_read() {
        let o2 = "2026-11-24 11:23:36.731 <TRACE> o2: Neighbor 10.9.255.2 on eth0 changed state from Loading to Full";
        assert_eq!(parse(o2).unwrap().0 % 100_000, 16_731);
        assert_eq!(said(o2), neighbour(Watched::Ospf2, 2, "Full"));
        let cases = [
            (
                "o3: Neighbor 10.9.255.2 on eth0 changed state from Full to Init",
                Watched::Ospf3,
                2,
                "Init",
            ),
            (
                "bfd: Session to 10.9.0.2 changed state from Up to Down",
                Watched::Bfd,
                2,
                "Down",
            ),
            (
                "babel: Cost of nbr fe80::9ff:fe00:3 on eth0 changed from 65535 to 96",
                Watched::Babel,
                3,
                "Up",
            ),
            (
                "babel: Cost of nbr fe80::9ff:fe00:3 on eth0 changed from 96 to 65535",
                Watched::Babel,
                3,
                "Down",
            ),
            (
                "babel: Removing neighbor fe80::9ff:fe00:3 on eth0",
                Watched::Babel,
                3,
                "Down",
            ),
            (
                "rip.ipv4 > added [best] 10.8.2.0/24 0L 7G unicast",
                Watched::Rip,
                2,
                "Up",
            ),
            (
                "rip.ipv4 > removed [sole] 10.8.2.0/24 0L 7G unicast",
                Watched::Rip,
                2,
                "Down",
            ),
        ];
        for (text, protocol, host, state) in cases {
            let line = format!("2026-11-24 11:23:36.731 <TRACE> {text}");
            assert_eq!(said(&line), neighbour(protocol, host, state), "{text}");
        }
    }

    #[test]
    fn roles_and_refusals_are_read() {
        assert_eq!(
            said("2026-11-24 11:23:40.725 <TRACE> o2: Interface eth0 changed state from Backup to DR"),
            Some(Line::Role {
                protocol: Watched::Ospf2,
                role: "DR".to_owned()
            })
        );
        let refused = said(
            "2026-11-24 11:23:33.767 <AUTH> o2: Authentication failed for nbr 10.9.255.3 on eth0 - wrong authentication code (7)",
        );
        assert!(
            matches!(refused, Some(Line::Refused { from: Some(3), .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn other_lines_are_let_pass() {
        for line in [
            "",
            "2026-11-24 11:22:38.646 <INFO> Started",
            "2026-11-24 11:22:38.653 <TRACE> o2: Interface eth0 goes up",
            "2026-11-24 11:22:38.653 <TRACE> rip.ipv4 < added 10.8.1.0/24 0L 3G blackhole",
            "2026-11-24 11:22:38.653 <TRACE> o2: Neighbor",
            "not a time <TRACE> o2: Neighbor 10.9.255.2 on eth0 changed state from Loading to Full",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }

    #[test]
    fn an_include_stands_at_the_start_of_its_line() {
        let all = [
            Watched::Ospf2,
            Watched::Ospf3,
            Watched::Rip,
            Watched::Babel,
            Watched::Bfd,
        ];
        let text = configuration(&Settings {
            host: 1,
            others: &[2, 3],
            protocols: &all,
            priority: 1,
        });
        for protocol in all {
            let include = format!("\ninclude \"/run/own/{}\";\n", key_file(protocol));
            assert!(text.contains(&include), "{text}");
        }
        assert!(text.contains("neighbor 10.9.0.3 dev"));
    }
}
