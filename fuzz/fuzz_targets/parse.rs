//! Every parser over any octets: none panics, and what a parser accepts holds what it promises.
#![no_main]

use karp_core::packet_auth::{isis, ospfv2, ospfv3};
use karp_core::wire::{
    Payloads,
    election::Announcement,
    message::Contents,
    rekey::Update,
    sa::choose,
    sk,
    state::{Carrier, State},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok((_, payloads)) = Payloads::of_message(data) {
        let _ = Contents::collect(payloads);
    }
    if let Ok(announcement) = Announcement::parse(data) {
        for mac in &announcement.macs {
            assert!(mac.offset + 16 <= data.len());
        }
    }
    let _ = Update::parse(data);
    let _ = sk::locate(data);
    let _ = choose(data, None);
    if let Some((first, rest)) = data.split_first() {
        let (gsa, kd) = rest.split_at(usize::from(*first).min(rest.len()));
        for carrier in [Carrier::Unicast, Carrier::Multicast] {
            if let Ok(state) = State::parse(gsa, kd, carrier) {
                assert!(state.teks.len() <= 8);
            }
        }
    }
    let _ = ospfv2::verify(
        data,
        ospfv2::Mode::Rfc5709,
        core::net::Ipv4Addr::LOCALHOST,
        |_| None,
    );
    let _ = ospfv3::verify(data, core::net::Ipv6Addr::LOCALHOST, |_| None);
    let _ = isis::verify(data, |_| None);
});
