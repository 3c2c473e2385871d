//! What happens to a link: power, peace, a change of keys, the death of its key server.

use std::sync::atomic::{AtomicBool, Ordering};

use karp_core::{Command, algorithm::RoutingProtocol, command::RekeyReason};

use crate::{
    link::{Aim, Link, MS, Shape},
    measure::{Figures, Meter},
    router::Router,
};

/// A second of the link's time, in ns.
const SECOND: u64 = 1000 * MS;
/// So many things happen between two looks at whether a phase is over.
const LOOK: u32 = 256;

/// The parts of the story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// All routers are powered on at once, until all have one key.
    Start,
    /// Nothing happens.
    Peace,
    /// An operator asks for new keys, until all send with them and the office knows it.
    Rollover,
    /// The key server loses power, until all follow its heir and have one key.
    Failover,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Start, Self::Peace, Self::Rollover, Self::Failover];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Peace => "peace",
            Self::Rollover => "rollover",
            Self::Failover => "failover",
        }
    }
}

/// What was measured in one part, on one link or on several.
#[derive(Clone, Default)]
pub(crate) struct Measured {
    pub(crate) links: usize,
    /// Routers that were up, and those of them that reached the part's aim.
    pub(crate) routers: usize,
    pub(crate) reached: usize,
    /// On so many links all routers agreed on one GCKS and one key in time.
    pub(crate) agreed: usize,
    /// How long each router took, in ms.
    pub(crate) times: Vec<f64>,
    /// How long each link took until the office knew that all was done, in ms.
    pub(crate) completed: Vec<f64>,
    /// Exchanges that each router began.
    pub(crate) begun: Vec<f64>,
    /// Requests that each router sent again, for each exchange begun.
    pub(crate) repeats: Vec<f64>,
    /// How long each datagram waited for the GCKS's processor, in ms.
    pub(crate) waits: Vec<f64>,
    /// The most datagrams that waited for the GCKS at once.
    pub(crate) queue: usize,
    /// Datagrams for which the GCKS's sockets, and those of others, had no room.
    pub(crate) dropped: u64,
    pub(crate) dropped_elsewhere: u64,
    /// Seconds, messages and octets, of all links together.
    pub(crate) seconds: f64,
    pub(crate) messages: f64,
    pub(crate) octets: f64,
    /// The most messages in one second of one link.
    pub(crate) peak: u64,
    /// Messages a second that a router sent: each one's mean.
    pub(crate) sent: Vec<f64>,
    /// The GCKS's processor: seconds by the model, and seconds that its engine really took.
    pub(crate) modelled: f64,
    pub(crate) real: f64,
}

impl Measured {
    /// Puts the measurements of another link beside these.
    pub(crate) fn add(&mut self, other: Self) {
        self.links += other.links;
        self.routers += other.routers;
        self.reached += other.reached;
        self.agreed += other.agreed;
        self.times.extend(other.times);
        self.completed.extend(other.completed);
        self.begun.extend(other.begun);
        self.repeats.extend(other.repeats);
        self.waits.extend(other.waits);
        self.queue = self.queue.max(other.queue);
        self.dropped += other.dropped;
        self.dropped_elsewhere += other.dropped_elsewhere;
        self.seconds += other.seconds;
        self.messages += other.messages;
        self.octets += other.octets;
        self.peak = self.peak.max(other.peak);
        self.sent.extend(other.sent);
        self.modelled += other.modelled;
        self.real += other.real;
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and times of a simulation are far below 2^52"
    )]
    fn of(link: &Link, agreed: bool, part: Part, since: impl Fn(&Router) -> u64) -> Self {
        let Meter { ref seconds, .. } = link.meter;
        let span = (link.now - link.meter.since) as f64 / SECOND as f64;
        let ms = |ns: u64| ns as f64 / MS as f64;
        let up = || link.routers.iter().filter(|router| router.engine.is_some());
        let gcks = link.gcks();
        let peak = gcks.map_or(0, |gcks| link.routers[gcks as usize].peak);
        let mut waits: Vec<f64> = link
            .meter
            .waits
            .iter()
            .map(|us| f64::from(*us) / 1000.0)
            .collect();
        // A million of them say no more than a hundred thousand.
        let every = waits.len().div_ceil(100_000).max(1);
        waits.sort_by(f64::total_cmp);
        let longest = waits.last().copied();
        let waits = waits.into_iter().step_by(every).chain(longest).collect();
        Self {
            links: 1,
            routers: link.up(),
            reached: if part == Part::Peace {
                link.up()
            } else {
                link.reached
            },
            agreed: usize::from(agreed),
            times: up()
                .filter_map(|router| Some(ms(router.reached?.saturating_sub(since(router)))))
                .collect(),
            completed: link
                .completed
                .map(|at| ms(at - link.meter.since))
                .into_iter()
                .collect(),
            begun: up()
                .map(|router| f64::from(router.requests.begun))
                .filter(|begun| *begun > 0.0)
                .collect(),
            repeats: up().filter_map(Router::repeats).collect(),
            waits,
            queue: peak,
            dropped: link.meter.dropped_at_gcks,
            dropped_elsewhere: link.meter.dropped,
            seconds: span,
            messages: seconds.iter().map(|second| second.0 as f64).sum(),
            octets: seconds.iter().map(|second| second.1 as f64).sum(),
            peak: seconds.iter().map(|second| second.0).max().unwrap_or(0),
            sent: up().map(|router| router.sent.0 as f64 / span).collect(),
            modelled: link.meter.modelled as f64 / SECOND as f64,
            real: link.meter.real() as f64 / SECOND as f64,
        }
    }
}

/// The whole story of one link, part by part.
pub(crate) type Story = [Measured; 4];

/// Somebody wants the program to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

/// Plays a link's story. `watch` is told the part and how many routers have come how far in it.
pub(crate) struct Player<'a> {
    pub(crate) shape: Shape,
    /// Routers are powered on within so many ns.
    pub(crate) spread: u64,
    /// A part that takes longer has failed, in ns.
    pub(crate) limit: u64,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) watch: &'a dyn Fn(Part, &Link),
}

impl Player<'_> {
    /// # Errors
    /// [`Interrupted`].
    pub(crate) fn play(&self) -> Result<Story, Interrupted> {
        let mut link = Link::new(self.shape);
        link.begin(Aim::Keyed);
        link.start(self.spread);
        let all = self.shape.routers;
        let agreed = self.until(&mut link, Part::Start, self.limit, |link| {
            link.reached == all && link.agrees()
        })?;
        let start = Measured::of(&link, agreed, Part::Start, |router| router.started);

        // What the start left to do is done before peace is measured.
        link.begin(Aim::None);
        self.until(&mut link, Part::Peace, 10 * SECOND, |_| false)?;
        link.begin(Aim::None);
        self.until(&mut link, Part::Peace, 30 * SECOND, |_| false)?;
        let peace = Measured::of(&link, link.agrees(), Part::Peace, |_| 0);

        let (Some(gcks), true) = (link.gcks(), agreed) else {
            return Ok([start, peace, self.nothing(), self.nothing()]);
        };
        let old = link.routers[gcks as usize].active.unwrap_or(0);
        link.begin(Aim::Beyond(old));
        let began = link.now;
        link.command(
            gcks,
            Command::Rekey {
                protocol: RoutingProtocol::Ospfv2,
                reason: RekeyReason::Operator,
            },
        );
        let agreed = self.until(&mut link, Part::Rollover, self.limit, |link| {
            link.reached == all && link.completed.is_some() && link.agrees()
        })?;
        let rollover = Measured::of(&link, agreed, Part::Rollover, |_| began);

        link.crash(gcks);
        link.begin(Aim::Succession(gcks));
        let began = link.now;
        let agreed = self.until(&mut link, Part::Failover, self.limit, |link| {
            link.reached + 1 == all && link.completed.is_some() && link.agrees()
        })?;
        let failover = Measured::of(&link, agreed, Part::Failover, |_| began);
        Ok([start, peace, rollover, failover])
    }

    /// A part that was not reached counts as failed for all its routers.
    fn nothing(&self) -> Measured {
        Measured {
            links: 1,
            routers: self.shape.routers,
            ..Measured::default()
        }
    }

    fn until(
        &self,
        link: &mut Link,
        part: Part,
        limit: u64,
        done: impl Fn(&Link) -> bool,
    ) -> Result<bool, Interrupted> {
        let end = link.now + limit;
        let mut steps = 0_u32;
        while link.step(end) {
            steps += 1;
            if steps == LOOK {
                steps = 0;
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Interrupted);
                }
                (self.watch)(part, link);
                if done(link) {
                    return Ok(true);
                }
            }
        }
        Ok(done(link))
    }
}

impl Measured {
    /// Median, 99th percentile and maximum of the routers' times, in ms.
    pub(crate) fn time(&self) -> Figures {
        Figures::of(self.times.iter().copied())
    }
}
