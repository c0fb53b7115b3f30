//! BLAKE3 of a file: each piece is read and hashed by one thread, while the processor still has it
//! at hand. Nothing is mapped: a file that is cut meanwhile would end the process.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use rayon::ThreadPool;

use crate::engine::digest::{Hash, parallel};
use crate::engine::system;
use crate::engine::wait::Looks;

/// What a thread reads at once.
const PIECE: u64 = 256 * 1024;

/// What is read by several threads side by side. Such blocks follow each other, as disks that turn
/// and servers like it.
const BLOCK: u64 = 16 * 1024 * 1024;

/// Up to this size a file is read where it is wanted: there is no time to be interrupted.
const AT_ONCE: u64 = 1024 * 1024;

/// How often who waits looks up.
const MOMENT: Duration = Duration::from_millis(20);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why there is no content.
pub enum Failure {
    Interrupted,
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// BLAKE3 of a file of `size` bytes; `None` if it has another size now.
pub fn content(file: &File, size: u64) -> Result<Option<Hash>, Failure> {
    if size <= AT_ONCE {
        return Ok(whole(file, size)?);
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let reading = Reading {
        file: file.try_clone()?,
        cancelled: Arc::clone(&cancelled),
        threads: parallel::pool(),
    };
    let (sender, receiver) = mpsc::channel();
    // In a thread of its own: who waits can be interrupted, even while a disk does not answer.
    std::thread::Builder::new()
        .name("fleche-read".into())
        .spawn(move || sender.send(reading.root(size)))?;
    let mut looks = Looks::default();
    loop {
        match receiver.recv_timeout(MOMENT) {
            Ok(hash) => return Ok(hash?),
            Err(RecvTimeoutError::Timeout) if looks.interrupted() => {
                cancelled.store(true, Ordering::Relaxed);
                return Err(Failure::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that read it ended").into());
            }
        }
    }
}

/// BLAKE3 of a file that is read at once.
fn whole(file: &File, size: u64) -> io::Result<Option<Hash>> {
    // One more, which is not there; but files of the system have more than they say.
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(in_memory(size) + 1, 0);
        let read = system::read_at(file, buffer, 0)?;
        buffer.truncate(read);
        Ok((read == in_memory(size)).then(|| *blake3::hash(buffer).as_bytes()))
    })
}

/// A file that is being read.
struct Reading {
    file: File,
    /// Nobody waits any more.
    cancelled: Arc<AtomicBool>,
    threads: Option<Arc<ThreadPool>>,
}

impl Reading {
    /// `None` if the file has another size now.
    fn root(&self, size: u64) -> io::Result<Option<Hash>> {
        let (left, right) = match self.halves(0, size) {
            Ok(halves) => halves,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        let more = system::read_at(&self.file, &mut [0], size)?;
        let hash = merge_subtrees_root(&left, &right, Mode::Hash);
        Ok((more == 0).then(|| *hash.as_bytes()))
    }

    fn part(&self, start: u64, length: u64) -> io::Result<ChainingValue> {
        if length <= PIECE {
            return self.piece(start, length);
        }
        if length == BLOCK {
            system::will_read(&self.file, start + BLOCK, BLOCK);
        }
        let (left, right) = self.halves(start, length)?;
        Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
    }

    /// The two parts that BLAKE3 makes of one.
    fn halves(&self, start: u64, length: u64) -> io::Result<(ChainingValue, ChainingValue)> {
        let left = left_subtree_len(length);
        let one = || self.part(start, left);
        let two = || self.part(start + left, length - left);
        match &self.threads {
            Some(threads) if length <= BLOCK => {
                let (one, two) = threads.join(one, two);
                Ok((one?, two?))
            }
            _ => Ok((one()?, two()?)),
        }
    }

    fn piece(&self, start: u64, length: u64) -> io::Result<ChainingValue> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(in_memory(length), 0);
            if system::read_at(&self.file, buffer, start)? < buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut hasher = Hasher::new();
            Ok(hasher
                .set_input_offset(start)
                .update(buffer)
                .finalize_non_root())
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "of what is read at once")]
fn in_memory(size: u64) -> usize {
    size as usize
}
