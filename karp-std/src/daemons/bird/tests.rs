use proptest::prelude::*;

use super::{fake::FakeBird, *};

const SHORT: Duration = Duration::from_millis(50);

/// What a client makes of these octets as the answer to a command.
fn answered(octets: &[u8], hangs_up: bool) -> Result<Reply, ClientError> {
    let octets = octets.to_vec();
    let bird = FakeBird::raw(fake::GREETING, Box::new(move |_| (octets.clone(), hangs_up)));
    let timeout = if hangs_up { TIMEOUT } else { SHORT };
    let mut client = Client::connect(&bird.socket(), timeout).expect("a greeting");
    client.command("configure")
}

#[test]
fn a_reply_of_several_lines() {
    let reply = answered(
        b"0002-Reading configuration from /etc/bird.conf\n more of it\n+o1: an event\n0003 Reconfigured\n",
        false,
    )
    .expect("a reply");
    assert_eq!(reply.code(), 3);
    assert_eq!(
        reply.texts(2).collect::<Vec<_>>(),
        ["Reading configuration from /etc/bird.conf", "more of it"]
    );
    assert_eq!(reply.refusal(), None);
    let reply = answered(b"0002-Reading\n8002 /etc/bird.conf:7:3 syntax error\n", false).expect("a reply");
    assert_eq!(reply.refusal(), Some("/etc/bird.conf:7:3 syntax error"));
    // Nothing but a code, as after a table.
    assert_eq!(answered(b"0000\n", false).expect("a reply").code(), 0);
    assert_eq!(answered(b"0000 \n", false).expect("a reply").lines().len(), 1);
}

#[test]
fn what_is_no_reply() {
    let garbled = |octets: &[u8]| match answered(octets, true) {
        Err(ClientError::Garbled { .. }) => {}
        other => panic!("{other:?} for {octets:?}"),
    };
    garbled(b" begins in the middle\n");
    garbled(b"\n");
    garbled(b"00a3 Reconfigured\n");
    garbled(b"+003\n0003_Reconfigured\n");
    garbled("000\u{e9} x\n".as_bytes());
    garbled(b"HTTP/1.1 400 Bad Request\r\n");
    garbled(&[0xff; 70_000]);
    garbled("1000-the same again\n".repeat(60_000).as_bytes());
    garbled(&[b'x'; MAX_LINE + 4097]);
    for octets in [&b""[..], b"0002-Reading\n", b"0003 Reconf"] {
        assert!(matches!(answered(octets, true), Err(ClientError::Closed { .. })));
        assert!(matches!(
            answered(octets, false),
            Err(ClientError::TimedOut { .. })
        ));
    }
}

#[test]
fn a_daemon_that_drips_is_timed_out_all_the_same() {
    let bird = FakeBird::raw(
        fake::GREETING,
        Box::new(|_| {
            std::thread::sleep(Duration::from_millis(5));
            (b"1000-and so on\n".to_vec(), false)
        }),
    );
    let mut client = Client::connect(&bird.socket(), SHORT).expect("a greeting");
    let mut ask = client.stream.try_clone().expect("another descriptor");
    std::thread::spawn(move || while ask.write_all(b"more\n").is_ok() {});
    assert!(matches!(
        client.command("show status"),
        Err(ClientError::TimedOut { .. })
    ));
    client
        .stream
        .shutdown(std::net::Shutdown::Both)
        .expect("an end for all threads");
}

#[test]
fn who_does_not_greet_is_no_bird() {
    for (greeting, garbled) in [("220 mail ESMTP\n", true), ("0000 hello\n", true), ("", false)] {
        let bird = FakeBird::raw(greeting, Box::new(|_| (Vec::new(), false)));
        match Client::connect(&bird.socket(), SHORT) {
            Err(ClientError::Garbled { .. }) if garbled => {}
            Err(ClientError::TimedOut { .. }) if !garbled => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nobody_there() {
    let bird = FakeBird::new(|_| String::new());
    let socket = bird.socket();
    assert!(epoch(&socket).is_ok());
    bird.stop();
    for path in [socket.clone(), bird.path("nowhere/bird.ctl")] {
        let error = epoch(&path).expect_err("nobody");
        assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
        assert!(SinkError::from(error.clone()).is_not_running());
        assert!(ObserveError::from(error).not_running);
    }
    // A socket that outlived its daemon.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    assert!(matches!(epoch(&socket), Err(ClientError::NotRunning { .. })));
    // No socket at all.
    let file = bird.path("file");
    fs::write(&file, "").expect("written");
    assert!(epoch(&file).is_err());
    let long = bird.path(&"x".repeat(200));
    fs::write(&long, "").expect("written");
    let error = epoch(&long).expect_err("too long for a socket");
    assert!(matches!(error, ClientError::Io { .. }), "{error:?}");
}

#[test]
fn a_full_queue_does_not_block() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bird.ctl");
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    listener
        .bind(&SockAddr::unix(&path).expect("an address"))
        .expect("bound");
    listener.listen(0).expect("listening");
    let _first = connect(&path).expect("a place in the queue");
    let error = connect(&path).expect_err("no second one");
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[test]
fn another_run_is_another_epoch() {
    let bird = FakeBird::new(|_| String::new());
    let first = epoch(&bird.socket()).expect("it runs");
    assert_eq!(epoch(&bird.socket()).as_ref(), Ok(&first));
    bird.restart(|_| String::new());
    assert_ne!(epoch(&bird.socket()).as_ref(), Ok(&first));
}

#[test]
fn a_command_is_one_line() {
    let bird = FakeBird::new(|_| "0000 \n".to_owned());
    let mut client = Client::connect(&bird.socket(), TIMEOUT).expect("a greeting");
    for command in ["", "show\nconfigure", "show\0", &"x".repeat(2000)] {
        assert_eq!(client.command(command), Err(ClientError::Command));
    }
    client.command("show status").expect("a reply");
    assert_eq!(bird.commands(), ["show status"]);
}

#[test]
fn events_come_beside_replies() {
    let events: String = (0..300).map(|at| format!("+event {at}\n")).collect();
    let bird = FakeBird::new(move |_| format!("{events}0000 \n+late\nnot one\n"));
    let mut client = Client::connect(&bird.socket(), TIMEOUT).expect("a greeting");
    client.command("echo all").expect("a reply");
    let next = |client: &mut Client| client.event(TIMEOUT).expect("no error");
    // Of so many the first are lost.
    assert_eq!(next(&mut client).as_deref(), Some("event 44"));
    for _ in 45..300 {
        next(&mut client);
    }
    assert_eq!(next(&mut client).as_deref(), Some("late"));
    assert!(client.event(TIMEOUT).is_err());
    assert_eq!(client.event(SHORT), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = answered(&octets, true);
    }

    #[test]
    fn nor_do_lines_that_look_alike(lines in prop::collection::vec("[0-9]{3,5}[- _+]?[a-z\u{e9}\u{0}]{0,3}", 0..9)) {
        let _ = answered(lines.join("\n").as_bytes(), true);
    }
}
