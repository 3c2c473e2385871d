//! The control LAN: two idle BIRD routers under a fixed key. What they lose, the machine has cost them.

use std::path::Path;

use anyhow::Context as _;

use super::{
    lab::{MANUAL_ID, random_text},
    net::Lan,
    process::Process,
    record::Watched,
    router::{Common, FirstKey, Kind, Router},
    tree::Tree,
    watch::{Source, Watcher},
};
use crate::entropy::DemoEntropy;

/// Starts it.
///
/// # Errors
/// What the system says.
pub(super) fn start(
    state: &Path,
    tree: &Tree,
    watcher: &Watcher,
    story: &mut DemoEntropy,
) -> anyhow::Result<(Lan, Vec<Process>)> {
    let mut lan = Lan::new("c")?;
    let common = Common {
        protocols: vec![Watched::Ospf2],
        manual: Some(FirstKey {
            id: MANUAL_ID,
            text: random_text(story),
        }),
    };
    let key = common.manual.clone().context("the control LAN has no key")?;
    let mut processes = Vec::new();
    for index in 0..2_usize {
        let host = u8::try_from(index + 1)?;
        let namespace = lan.add(&format!("r{host}"), host)?;
        let mut router = Router::new(index, Kind::Bird, namespace, &state.join("control"), tree)?;
        router.boot_files(&common, &[], &key, tree)?;
        router.start_daemons(&common, tree)?;
        if index == 0 {
            watcher.follow(router.own().join("bird.log"), Source::Control);
        }
        processes.append(&mut router.release());
    }
    Ok((lan, processes))
}
