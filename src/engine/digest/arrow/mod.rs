//! The content of Arrow data, through the Arrow C data interface.
//!
//! The interface is the one stable layout that every Arrow library exports without copying. What
//! is encoded is the column that the data means: where it was cut into chunks, which part of its
//! memory it uses, what lies under missing values, how strings are laid out or looked up in a
//! dictionary leaves no trace.

mod abi;
mod content;
mod types;

pub use abi::{ArrowArray, ArrowArrayStream, ArrowSchema, Stream};
pub use content::Column;
pub use types::describe;
