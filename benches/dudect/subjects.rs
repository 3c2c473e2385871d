//! What is timed, by the functions of `karp_core::crypto`.

use benches::router::{Dice, SHARED_KEY};
use karp_core::crypto::{OpenKey, SealKey, Secret, ct_eq, group_mac, prf, shared_key_auth, verify_group_mac};

/// Makes an input of a class.
type Make = Box<dyn Fn(usize, &mut Dice) -> Vec<u8>>;
/// Does what is timed.
type Run = Box<dyn Fn(&[u8]) -> bool>;

/// One operation that compares a secret with what somebody sent.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    /// It is here to be found.
    pub(crate) leaky: bool,
    /// Timings in a full run and in a quick one.
    pub(crate) full: usize,
    pub(crate) quick: usize,
    /// Runs in one timing, of what is too short to be timed alone.
    pub(crate) repeats: u32,
    /// An input of a class: what was sent, wrong at its first octet (0) or at its last (1).
    pub(crate) input: Make,
    /// Whether it is accepted.
    pub(crate) run: Run,
}

/// All of them, the leaky one last.
pub(crate) fn subjects() -> Vec<Subject> {
    let subject = |name, right: Vec<u8>, repeats, run: Run| Subject {
        name,
        leaky: false,
        full: 200_000,
        quick: 20_000,
        repeats,
        input: wrong(right),
        run,
    };
    let mut dice = Dice::new(7);
    let mut octets = || Secret::<32>::random(&mut dice).expose().to_vec();
    let (mac, key, message, nonce) = (octets(), octets(), octets().repeat(4), octets());
    let gsk_h = Secret::from_bytes(key.clone().try_into().expect("32 octets"));

    let announced = group_mac(&gsk_h, &[&message]).to_vec();
    let text = message.clone();
    let announcement = subject(
        "GROUP_MAC of 128 octets",
        announced,
        1,
        Box::new(move |mac| {
            mac.first_chunk()
                .is_some_and(|mac| verify_group_mac(&gsk_h, &[&text], mac))
        }),
    );

    // As the responder makes a cookie: a keyed hash over nonce, SPI, address and port.
    let (secret, spi, ip, port) = (key.clone(), [3; 8], [10; 16], [3, 80]);
    let cookie = move |nonce: &[u8]| prf(&secret, &[nonce, &spi, &ip, &port]);
    let made = cookie(&nonce).to_vec();
    let cookies = subject(
        "cookie check",
        made,
        1,
        Box::new(move |value| ct_eq(&cookie(&nonce), value)),
    );

    // As either side checks AUTH by a pre-shared key: first message, nonce, MAC of the identity.
    let (first, n, id) = (message.clone(), octets(), octets());
    let auth = move || shared_key_auth(SHARED_KEY, &[&first, &n, &id]);
    let proof = auth().to_vec();
    let proofs = subject(
        "AUTH by a pre-shared key",
        proof,
        1,
        Box::new(move |mac| ct_eq(&auth(), mac)),
    );

    let keymat = || Secret::from_bytes([5; 36]);
    let mut seal = SealKey::new(keymat());
    let iv = seal.next_iv().expect("the first IV");
    let at = iv.octets();
    let mut sealed = message;
    let tag = seal
        .seal(iv, b"header", &mut sealed)
        .expect("a short text")
        .to_vec();
    let open = OpenKey::new(&keymat());
    let seals = subject(
        "tag of a sealed message",
        tag,
        1,
        Box::new(move |tag| {
            let mut text = sealed.clone();
            tag.first_chunk()
                .is_some_and(|tag| open.open(&at, b"header", &mut text, tag).is_ok())
        }),
    );

    let right = mac.clone();
    let comparison = subject(
        "comparison of 32 octets",
        mac.clone(),
        8,
        Box::new(move |mac| ct_eq(&right, mac)),
    );
    let right = mac.clone();
    let leaky = Subject {
        leaky: true,
        ..subject(
            "a comparison that leaks",
            mac,
            8,
            Box::new(move |mac| {
                let mut octets = right.iter().zip(mac);
                octets.all(|(a, b)| std::hint::black_box(*a) == *b)
            }),
        )
    };
    vec![comparison, announcement, cookies, proofs, seals, leaky]
}

/// `right` with other octets from its first on, or with another last octet. Both classes are made by the same steps.
fn wrong(right: Vec<u8>) -> Make {
    Box::new(move |class, dice| {
        let mut octets = right.clone();
        let at = if class == 0 { 0 } else { octets.len() - 1 };
        if let Some(octet) = octets.get_mut(at) {
            *octet ^= dice.octet() | 1;
        }
        octets
    })
}
