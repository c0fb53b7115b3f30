//! Values that are stored in pieces: who needs one needs its pieces, too.
//!
//! Nothing is unpickled: whatever holds keys holds them as text, and the beginning of what is stored
//! in pieces names the class that does so.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::by_key::ByKey;
use super::folder::{Folder, in_parallel, path_of};
use crate::engine::compression::Method;
use crate::engine::digest::Hash;
use crate::engine::disk::File;
use crate::engine::error::Result;
use crate::engine::files::Store;

/// A shorter entry has no room for the key of another one; one up to the second length is read
/// whole, of a longer one the beginning says whether it is in pieces.
pub const SHORTEST: u64 = 100;
const WHOLE: u64 = 1 << 16;
const IN_PIECES: &[u8] = b"fleche.storage.destructuring";

/// Where values lie, to be looked through for the keys of their pieces.
pub trait Values: Sync {
    /// Those of the keys that `is_wanted` says which are mentioned in a value, whatever it is.
    fn mentions(&self, key: &Hash, is_wanted: &dyn Fn(&Hash) -> bool) -> Result<HashSet<Hash>>;

    /// Whether a long one may be in pieces.
    fn may_be_in_pieces(&self, key: &Hash) -> bool;
}

impl Values for Store {
    fn mentions(&self, key: &Hash, is_wanted: &dyn Fn(&Hash) -> bool) -> Result<HashSet<Hash>> {
        Self::mentions_where(&path_of(self.root(), key), is_wanted)
    }

    fn may_be_in_pieces(&self, key: &Hash) -> bool {
        is_in_pieces(self, key)
    }
}

/// The pieces of these values, and theirs, each for the functions that need the value; `new`: those
/// that are needed and not too short to have any.
pub fn of_needed(
    values: &impl Values,
    folder: &Folder,
    needs: &ByKey<u32>,
    mut new: Vec<Hash>,
) -> Result<HashSet<(Hash, u32)>> {
    let is_here = |key: &Hash| folder.entries.get(key);
    let mut parts: HashMap<Hash, Vec<Hash>> = HashMap::new();
    let mut seen = HashSet::new();
    let long = |key: &&Hash| is_here(key).is_some_and(|size| size >= SHORTEST);
    while !new.is_empty() {
        let found = in_parallel(&new, |key| -> Result<Vec<Hash>> {
            if is_here(key) > Some(WHOLE) && !values.may_be_in_pieces(key) {
                return Ok(Vec::new());
            }
            let found = values.mentions(key, &|key| is_here(key).is_some())?;
            Ok(found.into_iter().filter(|part| part != key).collect())
        })?;
        let mut next = HashSet::new();
        for (key, of_key) in new.into_iter().zip(found) {
            let of_key: Vec<Hash> = of_key?;
            if of_key.is_empty() {
                continue;
            }
            next.extend(of_key.iter().filter(long).copied());
            parts.insert(key, of_key);
        }
        next.retain(|key| needs.get(key).is_none() && seen.insert(*key));
        new = next.into_iter().collect();
    }
    let mut more = HashSet::new();
    if parts.is_empty() {
        return Ok(more);
    }
    let mut waiting: Vec<_> = needs
        .iter()
        .filter(|(key, _)| parts.contains_key(key))
        .copied()
        .collect();
    while let Some((key, function)) = waiting.pop() {
        for part in parts.get(&key).into_iter().flatten() {
            if more.insert((*part, function)) {
                waiting.push((*part, function));
            }
        }
    }
    Ok(more)
}

/// Whether a long entry is a value in pieces; one that cannot be read is looked through.
fn is_in_pieces(store: &Store, key: &Hash) -> bool {
    let Ok(file) = File::open(&path_of(store.root(), key)) else {
        return true;
    };
    let mut head = Vec::new();
    if file.read_up_to(WHOLE, &mut head).is_err() {
        return true;
    }
    if let Some(method) = Method::of(&head) {
        let mut text = Vec::new();
        // What it was cut off from is missed.
        let _ = method
            .reader(head.as_slice())
            .and_then(|reader| reader.take(WHOLE).read_to_end(&mut text));
        head = text;
    }
    head.windows(IN_PIECES.len())
        .any(|window| window == IN_PIECES)
}
