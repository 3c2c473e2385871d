//! An announcement, heard by a GCKS and by a member that know few or many peers.

use karp_core::{
    Duration, Output,
    crypto::{Secret, group_mac, verify, verify_group_mac},
};

use crate::{
    exchange::{exchange, newcomer},
    measure::{Off, Report, Series, Stopwatch, Watch},
    router::{Buffer, Group, Router, Tables, signing_key},
};

/// The most peers.
pub const MOST: u16 = 4096;

/// Peers that are known to whoever hears the announcement.
pub const PEERS: [u16; 6] = [4, 16, 64, 256, 1024, MOST];

/// Members that announce themselves for each announcement of the GCKS.
const EACH: usize = 5;

/// A group in which everybody has heard everybody.
pub struct Crowd {
    /// The GCKS.
    pub gcks: Router,
    /// The member that listens.
    pub listener: Router,
    /// The other members.
    pub members: Vec<Router>,
    next: usize,
}

impl Crowd {
    /// A group in which the GCKS and the listener know so many peers each.
    ///
    /// # Errors
    /// What did not happen.
    pub fn new(group: &Group, peers: u16) -> Result<Self, String> {
        let room = || Tables::new(usize::from(peers).next_power_of_two().max(16), 64, 8, 8);
        let (mut gcks, hint) = Router::in_office(group, peers + 1, room())?;
        let mut listener = Router::new(group, 0, room(), 5000);
        listener.join()?;
        listener.drain();
        exchange(&mut listener, &mut gcks, &hint, &mut [Off, Off])?;
        let mut members = Vec::new();
        for n in 1..peers {
            let mut member = newcomer(group, n, u64::from(n) + 5000)?;
            exchange(&mut member, &mut gcks, &hint, &mut [Off, Off])?;
            gcks.drain();
            members.push(member);
        }
        let mut crowd = Self {
            gcks,
            listener,
            members,
            next: 0,
        };
        for _ in 1..peers {
            let (from, octets) = crowd.from_member()?;
            let multicast = crowd.gcks.multicast();
            for hears in [&mut crowd.gcks, &mut crowd.listener] {
                hears.handle(from, multicast, &mut octets.clone());
                hears.drain();
            }
        }
        let octets = crowd
            .listener
            .next_announcement()
            .ok_or("the listener says nothing")?;
        let multicast = crowd.gcks.multicast();
        crowd
            .gcks
            .handle(crowd.listener.address, multicast, &mut octets.clone());
        // Answered exchanges are remembered for a while. Until they are forgotten nothing is measured.
        crowd.gcks.pass(Duration::from_secs(30));
        for router in [&crowd.gcks, &crowd.listener] {
            let known = router.engine.peers().filter(|peer| peer.heard.is_some()).count();
            if known != usize::from(peers) {
                return Err(format!("{known} of {peers} peers are known"));
            }
        }
        Ok(crowd)
    }

    /// The next announcement of one of the members, which take turns.
    ///
    /// # Errors
    /// What did not happen.
    pub fn from_member(&mut self) -> Result<(std::net::SocketAddr, Vec<u8>), String> {
        // A step that has no divisor in common with their number: neighbours in the table do not follow each other.
        self.next = (self.next + 7919) % self.members.len();
        let member = self.members.get_mut(self.next).ok_or("nobody is there")?;
        let octets = member.next_announcement().ok_or("a member says nothing")?;
        Ok((member.address, octets))
    }

    /// The next announcement of the GCKS, which the member whose turn is next hears as well.
    ///
    /// # Errors
    /// What did not happen.
    pub fn from_gcks(&mut self) -> Result<Vec<u8>, String> {
        let octets = self.gcks.next_announcement().ok_or("the GCKS says nothing")?;
        let multicast = self.gcks.multicast();
        for turn in 1..=EACH {
            let at = (self.next + 7919 * turn) % self.members.len();
            if let Some(member) = self.members.get_mut(at) {
                member.handle(self.gcks.address, multicast, &mut octets.clone());
                member.drain();
            }
        }
        Ok(octets)
    }
}

/// What was measured of those who hear a kind of announcement.
#[derive(Default)]
struct Heard {
    /// The call that takes it.
    handled: Series,
    /// The same, and the polls that follow until there is nothing more to say.
    settled: Series,
}

impl Heard {
    fn round(
        &mut self,
        router: &mut Router,
        from: std::net::SocketAddr,
        octets: &[u8],
    ) -> Result<(), String> {
        let at = self.handled.len();
        let (mut taken, mut idle) = (Stopwatch::at(at), Stopwatch::at(at));
        let multicast = router.multicast();
        let mut octets = octets.to_vec();
        // The others ran in this process and took the caches: it gets its own back.
        router.drain();
        let handled = taken.run(|| router.handle(from, multicast, &mut octets));
        let mut buffer: Buffer = [0; 1232];
        idle.run(|| while !matches!(router.engine.poll(router.now, &mut buffer), Output::Idle { .. }) {});
        if handled != karp_core::Handled::Accepted {
            return Err(format!("an announcement was not taken: {handled:?}"));
        }
        self.handled.add(taken.nanos());
        self.settled.add(taken.nanos() + idle.nanos());
        Ok(())
    }

    fn report(&self, name: &str, peers: u16, needs: f64, report: &mut Report) {
        report.row(&format!("{name}, {peers} peers"), &self.handled);
        report.row("  and polled until idle", &self.settled);
        // Not the shortest: that is of a row that is found first.
        let beyond = |series: &Series| series.median().map(|median| median - needs);
        match (beyond(&self.handled), beyond(&self.settled)) {
            (Some(handled), Some(settled)) => {
                report.value(
                    &format!("announcement_{name}_beyond_ns_{peers}"),
                    handled,
                    Some(2000.0),
                );
                report.value(
                    &format!("announcement_{name}_and_polls_beyond_ns_{peers}"),
                    settled,
                    None,
                );
            }
            _ => report.failed(format!("announcement_{name}_{peers}")),
        }
    }
}

/// One size of the group.
struct Size {
    peers: u16,
    crowd: Crowd,
    by_gcks: Heard,
    by_member: Heard,
    signed: Heard,
}

/// Measures announcements among so many peers, in so many rounds.
///
/// # Errors
/// What did not happen.
pub fn measure(group: &Group, peers: &[u16], rounds: u32, report: &mut Report) -> Result<(), String> {
    let mut sizes = Vec::new();
    for peers in peers {
        sizes.push(Size {
            peers: *peers,
            crowd: Crowd::new(group, *peers)?,
            by_gcks: Heard::default(),
            by_member: Heard::default(),
            signed: Heard::default(),
        });
    }
    let key = Secret::<32>::from_bytes([7; 32]);
    let signer = signing_key(9);
    let public = signer.public();
    let (mut macs, mut signatures) = ([Series::default(), Series::default()], Series::default());
    for _ in 0..rounds {
        for size in &mut sizes {
            let Size { crowd, .. } = size;
            let said = crowd.from_gcks()?;
            size.signed
                .round(&mut crowd.listener, crowd.gcks.address, &said)?;
            let mut len = 0;
            for _ in 0..EACH {
                let (from, octets) = crowd.from_member()?;
                size.by_gcks.round(&mut crowd.gcks, from, &octets)?;
                size.by_member.round(&mut crowd.listener, from, &octets)?;
                len = octets.len();
            }
            for (mac, len) in macs.iter_mut().zip([len, said.len()]) {
                let parts: [&[u8]; 3] = [&[1; 16], &[2; 2], &vec![3; len]];
                let good = group_mac(&key, &parts);
                mac.time(|| assert!(verify_group_mac(&key, &parts, &good)));
            }
            let parts: [&[u8]; 3] = [&[1; 16], &[2; 2], &vec![3; said.len()]];
            let signature = signer.sign(&parts);
            signatures.time(|| assert!(verify(&public, &parts, &signature)));
        }
    }
    let [mac, signed_mac] = macs.each_ref().map(|mac| mac.median().unwrap_or(0.0));
    let signature = signatures.median().unwrap_or(0.0);
    report.row("the MAC of a member's", &macs[0]);
    report.row("the MAC of a GCKS's", &macs[1]);
    report.row("the signature of a GCKS's", &signatures);
    for size in &sizes {
        size.by_gcks.report("of_member_at_gcks", size.peers, mac, report);
        size.by_member
            .report("of_member_at_member", size.peers, mac, report);
        size.signed
            .report("of_gcks_at_member", size.peers, signed_mac + signature, report);
    }
    Ok(())
}
