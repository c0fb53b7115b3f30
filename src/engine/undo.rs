//! Changes of a file in place that are undone unless they were finished.
//!
//! What a change overwrites is kept in a journal beside the file first, as `SQLite` does it: a
//! process that is killed in the middle leaves the journal, and who comes next puts back what is in
//! it. `docs/design.md` has the bytes.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::disk::{self, File};
use super::fork;

const MAGIC: &[u8; 8] = b"fleche-1";

/// What is kept is kept in blocks of so many bytes, each once.
const BLOCK: u64 = 4096;

/// Where the journal of a file is while it is changed.
pub fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}

/// A file that is changed; nobody else reads or writes it meanwhile.
///
/// Who writes through it may not be able to tell what went wrong, or not even to close a file that
/// cannot be written (HDF5): writing never fails, and what failed is told by [`Undoable::finish`].
#[derive(Debug)]
pub struct Undoable {
    path: PathBuf,
    file: File,
    journal: Option<File>,
    /// The length of the file before the change.
    length: u64,
    kept: HashSet<u64>,
    failure: Option<io::Error>,
    /// In a forked child it is its parent's.
    generation: u32,
}

impl Undoable {
    /// Begins a change; fails with `AlreadyExists` if one of before is to be undone first.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open_with(path, OpenOptions::new().read(true).write(true))?;
        let length = file.seek(SeekFrom::End(0))?;
        let journal = journal_of(path);
        let mut opened =
            File::open_with(&journal, OpenOptions::new().write(true).create_new(true))?;
        let begun = opened
            .write_all(MAGIC)
            .and_then(|()| opened.write_all(&length.to_le_bytes()));
        if let Err(error) = begun {
            let _ = disk::remove_file(&journal);
            return Err(error);
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            journal: Some(opened),
            length,
            kept: HashSet::new(),
            failure: None,
            generation: fork::generation(),
        })
    }

    /// Whether anything is still written: not after a failure, nor in a forked child.
    fn goes_on(&self) -> bool {
        self.failure.is_none() && self.journal.is_some() && self.generation == fork::generation()
    }

    pub fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }

    /// Reads as many bytes as there are.
    pub fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.read(&mut bytes[done..])? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// Writes at the current place.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.goes_on()
            && let Err(error) = self.try_write(bytes)
        {
            self.failure = Some(error);
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = self.file.stream_position()?;
        self.keep(start, start.saturating_add(bytes.len() as u64))?;
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(bytes)
    }

    /// Cuts the file, or makes it longer.
    pub fn truncate(&mut self, length: u64) {
        if self.goes_on()
            && let Err(error) = self
                .keep(length, self.length)
                .and_then(|()| self.file.set_length(length))
        {
            self.failure = Some(error);
        }
    }

    /// Puts into the journal what is between two places, and was there at the beginning.
    fn keep(&mut self, start: u64, end: u64) -> io::Result<()> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        for block in start / BLOCK..end.min(self.length).div_ceil(BLOCK) {
            if self.kept.contains(&block) {
                continue;
            }
            let address = block * BLOCK;
            let mut content = Vec::new();
            self.file.seek(SeekFrom::Start(address))?;
            let there = BLOCK.min(self.length - address);
            self.file.read_up_to(there, &mut content)?;
            let mut piece = Vec::with_capacity(content.len() + 16);
            piece.extend_from_slice(&address.to_le_bytes());
            piece.extend_from_slice(&(content.len() as u64).to_le_bytes());
            piece.append(&mut content);
            journal.write_all(&piece)?;
            self.kept.insert(block);
        }
        Ok(())
    }

    /// Ends the change; one in which something failed is undone, and fails now.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.failure.is_some() {
            return self.give_up();
        }
        if self.goes_on() {
            self.journal = None;
            disk::remove_file(&journal_of(&self.path))?;
        }
        Ok(())
    }

    /// Undoes the change, and fails if something in it had failed.
    pub fn give_up(&mut self) -> io::Result<()> {
        if self.journal.take().is_some() && self.generation == fork::generation() {
            undo(&self.path)?;
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Undoes a change that was not finished, if there is one. Nobody else reads or writes the file
/// meanwhile. Where the file cannot be written, the journal stays.
pub fn undo(path: &Path) -> io::Result<()> {
    let journal = journal_of(path);
    let mut kept = match File::open(&journal) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut magic = [0; 8];
    let mut number = [0; 8];
    // One that is cut was never followed by a change.
    if fill(&mut kept, &mut magic)? && magic == *MAGIC && fill(&mut kept, &mut number)? {
        let length = u64::from_le_bytes(number);
        let mut file = File::open_with(path, OpenOptions::new().write(true))?;
        while let Some((address, content)) = next_piece(&mut kept)? {
            file.seek(SeekFrom::Start(address))?;
            file.write_all(&content)?;
        }
        file.set_length(length)?;
        file.close()?;
    }
    disk::remove_file(&journal)
}

/// A block of before, and where it was; `None` at the end, or at one that is cut.
fn next_piece(journal: &mut File) -> io::Result<Option<(u64, Vec<u8>)>> {
    let (mut address, mut length) = ([0; 8], [0; 8]);
    if !fill(journal, &mut address)? || !fill(journal, &mut length)? {
        return Ok(None);
    }
    let mut content = Vec::new();
    let length = u64::from_le_bytes(length);
    journal.read_up_to(length, &mut content)?;
    let whole = content.len() as u64 == length;
    Ok(whole.then_some((u64::from_le_bytes(address), content)))
}

/// Whether there were as many bytes as were asked for.
fn fill(file: &mut File, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A change: bytes at a place, or a new length.
    #[derive(Clone, Debug)]
    enum Change {
        Write(u64, Vec<u8>),
        Truncate(u64),
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let bytes = proptest::collection::vec(any::<u8>(), 1..6000);
        let change = prop_oneof![
            (0..20_000_u64, bytes).prop_map(|(place, bytes)| Change::Write(place, bytes)),
            (0..20_000_u64).prop_map(Change::Truncate),
        ];
        proptest::collection::vec(change, 1..8)
    }

    proptest! {
        #[test]
        fn what_is_not_finished_is_undone(
            before in proptest::collection::vec(any::<u8>(), 0..15_000),
            changes in changes(),
            how in 0..3,
            cut in 0..40_000_u64,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.h5");
            std::fs::write(&path, &before).unwrap();
            let mut changed = Undoable::open(&path).unwrap();
            let mut expected = before.clone();
            for change in &changes {
                match change {
                    Change::Write(place, bytes) => {
                        changed.seek(SeekFrom::Start(*place)).unwrap();
                        changed.write(bytes);
                        let place = usize::try_from(*place).unwrap();
                        let end = place + bytes.len();
                        expected.resize(expected.len().max(end), 0);
                        expected[place..end].copy_from_slice(bytes);
                    }
                    Change::Truncate(length) => {
                        changed.truncate(*length);
                        expected.resize(usize::try_from(*length).unwrap(), 0);
                    }
                }
            }
            match how {
                0 => changed.finish().unwrap(),
                1 => changed.give_up().unwrap(),
                _ => {
                    // Killed, and the last piece of the journal is cut, whose block was not
                    // overwritten yet.
                    let journal = journal_of(&path);
                    let length = std::fs::metadata(&journal).unwrap().len();
                    let mut torn = OpenOptions::new().append(true).open(&journal).unwrap();
                    torn.write_all(&vec![7; usize::try_from(cut % 4000).unwrap() % 16]).unwrap();
                    prop_assert!(length >= 16);
                    undo(&path).unwrap();
                }
            }
            let expected = if how == 0 { expected } else { before };
            prop_assert_eq!(std::fs::read(&path).unwrap(), expected);
            prop_assert!(!journal_of(&path).exists());
        }
    }

    #[test]
    fn one_that_was_not_undone_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        std::fs::write(&path, b"abc").unwrap();
        let mut first = Undoable::open(&path).unwrap();
        let second = Undoable::open(&path);
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        first.write(b"x");
        first.finish().unwrap();
        assert!(Undoable::open(&path).is_ok());
    }
}
