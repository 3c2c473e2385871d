//! Network namespaces on a bridge.
//!
//! Names carry the process id of the laboratory (`karp-PID-r1`), so two runs never meet, and the next run can remove what
//! one that was killed has left.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::process::{in_namespace, run, start_time};

/// Where running laboratories keep what their daemons need: sockets (whose paths must be short), keys, logs.
pub const STATE: &str = "/run/karp-netlab";
/// The bridge in its namespace: every packet is seen there.
pub const BRIDGE: &str = "br0";
/// The interface of every router.
pub const INTERFACE: &str = "eth0";

/// A bridge in a namespace of its own, and a namespace for each router on it.
#[derive(Debug)]
pub struct Lan {
    prefix: String,
    bridge: String,
    nodes: Vec<String>,
}

impl Lan {
    /// An empty bridge. `tag` tells the LANs of one laboratory apart, one or two letters.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(tag: &str) -> anyhow::Result<Self> {
        let prefix = format!("karp-{}-{tag}", std::process::id());
        let bridge = format!("{prefix}lan");
        ip(&["netns", "add", &bridge])?;
        // From here on the guard removes what there is.
        let lan = Self {
            prefix,
            bridge,
            nodes: Vec::new(),
        };
        let add = [
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ];
        ip_in(&lan.bridge, &add)?;
        // Promiscuous: a capture on the bridge sees unicast between routers as well.
        ip_in(&lan.bridge, &["link", "set", BRIDGE, "promisc", "on", "up"])?;
        Ok(lan)
    }

    /// The namespace of the bridge, where all traffic is seen on `br0`.
    #[must_use]
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// A router of this name with host number `host`: 10.9.0.host and fd09::host, MAC and link-local address made from it
    /// ([`link_local`]). Returns its namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn add(&mut self, name: &str, host: u8) -> anyhow::Result<String> {
        let namespace = format!("{}{name}", self.prefix);
        let port = format!("p{host}");
        ip(&["netns", "add", &namespace])?;
        self.nodes.push(namespace.clone());
        let mac = format!("02:00:09:00:00:{host:02x}");
        ip(&[
            "link",
            "add",
            INTERFACE,
            "netns",
            &namespace,
            "address",
            &mac,
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.bridge,
        ])?;
        ip_in(&self.bridge, &["link", "set", &port, "master", BRIDGE, "up"])?;
        // Duplicate address detection would keep OSPFv3 silent for the first seconds.
        let quiet =
            format!("for f in default {INTERFACE}; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done");
        run(in_namespace(&namespace, "sh").args(["-c", &quiet]))?;
        ip_in(
            &namespace,
            &["addr", "add", &format!("10.9.0.{host}/24"), "dev", INTERFACE],
        )?;
        let v6 = format!("fd09::{host:x}/64");
        ip_in(&namespace, &["addr", "add", &v6, "dev", INTERFACE, "nodad"])?;
        ip_in(&namespace, &["link", "set", INTERFACE, "up"])?;
        ip_in(&namespace, &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for namespace in self.nodes.iter().chain([&self.bridge]) {
            if let Err(error) = remove(namespace) {
                eprintln!("netlab: {error:#}");
            }
        }
    }
}

/// Loses so many percent of what comes in at a router, of every kind.
///
/// # Errors
/// What `nft` says.
pub fn lose(namespace: &str, percent: u8) -> anyhow::Result<()> {
    let rules = format!(
        "table netdev loss {{ chain in {{ type filter hook ingress device \"{INTERFACE}\" priority 0; policy accept; \
         numgen random mod 100 < {percent} counter drop\n}}\n}}\n"
    );
    let mut child = in_namespace(namespace, "nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("nft does not start: install the package nftables")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).context("nft does not read")?;
    }
    let output = child.wait_with_output().context("nft was lost")?;
    if !output.status.success() {
        bail!(
            "nft refuses the rule that loses packets: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Ends what [`lose`] began.
///
/// # Errors
/// What `nft` says.
pub fn keep(namespace: &str) -> anyhow::Result<()> {
    run(in_namespace(namespace, "nft").args(["delete", "table", "netdev", "loss"])).map(drop)
}

/// The link-local address that the kernel makes from a router's MAC address.
#[must_use]
pub fn link_local(host: u8) -> String {
    format!("fe80::9ff:fe00:{host:x}")
}

/// This laboratory's own directory under [`STATE`].
#[must_use]
pub fn state_directory() -> PathBuf {
    Path::new(STATE).join(std::process::id().to_string())
}

/// Makes this laboratory's directory and leaves in it who it is.
///
/// # Errors
/// The system's.
pub fn claim() -> anyhow::Result<PathBuf> {
    let directory = state_directory();
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let started = start_time(std::process::id()).unwrap_or(0);
    let file = directory.join("started");
    std::fs::write(&file, started.to_string())
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(directory)
}

/// Removes what laboratories left that did not end properly: processes in their namespaces, the namespaces, and their
/// directories. Returns whose.
///
/// # Errors
/// What `ip` says.
pub fn sweep() -> anyhow::Result<Vec<u32>> {
    let mut dead = Vec::new();
    let names: Vec<String> = ip(&["netns", "list"])?
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    let directories = std::fs::read_dir(STATE).into_iter().flatten().flatten();
    let claimed = directories.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in names.iter().filter_map(|name| owner(name)).chain(claimed) {
        if !dead.contains(&pid) && !is_running(pid) {
            dead.push(pid);
        }
    }
    for namespace in &names {
        if owner(namespace).is_some_and(|pid| dead.contains(&pid)) {
            remove(namespace)?;
        }
    }
    for pid in &dead {
        let _ = std::fs::remove_dir_all(Path::new(STATE).join(pid.to_string()));
    }
    Ok(dead)
}

/// Whose namespace it is, by its name.
fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix("karp-")?.split_once('-')?.0.parse().ok()
}

/// Whether the laboratory of this process id runs. The id alone may have gone to another program.
fn is_running(pid: u32) -> bool {
    let written = std::fs::read_to_string(Path::new(STATE).join(pid.to_string()).join("started"));
    let written: Option<u64> = written.ok().and_then(|text| text.trim().parse().ok());
    written.is_some() && start_time(pid) == written
}

/// Ends the processes in a namespace and deletes it.
fn remove(namespace: &str) -> anyhow::Result<()> {
    for pid in ip(&["netns", "pids", namespace])
        .unwrap_or_default()
        .split_whitespace()
    {
        if let Ok(pid) = pid.parse::<i32>() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    ip(&["netns", "del", namespace]).map(drop)
}

/// Runs `ip`.
fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("ip").args(arguments))
}

/// Runs `ip` on a namespace.
///
/// # Errors
/// What `ip` says.
pub fn ip_in(namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("ip").args(["-n", namespace]).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_names_its_laboratory() {
        assert_eq!(owner("karp-4711-r1"), Some(4711));
        assert_eq!(owner("karp-4711-lan"), Some(4711));
        assert_eq!(owner("karp-lan"), None);
        assert_eq!(owner("other-4711-r1"), None);
    }

    #[test]
    fn an_id_without_a_claim_is_no_laboratory() {
        assert!(!is_running(1), "process 1 runs, but is no laboratory");
    }

    #[test]
    fn link_local_addresses_follow_from_the_mac() {
        assert_eq!(link_local(3), "fe80::9ff:fe00:3");
        assert_eq!(link_local(66), "fe80::9ff:fe00:42");
    }
}
