//! The files in a folder, and what they take: each is asked for once, by several threads.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::by_key::ByKey;
use crate::engine::digest::{Hash, Hex, parse_hex};
use crate::engine::disk;
use crate::engine::error::{Error, Result};
use crate::engine::system;
use crate::engine::wait::Looks;

/// What is in a folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The entries of a store with their lengths, in the order of their keys.
    pub entries: ByKey<u64>,
    /// What all files in it, and in folders below it, take on the disk, in bytes.
    pub blocks: u64,
}

/// So many files are asked for by a thread at once.
const BLOCK: usize = 256;

/// More threads than this wait for each other in the kernel.
const MOST_THREADS: usize = 8;

/// Looks at all files in a folder. One that is not there holds nothing.
pub fn walk(root: &Path) -> Result<Folder> {
    let mut keys = Vec::new();
    let mut others = Vec::new();
    let mut looks = Looks::default();
    list(root, &mut looks, |name| {
        match parse_hex(name.as_encoded_bytes()) {
            Some(key) => keys.push(key),
            None => others.push(root.join(name)),
        }
    })?;
    let linked = Mutex::new(HashSet::new());
    let found = in_parallel(&keys, |key| {
        let path = path_of(root, key);
        let file = disk::link_metadata(&path).ok()?;
        let blocks = blocks_of(&file, &linked);
        let file = if file.is_symlink() {
            disk::metadata(&path).ok()?
        } else {
            file
        };
        Some((file.is_file().then_some((*key, file.len())), blocks))
    })?;
    let mut folder = Folder::default();
    for (entry, blocks) in found.into_iter().flatten() {
        if let Some((key, size)) = entry {
            folder.entries.push(key, size);
        }
        folder.blocks += blocks;
    }
    folder.entries.settle(|(one, _), (other, _)| one == other);
    while let Some(path) = others.pop() {
        let Ok(file) = disk::link_metadata(&path) else {
            continue;
        };
        if file.is_dir() {
            list(&path, &mut looks, |name| others.push(path.join(name)))?;
        } else {
            folder.blocks += blocks_of(&file, &linked);
        }
    }
    Ok(folder)
}

/// Calls `found` with the names in a folder.
fn list(root: &Path, looks: &mut Looks, mut found: impl FnMut(OsString)) -> Result<()> {
    let names = match disk::read_dir(root) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", root)(error)),
    };
    for (number, entry) in names.enumerate() {
        found(entry.map_err(Error::io("list", root))?.file_name());
        if number % BLOCK == 0 && looks.interrupted() {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

/// What a file takes on the disk, unless it was met under another name.
fn blocks_of(file: &Metadata, linked: &Mutex<HashSet<(u64, u64)>>) -> u64 {
    if let Some(identity) = system::identity_of_several(file)
        && let Ok(mut linked) = linked.lock()
        && !linked.insert(identity)
    {
        return 0;
    }
    system::allocated(file)
}

/// What `work` makes of each of these, in their order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    // Only who called has signals to look for.
    let run = |mut looks: Option<Looks>| {
        let mut done = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(block) = items.chunks(BLOCK).nth(number) else {
                break;
            };
            done.push((number, block.iter().map(&work).collect::<Vec<_>>()));
            if looks.as_mut().is_some_and(Looks::interrupted) {
                is_over.store(true, Ordering::Relaxed);
            }
        }
        done
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(MOST_THREADS).min(items.len().div_ceil(BLOCK));
    let mut done = thread::scope(|scope| {
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, || run(None));
        let others: Vec<_> = (1..threads).map_while(|i| spawn(i).ok()).collect();
        let mut done = run(Some(Looks::default()));
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    if is_over.into_inner() {
        return Err(Error::Interrupted);
    }
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().flat_map(|(_, found)| found).collect())
}

/// The path of an entry.
pub fn path_of(root: &Path, key: &Hash) -> PathBuf {
    root.join(Hex::of(key).as_str())
}
