//! Storages: where values and records are put, and how large values are split over keys.

mod backend;
#[cfg(feature = "bucket")]
pub mod bucket;
pub mod collection;
mod destructure;
mod entry;
pub mod file;
mod filter;
pub mod key_locks;
pub mod lock;
mod memory;
mod pieces;
pub mod records;
pub mod root;
mod serialised;
pub mod signatures;
mod sqlite;
mod sqlite_values;
pub mod survey;
pub mod together;
pub mod undo;
mod waiting;

pub use backend::Backend;
pub use collection::{Collection, Flight};
pub use destructure::{
    child_digests, entries_of, has_identity, intern_value, load_found, load_from, load_value, mend,
    result_digest, result_digests, result_entries, save, save_result, save_value,
};
pub use memory::{independent, independent_copy, put_newest};
pub use sqlite::{SqliteStore, close_databases};
pub use sqlite_values::SqliteValues;
