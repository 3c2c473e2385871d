//! The Noise protocol framework, by snow: 25519, ChaChaPoly, SHA256, with its default resolver.

use benches::measure::{Stopwatch, Watch};
use snow::{Builder, HandshakeState, params::NoiseParams};

use crate::exchange::Peer;

/// A pattern, and the long-term keys of both sides.
pub(crate) struct Noise {
    name: &'static str,
    params: NoiseParams,
    keys: [snow::Keypair; 2],
    /// What each side knows of the other before.
    knows: Knows,
}

/// What a side knows before the handshake begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// Nothing: the keys come with the messages.
    Nothing,
    /// The initiator has the responder's key, and both a pre-shared one.
    KeyAndSecret,
    /// Both have a pre-shared key, and no other.
    Secret,
}

const SECRET: [u8; 32] = [0x5c; 32];

impl Noise {
    /// Every pattern that is compared.
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        let new = |name: &'static str, pattern: &str, knows| {
            let params: NoiseParams = format!("Noise_{pattern}_25519_ChaChaPoly_SHA256")
                .parse()
                .map_err(|error| format!("{pattern}: {error}"))?;
            let key = || Builder::new(params.clone()).generate_keypair();
            let keys = [key(), key()].map(|key| key.map_err(|error| format!("{pattern}: {error}")));
            let [initiator, responder] = keys;
            Ok(Self {
                name,
                params,
                keys: [initiator?, responder?],
                knows,
            })
        };
        [
            new("snow_xx", "XX", Knows::Nothing),
            new("snow_ikpsk2", "IKpsk2", Knows::KeyAndSecret),
            new("snow_nnpsk0", "NNpsk0", Knows::Secret),
        ]
        .into_iter()
        .collect()
    }

    fn start(&self, side: usize) -> Result<HandshakeState, snow::Error> {
        let [initiator, responder] = &self.keys;
        let own = if side == 0 { initiator } else { responder };
        let mut builder = Builder::new(self.params.clone());
        if self.knows != Knows::Secret {
            builder = builder.local_private_key(&own.private)?;
        }
        if self.knows == Knows::KeyAndSecret && side == 0 {
            builder = builder.remote_public_key(&responder.public)?;
        }
        let psk_at = match self.knows {
            Knows::Nothing => None,
            Knows::KeyAndSecret => Some(2),
            Knows::Secret => Some(0),
        };
        if let Some(at) = psk_at {
            builder = builder.psk(at, &SECRET)?;
        }
        if side == 0 {
            builder.build_initiator()
        } else {
            builder.build_responder()
        }
    }

    fn handshake(&self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, snow::Error> {
        let [first, second] = watches;
        let mut initiator = first.run(|| self.start(0))?;
        let mut responder = second.run(|| self.start(1))?;
        let (mut message, mut payload) = ([0; 1024], [0; 1024]);
        let mut octets = Vec::new();
        while !(initiator.is_handshake_finished() && responder.is_handshake_finished()) {
            let from_initiator = octets.len() % 2 == 0;
            let (from, writes, to, reads) = if from_initiator {
                (&mut initiator, &mut *first, &mut responder, &mut *second)
            } else {
                (&mut responder, &mut *second, &mut initiator, &mut *first)
            };
            let len = writes.run(|| from.write_message(&[], &mut message))?;
            reads.run(|| to.read_message(&message[..len], &mut payload))?;
            octets.push(len);
        }
        first.run(|| initiator.into_transport_mode())?;
        second.run(|| responder.into_transport_mode())?;
        Ok(octets)
    }
}

impl Peer for Noise {
    fn name(&self) -> &'static str {
        self.name
    }

    fn exchange(&mut self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, String> {
        self.handshake(watches)
            .map_err(|error| format!("{}: {error}", self.name))
    }
}
