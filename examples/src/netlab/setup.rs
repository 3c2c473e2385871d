//! `netlab setup`: a Debian 13 tree with BIRD 2.17, FRR 10.3 and strongSwan 6.0, made from nothing by debootstrap.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{report::tell, tree::Tree};

/// What this machine needs, and the program by which it is seen.
const HOST: &[(&str, &str)] = &[
    ("debootstrap", "debootstrap"),
    ("iproute2", "ip"),
    ("nftables", "nft"),
    ("util-linux", "setpriv"),
];
/// What the tree needs beyond a minimal Debian.
const PACKAGES: &[&str] = &[
    "iproute2",
    "nftables",
    "frr",
    "bird2",
    "tshark",
    // An IKEv2 peer that nobody here wrote: chacha20poly1305, curve25519 and raw keys are in the plugins.
    "strongswan-charon",
    "strongswan-swanctl",
    "libstrongswan-standard-plugins",
    "libstrongswan-extra-plugins",
];

/// Makes the tree in `directory`, unless one that will do is there.
///
/// # Errors
/// A step fails: with its name. What was begun is left beside the place and removed at the next try.
pub fn run(directory: &Path, force: bool) -> anyhow::Result<()> {
    host()?;
    if !force && let Ok(tree) = Tree::open(directory) {
        tell(&format!(
            "the tree in {} will do: {}, {}",
            directory.display(),
            tree.bird_version,
            tree.frr_version
        ));
        return Ok(());
    }
    // Built beside its place and then renamed: a tree that is there is whole.
    let mut name = directory
        .file_name()
        .with_context(|| format!("{} is no place for a tree", directory.display()))?
        .to_owned();
    name.push(".new");
    let fresh = directory.with_file_name(name);
    discard(&fresh)?;
    if let Some(parent) = fresh.parent() {
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    tell(&format!(
        "making a Debian 13 tree in {}: about two minutes",
        directory.display()
    ));
    step(
        "debootstrap",
        Command::new("debootstrap")
            .args(["--variant=minbase", "trixie"])
            .arg(&fresh),
    )?;
    // Packages would start their daemons.
    let policy = fresh.join("usr/sbin/policy-rc.d");
    fs::write(&policy, "#!/bin/sh\nexit 101\n")
        .with_context(|| format!("{} cannot be written", policy.display()))?;
    fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
    // In a mount namespace of its own: /proc goes with it.
    let script = "mount -t proc proc \"$1/proc\" && export DEBIAN_FRONTEND=noninteractive && tree=$1 && shift && \
                  chroot \"$tree\" apt-get install -y --no-install-recommends \"$@\" && chroot \"$tree\" apt-get clean";
    step(
        "installation of the daemons",
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(&fresh)
            .args(PACKAGES),
    )?;
    let tree = Tree::open(&fresh)?;
    if directory.exists() {
        discard(directory)?;
    }
    fs::rename(&fresh, directory)
        .with_context(|| format!("the tree cannot be moved to {}", directory.display()))?;
    tell(&format!(
        "made {}: {}, {}",
        directory.display(),
        tree.bird_version,
        tree.frr_version
    ));
    Ok(())
}

/// Installs what this machine lacks.
fn host() -> anyhow::Result<()> {
    let missing: Vec<&str> = HOST
        .iter()
        .filter(|(_, program)| !has(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    tell(&format!("installing {}", missing.join(", ")));
    step("apt-get update", Command::new("apt-get").args(["update", "-qq"]))?;
    step(
        "apt-get install",
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn has(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

/// Removes a tree, but never through a mount: what is mounted in it is somebody's.
fn discard(directory: &Path) -> anyhow::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let whole = directory.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts cannot be read")?;
    if let Some(mount) = mounts_below(&mounts, &whole).first() {
        bail!("{} is mounted: umount it first", mount.display());
    }
    fs::remove_dir_all(&whole).with_context(|| format!("{} cannot be removed", whole.display()))
}

fn mounts_below(mounts: &str, directory: &Path) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(directory))
        .collect()
}

fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} does not start"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.len().saturating_sub(20);
        bail!("{name} failed ({}):\n{}", output.status, lines[last..].join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_a_tree_are_found() {
        let mounts = "proc /proc proc rw 0 0\nproc /t/trixie/proc proc rw 0 0\nx /t/trixie2 ext4 rw 0 0\n";
        assert_eq!(
            mounts_below(mounts, Path::new("/t/trixie")),
            [PathBuf::from("/t/trixie/proc")]
        );
    }

    #[test]
    fn a_step_that_fails_says_what_it_said() {
        let error = step(
            "thing",
            Command::new("sh").args(["-c", "echo out; echo err >&2; exit 4"]),
        )
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("thing failed") && text.contains("out") && text.contains("err"),
            "{text}"
        );
    }
}
