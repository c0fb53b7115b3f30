//! Columns of values as a few streams each: which values are missing, how long they are, their
//! bytes. Streams grow piece by piece, so that the pieces a column came in leave no trace.

use super::Hash;
use super::exact::{Encoder, Tag};

/// The layouts of a column's content.
pub mod layout {
    pub const NULL: u8 = 0x20;
    pub const BITS: u8 = 0x21;
    pub const FIXED: u8 = 0x22;
    pub const TEXT: u8 = 0x23;
    pub const LIST: u8 = 0x24;
    pub const STRUCT: u8 = 0x25;
    pub const UNION: u8 = 0x26;
}

/// A stream of bytes.
pub fn stream() -> Box<Encoder> {
    // Boxed: columns of columns hold many of them.
    Box::new(Encoder::new(Tag::Stream))
}

/// A stream of bits, eight to a byte, the first in the lowest place.
pub struct Bits {
    bytes: Box<Encoder>,
    pending: u8,
    count: u64,
}

impl Default for Bits {
    fn default() -> Self {
        Self {
            bytes: stream(),
            pending: 0,
            count: 0,
        }
    }
}

impl Bits {
    pub fn push(&mut self, bit: bool) {
        self.pending |= u8::from(bit) << (self.count % 8);
        self.count += 1;
        if self.count.is_multiple_of(8) {
            self.bytes.raw(&[self.pending]);
            self.pending = 0;
        }
    }

    pub fn push_many(&mut self, bit: bool, mut count: u64) {
        while count > 0 && !self.count.is_multiple_of(8) {
            self.push(bit);
            count -= 1;
        }
        let full = if bit { [0xff; 64] } else { [0; 64] };
        while count >= 8 {
            let bytes = usize::try_from(count / 8).unwrap_or(64).min(64);
            self.bytes.raw(&full[..bytes]);
            self.count += 8 * bytes as u64;
            count -= 8 * bytes as u64;
        }
        for _ in 0..count {
            self.push(bit);
        }
    }

    pub fn finish(mut self) -> Hash {
        // How many bits there are, whoever holds the stream says.
        self.bytes.byte(self.pending);
        self.bytes.finish()
    }
}

/// How many values a column has, and which of them are missing.
#[derive(Default)]
pub struct Presence {
    bits: Bits,
    missing: u64,
}

impl Presence {
    pub fn push(&mut self, present: bool, count: u64) {
        self.bits.push_many(present, count);
        if !present {
            self.missing += count;
        }
    }

    /// The count, then the bits unless all values are there.
    pub fn finish(self, encoder: &mut Encoder) {
        encoder.u64(self.bits.count);
        if self.missing == 0 {
            encoder.byte(0);
        } else {
            encoder.byte(1).child(&self.bits.finish());
        }
    }
}

/// Feeds numbers to a stream, many at a time.
pub fn numbers(stream: &mut Encoder, numbers: impl Iterator<Item = u64>) {
    const MANY: usize = 256;
    let mut bytes = [0; 8 * MANY];
    let mut filled = 0;
    for number in numbers {
        bytes[8 * filled..8 * filled + 8].copy_from_slice(&number.to_le_bytes());
        filled += 1;
        if filled == MANY {
            stream.raw(&bytes);
            filled = 0;
        }
    }
    stream.raw(&bytes[..8 * filled]);
}

/// A column of texts or byte strings.
pub struct Texts {
    presence: Presence,
    lengths: Box<Encoder>,
    bytes: Box<Encoder>,
}

impl Default for Texts {
    fn default() -> Self {
        Self::new()
    }
}

impl Texts {
    pub fn new() -> Self {
        Self {
            presence: Presence::default(),
            lengths: stream(),
            bytes: stream(),
        }
    }

    pub fn push(&mut self, text: &[u8]) {
        self.presence.push(true, 1);
        self.lengths.u64(text.len() as u64);
        self.bytes.raw(text);
    }

    pub fn push_missing(&mut self, count: u64) {
        self.presence.push(false, count);
        for _ in 0..count {
            self.lengths.u64(0);
        }
    }

    pub fn finish(self) -> Hash {
        let mut encoder = Encoder::new(Tag::Column);
        encoder.byte(layout::TEXT);
        self.presence.finish(&mut encoder);
        encoder
            .child(&self.lengths.finish())
            .child(&self.bytes.finish());
        encoder.finish()
    }
}
