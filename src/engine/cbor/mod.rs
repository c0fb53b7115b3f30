//! CBOR (RFC 8949) as values are stored in it: heads, numbers and texts, shared parts, large buffers.
//!
//! What is written is deterministic: heads and floats as short as they can be, lengths known
//! beforehand. Reading believes no length before it compared it with what is left.

pub mod clocks;
mod float;
mod read;
#[cfg(test)]
mod tests;
pub mod typed;
mod write;

pub use read::{Head, Major, Reader, check};
pub use write::{Place, Writer};

/// What every entry starts with: the tag "this is CBOR" (55799). No pickle, gzip file or text does.
pub const START: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// How deeply values may be nested in each other.
pub const DEEPEST: usize = 1000;

/// Numbers of tags: those of IANA's registry, and from 61932 on those of `fleche`.
pub mod tag {
    pub const DATE_TIME: u64 = 0;
    pub const POSITIVE: u64 = 2;
    pub const NEGATIVE: u64 = 3;
    pub const SHARED: u64 = 28;
    pub const REFERENCE: u64 = 29;
    pub const FRACTION: u64 = 30;
    pub const UUID: u64 = 37;
    pub const ROW_MAJOR: u64 = 40;
    pub const SET: u64 = 258;
    pub const WTF8: u64 = 273;
    pub const DATE: u64 = 1004;
    pub const COLUMN_MAJOR: u64 = 1040;
    pub const COMPLEX: u64 = 43000;
    pub const CBOR: u64 = 55799;

    pub const TUPLE: u64 = 61932;
    pub const FROZENSET: u64 = 61933;
    pub const BYTEARRAY: u64 = 61934;
    pub const DIGEST: u64 = 61935;
    /// An array: the name of the kind, then its parts.
    pub const OBJECT: u64 = 61936;
    /// The bytes of a pickle and their signature.
    pub const PICKLE: u64 = 61937;
}

/// Simple values.
pub mod simple {
    pub const FALSE: u64 = 20;
    pub const TRUE: u64 = 21;
    pub const NULL: u64 = 22;
}

/// Why bytes are not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it ends at byte {0}, in the middle of a value")]
    Truncated(usize),
    #[error("{what} at byte {at}")]
    Malformed { what: &'static str, at: usize },
    #[error("it goes on after its end, at byte {0}")]
    Trailing(usize),
    #[error("it is nested more than {DEEPEST} levels deep")]
    TooDeep,
}

pub type Result<T> = std::result::Result<T, Error>;
