//! The initial exchange, against what else two routers could run to authenticate each other and agree on keys.

use benches::{
    exchange::{exchange, newcomer, part},
    measure::{Report, Series, Stopwatch},
    primitives,
    router::{Dice, Group, Proof, Router, Tables},
};

use crate::{noise::Noise, tls::Tls};

/// Something that runs an exchange in memory.
pub(crate) trait Peer {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Runs one, each side on its clock, from the making of both states to keys on both sides; returns the octets of
    /// its messages.
    fn exchange(&mut self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, String>;
}

/// karp-core's engines.
struct Ours<'a> {
    name: &'static str,
    group: &'a Group,
    gcks: Router,
    hint: Vec<u8>,
    seed: u64,
    /// Octets of its messages.
    sizes: primitives::ExchangeSizes,
}

impl<'a> Ours<'a> {
    fn new(name: &'static str, group: &'a Group) -> Result<Self, String> {
        let (gcks, hint) = Router::in_office(group, 1, Tables::new(16, 64, 8, 8))?;
        Ok(Self {
            name,
            group,
            gcks,
            hint,
            seed: 1000,
            sizes: primitives::ExchangeSizes::default(),
        })
    }
}

impl Peer for Ours<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn exchange(&mut self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, String> {
        self.seed += 1;
        let mut member = newcomer(self.group, 0, self.seed)?;
        let done = exchange(&mut member, &mut self.gcks, &self.hint, watches)?;
        part(&mut member, &mut self.gcks)?;
        self.sizes = done.sizes()?;
        Ok(done.0.iter().map(|sent| sent.octets.len()).collect())
    }
}

/// What was measured of one.
#[derive(Default)]
struct Measured {
    initiator: Series,
    responder: Series,
    both: Series,
    octets: Vec<usize>,
}

impl Measured {
    fn round(&mut self, peer: &mut dyn Peer) -> Result<(), String> {
        let at = self.both.len();
        // Once for nothing: the others ran in between and took the caches, and the code of some is much larger.
        peer.exchange(&mut [Stopwatch::at(at), Stopwatch::at(at)])?;
        let mut watches = [Stopwatch::at(at), Stopwatch::at(at)];
        self.octets = peer.exchange(&mut watches)?;
        let [initiator, responder] = watches.map(|watch| watch.nanos());
        self.initiator.add(initiator);
        self.responder.add(responder);
        self.both.add(initiator + responder);
        Ok(())
    }
}

/// With which of ours each of the others is compared, and the target.
const PAIRS: [(&str, &str, Option<f64>); 10] = [
    ("karp_ed25519", "snow_xx", Some(1.0)),
    ("karp_psk", "snow_ikpsk2", Some(1.0)),
    ("karp_psk", "snow_xx", None),
    ("karp_psk", "snow_nnpsk0", None),
    ("karp_ed25519", "rustls_ring", None),
    ("karp_ed25519", "rustls_ring_raw", None),
    ("karp_ed25519", "rustls_aws_lc", None),
    ("karp_ed25519", "rustls_aws_lc_raw", None),
    ("karp_psk", "primitives_psk", Some(1.1)),
    ("karp_ed25519", "primitives_ed25519", Some(1.1)),
];

pub(crate) fn measure(groups: [&Group; 2], rounds: u32, report: &mut Report) -> Result<(), String> {
    let [shared, certified] = groups;
    let mut ours = [
        Ours::new("karp_psk", shared)?,
        Ours::new("karp_ed25519", certified)?,
    ];
    let mut others: Vec<Box<dyn Peer>> = Vec::new();
    for noise in Noise::all()? {
        others.push(Box::new(noise));
    }
    for tls in Tls::all()? {
        others.push(Box::new(tls));
    }
    let mut measured: Vec<Measured> = Vec::new();
    measured.resize_with(ours.len() + others.len(), Measured::default);
    let mut bare = [Series::default(), Series::default()];
    let mut dice = Dice::new(77);
    for _ in 0..rounds {
        let (of_ours, of_others) = measured.split_at_mut(ours.len());
        for ((ours, measured), bare) in ours.iter_mut().zip(of_ours).zip(&mut bare) {
            measured.round(ours)?;
            if measured.octets.len() != 4 {
                return Err(format!("{}: {} messages", ours.name, measured.octets.len()));
            }
            let signs = ours.group.proof == Proof::Ed25519;
            bare.time(|| primitives::exchange(&ours.sizes, signs, &mut dice));
        }
        for (other, measured) in others.iter_mut().zip(of_others) {
            measured.round(other.as_mut())?;
        }
    }
    let names = ours
        .iter()
        .map(|ours| ours.name())
        .chain(others.iter().map(|other| other.name()));
    let names: Vec<&str> = names.collect();
    for (name, measured) in names.iter().zip(&measured) {
        report.row(name, &measured.both);
        report.row("  its initiator", &measured.initiator);
        report.row("  its responder", &measured.responder);
        let octets: usize = measured.octets.iter().sum();
        println!(
            "    {octets} octets in {} messages: {:?}",
            measured.octets.len(),
            measured.octets
        );
    }
    let [psk, ed25519] = &bare;
    report.row("primitives_psk", psk);
    report.row("primitives_ed25519", ed25519);
    let find = |wanted: &str| match wanted {
        "primitives_psk" => Some(psk),
        "primitives_ed25519" => Some(ed25519),
        _ => {
            let at = names.iter().position(|name| *name == wanted)?;
            measured.get(at).map(|measured| &measured.both)
        }
    };
    for (ours, other, target) in PAIRS {
        let name = format!("exchange_{ours}_over_{other}");
        match (find(ours), find(other)) {
            (Some(ours), Some(other)) => report.spread(&name, ours, other, target),
            _ => report.failed(name),
        }
    }
    Ok(())
}
