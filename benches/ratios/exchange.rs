//! The initial exchange, against its bare primitives.

use benches::{
    exchange::{exchange, newcomer, part},
    measure::{Report, Series, Stopwatch},
    primitives,
    router::{Dice, Group, Proof, Router, Tables},
};

use crate::Rounds;

pub(crate) fn measure(name: &str, group: &Group, rounds: &Rounds, report: &mut Report) -> Result<(), String> {
    let (mut gcks, hint) = Router::in_office(group, 1, Tables::new(16, 64, 8, 8))?;
    let (mut ours, mut bare) = (Series::default(), Series::default());
    let mut dice = Dice::new(77);
    let mut sizes = primitives::ExchangeSizes::default();
    for round in 0..rounds.exchanges {
        let mut member = newcomer(group, 0, u64::from(round) + 1000)?;
        let mut watches = [Stopwatch::at(ours.len()), Stopwatch::at(ours.len())];
        let done = exchange(&mut member, &mut gcks, &hint, &mut watches)?;
        part(&mut member, &mut gcks)?;
        sizes = done.sizes()?;
        if done.0.len() == 4 {
            ours.add(watches.iter().map(Stopwatch::nanos).sum());
        }
        let signs = (group.proof == Proof::Ed25519).then_some(&*group.public);
        bare.time(|| primitives::exchange(&sizes, signs.is_some(), &mut dice));
    }
    report.row(&format!("exchange, {name}"), &ours);
    report.row(&format!("  its primitives, {name}"), &bare);
    println!(
        "    octets: {} + {} + {} + {}",
        sizes.init_request, sizes.init_response, sizes.auth_request, sizes.auth_response
    );
    report.ratio(&format!("exchange_{name}"), &ours, &bare, Some(1.15));
    Ok(())
}
