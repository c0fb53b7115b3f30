//! Windows. The system lets nobody move or remove a file that is open, so that no file takes the
//! place of one that is looked at.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::io::AsRawHandle;
use std::path::Path;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INVALID_FUNCTION, ERROR_LOCK_VIOLATION, ERROR_NOT_SUPPORTED, FILETIME,
    GetLastError, STILL_ACTIVE,
};
use windows_sys::Win32::Storage::FileSystem::{
    LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessTimes, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::ProcessorSeconds;

/// Whether a process of this number is there, whoever's it is; `None` if that cannot be told.
pub fn process_lives(number: u32) -> Option<bool> {
    // SAFETY: both take plain numbers, and the handle is closed below.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, number) };
    if process.is_null() {
        return match io::Error::last_os_error().kind() {
            ErrorKind::InvalidInput => Some(false),
            ErrorKind::PermissionDenied => Some(true),
            _ => None,
        };
    }
    let mut code = 0;
    // SAFETY: the handle is open, and `code` outlives the call.
    let told = unsafe { GetExitCodeProcess(process, &raw mut code) } != 0;
    // SAFETY: it is closed once, and not used afterwards.
    unsafe { CloseHandle(process) };
    told.then_some(code == STILL_ACTIVE.cast_unsigned())
}

/// An error if this process may not write there, as far as the file's own attribute tells.
pub fn may_write(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() && metadata.permissions().readonly() {
        return Err(ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

pub fn processor_seconds() -> Option<ProcessorSeconds> {
    let none = FILETIME {
        dwLowDateTime: 0,
        dwHighDateTime: 0,
    };
    let [mut created, mut ended, mut system, mut user] = [none; 4];
    // SAFETY: the handle of the process itself is always good, and the times outlive the call.
    let told = unsafe {
        GetProcessTimes(
            GetCurrentProcess(),
            &raw mut created,
            &raw mut ended,
            &raw mut system,
            &raw mut user,
        )
    };
    (told != 0).then(|| ProcessorSeconds {
        user: seconds(user),
        system: seconds(system),
    })
}

/// A time is counted in tenths of microseconds.
fn seconds(time: FILETIME) -> f64 {
    (f64::from(time.dwHighDateTime) * 4_294_967_296.0 + f64::from(time.dwLowDateTime)) * 1e-7
}

/// Whether an error of locking says that the file system has no locks.
pub fn has_no_locks(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    code.is_some_and(|code| [ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED].contains(&code))
}

/// Whether somebody has locked any of these bytes of a file.
pub fn is_region_locked(path: &Path, start: u64, length: u64) -> bool {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return false;
    };
    let [low, high] = halves(length);
    let [offset, offset_high] = halves(start);
    // SAFETY: all zeros is what an `OVERLAPPED` begins with.
    let mut place: OVERLAPPED = unsafe { std::mem::zeroed() };
    place.Anonymous.Anonymous.Offset = offset;
    place.Anonymous.Anonymous.OffsetHigh = offset_high;
    let how = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
    // SAFETY: the file is open, and `place` outlives both calls.
    unsafe {
        if LockFileEx(file.as_raw_handle(), how, 0, low, high, &raw mut place) == 0 {
            return GetLastError() == ERROR_LOCK_VIOLATION;
        }
        UnlockFileEx(file.as_raw_handle(), 0, low, high, &raw mut place);
    }
    false
}

/// The lower and the upper half of a number.
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

/// One for all: none takes another one's place.
pub fn file_identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// Not told here.
pub fn last_change(_: &Metadata) -> Option<(i64, i64)> {
    None
}

/// Closes a file; that this fails is not told here.
#[expect(clippy::unnecessary_wraps, reason = "other systems tell")]
pub fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}
