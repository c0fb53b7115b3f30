//! Calls: binding arguments to a signature, and the keys that records are found under.

mod key;
mod signature;

pub use key::{CallIdentity, exact_key, lookup_key, lookup_key_of, record_digest};
pub use signature::{Arguments, Signature};
