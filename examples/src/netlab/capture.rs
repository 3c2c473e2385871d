//! The wire: packets of the routing protocols captured by the tree's dumpcap, and read back.
//!
//! A capture at the bridge sees every packet once, with the kernel's time. Whether a packet of OSPF is authenticated, and
//! under which key id, is asked of `karp_core::packet_auth`, which reads the id before it looks for the key. For the
//! others it is read here; their digests are not verified.

use std::{
    collections::BTreeMap,
    fs::File,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use etherparse::{IpNumber, NetSlice, SlicedPacket, TransportSlice};
use karp_core::packet_auth::{Error, ospfv2, ospfv3};
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, traits::PcapReaderIterator as _};

use super::{
    process::{Process, in_tree, run},
    record::Watched,
    tree::Tree,
};

/// OSPF's number among the protocols of IP.
const OSPF: IpNumber = IpNumber(89);
/// The others' UDP ports.
const PORTS: [(u16, Watched); 3] = [(520, Watched::Rip), (6696, Watched::Babel), (3784, Watched::Bfd)];
/// The attacker's packets (its number on the LAN is in its MAC address) are not the routers' and stay out.
const FILTER: &str = "(ip proto 89 or ip6 proto 89 or udp dst port 520 or udp dst port 6696 or udp dst port 3784) \
                      and not ether src 02:00:09:00:00:42";
/// Where the tree sees the directory of captures.
const MOUNT: &str = "/mnt";
/// How long dumpcap may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any record of a capture has.
const BUFFER: usize = 1 << 20;

/// A capture that is running. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    dumpcap: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures the packets of routing protocols at an interface of a namespace into `directory/name.pcap`, from when this returns.
    ///
    /// # Errors
    /// dumpcap does not start: with what it says.
    pub fn start(
        tree: &Tree,
        namespace: &str,
        interface: &str,
        directory: &Path,
        name: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("{} cannot be made", directory.display()))?;
        let file = directory.join(format!("{name}.pcap"));
        let log = directory.join(format!("{name}.log"));
        // What an earlier run said would be taken for this one's.
        let _ = std::fs::remove_file(&log);
        let directory = directory
            .canonicalize()
            .with_context(|| format!("{} cannot be found", directory.display()))?;
        let binds = [(directory, MOUNT)];
        let mut command = in_tree(namespace, &tree.directory, &binds, "/usr/bin/dumpcap");
        command
            .args(["-q", "-P", "-i", interface, "-f", FILTER, "-w"])
            .arg(format!("{MOUNT}/{name}.pcap"));
        let mut dumpcap = Process::spawn(format!("dumpcap at {interface}"), command, &log)?;
        let end = Instant::now() + PATIENCE;
        // The file's name is what it says last before it begins.
        while !std::fs::read_to_string(&log).is_ok_and(|said| said.contains("File: ")) {
            if dumpcap.ended().is_some() || Instant::now() > end {
                bail!(
                    "dumpcap does not capture at {interface}:\n    {}",
                    dumpcap.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { dumpcap, file })
    }

    /// The file that it writes.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Ends the capture and gives the packets.
    ///
    /// # Errors
    /// dumpcap had ended before, or the file cannot be read.
    pub fn stop(mut self) -> anyhow::Result<Captured> {
        if let Some(status) = self.dumpcap.ended() {
            bail!(
                "dumpcap ended too early ({status}):\n    {}",
                self.dumpcap.last_words()
            );
        }
        // It hands packets on a few times a second.
        std::thread::sleep(Duration::from_millis(500));
        self.dumpcap.terminate(PATIENCE);
        read(&self.file)
    }
}

/// What a capture has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Captured {
    /// The packets, in the order of the capture.
    pub packets: Vec<Packet>,
    /// Fragments of larger packets, which are not looked into.
    pub fragments: u64,
}

/// A packet of a routing protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// Of which protocol.
    pub protocol: Watched,
    /// Who sent it, as its IP header says.
    pub source: IpAddr,
    /// All that follows the IP header, for OSPF, or the UDP header.
    pub octets: Vec<u8>,
}

impl Packet {
    /// Its version of OSPF, if it is OSPF's.
    #[must_use]
    pub const fn version(&self) -> Option<u8> {
        match self.protocol {
            Watched::Ospf2 => Some(2),
            Watched::Ospf3 => Some(3),
            Watched::Rip | Watched::Babel | Watched::Bfd => None,
        }
    }

    /// The id of the key that it says it is signed with; `None` for Babel, whose packets do not say (RFC 8967).
    ///
    /// # Errors
    /// [`Error::NotAuthenticated`] for a packet without cryptographic authentication, or why it is no packet.
    pub fn key_id(&self) -> Result<Option<u16>, Error> {
        match self.protocol {
            Watched::Rip => rip_key(&self.octets).map(Some),
            Watched::Bfd => bfd_key(&self.octets).map(Some),
            Watched::Babel => babel_mac(&self.octets).map(|()| None),
            Watched::Ospf2 | Watched::Ospf3 => match self.verify(|_| None) {
                // Nothing verifies without a key.
                Ok(verified) => Ok(Some(verified.key_id)),
                Err(Error::UnknownKey(id)) => u16::try_from(id).map(Some).map_err(|_| Error::KeyIdTooWide),
                Err(error) => Err(error),
            },
        }
    }

    /// Verifies a packet of OSPF under the key that `lookup` has for its key id.
    ///
    /// # Errors
    /// Why it does not verify; [`Error::Unsupported`] for another protocol's.
    pub fn verify<'k>(
        &self,
        lookup: impl FnOnce(u16) -> Option<karp_core::packet_auth::Key<'k>>,
    ) -> Result<Verified, Error> {
        match (self.protocol, self.source) {
            (Watched::Ospf2, IpAddr::V4(source)) => verify2(&self.octets, source, lookup),
            (Watched::Ospf3, IpAddr::V6(source)) => verify3(&self.octets, source, lookup),
            _ => Err(Error::Unsupported),
        }
    }
}

/// What a packet that verified says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified {
    /// The key's id.
    pub key_id: u16,
    /// 1 Hello, 2 Database Description, 3 Link State Request, 4 Update, 5 Acknowledgment.
    pub packet_type: u8,
    /// The sender's router id.
    pub router_id: u32,
    /// Its sequence number.
    pub sequence: u64,
}

fn verify2<'k>(
    packet: &[u8],
    source: Ipv4Addr,
    lookup: impl FnOnce(u16) -> Option<karp_core::packet_auth::Key<'k>>,
) -> Result<Verified, Error> {
    // Both daemons use the authentication type of RFC 5709.
    ospfv2::verify(packet, ospfv2::Mode::Rfc5709, source, lookup).map(|verified| Verified {
        key_id: verified.key_id,
        packet_type: verified.packet_type,
        router_id: verified.router_id,
        sequence: verified.sequence,
    })
}

fn verify3<'k>(
    packet: &[u8],
    source: Ipv6Addr,
    lookup: impl FnOnce(u16) -> Option<karp_core::packet_auth::Key<'k>>,
) -> Result<Verified, Error> {
    ospfv3::verify(packet, source, lookup).map(|verified| Verified {
        key_id: verified.key_id,
        packet_type: verified.packet_type,
        router_id: verified.router_id,
        sequence: verified.sequence,
    })
}

/// RIP: the first entry is of family 0xffff and holds the authentication, type 3 for a digest (RFC 4822 section 2.1).
fn rip_key(packet: &[u8]) -> Result<u16, Error> {
    let [_, _, _, _, family @ .., _, _, id] = packet.get(..11).ok_or(Error::Truncated)? else {
        return Err(Error::Truncated);
    };
    match family {
        [0xff, 0xff, 0, 3] => Ok(u16::from(*id)),
        _ => Err(Error::NotAuthenticated),
    }
}

/// BFD: the A bit, and a section after 24 octets with type, length and key id; types 2 to 5 are digests (RFC 5880
/// section 4.1).
fn bfd_key(packet: &[u8]) -> Result<u16, Error> {
    let flags = packet.get(1).ok_or(Error::Truncated)?;
    if flags & 0x04 == 0 {
        return Err(Error::NotAuthenticated);
    }
    match packet.get(24..27) {
        Some([2..=5, _, id]) => Ok(u16::from(*id)),
        Some(_) => Err(Error::NotAuthenticated),
        None => Err(Error::Truncated),
    }
}

/// Babel: an element of type 16 in the packet's trailer, which follows the body (RFC 8967 section 6).
fn babel_mac(packet: &[u8]) -> Result<(), Error> {
    let Some([42, 2, high, low]) = packet.get(..4) else {
        return Err(Error::Malformed);
    };
    let body = usize::from(u16::from_be_bytes([*high, *low]));
    let mut trailer = packet.get(4 + body..).ok_or(Error::Truncated)?;
    loop {
        match trailer {
            [] => return Err(Error::NotAuthenticated),
            [0, rest @ ..] => trailer = rest,
            [16, ..] => return Ok(()),
            [_, len, rest @ ..] => trailer = rest.get(usize::from(*len)..).ok_or(Error::Truncated)?,
            [_] => return Err(Error::Truncated),
        }
    }
}

/// Reads a file that dumpcap wrote. One that ends within a packet, as after a crash, ends before it.
///
/// # Errors
/// The file cannot be read, or is no capture.
pub fn read(path: &Path) -> anyhow::Result<Captured> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut reader = LegacyPcapReader::new(BUFFER, file)
        .map_err(|error| anyhow::anyhow!("{} is no capture: {error}", path.display()))?;
    let mut captured = Captured::default();
    let mut per_ms = 1000;
    loop {
        let used = match reader.next() {
            Ok((used, block)) => {
                match block {
                    // The field is called so for its older form; dumpcap writes nanoseconds, and says so in the header.
                    PcapBlockOwned::LegacyHeader(header) if header.is_nanosecond_precision() => {
                        per_ms = 1_000_000;
                    }
                    PcapBlockOwned::Legacy(record) => {
                        let at_ms = u64::from(record.ts_sec) * 1000 + u64::from(record.ts_usec) / per_ms;
                        captured.take(at_ms, record.data);
                    }
                    _ => {}
                }
                used
            }
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() || reader.refill().is_err() {
                    break;
                }
                continue;
            }
            Err(PcapError::Eof | PcapError::UnexpectedEof) => break,
            Err(error) => bail!("{} is damaged: {error}", path.display()),
        };
        reader.consume(used);
    }
    Ok(captured)
}

impl Captured {
    /// Takes a frame of Ethernet in, if it holds a packet of a routing protocol.
    fn take(&mut self, at_ms: u64, frame: &[u8]) {
        let Ok(sliced) = SlicedPacket::from_ethernet(frame) else {
            return;
        };
        let (source, payload): (IpAddr, _) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.payload()),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.payload()),
            _ => return,
        };
        if payload.fragmented {
            self.fragments += 1;
            return;
        }
        let (protocol, octets) = match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => {
                let port = udp.destination_port();
                let Some((_, protocol)) = PORTS.iter().find(|(of, _)| *of == port) else {
                    return;
                };
                (*protocol, udp.payload())
            }
            None if payload.ip_number == OSPF && source.is_ipv4() => (Watched::Ospf2, payload.payload),
            None if payload.ip_number == OSPF => (Watched::Ospf3, payload.payload),
            _ => return,
        };
        self.packets.push(Packet {
            at_ms,
            protocol,
            source,
            octets: octets.to_vec(),
        });
    }
}

/// What a packet is by its header: who sent it, its type, and its key id if it has one.
pub type Header = (IpAddr, u8, Option<u16>);

/// How many packets of OSPF with each header tshark finds in a capture: another reader's word. tshark 4.4 does not look for the
/// trailer of OSPFv3 in packets that cannot announce it, which are those of types 3 to 5; they have no key id then.
/// `namespace` is any that exists.
///
/// # Errors
/// tshark does not run, or says something else.
pub fn dissect(tree: &Tree, namespace: &str, file: &Path) -> anyhow::Result<BTreeMap<Header, u64>> {
    let file = file
        .canonicalize()
        .with_context(|| format!("{} cannot be found", file.display()))?;
    let (Some(directory), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str()))
    else {
        bail!("{} is no file", file.display());
    };
    let binds = [(directory.to_owned(), MOUNT)];
    let mut command = in_tree(namespace, &tree.directory, &binds, "/usr/bin/tshark");
    let path = format!("{MOUNT}/{name}");
    command.args([
        "-n",
        "-r",
        &path,
        "-Y",
        "ospf",
        "-T",
        "fields",
        "-E",
        "separator=,",
    ]);
    for field in [
        "ip.src",
        "ipv6.src",
        "ospf.msg",
        "ospf.auth.crypt.key_id",
        "ospf.at.sa_id",
    ] {
        command.args(["-e", field]);
    }
    let mut counts = BTreeMap::new();
    for line in run(&mut command)?.lines() {
        let header = dissected(line).with_context(|| format!("tshark says {line:?}"))?;
        *counts.entry(header).or_default() += 1;
    }
    Ok(counts)
}

/// "10.9.0.1,,1,7,": one address, the type, and at most one key id.
fn dissected(line: &str) -> Option<Header> {
    let fields: Vec<&str> = line.split(',').collect();
    let [v4, v6, kind, id2, id3] = fields[..] else {
        return None;
    };
    let number = |text: &str| {
        text.strip_prefix("0x")
            .map_or_else(|| text.parse().ok(), |hex| u16::from_str_radix(hex, 16).ok())
    };
    let id = match format!("{id2}{id3}").as_str() {
        "" => None,
        id => Some(number(id)?),
    };
    Some((format!("{v4}{v6}").parse().ok()?, kind.parse().ok()?, id))
}

impl Captured {
    /// The same as [`dissect`] has, as this program reads it.
    #[must_use]
    pub fn headers(&self) -> BTreeMap<Header, u64> {
        let mut counts = BTreeMap::new();
        for packet in self.packets.iter().filter(|packet| packet.version().is_some()) {
            let kind = packet.octets.get(1).copied().unwrap_or(0);
            let id = packet.key_id().ok().flatten();
            let id = id.filter(|_| packet.protocol == Watched::Ospf2 || kind < 3);
            *counts.entry((packet.source, kind, id)).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of Ethernet with an IPv4 packet of this protocol.
    fn frame(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x01, 0, 0x5e, 0, 0, 5, 2, 0, 9, 0, 0, 1, 0x08, 0x00];
        let len = (20 + payload.len()) as u16;
        frame.extend([0x45, 0xc0]);
        frame.extend(len.to_be_bytes());
        frame.extend([0, 1]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([1, protocol, 0, 0, 10, 9, 0, 1, 224, 0, 0, 5]);
        frame.extend(payload);
        // Ethernet's padding is none of the packet.
        frame.extend([0; 7]);
        frame
    }

    fn file(magic: u32, records: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend(magic.to_le_bytes());
        octets.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        octets.extend(262_144_u32.to_le_bytes());
        octets.extend(1_u32.to_le_bytes());
        for (seconds, micros, frame) in records {
            octets.extend(seconds.to_le_bytes());
            octets.extend(micros.to_le_bytes());
            octets.extend((frame.len() as u32).to_le_bytes());
            octets.extend((frame.len() as u32).to_le_bytes());
            octets.extend(frame);
        }
        octets
    }

    fn reading(octets: &[u8]) -> anyhow::Result<Captured> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pcap");
        std::fs::write(&path, octets).unwrap();
        read(&path)
    }

    #[test]
    fn ospf_packets_are_read_with_their_times() {
        let records = [
            (100, 5_000, frame(89, 0, &[2, 1, 0, 44])),
            (100, 6_000, frame(17, 0, &[1, 2, 3])),
            (101, 999_999, frame(89, 0x2000, &[9])),
            (102, 0, vec![1, 2, 3]),
            (103, 0, frame(89, 0, &[2, 4])),
        ];
        let octets = file(0xa1b2_c3d4, &records);
        let captured = reading(&octets).unwrap();
        let seen: Vec<(u64, &[u8])> = captured
            .packets
            .iter()
            .map(|packet| (packet.at_ms, packet.octets.as_slice()))
            .collect();
        assert_eq!(seen, [(100_005, &[2, 1, 0, 44][..]), (103_000, &[2, 4])]);
        assert_eq!(captured.fragments, 1);
        assert_eq!(captured.packets[0].protocol, Watched::Ospf2);
        assert_eq!(captured.packets[0].source, IpAddr::from([10, 9, 0, 1]));
        let nanoseconds = [(100, 5_999_999, frame(89, 0, &[2, 1]))];
        let later = reading(&file(0xa1b2_3c4d, &nanoseconds)).unwrap();
        assert_eq!(later.packets[0].at_ms, 100_005);
        // Every place at which a capture may have been cut off.
        for end in 24..octets.len() {
            let part = reading(&octets[..end]).unwrap();
            assert!(part.packets.len() <= 2);
        }
        assert!(reading(&octets[..23]).is_err());
        assert!(reading(b"not a capture at all, but long enough for one").is_err());
    }

    #[test]
    fn key_ids_are_told_without_a_key() {
        use karp_core::packet_auth::{Algorithm, Key, build::Ospfv3Hello};
        let source = Ipv6Addr::LOCALHOST;
        let mut octets = vec![0; 256];
        let len = Ospfv3Hello::DEFAULT.write(&mut octets).unwrap();
        let mut packet = Packet {
            at_ms: 0,
            protocol: Watched::Ospf3,
            source: source.into(),
            octets: octets[..len].to_vec(),
        };
        assert_eq!(packet.key_id(), Err(Error::NotAuthenticated));
        let key = Key::new(300, Algorithm::HmacSha256, b"key");
        let params = ospfv3::SignParams {
            sequence: 1 << 40,
            source,
        };
        let len = ospfv3::sign(&mut octets, len, &key, &params).unwrap();
        octets.truncate(len);
        packet.octets = octets;
        assert_eq!(packet.key_id(), Ok(Some(300)));
        assert_eq!(
            packet.verify(|_| Some(key)).map(|verified| verified.sequence),
            Ok(1 << 40)
        );
    }

    #[test]
    fn authentication_of_the_others_is_seen() {
        let rip = [2, 2, 0, 0, 0xff, 0xff, 0, 3, 0, 44, 9, 20];
        assert_eq!(rip_key(&rip), Ok(9));
        assert_eq!(
            rip_key(&[2, 2, 0, 0, 0, 2, 0, 0, 10, 0, 0, 0]),
            Err(Error::NotAuthenticated)
        );
        assert_eq!(
            rip_key(&[2, 2, 0, 0, 0xff, 0xff, 0, 2, b'p', b'w', 0, 0]),
            Err(Error::NotAuthenticated)
        );
        assert_eq!(rip_key(&rip[..10]), Err(Error::Truncated));
        let mut bfd = vec![0x20, 0xc4, 5, 52];
        bfd.resize(24, 0);
        bfd.extend([5, 28, 77, 0]);
        assert_eq!(bfd_key(&bfd), Ok(77));
        assert_eq!(bfd_key(&bfd[..26]), Err(Error::Truncated));
        bfd[1] = 0xc0;
        assert_eq!(bfd_key(&bfd), Err(Error::NotAuthenticated));
        let babel = [42, 2, 0, 3, 4, 1, 0, 0, 1, 1, 0, 16, 2, 0xaa, 0xbb];
        assert_eq!(babel_mac(&babel), Ok(()));
        assert_eq!(babel_mac(&babel[..11]), Err(Error::NotAuthenticated));
        assert_eq!(babel_mac(&babel[..9]), Err(Error::Truncated));
        // Where only the body is read, an element of type 16 in it is none of the trailer's.
        assert_eq!(babel_mac(&[42, 2, 0, 3, 16, 1, 0]), Err(Error::NotAuthenticated));
        assert_eq!(babel_mac(&[2, 2, 0, 0]), Err(Error::Malformed));
    }

    #[test]
    fn what_tshark_says_is_read() {
        let v4: IpAddr = [10, 9, 0, 1].into();
        assert_eq!(dissected("10.9.0.1,,1,7,"), Some((v4, 1, Some(7))));
        assert_eq!(dissected("10.9.0.1,,4,,"), Some((v4, 4, None)));
        let v6: IpAddr = "fe80::1".parse().unwrap();
        assert_eq!(dissected(",fe80::1,1,,201"), Some((v6, 1, Some(201))));
        assert_eq!(dissected(",fe80::1,2,,0x00c9"), Some((v6, 2, Some(201))));
        assert_eq!(dissected("10.9.0.1,,1,seven,"), None);
        assert_eq!(dissected("nonsense"), None);
    }
}
