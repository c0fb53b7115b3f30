//! Digests: 32 bytes that stand for the content of a value, shown as 64 lower-case hex characters.
//!
//! [`exact`] is the default scheme, an injective encoding under BLAKE3; [`sha256`] is the scheme
//! of the reference package, byte for byte. `docs/design.md` describes every byte of both.

pub mod arrow;
pub mod columns;
pub mod exact;
pub mod number;
pub mod parallel;
pub mod sha256;

/// The raw bytes of a digest.
pub type Hash = [u8; 32];

/// Length of a digest's text, in characters.
pub const DIGEST_LENGTH: usize = 64;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The 64 lower-case hex characters of a digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex([u8; DIGEST_LENGTH]);

impl Hex {
    pub fn of(hash: &Hash) -> Self {
        let mut text = [0; DIGEST_LENGTH];
        for (pair, byte) in text.chunks_exact_mut(2).zip(hash) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self(text)
    }

    pub fn as_bytes(&self) -> &[u8; DIGEST_LENGTH] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        // Only characters of `HEX` are ever written, so this is never the fallback.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The digest that a text of exactly 64 lower-case hex characters shows.
pub fn parse_hex(text: &[u8]) -> Option<Hash> {
    let text: &[u8; DIGEST_LENGTH] = text.try_into().ok()?;
    // Without a table: done for many characters at once.
    let mut others = 0;
    let nibbles = text.map(|byte| {
        let (digit, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
        let is_hex = digit < 10 || letter < 6;
        others |= u8::from(!is_hex);
        if digit < 10 {
            digit
        } else {
            letter.wrapping_add(10)
        }
    });
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(nibbles.chunks_exact(2)) {
        *byte = (pair[0] << 4) | (pair[1] & 15);
    }
    (others == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let hash: Hash = std::array::from_fn(|i| u8::try_from(i * 7 % 256).unwrap());
        assert_eq!(parse_hex(Hex::of(&hash).as_bytes()), Some(hash));
        assert_eq!(Hex::of(&[0xab; 32]).as_str(), "ab".repeat(32));
    }

    #[test]
    fn only_full_lower_case_digests_parse() {
        assert_eq!(parse_hex(b"abcd"), None);
        assert_eq!(parse_hex("AB".repeat(32).as_bytes()), None);
        assert_eq!(parse_hex("zz".repeat(32).as_bytes()), None);
        for byte in (0..=255).filter(|byte| !HEX.contains(byte)) {
            for position in [0, 1, 63] {
                let mut text = [b'0'; DIGEST_LENGTH];
                text[position] = byte;
                assert_eq!(parse_hex(&text), None);
            }
        }
    }
}
