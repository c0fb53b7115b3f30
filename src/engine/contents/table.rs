//! Digests that are known to all processes of a user: a table of fixed places in one file.
//!
//! A place says for which file in which state it holds which digest, and ends with a check of both.
//! It is read and written whole, without locks: what two processes write at once, or is cut, does
//! not pass the check and counts as empty. Where all places that a file may have are taken, one of
//! them is given away, so that the table never grows beyond its size.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::stamp::Stamp;
use crate::engine::digest::Hash;
use crate::engine::fork::Lock;
use crate::engine::system;

/// The name tells the form of the table.
const NAME: &str = "fleche/files-1";

/// The key, the digest, and the check.
const PLACE: usize = 32 + 32 + 16;

/// How many places a file may have, and how many times as many there are: 10 MB.
const CHOICE: usize = 4;
const GROUPS: u64 = 1 << 15;

type Group = [u8; CHOICE * PLACE];

/// The file, once it was opened.
static TABLE: Lock<Option<Arc<File>>> = Lock::new(None);

/// The digest of a file in this state, if the table holds it.
pub fn find(stamp: &Stamp) -> Option<Hash> {
    let file = table(false)?;
    find_in(&file, &key(stamp))
}

/// Puts it there, as far as that is possible.
pub fn keep(stamp: &Stamp, hash: &Hash) {
    if let Some(file) = table(true) {
        keep_in(&file, &key(stamp), hash);
    }
}

fn table(is_made: bool) -> Option<Arc<File>> {
    let mut table = TABLE.lock();
    if table.is_none() {
        *table = system::open_own(&folder()?.join(NAME), is_made).map(Arc::new);
    }
    table.clone()
}

/// Where caches of this user are, by the rules for base directories of freedesktop.org.
fn folder() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// A file in this state, on this machine: numbers of devices are its own.
fn key(stamp: &Stamp) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(system::machine().as_bytes()).update(b"\0");
    *hasher.update(&stamp.bytes()).finalize().as_bytes()
}

fn find_in(file: &File, key: &Hash) -> Option<Hash> {
    let group = read(file, key);
    let place = group
        .chunks_exact(PLACE)
        .find(|place| place.starts_with(key))?;
    is_whole(place).then(|| place[32..64].try_into().ok())?
}

fn keep_in(file: &File, key: &Hash, hash: &Hash) {
    let group = read(file, key);
    let mut places = group.chunks_exact(PLACE);
    let free = |place: &[u8]| place.starts_with(key) || !is_whole(place);
    let chance = usize::from(hash[0]) % CHOICE;
    let index = places.position(free).unwrap_or(chance);
    let mut place = [0; PLACE];
    place[..32].copy_from_slice(key);
    place[32..64].copy_from_slice(hash);
    let check = check(&place);
    place[64..].copy_from_slice(&check);
    // What cannot be kept is read again.
    let _ = system::write_at(file, &place, offset(key) + (index * PLACE) as u64);
}

fn read(file: &File, key: &Hash) -> Group {
    let mut group = [0; CHOICE * PLACE];
    // What is not there, or cannot be read, is empty.
    let read = system::read_at(file, &mut group, offset(key)).unwrap_or(0);
    group[read..].fill(0);
    group
}

fn offset(key: &Hash) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&key[..8]);
    u64::from_le_bytes(start) % GROUPS * (CHOICE * PLACE) as u64
}

fn check(place: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&blake3::hash(&place[..64]).as_bytes()[..16]);
    check
}

fn is_whole(place: &[u8]) -> bool {
    place[64..] == check(place)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table(folder: &Path) -> File {
        let options = std::fs::File::options();
        let path = folder.join("table");
        options
            .clone()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap()
    }

    fn hash(number: u64) -> Hash {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = table(folder.path());
        for number in 0..1000 {
            assert_eq!(find_in(&file, &hash(number)), None);
            keep_in(&file, &hash(number), &hash(number + 1));
            assert_eq!(find_in(&file, &hash(number)), Some(hash(number + 1)));
        }
        keep_in(&file, &hash(7), &hash(9));
        assert_eq!(find_in(&file, &hash(7)), Some(hash(9)));
    }

    #[test]
    fn a_full_group_gives_a_place_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = table(folder.path());
        let keys: Vec<Hash> = (0..40)
            .map(|number| {
                let mut key = hash(number);
                key[..8].fill(0);
                key
            })
            .collect();
        for key in &keys {
            keep_in(&file, key, key);
            assert_eq!(find_in(&file, key), Some(*key));
        }
        let kept = keys.iter().filter(|key| find_in(&file, key).is_some());
        assert_eq!(kept.count(), CHOICE);
        assert!(file.metadata().unwrap().len() <= (CHOICE * PLACE) as u64);
    }

    #[test]
    fn what_is_damaged_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let file = table(folder.path());
        let key = hash(1);
        for position in 0..PLACE as u64 {
            keep_in(&file, &key, &hash(2));
            let mut byte = [0];
            system::read_at(&file, &mut byte, offset(&key) + position).unwrap();
            system::write_at(&file, &[byte[0] ^ 1], offset(&key) + position).unwrap();
            assert_eq!(find_in(&file, &key), None);
        }
        keep_in(&file, &key, &hash(2));
        file.set_len(offset(&key) + 70).unwrap();
        assert_eq!(find_in(&file, &key), None);
    }
}
