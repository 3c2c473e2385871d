//! Messaging Layer Security (RFC 9420) by openmls: what a commit costs that gives a group a new key.
//!
//! The tree is as good as it gets: every member committed after it was added, so that a commit needs one ciphertext for
//! each level and not one for each member. Commits are public messages; the receiver starts from the octets.

use benches::measure::Series;
use openmls::prelude::{tls_codec::Deserialize as _, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

type Failure = Box<dyn std::error::Error>;

/// One member, with keys and storage in memory.
struct Party {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Party {
    fn new(n: u16) -> Result<Self, Failure> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let credential = BasicCredential::new(format!("r{n:05}.example").into_bytes());
        Ok(Self {
            provider: OpenMlsRustCrypto::default(),
            credential: CredentialWithKey {
                credential: credential.into(),
                signature_key: signer.to_public_vec().into(),
            },
            signer,
        })
    }

    fn key_package(&self) -> Result<KeyPackage, Failure> {
        let bundle =
            KeyPackage::builder().build(SUITE, &self.provider, &self.signer, self.credential.clone())?;
        Ok(bundle.key_package().clone())
    }

    /// Gives the group a new key; returns the message for the others.
    fn commit(&self, group: &mut MlsGroup) -> Result<Vec<u8>, Failure> {
        let bundle = group.self_update(&self.provider, &self.signer, LeafNodeParameters::default())?;
        let octets = bundle.commit().to_bytes()?;
        group.merge_pending_commit(&self.provider)?;
        Ok(octets)
    }

    /// Takes another's commit.
    fn process(&self, group: &mut MlsGroup, mut commit: &[u8]) -> Result<(), Failure> {
        let message = MlsMessageIn::tls_deserialize(&mut commit)?.try_into_protocol_message()?;
        match group.process_message(&self.provider, message)?.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                group.merge_staged_commit(&self.provider, *staged)?;
                Ok(())
            }
            _ => Err("no commit was processed".into()),
        }
    }
}

/// A group: who commits, one who follows it, and the tree of all the others.
pub(crate) struct Lan {
    committer: Party,
    committing: MlsGroup,
    follower: Party,
    following: MlsGroup,
    /// Octets of a commit.
    pub(crate) octets: usize,
    /// Making a commit and taking it oneself.
    pub(crate) create: Series,
    /// Taking another's.
    pub(crate) process: Series,
}

impl Lan {
    /// A group of a committer and so many members.
    pub(crate) fn new(members: u16) -> Result<Self, String> {
        Self::grown(members).map_err(|error| format!("openmls: {error}"))
    }

    fn grown(members: u16) -> Result<Self, Failure> {
        let config = MlsGroupCreateConfig::builder()
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .ciphersuite(SUITE)
            .build();
        let committer = Party::new(0)?;
        let mut committing = MlsGroup::new(
            &committer.provider,
            &committer.signer,
            &config,
            committer.credential.clone(),
        )?;
        let mut first: Option<(Party, MlsGroup)> = None;
        for n in 1..=members {
            let party = Party::new(n)?;
            let (commit, welcome, _) =
                committing.add_members(&committer.provider, &committer.signer, &[party.key_package()?])?;
            committing.merge_pending_commit(&committer.provider)?;
            if let Some((follower, following)) = &mut first {
                follower.process(following, &commit.to_bytes()?)?;
            }
            let mut octets = &*welcome.to_bytes()?;
            let MlsMessageBodyIn::Welcome(welcome) = MlsMessageIn::tls_deserialize(&mut octets)?.extract()
            else {
                return Err("no welcome".into());
            };
            let staged = StagedWelcome::new_from_welcome(
                &party.provider,
                config.join_config(),
                welcome,
                Some(committing.export_ratchet_tree().into()),
            )?;
            let mut joined = staged.into_group(&party.provider)?;
            let commit = party.commit(&mut joined)?;
            committer.process(&mut committing, &commit)?;
            match &mut first {
                Some((follower, following)) => follower.process(following, &commit)?,
                None => first = Some((party, joined)),
            }
        }
        let (follower, following) = first.ok_or("a group of one")?;
        Ok(Self {
            committer,
            committing,
            follower,
            following,
            octets: 0,
            create: Series::default(),
            process: Series::default(),
        })
    }

    /// One change of the group's key.
    pub(crate) fn rekey(&mut self) -> Result<(), String> {
        let (group, committer) = (&mut self.committing, &self.committer);
        let commit = self.create.time(|| committer.commit(group));
        let commit = commit.map_err(|error| format!("openmls: {error}"))?;
        let (group, follower) = (&mut self.following, &self.follower);
        let taken = self.process.time(|| follower.process(group, &commit));
        taken.map_err(|error| format!("openmls: {error}"))?;
        if self.committing.epoch_authenticator().as_slice() != self.following.epoch_authenticator().as_slice()
        {
            return Err("openmls: the two differ after a commit".to_owned());
        }
        self.octets = commit.len();
        Ok(())
    }
}
