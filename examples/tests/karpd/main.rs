//! karpd as operators see it: processes with configuration files, a control socket and signals, on loopback without any
//! privilege.
//!
//! This program has two entries: with `--karpd` first it is karpd with the rest of the command line, and else it runs the
//! tests, which start itself as karpd. So what is tested is a process of its own, built with the tests.

mod files;
mod lab;
mod life;
mod operator;

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// The word that makes it karpd.
const KARPD: &str = "--karpd";

const TESTS: &[(&str, fn())] = &[
    ("two_routers_key_themselves", life::two_routers_key_themselves),
    (
        "a_sink_that_fails_holds_the_rollover",
        life::a_sink_that_fails_holds_the_rollover,
    ),
    (
        "a_restart_resumes_with_the_same_key",
        life::a_restart_resumes_with_the_same_key,
    ),
    (
        "a_crash_resumes_with_the_same_key",
        life::a_crash_resumes_with_the_same_key,
    ),
    ("an_eviction_outlives_a_crash", life::an_eviction_outlives_a_crash),
    (
        "who_left_joins_again_with_its_key",
        life::who_left_joins_again_with_its_key,
    ),
    (
        "an_interface_that_is_not_there_is_waited_for",
        life::an_interface_that_is_not_there_is_waited_for,
    ),
    (
        "a_reload_says_what_it_could_not_do",
        operator::a_reload_says_what_it_could_not_do,
    ),
    (
        "several_groups_in_one_process",
        operator::several_groups_in_one_process,
    ),
    (
        "the_control_socket_has_one_owner",
        operator::the_control_socket_has_one_owner,
    ),
    ("clients_say_what_is_wrong", operator::clients_say_what_is_wrong),
    (
        "an_address_that_changes_is_followed",
        life::an_address_that_changes_is_followed,
    ),
    ("systemd_is_told", operator::systemd_is_told),
    (
        "sinks_are_exchanged_at_a_reload",
        operator::sinks_are_exchanged_at_a_reload,
    ),
    ("privileges_are_given_up", operator::privileges_are_given_up),
    ("metrics_are_openmetrics", operator::metrics_are_openmetrics),
    ("faults_are_told_by_line", files::faults_are_told_by_line),
    ("the_example_is_sound", files::the_example_is_sound),
    ("keys_are_made", files::keys_are_made),
    ("completions_and_manual", files::completions_and_manual),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == KARPD).is_some() {
        let named = std::iter::once("karpd".into()).chain(arguments);
        return karp_examples::karpd::main(named);
    }
    let arguments: Vec<String> = arguments.filter_map(|one| one.into_string().ok()).collect();
    let exact = arguments.iter().any(|one| one == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|one| !one.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let fits = |one: &&String| {
            if exact {
                *one == name
            } else {
                name.contains(one.as_str())
            }
        };
        wanted.is_empty() || wanted.iter().any(fits)
    };
    let tests: Vec<_> = TESTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|one| one == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    run(&tests)
}

/// Runs the tests, a few at a time, and says how they went.
fn run(tests: &[&(&str, fn())]) -> ExitCode {
    println!("\nrunning {} tests", tests.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, test)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let passed = catch_unwind(test).is_ok();
            let word = if passed { "ok" } else { "FAILED" };
            println!("test {name} ... {word} ({} ms)", began.elapsed().as_millis());
            if !passed {
                failed.lock().unwrap().push(*name);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    if failed.is_empty() {
        println!("\ntest result: ok. {} passed; 0 failed", tests.len());
        return ExitCode::SUCCESS;
    }
    println!(
        "\ntest result: FAILED. {} failed: {}",
        failed.len(),
        failed.join(", ")
    );
    ExitCode::from(101)
}
