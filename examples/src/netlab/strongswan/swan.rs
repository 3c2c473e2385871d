//! strongSwan's daemon charon in a namespace, from the Debian tree: its configuration, its log, and the program that
//! drives it.

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use base64ct::{Base64, Encoding as _};
use karp_core::wire::auth::public_key_info;

use crate::netlab::process::{Process, in_tree, run};

/// The suite, as strongSwan writes it.
pub const SUITE: &str = "chacha20poly1305-prfsha256-curve25519";
/// The name of the one connection.
pub const CONNECTION: &str = "pair";
/// What stands before the 32 octets of an Ed25519 seed in a PKCS #8 file (RFC 8410 section 7).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// How the two prove themselves, from strongSwan's side.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A pre-shared key, and what is behind it in the secret's place for a post-quantum one.
    Psk(Vec<u8>),
    /// Raw Ed25519 keys: its own seed, the peer's public key.
    RawKeys([u8; 32], [u8; 32]),
}

/// What strongSwan is configured with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its proposals, the best first.
    pub proposals: String,
    /// How the two prove themselves.
    pub auth: Auth,
    /// Who it says it is.
    pub id: String,
    /// Whom it takes.
    pub peer: String,
    /// It asks everybody for a cookie.
    pub cookies: bool,
    /// It asks after so many seconds of silence whether the peer lives; 0 never.
    pub dpd: u32,
}

impl Setup {
    /// Of b.example for a.example.
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        Self {
            proposals: SUITE.to_owned(),
            auth,
            id: "b.example".to_owned(),
            peer: "a.example".to_owned(),
            cookies: false,
            dpd: 0,
        }
    }

    fn daemon(&self) -> String {
        let cookies = if self.cookies {
            "  cookie_threshold = 2\n  cookie_threshold_ip = 100\n  block_threshold = 100\n"
        } else {
            ""
        };
        format!(
            "charon {{\n  load = random nonce openssl curve25519 chapoly sha2 hmac kdf pem pkcs1 pkcs8 pubkey x509 \
             revocation constraints kernel-netlink socket-default vici\n  install_routes = no\n{cookies}  filelog {{\n    l {{\n      \
             path = /run/charon.log\n      default = 1\n      ike = 4\n      enc = 3\n      net = 3\n      cfg = 2\n      \
             flush_line = yes\n    }}\n  }}\n  plugins {{\n    vici {{\n      socket = unix:///run/vici\n    }}\n  }}\n}}\n"
        )
    }

    fn connections(&self, own: IpAddr, peer: IpAddr) -> String {
        let (auth, keys, secrets) = match &self.auth {
            Auth::Psk(key) => {
                let mut hex = String::new();
                for octet in key {
                    let _ = write!(hex, "{octet:02x}");
                }
                (
                    "psk",
                    "",
                    format!(
                        "secrets {{\n  ike-pair {{\n    id-a = {}\n    id-b = {}\n    secret = 0x{hex}\n  }}\n}}\n",
                        self.id, self.peer
                    ),
                )
            }
            Auth::RawKeys(..) => ("pubkey", "own.pem", String::new()),
        };
        let pubkeys = |file: &str| {
            if keys.is_empty() {
                String::new()
            } else {
                format!("      pubkeys = {file}\n")
            }
        };
        format!(
            "connections {{\n  {CONNECTION} {{\n    version = 2\n    proposals = {}\n    childless = force\n    mobike = no\n    \
             local_addrs = {own}\n    remote_addrs = {peer}\n    rekey_time = 0\n    dpd_delay = {}s\n    local {{\n      \
             auth = {auth}\n      id = {}\n{}    }}\n    remote {{\n      auth = {auth}\n      id = {}\n{}    }}\n  }}\n}}\n{secrets}",
            self.proposals,
            self.dpd,
            self.id,
            pubkeys("own.pem"),
            self.peer,
            pubkeys("peer.pem"),
        )
    }
}

/// A running charon.
#[derive(Debug)]
pub struct Swan {
    process: Process,
    namespace: String,
    tree: PathBuf,
    binds: Vec<(PathBuf, &'static str)>,
    log: PathBuf,
    /// How much of the log was there when the last mark was set.
    mark: usize,
}

impl Swan {
    /// Starts charon with its files in `directory` and loads the configuration.
    ///
    /// # Errors
    /// What does not work, with the daemon's words.
    pub fn start(
        setup: &Setup,
        namespace: &str,
        tree: &Path,
        directory: &Path,
        own: IpAddr,
        peer: IpAddr,
    ) -> anyhow::Result<Self> {
        let (state, config) = (directory.join("run"), directory.join("swanctl"));
        for part in [&state, &config.join("private"), &config.join("pubkey")] {
            std::fs::create_dir_all(part).with_context(|| format!("{} cannot be made", part.display()))?;
        }
        let write = |path: PathBuf, text: String| {
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
        };
        write(state.join("strongswan.conf"), setup.daemon())?;
        write(config.join("swanctl.conf"), setup.connections(own, peer))?;
        if let Auth::RawKeys(seed, theirs) = &setup.auth {
            let own = karp_core::crypto::SigningKey::from_seed(&karp_core::crypto::Secret::from_bytes(*seed));
            let private: Vec<u8> = PKCS8.iter().chain(seed).copied().collect();
            write(config.join("private/own.pem"), pem("PRIVATE KEY", &private))?;
            write(
                config.join("pubkey/own.pem"),
                pem("PUBLIC KEY", &public_key_info(&own.public())),
            )?;
            write(
                config.join("pubkey/peer.pem"),
                pem("PUBLIC KEY", &public_key_info(theirs)),
            )?;
        }
        let binds = vec![(state.clone(), "/run"), (config, "/etc/swanctl")];
        let mut command = in_tree(namespace, tree, &binds, "/usr/lib/ipsec/charon");
        command.env("STRONGSWAN_CONF", "/run/strongswan.conf");
        let process = Process::spawn("charon", command, &directory.join("output"))?;
        let mut swan = Self {
            process,
            namespace: namespace.to_owned(),
            tree: tree.to_owned(),
            binds,
            log: state.join("charon.log"),
            mark: 0,
        };
        let end = Instant::now() + Duration::from_secs(15);
        while !state.join("vici").exists() {
            if swan.process.ended().is_some() || Instant::now() > end {
                bail!("charon does not start: {}", swan.process.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        swan.control(&["--load-all"])?;
        Ok(swan)
    }

    /// Ends it without warning: it tells nobody.
    ///
    /// # Errors
    /// Its files cannot be made ready for the next.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        self.process.crash();
        let socket = self.log.with_file_name("vici");
        std::fs::remove_file(&socket).with_context(|| format!("{} cannot be removed", socket.display()))
    }

    /// Runs swanctl.
    ///
    /// # Errors
    /// What it says.
    pub fn control(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = in_tree(&self.namespace, &self.tree, &self.binds, "/usr/sbin/swanctl");
        command
            .env("STRONGSWAN_CONF", "/run/strongswan.conf")
            .args(arguments)
            .args(["--uri", "unix:///run/vici"]);
        run(&mut command)
    }

    /// Has it begin an exchange, without waiting for the end.
    ///
    /// # Errors
    /// What swanctl says.
    pub fn initiate(&self) -> anyhow::Result<()> {
        // It waits a second at most; that the exchange is not done by then is no fault.
        let _ = self.control(&["--initiate", "--ike", CONNECTION, "--timeout", "1"]);
        Ok(())
    }

    /// The IKE SAs, as it lists them.
    ///
    /// # Errors
    /// What swanctl says.
    pub fn list(&self) -> anyhow::Result<String> {
        self.control(&["--list-sas"])
    }

    /// Its log since the mark.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.get(self.mark..).unwrap_or_default().to_owned()
    }

    /// What was written so far is of no interest any more.
    pub fn mark(&mut self) {
        self.mark += self.log().len();
    }

    /// Waits until its log since the mark has `text`.
    ///
    /// # Errors
    /// It has not: with the log's last lines.
    pub fn wait_log(&self, text: &str, at_most: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + at_most;
        loop {
            let log = self.log();
            if log.contains(text) {
                return Ok(());
            }
            if Instant::now() > end {
                bail!("strongSwan's log has no \"{text}\"; its end:\n{}", last(&log, 30));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The last lines, without how each message is put together.
#[must_use]
pub fn last(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("[ENC]")).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn pem(what: &str, octets: &[u8]) -> String {
    format!(
        "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
        Base64::encode_string(octets)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_a_file_that_others_read() {
        let text = pem("PUBLIC KEY", &public_key_info(&[0; 32]));
        assert!(text.contains("MCowBQYDK2VwAyEA"), "{text}");
    }

    #[test]
    fn secrets_are_octets_and_identities_are_named() {
        let setup = Setup::new(Auth::Psk(vec![0xab; 16]));
        let text = setup.connections("10.9.0.2".parse().unwrap(), "10.9.0.1".parse().unwrap());
        assert!(text.contains("secret = 0xabababab"), "{text}");
        assert!(
            text.contains("childless = force") && text.contains("id-a = b.example"),
            "{text}"
        );
    }
}
