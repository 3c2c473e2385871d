//! One group: a thread that runs its engine, feeds its sinks and follows its routing protocol.

mod feed;
mod feeding;
mod following;
mod keep;
mod open;
mod requests;
mod runtime;
mod status;
mod turns;

use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use karp_core::time::Instant;
use karp_std::clock;
use serde_json::Value;

pub use self::requests::together;
use self::{
    feed::Fed,
    runtime::{Line, Runtime},
};
use super::{config, events::Hub, follow::Seen};

/// How long a request may wait for a group's thread, which is never busy for long.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long leaving may take: a handoff needs the successor's answer.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// What an operator asks of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// All that `karpd status` shows.
    Status,
    /// New keys.
    Rekey {
        /// Because the present ones may be known.
        compromise: bool,
    },
    /// An election priority; `None` for the one that follows from configuration and routing protocol.
    Priority(Option<u16>),
    /// Put a router out.
    Evict(String),
    /// Move to automatic keys.
    Migrate,
    /// Hand the office over.
    HandOff,
    /// Leave the group.
    Leave,
    /// Take part again.
    Join,
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refusal {
    /// A refusal for this reason.
    pub fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// What a group answers: fields of an object, or why it refuses.
pub type Answer = Result<Value, Refusal>;

/// What reaches a group's thread.
enum Message {
    Request(Request, SyncSender<Answer>),
    Fed(Fed),
    Seen(Seen),
    Reload(Box<config::Group>, SyncSender<Vec<String>>),
    Stop,
}

/// Sends messages to a group's thread and wakes it.
#[derive(Clone)]
struct Post {
    messages: Sender<Message>,
    bell: Arc<UnixStream>,
}

impl Post {
    fn send(&self, message: Message) -> bool {
        let sent = self.messages.send(message).is_ok();
        // A full socket has woken the thread already.
        let _ = (&*self.bell).write(&[1]);
        sent
    }
}

/// Reaches a running group.
pub struct Handle {
    post: Post,
    beat: Arc<AtomicU64>,
    tried: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// A group's thread has ended.
#[derive(Debug)]
pub struct Ended {
    /// The group.
    pub group: String,
    /// What went wrong; `None` if it was told to end.
    pub error: Option<String>,
}

/// Runs a group on a thread of its own. `ended` is called when the thread ends, whatever the reason.
///
/// # Errors
/// If the system gives no thread, or no descriptors.
pub fn spawn(
    config: config::Group,
    state: PathBuf,
    hub: Arc<Hub>,
    ended: impl FnOnce(Ended) + Send + 'static,
) -> std::io::Result<Handle> {
    let (bell, ringer) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ringer.set_nonblocking(true)?;
    let (messages, inbox): (_, Receiver<Message>) = channel();
    let post = Post {
        messages,
        bell: Arc::new(ringer),
    };
    let beat = Arc::new(AtomicU64::new(clock::now().as_millis()));
    let tried = Arc::new(AtomicBool::new(false));
    let name = config.name().to_owned();
    let thread = {
        let (post, beat, tried) = (post.clone(), Arc::clone(&beat), Arc::clone(&tried));
        std::thread::Builder::new()
            .name(format!("karp {name}").replace('\0', ""))
            .spawn(move || {
                let line = Line {
                    inbox,
                    bell,
                    post,
                    beat,
                    tried,
                };
                // Every line of the log says which group it is about.
                let _span = tracing::error_span!("group", name).entered();
                let run = || Runtime::new(config, &state, hub, line).run();
                // Nobody uses what a panic left behind: the process ends.
                let error = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(result) => result.err().map(|error| error.to_string()),
                    Err(_) => Some("its thread panicked".to_owned()),
                };
                ended(Ended { group: name, error });
            })?
    };
    Ok(Handle {
        post,
        beat,
        tried,
        thread,
    })
}

impl Handle {
    /// Asks the group and waits for the answer.
    ///
    /// # Errors
    /// The group's refusal, or that it does not answer.
    pub fn ask(&self, request: Request) -> Answer {
        let within = match request {
            Request::Leave => LEAVE_WITHIN + ANSWER_WITHIN,
            _ => ANSWER_WITHIN,
        };
        let (answer, result) = sync_channel(1);
        let remedy = "look into the log; restart karpd if it does not recover";
        if !self.post.send(Message::Request(request, answer)) {
            return Err(Refusal::new("the group has ended", remedy));
        }
        result.recv_timeout(within).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => Refusal::new("the group does not answer", remedy),
                RecvTimeoutError::Disconnected => Refusal::new("the group has ended", remedy),
            })
        })
    }

    /// Gives the group a new configuration; the answer names what needs a restart.
    ///
    /// # Errors
    /// If the group does not answer.
    pub fn reload(&self, config: config::Group) -> Result<Vec<String>, Refusal> {
        let (answer, result) = sync_channel(1);
        self.post.send(Message::Reload(Box::new(config), answer));
        result
            .recv_timeout(ANSWER_WITHIN)
            .map_err(|_| Refusal::new("the group does not answer", "restart karpd"))
    }

    /// Tells the group to leave and to end then. It takes [`LEAVE_WITHIN`] at the longest.
    pub fn stop(&self) {
        self.post.send(Message::Stop);
    }

    /// When the group's thread was last seen at work.
    #[must_use]
    pub fn beat(&self) -> Instant {
        Instant::from_millis(self.beat.load(Ordering::Relaxed))
    }

    /// Whether every sink was tried since the start: the files that a routing daemon reads when it starts are there.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Relaxed)
    }

    /// Whether the thread has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }
}
