//! What can go wrong below the Python objects.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub type Result<T> = std::result::Result<T, Error>;

/// Every error of the engine. It says what was being done and to which file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: completes the sentence "cannot ... the file".
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },

    #[error(
        "the lock file {} was still held by another process after {} s",
        lock.display(),
        waited.as_secs_f64()
    )]
    Locked { lock: PathBuf, waited: Duration },

    /// By the user, while others were waited for.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Gives an error of the operating system its place.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why the bytes of an entry cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the file is empty")]
    Empty,
    /// By what, and what is wrong with it.
    #[error("it is no intact {0} file: {1}")]
    Compressed(&'static str, String),
    #[error("it was cut: what stands in it does not fit into its length")]
    Cut,
    #[error("Cache entry has no signature but security is enabled.")]
    Unsigned,
    #[error("Invalid signature for cache entry. Potential tampering or key mismatch.")]
    Forged,
}
