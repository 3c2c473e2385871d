//! The Debian 13 tree with the daemons: checked, and asked for its users.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::process::run;

/// Where the tree is unless another place is given.
pub const DEFAULT: &str = "/var/cache/karp-netlab/trixie";
/// The oldest versions that the scenarios are for.
const BIRD: (u32, u32) = (2, 17);
const FRR: (u32, u32) = (10, 3);

/// A tree that is there and has what is needed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// Its root.
    pub directory: PathBuf,
    /// User and group of FRR's daemons.
    pub frr: (u32, u32),
    /// The group that may talk to them.
    pub frrvty: u32,
    /// BIRD's version, as it says it.
    pub bird_version: String,
    /// FRR's.
    pub frr_version: String,
}

impl Tree {
    /// Looks at the tree in `directory`.
    ///
    /// # Errors
    /// It is not there, or lacks something, or its daemons are too old: with the command that mends it.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let remedy = || {
            format!(
                "make it with: cargo run --release --example netlab -- setup --directory {} (with --force, anew)",
                directory.display()
            )
        };
        for file in [
            "usr/sbin/bird",
            "usr/lib/frr/ospfd",
            "usr/lib/frr/ospf6d",
            "usr/lib/frr/zebra",
            "usr/bin/tshark",
            "usr/lib/ipsec/charon",
            "usr/sbin/swanctl",
        ] {
            if !directory.join(file).exists() {
                bail!(
                    "no Debian tree with {file} in {}: {}",
                    directory.display(),
                    remedy()
                );
            }
        }
        let said = |program: &str, argument: &str| {
            // BIRD says its version on standard error.
            run(std::process::Command::new("sh")
                .args(["-c", "exec \"$@\" 2>&1", "sh", "chroot"])
                .arg(directory)
                .args([program, argument]))
            .with_context(remedy)
        };
        let bird_version = said("/usr/sbin/bird", "--version")?;
        let frr_version = said("/usr/lib/frr/ospfd", "--version")?;
        for (name, text, wanted) in [("BIRD", &bird_version, BIRD), ("FRR", &frr_version, FRR)] {
            match version(text) {
                Some(found) if found >= wanted => {}
                found => bail!(
                    "{name} in {} is {found:?}, not {wanted:?} or newer: {}",
                    directory.display(),
                    remedy()
                ),
            }
        }
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name))
                .with_context(|| format!("{name} of the tree cannot be read"))
        };
        let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
        let user = entry(&passwd, "frr", 2).zip(entry(&passwd, "frr", 3));
        Ok(Self {
            directory: directory.to_owned(),
            frr: user.with_context(|| format!("no user frr in the tree: {}", remedy()))?,
            frrvty: entry(&group, "frrvty", 2)
                .with_context(|| format!("no group frrvty in the tree: {}", remedy()))?,
            bird_version: first_line(&bird_version),
            frr_version: first_line(&frr_version),
        })
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// A number in a line of passwd or group, by its place.
fn entry(text: &str, name: &str, place: usize) -> Option<u32> {
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?
        .get(place)?
        .parse()
        .ok()
}

/// The first two numbers of the first thing that looks like a version.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.'))
        .find_map(|word| {
            let mut numbers = word.split('.').map(str::parse::<u32>);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("BIRD version 2.17.5"), Some((2, 17)));
        assert_eq!(version("ospfd version 10.3\nCopyright"), Some((10, 3)));
        assert_eq!(version("none"), None);
        assert!(version("2.9.1") < Some(BIRD), "9 is less than 17");
    }

    #[test]
    fn users_are_found() {
        let passwd = "root:x:0:0::/root:/bin/sh\nfrr:x:999:991::/nonexistent:/bin/sh\n";
        assert_eq!(
            (entry(passwd, "frr", 2), entry(passwd, "frr", 3)),
            (Some(999), Some(991))
        );
        assert_eq!(entry(passwd, "fr", 2), None);
    }

    #[test]
    fn a_missing_tree_names_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let error = Tree::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("netlab -- setup --directory"), "{error}");
    }
}
