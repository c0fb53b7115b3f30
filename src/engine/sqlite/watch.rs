//! SQLite's own system calls, for tests to make fail or to end the process before. There is none of
//! it without debug assertions.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::ffi;

use crate::engine::disk::watch::check;

static WATCHED: AtomicBool = AtomicBool::new(false);

/// Has the hook that is set for the system calls of the engine called before those of SQLite, too.
pub fn watch(watched: bool) {
    static INSTALLED: Once = Once::new();
    WATCHED.store(watched, Ordering::SeqCst);
    if watched {
        INSTALLED.call_once(install);
    }
}

/// Whether a call is to be made; else its error is set.
fn passes(name: &'static str, path: &Path) -> bool {
    if !WATCHED.load(Ordering::Relaxed) {
        return true;
    }
    match check(name, path) {
        Ok(()) => true,
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            // SAFETY: it is the place of this thread's error number.
            unsafe { *libc::__errno_location() = number };
            false
        }
    }
}

/// The file that a number stands for.
fn path_of(file: c_int) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default()
}

fn path_at<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: SQLite gives texts that end, and that outlive the call.
    let path = unsafe { CStr::from_ptr(path) };
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    if !passes("sqlite: open", path_at(path)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::open(path, flags, mode) }
}

unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    if !passes("sqlite: write", &path_of(file)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::write(file, bytes, count) }
}

unsafe extern "C" fn read(file: c_int, bytes: *mut c_void, count: usize) -> isize {
    if !passes("sqlite: read", &path_of(file)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::read(file, bytes, count) }
}

unsafe extern "C" fn truncate(file: c_int, length: libc::off_t) -> c_int {
    if !passes("sqlite: ftruncate", &path_of(file)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::ftruncate(file, length) }
}

unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    if !passes("sqlite: unlink", path_at(path)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::unlink(path) }
}

unsafe extern "C" fn lock(file: c_int, command: c_int, lock: *mut libc::flock) -> c_int {
    // Nobody is to be kept from giving a lock up: that does not fail.
    // SAFETY: of these commands the argument is a lock.
    let takes = matches!(command, libc::F_SETLK | libc::F_SETLKW)
        && c_int::from(unsafe { (*lock).l_type }) != libc::F_UNLCK;
    if takes && !passes("sqlite: fcntl", &path_of(file)) {
        return -1;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::fcntl(file, command, lock) }
}

unsafe extern "C" fn map(
    at: *mut c_void,
    length: usize,
    rights: c_int,
    flags: c_int,
    file: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    if !passes("sqlite: mmap", &path_of(file)) {
        return libc::MAP_FAILED;
    }
    // SAFETY: the arguments are SQLite's own.
    unsafe { libc::mmap(at, length, rights, flags, file, offset) }
}

type Call = unsafe extern "C" fn();

fn install() {
    // SAFETY: each function has the type of the call whose name it gets; none is called by another.
    let calls: [(&CStr, Call); 7] = unsafe {
        [
            (c"open", transmute::<*const (), Call>(open as *const ())),
            (c"write", transmute::<*const (), Call>(write as *const ())),
            (c"read", transmute::<*const (), Call>(read as *const ())),
            (
                c"ftruncate",
                transmute::<*const (), Call>(truncate as *const ()),
            ),
            (c"unlink", transmute::<*const (), Call>(unlink as *const ())),
            (c"fcntl", transmute::<*const (), Call>(lock as *const ())),
            (c"mmap", transmute::<*const (), Call>(map as *const ())),
        ]
    };
    // SAFETY: the library is initialised; the file system that it gives stays for ever.
    unsafe {
        ffi::sqlite3_initialize();
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        if let Some(set) = vfs.as_ref().and_then(|vfs| vfs.xSetSystemCall) {
            for (name, call) in calls {
                set(vfs, name.as_ptr(), Some(call));
            }
        }
    }
}
