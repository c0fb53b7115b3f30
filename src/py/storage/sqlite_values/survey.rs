//! What the values of a database take, for surveys of whole stores.

use std::collections::HashSet;
use std::path::Path;

use super::SqliteValues;
use crate::engine::digest::Hash;
use crate::engine::error::{Error, Result};
use crate::engine::files::Store;
use crate::engine::sqlite::{self, Content, Database, Found};
use crate::engine::survey::{Folder, Room, Survey, Values, walk};

/// Rows, and the files beside them.
struct Both<'a> {
    path: &'a Path,
    database: &'a Database,
    store: &'a Store,
}

impl Values for Both<'_> {
    fn mentions(&self, key: &Hash, is_wanted: &dyn Fn(&Hash) -> bool) -> Result<HashSet<Hash>> {
        let found = self
            .database
            .load_value(key)
            .map_err(|error| unread(self.path, error))?;
        match found {
            Some(Found {
                content: Content::Here(data),
                ..
            }) => Ok(Store::mentions_in(&data, is_wanted)),
            _ => self.store.mentions(key, is_wanted),
        }
    }

    fn may_be_in_pieces(&self, key: &Hash) -> bool {
        self.store.may_be_in_pieces(key)
    }
}

impl SqliteValues {
    /// What the values take, and what the files beside the database take on the disk.
    pub fn measure(&self, store: &Store, survey: &mut Survey) -> Result<(Room, u64)> {
        let Self { path, database, .. } = self;
        let rows = database
            .measure_values()
            .map_err(|error| unread(path, error))?;
        let files = walk(store.root())?;
        let mut entries = rows;
        entries.append(files.entries);
        // A row that its file outlived: one of them counts.
        entries.settle(|(one, _), (other, _)| one == other);
        let folder = Folder {
            entries,
            blocks: files.blocks,
        };
        let both = Both {
            path,
            database,
            store,
        };
        let room = survey.measure(&both, &folder)?;
        Ok((room, folder.blocks))
    }
}

fn unread(path: &Path, error: sqlite::Error) -> Error {
    match error {
        sqlite::Error::Interrupted => Error::Interrupted,
        error => {
            let reason = std::io::Error::other(error.to_string());
            Error::io("read values in the database", path)(reason)
        }
    }
}
