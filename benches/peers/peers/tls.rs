//! TLS 1.3 by rustls, both sides with Ed25519: X25519, ChaCha20-Poly1305, no resumption, no tickets.

use std::sync::Arc;

use benches::measure::{Stopwatch, Watch};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ED25519, PublicKeyData as _};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    NamedGroup, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};

use crate::exchange::Peer;

/// A cryptographic back end, and how the two prove themselves.
pub(crate) struct Tls {
    name: &'static str,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    to: ServerName<'static>,
}

/// One side: its key, and its certificate by an authority that both trust.
struct Side {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

impl Side {
    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

/// An authority, the client and the server.
struct Parties {
    roots: Arc<RootCertStore>,
    client: Side,
    server: Side,
}

impl Parties {
    fn new() -> Result<Self, rcgen::Error> {
        let authority = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&authority)?;
        let issuer = rcgen::Issuer::new(params, authority);
        let side = |name: &str| {
            let key = KeyPair::generate_for(&PKCS_ED25519)?;
            let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &issuer)?;
            Ok::<_, rcgen::Error>(Side {
                key,
                certificate: certificate.der().clone(),
            })
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates([root.der().clone()]);
        Ok(Self {
            roots: Arc::new(roots),
            client: side("r00000.example")?,
            server: side("r00001.example")?,
        })
    }
}

/// The same suite as ours.
fn narrowed(mut provider: CryptoProvider) -> CryptoProvider {
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    provider
        .kx_groups
        .retain(|group| group.name() == NamedGroup::X25519);
    provider
}

impl Tls {
    /// Both back ends, with certificates and with raw public keys (RFC 7250).
    pub(crate) fn all() -> Result<Vec<Self>, String> {
        let parties = Parties::new().map_err(|error| format!("certificates: {error}"))?;
        let ring = || narrowed(rustls::crypto::ring::default_provider());
        let aws_lc = || narrowed(rustls::crypto::aws_lc_rs::default_provider());
        [
            Self::new("rustls_ring", ring(), &parties, false),
            Self::new("rustls_ring_raw", ring(), &parties, true),
            Self::new("rustls_aws_lc", aws_lc(), &parties, false),
            Self::new("rustls_aws_lc_raw", aws_lc(), &parties, true),
        ]
        .into_iter()
        .collect::<Result<_, String>>()
    }

    fn new(
        name: &'static str,
        provider: CryptoProvider,
        parties: &Parties,
        raw: bool,
    ) -> Result<Self, String> {
        Self::configured(name, provider, parties, raw).map_err(|error| format!("{name}: {error}"))
    }

    fn configured(
        name: &'static str,
        provider: CryptoProvider,
        parties: &Parties,
        raw: bool,
    ) -> Result<Self, Error> {
        let Parties {
            roots,
            client,
            server,
        } = parties;
        let algorithms = provider.signature_verification_algorithms;
        let provider = Arc::new(provider);
        let for_client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let for_server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let (mut client, mut server) = if raw {
            let verifier = |peer: &Side| {
                Arc::new(RawKey {
                    expected: peer.key.subject_public_key_info(),
                    algorithms,
                })
            };
            let own = |side: &Side| {
                let key = provider.key_provider.load_private_key(side.private())?;
                let spki = key
                    .public_key()
                    .ok_or(Error::General("no public key".to_owned()))?;
                let public = CertificateDer::from(spki.as_ref().to_vec());
                Ok::<_, Error>(Arc::new(CertifiedKey::new(vec![public], key)))
            };
            (
                for_client
                    .dangerous()
                    .with_custom_certificate_verifier(verifier(server))
                    .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own(
                        client,
                    )?))),
                for_server
                    .with_client_cert_verifier(verifier(client))
                    .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own(server)?))),
            )
        } else {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|error| Error::General(error.to_string()))?;
            (
                for_client
                    .with_root_certificates(Arc::clone(roots))
                    .with_client_auth_cert(vec![client.certificate.clone()], client.private())?,
                for_server
                    .with_client_cert_verifier(verifier)
                    .with_single_cert(vec![server.certificate.clone()], server.private())?,
            )
        };
        client.resumption = Resumption::disabled();
        server.send_tls13_tickets = 0;
        let to = ServerName::try_from("r00001.example").map_err(|error| Error::General(error.to_string()))?;
        Ok(Self {
            name,
            client: Arc::new(client),
            server: Arc::new(server),
            to,
        })
    }

    fn handshake(&self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, Box<dyn std::error::Error>> {
        let [first, second] = watches;
        let client = first.run(|| ClientConnection::new(Arc::clone(&self.client), self.to.clone()))?;
        let server = second.run(|| ServerConnection::new(Arc::clone(&self.server)))?;
        let (mut client, mut server) = (Connection::from(client), Connection::from(server));
        let mut octets = Vec::new();
        loop {
            let sent = carry(&mut client, first, &mut server, second)?;
            let answered = carry(&mut server, second, &mut client, first)?;
            octets.extend([sent, answered].into_iter().filter(|len| *len > 0));
            if sent + answered == 0 {
                break;
            }
        }
        if client.is_handshaking() || server.is_handshaking() {
            return Err("the handshake does not end".into());
        }
        Ok(octets)
    }
}

/// Whatever `from` has to say, to `to`; returns how many octets that was.
fn carry(
    from: &mut Connection,
    writes: &mut Stopwatch,
    to: &mut Connection,
    reads: &mut Stopwatch,
) -> Result<usize, Box<dyn std::error::Error>> {
    let mut flight = Vec::with_capacity(4096);
    writes.run(|| {
        while from.wants_write() {
            from.write_tls(&mut flight)?;
        }
        Ok::<_, std::io::Error>(())
    })?;
    let mut rest = flight.as_slice();
    while !rest.is_empty() {
        reads.run(|| {
            to.read_tls(&mut rest)?;
            to.process_new_packets().map_err(std::io::Error::other)
        })?;
    }
    Ok(flight.len())
}

impl Peer for Tls {
    fn name(&self) -> &'static str {
        self.name
    }

    fn exchange(&mut self, watches: &mut [Stopwatch; 2]) -> Result<Vec<usize>, String> {
        self.handshake(watches)
            .map_err(|error| format!("{}: {error}", self.name))
    }
}

/// Takes one raw public key and no other.
#[derive(Debug)]
struct RawKey {
    expected: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RawKey {
    fn is_expected(&self, key: &CertificateDer<'_>) -> Result<(), Error> {
        if key.as_ref() == self.expected {
            Ok(())
        } else {
            Err(Error::General("another raw public key".to_owned()))
        }
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)
    }
}

fn only_tls13() -> Error {
    Error::General("only TLS 1.3 is spoken here".to_owned())
}

impl ServerCertVerifier for RawKey {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.is_expected(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.is_expected(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
