//! Which digest schemes the keys of a root are of: an empty dot-file for each of them.
//!
//! Creating and removing a file is atomic, so processes need no lock to add a scheme. A root with
//! entries and without such a file was filled by somebody else, who knows only `sha256`.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use crate::engine::digest::parse_hex;
use crate::engine::disk::{self, File};
use crate::engine::schemes::{Scheme, Schemes};

/// Where it stands that a root holds keys of a scheme.
fn flag(root: &Path, scheme: Scheme) -> PathBuf {
    root.join(format!(".fleche-{}", scheme.name()))
}

impl Store {
    /// Whether there may be entries under keys of this scheme.
    pub fn may_hold(&self, scheme: Scheme) -> bool {
        match marked(self.root()) {
            Some(schemes) => schemes.contains(scheme),
            None => holds_entries(self.root()),
        }
    }

    /// Notes that an entry under a key of this scheme is about to be written. That this cannot be
    /// noted is no reason not to write: such a root may hold keys of every scheme.
    pub fn note_scheme(&self, scheme: Scheme) {
        // Looked at each time: somebody may have taken the mark away.
        if !is_marked(self.root(), scheme) {
            let _ = self.mark(scheme);
        }
    }

    fn mark(&self, scheme: Scheme) -> io::Result<()> {
        let root = self.root();
        let mut schemes = marked(root);
        if schemes.is_none() && holds_entries(root) {
            // Somebody may have marked it and written the first entry just now.
            schemes = marked(root);
            if schemes.is_none() {
                // Whatever is there already was written by others: theirs first, as a root with
                // one mark alone holds keys of no other scheme.
                for other in scheme.others() {
                    create(root, other)?;
                }
            }
        }
        if schemes.is_some_and(|schemes| schemes.contains(scheme)) {
            return Ok(());
        }
        create(root, scheme)
    }

    /// Notes that every entry is under a key of this scheme.
    pub fn hold_only(&self, scheme: Scheme) -> io::Result<()> {
        create(self.root(), scheme)?;
        for other in scheme.others() {
            match disk::remove_file(&flag(self.root(), other)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn is_marked(root: &Path, scheme: Scheme) -> bool {
    disk::metadata(&flag(root, scheme)).is_ok_and(|metadata| metadata.is_file())
}

/// The schemes that a root is marked with; `None` if it is not, or in a way that nobody marks.
fn marked(root: &Path) -> Option<Schemes> {
    let mut found = Schemes::default();
    for scheme in Scheme::ALL {
        match disk::metadata(&flag(root, scheme)) {
            Ok(metadata) if metadata.is_file() => found = found.with(scheme),
            Err(error) if super::is_absent(&error) => {}
            _ => return None,
        }
    }
    (found != Schemes::default()).then_some(found)
}

/// Whether there are entries, one a file or many; a root that cannot be read may have some.
pub(super) fn holds_entries(root: &Path) -> bool {
    match disk::read_dir(root) {
        Ok(mut names) => names.any(|entry| entry.is_ok_and(|entry| is_entry(&entry.file_name()))),
        Err(error) => !super::is_absent(&error),
    }
}

fn is_entry(name: &OsStr) -> bool {
    parse_hex(name.as_encoded_bytes()).is_some()
        || Path::new(name).extension().is_some_and(|end| end == "h5")
}

fn create(root: &Path, scheme: Scheme) -> io::Result<()> {
    disk::create_dir_all(root)?;
    let path = flag(root, scheme);
    File::open_with(&path, OpenOptions::new().create(true).append(true))?.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    const KEY: [u8; 32] = [7; 32];

    fn store(root: &Path) -> Store {
        Store::new(root.to_owned(), Duration::ZERO)
    }

    fn held(root: &Path) -> (bool, bool) {
        let store = store(root);
        (
            store.may_hold(Scheme::Exact),
            store.may_hold(Scheme::Sha256),
        )
    }

    #[test]
    fn a_new_root_holds_what_is_written_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        assert_eq!(held(&root), (false, false));
        store(&root).note_scheme(Scheme::Exact);
        assert_eq!(held(&root), (true, false));
        store(&root).note_scheme(Scheme::Sha256);
        assert_eq!(held(&root), (true, true));
        store(&root).hold_only(Scheme::Sha256).unwrap();
        assert_eq!(held(&root), (false, true));
    }

    #[test]
    fn a_root_that_others_filled_may_hold_everything() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        store(root).write(&KEY, b"theirs").unwrap();
        assert_eq!(held(root), (true, true));
        store(root).note_scheme(Scheme::Exact);
        assert_eq!(held(root), (true, true));
        store(root).hold_only(Scheme::Exact).unwrap();
        assert_eq!(held(root), (true, false));
    }

    #[test]
    fn bags_are_entries_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("README"), "").unwrap();
        fs::write(root.join(".hidden"), "").unwrap();
        assert_eq!(held(root), (false, false));
        fs::write(root.join("ab.h5"), "").unwrap();
        assert_eq!(held(root), (true, true));
    }

    #[test]
    fn a_damaged_mark_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        store(root).note_scheme(Scheme::Exact);
        store(root).write(&KEY, b"ours").unwrap();
        assert_eq!(held(root), (true, false));
        fs::create_dir(root.join(".fleche-sha256")).unwrap();
        assert_eq!(held(root), (true, true));
        fs::remove_dir(root.join(".fleche-sha256")).unwrap();
        fs::remove_file(root.join(".fleche-exact")).unwrap();
        assert_eq!(held(root), (true, true));
    }
}
