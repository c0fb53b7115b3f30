//! Reading, item by item.

use super::float::{from_half, from_single};
use super::{DEEPEST, Error, Result, START};
use crate::engine::digest::parse_hex;
use crate::engine::sign::SIGNATURE_LENGTH;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Major {
    Unsigned = 0,
    Negative = 1,
    Bytes = 2,
    Text = 3,
    Array = 4,
    Map = 5,
    Tag = 6,
    Simple = 7,
}

/// The start of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Head {
    Unsigned(u64),
    /// -1 minus this.
    Negative(u64),
    /// So many bytes follow, and are there.
    Bytes(usize),
    Text(usize),
    /// So many items follow: there are as many bytes at least.
    Array(usize),
    /// So many pairs of items follow.
    Map(usize),
    /// An item follows.
    Tag(u64),
    Simple(u8),
    Float(f64),
}

/// Reads an entry. The items that are promised by arrays, maps and tags that were begun never
/// outnumber the bytes that are left: what is allocated for them is bounded by the input.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    promised: usize,
}

impl<'a> Reader<'a> {
    /// Of a whole entry.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.starts_with(&START) {
            return Err(Error::Malformed {
                what: "it does not start as CBOR of this kind does",
                at: 0,
            });
        }
        Ok(Self {
            bytes,
            at: START.len(),
            promised: 1,
        })
    }

    pub fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { what, at: self.at }
    }

    /// Whether the next item is a text, an array or the like; `None` at the end.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).map(|first| first >> 5)
    }

    #[inline]
    pub fn head(&mut self) -> Result<Head> {
        let Some(first) = self.bytes.get(self.at) else {
            return Err(Error::Truncated(self.at));
        };
        self.at += 1;
        self.promised = self.promised.saturating_sub(1);
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24 => u64::from(self.array::<1>()?[0]),
            25 => u64::from(u16::from_be_bytes(self.array()?)),
            26 => u64::from(u32::from_be_bytes(self.array()?)),
            27 => u64::from_be_bytes(self.array()?),
            _ => return Err(self.malformed("a length that is not told beforehand")),
        };
        Ok(match major {
            0 => Head::Unsigned(argument),
            1 => Head::Negative(argument),
            2 => Head::Bytes(self.length(argument)?),
            3 => Head::Text(self.length(argument)?),
            4 => Head::Array(self.promise(argument, 1)?),
            5 => Head::Map(self.promise(argument, 2)?),
            6 => {
                self.promise(1, 1)?;
                Head::Tag(argument)
            }
            _ => match info {
                0..=23 => Head::Simple(info),
                #[expect(clippy::cast_possible_truncation, reason = "read as that many bytes")]
                25 => Head::Float(from_half(argument as u16)),
                #[expect(clippy::cast_possible_truncation, reason = "read as that many bytes")]
                26 => Head::Float(from_single(argument as u32)),
                27 => Head::Float(f64::from_bits(argument)),
                _ => return Err(self.malformed("a simple value that is not known")),
            },
        })
    }

    /// The next item, if it is a whole number or simple value: without a look at anything else.
    #[inline]
    pub fn leaf(&mut self) -> Option<Head> {
        let (&first, rest) = self.bytes.get(self.at..)?.split_first()?;
        let info = first & 0x1f;
        let (head, length) = match first {
            0x00..=0x17 => (Head::Unsigned(u64::from(info)), 0),
            0x18 => (Head::Unsigned(u64::from(*rest.first()?)), 1),
            0x19 => {
                let number = u16::from_be_bytes(*rest.first_chunk()?);
                (Head::Unsigned(u64::from(number)), 2)
            }
            0x1a => {
                let number = u32::from_be_bytes(*rest.first_chunk()?);
                (Head::Unsigned(u64::from(number)), 4)
            }
            0x20..=0x37 => (Head::Negative(u64::from(info)), 0),
            0xf4..=0xf6 => (Head::Simple(info), 0),
            0xf9 => (
                Head::Float(from_half(u16::from_be_bytes(*rest.first_chunk()?))),
                2,
            ),
            0xfb => (Head::Float(f64::from_be_bytes(*rest.first_chunk()?)), 8),
            _ => return None,
        };
        self.at += 1 + length;
        self.promised = self.promised.saturating_sub(1);
        Some(head)
    }

    /// The next item, if it is a text of at most 23 bytes.
    #[inline]
    pub fn short_text(&mut self) -> Option<&'a [u8]> {
        let (&first, rest) = self.bytes.get(self.at..)?.split_first()?;
        if first & 0xe0 != 0x60 || first & 0x1f > 0x17 {
            return None;
        }
        let length = usize::from(first & 0x1f);
        let text = rest.get(..length)?;
        let promised = self.promised.saturating_sub(1);
        if promised > rest.len() - length {
            return None;
        }
        self.at += 1 + length;
        self.promised = promised;
        Some(text)
    }

    fn length(&self, argument: u64) -> Result<usize> {
        match usize::try_from(argument) {
            Ok(length) if length <= self.left() => Ok(length),
            _ => Err(Error::Truncated(self.bytes.len())),
        }
    }

    fn promise(&mut self, count: u64, each: usize) -> Result<usize> {
        let items = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(each));
        let promised = items.and_then(|items| self.promised.checked_add(items));
        match promised {
            Some(promised) if promised <= self.left() => {
                self.promised = promised;
                Ok(items.unwrap_or_default() / each)
            }
            _ => Err(Error::Truncated(self.bytes.len())),
        }
    }

    /// The bytes that a head told of.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        if length > self.left() {
            return Err(Error::Truncated(self.bytes.len()));
        }
        let bytes = &self.bytes[self.at..self.at + length];
        self.at += length;
        if self.promised > self.left() {
            return Err(Error::Truncated(self.bytes.len()));
        }
        Ok(bytes)
    }

    /// The text that a head told of.
    #[inline]
    pub fn text(&mut self, length: usize) -> Result<&'a str> {
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| Error::Malformed {
            what: "a text that is no UTF-8",
            at,
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((array, _)) = self.bytes[self.at..].split_first_chunk::<N>() else {
            return Err(Error::Truncated(self.bytes.len()));
        };
        self.at += N;
        Ok(*array)
    }

    /// That nothing follows but a signature, which who has no keys leaves unread.
    pub fn end(&self) -> Result<()> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() || (rest.len() == SIGNATURE_LENGTH && parse_hex(rest).is_some()) {
            return Ok(());
        }
        Err(Error::Trailing(self.at))
    }
}

/// Whether this is one well-formed entry, and nothing behind it.
pub fn check(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new(bytes)?;
    // How many items each container still waits for.
    let mut open = vec![1_usize];
    while let Some(last) = open.last_mut() {
        if *last == 0 {
            open.pop();
            continue;
        }
        *last -= 1;
        let inside = match reader.head()? {
            Head::Bytes(length) => reader.take(length).map(|_| 0)?,
            Head::Text(length) => reader.text(length).map(|_| 0)?,
            Head::Array(count) => count,
            Head::Map(count) => 2 * count,
            Head::Tag(_) => 1,
            Head::Unsigned(_) | Head::Negative(_) | Head::Simple(_) | Head::Float(_) => 0,
        };
        if inside > 0 {
            if open.len() > DEEPEST {
                return Err(Error::TooDeep);
            }
            open.push(inside);
        }
    }
    reader.end()
}
