//! Files that are being written, and the sweeping of those whose writer died.
//!
//! A temporary file stands beside the entry that it will become and carries its writer's name:
//! `.<key>.<machine>-<process>-<number>.tmp`. Whoever lists the root sweeps the ones of dead
//! processes of the same machine, and all that nobody has touched for a day.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::digest::{DIGEST_LENGTH, Hash, Hex, parse_hex};
use crate::engine::disk::{self, File};
use crate::engine::fork::NoFork;
use crate::engine::system;

const ENDING: &str = ".tmp";

/// After this time a file is taken for left behind, whatever lives under its writer's number.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written; removed when dropped, unless it was moved to its place.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    moved: bool,
}

impl Temporary {
    /// A path that no file has yet.
    pub fn name(root: &Path, key: &Hash) -> PathBuf {
        let (key, machine) = (Hex::of(key), machine());
        let process = std::process::id();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        root.join(format!(
            ".{}.{machine:08x}-{process}-{number}{ENDING}",
            key.as_str()
        ))
    }

    /// Takes charge of the file that `path` names, whoever writes it.
    pub fn at(path: PathBuf) -> Self {
        Self { path, moved: false }
    }

    /// Creates the file, and the root if there is none yet. The umask applies.
    pub fn create(root: &Path, key: &Hash) -> io::Result<(Self, File)> {
        loop {
            let path = Self::name(root, key);
            match File::open_with(&path, OpenOptions::new().write(true).create_new(true)) {
                Ok(file) => return Ok((Self::at(path), file)),
                // Another machine that cannot tell its name counted as far.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !is_folder(root) => {
                    disk::create_dir_all(root)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves the file to its place, at once: a reader sees what was there before, or all of it.
    pub fn move_to(mut self, place: &Path) -> io::Result<()> {
        disk::rename(&self.path, place)?;
        self.moved = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.moved {
            // It may never have been created.
            drop(disk::remove_file(&self.path));
        }
    }
}

fn is_folder(path: &Path) -> bool {
    disk::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a file's name is that of a temporary file, of the reference's as well.
pub fn is_temporary(name: &[u8]) -> bool {
    name.first() == Some(&b'.')
        && name.ends_with(ENDING.as_bytes())
        && name.get(1..=DIGEST_LENGTH).and_then(parse_hex).is_some()
}

/// Removes a temporary file if its writer is gone. Fails silently: the next one may try again.
pub fn sweep(path: &Path) {
    if is_abandoned(path) && disk::remove_file(path).is_ok() {
        let path = path.display();
        log::debug!(target: "fleche.storage", "Removed {path}, left behind by a dead writer");
    }
}

fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    if name.and_then(writer_lives) == Some(false) {
        return true;
    }
    // Another process may have its writer's number by now. A clock may be ahead, or may have been.
    let changed = disk::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| {
        let age = changed.elapsed().unwrap_or_else(|ahead| ahead.duration());
        age > ABANDONED
    })
}

/// Whether the process that wrote a file is alive; `None` if this machine cannot know.
fn writer_lives(name: &str) -> Option<bool> {
    let writer = name.strip_suffix(ENDING)?.get(DIGEST_LENGTH + 2..)?;
    let mut parts = writer.split('-');
    let written_on = u32::from_str_radix(parts.next()?, 16).ok()?;
    if written_on != machine() || written_on == 0 {
        return None;
    }
    system::process_lives(parts.next()?.parse().ok()?)
}

/// What tells this machine, since it started, and the process numbers seen here from others; 0
/// where the system does not say.
fn machine() -> u32 {
    // No thread waits for another one that finds it out: a forked child has no other.
    static MACHINE: OnceLock<u32> = OnceLock::new();
    if let Some(known) = MACHINE.get() {
        return *known;
    }
    let boot = fs::read("/proc/sys/kernel/random/boot_id");
    let numbers = fs::read_link("/proc/self/ns/pid");
    let found = if let (Ok(boot), Ok(numbers)) = (boot, numbers) {
        let mut hash = blake3::Hasher::new();
        hash.update(&boot);
        hash.update(numbers.as_os_str().as_encoded_bytes());
        let hash = hash.finalize();
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    } else {
        0
    };
    let _no_fork = NoFork::enter();
    *MACHINE.get_or_init(|| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const KEY: Hash = [0xab; 32];

    fn dead_process() -> u32 {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    fn planted(root: &Path, writer: &str) -> PathBuf {
        let path = root.join(format!(".{}.{writer}{ENDING}", Hex::of(&KEY).as_str()));
        fs::write(&path, "half").unwrap();
        path
    }

    #[test]
    fn a_dropped_one_is_removed_and_a_moved_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        drop(Temporary::create(root.path(), &KEY).unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        let (temporary, _) = Temporary::create(root.path(), &KEY).unwrap();
        temporary.move_to(&root.path().join("place")).unwrap();
        assert!(root.path().join("place").exists());
    }

    #[test]
    fn the_root_is_created_when_it_is_first_needed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        drop(Temporary::create(&deep, &KEY).unwrap());
        assert!(deep.is_dir());
    }

    #[test]
    fn those_of_dead_writers_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let dead = planted(
            root.path(),
            &format!("{:08x}-{}-1", machine(), dead_process()),
        );
        let mine = planted(
            root.path(),
            &format!("{:08x}-{}-1", machine(), std::process::id()),
        );
        let elsewhere = planted(root.path(), &format!("{:08x}-1-1", machine() ^ 1));
        let foreign = planted(root.path(), "3d6832f42fd44aaa88d4d9df19633f46");
        for path in [&dead, &mine, &elsewhere, &foreign] {
            assert!(is_temporary(path.file_name().unwrap().as_encoded_bytes()));
            sweep(path);
        }
        assert!(!dead.exists());
        assert!(mine.exists() && elsewhere.exists() && foreign.exists());
        let day = ABANDONED + Duration::from_secs(60);
        for time in [SystemTime::now() - day, SystemTime::now() + day] {
            for writer in [
                // Whoever has the number of the process today.
                &format!("{:08x}-{}-1", machine(), std::process::id()),
                &format!("{:08x}-1-1", machine() ^ 1),
                "3d6832f42fd44aaa88d4d9df19633f46",
            ] {
                let path = planted(root.path(), writer);
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_modified(time).unwrap();
                sweep(&path);
                assert!(!path.exists(), "{writer}");
            }
        }
    }

    #[test]
    fn other_dot_files_are_left_alone() {
        for name in [".locks", ".tmp", "..tmp", ".fleche.tmp", "x.tmp", ""] {
            assert!(!is_temporary(name.as_bytes()), "{name}");
        }
    }
}
