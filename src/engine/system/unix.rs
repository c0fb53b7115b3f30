//! Linux, macOS and their kin.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::{ptr, slice};

use libc::c_void;
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use once_cell::race::OnceBox;
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;
#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk, geteuid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::{ProcessorSeconds, Stamps, Time};

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

/// What tells a file that has several names.
pub fn identity_of_several(file: &Metadata) -> Option<(u64, u64)> {
    (file.nlink() > 1).then(|| file_identity(file))
}

/// How many bytes of a disk a file takes.
pub fn allocated(file: &Metadata) -> u64 {
    file.blocks() * 512
}

/// When a file last changed in any way, by the time that nobody can set; in seconds and nanoseconds.
pub fn last_change(file: &Metadata) -> Option<(i64, i64)> {
    Some((file.ctime(), file.ctime_nsec()))
}

/// When the content of a file last changed, by a time that may be set.
pub fn last_modification(file: &Metadata) -> Option<Time> {
    Some((file.mtime(), file.mtime_nsec()))
}

/// What the kernel takes for the time when files on a disk of its own change.
pub fn kernel_time() -> Option<Time> {
    #[cfg(target_os = "linux")]
    let clock = ClockId::RealtimeCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Realtime;
    let now = clock_gettime(clock);
    Some((now.tv_sec, now.tv_nsec))
}

/// A clock that only goes on, in milliseconds: cheap, and some of them late.
pub fn coarse_milliseconds() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::MonotonicCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// File systems on disks of this machine, by linux/magic.h and the sources of the others.
#[cfg(target_os = "linux")]
const BY_KERNEL: [u32; 9] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x3153_464a, // jfs
    0x3434,      // nilfs
];

/// What containers and images lie on, above one of those.
#[cfg(target_os = "linux")]
const OVERLAY: u32 = 0x794c_7630;
#[cfg(target_os = "linux")]
const IMAGES: [u32; 2] = [
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
];

#[cfg(target_os = "linux")]
fn kind_of(system: &rustix::fs::StatFs) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it has 32 bits"
    )]
    let kind = system.f_type as u32;
    kind
}

/// Whether a file lies on a disk of this machine, where nobody else's kernel changes it. Of a file
/// system that is not known here it does not.
pub fn is_local(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    return rustix::fs::fstatfs(file).is_ok_and(|system| {
        let kind = kind_of(&system);
        kind == OVERLAY || BY_KERNEL.contains(&kind) || IMAGES.contains(&kind)
    });
    #[cfg(not(target_os = "linux"))]
    return stamps(file) == Stamps::ByKernel;
}

/// Whether nobody but this process's user, and the system's, may write to a file.
pub fn is_owners_alone(file: &Metadata) -> bool {
    let owner = file.uid();
    (owner == geteuid().as_raw() || owner == 0) && file.mode() & 0o022 == 0
}

/// From this length on memory has room for a huge page, wherever it begins.
#[cfg(target_os = "linux")]
const HUGE: usize = 1 << 22;

/// Memory of this process alone: a part of a file, which what is written to it does not reach, or
/// zeros.
#[derive(Debug)]
pub struct Memory {
    map: *mut c_void,
    map_length: usize,
    /// Where in the map what was asked for begins.
    start: usize,
}

// SAFETY: it owns its map, as a vector owns its bytes.
unsafe impl Send for Memory {}
// SAFETY: bytes are changed through `&mut` alone, or by who takes that upon himself.
unsafe impl Sync for Memory {}

impl Memory {
    /// A part of a file, which must have that part as long as this is there: a page behind the
    /// file's end is a signal that ends the process.
    pub fn of_file(file: &File, start: u64, length: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let skipped = usize::try_from(start % page as u64).unwrap_or(0);
        let map_length = length
            .checked_add(skipped)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so that nothing that is there is touched.
        let map = unsafe {
            mmap(
                ptr::null_mut(),
                map_length,
                access,
                MapFlags::PRIVATE,
                file,
                start - skipped as u64,
            )
        };
        Ok(Self {
            map: map?,
            map_length,
            start: skipped,
        })
    }

    /// Zeros; an error if there is no memory for them.
    pub fn zeros(length: usize) -> io::Result<Self> {
        let map_length = length.max(1);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the address, so that nothing that is there is touched.
        let map = unsafe { mmap_anonymous(ptr::null_mut(), map_length, access, MapFlags::PRIVATE) };
        let memory = Self {
            map: map?,
            map_length,
            start: 0,
        };
        ask_for_huge_pages(memory.map.cast(), memory.map_length);
        Ok(memory)
    }

    /// Has all of it read from the file now; false if the disk does not give it.
    pub fn populate(&self) -> bool {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: it is this map's memory, whose content stays what it is.
            let done = unsafe { madvise(self.map, self.map_length, Advice::LinuxPopulateRead) };
            // What kernels before 5.14 do not know, they do not refuse.
            matches!(done, Ok(()) | Err(Errno::INVAL))
        }
        #[cfg(not(target_os = "linux"))]
        true
    }

    /// Where it begins.
    pub fn as_ptr(&self) -> *mut u8 {
        self.map.cast::<u8>().wrapping_add(self.start)
    }

    pub fn length(&self) -> usize {
        self.map_length - self.start
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the map has so many bytes, and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.length()) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has it.
        unsafe { slice::from_raw_parts_mut(self.as_ptr(), self.length()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it is this map, whole, and nobody uses it any longer.
        let _ = unsafe { munmap(self.map, self.map_length) };
    }
}

/// What the file system of a file says of its changes. One that is not known here says too little.
#[cfg(target_os = "linux")]
pub fn stamps(file: &File) -> Stamps {
    const READ_ONLY: u64 = 1;
    const BY_SERVER: [u32; 6] = [
        0x6969,      // nfs
        0x0bd0_0bd0, // lustre
        0x4750_4653, // gpfs
        0x00c3_6400, // ceph
        0x1983_0326, // beegfs
        0xaad7_aaea, // panfs
    ];
    let Ok(system) = rustix::fs::fstatfs(file) else {
        return Stamps::Unreliable;
    };
    let kind = kind_of(&system);
    #[expect(clippy::cast_sign_loss, reason = "flags")]
    let is_read_only = system.f_flags as u64 & READ_ONLY != 0;
    if kind == OVERLAY || BY_KERNEL.contains(&kind) && is_read_only {
        Stamps::OfImage
    } else if BY_KERNEL.contains(&kind) {
        Stamps::ByKernel
    } else if BY_SERVER.contains(&kind) {
        Stamps::ByServer
    } else {
        Stamps::Unreliable
    }
}

#[cfg(target_os = "macos")]
pub fn stamps(file: &File) -> Stamps {
    let Ok(system) = rustix::fs::fstatfs(file) else {
        return Stamps::Unreliable;
    };
    let is = |name: &str| {
        let held = system.f_fstypename.iter().map(|byte| byte.cast_unsigned());
        held.take_while(|byte| *byte != 0).eq(name.bytes())
    };
    if is("apfs") || is("hfs") {
        Stamps::ByKernel
    } else {
        Stamps::Unreliable
    }
}

/// Where nobody can tell, nothing is taken for granted.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn stamps(_: &File) -> Stamps {
    Stamps::Unreliable
}

/// Whether anybody on this machine has a file open for writing or mapped so, as far as that can be
/// told: of one's own files.
#[cfg(target_os = "linux")]
pub fn is_open_for_writing(file: &File) -> bool {
    /// The number that `fcntl` has it under on Linux.
    const F_SETSIG: libc::c_int = 10;
    let descriptor = file.as_raw_fd();
    // A lease on a file is refused while it is open for writing. Who opens it in the moment until
    // it is given back waits, and its holder gets a signal: one that is ignored where nobody
    // handles it.
    // SAFETY: the descriptor is open, and the arguments are numbers.
    unsafe {
        if libc::fcntl(descriptor, F_SETSIG, libc::SIGURG) == -1 {
            return false;
        }
        if libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) == -1 {
            return io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
        }
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
    }
    false
}

/// Not told here.
#[cfg(not(target_os = "linux"))]
pub fn is_open_for_writing(_: &File) -> bool {
    false
}

/// Opens a file to be read; waits for nobody, whatever it is by now.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    #[expect(clippy::cast_possible_wrap, reason = "flags")]
    let flags = flags.bits() as i32;
    File::options().read(true).custom_flags(flags).open(path)
}

/// Opens a file that nobody else may write to, read-only where it cannot be written; makes it and
/// its folders, if that is wanted.
pub fn open_own(path: &Path, is_made: bool) -> Option<File> {
    #[expect(clippy::cast_possible_wrap, reason = "flags")]
    let flags = OFlags::NOFOLLOW.bits() as i32;
    if is_made {
        // What cannot be made is not there, which is seen below.
        let mut folders = DirBuilder::new();
        let _ = folders.recursive(true).mode(0o700).create(path.parent()?);
    }
    let mut options = File::options();
    options.read(true).mode(0o600).custom_flags(flags);
    let writable = options.clone().write(true).create(is_made).open(path);
    let file = writable.or_else(|_| options.open(path)).ok()?;
    let metadata = file.metadata().ok()?;
    let own = metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    (own && metadata.is_file()).then_some(file)
}

/// Reads from this place on until the buffer is full or the file ends; gives how much.
pub fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], start + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

pub fn write_at(file: &File, bytes: &[u8], start: u64) -> io::Result<()> {
    file.write_all_at(bytes, start)
}

/// Tells the system that this part of a file is going to be read.
pub fn will_read(file: &File, start: u64, length: u64) {
    #[cfg(target_os = "linux")]
    if let Some(length) = std::num::NonZeroU64::new(length) {
        // It is advice.
        let _ = rustix::fs::fadvise(file, start, Some(length), rustix::fs::Advice::WillNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, length);
}

/// What is neither file nor folder, in words.
pub fn special_kind(file: &Metadata) -> &'static str {
    let kind = file.file_type();
    if kind.is_fifo() {
        "it is a pipe, which has no content"
    } else if kind.is_socket() {
        "it is a socket, which has no content"
    } else if kind.is_char_device() || kind.is_block_device() {
        "it is a device, whose content nobody can tell"
    } else {
        "it is no file"
    }
}

/// What tells this machine from others.
pub fn machine() -> &'static str {
    static MACHINE: OnceBox<String> = OnceBox::new();
    MACHINE.get_or_init(|| {
        let number = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let system = rustix::system::uname();
        let name = system.nodename().to_string_lossy();
        Box::new(format!("{} {name}", number.trim()))
    })
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

/// Filling memory page by page takes twice as long; it is advice, for memory that is about to be.
pub fn ask_for_huge_pages(start: *mut u8, length: usize) {
    #[cfg(target_os = "linux")]
    if length >= HUGE {
        let page = rustix::param::page_size();
        let skipped = start.align_offset(page);
        let whole = length.saturating_sub(skipped) / page * page;
        // SAFETY: what the content is it stays, whoever's memory it is.
        let _ = unsafe {
            madvise(
                start.wrapping_add(skipped).cast(),
                whole,
                Advice::LinuxHugepage,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, length);
}
