//! Logs to standard error, as text or JSON, with a level that a reload can change.

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use super::{cli::LogFormat, config::Daemon};

/// Changes the level.
pub struct Logs(Box<dyn Fn(EnvFilter) -> Result<(), String> + Send>);

/// Starts logging.
///
/// # Errors
/// If the level is none, or logging was started before.
pub fn start(daemon: &Daemon) -> anyhow::Result<Logs> {
    let filter = EnvFilter::try_new(&daemon.log).context("daemon.log")?;
    // The level is set last: the handle that changes it is of the type of everything before.
    let plain = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    Ok(match daemon.log_format {
        LogFormat::Text => {
            let builder = plain.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(anyhow::Error::from_boxed)?;
            Logs(Box::new(move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            }))
        }
        LogFormat::Json => {
            let builder = plain.json().with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init().map_err(anyhow::Error::from_boxed)?;
            Logs(Box::new(move |filter| {
                handle.reload(filter).map_err(|error| error.to_string())
            }))
        }
    })
}

impl Logs {
    /// Logs by these directives from now on.
    ///
    /// # Errors
    /// If they are none.
    pub fn set(&self, directives: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
        (self.0)(filter)
    }
}
