//! Which records need the values of a root: a dot-file for each storage of records that saves into it.
//!
//! A collection of garbage that goes by the records of one cache alone would take what those of
//! another one need. `.fleche-users` stands in a root whose first entry was written by somebody who
//! notes this; in any other one there may be values of users that nobody noted.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::Store;
use super::schemes::holds_entries;
use crate::engine::disk::{self, File};
use crate::engine::error::{Error, Result};

const ALL_NOTED: &str = ".fleche-users";
const PREFIX: &str = ".fleche-user-";

/// Stands beside the note of the only user, as long as there is no other one.
const ALONE: &str = ".fleche-alone";

/// What is known of those whose records need the values of a root.
#[derive(Debug, PartialEq, Eq)]
pub struct Users {
    /// What each of them noted, by the name of its file.
    pub noted: Vec<(PathBuf, Vec<u8>)>,
    /// Whether there are no others.
    pub complete: bool,
}

impl Store {
    /// To be called before a cache writes to a root of values: if it writes the first entry, all
    /// users are going to be noted. That this cannot be said is no reason not to write.
    pub fn begin_users(&self) {
        let mark = self.root().join(ALL_NOTED);
        if disk::metadata(&mark).is_err() && !holds_entries(self.root()) {
            let _ = self.complete_users();
        }
    }

    /// Notes that there are no other users than those noted.
    pub fn complete_users(&self) -> io::Result<()> {
        create(self.root(), ALL_NOTED, b"")
    }

    /// Notes a user, before a record of its is written.
    pub fn note_user(&self, name: &str, text: &[u8]) -> Result<()> {
        let name = format!("{PREFIX}{name}");
        let path = self.root().join(&name);
        if disk::metadata(&path).is_ok() {
            return Ok(());
        }
        self.begin_users();
        match disk::remove_file(&self.root().join(ALONE)) {
            Err(error) if !super::is_absent(&error) => {
                return Err(Error::io("remove", &self.root().join(ALONE))(error));
            }
            _ => {}
        }
        create(self.root(), &name, text).map_err(Error::io("write", &path))
    }

    /// The users of the values in this root.
    pub fn users(&self) -> Result<Users> {
        let root = self.root();
        let mut noted = Vec::new();
        let entries = match disk::read_dir(root) {
            Ok(entries) => entries.collect::<io::Result<Vec<_>>>(),
            Err(error) if super::is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        for entry in entries.map_err(Error::io("list", root))? {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
                let path = entry.path();
                let mut text = Vec::new();
                let read = File::open(&path).and_then(|file| file.read_up_to(1 << 16, &mut text));
                read.map_err(Error::io("read", &path))?;
                noted.push((path, text));
            }
        }
        noted.sort_unstable();
        let complete = disk::metadata(&root.join(ALL_NOTED)).is_ok() || !holds_entries(root);
        Ok(Users { noted, complete })
    }
}

/// Creates a file with its content at once: a reader sees all of it, or no file.
fn create(root: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    disk::create_dir_all(root)?;
    let path = root.join(name);
    let mut new = OpenOptions::new();
    new.write(true).create_new(true);
    if content.is_empty() {
        return match File::open_with(&path, &new) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            opened => opened?.close(),
        };
    }
    // Two who note the same write the same.
    let (temporary, mut file) = super::Temporary::create(root, &[0; 32])?;
    file.write_all(content)?;
    file.close()?;
    temporary.move_to(&path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn store(root: &Path) -> Store {
        Store::new(root.to_owned(), Duration::ZERO)
    }

    #[test]
    fn a_new_root_notes_all_of_its_users() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let store = store(&root);
        let none = Users {
            noted: Vec::new(),
            complete: true,
        };
        assert_eq!(store.users().unwrap(), none);
        store.begin_users();
        store.write(&KEY, b"value").unwrap();
        for text in [b"one", b"two"] {
            let name = std::str::from_utf8(text).unwrap();
            store.note_user(name, text).unwrap();
            store.note_user(name, text).unwrap();
        }
        let users = store.users().unwrap();
        assert!(users.complete);
        let texts: Vec<_> = users.noted.iter().map(|(_, text)| &text[..]).collect();
        assert_eq!(texts, [b"one", b"two"]);
        assert_eq!(store.list().unwrap(), [KEY]);
    }

    #[test]
    fn a_root_that_others_filled_may_have_users_that_nobody_noted() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.write(&KEY, b"theirs").unwrap();
        store.begin_users();
        store.note_user("one", b"one").unwrap();
        assert!(!store.users().unwrap().complete);
        store.complete_users().unwrap();
        assert!(store.users().unwrap().complete);
    }

    #[test]
    fn a_user_that_cannot_be_noted_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::write(&root, "a file").unwrap();
        let error = store(&root).note_user("one", b"one").unwrap_err();
        assert!(error.to_string().contains("root"), "{error}");
    }
}
