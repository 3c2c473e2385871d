//! Makes the seed corpora: `cargo run --example seed -- DIRECTORY`, with `--cfg fuzzing` in RUSTFLAGS (`fuzz/run` does
//! it). It lives the lives of karp-core's golden traces again under the null suite, an initial exchange, a rollover and
//! a failover, and some more, and writes down
//!
//! - `group/`: the operations of each life, and each with a message altered;
//! - `engine/`: what router 1 was given in each;
//! - `parse/`: one message of every kind, sealed ones with their text in the clear, and the bodies inside;
//! - `config/`: the example configuration whole and in parts, and settings.
//!
//! What it prints shows how far the lives get: seeds that get nowhere are refused.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use karp_core::{
    io::MessageKind,
    wire::{Payloads, sk},
};
use karp_fuzz::{
    op::{Change, Op, Plan},
    router::Options,
    world::World,
};

/// Payload types of the state inside a sealed message (PROTOCOL.md section 10).
const SA: u8 = 33;
const GSA: u8 = 51;
const KD: u8 = 52;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seed DIRECTORY");
        return ExitCode::from(2);
    };
    if !cfg!(fuzzing) {
        eprintln!("seeds are made with the null suite: RUSTFLAGS=\"--cfg fuzzing\"");
        return ExitCode::from(2);
    }
    match write_all(&directory) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

fn write_all(directory: &Path) -> io::Result<bool> {
    let mut good = true;
    let mut kinds: BTreeMap<(u8, bool, usize), Vec<u8>> = BTreeMap::new();
    let mut bodies: BTreeMap<(u8, usize), Vec<u8>> = BTreeMap::new();
    for (name, plan, settles) in lives() {
        let octets = plan.octets();
        let read = arbitrary::Arbitrary::arbitrary(&mut arbitrary::Unstructured::new(&octets));
        assert_eq!(
            read.ok().as_ref(),
            Some(&plan),
            "{name} is not read as it was written"
        );
        write(directory, "group", name, &octets)?;
        let mut world = World::new(Options(plan.options));
        world.record = Some(Vec::new());
        plan.ops.iter().for_each(|op| world.apply(op));
        let taken: Vec<String> = MessageKind::ALL
            .iter()
            .map(|kind| {
                let sum: u32 = world
                    .counters()
                    .map(|counters| counters.received(*kind).messages)
                    .sum();
                format!("{} {sum}", kind.name())
            })
            .collect();
        println!("{name}: {}; taken: {}", octets.len(), taken.join(", "));
        if settles && !world.is_settled() {
            println!("{name} does not end with one key everywhere");
            good = false;
        }
        let mut records = vec![plan.options];
        for record in world.record.take().into_iter().flatten() {
            record.write(&mut records);
            if records.len() > 30_000 {
                break;
            }
        }
        write(directory, "engine", name, &records)?;
        for message in world.sent() {
            collect(message, &mut kinds, &mut bodies);
        }
    }
    for ((exchange, response, size), message) in &kinds {
        let way = if *response { "answer" } else { "request" };
        write(directory, "parse", &format!("{exchange}-{way}-{size}"), message)?;
    }
    for ((kind, size), body) in &bodies {
        write(directory, "parse", &format!("body-{kind}-{size}"), body)?;
    }
    config(directory)?;
    Ok(good)
}

/// One message of each exchange and way, and of each hundred octets.
fn collect(
    message: &[u8],
    kinds: &mut BTreeMap<(u8, bool, usize), Vec<u8>>,
    bodies: &mut BTreeMap<(u8, usize), Vec<u8>>,
) {
    let (exchange, response) = (message[18], message[19] & 0x20 != 0);
    kinds
        .entry((exchange, response, message.len() / 100))
        .or_insert_with(|| message.to_vec());
    if let Ok((_, payloads)) = Payloads::of_message(message) {
        for payload in payloads.flatten().filter(|payload| payload.ty.0 == SA) {
            bodies
                .entry((SA, payload.body.len()))
                .or_insert_with(|| payload.body.to_vec());
        }
    }
    let Ok(sealed) = sk::locate(message) else { return };
    let mut copy = message.to_vec();
    let Ok(parts) = sk::split(&mut copy) else { return };
    let Ok(inner) = sk::inner(sealed.first, parts.text) else {
        return;
    };
    let mut state = [Vec::new(), Vec::new()];
    for payload in inner.flatten() {
        match payload.ty.0 {
            GSA => state[0] = payload.body.to_vec(),
            KD => state[1] = payload.body.to_vec(),
            _ => {}
        }
    }
    let [gsa, kd] = state;
    if let (Ok(len), false) = (u8::try_from(gsa.len()), gsa.is_empty()) {
        let body = [&[len][..], &gsa, &kd].concat();
        bodies.entry((GSA, body.len() / 50)).or_insert(body);
    }
}

/// The lives, and whether each ends with one key everywhere.
fn lives() -> Vec<(&'static str, Plan, bool)> {
    let life = |options: u8, ops: &[Op]| Plan {
        options,
        ops: [&[Op::Run(60)], ops].concat(),
    };
    let tell = |at: u8, what: u8, argument: u16| Op::Command { at, what, argument };
    let rekey = tell(0, 4, u16::from_be_bytes([5, 1]));
    let mut lives = vec![
        ("start", life(0, &[]), true),
        ("start-signed", life(1, &[]), true),
        (
            "start-unsigned-updates",
            life(4, &[Op::Run(20), rekey.clone(), Op::Run(60)]),
            true,
        ),
        ("rollover", life(0, &[rekey.clone(), Op::Run(40)]), true),
        ("lifetimes", life(1, &[Op::Run(255), Op::Run(255)]), true),
        (
            "failover",
            life(0, &[Op::Crash(2), Op::Run(120), Op::Start(2), Op::Run(120)]),
            true,
        ),
        (
            "member-reboots",
            life(0, &[Op::Crash(0), Op::Run(8), Op::Start(0), Op::Run(120)]),
            true,
        ),
        (
            "exempt-reboot",
            life(8, &[Op::Crash(0), Op::Start(0), Op::Run(120)]),
            true,
        ),
        (
            "resume",
            life(0, &[Op::Stop(0), Op::Run(4), Op::Start(0), Op::Run(120)]),
            true,
        ),
        (
            "resume-key-server",
            life(0, &[Op::Stop(2), Op::Run(4), Op::Start(2), Op::Run(120)]),
            true,
        ),
        (
            "handoff",
            life(0, &[Op::Run(20), tell(2, 7, 0), Op::Run(120)]),
            true,
        ),
        (
            "preempt",
            life(128, &[Op::Crash(2), Op::Run(80), Op::Start(2), Op::Run(160)]),
            true,
        ),
        (
            "evict",
            life(0, &[Op::Run(20), tell(2, 5, 0), Op::Run(80)]),
            false,
        ),
        (
            "leave",
            life(0, &[tell(2, 1, 0), Op::Run(100), tell(2, 0, 0), Op::Run(120)]),
            true,
        ),
        (
            "merge",
            life(
                0,
                &[Op::Reach(0b11_1100), Op::Run(80), Op::Reach(0), Op::Run(200)],
            ),
            true,
        ),
        (
            "deaf",
            life(
                0,
                &[Op::Reach(0b00_0100), Op::Run(120), Op::Reach(0), Op::Run(200)],
            ),
            true,
        ),
        ("manual", life(32, &[tell(2, 6, 0), Op::Run(120)]), true),
        (
            "sleep",
            life(0, &[Op::Sleep { at: 2, seconds: 60 }, Op::Run(255), Op::Run(120)]),
            true,
        ),
        (
            "second-never-serves",
            life(64, &[Op::Crash(2), Op::Run(120)]),
            true,
        ),
        (
            "priority",
            life(128, &[tell(0, 2, 250), Op::Run(120), tell(0, 2, 0), Op::Run(120)]),
            true,
        ),
        (
            "confirm",
            life(
                2,
                &[
                    Op::Confirm(0),
                    Op::Confirm(1),
                    Op::Confirm(2),
                    rekey.clone(),
                    Op::Run(12),
                    Op::Confirm(0),
                    Op::Confirm(1),
                    Op::Run(12),
                    Op::Confirm(2),
                    Op::Run(30),
                    Op::Confirm(0),
                    Op::Run(30),
                ],
            ),
            false,
        ),
        (
            "by-hand",
            life(
                0,
                &[
                    rekey.clone(),
                    Op::Advance(4),
                    Op::Duplicate(0),
                    Op::Drop(1),
                    Op::Deliver(0),
                    Op::Advance(20),
                    Op::DeliverAll,
                    Op::Advance(1),
                    Op::DeliverAll,
                    Op::Run(40),
                ],
            ),
            true,
        ),
        (
            "replays",
            life(
                0,
                &[
                    Op::Crash(0),
                    Op::Start(0),
                    Op::Run(40),
                    Op::Replay {
                        which: 3,
                        from: 0,
                        to: 0,
                    },
                    Op::Replay {
                        which: 12,
                        from: 0,
                        to: 1,
                    },
                    Op::Replay {
                        which: 20,
                        from: 0x81,
                        to: 2,
                    },
                    Op::Run(80),
                ],
            ),
            true,
        ),
        (
            "made-up",
            life(
                0,
                &[
                    Op::Inject {
                        from: 3,
                        to: 0x80,
                        octets: vec![0; 40],
                    },
                    Op::Run(20),
                ],
            ),
            true,
        ),
    ];
    // A message of each exchange with something of its text altered.
    let alter = |which, offset, change| Op::Alter {
        which,
        offset,
        mend: true,
        change,
    };
    let altered: [(&'static str, u8, Vec<Op>); 4] = [
        (
            "altered-announcement",
            0,
            vec![Op::Advance(16), alter(0, 70, Change::Flip(1)), Op::Run(80)],
        ),
        (
            "altered-update",
            0,
            vec![
                rekey,
                Op::Advance(1),
                Op::DeliverAll,
                Op::Advance(1),
                alter(0, 60, Change::Flip(4)),
                Op::Run(80),
            ],
        ),
        (
            "altered-exchange",
            0,
            vec![
                Op::Crash(0),
                Op::Start(0),
                Op::Advance(24),
                alter(255, 90, Change::Overwrite(vec![0, 0, 0])),
                Op::DeliverAll,
                Op::Advance(1),
                alter(255, 100, Change::Flip(8)),
                Op::Run(80),
            ],
        ),
        (
            "altered-longer",
            1,
            vec![
                Op::Crash(1),
                Op::Start(1),
                Op::Advance(24),
                alter(1, 80, Change::Insert(vec![41, 0, 0, 8])),
                Op::Run(80),
            ],
        ),
    ];
    lives.extend(altered.map(|(name, options, ops)| (name, life(options, &ops), false)));
    lives
}

/// The example file whole, without its comments, and a few of its mistakes; settings with keys to resume.
fn config(directory: &Path) -> io::Result<()> {
    let example = karp_std::config::EXAMPLE;
    // Secrets stand in the file here: the files that the example names are not there.
    let inline = example
        .replace(
            "{ hex_file = \"group.psk\" }",
            "{ text = \"a key that all routers have\" }",
        )
        .replace(
            "{ file = \"r1-r2.psk\" }",
            "{ hex = \"000102030405060708090a0b0c0d0e0f\" }",
        )
        .replace("{ file = \"ospf-manual.key\" }", "{ text = \"by hand\" }")
        .replace(
            "{ file = \"r1.key\" }",
            "{ text = \"ed25519-private:9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\" }",
        )
        .replace(
            "{ file = \"r3.pub\" }",
            "{ text = \"ed25519-public:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\" }",
        );
    let bare: String = inline
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .flat_map(|line| [line, "\n"])
        .collect();
    write(directory, "config", "example", bare.as_bytes())?;
    write(
        directory,
        "config",
        "files",
        example
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
            .as_bytes(),
    )?;
    let small = "[node]\nidentity = \"r1.example\"\naddress = \"10.9.0.1\"\n[group]\nname = \"lan\"\n[[peer]]\nidentity = \"r2.example\"\npsk = { text = \"0123456789abcdef\" }\n";
    write(directory, "config", "small", small.as_bytes())?;
    for (name, more) in [
        ("v6", "[timers]\nhello = \"100ms\"\ndtd = \"1s\"\n"),
        (
            "storage",
            "[storage]\npeers = 1\nkeys = 10\nhandshakes = 2\nsealed = 2\nstrangers = 2\n",
        ),
        (
            "wrong",
            "[policy]\nkey_ids = [1]\nprotocols = [ { protocol = \"RIPng\", algorithm = \"HMAC-SHA-1\" } ]\n",
        ),
        ("sinks", "[[sink]]\nkind = \"bird\"\n[daemon]\nlog = \"info\"\n"),
    ] {
        let text =
            format!("{small}{more}").replace("10.9.0.1", if name == "v6" { "fd09::1" } else { "10.9.0.1" });
        write(directory, "config", name, text.as_bytes())?;
    }
    let mut settings = vec![0, 4, 2];
    settings.extend(b"r1.x");
    settings.push(3);
    settings.extend(b"lan");
    settings.extend(0_u16.to_le_bytes());
    // The octets of a number are taken from the lowest on.
    settings.extend([10, 9, 0, 1].iter().rev());
    settings.extend(848_u16.to_le_bytes());
    settings.extend(100_u16.to_le_bytes());
    settings.extend(1_u64.to_le_bytes());
    settings.extend([1, 2, 1, 1]);
    settings.extend([1, 0, 1, 7, 0, 2, b'a', b'b']);
    settings.push(2);
    settings.extend([2, 9, 0, 1, 0x60, 0xea, 0, 0, 1, 0, 1]);
    settings.extend([0, 10, 0, 2, 0x60, 0xea, 0, 0, 1, 0, 1]);
    write(directory, "config", "resumed", &settings)
}

fn write(directory: &Path, target: &str, name: &str, octets: &[u8]) -> io::Result<()> {
    let directory = directory.join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), octets)
}
