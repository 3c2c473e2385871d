//! GSA and KD together: the whole state that a GCKS gives, checked as one (PROTOCOL.md section 6).
//!
//! Either all of it is good or the message is refused: a member never applies half a state.

use heapless::Vec;

use super::Error;
use super::gsa::{GcAuth, KeyState, Policies, Policy, RekeySaPolicy, TekPolicy};
use super::kd::{Bag, Bags, Wrapped};
use super::substructure::once;

/// Most traffic keys in one state (PROTOCOL.md section 6).
pub const MAX_TEKS: usize = 8;

/// What carries the state. G-IKEv2 allows less in an update (RFC 9838 sections 4.4.2.1.1 and 4.5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Carrier {
    /// GSA_AUTH, GSA_REGISTRATION, GSA_INBAND_REKEY: sealed for one member.
    Unicast,
    /// GSA_REKEY: sealed for all. No GCAUTH and no member key bag.
    Multicast,
}

/// A Rekey SA in a state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RekeySa<'a> {
    /// Its policy.
    pub policy: RekeySaPolicy,
    /// Its keys, if there is a bag for it. Without them the policy is of use only to who has them.
    pub keys: Option<Wrapped<'a>>,
    /// The Ed25519 key of the GCKS's term; there exactly if the policy asks for signatures.
    pub auth_key: Option<[u8; 32]>,
}

/// A traffic key in a state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tek<'a> {
    /// Its policy.
    pub policy: TekPolicy,
    /// The key. Always there if it is Pending or Active, never if it is Retiring: who needs a Retiring key
    /// has it.
    pub key: Option<Wrapped<'a>>,
}

/// A state, every part of it checked except what only the keys can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct State<'a> {
    /// The Rekey SA, if one is announced.
    pub rekey_sa: Option<RekeySa<'a>>,
    /// DTD in seconds, if the group-wide policy tells it.
    pub dtd_s: Option<u16>,
    /// The traffic keys, each id once, at most one Pending and one Active.
    pub teks: Vec<Tek<'a>, MAX_TEKS>,
}

impl<'a> State<'a> {
    /// The bodies of a GSA and a KD payload.
    ///
    /// # Errors
    /// Any of section 6's refusals: [`Error::Duplicate`] for a repeated attribute, SPI, policy or bag, or a
    /// second Pending or Active key; [`Error::BadValue`] for an unknown KARP_KEY_STATE, an SPI that is no key
    /// id, DTD 0; [`Error::Missing`] for a policy without GSA_KEY_LIFETIME, a Pending or Active key without
    /// bag, signatures without AUTH_KEY; [`Error::Misplaced`] for a bag without policy, and for what
    /// `carrier` may not carry; [`Error::TooMany`] for more than eight traffic keys or protocols;
    /// [`Error::Unsupported`] for an algorithm that is not the suite's.
    pub fn parse(gsa: &'a [u8], kd: &'a [u8], carrier: Carrier) -> Result<Self, Error> {
        let mut state = Self::from_policies(gsa, carrier)?;
        let mut member_bag = None;
        for bag in Bags::new(kd) {
            match bag? {
                Bag::RekeySa { spi, keys } => {
                    let rekey_sa = state.rekey_sa.as_mut().filter(|sa| sa.policy.spi == spi);
                    once(&mut rekey_sa.ok_or(Error::Misplaced)?.keys, keys)?;
                }
                Bag::Tek { id, key } => {
                    let tek = state.teks.iter_mut().find(|tek| tek.policy.id == id);
                    once(&mut tek.ok_or(Error::Misplaced)?.key, key)?;
                }
                Bag::Member { auth_key } => {
                    if carrier == Carrier::Multicast {
                        return Err(Error::Misplaced);
                    }
                    once(&mut member_bag, auth_key)?;
                }
                Bag::Unknown(_) => {}
            }
        }
        state.settle_auth_key(member_bag.flatten())?;
        for tek in &mut state.teks {
            match tek.policy.state {
                KeyState::Pending | KeyState::Active if tek.key.is_none() => return Err(Error::Missing),
                KeyState::Pending | KeyState::Active => {}
                // Section 6: a Retiring key comes without bag. One that came with it all the same is given to
                // nobody.
                KeyState::Retiring => tek.key = None,
            }
        }
        Ok(state)
    }

    /// The traffic key in state `state`: there is at most one Pending and one Active; of several Retiring,
    /// the first.
    #[must_use]
    pub fn tek_in(&self, state: KeyState) -> Option<&Tek<'a>> {
        self.teks.iter().find(|tek| tek.policy.state == state)
    }

    fn from_policies(gsa: &'a [u8], carrier: Carrier) -> Result<Self, Error> {
        let mut rekey_sa = None;
        let mut group = None;
        let mut teks: Vec<Tek<'a>, MAX_TEKS> = Vec::new();
        for policy in Policies::new(gsa) {
            match policy? {
                Policy::RekeySa(policy) => {
                    // RFC 9838 section 4.4.2.1: GCAUTH is told at registration and never in an update.
                    match (carrier, policy.gcauth) {
                        (Carrier::Unicast, None) => return Err(Error::Missing),
                        (Carrier::Multicast, Some(_)) => return Err(Error::Misplaced),
                        (Carrier::Unicast, Some(_)) | (Carrier::Multicast, None) => {}
                    }
                    once(
                        &mut rekey_sa,
                        RekeySa {
                            policy,
                            keys: None,
                            auth_key: None,
                        },
                    )?;
                }
                Policy::Group { dtd_s } => once(&mut group, dtd_s)?,
                Policy::Tek(policy) => {
                    let alike = |tek: &Tek<'_>| {
                        tek.policy.id == policy.id
                            || tek.policy.state == policy.state && policy.state != KeyState::Retiring
                    };
                    if teks.iter().any(alike) {
                        return Err(Error::Duplicate);
                    }
                    teks.push(Tek { policy, key: None }).map_err(|_| Error::TooMany)?;
                }
                Policy::Unknown(_) => {}
            }
        }
        Ok(Self {
            rekey_sa,
            dtd_s: group.flatten(),
            teks,
        })
    }

    /// The AUTH_KEY is there exactly if the Rekey SA asks for signatures (RFC 9838 section 4.4.2.1.1).
    fn settle_auth_key(&mut self, auth_key: Option<&[u8; 32]>) -> Result<(), Error> {
        let signed = self
            .rekey_sa
            .as_ref()
            .is_some_and(|sa| sa.policy.gcauth == Some(GcAuth::Signature));
        match (signed, auth_key) {
            (true, None) => Err(Error::Missing),
            (false, Some(_)) => Err(Error::Misplaced),
            (true, Some(_)) | (false, None) => {
                if let Some(rekey_sa) = &mut self.rekey_sa {
                    rekey_sa.auth_key = auth_key.copied();
                }
                Ok(())
            }
        }
    }
}
