use rustix::io::Errno;

use super::*;
use std::fs;

fn locks(root: &Path, milliseconds: u64) -> Locks {
    Locks::new(root, Duration::from_millis(milliseconds))
}

#[test]
fn a_held_lock_is_waited_for_no_longer_than_the_timeout() {
    let root = tempfile::tempdir().unwrap();
    let (key, other) = ([0; 32], [0xff; 32]);
    let held = locks(root.path(), 0).take(&key).unwrap();
    let refused = locks(root.path(), 20).take(&key);
    assert!(matches!(refused, Err(Error::Locked { lock, .. }) if lock.ends_with(".locks/0")));
    locks(root.path(), 0).take(&other).unwrap();
    drop(held);
    locks(root.path(), 0).take(&key).unwrap();
}

#[test]
fn a_waiting_thread_gets_the_lock_when_it_is_free() {
    let root = tempfile::tempdir().unwrap();
    let key = [0; 32];
    let held = locks(root.path(), 0).take(&key).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| locks(root.path(), 60_000).take(&key).is_ok());
        drop(held);
        assert!(waiting.join().unwrap());
    });
}

#[test]
fn one_file_is_shared_or_held_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ab.h5.lock");
    // Who only reads creates none.
    drop(lock_file(&path, Mode::Shared, Duration::ZERO).unwrap());
    assert!(!path.exists());
    drop(lock_file(&path, Mode::Exclusive, Duration::ZERO).unwrap());
    let take = |mode| lock_file(&path, mode, Duration::ZERO);
    let shared = (take(Mode::Shared).unwrap(), take(Mode::Shared).unwrap());
    assert!(matches!(take(Mode::Exclusive), Err(Error::Locked { .. })));
    drop(shared);
    let _alone = take(Mode::Exclusive).unwrap();
    assert!(matches!(take(Mode::Shared), Err(Error::Locked { .. })));
}

#[test]
fn a_lock_file_that_was_removed_is_no_longer_held() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ab.h5.lock");
    let old = lock_file(&path, Mode::Exclusive, Duration::ZERO).unwrap();
    assert!(old.is_at(&path));
    fs::remove_file(&path).unwrap();
    assert!(!old.is_at(&path));
    let new = lock_file(&path, Mode::Exclusive, Duration::ZERO).unwrap();
    assert!(new.is_at(&path));
}

#[test]
fn a_folder_that_is_not_there_has_nothing_to_lock() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("none").join("ab.h5.lock");
    let held = lock_file(&path, Mode::Shared, Duration::ZERO).unwrap();
    assert!(held.0.is_none());
}

#[test]
fn lock_files_are_few() {
    let root = tempfile::tempdir().unwrap();
    let locks = locks(root.path(), 0);
    for first in 0..=255 {
        locks.take(&[first; 32]).unwrap();
    }
    let files = fs::read_dir(root.path().join(DIRECTORY)).unwrap();
    assert_eq!(files.count(), 16);
}

#[test]
fn a_file_system_without_locks_is_told_by_its_error() {
    let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
    assert!(has_no_locks(&error(Errno::NOLCK)));
    assert!(has_no_locks(&error(Errno::OPNOTSUPP)));
    assert!(!has_no_locks(&error(Errno::IO)));
    let root = tempfile::tempdir().unwrap();
    let locks = locks(root.path(), 0);
    drop(locks.go_without(&error(Errno::NOLCK)));
    let (first, second) = (locks.take(&[0; 32]), locks.take(&[0; 32]));
    assert!(first.unwrap().0.is_none() && second.unwrap().0.is_none());
}
