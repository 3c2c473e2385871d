//! A node's configuration in a TOML file.
//!
//! Every field stands in [`EXAMPLE`] with its meaning, unit, range and default. A file is checked whole when it is
//! loaded: fields that are not known, wrong types, values out of range, contradictions, key files that are missing or
//! that others can read, and messages that could grow too long for the link. The first fault found ends the loading
//! with a [`ConfigFileError`], one line that names file, line, field and remedy and no secret.
//!
//! What loading does not do is look at the machine's interfaces: [`Endpoint::open`](crate::endpoint::Endpoint::open)
//! does, so that a file can be checked on another machine.
//!
//! A secret that stands in the file itself passes through the TOML parser, which does not wipe its memory. Name files
//! where that matters.

mod check;
mod error;
mod host;
mod schema;
mod source;
mod values;

use std::{fmt, net::IpAddr, path::Path};

use karp_core::config::Settings;
use zeroize::Zeroizing;

pub use self::{error::ConfigFileError, host::HostTables};
use crate::{
    credentials::{CredentialError, Store, read_file},
    heap::Sizes,
};

/// A configuration file with every field, its meaning, range and default.
pub const EXAMPLE: &str = include_str!("../../karp.example.toml");

/// The most octets that a configuration file can have.
pub const MAX_CONFIG: usize = 4 << 20;

/// All that an endpoint is made from.
pub struct Configuration {
    /// What the engine is told. Its `address` may be changed to port 0 before the endpoint is opened: the system then
    /// chooses one.
    pub settings: Settings,
    /// The interface by its name, where the file gives it; else it is the one that has the address.
    pub interface: Option<String>,
    /// The credentials.
    pub credentials: Store,
    /// The sizes of the engine's tables.
    pub storage: Sizes,
}

/// No keys.
impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("group", &self.settings.group)
            .field("identity", &self.settings.identity)
            .field("address", &self.settings.address)
            .field("interface", &self.interface)
            .field("credentials", &self.credentials)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

impl Configuration {
    /// Reads and checks the file at `path`. Relative paths in it start from its own directory.
    ///
    /// # Errors
    /// The first fault found; also if the file holds a secret itself and group or others can get at it.
    pub fn load(path: &Path) -> Result<Self, ConfigFileError> {
        Loader::default().load(path)
    }

    /// Checks `text` as the content of the file `path`, which names it in errors and is where relative paths start
    /// from. The file is not read and its mode not looked at.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigFileError> {
        Loader::default().parse(text, path)
    }
}

/// Loads a configuration in circumstances that the file alone does not tell.
///
/// ```no_run
/// use karp_std::config::Loader;
///
/// // One file for every router of a group with a shared key; each says on its command line who it is.
/// let configuration = Loader::default()
///     .identity("r2.example")
///     .address("10.9.0.2".parse()?)
///     .load("karp.toml".as_ref())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loader {
    others: Vec<String>,
    identity: Option<String>,
    address: Option<IpAddr>,
}

impl Loader {
    /// The top-level tables of these names belong to the host program, which keeps its settings in the same file.
    #[must_use]
    pub fn beside(mut self, others: &[&str]) -> Self {
        self.others.extend(others.iter().map(|other| (*other).to_owned()));
        self
    }

    /// This router's name, whatever `node.identity` says. It may stand among the peers, and is left out there.
    #[must_use]
    pub fn identity(mut self, identity: &str) -> Self {
        self.identity = Some(identity.to_owned());
        self
    }

    /// This router's address, whatever `node.address` says.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// As [`Configuration::load`].
    ///
    /// # Errors
    /// As there.
    pub fn load(&self, path: &Path) -> Result<Configuration, ConfigFileError> {
        let (octets, mode) = read(path)?;
        check::configuration(text(&octets, path)?, path, self, Some(mode))
    }

    /// As [`Configuration::parse`].
    ///
    /// # Errors
    /// As there.
    pub fn parse(&self, text: &str, path: &Path) -> Result<Configuration, ConfigFileError> {
        check::configuration(text, path, self, None)
    }
}

/// The file's octets and permission bits.
fn read(path: &Path) -> Result<(Zeroizing<Vec<u8>>, u32), ConfigFileError> {
    read_file(path, MAX_CONFIG).map_err(|error: CredentialError| ConfigFileError {
        file: path.to_owned(),
        line: None,
        field: String::new(),
        problem: error.problem(),
        remedy: error.remedy(),
    })
}

/// The text, or the line where it ceases to be one.
fn text<'o>(octets: &'o Zeroizing<Vec<u8>>, path: &Path) -> Result<&'o str, ConfigFileError> {
    std::str::from_utf8(octets).map_err(|error| {
        let valid = octets.get(..error.valid_up_to()).unwrap_or_default();
        ConfigFileError {
            file: path.to_owned(),
            line: Some(valid.iter().filter(|octet| **octet == b'\n').count() + 1),
            field: String::new(),
            problem: "this is not text in UTF-8".to_owned(),
            remedy: "save the file as UTF-8".to_owned(),
        }
    })
}
