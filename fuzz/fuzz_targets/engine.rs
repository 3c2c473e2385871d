//! One engine over any octets and any passing of time: no panic, no message longer than the limit, what is dropped
//! changes nothing, and an idle engine names a later moment. With the null suite, and seeds from a real group, the
//! octets may be a whole life in it.
#![no_main]

use karp_core::{Command, Handled, Instant, Output, Recv};
use karp_fuzz::{
    check::{self, Position, Sight, Told},
    record::Record,
    router::{FuzzEngine, LIMIT, Options, engine},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((options, mut rest)) = data.split_first() else {
        return;
    };
    let options = Options(*options);
    let mut engine = engine(0, 1, options, Vec::new(), Instant::ZERO);
    let (mut told, mut position) = (Told::default(), None);
    let _ = engine.handle_command(Instant::ZERO, Command::Join);
    let mut next = drain(&mut engine, Instant::ZERO, options, &mut told, &mut position);
    let mut now = 0_u64;
    let mut records = 0;
    while let Some((record, behind)) = Record::read(rest).filter(|_| records < 400) {
        records += 1;
        rest = behind;
        now += u64::from(record.wait);
        let (from, to, hop_limit) = (record.from, record.to, record.hop_limit);
        let time = Instant::from_millis(now);
        if !record.octets.is_empty() {
            let before = Sight::of(&engine, time);
            let handled =
                engine.handle_datagram(time, Recv { from, to, hop_limit }, &mut record.octets.clone());
            // A call after a deadline finds out first that the node slept, whatever comes of the datagram.
            let late = next.is_some_and(|at| at <= time);
            if let (Handled::Dropped(reason), false) = (handled, late) {
                let after = Sight::of(&engine, time);
                assert_eq!(
                    before, after,
                    "promise 5: dropped as {reason:?}, and something changed"
                );
            }
        }
        next = drain(&mut engine, time, options, &mut told, &mut position);
    }
});

/// Polls until the engine is idle, looks at it, and says when it wants to be polled again.
fn drain(
    engine: &mut FuzzEngine,
    now: Instant,
    options: Options,
    told: &mut Told,
    position: &mut Position,
) -> Option<Instant> {
    let mut buffer = [0; LIMIT];
    let mut turn = 0;
    let next = loop {
        turn += 1;
        assert!(turn < 1000, "poll does not come to an end");
        match engine.poll(now, &mut buffer) {
            Output::Transmit { len, .. } => assert!(len <= LIMIT),
            Output::Event(event) => told.event(&event),
            Output::Idle { next } => {
                assert!(
                    next.is_none_or(|(at, _)| at > now),
                    "idle until {next:?}, and it is {now:?}"
                );
                break next.map(|(at, _)| at);
            }
        }
    };
    let sight = Sight::of(engine, now);
    told.agrees(&sight);
    check::idle(engine, options, &sight, position);
    if told.take_fresh() {
        let rows = check::rows(engine, now);
        told.agrees_with(&sight, &rows);
        check::table(engine, now, &rows);
    }
    next
}
