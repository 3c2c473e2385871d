//! Key updates: one multicast message whatever the number of members (PROTOCOL.md section 7).

use super::state::{Purpose, parse_update};
use crate::{
    crypto::{OpenKey, ROW, apart, verify},
    error::DropReason,
    exchange::{open, seal, wire_fault},
    group::rollover::Input,
    io::{Role, Timer},
    node::Core,
    time::Duration,
    wire::{
        ExchangeType, Flags, Header, MAX_DATAGRAM,
        auth::{SIGNATURE_LEN, write_signature},
        sk,
    },
};

/// A copy within this time is the same octets; later the state goes out as a new update with fresh times.
const COPY_LIFE: Duration = Duration::from_secs(3);

impl Core<'_> {
    /// The state changed: the group is to hear of it.
    pub(crate) fn owe_update(&mut self) {
        let now = self.now;
        if let Some(office) = self.node.office.as_mut() {
            office.update_owed = true;
            office.content = office.generation().saturating_add(1);
            office.content_at = now;
        }
    }

    /// The same state goes out again with fresh times; nothing new has to be acknowledged.
    pub(crate) fn owe_refresh(&mut self) {
        if let Some(office) = self.node.office.as_mut() {
            office.update_owed = true;
        }
    }

    /// Writes an update that is owed, new or as a copy.
    #[inline(never)]
    pub(crate) fn poll_update(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let office = self.node.office.as_ref()?;
        if office.update_owed {
            return self.write_update(buffer);
        }
        if !office.copy_owed {
            return None;
        }
        let office = self.node.office.as_mut()?;
        office.copy_owed = false;
        let len = office.kept.len();
        buffer.get_mut(..len)?.copy_from_slice(&office.kept);
        crate::counters::bump(&mut self.node.counters.retransmissions);
        (len > 0).then_some(len)
    }

    fn write_update(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let draft = self.fitted(Purpose::Update, |shape, state| shape.update(state));
        let now = self.now;
        let hello = self.hello();
        let wait = self.jittered(hello);
        self.set_timer(Timer::Update, wait);
        let Core { node, keys, .. } = self;
        let office = node.office.as_mut()?;
        office.update_owed = false;
        office.copy_owed = false;
        let (spi, message_id) = (office.spi, office.next_message_id);
        let (sas, term_key) = (&mut node.sas, node.term_key.as_ref());
        let len = apart::<ROW, _>(|| {
            let draft = draft?;
            let [spi_i, spi_r] = halves(spi);
            let header = Header::new(
                spi_i,
                spi_r,
                ExchangeType(ExchangeType::GSA_REKEY.0),
                Flags::INITIATOR,
                message_id,
            );
            let (mut writer, sk) = sk::begin(buffer.get_mut(..MAX_DATAGRAM)?, &header);
            let slots = draft.write(&mut writer);
            if term_key.is_some() {
                write_signature(&mut writer, &[0; SIGNATURE_LEN]);
            }
            let message = sk::finish(writer, sk).ok()?;
            let octets = draft.rekey_sa_octets(sas);
            let own = sas.current_mut()?;
            draft.wrap_under(slots, &mut own.wrap, keys, octets.as_ref(), message)?;
            if let Some(key) = term_key {
                let update = parse_update(message).ok()?;
                let signed = update.signed?;
                let (signature, at) = (key.sign(&signed.parts()), signed.offset);
                message
                    .get_mut(at..at.checked_add(SIGNATURE_LEN)?)?
                    .copy_from_slice(&signature);
            }
            seal(&mut own.seal, message)
        });
        if let Some(octets) = len.and_then(|len| buffer.get(..len)) {
            office.next_message_id = message_id.saturating_add(1);
            office.kept.clear();
            // As long as the buffer at most, which was cut to what fits.
            let _ = office.kept.extend_from_slice(octets);
            office.kept_at = now;
        }
        let generation = office.generation();
        if let Some(sa) = node.sas.current_mut() {
            sa.applied = generation;
        }
        for key in keys.rows_mut().filter(|key| key.lives()) {
            key.listed_by = Some(spi);
        }
        node.installs.applied(spi, generation);
        // Near 2^32 the Rekey SA is replaced (section 7).
        if generation > u32::MAX.saturating_sub(1024) {
            self.roll(Input::SaDue);
        }
        self.node.stirred = true;
        len
    }

    /// Who lags is sent the update again, at most once per hello interval; who lags by two of its own intervals is
    /// pushed the state (section 7).
    pub(crate) fn run_update_timer(&mut self) {
        let now = self.now;
        let hello = self.hello();
        let changing = self.is_changing_sa();
        let Some(office) = self.node.office.as_mut() else {
            return;
        };
        let mut lagging = false;
        for peer in self.peers.rows_mut() {
            let Some(row) = peer.registrant.filter(|row| row.live) else {
                continue;
            };
            let current = if changing {
                row.has_next_sa
            } else {
                row.acked >= Some(office.content)
            };
            if current {
                continue;
            }
            lagging = true;
            let interval = peer
                .claim
                .map_or(hello, |claim| Duration::from_millis(u64::from(claim.interval_ms)));
            // Its own acknowledgement may take one interval, and its host's installation longer.
            if now.since(office.content_at) >= interval.times(2) && peer.sa.is_some() {
                peer.push = true;
                self.node.pushes_owed = true;
            }
        }
        if !lagging {
            return;
        }
        if office.kept.is_empty() || now.since(office.kept_at) >= COPY_LIFE {
            office.update_owed = true;
        } else {
            office.copy_owed = true;
        }
        let wait = self.jittered(hello);
        self.set_timer(Timer::Update, wait);
    }

    /// An update from the GCKS. Verified whole before anything is applied.
    #[inline(never)]
    pub(crate) fn handle_update(&mut self, octets: &mut [u8]) -> Result<(), DropReason> {
        let header = Header::parse(octets).map_err(wire_fault)?;
        let spi = header.rekey_sa_spi();
        if self.node.office.as_ref().is_some_and(|office| office.spi == spi) {
            return Err(DropReason::Own);
        }
        // A member applies updates of its current Rekey SA only.
        let current = self
            .node
            .sas
            .current()
            .filter(|sa| sa.spi == spi)
            .ok_or(DropReason::UnknownSpi)?;
        if self.node.election.role() != Role::Member {
            return Err(DropReason::Unexpected);
        }
        // The least Message ID is that expected next; repeats and replays die here. It moves only when all is proved.
        if header.message_id < current.applied {
            return Err(DropReason::Replayed);
        }
        // The key of the group opens and, at the office that made it, seals.
        open(&OpenKey::new(&current.keys.gsk_e), octets)?;
        let update = parse_update(octets)?;
        if let Some(key) = &current.auth_key {
            let signed = update.signed.as_ref().ok_or(DropReason::BadSignature)?;
            if !verify(key, &signed.parts(), signed.signature) {
                return Err(DropReason::BadSignature);
            }
        }
        let state = self.check_multicast_state(update.gsa, update.kd, &current.keys.gsk_w)?;
        let generation = header.message_id.saturating_add(1);
        if let Some(current) = self.node.sas.current_mut() {
            current.applied = generation;
        }
        self.apply_keys(&state, Some(spi), true);
        match &state.rekey_sa {
            // The update that carries the next Rekey SA does not count under it (section 7).
            Some(new) => {
                let next = new.spi;
                // An update leaves out the term's key: it holds for every Rekey SA of the term (section 6).
                let auth_key = self.node.sas.current().and_then(|sa| sa.auth_key);
                self.take_rekey_sa(new, auth_key, 0);
                for key in self
                    .keys
                    .rows_mut()
                    .filter(|key| key.lives() && key.listed_by == Some(spi))
                {
                    key.listed_by = Some(next);
                }
                let applied = self.node.sas.current().map_or(0, |sa| sa.applied);
                self.node.installs.applied(next, applied);
            }
            None => self.node.installs.applied(spi, generation),
        }
        if let Some(membership) = self.node.membership.as_mut() {
            membership.heard = self.now;
        }
        self.schedule_acknowledgement();
        Ok(())
    }
}

/// A Rekey SA's SPI as the two SPI fields of the header.
fn halves(spi: [u8; 16]) -> [[u8; 8]; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = spi;
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}
