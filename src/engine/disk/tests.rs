use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::*;

static ALONE: Mutex<()> = Mutex::new(());

/// A hook for the calls on files in one folder; other tests run in the same process.
struct Watching<'a> {
    _alone: MutexGuard<'a, ()>,
}

impl Watching<'_> {
    fn folder(
        root: &Path,
        hook: impl Fn(&'static str) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let root = root.to_owned();
        watch::set(Some(Arc::new(move |name, path| {
            if path.starts_with(&root) {
                hook(name)
            } else {
                Ok(())
            }
        })));
        Self { _alone: alone }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        watch::set(None);
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::open_with(path, OpenOptions::new().write(true).create(true))?;
    file.write_all(bytes)?;
    file.close()
}

#[test]
fn every_call_is_told_before_it_is_made() {
    let root = tempfile::tempdir().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&calls);
    let path = root.path().join("file");
    {
        let _watching = Watching::folder(root.path(), move |name| {
            told.lock().unwrap().push(name);
            Ok(())
        });
        write(&path, b"bytes").unwrap();
        let mut bytes = Vec::new();
        let file = File::open(&path).unwrap();
        file.read_up_to(3, &mut bytes).unwrap();
        assert_eq!(bytes, b"byt");
        assert_eq!(read_dir(root.path()).unwrap().count(), 1);
        remove_file(&path).unwrap();
    }
    let expected = [
        "open", "write", "close", "open", "read", "opendir", "readdir", "readdir", "unlink",
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
    write(&path, b"unseen").unwrap();
    assert_eq!(calls.lock().unwrap().len(), expected.len());
}

#[test]
fn a_call_that_is_made_to_fail_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    let _watching = Watching::folder(root.path(), |name| match name {
        "unlink" => Err(io::Error::from_raw_os_error(5)),
        _ => Ok(()),
    });
    write(&path, b"bytes").unwrap();
    assert_eq!(remove_file(&path).unwrap_err().raw_os_error(), Some(5));
    assert!(path.exists());
}

#[test]
fn an_interrupted_call_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    let interrupted = Mutex::new(true);
    let _watching = Watching::folder(root.path(), move |_| {
        let mut again = interrupted.lock().unwrap();
        *again = !*again;
        if *again {
            Ok(())
        } else {
            Err(ErrorKind::Interrupted.into())
        }
    });
    write(&path, b"bytes").unwrap();
    let mut bytes = Vec::new();
    let mut file = File::open(&path).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"bytes");
    assert_eq!(read_dir(root.path()).unwrap().count(), 1);
}
