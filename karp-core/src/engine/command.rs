//! The host's calls (PROTOCOL.md section 8).

use crate::{
    command::Command,
    election::{Election, Gcks, Input},
    error::CommandError,
    group::rollover,
    io::{Role, Timer},
    node::Core,
    time::Instant,
};

/// A node says twice that it leaves: announcements can be lost.
const GOODBYES: u8 = 2;

impl Core<'_> {
    pub(crate) fn handle_command(&mut self, now: Instant, command: Command<'_>) -> Result<(), CommandError> {
        self.advance(now);
        let joined = self.node.election != Election::Left;
        match command {
            Command::Join => {
                if joined && (self.node.leaving || self.node.goodbyes > 0) {
                    // The host changed its mind before all was said.
                    self.finish_leaving();
                }
                if self.node.election == Election::Left {
                    self.node.goodbyes = 0;
                    self.node.leaving = false;
                    self.node.promised = None;
                    // Its keys were forgotten, so it must not be taken for one that still has them.
                    self.rng.fill_bytes(&mut self.node.instance);
                    self.node.sequence = 0;
                    self.step(Input::Join);
                    self.schedule_hello();
                    self.set_timer(Timer::Cookie, crate::time::Duration::from_secs(30));
                }
                Ok(())
            }
            Command::Leave => {
                if joined {
                    self.leave();
                }
                Ok(())
            }
            Command::SetPriority(priority) => {
                self.node.priority = priority;
                self.node.announce |= joined;
                self.node.stirred = true;
                if joined {
                    let survey = self.survey();
                    self.step(Input::PriorityChanged(survey));
                }
                Ok(())
            }
            Command::Installed { generation } => {
                if !self.node.installs.confirm(generation) {
                    return Err(CommandError::UnknownGeneration);
                }
                self.node.stirred = true;
                if joined {
                    self.schedule_acknowledgement();
                }
                Ok(())
            }
            Command::Rekey { protocol, reason } => {
                if !joined {
                    return Err(CommandError::NotJoined);
                }
                if self.protects_itself(protocol.code(), reason.code()) {
                    return Ok(());
                }
                if self.node.office.is_some() {
                    self.roll(rollover::Input::Want(reason));
                } else if self
                    .node
                    .wanted
                    .push_back((protocol.code(), reason.code()))
                    .is_err()
                {
                    // Four requests wait already, and any one of them brings new keys: nothing is lost.
                }
                Ok(())
            }
            Command::Evict(identity) => {
                if !joined {
                    return Err(CommandError::NotJoined);
                }
                self.evict(identity)
            }
            Command::Migrate | Command::HandOff if !joined => Err(CommandError::NotJoined),
            Command::Migrate => {
                if self.node.config.settings().manual_keys.is_empty() {
                    return Err(CommandError::NothingToMigrate);
                }
                if self.node.office.is_none() {
                    return Err(CommandError::NotGcks);
                }
                self.migrate();
                Ok(())
            }
            Command::HandOff => {
                let Some(office) = self.node.office.as_mut() else {
                    return Err(CommandError::NotGcks);
                };
                office.hand_off = true;
                self.node.stirred = true;
                let office = self.node.office.as_ref();
                if office.and_then(|office| self.successor(office, false)).is_none() {
                    if let Some(office) = self.node.office.as_mut() {
                        office.hand_off = false;
                    }
                    return Err(CommandError::NoSuccessor);
                }
                Ok(())
            }
        }
    }

    /// any --(leave)--> hands off if GCKS, announces LEAVING, forgets the group keys.
    fn leave(&mut self) {
        self.node.leaving = true;
        if self.node.election.role() == Role::Gcks {
            self.consider_handoff();
            if matches!(self.node.election, Election::Gcks(Gcks::HandingOff(_))) {
                return;
            }
        }
        self.say_goodbye();
    }

    /// What is to be said before the keys are forgotten: poll says it.
    pub(crate) fn say_goodbye(&mut self) {
        self.node.leaving = false;
        self.node.goodbyes = GOODBYES;
        self.node.announce = false;
    }

    /// Everything was said: the node forgets the group's keys and takes no part any more.
    pub(crate) fn finish_leaving(&mut self) {
        self.step(Input::Leave);
        self.node.goodbyes = 0;
        self.node.timers = crate::timers::Timers::default();
        self.node.sas.clear();
        self.node.installs.forget();
        self.node.membership = None;
        self.node.office = None;
        self.node.legacy = None;
        self.node.term_key = None;
        self.node.refusals.clear();
        self.node.wanted.clear();
        self.node.purge = false;
        self.handshakes.retain(|_| false);
        self.sealed.retain(|_| false);
        self.strangers.retain(|_| false);
        self.peers.clear_peers();
        self.end_keys(|_| true);
    }
}
