//! AUTH: what each side proves, and over what (RFC 7296 section 2.15, RFC 7427, RFC 8420).

use crate::{
    crypto::{Secret, ct_eq, prf, verify},
    identity::{AuthMethod, Credentials, Identity},
    wire::{
        PayloadType, Writer,
        auth::{Auth, Proof, parse_public_key_info, write_raw_public_key, write_shared_key, write_signature},
        message::Contents,
        numbers::{CertEncoding, IdType},
        payload::Id,
    },
};

/// What one side's AUTH covers: its own first message, the other side's nonce, and prf(SK_p, its ID payload's body).
pub(crate) struct Covered<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) nonce: &'a [u8],
    pub(crate) sk_p: &'a Secret<32>,
}

/// Whether a raw public key has to be shown beside the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CertRule {
    /// By every node of a group (section 4).
    Required,
    /// By peers of the pairwise mode (section 9): they may.
    Optional,
}

impl Covered<'_> {
    fn id_mac(&self, identity: &Identity) -> [u8; 32] {
        let (head, octets) = identity.body();
        prf(self.sk_p.expose(), &[&head, octets])
    }

    /// Writes this node's ID, CERT where a signature needs it, and AUTH for `peer`. `false` if there is no credential.
    pub(crate) fn write(
        &self,
        writer: &mut Writer<'_>,
        own: &Identity,
        id: PayloadType,
        between: impl FnOnce(&mut Writer<'_>),
        peer: &Identity,
        creds: &dyn Credentials,
    ) -> bool {
        let id_mac = self.id_mac(own);
        let parts = [self.message, self.nonce, &id_mac];
        Id {
            ty: IdType(own.kind()),
            data: own.octets(),
        }
        .write(writer, id);
        match creds.method(peer) {
            Some(AuthMethod::SharedKey) => {
                between(writer);
                let Some(mac) = creds.shared_key_auth(peer, &parts) else {
                    return false;
                };
                write_shared_key(writer, &mac);
            }
            Some(AuthMethod::Signature) => {
                let Some(key) = creds.public_key() else {
                    return false;
                };
                let Some(signature) = creds.sign(&parts) else {
                    return false;
                };
                write_raw_public_key(writer, &key);
                between(writer);
                write_signature(writer, &signature);
            }
            None => return false,
        }
        true
    }

    /// Checks the AUTH that `peer` sent, by the method that the credential store has for it. In a group CERT accompanies
    /// method 14; peers of the pairwise mode may leave it out (strongSwan does), for the key is known.
    pub(crate) fn verify(
        &self,
        contents: &Contents<'_>,
        peer: &Identity,
        creds: &dyn Credentials,
        cert: CertRule,
    ) -> bool {
        let id_mac = self.id_mac(peer);
        let parts = [self.message, self.nonce, &id_mac];
        let proof = contents.auth.as_ref().map(Auth::proof);
        match (creds.method(peer), proof) {
            (Some(AuthMethod::SharedKey), Some(Ok(Proof::SharedKey(mac)))) => creds
                .shared_key_auth(peer, &parts)
                .is_some_and(|expected| ct_eq(&expected, mac)),
            (Some(AuthMethod::Signature), Some(Ok(Proof::Ed25519(signature)))) => {
                let Some(key) = creds.peer_public_key(peer) else {
                    return false;
                };
                // What is shown must equal the stored key (section 4).
                let same = match &contents.cert {
                    Some(cert) => {
                        cert.encoding == CertEncoding::RAW_PUBLIC_KEY
                            && parse_public_key_info(cert.data).is_ok_and(|shown| *shown == key)
                    }
                    None => cert == CertRule::Optional,
                };
                same && verify(&key, &parts, signature)
            }
            _ => false,
        }
    }
}
