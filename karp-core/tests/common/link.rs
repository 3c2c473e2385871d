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
}

impl Link {
    /// One to two milliseconds and no fault.
    pub const CLEAN: Self = Self {
        latency: 1,
        jitter: 1,
        loss: 0,
        duplicate: 0,
        reorder: 0,
    };
    /// What the scenarios call a bad link: a tenth lost, a tenth doubled, a tenth out of order.
    pub const BAD: Self = Self {
        latency: 1,
        jitter: 4,
        loss: 10,
        duplicate: 10,
        reorder: 10,
    };

    /// A link that loses `loss` percent, with some datagrams doubled and out of order.
    pub const fn lossy(loss: u32) -> Self {
        Self {
            latency: 1,
            jitter: 4,
            loss,
            duplicate: 5,
            reorder: 5,
        }
    }

    /// The delays of the copies of one datagram: none if it is lost.
    pub fn fates(&self, dice: &mut Dice) -> Fates {
        if dice.chance(self.loss) {
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
