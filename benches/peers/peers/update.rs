//! A key update, against a commit of Messaging Layer Security in a group of the same size.

use benches::{
    measure::{Report, Series},
    router::Group,
    update::{Bare, Lan},
};

use crate::mls;

pub(crate) fn measure(
    group: &Group,
    members: &[u16],
    rounds: u32,
    report: &mut Report,
) -> Result<(), String> {
    let mut lans = Vec::new();
    for count in members {
        lans.push((*count, Lan::new(group, *count)?, mls::Lan::new(*count)?));
    }
    let mut bare = Bare::new(group.controller_signatures);
    for _ in 0..rounds {
        for (_, ours, theirs) in &mut lans {
            ours.rollover(&mut bare)?;
            theirs.rekey()?;
        }
    }
    for (count, ours, theirs) in &lans {
        let ours = &ours.measured;
        let made = Series::sum(&ours.command, &ours.create);
        report.row(&format!("karp: key made, update created, {count} members"), &made);
        report.row("  update created", &ours.create);
        report.row("  applied by a member, polled until idle", &ours.settle);
        report.row("openmls: commit created", &theirs.create);
        report.row("  processed by a member", &theirs.process);
        println!("    octets: {} against {}", ours.octets, theirs.octets);
        report.spread(
            &format!("update_create_over_openmls_{count}"),
            &made,
            &theirs.create,
            None,
        );
        report.ratio(
            &format!("update_apply_over_openmls_{count}"),
            &ours.settle,
            &theirs.process,
            None,
        );
        let octets = ours.octets as f64 / theirs.octets as f64;
        report.value(&format!("update_octets_over_openmls_{count}"), octets, None);
    }
    if let (Some((few, first, _)), Some((many, last, _))) = (lans.first(), lans.last()) {
        let name = format!("{many}_over_{few}");
        let (first, last) = (&first.measured, &last.measured);
        report.spread(
            &format!("update_create_{name}"),
            &last.create,
            &first.create,
            Some(1.1),
        );
        let octets = last.octets as f64 / first.octets as f64;
        report.value(&format!("update_octets_{name}"), octets, Some(1.0));
    }
    Ok(())
}
