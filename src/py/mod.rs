//! The Python side: walks over Python objects, and the functions and classes of `fleche._core`.

mod bytes;
mod caches;
mod call;
mod cbor;
mod config;
mod digest;
mod errors;
mod files;
mod interrupt;
mod keys;
mod logs;
mod names;
mod older;
mod once;
mod signing;
mod storage;
mod tally;
#[cfg(debug_assertions)]
mod watch;
mod wrapper;

use pyo3::prelude::*;

/// The compiled core of `fleche`. Its contents are private to the package. It needs no global lock:
/// what its classes hold is behind locks of their own.
#[pymodule(gil_used = false)]
pub mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::caches::PlainCall;
    #[pymodule_export]
    use super::caches::Uses;
    #[pymodule_export]
    use super::call::{Signature, lookup_key_of as lookup_key, record_digest};
    #[pymodule_export]
    use super::cbor::{CborSerializer, are_texts, note_function_module};
    #[pymodule_export]
    use super::config::{
        config_paths, escape_variables, expand_variables, merge_configs, path_or_url, read_config,
    };
    #[pymodule_export]
    use super::digest::{
        add_hook, composite::record_of_fields, decided_digest, digest_class, digest_of as digest,
        get_hooks, manual_hooks, record::DecoratedDigest, same_definition,
        scheme_in_force as scheme, serialised_digest, set_entry_point_hooks, set_manual_hooks,
        set_scheme, sha256::is_unambiguous, storage_key_of as storage_key,
    };
    #[pymodule_export]
    use super::files::{
        check_files, file_digest, load_unchanged, note_loaded_file, set_file_class,
    };
    #[pymodule_export]
    use super::interrupt::{ForkBarrier, announce_fork, withdraw_fork};
    #[pymodule_export]
    use super::keys::{resolve_prefix, shorten_keys, shrink_keys};
    #[pymodule_export]
    use super::older::OlderCall;
    #[pymodule_export]
    use super::signing::{generate_signing_key, is_signed_by, public_key, sign_message};
    #[cfg(feature = "bucket")]
    #[pymodule_export]
    use super::storage::bucket::{Bucket, Codec};
    #[pymodule_export]
    use super::storage::{
        SqliteStore, SqliteValues, child_digests, close_databases, has_identity, independent,
        independent_copy, intern_value, load_value, mend, put_newest, result_digest,
        result_digests, save_value,
    };
    #[pymodule_export]
    use super::storage::{
        collection::{Collection, Flight, Gate},
        file::FileStore,
        key_locks::{KeyLock, KeyLocks},
        lock::{FileLock, lock_file, network_file_system},
        records::RecordScan,
        root::FileRoot,
        signatures::{sign, verify},
        survey::{Room, Survey, measure_folder},
        together::Together,
        undo::{UndoableFile, undo_change},
    };
    #[pymodule_export]
    use super::tally::{
        Tally, are_statistics_due, is_listening, set_listening, write_statistics_in, written_so_far,
    };
    #[cfg(debug_assertions)]
    #[pymodule_export]
    use super::watch::watch_system_calls;
    #[pymodule_export]
    use super::wrapper::CachedFunction;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    const OLDER_SCHEME: &str = super::older::OLDER.name();

    #[pymodule_export]
    const SCHEMES: [&str; 2] = ["exact", "sha256"];

    #[pymodule_export]
    const SHORTEST_PREFIX: usize = crate::engine::prefix::SHORTEST;

    /// The engine's log goes to Python's `logging`; it is interrupted by Python's signals.
    #[pymodule_init]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "what initialises a module may fail"
    )]
    fn tell_engine(_: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interrupt::tell_engine();
        super::logs::tell_engine();
        Ok(())
    }
}
