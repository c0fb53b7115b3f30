//! The digest of a folder: of the names in it, in order, and of what each of them leads to.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::stamp::Stamp;
use super::{file, refused};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::error::{Error, Result};
use crate::engine::wait::Looks;

/// Deeper folders than a path can name, or links that lead back to where the system does not tell.
const DEEPEST: usize = 2048;

/// What a level of folders may take of the stack, and what is added where there is less.
const RESERVE: usize = 64 * 1024;
const MORE: usize = 1024 * 1024;

/// One walk through a folder and all that is below it.
#[derive(Default)]
pub struct Walk {
    /// The folders that the walk is within.
    within: Vec<Stamp>,
    /// Whether a folder changed meanwhile.
    changed: bool,
    looks: Looks,
}

impl Walk {
    /// `None` if something was added, removed or renamed meanwhile.
    pub fn digest(mut self, path: &Path) -> Result<Option<Hash>> {
        let hash = self.folder(path)?;
        Ok((!self.changed).then_some(hash))
    }

    fn folder(&mut self, path: &Path) -> Result<Hash> {
        if self.looks.interrupted() {
            return Err(Error::Interrupted);
        }
        let before = Stamp::of(&fs::metadata(path).map_err(Error::io("read", path))?);
        let returns = self.within.iter().any(|folder| folder.is_same(&before));
        if returns || self.within.len() == DEEPEST {
            return Err(refused(path, "a link that leads back to a folder it is in"));
        }
        let names = names(path)?;
        let mut encoder = Encoder::new(Tag::Folder);
        encoder.length(names.len());
        self.within.push(before.clone());
        for name in names {
            encoder.bytes(name.as_encoded_bytes());
            encoder.child(&self.entry(&path.join(name))?);
        }
        self.within.pop();
        let after = fs::metadata(path).map_err(Error::io("read", path))?;
        self.changed |= Stamp::of(&after) != before;
        Ok(encoder.finish())
    }

    fn entry(&mut self, path: &Path) -> Result<Hash> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            stacker::maybe_grow(RESERVE, MORE, || self.folder(path))
        } else {
            file(path, &metadata, &mut self.looks)
        }
    }
}

/// The names in a folder, in the order of their bytes.
fn names(path: &Path) -> Result<Vec<OsString>> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(Error::io("read", path))?;
    let mut names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
    names.sort_unstable_by(|one, two| one.as_encoded_bytes().cmp(two.as_encoded_bytes()));
    Ok(names)
}
