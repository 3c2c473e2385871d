//! A blocking driver: an endpoint on a thread of its own, or on the calling one.
//!
//! ```no_run
//! use karp_core::command::{Command, RekeyReason};
//! use karp_std::{config::Configuration, driver, endpoint::Endpoint};
//!
//! let endpoint = Endpoint::open(Configuration::load("karp.toml".as_ref())?)?;
//! let running = driver::spawn(endpoint, |notice| println!("{notice:?}"))?;
//! running.handle().call(|endpoint| endpoint.command(Command::Join))??;
//! let role = running.handle().call(|endpoint| endpoint.engine().role())?;
//! running.leave(std::time::Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration as StdDuration,
};

use karp_core::{identity::Credentials, storage::Storage};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use rand_core::CryptoRng;

pub use crate::mailbox::Stopped;
use crate::{
    credentials::Store,
    endpoint::{Endpoint, Notice, Progress},
    entropy::OsEntropy,
    heap::Heap,
    mailbox::{CAPACITY, Message, Phase},
};

/// Waits until one of `fds` is readable or `at_most` has passed. A signal may end the wait earlier.
///
/// # Errors
/// What the system says.
pub fn wait(fds: &[BorrowedFd<'_>], at_most: StdDuration) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    // Rounded up: to wake ahead of a deadline would be to wake twice.
    let ms = at_most.as_nanos().div_ceil(1_000_000);
    let timeout = i32::try_from(ms)
        .ok()
        .and_then(|ms| PollTimeout::try_from(ms).ok())
        .unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// An endpoint and the means to reach it from elsewhere while it runs.
pub struct Driver<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    endpoint: Endpoint<C, R, S>,
    messages: Receiver<Message<C, R, S>>,
    bell: UnixStream,
}

/// Reaches a [`Driver`] from any thread.
pub struct Handle<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    messages: SyncSender<Message<C, R, S>>,
    bell: Arc<UnixStream>,
}

impl<C: Credentials, R: CryptoRng, S: Storage> Clone for Handle<C, R, S> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> std::fmt::Debug for Handle<C, R, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> Driver<C, R, S> {
    /// A driver for `endpoint`, and a handle to it.
    ///
    /// # Errors
    /// If the system gives no descriptors to wake the driver with.
    pub fn new(endpoint: Endpoint<C, R, S>) -> io::Result<(Self, Handle<C, R, S>)> {
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let (sender, messages) = sync_channel(CAPACITY);
        Ok((
            Self {
                endpoint,
                messages,
                bell,
            },
            Handle {
                messages: sender,
                bell: Arc::new(ringer),
            },
        ))
    }

    /// Runs on the calling thread until a handle says to stop, and gives the endpoint back. `notices` hears everything
    /// that happens; it must neither block nor call a handle of this driver.
    ///
    /// # Errors
    /// If waiting for input fails, which it does not on a healthy system.
    pub fn run(mut self, mut notices: impl FnMut(Notice<'_>)) -> io::Result<Endpoint<C, R, S>> {
        let mut phase = Phase::Running;
        loop {
            self.silence();
            while let Ok(message) = self.messages.try_recv() {
                phase.take(message, &mut self.endpoint);
            }
            // Reads as well: two calls for nothing cost less than to keep account of who was readable.
            let progress = self.endpoint.on_readable(&mut notices);
            if phase.is_over(&self.endpoint) {
                return Ok(self.endpoint);
            }
            let timeout = match progress {
                Progress::More => StdDuration::ZERO,
                Progress::Idle => phase.timeout(&self.endpoint),
            };
            let [unicast, multicast] = self.endpoint.fds();
            wait(&[unicast, multicast, self.bell.as_fd()], timeout)?;
        }
    }

    /// Empties the socket by which handles wake this thread; ahead of the messages, so that none is overlooked.
    fn silence(&mut self) {
        let mut octets = [0; 64];
        while matches!(self.bell.read(&mut octets), Ok(n) if n > 0) {}
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> Handle<C, R, S> {
    /// Lets the driver's thread do `work` with the endpoint and waits for the result: commands, the key table, roles
    /// and counters.
    ///
    /// # Errors
    /// [`Stopped`] if the driver ended before the work was done.
    pub fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Endpoint<C, R, S>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = sync_channel(1);
        let job = Box::new(move |endpoint: &mut Endpoint<C, R, S>| {
            // Whoever asked may be gone.
            let _ = answer.send(work(endpoint));
        });
        self.messages.send(Message::Job(job)).map_err(|_| Stopped)?;
        self.ring();
        result.recv().map_err(|_| Stopped)
    }

    /// Lets the driver end without a word to the group: its peers will take this node for crashed.
    pub fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Lets the node leave the group, handing over the office if it has it, and the driver end then; after `within` it
    /// ends anyway.
    pub fn leave(&self, within: StdDuration) {
        self.send(Message::Leave { within });
    }

    fn send(&self, message: Message<C, R, S>) {
        if let Err(TrySendError::Full(message)) = self.messages.try_send(message) {
            self.ring();
            // The driver has ended if nobody takes it.
            let _ = self.messages.send(message);
        }
        self.ring();
    }

    fn ring(&self) {
        // A full socket has woken the driver already.
        let _ = (&*self.bell).write(&[1]);
    }
}

/// A driver on a thread of its own. If it is dropped, the driver stops; see [`stop`](Self::stop) and
/// [`leave`](Self::leave) for ends that are waited for.
#[derive(Debug)]
pub struct Running<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    handle: Handle<C, R, S>,
    thread: Option<JoinHandle<io::Result<Endpoint<C, R, S>>>>,
}

/// Runs `endpoint` on a thread of its own. `notices` hears everything that happens, on that thread.
///
/// # Errors
/// If the system gives no thread, or no descriptors to wake it with.
pub fn spawn<C, R, S>(
    endpoint: Endpoint<C, R, S>,
    notices: impl FnMut(Notice<'_>) + Send + 'static,
) -> io::Result<Running<C, R, S>>
where
    C: Credentials + Send + 'static,
    R: CryptoRng + Send + 'static,
    S: Storage + Send + 'static,
{
    // A group may have any name; a thread may not.
    let name = format!("karp {}", endpoint.engine().config().settings().group).replace('\0', "");
    let (driver, handle) = Driver::new(endpoint)?;
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || driver.run(notices))?;
    Ok(Running {
        handle,
        thread: Some(thread),
    })
}

impl<C: Credentials, R: CryptoRng, S: Storage> Running<C, R, S> {
    /// A handle to the running endpoint.
    #[must_use]
    pub const fn handle(&self) -> &Handle<C, R, S> {
        &self.handle
    }

    /// Ends the driver without a word to the group and gives the endpoint back.
    ///
    /// # Errors
    /// What ended the driver before.
    pub fn stop(mut self) -> io::Result<Endpoint<C, R, S>> {
        self.handle.stop();
        self.join()
    }

    /// Leaves the group, waits until that is done, `within` at the longest, and gives the endpoint back.
    ///
    /// # Errors
    /// What ended the driver before.
    pub fn leave(mut self, within: StdDuration) -> io::Result<Endpoint<C, R, S>> {
        self.handle.leave(within);
        self.join()
    }

    fn join(&mut self) -> io::Result<Endpoint<C, R, S>> {
        let thread = self.thread.take().ok_or_else(|| io::Error::other(Stopped))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> Drop for Running<C, R, S> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.stop();
        }
    }
}
