//! `cargo bench --bench responder`: how many initial exchanges a second one GCKS answers over real UDP.
//!
//! The responder is a process of its own, bound to one processor: an [`Endpoint`](karp_std::endpoint::Endpoint) with the
//! sockets, the randomness and the tables of karp-std, serving on 127.0.0.1. This process is the initiators, a new engine
//! for each exchange, bound to another processor. Initiators are made in waves, each up to its first message before the
//! clock starts, so that it is the responder that has to keep up; the exchanges themselves are real, to the end: the
//! member holds the keys. A part of a wave is under way at once, each with a socket of its own.
//!
//! The last lines are `ratio NAME VALUE target TARGET`: processor time of the responder for each exchange, user and
//! system, in milliseconds. `--quick` takes some seconds and shows only that it runs; so does any run without `--bench`.

mod initiators;
mod serve;

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use benches::{
    measure::{Report, Series, pin_to, processors},
    router::{Group, Proof, public_keys},
};
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

/// Names of members; each exchange is a new instance of the next one.
pub(crate) const MEMBERS: u16 = 1000;
/// Exchanges of a wave.
const WAVE: u16 = 400;
/// Exchanges under way at once: less than half of the responder's places, so that it asks for no cookies.
const AT_ONCE: usize = 16;
/// strongSwan's charon on such a machine, with this suite and a pre-shared key: milliseconds for each IKE SA.
const CHARON_MS: f64 = 0.7;

/// The group of a run; both processes make the same.
pub(crate) fn group(proof: Proof) -> Group {
    Group {
        proof,
        controller_signatures: true,
        public: public_keys(MEMBERS + 2),
    }
}

/// The responder as this process sees it.
struct Responder {
    process: Child,
    address: SocketAddr,
    clock: ClockId,
}

impl Responder {
    /// Starts it and waits until it serves.
    fn start(proof: Proof, processor: usize) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let proof = if proof == Proof::Ed25519 { "ed25519" } else { "psk" };
        let mut process = Command::new(program)
            .args(["--serve", proof, &processor.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the responder cannot be started: {error}"))?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.map_err(|error| format!("the responder: {error}"))?;
        }
        let address = line.trim().parse();
        let pid = i32::try_from(process.id()).map_err(|error| error.to_string())?;
        let clock = clock_getcpuclockid(Pid::from_raw(pid)).map_err(|error| format!("its clock: {error}"));
        match (address, clock) {
            (Ok(address), Ok(clock)) => Ok(Self {
                process,
                address,
                clock,
            }),
            (address, clock) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(format!("the responder said {line:?}: {address:?}, {clock:?}"))
            }
        }
    }

    /// Processor time that it took so far.
    fn spent(&self) -> Result<Duration, String> {
        let spent = self.clock.now().map_err(|error| format!("its clock: {error}"))?;
        Ok(spent.into())
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn measure(proof: Proof, waves: u32, report: &mut Report) -> Result<(), String> {
    let name = if proof == Proof::Ed25519 { "ed25519" } else { "psk" };
    let available = processors().map_err(|error| format!("processors: {error}"))?;
    let (Some(first), Some(last)) = (available.first(), available.last()) else {
        return Err("no processor".to_owned());
    };
    let group = group(proof);
    let responder = Responder::start(proof, *first)?;
    pin_to(*last).map_err(|error| format!("processor {last}: {error}"))?;
    let (mut each, mut wall) = (Series::default(), Series::default());
    let (mut spent, mut took, mut again) = (Duration::ZERO, Duration::ZERO, 0);
    let mut drive = initiators::Drive::new(&group, responder.address, AT_ONCE)?;
    for wave in 0..waves {
        let prepared = drive.prepare(WAVE)?;
        let (cpu, clock) = (responder.spent()?, Instant::now());
        again += drive.run(prepared)?;
        let (cpu, clock) = (responder.spent()?.saturating_sub(cpu), clock.elapsed());
        each.add(cpu.as_nanos() as f64 / f64::from(WAVE));
        wall.add(clock.as_nanos() as f64 / f64::from(WAVE));
        spent += cpu;
        took += clock;
        if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            eprint!("\r{name}: wave {} of {waves}", wave + 1);
            let _ = std::io::stderr().flush();
        }
    }
    let count = f64::from(WAVE) * f64::from(waves);
    let a_second = count / took.as_secs_f64();
    let milliseconds = spent.as_secs_f64() * 1000.0 / count;
    report.row(&format!("{name}: processor time, each"), &each);
    report.row("  time by the clock, each", &wall);
    println!(
        "    {count} exchanges, {a_second:.0} a second by the clock, {:.0} a second of its processor's time, {again} datagrams sent again",
        1000.0 / milliseconds
    );
    report.value(&format!("responder_ms_{name}"), milliseconds, None);
    report.value(
        &format!("responder_over_charon_{name}"),
        milliseconds / CHARON_MS,
        Some(1.0),
    );
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if has("--help") {
        println!("cargo bench --bench responder [-- --quick]");
        return ExitCode::SUCCESS;
    }
    if let Some([_, proof, processor]) = arguments.first_chunk().filter(|_| has("--serve")) {
        let proof = if proof == "ed25519" {
            Proof::Ed25519
        } else {
            Proof::SharedKey
        };
        let served = serve::serve(proof, processor);
        return served.map_or_else(
            |error| {
                eprintln!("responder: {error}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let waves = if has("--quick") || !has("--bench") { 3 } else { 100 };
    let mut report = Report::default();
    report.heading("one responder over UDP on loopback");
    for proof in [Proof::SharedKey, Proof::Ed25519] {
        if let Err(error) = measure(proof, waves, &mut report) {
            report.failed(format!("{proof:?}: {error}"));
        }
    }
    println!(
        "strongSwan's charon, with a pre-shared key: {CHARON_MS} ms of processor time and more, for each IKE SA"
    );
    report.finish()
}
