//! Large values are split: children that are deep enough are stored under digests of their own,
//! and the parent holds those. Equal children are stored once; loading mends the whole.

mod load;
mod save;
mod sharing;
mod split;

pub use load::{child_digests, load_found, load_from, load_value, mend};
pub use save::{
    entries_of, intern_value, result_digest, result_digests, result_entries, save, save_result,
    save_value,
};
pub use sharing::has_identity;
