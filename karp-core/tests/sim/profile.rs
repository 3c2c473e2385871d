//! Draws a schedule from a seed. Each profile brings one of the hard cases about on purpose, on a LAN on which other
//! things go wrong as well.

use karp_core::command::RekeyReason;

use crate::common::{
    Link, Sign,
    credentials::Proof,
    dice::Dice,
    lan::Family,
    link::Bursts,
    node::Host,
    peek::{GCKS_ELECTION, GSA_INBAND_REKEY, GSA_REGISTRATION, GSA_REKEY, INFORMATIONAL},
};

use super::fault::{Attack, Fault, Schedule, Setup, Who};

/// What a run is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Faults of every kind, the link whole.
    Mixed,
    /// The same with partitions.
    Splits,
    /// Heirs: of whom they never heard a member, or whose wait ends when the link heals.
    Heirs,
    /// Two offices that miss each other under heavy loss.
    Misses,
    /// Key servers that die between two copies of an Activate that some have missed.
    Activates,
    /// Routers that reboot or change sides while a merge runs.
    Merges,
    /// Pushes and their answers are lost.
    Pushes,
    /// Routers that reboot again and again.
    Reboots,
    /// Links that work one way, chains, bridges.
    OneWay,
    /// Somebody without a key who records and replays everything, from the first second on.
    Attacked,
    /// Hosts that confirm late, key managements that restart alone.
    Hosts,
    /// Routers that come and go, offices that are handed over, evictions.
    Leavers,
    /// Clocks that differ, naps and long sleeps.
    Clocks,
}

impl Profile {
    pub const ALL: [Self; 13] = [
        Self::Mixed,
        Self::Splits,
        Self::Heirs,
        Self::Misses,
        Self::Activates,
        Self::Merges,
        Self::Pushes,
        Self::Reboots,
        Self::OneWay,
        Self::Attacked,
        Self::Hosts,
        Self::Leavers,
        Self::Clocks,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Splits => "splits",
            Self::Heirs => "heirs",
            Self::Misses => "misses",
            Self::Activates => "activates",
            Self::Merges => "merges",
            Self::Pushes => "pushes",
            Self::Reboots => "reboots",
            Self::OneWay => "one-way",
            Self::Attacked => "attacked",
            Self::Hosts => "hosts",
            Self::Leavers => "leavers",
            Self::Clocks => "clocks",
        }
    }

    /// The profile of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The profile that a seed has if nobody chooses one.
    pub fn of_seed(seed: u64) -> Self {
        let at = seed % Self::ALL.len() as u64;
        Self::ALL[usize::try_from(at).unwrap_or(0)]
    }
}

/// How many routers a run may have if nobody says how many.
const NODES: (u64, u64) = (3, 7);
/// How long things go wrong, in ms.
const SPAN: u64 = 180_000;
/// When the first thing goes wrong: now and then before anybody serves.
const FIRST: (u64, u64) = (1_000, 15_000);

/// The schedule that `seed` says.
pub fn schedule(seed: u64, profile: Option<Profile>, nodes: Option<usize>) -> Schedule {
    let profile = profile.unwrap_or_else(|| Profile::of_seed(seed));
    let mut dice = Dice::new(seed, 95);
    let drawn = usize::try_from(dice.between(NODES.0, NODES.1)).unwrap_or(5);
    let nodes = nodes.unwrap_or(drawn);
    let mut draw = Draw {
        dice,
        nodes,
        faults: Vec::new(),
        evictions: false,
    };
    draw.evictions = draw.dice.chance(50);
    let mut setup = draw.setup(profile);
    if profile == Profile::Leavers && draw.evictions {
        // Who was put out is remembered for so long (section 7).
        setup.rekey_sa_lifetime = 1_000;
    }
    draw.background(profile);
    draw.aim(profile);
    let mut faults = draw.faults;
    faults.sort_by_key(|(at, _)| *at);
    Schedule {
        seed,
        profile: profile.name(),
        nodes,
        setup,
        faults,
        span: SPAN,
    }
}

struct Draw {
    dice: Dice,
    nodes: usize,
    faults: Vec<(u64, Fault)>,
    /// Routers are put out.
    evictions: bool,
}

impl Draw {
    fn setup(&mut self, profile: Profile) -> Setup {
        let dice = &mut self.dice;
        let mut setup = Setup::plain(self.nodes);
        setup.family = if dice.chance(10) { Family::V6 } else { Family::V4 };
        setup.proof = match dice.below(10) {
            0 => Proof::OneKey,
            1 | 2 => Proof::Signatures,
            _ => Proof::PairKeys,
        };
        setup.preempt = dice.chance(30);
        setup.signatures = dice.chance(75);
        setup.key_lifetime = dice.between(50, 120);
        setup.dtd = dice.between(2, 10);
        setup.rekey_sa_lifetime = dice.between(60, 300);
        setup.link = match dice.below(4) {
            0 | 1 => Link::CLEAN,
            2 => Link::BAD,
            _ => bad_link(dice, 20),
        };
        let all = (0..self.nodes).flat_map(|from| (0..self.nodes).map(move |to| (from, to)));
        if dice.chance(30) {
            for pair in all.filter(|(from, to)| from != to) {
                let link = Link {
                    latency: dice.between(1, 80),
                    jitter: dice.below(60),
                    ..setup.link
                };
                setup.links.push((pair, link));
            }
        }
        if dice.chance(50) || profile == Profile::Clocks {
            setup.clocks = (0..self.nodes)
                .map(|_| dice.between(0, 20_000) as i64 - 10_000)
                .collect();
        }
        if dice.chance(20) || profile == Profile::Hosts {
            for host in &mut setup.hosts {
                if dice.chance(50) {
                    *host = Host::Confirms(dice.between(20, 1_500));
                }
            }
        }
        if dice.chance(40) {
            for priority in &mut setup.priorities {
                *priority = u16::try_from(dice.between(1, 300)).unwrap_or(1);
            }
            // Somebody who never serves.
            if dice.chance(40) {
                let who = dice.index(self.nodes);
                setup.priorities[who] = 0;
            }
        }
        if self.nodes > 3 && setup.proof != Proof::OneKey && dice.chance(15) {
            setup.strangers.push(dice.index(self.nodes));
        }
        setup
    }

    /// What goes wrong everywhere.
    fn background(&mut self, profile: Profile) {
        let splits = profile == Profile::Splits;
        let dense = matches!(profile, Profile::Mixed | Profile::Splits);
        let mut at = self.dice.between(FIRST.0, FIRST.1);
        while at < SPAN {
            let fault = self.anything(splits);
            self.faults.push((at, fault));
            at += if dense {
                self.dice.between(100, 9_000)
            } else {
                self.dice.between(2_000, 40_000)
            };
        }
        if profile != Profile::Attacked && self.dice.chance(15) {
            let attack = *self.dice.pick(&Attack::ALL);
            self.attack(attack, 10_000, 60_000, 200);
        }
    }

    fn anything(&mut self, splits: bool) -> Fault {
        let who = self.anybody();
        match self.dice.below(if splits { 15 } else { 12 }) {
            0 => Fault::Crash(who),
            1..=3 => Fault::Start(who),
            4 => Fault::Pause(who, self.dice.between(500, 12_000)),
            5 => Fault::Link(bad_link(&mut self.dice, 35)),
            6 => Fault::Rekey(who, RekeyReason::NewSession),
            7 => Fault::HandOff,
            8 => Fault::Priority(who, u16::try_from(self.dice.between(1, 300)).unwrap_or(1)),
            9 => Fault::Link(Link::CLEAN),
            10 => Fault::Reboot(who),
            11 if self.dice.chance(50) => Fault::Leave(who),
            11 => Fault::StopKeying(who),
            12 | 13 => self.split(),
            _ => Fault::Heal,
        }
    }

    /// The hard case of the profile, a few times.
    fn aim(&mut self, profile: Profile) {
        match profile {
            Profile::Mixed | Profile::Splits => {}
            Profile::Heirs => self.often(25_000, 60_000, Self::heir),
            Profile::Misses => self.often(50_000, 90_000, Self::misses),
            Profile::Activates => self.often(20_000, 50_000, Self::activates),
            Profile::Merges => self.often(50_000, 80_000, Self::merges),
            Profile::Pushes => self.often(15_000, 50_000, Self::pushes),
            Profile::Reboots => self.often(15_000, 50_000, Self::reboots),
            Profile::OneWay => self.often(20_000, 60_000, Self::one_way),
            Profile::Attacked => {
                for attack in Attack::ALL {
                    self.attack(attack, SPAN, SPAN, 400);
                }
                self.often(30_000, 60_000, Self::reboots);
            }
            Profile::Hosts => self.often(15_000, 40_000, Self::restarts),
            Profile::Leavers => self.often(10_000, 30_000, Self::leavers),
            Profile::Clocks => self.often(15_000, 40_000, Self::sleeps),
        }
    }

    fn often(&mut self, least: u64, most: u64, mut what: impl FnMut(&mut Self, u64)) {
        let mut at = self.dice.between(8_000, 20_000);
        while at + 10_000 < SPAN {
            what(self, at);
            at += self.dice.between(least, most);
        }
    }

    fn heir(&mut self, at: u64) {
        match self.dice.below(3) {
            // One member is not heard by another, and the key server dies.
            0 => {
                let (mute, deaf) = self.two();
                let ms = self.dice.between(4_000, 25_000);
                self.faults.push((
                    at,
                    Fault::Lose {
                        exchange: GCKS_ELECTION,
                        from: vec![mute],
                        to: vec![deaf],
                        ms,
                    },
                ));
                let after = self.dice.between(0, 6_000);
                self.faults.push((at + after, Fault::Crash(Who::Gcks)));
            }
            // The link heals when an heir takes office, or about when its wait is over.
            1 => {
                let split = self.split();
                self.faults.push((at, split));
                let after = *self
                    .dice
                    .pick(&[0, 1, 5, 250, 1_000, 3_900, 4_000, 4_100, 7_950, 8_000, 8_050]);
                self.when(at, Sign::Office, 40_000, after, Fault::Heal);
                self.faults.push((at + 45_000, Fault::Heal));
            }
            // And when the heir's own rollover begins, or goes out.
            _ => {
                let split = self.split();
                self.faults.push((at, split));
                let sign = *self.dice.pick(&[Sign::Started, Sign::Activated]);
                let after = self.dice.below(300);
                self.when(at, sign, 40_000, after, Fault::Heal);
                self.faults.push((at + 45_000, Fault::Heal));
            }
        }
        self.revive(at);
    }

    fn misses(&mut self, at: u64) {
        let split = self.split();
        self.faults.push((at, split));
        let heals = at + self.dice.between(3_000, 35_000);
        let mut link = Link::lossy(u32::try_from(self.dice.between(30, 45)).unwrap_or(40));
        if self.dice.chance(50) {
            link = bad_link(&mut self.dice, 30);
            link.bursts = Some(Bursts {
                enter: 60,
                leave: 150,
                loss: 90,
            });
        }
        let before = self.dice.chance(50);
        self.faults
            .push((if before { at } else { heals }, Fault::Link(link)));
        self.faults.push((heals, Fault::Heal));
        if self.dice.chance(40) {
            let who = self.anybody();
            self.faults.push((
                heals + self.dice.below(10_000),
                Fault::Rekey(who, RekeyReason::Operator),
            ));
        }
        self.faults
            .push((heals + self.dice.between(8_000, 30_000), Fault::Link(Link::CLEAN)));
    }

    fn activates(&mut self, at: u64) {
        // Some miss the updates, then the key server dies right after an Activate went out.
        let some = self.some();
        self.faults
            .push((at, Fault::Rekey(Who::Gcks, RekeyReason::Operator)));
        let after = *self.dice.pick(&[0, 1, 2, 50, 200, 900, 1_100, 3_000]);
        let dies = match self.dice.below(3) {
            0 => Fault::Pause(Who::Gcks, self.dice.between(3_000, 15_000)),
            _ => Fault::Crash(Who::Latest),
        };
        self.when(at, Sign::Activated, 20_000, after, dies);
        let (ms, late) = (self.dice.between(200, 8_000), self.dice.below(1_500));
        self.when(
            at,
            Sign::Started,
            20_000,
            late,
            Fault::Lose {
                exchange: GSA_REKEY,
                from: Vec::new(),
                to: some,
                ms,
            },
        );
        self.revive(at);
    }

    fn merges(&mut self, at: u64) {
        let (left, right) = self.halves();
        self.faults
            .push((at, Fault::Split(vec![left.clone(), right.clone()])));
        for half in [&left, &right] {
            if self.dice.chance(50) {
                let who = Who::Node(*self.dice.pick(half));
                self.faults.push((
                    at + self.dice.between(8_000, 14_000),
                    Fault::Rekey(who, RekeyReason::Operator),
                ));
            }
        }
        let heals = at + self.dice.between(6_000, 35_000);
        self.faults.push((heals, Fault::Heal));
        for _ in 0..self.dice.between(1, 4) {
            let soon = heals + self.dice.below(12_000);
            let who = self.anybody();
            let fault = match self.dice.below(6) {
                0 | 1 => Fault::Reboot(who),
                2 => Fault::Crash(Who::Gcks),
                3 => {
                    // One changes sides: the link splits again, with it on the other.
                    let (mut left, mut right) = (left.clone(), right.clone());
                    std::mem::swap(&mut left[0], &mut right[0]);
                    Fault::Split(vec![left, right])
                }
                4 => Fault::Pause(who, self.dice.between(1_000, 9_000)),
                _ => Fault::HandOff,
            };
            self.faults.push((soon, fault));
            if self.dice.chance(30) {
                self.faults
                    .push((soon + self.dice.below(3_000), Fault::Reboot(who)));
            }
        }
        self.faults
            .push((heals + self.dice.between(12_000, 25_000), Fault::Heal));
        self.revive(heals);
    }

    fn pushes(&mut self, at: u64) {
        let some = self.some();
        let exchange = *self
            .dice
            .pick(&[GSA_INBAND_REKEY, GSA_REGISTRATION, GSA_REKEY, INFORMATIONAL]);
        let ms = self.dice.between(3_000, 30_000);
        let (from, to) = match self.dice.below(3) {
            0 => (Vec::new(), Vec::new()),
            1 => (some, Vec::new()),
            _ => (Vec::new(), some),
        };
        self.faults.push((
            at,
            Fault::Lose {
                exchange,
                from,
                to,
                ms,
            },
        ));
        let who = self.anybody();
        let also = match self.dice.below(4) {
            0 => Fault::Rekey(who, RekeyReason::Operator),
            1 => Fault::Reboot(who),
            2 => Fault::Crash(Who::Gcks),
            _ => Fault::Reboot(Who::Gcks),
        };
        self.faults.push((at + self.dice.below(3_000), also));
        self.revive(at);
    }

    fn reboots(&mut self, at: u64) {
        let who = match self.dice.below(3) {
            0 => Who::Gcks,
            _ => self.anybody(),
        };
        let mut soon = at;
        for _ in 0..self.dice.between(2, 8) {
            let next = if self.dice.chance(30) { self.anybody() } else { who };
            self.faults.push((soon, Fault::Reboot(next)));
            soon += self.dice.between(20, 6_000);
        }
    }

    fn one_way(&mut self, at: u64) {
        let ends = at + self.dice.between(5_000, 40_000);
        match self.dice.below(4) {
            // One does not hear another.
            0 => {
                let (from, to) = self.two();
                self.faults.push((
                    at,
                    Fault::Reach {
                        from,
                        to,
                        hears: false,
                    },
                ));
            }
            // One hears nobody, or nobody hears it.
            1 => {
                let one = self.dice.index(self.nodes);
                let mute = self.dice.chance(50);
                for other in (0..self.nodes).filter(|other| *other != one) {
                    let (from, to) = if mute { (one, other) } else { (other, one) };
                    self.faults.push((
                        at,
                        Fault::Reach {
                            from,
                            to,
                            hears: false,
                        },
                    ));
                }
            }
            // A chain: each hears its neighbours alone.
            2 => {
                let order = self.dice.shuffled((0..self.nodes).collect::<Vec<usize>>());
                for a in 0..order.len() {
                    for b in (0..order.len()).filter(|b| a.abs_diff(*b) > 1) {
                        self.faults.push((
                            at,
                            Fault::Reach {
                                from: order[a],
                                to: order[b],
                                hears: false,
                            },
                        ));
                    }
                }
            }
            // Two halves with one router that both hear.
            _ => {
                let (left, right) = self.halves();
                for (a, b) in left
                    .iter()
                    .skip(1)
                    .flat_map(|a| right.iter().map(move |b| (*a, *b)))
                {
                    self.faults.push((
                        at,
                        Fault::Reach {
                            from: a,
                            to: b,
                            hears: false,
                        },
                    ));
                    self.faults.push((
                        at,
                        Fault::Reach {
                            from: b,
                            to: a,
                            hears: false,
                        },
                    ));
                }
            }
        }
        if self.dice.chance(50) {
            let who = if self.dice.chance(50) {
                Who::Gcks
            } else {
                self.anybody()
            };
            self.faults
                .push((at + self.dice.below(10_000), Fault::Reboot(who)));
        }
        self.faults.push((ends, Fault::Heal));
    }

    fn restarts(&mut self, at: u64) {
        let who = if self.dice.chance(30) {
            Who::Gcks
        } else {
            self.anybody()
        };
        // The same router must be meant twice.
        let who = if who == Who::Gcks {
            Who::Node(self.nodes - 1)
        } else {
            who
        };
        self.faults.push((at, Fault::StopKeying(who)));
        self.faults
            .push((at + self.dice.below(25_000), Fault::Start(who)));
        if self.dice.chance(50) {
            self.faults.push((
                at + self.dice.below(8_000),
                Fault::Rekey(Who::Gcks, RekeyReason::Operator),
            ));
        }
    }

    fn leavers(&mut self, at: u64) {
        let who = self.anybody();
        match self.dice.below(6) {
            0 | 1 => {
                let who = if self.dice.chance(40) { Who::Gcks } else { who };
                self.faults.push((at, Fault::Leave(who)));
            }
            2 => self.faults.push((at, Fault::HandOff)),
            3 => self.faults.push((at, Fault::Priority(Who::Gcks, 0))),
            4 => self.faults.push((at, Fault::Priority(who, 1_000))),
            _ if self.evictions && self.dice.chance(50) => self.faults.push((at, Fault::Evict(who))),
            _ => self.faults.push((at, Fault::Reboot(who))),
        }
        let soon = at + self.dice.between(200, 8_000);
        let whom = self.anybody();
        self.faults.push((soon, Fault::Start(whom)));
        if self.dice.chance(30) {
            self.faults.push((soon, Fault::Crash(Who::Gcks)));
            self.revive(soon);
        }
    }

    fn sleeps(&mut self, at: u64) {
        let ms = match self.dice.below(3) {
            0 => self.dice.between(500, 3_900),
            1 => self.dice.between(3_500, 9_000),
            _ => self.dice.between(9_000, 60_000),
        };
        let who = if self.dice.chance(40) {
            Who::Gcks
        } else {
            self.anybody()
        };
        self.faults.push((at, Fault::Pause(who, ms)));
        if self.dice.chance(30) {
            self.faults.push((
                at + self.dice.below(2_000),
                Fault::Rekey(Who::Gcks, RekeyReason::Operator),
            ));
        }
    }

    fn attack(&mut self, attack: Attack, least: u64, most: u64, every: u64) {
        let ms = self.dice.between(least, most);
        let at = self.dice.below(SPAN.saturating_sub(ms).max(1));
        let every = self.dice.between(every / 4, every * 4);
        let salt = self.dice.below(1 << 30);
        self.faults.push((
            at,
            Fault::Attack {
                attack,
                ms,
                every,
                salt,
            },
        ));
    }

    fn when(&mut self, at: u64, sign: Sign, within: u64, after: u64, then: Fault) {
        let then = Box::new(then);
        let when = Fault::When {
            sign,
            within,
            after,
            then,
        };
        self.faults.push((at, when));
    }

    /// Those that crashed boot in a while.
    fn revive(&mut self, at: u64) {
        for who in 0..self.nodes {
            if self.dice.chance(60) {
                self.faults
                    .push((at + self.dice.between(500, 20_000), Fault::Start(Who::Node(who))));
            }
        }
    }

    fn anybody(&mut self) -> Who {
        Who::Node(self.dice.index(self.nodes))
    }

    fn two(&mut self) -> (usize, usize) {
        let one = self.dice.index(self.nodes);
        let other = (one + 1 + self.dice.index(self.nodes - 1)) % self.nodes;
        (one, other)
    }

    fn some(&mut self) -> Vec<usize> {
        let count = 1 + self.dice.index(self.nodes.min(3));
        let mut all = self.dice.shuffled((0..self.nodes).collect::<Vec<usize>>());
        all.truncate(count);
        all
    }

    fn halves(&mut self) -> (Vec<usize>, Vec<usize>) {
        let mut left = self.dice.shuffled((0..self.nodes).collect::<Vec<usize>>());
        let cut = 1 + self.dice.index(self.nodes - 1);
        let right = left.split_off(cut);
        (left, right)
    }

    fn split(&mut self) -> Fault {
        let (left, right) = self.halves();
        let mut parts = vec![left, right];
        if self.nodes > 4 && self.dice.chance(15) {
            // Three parts.
            let longest = usize::from(parts[1].len() > parts[0].len());
            let cut = parts[longest].len() / 2;
            let third = parts[longest].split_off(cut.max(1));
            parts.extend(Some(third).filter(|third| !third.is_empty()));
        }
        Fault::Split(parts)
    }
}

fn bad_link(dice: &mut Dice, most: u64) -> Link {
    let mut link = Link::lossy(u32::try_from(dice.below(most)).unwrap_or(0));
    link.latency = dice.between(1, 30);
    link.jitter = dice.below(40);
    if dice.chance(30) {
        link.loss /= 2;
        link.bursts = Some(Bursts {
            enter: u32::try_from(dice.between(5, 60)).unwrap_or(5),
            leave: u32::try_from(dice.between(50, 400)).unwrap_or(50),
            loss: u32::try_from(dice.between(60, 100)).unwrap_or(60),
        });
    }
    link
}
