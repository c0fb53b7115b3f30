//! The keys of a root, remembered for as long as nothing is created or removed in it.
//!
//! Looking up a prefix would otherwise read the whole folder each time. The folder's own time of
//! change tells whether the memory still holds.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::digest::{Hash, Hex};
use crate::engine::disk;
use crate::engine::fork::Lock;

/// A folder that changed less than this ago may change once more without its time showing it: the
/// coarsest step of time that a file system in use has, and that of a kernel whose file system
/// keeps fractions of seconds (a tick of its clock is 10 ms at most).
const COARSE_STEP: Duration = Duration::from_secs(2);
const FINE_STEP: Duration = Duration::from_millis(50);

/// The keys of a root, once they were read.
#[derive(Debug, Default)]
pub struct Index(Lock<Option<Known>>);

#[derive(Debug)]
struct Known {
    changed: SystemTime,
    sorted: Vec<Hash>,
}

/// When a root had last changed before it was read.
pub struct Moment(Option<SystemTime>);

impl Moment {
    /// To be taken before reading.
    pub fn now(root: &Path) -> Self {
        let changed = changed(root);
        let quiet = |time: &SystemTime| time.elapsed().is_ok_and(|since| since > step(*time));
        Self(changed.filter(quiet))
    }
}

/// How long a time of change may stay the same while a folder changes.
fn step(time: SystemTime) -> Duration {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whole milliseconds: some network file systems keep those only.
    if since.subsec_nanos().is_multiple_of(1_000_000) {
        COARSE_STEP
    } else {
        FINE_STEP
    }
}

fn changed(root: &Path) -> Option<SystemTime> {
    disk::metadata(root).and_then(|root| root.modified()).ok()
}

impl Index {
    /// Remembers what was read after `moment`.
    pub fn remember(&self, moment: &Moment, keys: &[Hash]) {
        let known = moment.0.map(|changed| {
            let mut sorted = keys.to_vec();
            sorted.sort_unstable();
            Known { changed, sorted }
        });
        *self.0.lock() = known;
    }

    /// The keys that start with `prefix`; `None` if they have to be read.
    pub fn candidates(&self, root: &Path, prefix: &str) -> Option<Vec<Hash>> {
        let known = self.0.lock();
        let known = known.as_ref()?;
        if changed(root)? != known.changed {
            return None;
        }
        let first = known
            .sorted
            .partition_point(|key| Hex::of(key).as_str() < prefix);
        let starting = known.sorted[first..].iter();
        let starting = starting.take_while(|key| Hex::of(key).as_str().starts_with(prefix));
        Some(starting.copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn key(first: u8) -> Hash {
        [first; 32]
    }

    fn at(root: &Path, time: SystemTime) {
        fs::File::open(root).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn keys_are_remembered_until_the_root_changes() {
        let root = tempfile::tempdir().unwrap();
        let (root, index) = (root.path(), Index::default());
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        at(root, long_ago);
        assert_eq!(index.candidates(root, "01"), None);
        index.remember(&Moment::now(root), &[key(2), key(1), key(0x12)]);
        assert_eq!(index.candidates(root, "01"), Some(vec![key(1)]));
        assert_eq!(index.candidates(root, "1212"), Some(vec![key(0x12)]));
        assert_eq!(index.candidates(root, "zz"), Some(vec![]));
        fs::write(root.join("new"), "").unwrap();
        assert_eq!(index.candidates(root, "01"), None);
    }

    #[test]
    fn how_long_a_root_must_have_rested_depends_on_the_fractions_that_its_time_has() {
        let root = tempfile::tempdir().unwrap();
        let trusted = |time: SystemTime| {
            at(root.path(), time);
            Moment::now(root.path()).0.is_some()
        };
        let second_ago = SystemTime::now() - Duration::from_secs(1);
        let whole = second_ago.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let whole = UNIX_EPOCH + Duration::from_secs(whole);
        assert!(!trusted(whole));
        assert!(trusted(whole - Duration::from_secs(2)));
        assert!(trusted(whole - Duration::from_nanos(1001)));
    }

    #[test]
    fn a_root_that_just_changed_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let index = Index::default();
        index.remember(&Moment::now(root.path()), &[key(1)]);
        assert_eq!(index.candidates(root.path(), "01"), None);
    }
}
