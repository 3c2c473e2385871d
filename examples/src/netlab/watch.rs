//! The watchers: one thread that reads the daemons' logs as they grow, and one for each karpd's events.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    bird, frr,
    karpd::{self, Status},
    lines::Line,
    record::{Adjacency, Change, Event},
};

/// How often logs are looked at.
const PACE: Duration = Duration::from_millis(20);

/// Whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// BIRD's of a router.
    Bird(usize),
    /// ospfd's or ospf6d's of a router.
    Frr(usize),
    /// BIRD's of the control LAN.
    Control,
}

struct Tail {
    path: PathBuf,
    source: Source,
    offset: u64,
    rest: Vec<u8>,
}

/// Reads logs and events and hands them on. Dropping it ends its threads.
pub struct Watcher {
    tails: Arc<Mutex<Vec<Tail>>>,
    sender: Sender<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    routers: usize,
}

impl Watcher {
    /// A watcher of a LAN of so many routers, and where its events come out.
    #[must_use]
    pub fn start(routers: usize) -> (Self, Receiver<Event>) {
        let (sender, receiver) = channel();
        let tails: Arc<Mutex<Vec<Tail>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (tails, sender, stop) = (Arc::clone(&tails), sender.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for tail in tails.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                        tail.read(routers, &sender);
                    }
                    std::thread::sleep(PACE);
                }
            })
        };
        let watcher = Self {
            tails,
            sender,
            stop,
            thread: Some(thread),
            routers,
        };
        (watcher, receiver)
    }

    /// Follows a log from its beginning. It need not be there yet.
    pub fn follow(&self, path: PathBuf, source: Source) {
        self.tails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Tail {
                path,
                source,
                offset: 0,
                rest: Vec::new(),
            });
    }

    /// Follows the events of a karpd that starts now, until it ends. Returns a flag that is set once it is subscribed.
    #[must_use]
    pub fn subscribe(&self, control: &Path, router: usize) -> Arc<AtomicBool> {
        let subscribed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&subscribed);
        let (control, sender, stop) = (control.to_owned(), self.sender.clone(), Arc::clone(&self.stop));
        let began_ms = unix_ms();
        std::thread::spawn(move || {
            // The socket comes a moment after the program; a stale one of its predecessor refuses.
            for _ in 0..1000 {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(stream) = UnixStream::connect(&control) {
                    listen(stream, &control, (router, began_ms), &sender, &flag);
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        subscribed
    }

    /// How many routers are watched.
    #[must_use]
    pub const fn routers(&self) -> usize {
        self.routers
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Tail {
    fn read(&mut self, routers: usize, sender: &Sender<Event>) {
        let Ok(mut file) = File::open(&self.path) else {
            return;
        };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length <= self.offset || file.seek(SeekFrom::Start(self.offset)).is_err() {
            return;
        }
        let Ok(read) = file.take(1 << 20).read_to_end(&mut self.rest) else {
            return;
        };
        self.offset += read as u64;
        let Some(end) = self.rest.iter().rposition(|octet| *octet == b'\n') else {
            return;
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            if let Some(event) = read_line(self.source, line, routers) {
                let _ = sender.send(event);
            }
        }
    }
}

/// The event that a line of a log is, if it is one.
#[must_use]
pub fn read_line(source: Source, line: &str, routers: usize) -> Option<Event> {
    let (at_ms, said) = match source {
        Source::Bird(_) | Source::Control => bird::parse(line)?,
        Source::Frr(_) => frr::parse(line)?,
    };
    let router = match source {
        Source::Bird(router) | Source::Frr(router) => router,
        Source::Control => {
            let level = bird::control(&said)?;
            return Some(Event::Control { at_ms, level });
        }
    };
    let index = |host: u8| usize::from(host).checked_sub(1).filter(|index| *index < routers);
    Some(match said {
        Line::Neighbour {
            protocol,
            host,
            state,
        } => Event::Adjacency(Change {
            at_ms,
            adjacency: Adjacency {
                router,
                protocol,
                // A RIP router sees its own prefix as well.
                neighbour: index(host).filter(|neighbour| *neighbour != router)?,
            },
            state,
        }),
        Line::Role { protocol, role } => Event::LinkRole {
            at_ms,
            router,
            protocol,
            role,
        },
        Line::Refused { from, text } => Event::Refused {
            at_ms,
            router,
            from: from.and_then(index),
            text,
        },
    })
}

fn listen(
    mut stream: UnixStream,
    control: &Path,
    (router, began_ms): (usize, u64),
    sender: &Sender<Event>,
    subscribed: &AtomicBool,
) {
    if stream.write_all(b"{\"command\":\"watch\"}\n").is_err() {
        return;
    }
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if event.get("event").is_none() {
            continue;
        }
        let _ = sender.send(Event::Karpd { router, event });
        if !subscribed.swap(true, Ordering::Relaxed) {
            // A router that comes back is a member within milliseconds: before anybody listens.
            let status = karpd::request(control, &json!({ "command": "status" })).ok();
            for event in status
                .and_then(|status| missed(&Status::read(&status)?, began_ms))
                .into_iter()
                .flatten()
            {
                let _ = sender.send(Event::Karpd { router, event });
            }
        }
    }
}

/// What a karpd that started at `began_ms` must have told before it was listened to, given its status.
fn missed(status: &Status, began_ms: u64) -> Option<Vec<Value>> {
    let id = status.sending_id()?;
    Some(vec![
        json!({ "unix_ms": began_ms, "event": "role_changed", "role": status.role, "because": "status" }),
        json!({ "unix_ms": began_ms, "event": "key_activated", "id": id, "because": "status" }),
    ])
}

/// Unix time in milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlab::record::Watched;

    #[test]
    fn a_log_that_grows_is_read_once_and_by_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bird.log");
        let (sender, receiver) = channel();
        let mut tail = Tail {
            path: path.clone(),
            source: Source::Bird(0),
            offset: 0,
            rest: Vec::new(),
        };
        tail.read(3, &sender);
        let line = "2026-11-24 11:23:36.731 <TRACE> o2: Neighbor 10.9.255.2 on eth0 changed state from Loading to Full\n";
        let (first, second) = line.split_at(40);
        std::fs::write(&path, first).unwrap();
        tail.read(3, &sender);
        assert!(receiver.try_recv().is_err(), "half a line says nothing");
        std::fs::write(&path, format!("{first}{second}")).unwrap();
        tail.read(3, &sender);
        tail.read(3, &sender);
        let Event::Adjacency(change) = receiver.try_recv().unwrap() else {
            panic!()
        };
        assert_eq!(
            (change.adjacency.protocol, change.adjacency.neighbour),
            (Watched::Ospf2, 1)
        );
        assert!(receiver.try_recv().is_err(), "once");
    }

    #[test]
    fn what_was_told_before_anybody_listened_is_made_up_for() {
        let answer = json!({ "groups": [{ "role": "member", "keys": [
            { "protocol": "BFD", "id": 4, "state": "active", "manual": false, "fingerprint": "ab" }] }] });
        let events = missed(&Status::read(&answer).unwrap(), 77).unwrap();
        assert_eq!(events[1]["id"], 4);
        assert!(events.iter().all(|event| event["unix_ms"] == 77));
        let none = json!({ "groups": [{ "role": "initial", "keys": [] }] });
        assert_eq!(missed(&Status::read(&none).unwrap(), 77), None);
    }

    #[test]
    fn strangers_are_no_neighbours() {
        let line = "2026-11-24 11:23:36.731 <TRACE> o2: Neighbor 10.9.255.66 on eth0 changed state from Init to Down";
        assert_eq!(read_line(Source::Bird(0), line, 3), None);
        let own = "2026-11-24 11:23:36.731 <TRACE> rip.ipv4 > added [best] 10.8.1.0/24 0L 7G unicast";
        assert_eq!(read_line(Source::Bird(0), own, 3), None);
    }
}
