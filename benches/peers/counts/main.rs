//! `cargo bench --bench peers -- counts`, or `cargo bench --bench counts` in this folder: the instructions that things
//! take, counted by valgrind, against `expected.txt` beside this file.
//!
//! A count repeats to the instruction on one machine with one toolchain, so a change for the worse shows that no clock
//! would tell from noise. What is more than 2 % above its expected count fails. `counts/renew` writes the file anew.

use std::hint::black_box;

use benches::{
    announcement::Crowd,
    exchange::{exchange, newcomer},
    measure::Off,
    primitives::{self, ExchangeSizes},
    router::{Buffer, Dice, Group, Proof, Router, Tables, public_keys},
    update::Lan,
};
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use karp_core::{
    Command, Handled, Output, Role, algorithm::RoutingProtocol, command::RekeyReason,
    wire::election::Announcement,
};

/// Lines of a name and its count; lines with `#` say with what it was counted.
const EXPECTED: &str = include_str!("expected.txt");

/// More than the expected count by so many per cent is a failure.
const TOLERANCE: u64 = 2;

/// The C library fills and copies what is long with one instruction that repeats itself, and valgrind counts it once for
/// every octet: 6 KiB of stack that are wiped in 56 ns would count as 6144 instructions, when they are about 370 stores and
/// branches. So it is told not to use that one.
const STRINGS: &str =
    "glibc.cpu.x86_rep_stosb_threshold=1073741824:glibc.cpu.x86_rep_movsb_threshold=1073741824";

/// The limit of `name`; without an expected count there is none, which only a new entry may lack until it is renewed.
fn limits(name: &str) -> LibraryBenchmarkConfig {
    let expected = EXPECTED.lines().find_map(|line| {
        let (of, count) = line.split_once(' ')?;
        (of == name).then(|| count.trim().parse::<u64>().ok())?
    });
    let limit = expected.map_or(0, |count| count + count * TOLERANCE / 100);
    let mut config = LibraryBenchmarkConfig::default();
    config.env("GLIBC_TUNABLES", STRINGS);
    config.tool(Callgrind::default().hard_limits([(EventKind::Ir, limit)]));
    config
}

fn group(proof: Proof, members: u16) -> Group {
    Group {
        proof,
        controller_signatures: true,
        public: public_keys(members + 2),
    }
}

/// Two that have not met, and what the first hears.
struct Meeting {
    member: Box<Router>,
    gcks: Box<Router>,
    hint: Vec<u8>,
}

fn meeting(proof: Proof) -> Meeting {
    let group = group(proof, 0);
    let (gcks, hint) = Router::in_office(&group, 1, Tables::new(16, 64, 8, 8)).expect("an office");
    Meeting {
        member: Box::new(newcomer(&group, 0, 1000).expect("a member")),
        gcks: Box::new(gcks),
        hint,
    }
}

// All of an initial exchange, both sides.
#[library_benchmark]
#[bench::psk(args = (Proof::SharedKey), setup = meeting, config = limits("exchanged_psk"))]
#[bench::ed25519(args = (Proof::Ed25519), setup = meeting, config = limits("exchanged_ed25519"))]
fn exchanged(mut meeting: Meeting) -> Meeting {
    let Meeting { member, gcks, hint } = &mut meeting;
    let done = exchange(member, gcks, hint, &mut [Off, Off]);
    assert_eq!(done.map(|done| done.0.len()), Ok(4));
    meeting
}

fn dice(signs: bool) -> (ExchangeSizes, bool, Dice) {
    // As the exchange benchmarks find them.
    let sizes = if signs {
        [166, 171, 314, 723]
    } else {
        [166, 166, 220, 634]
    };
    let [init_request, init_response, auth_request, auth_response] = sizes;
    let sizes = ExchangeSizes {
        init_request,
        init_response,
        auth_request,
        auth_response,
    };
    // Fills what is made once.
    primitives::exchange(&sizes, signs, &mut Dice::new(1));
    (sizes, signs, Dice::new(2))
}

// The bare primitives of an initial exchange: what the count above cannot fall below.
#[library_benchmark]
#[bench::psk(args = (false), setup = dice, config = limits("bare_psk"))]
#[bench::ed25519(args = (true), setup = dice, config = limits("bare_ed25519"))]
fn bare((sizes, signs, mut dice): (ExchangeSizes, bool, Dice)) {
    primitives::exchange(&sizes, signs, &mut dice);
}

fn lan(members: u16) -> Box<Lan> {
    Box::new(Lan::new(&group(Proof::SharedKey, members), members).expect("a group"))
}

/// The host asks for new keys, and the update is written.
fn create(lan: &mut Lan) -> Vec<u8> {
    let command = Command::Rekey {
        protocol: RoutingProtocol::Ospfv2,
        reason: RekeyReason::Operator,
    };
    let mut buffer: Buffer = [0; 1232];
    let asked = lan.gcks.engine.handle_command(lan.gcks.now, command);
    assert_eq!(asked, Ok(()));
    match lan.gcks.engine.poll(lan.gcks.now, &mut buffer) {
        Output::Transmit { len, .. } => buffer[..len].to_vec(),
        other => panic!("no update but {other:?}"),
    }
}

#[library_benchmark]
#[bench::of_10(args = (10), setup = lan, config = limits("created_of_10"))]
#[bench::of_300(args = (300), setup = lan, config = limits("created_of_300"))]
fn created(mut lan: Box<Lan>) -> (Box<Lan>, Vec<u8>) {
    let update = create(&mut lan);
    (lan, update)
}

fn updated(members: u16) -> (Box<Lan>, Vec<u8>) {
    let mut lan = lan(members);
    let update = create(&mut lan);
    (lan, update)
}

// A member takes an update, and has nothing more to say.
#[library_benchmark]
#[bench::signed(args = (10), setup = updated, config = limits("applied_signed"))]
fn applied((mut lan, mut update): (Box<Lan>, Vec<u8>)) -> Box<Lan> {
    let multicast = lan.gcks.multicast();
    let from = lan.gcks.address;
    let member = lan.members.first_mut().expect("ten members");
    settle(member, from, multicast, &mut update);
    lan
}

fn settle(router: &mut Router, from: std::net::SocketAddr, to: std::net::SocketAddr, octets: &mut [u8]) {
    assert_eq!(router.handle(from, to, octets), Handled::Accepted);
    let mut buffer: Buffer = [0; 1232];
    while !matches!(router.engine.poll(router.now, &mut buffer), Output::Idle { .. }) {}
}

fn crowd(peers: u16) -> (Box<Crowd>, std::net::SocketAddr, Vec<u8>) {
    let mut crowd = Box::new(Crowd::new(&group(Proof::SharedKey, peers), peers).expect("a crowd"));
    let (from, octets) = crowd.from_member().expect("an announcement");
    crowd.gcks.drain();
    assert_eq!(crowd.gcks.engine.role(), Role::Gcks);
    (crowd, from, octets)
}

// A GCKS hears a member, and has nothing more to say.
#[library_benchmark]
#[bench::of_16(args = (16), setup = crowd, config = limits("heard_of_16"))]
#[bench::of_300(args = (300), setup = crowd, config = limits("heard_of_300"))]
fn heard((mut crowd, from, mut octets): (Box<Crowd>, std::net::SocketAddr, Vec<u8>)) -> Box<Crowd> {
    let multicast = crowd.gcks.multicast();
    settle(&mut crowd.gcks, from, multicast, &mut octets);
    crowd
}

fn said() -> Vec<u8> {
    crowd(4).2
}

// An announcement is parsed.
#[library_benchmark]
#[bench::announcement(args = (), setup = said, config = limits("parsed_announcement"))]
fn parsed(octets: Vec<u8>) -> Vec<u8> {
    assert!(black_box(Announcement::parse(black_box(&octets))).is_ok());
    octets
}

library_benchmark_group!(
    name = counts,
    benchmarks = [exchanged, bare, created, applied, heard, parsed]
);

main!(library_benchmark_groups = counts);
