use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

fn store(root: &Path) -> Store {
    Store::new(root.to_owned(), Duration::from_secs(10))
}

fn key(first: u8) -> Hash {
    let mut key = [0; 32];
    key[0] = first;
    key
}

#[test]
fn an_empty_or_missing_root_holds_nothing() {
    let root = tempfile::tempdir().unwrap();
    for root in [root.path().to_owned(), root.path().join("missing")] {
        let store = store(&root);
        assert_eq!(store.list().unwrap(), Vec::<Hash>::new());
        assert_eq!(store.read(&key(1)).unwrap(), None);
        assert!(!store.contains(&key(1)).unwrap());
        store.evict(&key(1)).unwrap();
    }
    assert!(!root.path().join("missing").exists());
}

#[test]
fn only_files_named_by_a_key_are_entries() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.write(&key(1), b"one").unwrap();
    for name in ["garbage", ".hidden", "x.lock", &"A".repeat(64)] {
        fs::write(root.path().join(name), "").unwrap();
    }
    fs::create_dir(store.path(&key(2))).unwrap();
    std::os::unix::fs::symlink(store.path(&key(1)), store.path(&key(3))).unwrap();
    let listed: BTreeSet<_> = store.list().unwrap().into_iter().collect();
    assert_eq!(listed, BTreeSet::from([key(1), key(3)]));
    assert!(!store.contains(&key(2)).unwrap());
    assert!(store.read(&key(2)).is_err());
    assert_eq!(store.candidates("0100").unwrap(), [key(1)]);
    assert_eq!(store.list_with_times().unwrap().len(), 2);
}

#[test]
fn errors_name_the_file_and_the_action() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = store(&file).write(&key(1), b"").unwrap_err().to_string();
    assert!(error.starts_with("cannot create a file in"), "{error}");
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn a_removed_root_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let store = store(&root.path().join("root"));
    store.write(&key(1), b"old").unwrap();
    fs::remove_dir_all(store.root()).unwrap();
    store.write(&key(1), b"new").unwrap();
    assert_eq!(store.read(&key(1)).unwrap().unwrap(), b"new");
}

#[test]
fn a_write_whose_temporary_file_vanishes_starts_anew() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let tries = Mutex::new(0);
    let fill = |file: &mut File| {
        *tries.lock().unwrap() += 1;
        if *tries.lock().unwrap() == 1 {
            for entry in fs::read_dir(root.path())? {
                let path = entry?.path();
                if path.is_file() {
                    fs::remove_file(path)?;
                }
            }
        }
        file.write_all(b"bytes")
    };
    store.write_with(&key(1), fill).unwrap();
    assert_eq!(store.read(&key(1)).unwrap().unwrap(), b"bytes");
}

#[test]
fn a_failed_write_leaves_the_old_entry_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.write(&key(1), b"old").unwrap();
    let full = |file: &mut File| {
        file.write_all(b"ne")?;
        Err(ErrorKind::StorageFull.into())
    };
    assert!(store.write_with(&key(1), full).is_err());
    assert_eq!(store.read(&key(1)).unwrap().unwrap(), b"old");
    let files = fs::read_dir(root.path()).unwrap().count();
    assert_eq!(files, 2, "the entry and the folder of the locks");
}

#[test]
fn readers_see_whole_entries_while_writers_replace_and_evict_them() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    std::thread::scope(|scope| {
        for writer in 0..2_u8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..200_u8 {
                    store.write(&key(1), &vec![writer + round; 10_000]).unwrap();
                    if round % 10 == 0 {
                        store.evict(&key(1)).unwrap();
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..400 {
                    if let Some(bytes) = store.read(&key(1)).unwrap() {
                        assert_eq!(bytes, vec![bytes[0]; 10_000]);
                    }
                }
            });
        }
    });
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn rewriting_keeps_times_and_what_others_write_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    for number in 1..=3 {
        store.write(&key(number), &[number]).unwrap();
    }
    let times: BTreeMap<_, _> = store.list_with_times().unwrap().into_iter().collect();
    let convert = |bytes: &[u8]| match bytes {
        [1] => Ok(Some(b"one".to_vec())),
        [2] => {
            store.write(&key(2), b"meanwhile").unwrap();
            Ok(Some(b"two".to_vec()))
        }
        [3] => Err(ErrorKind::InvalidData.into()),
        _ => Ok(None),
    };
    let failures = Mutex::new(Vec::new());
    let failed = |error: &Error| failures.lock().unwrap().push(error.to_string());
    store.rewrite_all(convert, failed).unwrap();
    assert_eq!(store.read(&key(1)).unwrap().unwrap(), b"one");
    assert_eq!(store.read(&key(2)).unwrap().unwrap(), b"meanwhile");
    assert_eq!(store.read(&key(3)).unwrap().unwrap(), [3]);
    assert_eq!(failures.lock().unwrap().len(), 1);
    let now: BTreeMap<_, _> = store.list_with_times().unwrap().into_iter().collect();
    assert_eq!(now[&key(1)], times[&key(1)]);
}

#[test]
fn equal_bytes_are_not_written_again_but_count_as_new() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    renew(&store, b"value").unwrap();
    let file = fs::File::options().write(true).open(store.path(&key(1)));
    file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let before = fs::metadata(store.path(&key(1))).unwrap();
    renew(&store, b"value").unwrap();
    let after = fs::metadata(store.path(&key(1))).unwrap();
    assert_eq!(inode(&before), inode(&after));
    assert!(after.modified().unwrap() > before.modified().unwrap());
    renew(&store, b"other").unwrap();
    assert_eq!(store.read(&key(1)).unwrap().unwrap(), b"other");
}

fn renew(store: &Store, bytes: &[u8]) -> Result<()> {
    store.write_unless_equal(&key(1), Duration::ZERO, bytes)
}

fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_store_is_a_map(
        steps in prop::collection::vec((0..4_u8, prop::option::of(".{0,40}")), 1..30),
    ) {
        let root = tempfile::tempdir().unwrap();
        let store = store(root.path());
        let mut map = BTreeMap::new();
        for (number, value) in steps {
            if let Some(value) = value {
                store.write(&key(number), value.as_bytes()).unwrap();
                map.insert(key(number), value.into_bytes());
            } else {
                store.evict(&key(number)).unwrap();
                map.remove(&key(number));
            }
            let listed: BTreeSet<_> = store.list().unwrap().into_iter().collect();
            prop_assert_eq!(listed, map.keys().copied().collect());
            let read = store.read(&key(number)).unwrap();
            prop_assert_eq!(read.as_ref(), map.get(&key(number)));
        }
    }
}
