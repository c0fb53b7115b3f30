//! Scheme `sha256`: the digests of the reference package, byte for byte.
//!
//! A pre-image is a *salt*, mostly the name of the value's type, and what follows it without any
//! framing; children enter as the 64 hex characters of their digests.

use ring::digest::{Context, SHA256};

use super::{Hash, Hex};

/// Builds one digest.
pub struct Hasher(Context);

impl Hasher {
    /// Starts with the bytes of `salt`.
    pub fn new(salt: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(salt);
        Self(context)
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The digest of a child, as its text.
    pub fn child(&mut self, hash: &Hash) -> &mut Self {
        self.bytes(Hex::of(hash).as_bytes())
    }

    pub fn finish(self) -> Hash {
        let mut hash = [0; 32];
        // SHA-256 always gives as many bytes as a `Hash` has.
        for (byte, digested) in hash.iter_mut().zip(self.0.finish().as_ref()) {
            *byte = *digested;
        }
        hash
    }
}

/// The digest of these parts in a row.
pub fn of(parts: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new(&[]);
    for part in parts {
        hasher.bytes(part);
    }
    hasher.finish()
}

/// The digest of an integer of the type `kind`: its signed little-endian bytes, enough of them
/// for one bit more than it needs.
pub fn integer(kind: &[u8], number: i64) -> Hash {
    let bits = 64 - number.unsigned_abs().leading_zeros() as usize;
    let bytes = i128::from(number).to_le_bytes();
    of(&[kind, &bytes[..=bits / 8]])
}

/// The digest of a text.
pub fn text(text: &str) -> Hash {
    of(&[b"str", text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hash: &Hash) -> String {
        Hex::of(hash).as_str().to_owned()
    }

    #[test]
    fn integers_are_those_of_the_reference() {
        let known = [
            (
                0,
                "26461de90bccabfde78889464de27c40b1a962fdc312a7b6284dd21593ffcd83",
            ),
            (
                128,
                "4c7693b08c1bbc8a0b605f43f3491dab5412db3eedd30c09d7a0bdaac29360e2",
            ),
            (
                -128,
                "0237fc34e67cd2c54330d53164f1fad5b80f7d8158f6bb88f4a9a1f4b3f70a41",
            ),
            (
                -129,
                "21075380c7e0226ad406438538370f52fdd888747a7df1eea46ed56be7ced3ec",
            ),
        ];
        for (number, digest) in known {
            assert_eq!(shown(&integer(b"int", number)), digest);
        }
        assert!(shown(&integer(b"int", i64::MAX)).starts_with("58813c83"));
        assert!(shown(&integer(b"int", i64::MIN)).starts_with("f18d1e7a"));
    }

    #[test]
    fn parts_are_fed_in_a_row() {
        let mut hasher = Hasher::new(b"list");
        hasher.child(&integer(b"int", 1));
        let hash = hasher.finish();
        assert!(shown(&hash).starts_with("29ffd07f"));
        let child = Hex::of(&integer(b"int", 1));
        assert_eq!(of(&[b"list", child.as_bytes()]), hash);
        assert!(shown(&text("abc")).starts_with("2ab09503"));
    }
}
