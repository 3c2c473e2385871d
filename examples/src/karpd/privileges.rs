//! Privileges: what is needed is kept, everything else is given up before the first group starts.
//!
//! Order: directories that only root can make are made and given to the user; the user is changed while capabilities are
//! kept (securebits(7)); the capabilities are cut to what is needed, and none is handed on to programs.

use std::{ffi::CString, fs, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use karp_core::config::DEFAULT_PORT;
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};

use super::config::Plan;

/// Ports from here up need no privilege.
const UNPRIVILEGED: u16 = 1024;

/// The capabilities that this configuration needs, for a process that stays root or not.
#[must_use]
pub fn needed(plan: &Plan, stays_root: bool) -> CapsHashSet {
    let mut needed = CapsHashSet::new();
    let ports = plan.groups.iter().flat_map(|group| {
        let settings = &group.settings;
        [settings.address.port(), settings.multicast.port()]
    });
    // A reload may add a group with the usual port.
    if ports.chain([DEFAULT_PORT]).any(|port| port < UNPRIVILEGED) {
        needed.insert(Capability::CAP_NET_BIND_SERVICE);
    }
    let mut sinks = plan.groups.iter().flat_map(|group| &group.sinks);
    if sinks.clone().any(|sink| sink.gives_files_away()) {
        needed.insert(Capability::CAP_CHOWN);
    }
    let follows = plan.groups.iter().any(|group| group.follow.is_some());
    if stays_root && (sinks.next().is_some() || follows) {
        // Without it root cannot even connect to the control socket of a daemon that runs as somebody else.
        needed.insert(Capability::CAP_DAC_OVERRIDE);
    }
    needed
}

/// Gives up what is not needed.
///
/// # Errors
/// A user that is not there, or a system that refuses.
pub fn drop(plan: &Plan) -> anyhow::Result<()> {
    let user = match &plan.daemon.user {
        None => None,
        Some(name) => {
            let user = User::from_name(name).ok().flatten();
            Some(user.with_context(|| {
                format!("daemon.user: this machine has no user {name:?}; add it, or leave the field out")
            })?)
        }
    };
    let root = geteuid().is_root();
    if root && let Some(user) = &user {
        for directory in [Some(plan.daemon.state.as_path()), plan.daemon.control.parent()]
            .into_iter()
            .flatten()
        {
            make_for(directory, user)?;
        }
    }
    let switch = user.as_ref().filter(|user| user.uid != geteuid());
    let needed = needed(plan, root && switch.is_none());
    if let Some(user) = switch {
        if !root {
            anyhow::bail!(
                "daemon.user: only root can become {:?}; start karpd as root or as that user, or leave the field out",
                user.name
            );
        }
        caps::securebits::set_keepcaps(true).context("keeping capabilities")?;
        let name = CString::new(user.name.as_str()).context("daemon.user")?;
        initgroups(&name, user.gid).context("daemon.user: taking its groups")?;
        setgid(user.gid).context("daemon.user: becoming its group")?;
        setuid(user.uid).context("daemon.user: becoming it")?;
    }
    let permitted = caps::read(None, CapSet::Permitted).context("reading capabilities")?;
    let kept: CapsHashSet = permitted.intersection(&needed).copied().collect();
    if !permitted.is_empty() {
        caps::set(None, CapSet::Effective, &kept).context("cutting capabilities")?;
        caps::set(None, CapSet::Permitted, &kept).context("cutting capabilities")?;
        caps::clear(None, CapSet::Inheritable).context("cutting capabilities")?;
        if caps::runtime::ambient_set_supported().is_ok() {
            caps::clear(None, CapSet::Ambient).context("cutting capabilities")?;
        }
        caps::securebits::set_keepcaps(false).context("keeping no capabilities")?;
    }
    let names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    tracing::info!(user = %geteuid(), capabilities = ?names, "privileges");
    Ok(())
}

/// Makes a directory that is missing, for the user; a routing daemon may have to pass through to a file of its own. One that is there is somebody's decision.
fn make_for(directory: &Path, user: &User) -> anyhow::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(directory)
        .and_then(|()| std::os::unix::fs::chown(directory, Some(user.uid.as_raw()), Some(user.gid.as_raw())))
        .with_context(|| format!("making {} for {}", directory.display(), user.name))
}
