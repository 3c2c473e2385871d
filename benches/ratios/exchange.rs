//! The initial exchange: IKE_SA_INIT and GSA_AUTH, from the moment the attempt is started until the member is keyed.

use benches::{
    measure::{Report, Series, Stopwatch},
    router::{Buffer, Dice, Group, Proof, Router, Sent, Tables},
};
use karp_core::{Command, Duration, Output, Role, io::MessageKind};

use crate::{Rounds, primitives};

/// What one exchange took.
pub(crate) struct Exchange {
    /// Nanoseconds in both engines.
    pub(crate) nanos: f64,
    /// Its messages in order.
    pub(crate) messages: Vec<Sent>,
}

impl Exchange {
    /// Octets of the last message of a kind.
    pub(crate) fn octets(&self, kind: MessageKind) -> Option<usize> {
        let mut of_kind = self.messages.iter().filter(|sent| sent.kind == kind);
        of_kind.next_back().map(|sent| sent.octets.len())
    }
}

/// Polls `router` until it is idle. What is no part of an exchange is done, and not counted.
fn poll(router: &mut Router, watch: &mut Stopwatch) -> Vec<Sent> {
    let mut buffer: Buffer = [0; 1232];
    let mut sent = Vec::new();
    let foreign = |output: &Output| match output {
        Output::Transmit { kind, .. } => matches!(kind, MessageKind::Announcement | MessageKind::KeyUpdate),
        Output::Event(_) | Output::Idle { .. } => false,
    };
    loop {
        let output = watch.run_if(
            || router.engine.poll(router.now, &mut buffer),
            |output| !foreign(output),
        );
        match output {
            Output::Transmit { len, to, kind } => sent.push(Sent {
                octets: buffer[..len].to_vec(),
                to,
                kind,
            }),
            Output::Event(_) => {}
            Output::Idle { .. } => return sent,
        }
    }
}

/// Makes `member`, which has joined and is idle, a member of the group of `gcks`, whose announcement `hint` is.
///
/// The clock begins with the hint, for it starts the attempt and with it the member's Diffie-Hellman key, and ends when
/// the member has taken the response. In between it runs in every call, idle polls and events included.
pub(crate) fn exchange(
    member: &mut Router,
    gcks: &mut Router,
    hint: &[u8],
    round: usize,
) -> Result<Exchange, String> {
    let mut watch = Stopwatch::at(round);
    let mut messages = Vec::new();
    let mut hint = hint.to_vec();
    let group = member.multicast();
    watch.run(|| member.handle(gcks.address, group, &mut hint));
    // Four messages, and two more if a cookie is asked for.
    for _ in 0..6 {
        for sent in poll(member, &mut watch) {
            if sent.to == gcks.address {
                let mut octets = sent.octets.clone();
                watch.run(|| gcks.handle(member.address, gcks.address, &mut octets));
                messages.push(sent);
            }
        }
        for sent in poll(gcks, &mut watch) {
            if sent.to == member.address {
                let mut octets = sent.octets.clone();
                watch.run(|| member.handle(gcks.address, member.address, &mut octets));
                messages.push(sent);
            }
        }
        if member.engine.role() == Role::Member {
            return Ok(Exchange {
                nanos: watch.nanos(),
                messages,
            });
        }
    }
    Err(format!(
        "not keyed after {:?}",
        messages.iter().map(|sent| sent.kind).collect::<Vec<_>>()
    ))
}

/// A new member that has joined and looks for a GCKS.
pub(crate) fn newcomer(group: &Group, n: u16, seed: u64) -> Result<Router, String> {
    let mut member = Router::new(group, n, Tables::new(2, 4, 2, 2), seed);
    member.join()?;
    member.drain();
    Ok(member)
}

/// The member says by D that it leaves, so that its places at the GCKS are free for the next one. Its announcements of
/// leaving are kept from the GCKS: they end the IKE SA, and then nothing tells that its handshake can be forgotten.
fn part(member: &mut Router, gcks: &mut Router) -> Result<(), String> {
    let left = member.engine.handle_command(member.now, Command::Leave);
    left.map_err(|error| format!("leave: {error:?}"))?;
    let mut goodbyes = member.drain();
    goodbyes.retain(|sent| sent.kind == MessageKind::Informational);
    for mut sent in goodbyes {
        gcks.handle(member.address, sent.to, &mut sent.octets);
    }
    gcks.drain();
    // So that the same millisecond does not last for ever.
    gcks.pass(Duration::from_millis(10));
    Ok(())
}

pub(crate) fn measure(name: &str, group: &Group, rounds: &Rounds, report: &mut Report) -> Result<(), String> {
    let (mut gcks, hint) = Router::in_office(group, 1, Tables::new(16, 64, 8, 8))?;
    let (mut ours, mut bare) = (Series::default(), Series::default());
    let mut dice = Dice::new(77);
    let mut sizes = primitives::ExchangeSizes::default();
    for round in 0..rounds.exchanges {
        let mut member = newcomer(group, 0, u64::from(round) + 1000)?;
        let done = exchange(&mut member, &mut gcks, &hint, ours.len())?;
        part(&mut member, &mut gcks)?;
        let size = |kind| done.octets(kind).ok_or(format!("no {kind:?}"));
        sizes = primitives::ExchangeSizes {
            init_request: size(MessageKind::InitRequest)?,
            init_response: size(MessageKind::InitResponse)?,
            auth_request: size(MessageKind::AuthRequest)?,
            auth_response: size(MessageKind::AuthResponse)?,
        };
        if done.messages.len() == 4 {
            ours.add(done.nanos);
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
