//! Many call records of a folder at once: read, verified, decompressed and filtered, on several
//! threads where that pays.

use std::io::{ErrorKind, Read as _};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::codec;
use super::digest::{Hash, Hex};
use super::disk::File;
use super::files::Store;
use super::pickle::{self, Record, Unreadable};
use super::record::Filter;
use super::sign::Keys;

/// Longer entries are left to the reader of single ones: many are in memory at a time.
const LONGEST: usize = 1 << 16;

/// How many records a thread takes at once. Below two of these, threads do not pay.
const BLOCK: usize = 64;

/// What makes files faster to read in several threads is waiting in the kernel; more of them than
/// this wait for each other.
const MOST_THREADS: usize = 8;

/// What reading an entry gave.
#[derive(Debug, PartialEq)]
pub enum Found<'a> {
    /// A record that may match.
    Record(Record<'a>),
    /// Something else, to be read in the ordinary way, which says what is wrong with it.
    Other,
}

/// The bytes that records are made of.
#[derive(Debug, Default)]
pub struct Memory(Vec<Vec<u8>>);

/// The entries under `keys` that may match, in this order; those that are gone are left out.
pub fn read<'a>(
    store: &Store,
    signing: &Keys,
    keys: &[Hash],
    filter: &Filter,
    memory: &'a mut Memory,
) -> Vec<(Hash, Found<'a>)> {
    let blocks = keys.len().div_ceil(BLOCK);
    memory.0.resize_with(blocks, Vec::new);
    let left = Mutex::new(keys.chunks(BLOCK).zip(&mut memory.0).enumerate());
    let work = || {
        let mut done = Vec::new();
        let mut reader = Reader {
            signing,
            place: store.path(&[0; 32]),
            buffer: vec![0; LONGEST + 1],
        };
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, (keys, bytes))) = next else {
                return done;
            };
            bytes.clear();
            let read = keys.iter().map(|key| (key, reader.read(key, bytes)));
            let read: Vec<_> = read.collect();
            let bytes: &'a [u8] = bytes;
            let found = read.into_iter().filter_map(|(key, read)| {
                let found = match read {
                    Read::Nothing => None,
                    Read::Other => Some(Found::Other),
                    Read::Payload(start, end) => parse(&bytes[start..end], filter),
                };
                found.map(|found| (*key, found))
            });
            done.push((number, found.collect::<Vec<_>>()));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(blocks);
    let mut done = thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work);
        let others: Vec<_> = (1..threads).map_while(|i| spawn(i).ok()).collect();
        let mut done = work();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().flat_map(|(_, found)| found).collect()
}

/// The record in a payload, unless it cannot match.
fn parse<'a>(payload: &'a [u8], filter: &Filter) -> Option<Found<'a>> {
    match pickle::read_record(payload) {
        Ok(record) if filter.admits(&record) => Some(Found::Record(record)),
        Ok(_) => None,
        Err(Unreadable) => Some(Found::Other),
    }
}

/// What a thread reads with: threads that ask for memory for each file wait for each other.
struct Reader<'a> {
    signing: &'a Keys,
    place: PathBuf,
    buffer: Vec<u8>,
}

/// What reading an entry's bytes came to.
enum Read {
    Nothing,
    Other,
    /// Where its payload begins and ends.
    Payload(usize, usize),
}

impl Reader<'_> {
    /// Reads the payload of an entry behind what `bytes` has.
    fn read(&mut self, key: &Hash, bytes: &mut Vec<u8>) -> Read {
        self.place.set_file_name(Hex::of(key).as_str());
        // Not `Store::open`: a short read shows the length as well.
        let read = File::open(&self.place).and_then(|mut file| file.read(&mut self.buffer));
        let entry = match read {
            Ok(length) if length <= LONGEST => &self.buffer[..length],
            Err(error) if error.kind() == ErrorKind::NotFound => return Read::Nothing,
            _ => return Read::Other,
        };
        let Ok(payload) = codec::view(entry, self.signing) else {
            return Read::Other;
        };
        let start = bytes.len();
        bytes.extend_from_slice(&payload);
        Read::Payload(start, bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::compression::{Compression, Method};

    /// `pickle.dumps(DigestedCall(name), 2)`, with the fields that are set only.
    fn record(name: &str) -> Vec<u8> {
        let mut pickle = b"\x80\x02cfleche.call\nDigestedCall\nq\x00)\x81q\x01}q\x02".to_vec();
        for text in ["name", name] {
            pickle.push(b'X');
            pickle.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
            pickle.extend_from_slice(text.as_bytes());
        }
        pickle.extend_from_slice(b"sb.");
        pickle
    }

    fn key(number: usize) -> Hash {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key
    }

    fn named(name: &str) -> Filter {
        Filter {
            name: Some(name.to_owned()),
            ..Filter::default()
        }
    }

    fn compression(number: usize) -> Option<Compression> {
        Method::ALL.get(number % 3)?.at(None)
    }

    #[test]
    fn records_come_in_the_order_of_their_keys() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().to_owned(), Duration::from_secs(1));
        let signing = Keys::new([b"key"]);
        let keys: Vec<_> = (0..500).map(key).collect();
        for (number, key) in keys.iter().enumerate() {
            let name = if number % 3 == 0 { "third" } else { "other" };
            let bytes = codec::encode(&record(name), &signing, compression(number)).unwrap();
            store.write(key, &bytes).unwrap();
        }
        store.evict(&keys[3]).unwrap();
        let mut memory = Memory::default();
        let all = read(&store, &signing, &keys, &Filter::default(), &mut memory);
        let found: Vec<_> = all.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, [&keys[..3], &keys[4..]].concat());
        let third = read(&store, &signing, &keys, &named("third"), &mut memory);
        assert_eq!(third.len(), 500_usize.div_ceil(3) - 1);
        for (_, found) in third {
            assert!(matches!(found, Found::Record(record) if record.name == "third"));
        }
        assert_eq!(read(&store, &signing, &keys, &named("no"), &mut memory), []);
        let wrong = Keys::new([b"other"]);
        let forged = read(&store, &wrong, &keys, &named("third"), &mut memory);
        assert!(forged.iter().all(|(_, found)| *found == Found::Other));
    }

    #[test]
    fn what_is_no_record_is_left_to_others() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().to_owned(), Duration::from_secs(1));
        let mut long = record("f");
        long.splice(0..0, b"\x80\x04".repeat(LONGEST));
        let entries: [&[u8]; 5] = [
            b"",
            b"\x80\x04K\x01.",
            b"\x1f\x8bzz",
            &record("f")[..20],
            &long,
        ];
        for (number, bytes) in entries.iter().enumerate() {
            store.write(&key(number), bytes).unwrap();
        }
        std::fs::create_dir(store.path(&key(9))).unwrap();
        let keys: Vec<_> = (0..10).map(key).collect();
        let mut memory = Memory::default();
        let found = read(&store, &Keys::default(), &keys, &named("f"), &mut memory);
        assert!(found.iter().all(|(_, found)| *found == Found::Other));
        let found: Vec<_> = found.iter().map(|(key, _)| *key).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 9].map(key));
    }
}
