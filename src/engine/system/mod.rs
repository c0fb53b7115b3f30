//! What each operating system has its own way for: processes, rights, locks, times, descriptors.
//!
//! `unix` and `windows` have the same functions; everything else is the same everywhere.

#[cfg(unix)]
use std::time::Duration;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{
    Memory, allocated, ask_for_huge_pages, close, coarse_milliseconds, file_identity, has_no_locks,
    identity_of_several, is_local, is_open_for_writing, is_owners_alone, is_region_locked,
    kernel_time, last_change, last_modification, machine, may_write, open_own, open_to_read,
    process_lives, processor_seconds, read_at, special_kind, stamps, will_read, write_at,
};
#[cfg(windows)]
pub use windows::{
    Memory, allocated, ask_for_huge_pages, close, coarse_milliseconds, file_identity, has_no_locks,
    identity_of_several, is_local, is_open_for_writing, is_owners_alone, is_region_locked,
    kernel_time, last_change, last_modification, machine, may_write, open_own, open_to_read,
    process_lives, processor_seconds, read_at, special_kind, stamps, will_read, write_at,
};

/// Seconds and nanoseconds since 1970.
pub type Time = (i64, i64);

/// Some time after another one.
pub fn later(time: Time, by: Duration) -> Time {
    let by_seconds = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    (time.0.saturating_add(by_seconds), time.1)
}

/// What a file system says of when a file changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamps {
    /// Each change, by the clock of this kernel.
    ByKernel,
    /// As `ByKernel`, as long as it is mounted: images may have times that were set when they were
    /// made, and another one may take its place.
    OfImage,
    /// Each change, by the clock of another machine.
    ByServer,
    /// Too little: times that can be set, files that are known by changing numbers.
    Unreliable,
}

/// Processor time of this process and, where the system counts it, its finished children, in
/// seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessorSeconds {
    pub user: f64,
    pub system: f64,
}

#[cfg(test)]
mod tests {
    use std::fs;
    #[cfg(target_os = "linux")]
    use std::fs::File;

    use super::*;

    #[test]
    fn this_process_lives_and_one_that_ended_does_not() {
        assert_eq!(process_lives(std::process::id()), Some(true));
        let program = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(program)
            .arg("--list")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let number = child.id();
        child.wait().unwrap();
        drop(child);
        assert_eq!(process_lives(number), Some(false));
    }

    #[test]
    fn files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        let of = |path| file_identity(&fs::metadata(path).unwrap());
        assert_eq!(of(&a), of(&a));
        #[cfg(unix)]
        assert_ne!(of(&a), of(&b));
    }

    #[test]
    fn one_s_own_files_may_be_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(may_write(folder.path()).is_ok());
        assert!(may_write(&folder.path().join("none")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_has_a_file_open_for_writing_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let writer = File::create(&path).unwrap();
        let reader = open_to_read(&path).unwrap();
        assert!(is_open_for_writing(&reader));
        drop(writer);
        assert!(!is_open_for_writing(&reader));
        assert!(File::options().write(true).open(&path).is_ok());
    }

    #[test]
    fn a_file_of_one_s_own_is_made_if_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/a");
        assert!(open_own(&path, false).is_none());
        assert!(!folder.path().join("below").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            write_at(&open_own(&path, true).unwrap(), b"abc", 0).unwrap();
            assert!(open_own(&path, false).is_some());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            assert!(open_own(&path, true).is_none());
        }
    }

    #[test]
    fn time_is_used() {
        let before = processor_seconds().unwrap();
        let mut sum = 0_u64;
        while processor_seconds().unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        let after = processor_seconds().unwrap();
        assert!(after.user + after.system > before.user + before.system);
    }

    #[test]
    fn nobody_else_has_locked_a_file_of_one_s_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "abc").unwrap();
        assert!(!is_region_locked(&path, 0x4000_0002, 510));
        assert!(!is_region_locked(&folder.path().join("none"), 0, 1));
    }
}
