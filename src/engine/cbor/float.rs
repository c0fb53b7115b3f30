//! Floats in the shortest form that keeps every bit, those of a NaN too.

/// A float as it is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Short {
    Half(u16),
    Single(u32),
    Double(u64),
}

const DOUBLE_NAN: u64 = 0x7ff0_0000_0000_0000;

pub fn shorten(number: f64) -> Short {
    let bits = number.to_bits();
    let Some(single) = single(number) else {
        return Short::Double(bits);
    };
    match half(single) {
        Some(half) => Short::Half(half),
        None => Short::Single(single),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked")]
fn single(number: f64) -> Option<u32> {
    let bits = number.to_bits();
    if number.is_nan() {
        let payload = bits & 0x000f_ffff_ffff_ffff;
        let short = (payload >> 29) as u32;
        let exact = payload.trailing_zeros() >= 29;
        return exact.then_some(((bits >> 32) as u32 & 0x8000_0000) | 0x7f80_0000 | short);
    }
    let single = number as f32;
    (f64::from(single).to_bits() == bits).then(|| single.to_bits())
}

#[expect(clippy::cast_possible_truncation, reason = "masked")]
fn half(single: u32) -> Option<u16> {
    let sign = (single >> 16) as u16 & 0x8000;
    let exponent = (single >> 23 & 0xff).cast_signed() - 127;
    let fraction = single & 0x007f_ffff;
    match exponent {
        -127 if fraction == 0 => Some(sign),
        128 | -14..=15 if fraction.trailing_zeros() >= 13 => {
            let exponent = if exponent == 128 { 31 } else { exponent + 15 };
            Some(sign | u16::try_from(exponent).ok()? << 10 | (fraction >> 13) as u16)
        }
        -24..=-15 => {
            let whole = fraction | 0x0080_0000;
            let shift = u32::try_from(-1 - exponent).ok()?;
            (whole.trailing_zeros() >= shift).then(|| sign | (whole >> shift) as u16)
        }
        _ => None,
    }
}

pub fn from_half(half: u16) -> f64 {
    let sign = u64::from(half & 0x8000) << 48;
    let exponent = u64::from(half >> 10 & 0x1f);
    let fraction = u64::from(half & 0x03ff);
    match exponent {
        0 => {
            let tiny = f64::from(half & 0x03ff) / f64::from(1 << 24);
            f64::from_bits(sign | tiny.to_bits())
        }
        31 => f64::from_bits(sign | DOUBLE_NAN | fraction << 42),
        _ => f64::from_bits(sign | (exponent + 1008) << 52 | fraction << 42),
    }
}

pub fn from_single(bits: u32) -> f64 {
    let single = f32::from_bits(bits);
    if single.is_nan() {
        let sign = u64::from(bits & 0x8000_0000) << 32;
        return f64::from_bits(sign | DOUBLE_NAN | u64::from(bits & 0x007f_ffff) << 29);
    }
    f64::from(single)
}
