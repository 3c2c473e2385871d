//! Key updates: created by a GCKS with few and with many members, applied by each of them.

use karp_core::{
    Command, Duration, Handled, Output, algorithm::RoutingProtocol, command::RekeyReason, io::MessageKind,
};

use crate::{
    exchange::{exchange, newcomer},
    measure::{Off, Series, Stopwatch, Watch},
    primitives,
    router::{Buffer, Group, Router, Sent, Tables},
};

/// Polls of the GCKS before it is measured.
const WARM: u32 = 5;

/// What was measured in one group.
#[derive(Default)]
pub struct Measured {
    /// Octets of the update that announces a new key.
    pub octets: usize,
    /// A poll of the GCKS that has nothing to say.
    pub idle: Series,
    /// The host's command: a key id is drawn, a key made.
    pub command: Series,
    /// The poll that writes the update.
    pub create: Series,
    /// The call that takes it.
    pub apply: Series,
    /// The same, and the polls that follow until the member is idle.
    pub settle: Series,
}

/// A GCKS and its members, all of them real engines.
pub struct Lan {
    /// The GCKS.
    pub gcks: Router,
    /// The members.
    pub members: Vec<Router>,
    /// What its rollovers took.
    pub measured: Measured,
}

impl Lan {
    /// A group with so many members, all of them live.
    ///
    /// # Errors
    /// What did not happen.
    pub fn new(group: &Group, members: u16) -> Result<Self, String> {
        let room = usize::from(members).next_power_of_two().max(16);
        let (mut gcks, hint) = Router::in_office(group, members + 1, Tables::new(room, 64, 8, 8))?;
        let mut all = Vec::new();
        for n in 0..members {
            let mut member = newcomer(group, n, u64::from(n) + 5000)?;
            exchange(&mut member, &mut gcks, &hint, &mut [Off, Off])?;
            all.push(member);
            let at = all.len() - 1;
            Self::acknowledge(&mut gcks, &mut all[at])?;
            gcks.drain();
        }
        // Answered exchanges are remembered for a while. Until they are forgotten nothing is measured.
        gcks.pass(Duration::from_secs(30));
        let live = gcks.engine.peers().filter(|peer| peer.live).count();
        if live != usize::from(members) {
            return Err(format!("{live} of {members} members are live"));
        }
        Ok(Self {
            gcks,
            members: all,
            measured: Measured::default(),
        })
    }

    /// A member's next announcement, which acknowledges what it applied.
    fn acknowledge(gcks: &mut Router, member: &mut Router) -> Result<(), String> {
        let mut octets = member.next_announcement().ok_or("a member says nothing")?;
        let multicast = gcks.multicast();
        match gcks.handle(member.address, multicast, &mut octets) {
            Handled::Accepted => Ok(()),
            Handled::Dropped(reason) => Err(format!("an acknowledgement was dropped: {reason:?}")),
        }
    }

    /// A whole rollover: the new key is announced, becomes the one to send with, and the old one goes. Only the first
    /// update is measured: two keys are in it, so it needs the most.
    ///
    /// # Errors
    /// What did not happen.
    pub fn rollover(&mut self, bare: &mut Bare) -> Result<(), String> {
        let command = Command::Rekey {
            protocol: RoutingProtocol::Ospfv2,
            reason: RekeyReason::Operator,
        };
        let Self { gcks, measured, .. } = self;
        // Its thousand members ran in this process and took the caches: it gets them back, as if it were alone.
        let mut buffer: Buffer = [0; 1232];
        for _ in 0..WARM {
            measured.idle.time(|| gcks.engine.poll(gcks.now, &mut buffer));
        }
        if measured.octets != 0 {
            bare.round(measured.octets);
        }
        let begun = measured
            .command
            .time(|| gcks.engine.handle_command(gcks.now, command));
        begun.map_err(|error| format!("rekey: {error:?}"))?;
        let output = measured.create.time(|| gcks.engine.poll(gcks.now, &mut buffer));
        let Output::Transmit {
            len,
            kind: MessageKind::KeyUpdate,
            ..
        } = output
        else {
            return Err(format!("no update after the command but {output:?}"));
        };
        self.measured.octets = len;
        bare.round(len);
        self.deliver(&buffer[..len], Some(bare))?;
        // Every member has acknowledged: the new key becomes the one to send with.
        let activate = self.next_update(Duration::ZERO)?;
        self.deliver(&activate, None)?;
        // One second later, for that is DTD here, the old one is left out.
        let omit = self.next_update(Duration::from_secs(2))?;
        self.deliver(&omit, None)?;
        self.gcks.drain();
        Ok(())
    }

    fn next_update(&mut self, within: Duration) -> Result<Vec<u8>, String> {
        let update = |sent: Vec<Sent>| {
            let mut updates = sent
                .into_iter()
                .filter(|sent| sent.kind == MessageKind::KeyUpdate);
            updates.next().map(|sent| sent.octets)
        };
        let at_once = update(self.gcks.drain());
        at_once
            .or_else(|| update(self.gcks.pass(within)))
            .ok_or_else(|| "an update is missing".to_owned())
    }

    /// Every member takes the update and acknowledges it.
    fn deliver(&mut self, update: &[u8], mut bare: Option<&mut Bare>) -> Result<(), String> {
        let Self {
            gcks,
            members,
            measured,
        } = self;
        let multicast = gcks.multicast();
        for (at, member) in members.iter_mut().enumerate() {
            let mut octets = update.to_vec();
            let round = measured.apply.len();
            let (mut taken, mut settled) = (Stopwatch::at(round), Stopwatch::at(round));
            // The others ran in this process and took the caches: it gets its own back.
            let mut buffer: Buffer = [0; 1232];
            member.engine.poll(member.now, &mut buffer);
            let handled = taken.run(|| member.handle(gcks.address, multicast, &mut octets));
            settled.run(
                || {
                    while !matches!(member.engine.poll(member.now, &mut buffer), Output::Idle { .. }) {}
                },
            );
            if handled != Handled::Accepted {
                return Err(format!("an update was not taken: {handled:?}"));
            }
            if let Some(bare) = &mut bare {
                measured.apply.add(taken.nanos());
                measured.settle.add(taken.nanos() + settled.nanos());
                // Interleaved with every tenth.
                if at % 10 == 0 {
                    bare.round(update.len());
                }
            }
            Self::acknowledge(gcks, member)?;
        }
        Ok(())
    }
}

/// The primitives of the updates of groups that sign, or do not.
pub struct Bare {
    signed: bool,
    primitives: Option<primitives::Update>,
    /// Those of creation.
    pub create: Series,
    /// Those of applying.
    pub apply: Series,
}

impl Bare {
    /// Those of updates that are signed, or not.
    #[must_use]
    pub fn new(signed: bool) -> Self {
        Self {
            signed,
            primitives: None,
            create: Series::default(),
            apply: Series::default(),
        }
    }

    fn round(&mut self, octets: usize) {
        let signed = self.signed;
        let primitives = self
            .primitives
            .get_or_insert_with(|| primitives::Update::new(octets, signed));
        primitives.reset();
        self.create.time(|| primitives.create());
        self.apply.time(|| primitives.apply());
    }
}
