use std::sync::{Arc, Mutex};

use karp_core::algorithm::RoutingProtocol::{self, *};

use super::*;
use crate::daemons::bird::fake::FakeBird;

const STATUS: &str = "1000-BIRD 2.17.6\n1011-Router ID is 10.9.0.1\n Hostname is vm\n \
                      Last reboot on 2026-11-24 11:24:55.778\n0013 Daemon is up and running\n";
const OSPF_INTERFACE: &str = "1015-o1:\n Interface e0 (10.9.0.0/24)\n \tType: broadcast\n \tArea: 0.0.0.0 (0)\n \
                              \tState: Backup\n \tPriority: 1\n \tDesignated router (ID): 10.9.0.2\n0000 \n";
const OSPF_NEIGHBOURS: &str = "1013-o1:\n Router ID   \tPri\t     State     \tDTime\tInterface  Router IP\n \
                               10.9.0.2    \t  1\tFull/DR   \t 9.415\te0         10.9.0.2\n \
                               10.9.0.3    \t  1\t2-Way/Other\t 9.0\te0         10.9.0.3\n \
                               10.9.0.4    \t  1\tFull/DR   \t 9.415\te1         10.9.1.4\n0000 \n";
const BABEL_INTERFACES: &str = "1023-b1:\n Interface  State  Auth  RX cost   Nbrs   Timer Next hop (v4)\n \
                                e0         Up     Yes        96      1   0.789 10.9.0.1\n0000 \n";
const BABEL_NEIGHBOURS: &str = "1024-b1:\n IP address                Interface  Metric Routes Hellos Expires Auth\n \
                                fe80::4c57:33ff:fe98:f1f4 e0             96      0     16   1.182 Yes      0.176\n \
                                fe80::1                   e0          65535      0      6   0.000 Yes      0.163\n0000 \n";
const BFD_SESSIONS: &str = "1020-f1:\n IP address                Interface  State      Since         Interval  Timeout\n \
                            10.9.0.2                  e0         Up         11:24:56.533    0.300    1.500\n \
                            10.9.0.3                  e0         Down       11:24:56.533    1.000    0.000\n0000 \n";
const RIP_INTERFACES: &str =
    "1021-r1:\n Interface  State  Metric   Nbrs   Timer\n e0         Up          1      1   0.080\n0000 \n";
const RIP_NEIGHBOURS: &str = "1022-r1:\n IP address                Interface  Metric Routes    Seen\n \
                              10.9.0.2                  e0              1      1   1.5\n0000 \n";

fn answer(command: &str) -> String {
    match command {
        "echo all" => "0000 \n",
        "show status" => STATUS,
        "show ospf interface o1 \"e0\"" => OSPF_INTERFACE,
        "show ospf neighbors o1 \"e0\"" => OSPF_NEIGHBOURS,
        "show babel interfaces b1" => BABEL_INTERFACES,
        "show babel neighbors b1" => BABEL_NEIGHBOURS,
        "show bfd sessions f1" => BFD_SESSIONS,
        "show rip interfaces r1" => RIP_INTERFACES,
        "show rip neighbors r1" => RIP_NEIGHBOURS,
        debug if debug.starts_with("debug ") => "0000 \n",
        _ => "9001 syntax error\n",
    }
    .to_owned()
}

fn observer(bird: &FakeBird, protocol: RoutingProtocol, instance: &str) -> BirdObserver {
    let mut it =
        BirdObserver::new(bird.socket(), protocol, instance.to_owned(), "e0".to_owned()).expect("good names");
    it.timeout = Duration::from_millis(500);
    it
}

fn neighbour(id: &str, state: &str, up: bool) -> Neighbour {
    Neighbour {
        id: id.to_owned(),
        state: state.to_owned(),
        up,
    }
}

#[test]
fn what_each_protocol_shows() {
    let bird = FakeBird::new(answer);
    let look = |protocol, instance| observer(&bird, protocol, instance).snapshot().expect("it shows");
    let ospf = look(Ospfv2, "o1");
    assert_eq!(ospf.epoch, bird::epoch(&bird.socket()).expect("it runs"));
    assert_eq!(
        (ospf.protocol, ospf.router_id, ospf.role, ospf.sequence),
        (Ospfv2, Some(0x0a09_0001), Some(LinkRole::Bdr), None)
    );
    // To the BDR 2-Way is not enough.
    assert_eq!(
        ospf.neighbours,
        [
            neighbour("10.9.0.2", "Full/DR", true),
            neighbour("10.9.0.3", "2-Way/Other", false)
        ]
    );
    let babel = look(Babel, "b1");
    assert_eq!(babel.role, Some(LinkRole::Other));
    assert_eq!(
        babel.neighbours,
        [
            neighbour("fe80::4c57:33ff:fe98:f1f4", "Up", true),
            neighbour("fe80::1", "Down", false)
        ]
    );
    assert_eq!(
        look(Bfd, "f1").neighbours,
        [
            neighbour("10.9.0.2", "Up", true),
            neighbour("10.9.0.3", "Down", false)
        ]
    );
    let rip = look(Ripv2, "r1");
    assert_eq!(
        (rip.role, rip.neighbours),
        (Some(LinkRole::Other), vec![neighbour("10.9.0.2", "Up", true)])
    );
}

#[test]
fn the_states_of_an_ospf_interface() {
    let role = |state: &str| {
        let text = format!(
            "1015-o1:\n Interface e00 (10.8.0.0/24)\n \tState: DR\n Interface e0 (10.9.0.0/24)\n \tType: x\n\
             {state} Interface e1 (10.7.0.0/24)\n \tState: DR\n0000 \n"
        );
        let bird = FakeBird::new(move |command| match command.starts_with("show ospf interface") {
            true => text.clone(),
            false => answer(command),
        });
        observer(&bird, Ospfv2, "o1").snapshot().expect("it shows").role
    };
    assert_eq!(role(" \tState: DR\n"), Some(LinkRole::Dr));
    assert_eq!(role(" \tState: Backup\n"), Some(LinkRole::Bdr));
    assert_eq!(role(" \tState: DROther\n"), Some(LinkRole::Other));
    assert_eq!(role(" \tState: PtP\n"), Some(LinkRole::Other));
    assert_eq!(role(" \tState: Waiting\n"), None);
    assert_eq!(role(" \tState: Loopback (stub)\n"), None);
    // Not that of the next interface.
    assert_eq!(role(""), None);
}

#[test]
fn rubbish_in_the_tables_is_left_out() {
    for table in [
        "0000 \n",
        "1015-\n \n \t\n 0 1 2 3 4 5 6\n0000 \n",
        "1013-o1: is not up\n0000 \n",
        "1013-x\n 10.9.0.2 1 Full e0\n 10.9.0.2 1 Full/DR 9 e0x y\n 10.9.0 1 Full/DR 1 e0 z\n0000 \n",
        "1020-\n 10.9.0.2 e0\n e0 e0 e0\n0000 \n",
    ] {
        let bird = FakeBird::new(move |command| match command {
            "echo all" => "0000 \n".to_owned(),
            _ => table.to_owned(),
        });
        for (protocol, instance) in [(Ospfv3, "o1"), (Babel, "b1"), (Bfd, "f1"), (Ripng, "r1")] {
            let seen = observer(&bird, protocol, instance)
                .snapshot()
                .expect("nothing to complain of");
            assert_eq!((seen.router_id, seen.neighbours), (None, vec![]));
        }
    }
}

#[test]
fn names_that_are_none() {
    let with = |instance: &str, interface: &str, protocol| {
        BirdObserver::new(
            "/run/bird.ctl".into(),
            protocol,
            instance.to_owned(),
            interface.to_owned(),
        )
    };
    assert!(with("o1", "eth0.7", Ospfv2).is_ok());
    assert_eq!(with("o1", "e0", Ospfv2).map(|it| it.name()), Ok("o1".to_owned()));
    assert_eq!(
        with("my-ospf", "e0", Ospfv2).map(|it| it.name()),
        Ok("'my-ospf'".to_owned())
    );
    for (instance, interface, protocol) in [
        ("", "e0", Ospfv2),
        ("o1'; down", "e0", Ospfv2),
        ("o\n1", "e0", Ospfv2),
        ("o1", "", Ospfv2),
        ("o1", "e\"0", Ospfv2),
        ("o1", "e 0", Ospfv2),
        ("o1", "e0123456789abcdef", Ospfv2),
        ("o1", "e0", Bgp),
        ("o1", "e0", Isis),
    ] {
        let error = with(instance, interface, protocol).expect_err("no name");
        assert!(!error.not_running && !error.problem.is_empty());
    }
}

/// A BIRD whose events the test gives: they come with the reply to the command that is named.
fn with_events(at: &'static str, events: &'static str) -> FakeBird {
    let once = Arc::new(Mutex::new(Some(events)));
    FakeBird::new(move |command| {
        let events = match command.starts_with(at) {
            true => once.lock().expect("no panic").take().unwrap_or_default(),
            false => "",
        };
        format!("{events}{}", answer(command))
    })
}

#[test]
fn a_neighbour_that_fell_between_two_looks_is_shown_down_once() {
    // It was down and up again before the table was read.
    let bird = with_events(
        "show status",
        "+o1: Neighbor 10.9.0.2 on e0 changed state from Full to Init\n\
         +o1: Neighbor 10.9.0.2 on e0 changed state from Loading to Full\n\
         +o1: Neighbor 10.9.0.9 on e1 changed state from Full to Down\n",
    );
    let mut it = observer(&bird, Ospfv2, "o1");
    let first = it.snapshot().expect("it shows");
    assert_eq!(
        first.neighbours.first(),
        Some(&neighbour("10.9.0.2", "Init", false))
    );
    // There is more to see at once.
    let began = Instant::now();
    it.wait(Duration::from_secs(60));
    assert!(began.elapsed() < Duration::from_secs(30));
    let second = it.snapshot().expect("it shows");
    assert_eq!(
        second.neighbours.first(),
        Some(&neighbour("10.9.0.2", "Full/DR", true))
    );
}

#[test]
fn what_fell_is_not_forgotten_with_the_connection() {
    let mut hangs_up = true;
    let bird = FakeBird::raw(
        bird::fake::GREETING,
        Box::new(move |command| match command.starts_with("show ospf interface") {
            true if std::mem::take(&mut hangs_up) => {
                let event = b"+o1: Neighbor 10.9.0.2 on e0 changed state from Full to Init\n";
                (event.to_vec(), true)
            }
            _ => (answer(command).into_bytes(), false),
        }),
    );
    let mut it = observer(&bird, Ospfv2, "o1");
    it.snapshot().expect_err("it hangs up");
    let next = it.snapshot().expect("it shows");
    assert_eq!(
        next.neighbours.first(),
        Some(&neighbour("10.9.0.2", "Init", false))
    );
    let next = it.snapshot().expect("it shows");
    assert_eq!(
        next.neighbours.first(),
        Some(&neighbour("10.9.0.2", "Full/DR", true))
    );
}

#[test]
fn a_bfd_session_that_is_up_since_another_time() {
    let times = [
        "11:24:56.533",
        "11:24:56.534",
        "11:30:00.000",
        "2026-11-24",
        "x:y:z",
        "1:2:1e300",
        "11:24:56.533",
    ];
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let bird = FakeBird::new(move |command| match command {
        "show bfd sessions f1" => {
            let at = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            BFD_SESSIONS.replace(
                "Up         11:24:56.533",
                &format!("Up         {}", times[at % times.len()]),
            )
        }
        _ => answer(command),
    });
    let mut it = observer(&bird, Bfd, "f1");
    let mut ups = Vec::new();
    for _ in times {
        let seen = it.snapshot().expect("it shows");
        ups.push(seen.neighbours.first().is_some_and(|neighbour| neighbour.up));
        assert_eq!(seen.neighbours.len(), 2);
    }
    assert_eq!(ups, [true, true, false, true, true, true, true]);
}

#[test]
fn events_that_matter_end_the_wait() {
    let ends = |event: &'static str| {
        let bird = FakeBird::new(move |command| {
            // After all replies of a look.
            let late = if command.starts_with("show ospf neighbors") {
                event
            } else {
                ""
            };
            format!("{}{late}", answer(command))
        });
        let mut it = observer(&bird, Ospfv2, "o1");
        it.snapshot().expect("it shows");
        let began = Instant::now();
        it.wait(Duration::from_millis(150));
        began.elapsed() < Duration::from_millis(150)
    };
    assert!(ends(
        "+o1: Neighbor 10.9.0.2 on e0 changed state from Loading to Full\n"
    ));
    assert!(ends(
        "+o1: Originating LSA\n+o1: Interface e0 changed state from Backup to DR\n"
    ));
    assert!(ends("+Reconfigured\n"));
    assert!(!ends(
        "+o1: Originating LSA: Type: 2001\n+o1: Scheduling routing table calculation\n"
    ));
    assert!(!ends(
        "+o10: Neighbor 10.9.0.2 on e0 changed state from Loading to Full\n"
    ));
    assert!(!ends("+o1: Neighbor changed state from to \n+o1: \n+: x\n+\n"));
    assert!(!ends(""));
}

#[test]
fn a_bird_that_restarts_is_followed() {
    let bird = FakeBird::new(answer);
    let mut it = observer(&bird, Ospfv2, "o1");
    let first = it.snapshot().expect("it shows");
    it.snapshot().expect("it shows");
    let asked = |what: &str| bird.commands().iter().filter(|command| *command == what).count();
    // One connection, but the flags anew each time: a reconfiguration resets them.
    assert_eq!(asked("echo all"), 1);
    assert_eq!(asked("debug \"o1\" { states, events, interfaces }"), 2);
    bird.stop();
    let error = it.snapshot().expect_err("it is gone");
    assert!(error.not_running, "{error}");
    it.wait(Duration::from_millis(1));
    assert!(it.snapshot().is_err());
    bird.restart(answer);
    let second = it.snapshot().expect("it shows");
    assert_ne!(first.epoch, second.epoch);
}

#[test]
fn what_bird_refuses_is_told() {
    let bird = FakeBird::new(|command| match command {
        "echo all" => "0000 \n".to_owned(),
        _ => "8003 No protocols match\n".to_owned(),
    });
    let error = observer(&bird, Ospfv2, "o9")
        .snapshot()
        .expect_err("no such protocol");
    assert!(
        !error.not_running && error.problem.contains("No protocols match"),
        "{error}"
    );
}

#[test]
fn a_bird_that_hangs_up_or_says_rubbish() {
    for (octets, hangs_up) in [
        (&b"0000 \n"[..], true),
        (b"what?\n", false),
        (b"\xff\xfe\n", false),
    ] {
        let bird = FakeBird::raw(
            bird::fake::GREETING,
            Box::new(move |_| (octets.to_vec(), hangs_up)),
        );
        let mut it = observer(&bird, Ospfv2, "o1");
        let error = it.snapshot().expect_err("no answer");
        assert!(!error.not_running, "{error}");
        it.wait(Duration::from_millis(1));
    }
}
