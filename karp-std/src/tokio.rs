//! The same endpoint under tokio: a future to run it, and a handle to reach it from other tasks.
//!
//! ```no_run
//! use karp_core::command::Command;
//! use karp_std::{config::Configuration, endpoint::Endpoint};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::open(Configuration::load("karp.toml".as_ref())?)?;
//! let (driver, handle) = karp_std::tokio::driver(endpoint);
//! let task = tokio::spawn(driver.run(|notice| println!("{notice:?}")));
//! handle.call(|endpoint| endpoint.command(Command::Join)).await??;
//! handle.leave(std::time::Duration::from_secs(10)).await;
//! task.await??;
//! # Ok(())
//! # }
//! ```

use std::{
    future::{Future, poll_fn},
    io,
    os::fd::BorrowedFd,
    pin::pin,
    task::Poll,
    time::Duration as StdDuration,
};

use ::tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{mpsc, oneshot},
    task::yield_now,
    time::sleep,
};
use karp_core::{identity::Credentials, storage::Storage};
use rand_core::CryptoRng;

pub use crate::mailbox::Stopped;
use crate::{
    credentials::Store,
    endpoint::{Endpoint, Notice, Progress},
    entropy::OsEntropy,
    heap::Heap,
    mailbox::{CAPACITY, Message, Phase},
};

/// An endpoint that waits to be run.
pub struct Driver<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    endpoint: Endpoint<C, R, S>,
    messages: mpsc::Receiver<Message<C, R, S>>,
}

/// Reaches a [`Driver`] from any task.
pub struct Handle<C: Credentials = Store, R: CryptoRng = OsEntropy, S: Storage = Heap> {
    messages: mpsc::Sender<Message<C, R, S>>,
}

impl<C: Credentials, R: CryptoRng, S: Storage> Clone for Handle<C, R, S> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
        }
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> std::fmt::Debug for Handle<C, R, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

/// A driver for `endpoint`, and a handle to it.
#[must_use]
pub fn driver<C: Credentials, R: CryptoRng, S: Storage>(
    endpoint: Endpoint<C, R, S>,
) -> (Driver<C, R, S>, Handle<C, R, S>) {
    let (sender, messages) = mpsc::channel(CAPACITY);
    (Driver { endpoint, messages }, Handle { messages: sender })
}

/// What a driver woke for.
enum Woken<C: Credentials, R: CryptoRng, S: Storage> {
    Message(Message<C, R, S>),
    Unicast,
    Multicast,
    Deadline,
}

impl<C: Credentials, R: CryptoRng, S: Storage> Driver<C, R, S> {
    /// Runs until a handle says to stop, and gives the endpoint back. `notices` hears everything that happens; it must
    /// not block. Dropping the future ends the endpoint without a word to the group.
    ///
    /// # Errors
    /// If the runtime does not take the sockets, or has ended.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has input, output and time enabled.
    pub async fn run(mut self, mut notices: impl FnMut(Notice<'_>)) -> io::Result<Endpoint<C, R, S>> {
        let mut phase = Phase::Running;
        let mut sockets = Registered::new(&self.endpoint)?;
        let mut asked = true;
        loop {
            self.endpoint.on_deadline(&mut notices);
            if phase.is_over(&self.endpoint) {
                return Ok(self.endpoint);
            }
            if sockets.epoch != self.endpoint.socket_epoch() {
                sockets = Registered::new(&self.endpoint)?;
            }
            let progress = match self
                .woken(&sockets, phase.timeout(&self.endpoint), &mut asked)
                .await?
            {
                Woken::Message(message) => {
                    phase.take(message, &mut self.endpoint);
                    Progress::Idle
                }
                Woken::Deadline => Progress::Idle,
                Woken::Unicast => read(&sockets.unicast, &mut self.endpoint, &mut notices)?,
                Woken::Multicast => read(&sockets.multicast, &mut self.endpoint, &mut notices)?,
            };
            if progress == Progress::More {
                yield_now().await;
            }
        }
    }

    /// Waits for whatever comes first. `asked` becomes false when the last handle is gone.
    async fn woken(
        &mut self,
        sockets: &Registered,
        at_most: StdDuration,
        asked: &mut bool,
    ) -> io::Result<Woken<C, R, S>> {
        let mut deadline = pin!(sleep(at_most));
        poll_fn(|cx| {
            if *asked && let Poll::Ready(message) = self.messages.poll_recv(cx) {
                match message {
                    Some(message) => return Poll::Ready(Ok(Woken::Message(message))),
                    None => *asked = false,
                }
            }
            // Timers first: sockets that are always readable must not hold them up.
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Woken::Deadline));
            }
            if let Poll::Ready(ready) = sockets.unicast.poll_recv_ready(cx) {
                return Poll::Ready(ready.map(|_| Woken::Unicast));
            }
            if let Poll::Ready(ready) = sockets.multicast.poll_recv_ready(cx) {
                return Poll::Ready(ready.map(|_| Woken::Multicast));
            }
            Poll::Pending
        })
        .await
    }
}

/// The endpoint's sockets as the runtime knows them: descriptors of their own for the same sockets.
struct Registered {
    unicast: UdpSocket,
    multicast: UdpSocket,
    epoch: u32,
}

impl Registered {
    fn new<C: Credentials, R: CryptoRng, S: Storage>(endpoint: &Endpoint<C, R, S>) -> io::Result<Self> {
        let [unicast, multicast] = endpoint.fds();
        let register =
            |fd: BorrowedFd<'_>| UdpSocket::from_std(std::net::UdpSocket::from(fd.try_clone_to_owned()?));
        Ok(Self {
            unicast: register(unicast)?,
            multicast: register(multicast)?,
            epoch: endpoint.socket_epoch(),
        })
    }
}

/// Reads, and tells the runtime when the socket is read empty.
fn read<C: Credentials, R: CryptoRng, S: Storage>(
    socket: &UdpSocket,
    endpoint: &mut Endpoint<C, R, S>,
    notices: &mut impl FnMut(Notice<'_>),
) -> io::Result<Progress> {
    let mut progress = Progress::Idle;
    let read = socket.try_io(Interest::READABLE, || {
        progress = endpoint.on_readable(notices);
        match progress {
            Progress::More => Ok(()),
            Progress::Idle => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match read {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(progress),
    }
}

impl<C: Credentials, R: CryptoRng, S: Storage> Handle<C, R, S> {
    /// Lets the driver do `work` with the endpoint and waits for the result: commands, the key table, roles and
    /// counters. `work` must not block.
    ///
    /// # Errors
    /// [`Stopped`] if the driver ended before the work was done.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Endpoint<C, R, S>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, result) = oneshot::channel();
        let job = Box::new(move |endpoint: &mut Endpoint<C, R, S>| {
            // Whoever asked may be gone.
            let _ = answer.send(work(endpoint));
        });
        self.messages.send(Message::Job(job)).await.map_err(|_| Stopped)?;
        result.await.map_err(|_| Stopped)
    }

    /// Lets the driver end without a word to the group: its peers will take this node for crashed.
    pub async fn stop(&self) {
        // Nobody takes it if the driver has ended.
        let _ = self.messages.send(Message::Stop).await;
    }

    /// Lets the node leave the group, handing over the office if it has it, and the driver end then; after `within` it
    /// ends anyway.
    pub async fn leave(&self, within: StdDuration) {
        // As above.
        let _ = self.messages.send(Message::Leave { within }).await;
    }
}
