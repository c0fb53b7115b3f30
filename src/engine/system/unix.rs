//! Linux, macOS and their kin.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk, test_kill_process};

use super::ProcessorSeconds;

/// Whether a process of this number is there, whoever's it is; `None` if it can be none.
pub fn process_lives(number: u32) -> Option<bool> {
    let process = Pid::from_raw(number.try_into().ok()?)?;
    Some(test_kill_process(process) != Err(Errno::SRCH))
}

/// An error if this process may not write there, with the rights that it has in force.
pub fn may_write(path: &Path) -> io::Result<()> {
    Ok(accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS)?)
}

pub fn processor_seconds() -> Option<ProcessorSeconds> {
    let own = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    let sum = |part: fn(&Usage) -> TimeVal| seconds(part(&own)) + seconds(part(&children));
    Some(ProcessorSeconds {
        user: sum(Usage::user_time),
        system: sum(Usage::system_time),
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 seconds")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6
}

/// Whether an error of locking says that the file system has no locks.
pub fn has_no_locks(error: &io::Error) -> bool {
    const WITHOUT: [Errno; 4] = [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF];
    Errno::from_io_error(error).is_some_and(|errno| WITHOUT.contains(&errno))
}

/// Whether another process has locked any of these bytes of a file.
pub fn is_region_locked(path: &Path, start: u64, length: u64) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    let wanted = Flock {
        start,
        length,
        ..Flock::from(FlockType::WriteLock)
    };
    matches!(fcntl_getlk(&file, &wanted), Ok(Some(_)))
}

/// What tells a file from all others, as long as it is there.
pub fn file_identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// When a file last changed in any way, by the time that nobody can set; in seconds and nanoseconds.
pub fn last_change(file: &Metadata) -> Option<(i64, i64)> {
    Some((file.ctime(), file.ctime_nsec()))
}

/// Closes a file, and says if that fails.
pub fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is owned here alone and is not used afterwards, whatever `close` says.
    match unsafe { rustix::io::try_close(file.into_raw_fd()) } {
        // Closed nevertheless (Linux), and nothing is known to be lost.
        Err(Errno::INTR) => Ok(()),
        closed => Ok(closed?),
    }
}
