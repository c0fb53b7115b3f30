//! What a cache does with bytes: digests, record keys, files, locks, signatures, configuration.
//!
//! Nothing here knows Python; everything here is tested with `cargo test`.

pub mod config;
pub mod digest;
pub mod pickle;
pub mod prefix;
