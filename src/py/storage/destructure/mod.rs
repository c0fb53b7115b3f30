//! Large values are split: children that are deep enough are stored under digests of their own,
//! and the parent holds those. Equal children are stored once; loading mends the whole.

mod load;
mod sharing;
mod split;

use crate::py::names::Imported;

pub use load::{child_digests, holds_digests_only, load_from, load_value, mend};
pub use sharing::has_identity;
pub use split::{intern_value, result_digest, save, save_result, save_value};

static ITERABLE: Imported = Imported::new("fleche.storage.destructuring", "DigestedIterable");
static DICT: Imported = Imported::new("fleche.storage.destructuring", "DigestedDict");
static DATACLASS: Imported = Imported::new("fleche.storage.destructuring", "DigestedDataclass");
static ATTRS: Imported = Imported::new("fleche.storage.destructuring", "DigestedAttrs");
