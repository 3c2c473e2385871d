//! The code points of PROTOCOL.md section 10.
//!
//! Those that a peer may extend are open: a newtype over the integer with a constant for each known value, so
//! that an unknown one survives a round trip and no `match` can forget it.

macro_rules! code_points {
    ($(#[$meta:meta])* $name:ident($int:ty) { $($(#[$doc:meta])* $constant:ident = $value:expr;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*
        }
    };
}

code_points! {
    /// What a message is about (RFC 7296 section 3.1).
    ExchangeType(u8) {
        /// Opens an IKE SA.
        IKE_SA_INIT = 34;
        /// Authenticates a pairwise IKE SA.
        IKE_AUTH = 35;
        /// Makes or replaces a pairwise SA.
        CREATE_CHILD_SA = 36;
        /// Requests, departure, liveness.
        INFORMATIONAL = 37;
        /// Authenticates a member and gives it the state.
        GSA_AUTH = 39;
        /// A member reads the state.
        GSA_REGISTRATION = 40;
        /// Multicast update of the state.
        GSA_REKEY = 41;
        /// The GCKS pushes the state to one member.
        GSA_INBAND_REKEY = 42;
        /// RFC 9242.
        IKE_INTERMEDIATE = 43;
        /// Private use: an announcement (PROTOCOL.md section 5.1).
        GCKS_ELECTION = 249;
    }
}

code_points! {
    /// The type of a payload (RFC 7296 section 3.2).
    PayloadType(u8) {
        /// Nothing follows.
        NONE = 0;
        /// Security association.
        SA = 33;
        /// Key exchange.
        KE = 34;
        /// Identity of the initiator.
        ID_I = 35;
        /// Identity of the responder.
        ID_R = 36;
        /// Certificate.
        CERT = 37;
        /// Certificate request.
        CERTREQ = 38;
        /// Authentication.
        AUTH = 39;
        /// Ni or Nr.
        NONCE = 40;
        /// Notify.
        NOTIFY = 41;
        /// Delete.
        DELETE = 42;
        /// Vendor ID.
        VENDOR = 43;
        /// Traffic selectors of the initiator.
        TS_I = 44;
        /// Traffic selectors of the responder.
        TS_R = 45;
        /// Encrypted and authenticated.
        SK = 46;
        /// Group identification.
        ID_G = 50;
        /// Group security association.
        GSA = 51;
        /// Key download.
        KD = 52;
        /// Encrypted fragment (RFC 7383); not supported.
        SKF = 53;
    }
}

impl PayloadType {
    /// Whether this implementation knows the type. A critical payload of any other type refuses its message
    /// (RFC 7296 section 2.5). EAP (48) and SKF (53) are not supported and count as unknown.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self.0, 33..=46 | 50..=52)
    }
}

code_points! {
    /// The type of a notify: below 16384 an error, else a status (RFC 7296 section 3.10.1).
    NotifyType(u16) {
        /// Data: the payload's type, one octet.
        UNSUPPORTED_CRITICAL_PAYLOAD = 1;
        /// RFC 7296.
        INVALID_IKE_SPI = 4;
        /// RFC 7296.
        INVALID_MAJOR_VERSION = 5;
        /// RFC 7296.
        INVALID_SYNTAX = 7;
        /// RFC 7296.
        INVALID_MESSAGE_ID = 9;
        /// RFC 7296.
        INVALID_SPI = 11;
        /// RFC 7296.
        NO_PROPOSAL_CHOSEN = 14;
        /// Data: the group that would be accepted, two octets.
        INVALID_KE_PAYLOAD = 17;
        /// RFC 7296.
        AUTHENTICATION_FAILED = 24;
        /// RFC 7296.
        NO_ADDITIONAL_SAS = 35;
        /// RFC 7296.
        TS_UNACCEPTABLE = 38;
        /// RFC 7296.
        TEMPORARY_FAILURE = 43;
        /// RFC 7296.
        CHILD_SA_NOT_FOUND = 44;
        /// RFC 9838.
        INVALID_GROUP_ID = 45;
        /// RFC 9838.
        AUTHORIZATION_FAILED = 46;
        /// RFC 9838: the GCKS is full.
        REGISTRATION_FAILED = 49;
        /// RFC 7296.
        INITIAL_CONTACT = 16384;
        /// RFC 7296 section 2.6.
        COOKIE = 16390;
        /// RFC 7296.
        REKEY_SA = 16393;
        /// RFC 5685.
        REDIRECT_SUPPORTED = 16406;
        /// RFC 5685.
        REDIRECT = 16407;
        /// RFC 5685.
        REDIRECTED_FROM = 16408;
        /// RFC 6023.
        CHILDLESS_IKEV2_SUPPORTED = 16418;
        /// RFC 7383; not supported.
        IKEV2_FRAGMENTATION_SUPPORTED = 16430;
        /// RFC 7427.
        SIGNATURE_HASH_ALGORITHMS = 16431;
        /// RFC 9242.
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438;
        /// Private use (PROTOCOL.md section 5.1).
        ELECTION_STATE = 50960;
        /// Private use (PROTOCOL.md section 5.1).
        GROUP_MAC = 50961;
        /// Private use (PROTOCOL.md section 5.5).
        HANDOFF = 50962;
        /// Private use (PROTOCOL.md section 4).
        KEYS_IN_USE = 50963;
        /// Private use (PROTOCOL.md section 8).
        REKEY_REQUEST = 50964;
        /// Private use (PROTOCOL.md section 4).
        INSTANCE = 50965;
        /// Private use (PROTOCOL.md section 4).
        EVICTED = 50966;
    }
}

impl NotifyType {
    /// Whether the notify tells of an error (RFC 7296 section 3.10.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

code_points! {
    /// Security protocol identifier (RFC 7296 section 3.3.1).
    SecurityProtocol(u8) {
        /// None: group-wide policies, member key bags, notifies about nothing in particular.
        NONE = 0;
        /// An IKE SA.
        IKE = 1;
        /// A Rekey SA (RFC 9838).
        GIKE_UPDATE = 6;
        /// Private use: keys of routing protocols (PROTOCOL.md section 6).
        ROUTING = 201;
    }
}

code_points! {
    /// Transform type (RFC 7296 section 3.3.2).
    TransformType(u8) {
        /// Encryption.
        ENCR = 1;
        /// Pseudo-random function.
        PRF = 2;
        /// Integrity.
        INTEG = 3;
        /// Key exchange method.
        KE = 4;
        /// Sequence numbers.
        SN = 5;
        /// First additional key exchange (RFC 9370).
        ADDKE1 = 6;
        /// Key wrap algorithm (RFC 9838).
        KWA = 13;
        /// Group controller authentication method (RFC 9838).
        GCAUTH = 14;
    }
}

/// Transform ID: ENCR_CHACHA20_POLY1305 (RFC 7634).
pub const ENCR_CHACHA20_POLY1305: u16 = 28;
/// Transform ID: PRF_HMAC_SHA2_256 (RFC 4868).
pub const PRF_HMAC_SHA2_256: u16 = 5;
/// Transform ID: no integrity algorithm, as an AEAD has it (RFC 5282 section 8).
pub const INTEG_NONE: u16 = 0;
/// Transform ID: Curve25519 (RFC 8031).
pub const KE_CURVE25519: u16 = 31;
/// Transform ID: ML-KEM-768, for a later hybrid (PROTOCOL.md section 3).
pub const KE_ML_KEM_768: u16 = 36;
/// Transform ID, private use: KW_CHACHA20_POLY1305 (PROTOCOL.md section 3).
pub const KW_CHACHA20_POLY1305: u16 = 1024;
/// Transform ID: updates of the Rekey SA carry no signature (RFC 9838 section 4.4.2.1.1).
pub const GCAUTH_IMPLICIT: u16 = 1;
/// Transform ID: updates of the Rekey SA are signed (RFC 9838 section 4.4.2.1.1).
pub const GCAUTH_DIGITAL_SIGNATURE: u16 = 2;

/// Transform attribute: Key Length (RFC 7296 section 3.3.5).
pub const ATTRIBUTE_KEY_LENGTH: u16 = 14;
/// Transform attribute: Signature Algorithm Identifier (RFC 9838 section 4.4.2.1.1).
pub const ATTRIBUTE_SIGNATURE_ALGORITHM: u16 = 18;

/// GSA attribute: seconds that the SA still lives.
pub const GSA_KEY_LIFETIME: u16 = 1;
/// GSA attribute: Message ID of the next update.
pub const GSA_INITIAL_MESSAGE_ID: u16 = 2;
/// GSA attribute: SPI of a later SA; ignored.
pub const GSA_NEXT_SPI: u16 = 3;
/// GSA attribute, private use, TV: state of a traffic key (PROTOCOL.md section 6).
pub const KARP_KEY_STATE: u16 = 16384;
/// GSA attribute, private use, TLV: what a traffic key keys (PROTOCOL.md section 6).
pub const KARP_PROTOCOLS: u16 = 16385;

/// Group-wide attribute: activation delay; ignored, the key's state governs.
pub const GWP_ATD: u16 = 1;
/// Group-wide attribute: deactivation delay in seconds.
pub const GWP_DTD: u16 = 2;
/// Group-wide attribute: ignored, no traffic key here is a counter-mode one.
pub const GWP_SENDER_ID_BITS: u16 = 3;

/// Group key bag attribute: the wrapped keys of an SA.
pub const SA_KEY: u16 = 1;
/// Member key bag attribute: a wrapping key; ignored.
pub const WRAP_KEY: u16 = 1;
/// Member key bag attribute: the key that verifies updates.
pub const AUTH_KEY: u16 = 2;
/// Member key bag attribute: ignored.
pub const GM_SENDER_ID: u16 = 3;

code_points! {
    /// Type of an identity (RFC 7296 section 3.5).
    IdType(u8) {
        /// Four octets.
        IPV4_ADDR = 1;
        /// A domain name.
        FQDN = 2;
        /// A mail address.
        RFC822_ADDR = 3;
        /// Sixteen octets.
        IPV6_ADDR = 5;
        /// An X.500 name.
        DER_ASN1_DN = 9;
        /// An X.509 general name.
        DER_ASN1_GN = 10;
        /// Opaque octets; IDg has it.
        KEY_ID = 11;
    }
}

code_points! {
    /// Method of an AUTH payload (RFC 7296 section 3.8).
    AuthMethod(u8) {
        /// RFC 7296 section 2.15.
        SHARED_KEY = 2;
        /// RFC 7427.
        DIGITAL_SIGNATURE = 14;
    }
}

code_points! {
    /// Encoding of a certificate (RFC 7296 section 3.6).
    CertEncoding(u8) {
        /// X.509 certificate for signatures.
        X509_SIGNATURE = 4;
        /// Raw public key (RFC 7670).
        RAW_PUBLIC_KEY = 15;
    }
}

code_points! {
    /// Hash of a signature scheme, in SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 7).
    SignatureHash(u16) {
        /// None: the scheme hashes by itself, as Ed25519 does (RFC 8420).
        IDENTITY = 5;
    }
}

code_points! {
    /// Type of a gateway's identity in REDIRECT and REDIRECTED_FROM (RFC 5685 section 9.2).
    GatewayType(u8) {
        /// Four octets; not supported, for a port is needed.
        IPV4 = 1;
        /// Sixteen octets; not supported, for a port is needed.
        IPV6 = 2;
        /// A domain name; not supported.
        FQDN = 3;
        /// Private use: IPv4 address and port, six octets (PROTOCOL.md section 4).
        IPV4_PORT = 241;
        /// Private use: IPv6 address and port, eighteen octets (PROTOCOL.md section 4).
        IPV6_PORT = 242;
    }
}

code_points! {
    /// A routing protocol (PROTOCOL.md section 10).
    RoutingProtocol(u16) {
        /// OSPF for IPv4.
        OSPFV2 = 1;
        /// OSPF for IPv6.
        OSPFV3 = 2;
        /// IS-IS.
        IS_IS = 3;
        /// RIP version 2.
        RIPV2 = 4;
        /// RIPng.
        RIPNG = 5;
        /// Bidirectional forwarding detection.
        BFD = 6;
        /// PIM.
        PIM = 7;
        /// LDP.
        LDP = 8;
        /// BGP.
        BGP = 9;
        /// Babel.
        BABEL = 10;
        /// MSDP.
        MSDP = 11;
    }
}

code_points! {
    /// An authentication algorithm of a routing protocol (PROTOCOL.md section 10, INTEG numbering, private
    /// use).
    Algorithm(u16) {
        /// HMAC-SHA-1.
        HMAC_SHA1 = 1024;
        /// HMAC-SHA-256.
        HMAC_SHA256 = 1025;
        /// HMAC-SHA-384.
        HMAC_SHA384 = 1026;
        /// HMAC-SHA-512.
        HMAC_SHA512 = 1027;
        /// HMAC-SHA-1 cut to 96 bits.
        HMAC_SHA1_96 = 1028;
        /// AES-128-CMAC cut to 96 bits.
        AES128_CMAC_96 = 1029;
        /// Keyed MD5, for TCP-MD5 only.
        KEYED_MD5 = 1030;
        /// BLAKE2s with 128 bits of output.
        BLAKE2S_128 = 1031;
    }
}

code_points! {
    /// Why new keys are wanted (PROTOCOL.md section 8).
    RekeyReason(u16) {
        /// A routing session starts anew.
        NEW_SESSION = 1;
        /// A sequence number runs out.
        SEQUENCE_EXHAUSTED = 2;
        /// A neighbour lost its replay state.
        PEER_RESTARTED = 3;
        /// A key may be known to others.
        COMPROMISE = 4;
        /// A person asked.
        OPERATOR = 5;
    }
}
