//! What each operating system has its own way for: processes, rights, locks, times, descriptors.
//!
//! `unix` and `windows` have the same functions; everything else is the same everywhere.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub use unix::{
    close, file_identity, has_no_locks, is_region_locked, last_change, may_write, process_lives,
    processor_seconds,
};
#[cfg(windows)]
pub use windows::{
    close, file_identity, has_no_locks, is_region_locked, last_change, may_write, process_lives,
    processor_seconds,
};

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
