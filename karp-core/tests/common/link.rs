//! What a link does to datagrams.

use super::dice::Dice;

/// A link from one router to another. Percentages are of datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The least time that a datagram takes, in ms.
    pub latency: u64,
    /// Up to so many ms more, drawn for each datagram.
    pub jitter: u64,
    /// How many are lost.
    pub loss: u32,
    /// How many arrive twice.
    pub duplicate: u32,
    /// How many are held back by 20 to 120 ms, so that later ones pass them.
    pub reorder: u32,
    /// Times of heavy loss on top of that.
    pub bursts: Option<Bursts>,
}

/// Losses that come together (Gilbert's model): a link is good or bad, each datagram may change that, and a bad one loses
/// more. Every direction of every link has a state of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bursts {
    /// A good link turns bad in so many of 1000 datagrams.
    pub enter: u32,
    /// A bad link turns good in so many of 1000 datagrams: 1000 divided by this is a burst's mean length.
    pub leave: u32,
    /// Percentage that a bad link loses.
    pub loss: u32,
}

impl Link {
    /// One to two milliseconds and no fault.
    pub const CLEAN: Self = Self {
        latency: 1,
        jitter: 1,
        loss: 0,
        duplicate: 0,
        reorder: 0,
        bursts: None,
    };
    /// What the scenarios call a bad link: a tenth lost, a tenth doubled, a tenth out of order.
    pub const BAD: Self = Self {
        latency: 1,
        jitter: 4,
        loss: 10,
        duplicate: 10,
        reorder: 10,
        bursts: None,
    };

    /// A link that loses `loss` percent, with some datagrams doubled and out of order.
    pub const fn lossy(loss: u32) -> Self {
        Self {
            latency: 1,
            jitter: 4,
            loss,
            duplicate: 5,
            reorder: 5,
            bursts: None,
        }
    }

    /// The delays of the copies of one datagram: none if it is lost. `bad` is the state of this direction's bursts.
    pub fn fates(&self, bad: &mut bool, dice: &mut Dice) -> Fates {
        if self.loses(bad, dice) {
            return Fates { delays: [None, None] };
        }
        let first = self.delay(dice);
        let second = dice
            .chance(self.duplicate)
            .then(|| self.delay(dice) + dice.between(0, 40));
        Fates {
            delays: [Some(first), second],
        }
    }

    /// Whether this link loses the next datagram.
    pub fn loses(&self, bad: &mut bool, dice: &mut Dice) -> bool {
        let Some(bursts) = self.bursts else {
            return dice.chance(self.loss);
        };
        let turns = if *bad { bursts.leave } else { bursts.enter };
        *bad ^= dice.below(1000) < u64::from(turns);
        dice.chance(self.loss) || *bad && dice.chance(bursts.loss)
    }

    fn delay(&self, dice: &mut Dice) -> u64 {
        let held = if dice.chance(self.reorder) {
            dice.between(20, 120)
        } else {
            0
        };
        self.latency + dice.below(self.jitter + 1) + held
    }
}

/// When the copies of a datagram arrive.
pub struct Fates {
    delays: [Option<u64>; 2],
}

impl Iterator for Fates {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.delays.iter_mut().find_map(Option::take)
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ms + 0..{} ms, {} % lost, {} % twice, {} % held back",
            self.latency, self.jitter, self.loss, self.duplicate, self.reorder
        )?;
        match self.bursts {
            None => Ok(()),
            Some(Bursts { enter, leave, loss }) => {
                write!(
                    f,
                    ", bursts of {loss} % ({enter} in 1000 begin, {leave} in 1000 end)"
                )
            }
        }
    }
}
