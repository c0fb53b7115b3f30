//! Windows. The system lets nobody move or remove a file that is open, so that no file takes the
//! place of one that is looked at.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::FileExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::time::UNIX_EPOCH;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_INVALID_FUNCTION, ERROR_LOCK_VIOLATION, ERROR_NOT_SUPPORTED, FILETIME,
    GetLastError, STILL_ACTIVE,
};
use windows_sys::Win32::Storage::FileSystem::{
    LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
};
use windows_sys::Win32::System::IO::OVERLAPPED;
use windows_sys::Win32::System::SystemInformation::GetTickCount64;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessTimes, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::{ProcessorSeconds, Stamps, Time};

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

/// Nothing is mapped here: the system lets nobody replace or remove a file that is.
pub fn is_local(_: &File) -> bool {
    false
}

/// Not told here.
pub fn is_owners_alone(_: &Metadata) -> bool {
    false
}

/// Memory of this process alone.
#[derive(Debug)]
pub struct Memory {
    lines: Vec<Line>,
    length: usize,
}

/// What the widest processors load at once.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u8; 64]);

impl Memory {
    /// Nothing is mapped here.
    pub fn of_file(_: &File, _: u64, _: usize) -> io::Result<Self> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Zeros; an error if there is no memory for them.
    pub fn zeros(length: usize) -> io::Result<Self> {
        let count = length.div_ceil(size_of::<Line>());
        let mut lines = Vec::new();
        if lines.try_reserve_exact(count).is_err() {
            return Err(ErrorKind::OutOfMemory.into());
        }
        lines.resize(count, Line([0; 64]));
        Ok(Self { lines, length })
    }

    /// There is nothing to be read.
    pub fn populate(&self) -> bool {
        true
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.lines.as_ptr().cast::<u8>().cast_mut()
    }

    pub fn length(&self) -> usize {
        self.length
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the lines have so many bytes, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.length) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
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

pub fn last_modification(file: &Metadata) -> Option<Time> {
    let since = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((
        i64::try_from(since.as_secs()).ok()?,
        i64::from(since.subsec_nanos()),
    ))
}

/// Not asked for: no time of a change is told here that nobody can set.
pub fn kernel_time() -> Option<Time> {
    None
}

/// None: it is not told without opening the file.
pub fn identity_of_several(_: &Metadata) -> Option<(u64, u64)> {
    None
}

pub fn allocated(file: &Metadata) -> u64 {
    file.len().next_multiple_of(512)
}

pub fn coarse_milliseconds() -> u64 {
    // SAFETY: it takes nothing.
    unsafe { GetTickCount64() }
}

pub fn stamps(_: &File) -> Stamps {
    Stamps::Unreliable
}

pub fn is_open_for_writing(_: &File) -> bool {
    false
}

pub fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// None: nothing is to be kept in it.
pub fn open_own(_: &Path, _: bool) -> Option<File> {
    None
}

/// Reads from this place on until the buffer is full or the file ends; gives how much.
pub fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.seek_read(&mut buffer[read..], start + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

pub fn write_at(file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        written += file.seek_write(&bytes[written..], start + written as u64)?;
    }
    Ok(())
}

pub fn will_read(_: &File, _: u64, _: u64) {}

pub fn special_kind(_: &Metadata) -> &'static str {
    "it is no file"
}

/// Not asked for, as `open_own` opens nothing.
pub fn machine() -> &'static str {
    ""
}

/// Closes a file; that this fails is not told here.
#[expect(clippy::unnecessary_wraps, reason = "other systems tell")]
pub fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

/// Windows decides about the size of pages itself.
pub fn ask_for_huge_pages(_: *mut u8, _: usize) {}
