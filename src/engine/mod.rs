//! What a cache does with bytes: digests, record keys, files, locks, signatures, configuration.
//!
//! Nothing here knows Python; everything here is tested with `cargo test`.

mod admit;
pub mod apart;
pub mod ballast;
#[cfg(feature = "bucket")]
pub mod bucket;
pub mod bulk;
pub mod cbor;
pub mod codec;
pub mod collection;
pub mod compression;
pub mod config;
pub mod contents;
pub mod digest;
pub mod disk;
pub mod error;
pub mod files;
pub mod fork;
pub mod key_locks;
pub mod mounts;
pub mod pickle;
pub mod prefix;
pub mod record;
pub mod schemes;
pub mod sign;
pub mod signature;
pub mod sqlite;
pub mod survey;
pub mod system;
pub mod undo;
pub mod wait;
