//! Messages and keys from strongSwan's own log, as a data file for karp-core's tests: its key schedule is then pinned by
//! what another implementation computed.
//!
//! charon writes octets as lines of sixteen below a line that names them (`SKEYSEED => 32 bytes @ 0x..`). A message that it
//! sends is the last one that was generated before the line that says so.

use std::{collections::BTreeMap, fmt::Write as _};

/// What is taken, as charon calls it and as the file does.
const WANTED: &[(&str, &str)] = &[
    ("received packet", "received"),
    ("key exchange secret", "g_ir"),
    ("nonces", "nonces"),
    ("SKEYSEED", "skeyseed"),
    ("Sk_d secret", "sk_d"),
    ("Sk_ei secret", "sk_ei"),
    ("Sk_er secret", "sk_er"),
    ("Sk_pi secret", "sk_pi"),
    ("Sk_pr secret", "sk_pr"),
    ("secret", "psk"),
    ("AUTH = prf(prf(secret, keypad), octets)", "auth"),
];
const GENERATED: &str = "generated data of this generator";

/// The file's text, from a log at the levels ike = 4, enc = 3, net = 3.
#[must_use]
pub fn extract(log: &str, case: &str, version: &str) -> String {
    let mut text = format!(
        "# Messages and keys of one run of `netlab -- strongswan` (case {case}) between karp and {version},\n\
         # all of them taken from strongSwan's own log (ike = 4, enc = 3, net = 3), in the order in which it wrote them.\n\
         # karp initiates; `received` is karp's message, `sent` strongSwan's. The keys protected nothing else.\n\
         # charon logs an unsealed message before its Length field is final: that field holds the number of octets here.\n\
         # Made anew by the same case: target/netlab/strongswan/{case}/vectors.txt.\n"
    );
    // By thread: several answer at once.
    let mut generated: BTreeMap<&str, String> = BTreeMap::new();
    let lines: Vec<&str> = log.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some((prefix, said)) = line.split_once("] ") else {
            continue;
        };
        if said.starts_with("sending packet: ") && said.ends_with(" bytes)") {
            let message = with_length(generated.remove(thread(prefix)).unwrap_or_default());
            let _ = writeln!(text, "sent = {message}");
        }
        let Some((name, _)) = said.split_once(" => ") else {
            continue;
        };
        let octets = || dump(&lines[at + 1..], prefix);
        if name == GENERATED {
            generated.insert(thread(prefix), octets());
        } else if let Some((_, short)) = WANTED.iter().find(|(long, _)| *long == name) {
            let _ = writeln!(text, "{short} = {}", octets());
        }
    }
    text
}

/// A message's own Length field (RFC 7296 section 3.1), set to what it has.
fn with_length(mut message: String) -> String {
    let length = format!("{:08x}", message.len() / 2);
    if message.len() >= 56 {
        message.replace_range(48..56, &length);
    }
    message
}

/// The number in front of a line.
fn thread(prefix: &str) -> &str {
    prefix.split('[').next().unwrap_or_default()
}

/// The octets below a line, in hexadecimal: lines of the same thread and group, each with its offset.
fn dump(lines: &[&str], prefix: &str) -> String {
    let mut hex = String::new();
    for line in lines {
        let Some((own, said)) = line.split_once("] ") else {
            continue;
        };
        // Other threads write between them.
        if own != prefix {
            continue;
        }
        let Some((offset, octets)) = said.trim_start().split_once(": ") else {
            break;
        };
        if offset.parse() != Ok(hex.len() / 2) {
            break;
        }
        // Sixteen octets of three characters, then the same as text.
        let octets = octets.get(..48).unwrap_or(octets);
        hex.extend(
            octets
                .chars()
                .filter(char::is_ascii_hexdigit)
                .map(|digit| digit.to_ascii_lowercase()),
        );
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_found_between_other_threads() {
        let log = "12[IKE] SKEYSEED => 18 bytes @ 0x7f\n\
                   12[IKE]    0: B8 4E 89 51 D4 F2 40 A1 CC 9B 65 0B E8 D5 03 DF  .N.Q..@...e.....\n\
                   03[NET] waiting for data on sockets\n\
                   12[IKE]   16: AA DA                                            ..\n\
                   12[IKE] Sk_d secret => 1 bytes @ 0x7f\n\
                   12[IKE]    0: FF                                               .\n\
                   12[ENC] generated data of this generator => 2 bytes @ 0x7f\n\
                   12[ENC]    0: 01 02                                            ..\n\
                   12[NET] sending packet: from 10.9.0.2[500] to 10.9.0.1[500] (2 bytes)\n";
        let text = extract(log, "case", "strongSwan 6");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "skeyseed = b84e8951d4f240a1cc9b650be8d503dfaada",
                "sk_d = ff",
                "sent = 0102"
            ]
        );
    }
}
