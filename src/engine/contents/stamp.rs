//! What the system says of a file, by which it is known that it did not change.

use std::fs::Metadata;

use crate::engine::system::{self, Time};

/// Which file it is, its size, and when its content and anything of it changed last. The last of
/// these cannot be set, so that a file whose time of modification was put back is told from before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: Option<Time>,
    changed: Option<Time>,
}

impl Stamp {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            file: system::file_identity(metadata),
            size: metadata.len(),
            modified: system::last_modification(metadata),
            changed: system::last_change(metadata),
        }
    }

    /// Of some file that changed at this time.
    #[cfg(test)]
    pub fn at(time: Time) -> Self {
        Self {
            file: (0, 0),
            size: 0,
            modified: Some((0, 0)),
            changed: Some(time),
        }
    }

    /// Whether this is the same file or folder, changed or not; never where the system does not
    /// tell.
    pub fn is_same(&self, other: &Self) -> bool {
        self.changed.is_some() && self.file == other.file
    }

    /// When the file last changed in any way, as far as the system tells.
    pub fn newest(&self) -> Option<Time> {
        Some(self.modified?.max(self.changed?))
    }

    /// The stamp as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (device, number) = self.file;
        let mut bytes: Vec<u8> = [device, number, self.size]
            .iter()
            .flat_map(|part| part.to_le_bytes())
            .collect();
        for (seconds, nanoseconds) in [self.modified, self.changed].into_iter().flatten() {
            bytes.extend(seconds.to_le_bytes());
            bytes.extend(nanoseconds.to_le_bytes());
        }
        bytes
    }
}
