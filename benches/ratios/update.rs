//! Key updates of a GCKS with few and with many members, against their bare primitives.

use benches::{
    measure::Report,
    router::Group,
    update::{Bare, Lan},
};

use crate::Rounds;

pub(crate) fn measure(
    groups: [&Group; 2],
    members: [u16; 2],
    rounds: &Rounds,
    report: &mut Report,
) -> Result<(), String> {
    for group in groups {
        let name = if group.controller_signatures {
            "signed"
        } else {
            "unsigned"
        };
        let mut lans = [Lan::new(group, members[0])?, Lan::new(group, members[1])?];
        let mut bare = Bare::new(group.controller_signatures);
        let (few, many) = rounds.rollovers;
        for round in 0..few {
            // Few rollovers of a large group are spread over the many of a small one.
            if round % (few / many) == 0 {
                lans[1].rollover(&mut bare)?;
            }
            lans[0].rollover(&mut bare)?;
        }
        for (lan, members) in lans.iter().zip(members) {
            let measured = &lan.measured;
            report.row(
                &format!("idle poll of the GCKS, {members} members"),
                &measured.idle,
            );
            report.row(
                &format!("rekey command, {name}, {members} members"),
                &measured.command,
            );
            report.row(
                &format!("update created, {name}, {members} members"),
                &measured.create,
            );
            report.row(
                &format!("update applied, {name}, {members} members"),
                &measured.apply,
            );
            report.row(
                &format!("  and polled until idle, {members} members"),
                &measured.settle,
            );
            println!("    octets: {}", measured.octets);
            let target = Some(1.2);
            let create = format!("update_create_{name}_{members}");
            // An update that nobody signs has no target: nothing in it outweighs a look at every member.
            let create_target = target.filter(|_| group.controller_signatures);
            report.ratio(&create, &measured.create, &bare.create, create_target);
            report.ratio(
                &format!("update_apply_{name}_{members}"),
                &measured.apply,
                &bare.apply,
                target,
            );
            report.ratio(
                &format!("update_apply_and_polls_{name}_{members}"),
                &measured.settle,
                &bare.apply,
                None,
            );
        }
        report.row(&format!("  primitives of creation, {name}"), &bare.create);
        report.row(&format!("  primitives of applying, {name}"), &bare.apply);
        report.ratio(
            &format!("update_create_{name}_{}_over_{}", members[1], members[0]),
            &lans[1].measured.create,
            &lans[0].measured.create,
            Some(1.1).filter(|_| group.controller_signatures),
        );
        let octets = lans.each_ref().map(|lan| lan.measured.octets);
        let grows = octets[1] as f64 / octets[0] as f64;
        report.value(
            &format!("update_octets_{name}_{}_over_{}", members[1], members[0]),
            grows,
            Some(1.0),
        );
    }
    Ok(())
}
