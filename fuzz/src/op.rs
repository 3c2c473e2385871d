//! What can happen to a group, and how octets say it. Written by hand: what the fuzzer inserts or removes shifts what
//! follows by whole operations, and seeds can be written.

use arbitrary::{Arbitrary, Error, Result, Unstructured};

/// What becomes of some octets of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The bits are flipped.
    Flip(u8),
    /// Other octets stand there.
    Overwrite(Vec<u8>),
    /// The datagram ends there.
    Cut,
    /// These come in between.
    Insert(Vec<u8>),
}

/// An operation. `which` names a datagram on its way, `at` a router; both are taken modulo what there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// The link does what it should for so many quarters of a second.
    Run(u8),
    /// One datagram arrives.
    Deliver(u8),
    /// One is lost.
    Drop(u8),
    /// One will arrive twice.
    Duplicate(u8),
    /// One is altered. `mend` puts the new length into its header.
    Alter {
        which: u8,
        offset: u16,
        mend: bool,
        change: Change,
    },
    /// Octets of nobody's engine are put on the way.
    Inject { from: u8, to: u8, octets: Vec<u8> },
    /// A datagram that was sent earlier is put on the way to a router.
    Replay { which: u16, from: u8, to: u8 },
    /// A host gives a command.
    Command { at: u8, what: u8, argument: u16 },
    /// So many times 64 ms pass, and no datagram arrives.
    Advance(u8),
    /// A router loses power and all its memory.
    Crash(u8),
    /// A router that is down boots and joins, with the keys that its host kept if it did.
    Start(u8),
    /// A router's key management ends, and its host keeps the keys.
    Stop(u8),
    /// Who hears whom, a bit for each ordered pair.
    Reach(u8),
    /// A router sleeps for so many seconds.
    Sleep { at: u8, seconds: u8 },
    /// Everything on its way arrives now.
    DeliverAll,
    /// A host confirms the newest state.
    Confirm(u8),
}

/// A whole run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub options: u8,
    pub ops: Vec<Op>,
}

/// More operations are not read.
const MOST: usize = 200;

impl<'a> Arbitrary<'a> for Op {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        if u.is_empty() {
            return Err(Error::NotEnoughData);
        }
        Ok(match u8::arbitrary(u)? & 15 {
            0 => Self::Run(u8::arbitrary(u)?),
            1 => Self::Deliver(u8::arbitrary(u)?),
            2 => Self::Drop(u8::arbitrary(u)?),
            3 => Self::Duplicate(u8::arbitrary(u)?),
            4 => {
                let (which, offset) = (u8::arbitrary(u)?, u16::arbitrary(u)?);
                let how = u8::arbitrary(u)?;
                let change = match how & 3 {
                    0 => Change::Flip(u8::arbitrary(u)?),
                    1 => Change::Overwrite(octets(u, usize::from(how >> 3))?),
                    2 => Change::Cut,
                    _ => Change::Insert(octets(u, usize::from(how >> 3))?),
                };
                Self::Alter {
                    which,
                    offset,
                    mend: how & 4 != 0,
                    change,
                }
            }
            5 => {
                let (from, to) = (u8::arbitrary(u)?, u8::arbitrary(u)?);
                let len = usize::from(u16::arbitrary(u)?) % 1500;
                Self::Inject {
                    from,
                    to,
                    octets: octets(u, len)?,
                }
            }
            6 => Self::Replay {
                which: u16::arbitrary(u)?,
                from: u8::arbitrary(u)?,
                to: u8::arbitrary(u)?,
            },
            7 => Self::Command {
                at: u8::arbitrary(u)?,
                what: u8::arbitrary(u)?,
                argument: u16::arbitrary(u)?,
            },
            8 => Self::Advance(u8::arbitrary(u)?),
            9 => Self::Crash(u8::arbitrary(u)?),
            10 => Self::Start(u8::arbitrary(u)?),
            11 => Self::Stop(u8::arbitrary(u)?),
            12 => Self::Reach(u8::arbitrary(u)?),
            13 => Self::Sleep {
                at: u8::arbitrary(u)?,
                seconds: u8::arbitrary(u)?,
            },
            14 => Self::DeliverAll,
            _ => Self::Confirm(u8::arbitrary(u)?),
        })
    }
}

fn octets(u: &mut Unstructured<'_>, len: usize) -> Result<Vec<u8>> {
    let len = len.min(u.len());
    u.bytes(len).map(<[u8]>::to_vec)
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let options = u8::arbitrary(u)?;
        let mut ops = Vec::new();
        while ops.len() < MOST {
            let Ok(op) = Op::arbitrary(u) else { break };
            ops.push(op);
        }
        Ok(Self { options, ops })
    }
}

impl Op {
    /// The octets that say it.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Run(n) => to.extend([0, *n]),
            Self::Deliver(which) => to.extend([1, *which]),
            Self::Drop(which) => to.extend([2, *which]),
            Self::Duplicate(which) => to.extend([3, *which]),
            Self::Alter {
                which,
                offset,
                mend,
                change,
            } => {
                let [low, high] = offset.to_le_bytes();
                to.extend([4, *which, low, high]);
                let mend = u8::from(*mend) << 2;
                match change {
                    Change::Flip(bits) => to.extend([mend, *bits]),
                    Change::Overwrite(octets) => {
                        to.push(1 | mend | (octets.len() as u8) << 3);
                        to.extend(octets);
                    }
                    Change::Cut => to.push(2 | mend),
                    Change::Insert(octets) => {
                        to.push(3 | mend | (octets.len() as u8) << 3);
                        to.extend(octets);
                    }
                }
            }
            Self::Inject { from, to: at, octets } => {
                to.extend([5, *from, *at]);
                to.extend((octets.len() as u16).to_le_bytes());
                to.extend(octets);
            }
            Self::Replay { which, from, to: at } => {
                let [low, high] = which.to_le_bytes();
                to.extend([6, low, high, *from, *at]);
            }
            Self::Command { at, what, argument } => {
                let [low, high] = argument.to_le_bytes();
                to.extend([7, *at, *what, low, high]);
            }
            Self::Advance(n) => to.extend([8, *n]),
            Self::Crash(at) => to.extend([9, *at]),
            Self::Start(at) => to.extend([10, *at]),
            Self::Stop(at) => to.extend([11, *at]),
            Self::Reach(mask) => to.extend([12, *mask]),
            Self::Sleep { at, seconds } => to.extend([13, *at, *seconds]),
            Self::DeliverAll => to.push(14),
            Self::Confirm(at) => to.extend([15, *at]),
        }
    }
}

impl Plan {
    /// The octets that say it.
    pub fn octets(&self) -> Vec<u8> {
        let mut octets = vec![self.options];
        self.ops.iter().for_each(|op| op.write(&mut octets));
        octets
    }
}
