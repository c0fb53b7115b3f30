//! Whether this process may remove entries.

use std::path::Path;

use super::{Store, is_absent};
use crate::engine::error::{Error, Result};
use crate::engine::system;

impl Store {
    /// An error if entries cannot be removed, or a collection of garbage cannot leave its marks.
    pub fn check_collectable(&self) -> Result<()> {
        for path in [self.root(), &self.locks.collection()] {
            check_writable(path)?;
        }
        Ok(())
    }
}

fn check_writable(path: &Path) -> Result<()> {
    match system::may_write(path) {
        // What is not there yet is made when it is needed.
        Err(error) if is_absent(&error) => Ok(()),
        looked => looked.map_err(Error::io("write to", path)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_root_that_is_new_or_ones_own_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("root"), Duration::ZERO);
        store.check_collectable().unwrap();
        store.write(&[7; 32], b"value").unwrap();
        store.check_collectable().unwrap();
    }
}
