//! Arrow's types.

use super::abi::{ArrowSchema, DICTIONARY_ORDERED, KEYS_SORTED, NULLABLE};
use crate::engine::digest::exact::{Encoder, Tag};

/// The encoding of a type: its format, flags and parts. Metadata does not count, except what
/// makes it an extension type; nor do the names of the parts of lists and maps, which files
/// rename.
pub fn describe(schema: &ArrowSchema) -> Encoder {
    let mut encoder = Encoder::new(Tag::ArrowType);
    encoder.bytes(schema.format());
    encoder.i64(schema.flags() & (DICTIONARY_ORDERED | KEYS_SORTED));
    for key in [
        b"ARROW:extension:name".as_slice(),
        b"ARROW:extension:metadata",
    ] {
        match schema.metadata(key) {
            Some(value) => encoder.byte(1).bytes(value),
            None => encoder.byte(0),
        };
    }
    match schema.dictionary() {
        Some(values) => encoder.byte(1).child(&describe(values).finish()),
        None => encoder.byte(0),
    };
    let named = schema.format() == b"+s" || schema.format().starts_with(b"+u");
    let children: Vec<&ArrowSchema> = schema.children().collect();
    encoder.length(children.len());
    for child in children {
        if named {
            encoder.bytes(child.name());
        }
        encoder
            .byte(u8::from(child.flags() & NULLABLE != 0))
            .child(&describe(child).finish());
    }
    encoder
}
