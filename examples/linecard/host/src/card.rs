//! The emulated card: QEMU, a socket that is its serial line, and its logs.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use defmt_decoder::{DecodeError, Table};
use linecard_link::{console::Request, packet, slip};

/// How long the emulator may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running card.
pub(crate) struct Card {
    qemu: Child,
    line: UnixStream,
    unread: Vec<u8>,
    receiver: slip::Receiver,
    logs: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Card {
    /// Starts `firmware`.
    pub(crate) fn start(qemu: &str, firmware: &Path) -> anyhow::Result<Self> {
        let elf = std::fs::read(firmware).with_context(|| format!("cannot read {}", firmware.display()))?;
        let table = Table::parse(&elf)?.context("the firmware has no defmt symbols")?;
        let place = tempfile::tempdir()?;
        let socket = place.path().join("line");
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        let mut qemu = Command::new(qemu)
            .args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"])
            .arg("-serial")
            .arg(format!("unix:{}", socket.display()))
            .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
            .arg(firmware)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {qemu}"))?;
        let logs = qemu.stdout.take().context("the emulator has no output")?;
        let line = match accept(&listener, &mut qemu) {
            Ok(line) => line,
            Err(error) => {
                // What is left to do is to leave nothing running.
                let _ = qemu.kill();
                let _ = qemu.wait();
                return Err(error);
            }
        };
        line.set_write_timeout(Some(PATIENCE))?;
        let logs = std::thread::spawn(move || print_logs(logs, &table));
        Ok(Self {
            qemu,
            line,
            unread: Vec::new(),
            receiver: slip::Receiver::new(),
            logs: Some(logs),
        })
    }

    /// Puts a packet on the line.
    pub(crate) fn send(&mut self, packet: &[u8]) -> anyhow::Result<()> {
        let mut octets = Vec::with_capacity(packet.len() + 8);
        slip::send(packet, |octet| octets.push(octet));
        self.line
            .write_all(&octets)
            .context("the card does not read its line")
    }

    /// Hands `take` the next packet, if one comes within `wait`.
    pub(crate) fn receive(
        &mut self,
        wait: Duration,
        take: impl FnOnce(packet::Envelope, &mut [u8]),
    ) -> anyhow::Result<()> {
        let end = Instant::now() + wait;
        loop {
            while !self.unread.is_empty() {
                let octet = self.unread.remove(0);
                if let Some(frame) = self.receiver.push(octet) {
                    let (envelope, datagram) =
                        packet::open(frame).context("the card sent a broken packet")?;
                    take(envelope, datagram);
                    return Ok(());
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.line.set_read_timeout(Some(left))?;
            let mut octets = [0; 4096];
            match self.line.read(&mut octets) {
                Ok(0) => bail!("the card has ended"),
                Ok(len) => self.unread.extend(&octets[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets the card report and end; an error unless it ended well.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut ask = Instant::now();
        let status = loop {
            if let Some(status) = self.qemu.try_wait()? {
                break status;
            }
            if Instant::now() > end {
                bail!("the card does not end");
            }
            if Instant::now() >= ask {
                // A card that was busy may have had no room for it, and one that has ended does not read it.
                let _ = self.send(&crate::neighbour::request(Request::Stop));
                ask += Duration::from_secs(1);
            }
            // What it still sends is taken off the line, or it would wait for that. At its end the line ends.
            if self.receive(Duration::from_millis(10), |_, _| {}).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        if let Some(logs) = self.logs.take() {
            logs.join()
                .map_err(|_| anyhow!("the thread that reads the card's logs ended early"))??;
        }
        if !status.success() {
            bail!("the card ended with a fault");
        }
        Ok(())
    }
}

/// Nothing stays behind, whatever happened. The logs' thread sees the end of the output.
impl Drop for Card {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if let Some(logs) = self.logs.take() {
            let _ = logs.join();
        }
    }
}

fn accept(listener: &UnixListener, qemu: &mut Child) -> anyhow::Result<UnixStream> {
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((line, _)) => {
                line.set_nonblocking(false)?;
                return Ok(line);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("the emulator ended at once: {status}");
        }
        if Instant::now() > end {
            bail!("the emulator does not connect to its serial line");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Prints what the card logs until it ends.
fn print_logs(mut logs: ChildStdout, table: &Table) -> anyhow::Result<()> {
    let mut decoder = table.new_stream_decoder();
    let mut octets = [0; 1024];
    loop {
        let len = logs.read(&mut octets)?;
        if len == 0 {
            return Ok(());
        }
        decoder.received(&octets[..len]);
        loop {
            match decoder.decode() {
                Ok(frame) => println!("card {}", frame.display(false)),
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => bail!("the card's logs are broken"),
            }
        }
    }
}
