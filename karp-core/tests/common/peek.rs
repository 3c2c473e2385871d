//! A reader of what an onlooker can read: headers and clear payloads. Written from PROTOCOL.md, not from the crate's
//! own parser, so that the two check each other.

use std::fmt::Write as _;

/// Exchange types (PROTOCOL.md section 10).
pub const IKE_SA_INIT: u8 = 34;
pub const GSA_AUTH: u8 = 39;
pub const GSA_REGISTRATION: u8 = 40;
pub const GSA_REKEY: u8 = 41;
pub const GSA_INBAND_REKEY: u8 = 42;
pub const INFORMATIONAL: u8 = 37;
pub const GCKS_ELECTION: u8 = 249;

/// Payload types.
pub const SA: u8 = 33;
pub const KE: u8 = 34;
pub const IDI: u8 = 35;
pub const CERTREQ: u8 = 38;
pub const AUTH: u8 = 39;
pub const NONCE: u8 = 40;
pub const NOTIFY: u8 = 41;
pub const SK: u8 = 46;
pub const IDG: u8 = 50;

/// Notify types.
pub const TEMPORARY_FAILURE: u16 = 43;
pub const COOKIE: u16 = 16390;
pub const REDIRECT: u16 = 16407;
pub const ELECTION_STATE: u16 = 50960;
pub const GROUP_MAC: u16 = 50961;
pub const HANDOFF: u16 = 50962;

/// Flags of the header.
pub const INITIATOR: u8 = 0x08;
pub const RESPONSE: u8 = 0x20;

/// An IKE header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub spi_i: [u8; 8],
    pub spi_r: [u8; 8],
    pub first: u8,
    pub exchange: u8,
    pub flags: u8,
    pub id: u32,
    pub length: usize,
}

impl Header {
    pub const LEN: usize = 28;

    /// The header of `octets`, if they are long enough.
    pub fn of(octets: &[u8]) -> Option<Self> {
        let h: &[u8; Self::LEN] = octets.get(..Self::LEN)?.try_into().ok()?;
        Some(Self {
            spi_i: h[..8].try_into().unwrap(),
            spi_r: h[8..16].try_into().unwrap(),
            first: h[16],
            exchange: h[18],
            flags: h[19],
            id: u32::from_be_bytes(h[20..24].try_into().unwrap()),
            length: u32::from_be_bytes(h[24..28].try_into().unwrap()) as usize,
        })
    }

    pub fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// The two SPI fields, which in a GSA_REKEY are the Rekey SA's SPI.
    pub fn spis(&self) -> [u8; 16] {
        let mut spis = [0; 16];
        spis[..8].copy_from_slice(&self.spi_i);
        spis[8..].copy_from_slice(&self.spi_r);
        spis
    }
}

/// One payload: its type, where its body begins, and the body.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    pub kind: u8,
    pub at: usize,
    pub body: &'a [u8],
}

impl Payload<'_> {
    /// Type and data of a notify with protocol 0 and no SPI.
    pub fn notify(&self) -> Option<(u16, &[u8])> {
        if self.kind != NOTIFY {
            return None;
        }
        Some((
            u16::from_be_bytes([*self.body.get(2)?, *self.body.get(3)?]),
            self.body.get(4..)?,
        ))
    }
}

/// The payloads in the clear, in order; it ends at SK or where the chain breaks.
pub fn payloads(octets: &[u8]) -> Vec<Payload<'_>> {
    let mut found = Vec::new();
    let Some(header) = Header::of(octets) else {
        return found;
    };
    let (mut kind, mut at) = (header.first, Header::LEN);
    while kind != 0 {
        let Some(generic) = octets.get(at..at + 4) else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([generic[2], generic[3]]));
        let Some(body) = octets.get(at + 4..at + length) else {
            break;
        };
        found.push(Payload {
            kind,
            at: at + 4,
            body,
        });
        if kind == SK {
            break;
        }
        (kind, at) = (generic[0], at + length);
    }
    found
}

/// The data of the first notify of type `wanted` in the clear.
pub fn notify(octets: &[u8], wanted: u16) -> Option<Vec<u8>> {
    payloads(octets)
        .iter()
        .find_map(|p| p.notify().filter(|n| n.0 == wanted).map(|n| n.1.to_vec()))
}

/// What ELECTION_STATE says (PROTOCOL.md section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionState {
    pub version: u8,
    pub state: u8,
    pub flags: u8,
    pub multiplier: u8,
    pub priority: u16,
    pub interval: u16,
    pub router_id: u64,
    pub spi: [u8; 16],
    pub generation: u32,
    pub members: u32,
}

impl ElectionState {
    pub const INITIAL: u8 = 0;
    pub const MEMBER: u8 = 1;
    pub const GCKS: u8 = 2;
    pub const KEYED: u8 = 1;
    pub const PREEMPT: u8 = 2;
    pub const LEAVING: u8 = 4;

    /// From the 40 octets of the notify.
    pub fn of(data: &[u8]) -> Option<Self> {
        let d: &[u8; 40] = data.try_into().ok()?;
        Some(Self {
            version: d[0],
            state: d[1],
            flags: d[2],
            multiplier: d[3],
            priority: u16::from_be_bytes([d[4], d[5]]),
            interval: u16::from_be_bytes([d[6], d[7]]),
            router_id: u64::from_be_bytes(d[8..16].try_into().unwrap()),
            spi: d[16..32].try_into().unwrap(),
            generation: u32::from_be_bytes(d[32..36].try_into().unwrap()),
            members: u32::from_be_bytes(d[36..40].try_into().unwrap()),
        })
    }

    /// The 40 octets.
    pub fn octets(&self) -> Vec<u8> {
        let mut d = vec![self.version, self.state, self.flags, self.multiplier];
        d.extend(self.priority.to_be_bytes());
        d.extend(self.interval.to_be_bytes());
        d.extend(self.router_id.to_be_bytes());
        d.extend(self.spi);
        d.extend(self.generation.to_be_bytes());
        d.extend(self.members.to_be_bytes());
        d
    }
}

/// The election state of an announcement.
pub fn election(octets: &[u8]) -> Option<ElectionState> {
    let header = Header::of(octets)?;
    if header.exchange != GCKS_ELECTION {
        return None;
    }
    ElectionState::of(&notify(octets, ELECTION_STATE)?)
}

/// A line for people: what this datagram is.
pub fn describe(octets: &[u8]) -> String {
    let Some(h) = Header::of(octets) else {
        return format!("{} octets that are no message", octets.len());
    };
    let mut text = String::new();
    let way = if h.is_response() { "response" } else { "request" };
    match h.exchange {
        IKE_SA_INIT => _ = write!(text, "IKE_SA_INIT {way}"),
        GSA_AUTH => _ = write!(text, "GSA_AUTH {way}"),
        GSA_REGISTRATION => _ = write!(text, "GSA_REGISTRATION {way}"),
        GSA_INBAND_REKEY => _ = write!(text, "GSA_INBAND_REKEY {way}"),
        INFORMATIONAL => _ = write!(text, "INFORMATIONAL {way}"),
        GSA_REKEY => _ = write!(text, "GSA_REKEY"),
        GCKS_ELECTION => _ = write!(text, "announcement"),
        other => _ = write!(text, "exchange {other} {way}"),
    }
    _ = write!(text, " id {} {} octets", h.id, octets.len());
    if let Some(e) = election(octets) {
        let state = match e.state {
            0 => "Initial",
            1 => "Member",
            2 => "GCKS",
            _ => "state?",
        };
        _ = write!(
            text,
            ": {state} priority {} generation {} members {}",
            e.priority, e.generation, e.members
        );
        for (flag, name) in [(1, "keyed"), (2, "preempt"), (4, "leaving")] {
            if e.flags & flag != 0 {
                _ = write!(text, " {name}");
            }
        }
    }
    let names: Vec<String> = payloads(octets).iter().map(name).collect();
    if !names.is_empty() {
        _ = write!(text, " [{}]", names.join(" "));
    }
    text
}

fn name(payload: &Payload<'_>) -> String {
    if let Some((kind, _)) = payload.notify() {
        return match kind {
            COOKIE => "N(COOKIE)".into(),
            REDIRECT => "N(REDIRECT)".into(),
            TEMPORARY_FAILURE => "N(TEMPORARY_FAILURE)".into(),
            ELECTION_STATE => "N(ELECTION_STATE)".into(),
            GROUP_MAC => "N(GROUP_MAC)".into(),
            HANDOFF => "N(HANDOFF)".into(),
            16406 => "N(REDIRECT_SUPPORTED)".into(),
            16408 => "N(REDIRECTED_FROM)".into(),
            16418 => "N(CHILDLESS)".into(),
            16431 => "N(SIG_HASH)".into(),
            other => format!("N({other})"),
        };
    }
    match payload.kind {
        SA => "SA".into(),
        KE => "KE".into(),
        IDI => "IDi".into(),
        CERTREQ => "CERTREQ".into(),
        AUTH => "AUTH".into(),
        NONCE => "Nonce".into(),
        SK => "SK".into(),
        IDG => "IDg".into(),
        other => format!("payload {other}"),
    }
}
