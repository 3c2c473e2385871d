//! The initial exchange: IKE_SA_INIT and GSA_AUTH, from the moment the attempt is started until the member is keyed.

use karp_core::{Command, Duration, Output, Role, io::MessageKind};

use crate::{
    measure::Watch,
    primitives::ExchangeSizes,
    router::{Buffer, Group, Router, Sent, Tables},
};

/// The messages of one exchange, in order.
pub struct Exchange(pub Vec<Sent>);

impl Exchange {
    /// Octets of the last message of a kind.
    fn octets(&self, kind: MessageKind) -> Result<usize, String> {
        let mut of_kind = self.0.iter().filter(|sent| sent.kind == kind);
        let last = of_kind.next_back().map(|sent| sent.octets.len());
        last.ok_or_else(|| format!("no {kind:?}"))
    }

    /// Octets of all of them.
    ///
    /// # Errors
    /// Which is missing.
    pub fn sizes(&self) -> Result<ExchangeSizes, String> {
        Ok(ExchangeSizes {
            init_request: self.octets(MessageKind::InitRequest)?,
            init_response: self.octets(MessageKind::InitResponse)?,
            auth_request: self.octets(MessageKind::AuthRequest)?,
            auth_response: self.octets(MessageKind::AuthResponse)?,
        })
    }
}

/// Polls `router` until it is idle. What is no part of an exchange is done, and not counted.
fn poll(router: &mut Router, watch: &mut impl Watch) -> Vec<Sent> {
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
/// The clocks, the member's and the GCKS's, begin with the hint, for it starts the attempt and with it the
/// member's Diffie-Hellman key, and end when the member has taken the response. In between they run in every call, idle
/// polls and events included.
///
/// # Errors
/// What the member was answered.
pub fn exchange(
    member: &mut Router,
    gcks: &mut Router,
    hint: &[u8],
    [of_member, of_gcks]: &mut [impl Watch; 2],
) -> Result<Exchange, String> {
    let mut messages = Vec::new();
    let mut hint = hint.to_vec();
    let group = member.multicast();
    of_member.run(|| member.handle(gcks.address, group, &mut hint));
    // Four messages, and two more if a cookie is asked for.
    for _ in 0..6 {
        for sent in poll(member, of_member) {
            if sent.to == gcks.address {
                let mut octets = sent.octets.clone();
                of_gcks.run(|| gcks.handle(member.address, gcks.address, &mut octets));
                messages.push(sent);
            }
        }
        for sent in poll(gcks, of_gcks) {
            if sent.to == member.address {
                let mut octets = sent.octets.clone();
                of_member.run(|| member.handle(gcks.address, member.address, &mut octets));
                messages.push(sent);
            }
        }
        if member.engine.role() == Role::Member {
            return Ok(Exchange(messages));
        }
    }
    Err(format!(
        "not keyed after {:?}",
        messages.iter().map(|sent| sent.kind).collect::<Vec<_>>()
    ))
}

/// A new member that has joined and looks for a GCKS.
///
/// # Errors
/// The engine's.
pub fn newcomer(group: &Group, n: u16, seed: u64) -> Result<Router, String> {
    let mut member = Router::new(group, n, Tables::new(2, 4, 2, 2), seed);
    member.join()?;
    member.drain();
    Ok(member)
}

/// The member says by D that it leaves, so that its places at the GCKS are free for the next one. Its announcements of
/// leaving are kept from the GCKS: they end the IKE SA, and then nothing tells that its handshake can be forgotten.
///
/// # Errors
/// The engine's.
pub fn part(member: &mut Router, gcks: &mut Router) -> Result<(), String> {
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
