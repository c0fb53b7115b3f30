//! Digests of files that are known, so that a large file is not read again.
//!
//! A digest is kept for a file in a certain state (`Stamp`), and only if every change that is still
//! to come is going to show in that:
//!
//! - its file system tells of each change, by a time that nobody can set (`system::stamps`);
//! - that time is past: what changes in the same tick of the file system's clock would not show;
//! - nobody is known to have it open for writing: what is written to memory that is mapped from a
//!   file shows once, and then not for long.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use super::stamp::Stamp;
use super::{SMALL, table};
use crate::engine::digest::Hash;
use crate::engine::fork::Lock;
use crate::engine::system::{self, Stamps};

/// No file system's clock ticks more slowly.
const TICK: Duration = Duration::from_secs(2);

/// How much the clock of a server may differ from ours.
const SKEW: Duration = Duration::from_secs(3600);

/// How many files are known in this process.
const MOST: usize = 1 << 16;

#[derive(Clone, Copy)]
enum Known {
    Digest(Hash),
    /// Since when the file is seen in this state.
    Seen(Instant),
}

static KNOWN: Lock<BTreeMap<Stamp, Known>> = Lock::new(BTreeMap::new());

/// The digest of a file in this state, if it is known.
pub fn find(stamp: &Stamp, size: u64) -> Option<Hash> {
    if size < SMALL {
        return None;
    }
    match KNOWN.lock().get(stamp) {
        Some(Known::Digest(hash)) => return Some(*hash),
        Some(Known::Seen(_)) => return None,
        None => {}
    }
    let hash = table::find(stamp)?;
    insert(stamp, Known::Digest(hash));
    Some(hash)
}

/// For whom the digest of a file is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    Nobody,
    ThisProcess,
    All,
}

/// For whom the digest of a file that is going to be read may be kept.
pub fn keeping(file: &File, stamp: &Stamp, size: u64) -> Keeping {
    if size < SMALL {
        return Keeping::Nobody;
    }
    let kind = system::stamps(file);
    // Who else uses it, a server does not say.
    let may_be_written = || kind != Stamps::ByServer && system::is_open_for_writing(file);
    if kind == Stamps::Unreliable || !is_past(stamp, kind) || may_be_written() {
        Keeping::Nobody
    } else if kind == Stamps::OfImage {
        Keeping::ThisProcess
    } else {
        Keeping::All
    }
}

/// Whether the clock of the file system went on since the file changed.
fn is_past(stamp: &Stamp, kind: Stamps) -> bool {
    let margin = if kind == Stamps::ByServer { SKEW } else { TICK };
    if let (Some(newest), Some(now)) = (stamp.newest(), system::kernel_time())
        && system::later(newest, margin) < now
    {
        return true;
    }
    // Whatever clocks say: it was seen just so before, and went on ticking.
    let seen = KNOWN.lock().get(stamp).copied();
    match seen {
        Some(Known::Seen(since)) => since.elapsed() > TICK,
        Some(Known::Digest(_)) => true,
        None => {
            insert(stamp, Known::Seen(Instant::now()));
            false
        }
    }
}

/// Keeps the digest of a file in this state.
pub fn keep(stamp: &Stamp, hash: &Hash, keeping: Keeping) {
    if keeping != Keeping::Nobody {
        insert(stamp, Known::Digest(*hash));
    }
    if keeping == Keeping::All {
        table::keep(stamp, hash);
    }
}

fn insert(stamp: &Stamp, known: Known) {
    let mut all = KNOWN.lock();
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(stamp.clone(), known);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_in_this_tick_is_not_past() {
        let now = system::kernel_time().unwrap();
        let is_past = |seconds, kind| is_past(&Stamp::at((now.0 - seconds, now.1)), kind);
        assert!(!is_past(0, Stamps::ByKernel));
        assert!(!is_past(1, Stamps::ByKernel));
        assert!(is_past(3, Stamps::ByKernel));
        assert!(!is_past(-100, Stamps::ByKernel));
        assert!(!is_past(60, Stamps::ByServer));
        assert!(is_past(4000, Stamps::ByServer));
    }

    #[test]
    fn what_was_seen_for_long_is_past_whatever_clocks_say() {
        let stamp = Stamp::at((i64::MAX / 2, 0));
        assert!(!is_past(&stamp, Stamps::ByServer));
        assert!(!is_past(&stamp, Stamps::ByServer));
        let since = Instant::now().checked_sub(TICK * 2).unwrap();
        insert(&stamp, Known::Seen(since));
        assert!(is_past(&stamp, Stamps::ByServer));
    }
}
