//! The console: how the card is told what to do and asked how it fares. On a real card this is the supervisor's channel;
//! here it shares the serial line with the protocol, on a port of its own, and is not protected.

/// The card's UDP port for the console, and the port that the neighbour asks from.
pub const PORT: u16 = 9;

/// How the two routers prove themselves to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// By a pre-shared key of these octets.
    SharedKey([u8; 32]),
    /// By Ed25519: the seed of the receiver's own key, and the other's public key.
    Signature {
        /// The seed.
        own: [u8; 32],
        /// The other router's public key.
        peer: [u8; 32],
    },
}

/// Asks something of the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Start as a router. A card does this or [`Request::Alone`] once, and no more until it is started anew.
    Start {
        /// What the card's generator is seeded with: the emulated board has no source of randomness. A real card draws
        /// it from its own, and never takes it from a wire.
        entropy: [u8; 32],
        /// How it proves itself.
        proof: Proof,
    },
    /// Say how you fare. Answered with [`Status`].
    Status,
    /// Ask the group for new keys.
    Rekey,
    /// Run two routers of your own on a line inside the card until they have rekeyed and one has taken over from the
    /// other.
    Alone {
        /// As in [`Request::Start`].
        entropy: [u8; 32],
        /// By signatures instead of a pre-shared key. The keys are drawn on the card.
        signatures: bool,
    },
    /// Report what you used and end.
    Stop,
}

/// The longest request in octets.
pub const MAX_REQUEST: usize = 1 + 32 + 1 + 64;

/// What the card is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activity {
    /// Nothing yet, or nothing any more.
    #[default]
    Waiting,
    /// A router that has left its group or looks for one.
    Initial,
    /// A member.
    Member,
    /// The key server.
    Gcks,
    /// It ran its two routers, and they ended as they should.
    AloneHeld,
    /// It ran its two routers, and they did not.
    AloneFailed,
}

/// How the card fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// What it does.
    pub activity: Activity,
    /// The id and the fingerprint of the key that it sends with.
    pub key: Option<(u16, [u8; 4])>,
    /// How many keys it accepts.
    pub keys: u8,
}

/// Octets of a status.
pub const STATUS: usize = 8;

impl Request {
    /// Writes the request; its length.
    pub fn write(&self, to: &mut [u8; MAX_REQUEST]) -> usize {
        let mut writer = Writer { to, len: 0 };
        match self {
            Self::Start { entropy, proof } => {
                writer.put(&[1]).put(entropy);
                match proof {
                    Proof::SharedKey(key) => writer.put(&[1]).put(key),
                    Proof::Signature { own, peer } => writer.put(&[2]).put(own).put(peer),
                }
            }
            Self::Status => writer.put(&[2]),
            Self::Rekey => writer.put(&[3]),
            Self::Alone { entropy, signatures } => {
                writer.put(&[4]).put(entropy).put(&[u8::from(*signatures)])
            }
            Self::Stop => writer.put(&[5]),
        };
        writer.len
    }

    /// Reads a request; `None` if it is none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = octets;
        let request = match take::<1>(&mut reader)? {
            [1] => Self::Start {
                entropy: take(&mut reader)?,
                proof: match take::<1>(&mut reader)? {
                    [1] => Proof::SharedKey(take(&mut reader)?),
                    [2] => Proof::Signature {
                        own: take(&mut reader)?,
                        peer: take(&mut reader)?,
                    },
                    _ => return None,
                },
            },
            [2] => Self::Status,
            [3] => Self::Rekey,
            [4] => Self::Alone {
                entropy: take(&mut reader)?,
                signatures: take::<1>(&mut reader)? == [1],
            },
            [5] => Self::Stop,
            _ => return None,
        };
        reader.is_empty().then_some(request)
    }
}

impl Status {
    /// The status as octets.
    #[must_use]
    pub fn octets(&self) -> [u8; STATUS] {
        let activity = match self.activity {
            Activity::Waiting => 0,
            Activity::Initial => 1,
            Activity::Member => 2,
            Activity::Gcks => 3,
            Activity::AloneHeld => 4,
            Activity::AloneFailed => 5,
        };
        let (id, [a, b, c, d]) = self.key.unwrap_or_default();
        let [high, low] = id.to_be_bytes();
        [activity, self.keys, high, low, a, b, c, d]
    }

    /// Reads a status; `None` if it is none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let [activity, keys, high, low, mark @ ..] = <[u8; STATUS]>::try_from(octets).ok()?;
        let id = u16::from_be_bytes([high, low]);
        Some(Self {
            activity: match activity {
                0 => Activity::Waiting,
                1 => Activity::Initial,
                2 => Activity::Member,
                3 => Activity::Gcks,
                4 => Activity::AloneHeld,
                5 => Activity::AloneFailed,
                _ => return None,
            },
            // Key ids are never zero.
            key: (id != 0).then_some((id, mark)),
            keys,
        })
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*first)
}

struct Writer<'a> {
    to: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) -> &mut Self {
        let room = self.to.iter_mut().skip(self.len);
        self.len += room.zip(octets).map(|(to, from)| *to = *from).count();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_line() {
        let entropy = core::array::from_fn(|at| at as u8);
        let proofs = [
            Proof::SharedKey([7; 32]),
            Proof::Signature {
                own: [8; 32],
                peer: [9; 32],
            },
        ];
        let starts = proofs.map(|proof| Request::Start { entropy, proof });
        let alone = [false, true].map(|signatures| Request::Alone { entropy, signatures });
        let plain = [Request::Status, Request::Rekey, Request::Stop];
        for request in starts.iter().chain(&alone).chain(&plain) {
            let mut octets = [0xff; MAX_REQUEST];
            let len = request.write(&mut octets);
            assert_eq!(Request::read(&octets[..len]), Some(*request));
            assert_eq!(Request::read(&octets[..len - 1]), None);
        }
        assert_eq!(Request::read(&[2, 0]), None);
        assert_eq!(Request::read(&[6]), None);
    }

    #[test]
    fn a_status_survives_the_line() {
        for (activity, key) in [
            (Activity::Waiting, None),
            (Activity::Gcks, Some((258, [1, 2, 3, 4]))),
            (Activity::AloneFailed, Some((1, [0; 4]))),
        ] {
            let status = Status {
                activity,
                key,
                keys: 3,
            };
            assert_eq!(Status::read(&status.octets()), Some(status));
        }
        assert_eq!(Status::read(&[9; STATUS]), None);
        assert_eq!(Status::read(&[0; STATUS + 1]), None);
    }
}
