//! Numbers by value: every number that is equal to another one has the same pre-image.
//!
//! A finite number is `n / d` in lowest terms. `d = 1` makes an *integer*, a power of two a
//! *dyadic* (every finite float is one or the other), anything else a *ratio*.

use super::exact::{BLOCK, Encoder, Tag};

/// The bytes that hold a signed integer of `bits` significant bits (without sign) in two's
/// complement: enough for one more bit, so that both signs have the same length.
pub fn integer_length(bits: u64) -> usize {
    usize::try_from(bits / 8 + 1).unwrap_or(usize::MAX)
}

/// The canonical bytes of an integer: little-endian two's complement of [`integer_length`] bytes.
fn canonical(number: i64) -> ([u8; 8], usize) {
    let bits = u64::from(64 - number.unsigned_abs().leading_zeros());
    (number.to_le_bytes(), integer_length(bits).min(9))
}

/// An integer, into the block of a [`super::exact::Window`].
pub fn integer_block(block: &mut [u8; BLOCK], number: i64) {
    let (bytes, length) = canonical(number);
    block[0] = Tag::Integer as u8;
    #[expect(clippy::cast_possible_truncation, reason = "at most nine")]
    {
        block[1] = length as u8;
    }
    block[2..10].copy_from_slice(&bytes);
    if length > 8 {
        // Nine bytes: 64 significant bits, only `i64::MIN`.
        block[10] = 0xff;
    } else {
        block[2 + length..10].fill(0);
    }
}

/// An integer that fits a machine word.
pub fn integer(number: i64) -> Encoder {
    let mut block = [0; BLOCK];
    integer_block(&mut block, number);
    let mut encoder = Encoder::new(Tag::Integer);
    encoder.raw(&block[1..2 + usize::from(block[1])]);
    encoder
}

/// An integer of any size, from its canonical bytes.
pub fn integer_from_bytes(canonical: &[u8]) -> Encoder {
    let mut encoder = Encoder::new(Tag::Integer);
    encoder.bytes(canonical);
    encoder
}

/// `numerator / 2**shift` with an odd numerator, from the numerator's canonical bytes.
pub fn dyadic_from_bytes(canonical: &[u8], shift: u64) -> Encoder {
    let mut encoder = Encoder::new(Tag::Dyadic);
    encoder.u64(shift).bytes(canonical);
    encoder
}

/// `numerator / denominator` in lowest terms, the denominator no power of two.
pub fn ratio_from_bytes(numerator: &[u8], denominator: &[u8]) -> Encoder {
    let mut encoder = Encoder::new(Tag::Ratio);
    encoder.bytes(numerator).bytes(denominator);
    encoder
}

/// A float by its exact value; a NaN by its sign only; the two zeros are one.
pub fn float(number: f64) -> Encoder {
    if number.is_nan() {
        return not_a_number(NanKind::Float, number.is_sign_negative());
    }
    if number.is_infinite() {
        let mut encoder = Encoder::new(Tag::Infinity);
        encoder.byte(u8::from(number < 0.0));
        return encoder;
    }
    let bits = number.to_bits();
    let exponent = (bits >> 52 & 0x7ff).cast_signed();
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    // number = mantissa * 2**power
    let (mantissa, power) = if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, exponent - 1075)
    };
    if mantissa == 0 {
        return integer(0);
    }
    let zeros = i64::from(mantissa.trailing_zeros());
    let sign = if number < 0.0 { -1 } else { 1 };
    let (odd, power) = (sign * (mantissa >> zeros), power + zeros);
    if power < 0 {
        let (bytes, length) = canonical(odd);
        return dyadic_from_bytes(&bytes[..length], power.unsigned_abs());
    }
    let significant = 64 - odd.unsigned_abs().leading_zeros();
    if i64::from(significant) + power < 63 {
        return integer(odd << power);
    }
    large_integer(odd, power.unsigned_abs(), u64::from(significant))
}

/// `odd << power`, which no machine word holds.
fn large_integer(odd: i64, power: u64, significant: u64) -> Encoder {
    let mut bytes = vec![0u8; integer_length(significant + power)];
    let (offset, shift) = (usize::try_from(power / 8).unwrap_or(0), power % 8);
    let shifted = (i128::from(odd) << shift).to_le_bytes();
    for (i, byte) in bytes[offset..].iter_mut().enumerate() {
        *byte = if i < 16 { shifted[i] } else { shifted[15] };
    }
    integer_from_bytes(&bytes)
}

/// The kinds of NaN that are told apart.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum NanKind {
    Float = 0,
    Signalling = 1,
}

pub fn not_a_number(kind: NanKind, negative: bool) -> Encoder {
    let mut encoder = Encoder::new(Tag::NotANumber);
    encoder.byte(kind as u8).byte(u8::from(negative));
    encoder
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    /// The rule in the large: shortest bytes with room for one more bit than the magnitude has.
    fn big(number: i128) -> Vec<u8> {
        let bits = 128 - number.unsigned_abs().leading_zeros();
        number.to_le_bytes()[..integer_length(u64::from(bits))].to_vec()
    }

    proptest! {
        #[test]
        fn integers_and_their_bytes_agree(number: i64) {
            let expected = integer_from_bytes(&big(i128::from(number))).finish();
            prop_assert_eq!(integer(number).finish(), expected);
            let mut block = [0xaa; BLOCK];
            block[11..].fill(0);
            integer_block(&mut block, number);
            block[11..].fill(0);
            let (_, length) = canonical(number);
            block[2 + length..].fill(0);
            prop_assert_eq!(*blake3::hash(&block).as_bytes(), expected);
        }

        #[test]
        fn whole_floats_are_integers(number in -(1i64 << 53)..(1i64 << 53), power in 0u32..60) {
            let value = i128::from(number) << power;
            #[expect(clippy::cast_precision_loss, reason = "exact by construction")]
            let as_float = value as f64;
            prop_assert_eq!(float(as_float).finish(), integer_from_bytes(&big(value)).finish());
        }

        #[test]
        fn different_floats_differ(a: f64, b: f64) {
            prop_assume!(a.partial_cmp(&b) != Some(Ordering::Equal) && !(a.is_nan() && b.is_nan()));
            prop_assert_ne!(float(a).finish(), float(b).finish());
        }
    }

    #[test]
    fn corner_cases() {
        assert_eq!(float(-0.0).finish(), integer(0).finish());
        assert_eq!(float(0.5).finish(), dyadic_from_bytes(&[1], 1).finish());
        assert_eq!(
            float(f64::from_bits(1)).finish(),
            dyadic_from_bytes(&[1], 1074).finish()
        );
        assert_ne!(
            float(f64::INFINITY).finish(),
            float(f64::NEG_INFINITY).finish()
        );
        assert_eq!(
            integer(i64::MIN).finish(),
            integer_from_bytes(&big(i128::from(i64::MIN))).finish()
        );
        assert_eq!(
            float(2f64.powi(63)).finish(),
            integer_from_bytes(&big(1 << 63)).finish()
        );
        assert_eq!(float(-2f64.powi(63)).finish(), integer(i64::MIN).finish());
        let mut largest = vec![0; 122];
        largest.extend([0xf8; 1]);
        largest.extend([0xff; 5]);
        assert_eq!(integer_length(1024), 129);
        assert_ne!(
            float(f64::MAX).finish(),
            integer_from_bytes(&largest).finish()
        );
    }
}
