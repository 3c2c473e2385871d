//! Running what is due, and the order in which what is owed goes out.

use crate::{
    election::{Election, Input},
    group::rollover,
    io::{MessageKind, Output, Timer},
    node::Core,
    time::{Duration, Instant},
    wire::MAX_DATAGRAM,
};

/// The cookie secret changes this often; a cookie is good for one to two of these spans.
const COOKIE_LIFE: Duration = Duration::from_secs(30);

impl Core<'_> {
    /// Takes note of the time. A node whose earliest deadline is overdue by more than its hold was asleep (section 2).
    pub(crate) fn advance(&mut self, now: Instant) {
        self.node.now = self.node.now.max(now);
        self.now = self.node.now;
        let hold = self.hold();
        let overdue = self.node.promised.is_some_and(|at| at.after(hold) < self.now);
        if overdue && self.node.election != Election::Left {
            self.node.promised = None;
            self.pause();
        }
    }

    /// It has lost office and membership, is Initial, and keeps its unexpired keys.
    #[inline(never)]
    fn pause(&mut self) {
        crate::counters::bump(&mut self.node.counters.pauses);
        if self.node.leaving || self.node.goodbyes > 0 {
            // The host had left before it fell asleep.
            return self.finish_leaving();
        }
        self.step(Input::Paused);
        self.node.office = None;
        self.node.sas.drop_next();
        self.node.legacy = None;
        self.node.term_key = None;
        self.node.membership = None;
        self.node.refusals.clear();
        self.handshakes.retain(|_| false);
        self.sealed.retain(|_| false);
        self.node.joins_untold = true;
        for peer in self.peers.rows_mut() {
            peer.sa = None;
            peer.registrant = None;
            peer.reply = None;
            peer.push = false;
            peer.joined = false;
        }
        self.node.sas.retire(self.now);
        self.node.installs.forget();
        self.schedule_hello();
    }

    pub(crate) fn poll(&mut self, now: Instant, buffer: &mut [u8]) -> Output {
        self.advance(now);
        self.run_due();
        let limit = buffer.len().min(MAX_DATAGRAM);
        if let Some(buffer) = buffer.get_mut(..limit)
            && let Some((len, to, kind)) = self.next_message(buffer)
        {
            self.node.counters.count_sent(kind, len);
            return Output::Transmit { len, to, kind };
        }
        if let Some(event) = self.next_event() {
            #[cfg(feature = "defmt")]
            defmt::info!("event: {}", event);
            return Output::Event(event);
        }
        let next = self.next_deadline();
        self.node.promised = next.map(|(at, _)| at);
        Output::Idle { next }
    }

    // What stands here and in `dispatch` one after the other is not inlined into it: on a small machine's stack the frames
    // of all of them would lie side by side, though one at a time is in use.
    fn run_due(&mut self) {
        let now = self.now;
        // Each timer at most once: what it starts lies in the future.
        for _ in Timer::ALL {
            let Some(timer) = self.node.timers.take_due(now) else {
                break;
            };
            self.timer(timer);
        }
        self.run_attempts();
        self.run_half_open();
        self.run_joining();
        self.run_membership();
        self.run_office();
        self.run_keys();
        if self.node.stirred {
            self.node.stirred = false;
            self.roll(rollover::Input::Check);
            self.consider_handoff();
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Hello => {
                self.node.announce = true;
            }
            Timer::Wait => {
                let survey = self.survey();
                self.step(Input::WaitOver(survey));
            }
            Timer::Turn => {
                let survey = self.survey();
                self.step(Input::TurnOver(survey));
            }
            Timer::Validate => {
                let survey = self.survey();
                self.step(Input::ValidateOver(survey));
            }
            Timer::Join => self.run_join(),
            Timer::Pull => {
                let waits =
                    self.node.membership.is_some() && !matches!(self.node.election, Election::Member(_));
                if let Some(membership) = self.node.membership.as_mut().filter(|_| waits) {
                    membership.pull = true;
                    let hello = self.hello();
                    let wait = self.jittered(hello);
                    self.set_timer(Timer::Pull, wait);
                }
            }
            Timer::Update => self.run_update_timer(),
            Timer::Succession => self.handoff_over(),
            Timer::RekeySa => self.roll(rollover::Input::SaDue),
            Timer::Cookie => {
                self.node.cookies.turn(self.rng);
                self.set_timer(Timer::Cookie, COOKIE_LIFE);
            }
            // Those of rows are computed, not set.
            Timer::Liveness
            | Timer::Rollover
            | Timer::Hold
            | Timer::Key
            | Timer::Handshake
            | Timer::Retransmit
            | Timer::Reply => {}
        }
    }

    /// The successor had its time. A node that wanted to leave does so all the same.
    fn handoff_over(&mut self) {
        if self.node.leaving {
            self.say_goodbye();
        } else {
            self.handoff_failed();
        }
    }

    /// Updates and announcements come before a flood of owed answers.
    #[inline(never)]
    fn next_message(&mut self, buffer: &mut [u8]) -> Option<(usize, core::net::SocketAddr, MessageKind)> {
        let group = self.node.config.settings().multicast;
        if self.node.leaving && self.node.office.is_none() {
            // The office is handed over.
            self.say_goodbye();
        }
        if self.node.goodbyes > 0 {
            return self.next_goodbye(buffer);
        }
        if self.node.election == Election::Left {
            return None;
        }
        if let Some(len) = self.poll_update(buffer) {
            return Some((len, group, MessageKind::KeyUpdate));
        }
        if self.node.announce {
            self.node.announce = false;
            let len = self.write_announcement(buffer);
            self.schedule_hello();
            if matches!(
                self.node.election,
                Election::Gcks(crate::election::Gcks::HandingOff(_))
            ) {
                // HANDOFF goes out at least twice before the successor's silence is judged (section 5.5).
                let soon = self
                    .now
                    .after(self.hello().divided(4).max(Duration::from_millis(1)));
                self.node.timers.set_earlier(Timer::Hello, soon);
            }
            if let Some(len) = len {
                return Some((len, group, MessageKind::Announcement));
            }
        }
        self.poll_half_open(buffer)
            .or_else(|| self.poll_replies(buffer))
            .or_else(|| self.poll_retransmits(buffer))
            .or_else(|| self.poll_requests(buffer))
            .or_else(|| self.poll_attempts(buffer))
            .or_else(|| self.poll_refusals(buffer))
    }

    fn next_goodbye(&mut self, buffer: &mut [u8]) -> Option<(usize, core::net::SocketAddr, MessageKind)> {
        let group = self.node.config.settings().multicast;
        let last = self.node.goodbyes == 1;
        let message = self
            .write_announcement(buffer)
            .map(|len| (len, group, MessageKind::Announcement));
        let message = if last {
            self.write_goodbye(buffer).or(message)
        } else {
            message
        };
        self.node.goodbyes = self.node.goodbyes.saturating_sub(1);
        if last {
            self.finish_leaving();
        }
        message
    }

    /// When to come back, and what for: strictly later than now.
    fn next_deadline(&self) -> Option<(Instant, Timer)> {
        if self.node.election == Election::Left {
            return self.next_key_deadline().map(|at| (at, Timer::Key));
        }
        let own = || self.node.timers.iter().map(|(timer, at)| (at, timer));
        let of = |timer| move |at| (at, timer);
        let membership = self.next_membership_deadline().map(of(Timer::Liveness));
        let office = self.next_office_deadline().map(of(Timer::Rollover));
        let key = self.next_key_deadline().map(of(Timer::Key));
        let handshakes = self.handshakes.rows().map(crate::exchange::Handshake::deadline);
        let handshake = handshakes.min().map(of(Timer::Handshake));
        let retransmit = self.next_retransmit().map(of(Timer::Retransmit));
        let first = |rows: &[Option<(Instant, Timer)>]| {
            own()
                .chain(rows.iter().flatten().copied())
                .min_by_key(|(at, _)| *at)
        };
        let others = first(&[membership, office, key, handshake, retransmit]);
        // There can be thousands of registrants: they are asked only if one of them may come first.
        let asked = match (others, self.earliest_registrant()) {
            (Some((at, _)), Some(earliest)) => at >= earliest,
            (None, _) | (_, None) => true,
        };
        let hold = asked
            .then(|| self.next_registrant_deadline())
            .flatten()
            .map(of(Timer::Hold));
        let next = first(&[membership, office, hold, key, handshake, retransmit]);
        let soonest = self.now.after(Duration::from_millis(1));
        next.map(|(at, timer)| (at.max(soonest), timer))
    }
}
