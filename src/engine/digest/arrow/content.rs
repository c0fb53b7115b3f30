//! What an Arrow column means, as streams.

use super::abi::{ArrowArray, ArrowSchema};
use crate::engine::digest::Hash;
use crate::engine::digest::columns::{Bits, Presence, layout, numbers, stream};
use crate::engine::digest::exact::{Encoder, Tag};

/// A column that grows chunk by chunk.
pub struct Column {
    presence: Presence,
    content: Content,
}

enum Content {
    Null,
    Bits(Bits),
    Fixed {
        width: usize,
        bytes: Box<Encoder>,
    },
    Text {
        place: Place,
        lengths: Box<Encoder>,
        bytes: Box<Encoder>,
    },
    List {
        place: Place,
        lengths: Box<Encoder>,
        values: Box<Column>,
    },
    Struct(Vec<Column>),
    Union {
        dense: bool,
        codes: Vec<u8>,
        ids: Box<Encoder>,
        children: Vec<Column>,
    },
    /// Stands for the values that it looks up.
    Dictionary {
        width: usize,
        signed: bool,
        values: Box<Column>,
    },
    RunEnds {
        width: usize,
        values: Box<Column>,
    },
}

/// Where the parts of a list or a text begin and end.
#[derive(Clone, Copy)]
enum Place {
    /// Each begins where the one before ends; the numbers take so many bytes.
    Offsets(usize),
    /// Short texts in place, long ones by buffer and offset.
    TextViews,
    /// Offset and size of each, of so many bytes.
    ListViews(usize),
    Fixed(usize),
}

impl Column {
    /// An empty column of the schema's type.
    pub fn new(schema: &ArrowSchema) -> Result<Self, String> {
        Ok(Self {
            presence: Presence::default(),
            content: Content::new(schema)?,
        })
    }

    /// Adds all values of a chunk.
    pub fn push(&mut self, chunk: &ArrowArray) {
        self.push_range(chunk, 0, chunk.length());
    }

    pub fn finish(self) -> Hash {
        match self.content {
            Content::Dictionary { values, .. } | Content::RunEnds { values, .. } => values.finish(),
            content => {
                let mut encoder = Encoder::new(Tag::Column);
                encoder.byte(content.layout());
                self.presence.finish(&mut encoder);
                content.finish(&mut encoder);
                encoder.finish()
            }
        }
    }

    /// Adds `count` values of `array` from `start` on.
    fn push_range(&mut self, array: &ArrowArray, start: usize, count: usize) {
        if !array.has_missing() || !self.content.has_validity() {
            self.push_present(array, start, count);
            return;
        }
        let present = |i: usize| array.bit(0, array.offset() + i);
        let mut from = start;
        while from < start + count {
            let state = present(from);
            let mut to = from + 1;
            while to < start + count && present(to) == state {
                to += 1;
            }
            if state {
                self.push_present(array, from, to - from);
            } else {
                self.push_missing(to - from);
            }
            from = to;
        }
    }

    fn push_missing(&mut self, count: usize) {
        self.presence.push(false, count as u64);
        match &mut self.content {
            Content::Null => {}
            Content::Bits(bits) => bits.push_many(false, count as u64),
            Content::Fixed { width, bytes } => zeros(bytes, *width * count),
            Content::Text { lengths, .. } | Content::List { lengths, .. } => {
                zeros(lengths, 8 * count);
            }
            Content::Struct(children) => {
                for child in children {
                    child.push_missing(count);
                }
            }
            Content::Union { ids, .. } => zeros(ids, count),
            Content::Dictionary { values, .. } | Content::RunEnds { values, .. } => {
                values.push_missing(count);
            }
        }
    }

    /// Adds values of which none is missing.
    fn push_present(&mut self, array: &ArrowArray, start: usize, count: usize) {
        let first = array.offset() + start;
        match &mut self.content {
            Content::Null => {
                self.presence.push(false, count as u64);
                return;
            }
            Content::Bits(bits) => {
                for i in first..first + count {
                    bits.push(array.bit(1, i));
                }
            }
            Content::Fixed { width, bytes } => {
                bytes.bulk(array.bytes(1, first * *width, count * *width));
            }
            Content::Text {
                place,
                lengths,
                bytes,
            } => push_texts(*place, lengths, bytes, array, first, count),
            Content::List {
                place,
                lengths,
                values,
            } => push_lists(*place, lengths, values, array, first, count),
            Content::Struct(children) => {
                for (i, child) in children.iter_mut().enumerate() {
                    if let Some(values) = array.child(i) {
                        child.push_range(values, first, count);
                    }
                }
            }
            Content::Union {
                dense,
                codes,
                ids,
                children,
            } => {
                for i in first..first + count {
                    let id = array.bytes(0, i, 1).first().copied().unwrap_or(0);
                    ids.byte(id);
                    let Some(child) = codes.iter().position(|code| *code == id) else {
                        continue;
                    };
                    let place = if *dense {
                        usize::try_from(array.number(1, i, 4)).unwrap_or(0)
                    } else {
                        i
                    };
                    if let Some(values) = array.child(child) {
                        children[child].push_range(values, place, 1);
                    }
                }
            }
            Content::Dictionary {
                width,
                signed,
                values,
            } => {
                let Some(dictionary) = array.dictionary() else {
                    return;
                };
                for i in first..first + count {
                    let mut place = array.number(1, i, *width);
                    if !*signed && *width < 8 {
                        place &= (1 << (8 * *width)) - 1;
                    }
                    let place = usize::try_from(place).unwrap_or(0);
                    values.push_range(dictionary, place, 1);
                }
            }
            Content::RunEnds { width, values } => {
                push_runs(*width, values, array, first, count);
                return;
            }
        }
        self.presence.push(true, count as u64);
    }
}

fn zeros(stream: &mut Encoder, mut count: usize) {
    let zeros = [0; 64];
    while count > 0 {
        let part = count.min(64);
        stream.raw(&zeros[..part]);
        count -= part;
    }
}

fn index(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The lengths of parts that begin where the one before ends; where the first begins, and where
/// the last ends.
fn push_lengths(
    lengths: &mut Encoder,
    array: &ArrowArray,
    first: usize,
    count: usize,
    width: usize,
) -> (usize, usize) {
    let start = index(array.number(1, first, width));
    let mut from = start;
    numbers(
        lengths,
        (first..first + count).map(|i| {
            let to = index(array.number(1, i + 1, width)).max(from);
            let length = to - from;
            from = to;
            length as u64
        }),
    );
    (start, from)
}

fn push_texts(
    place: Place,
    lengths: &mut Encoder,
    bytes: &mut Encoder,
    array: &ArrowArray,
    first: usize,
    count: usize,
) {
    match place {
        Place::Offsets(width) => {
            let (start, end) = push_lengths(lengths, array, first, count, width);
            bytes.bulk(array.bytes(2, start, end - start));
        }
        _ => {
            for i in first..first + count {
                let length = index(array.number(1, 4 * i, 4));
                lengths.u64(length as u64);
                let text = if length <= 12 {
                    array.bytes(1, 16 * i + 4, length)
                } else {
                    let buffer = index(array.number(1, 4 * i + 2, 4));
                    let offset = index(array.number(1, 4 * i + 3, 4));
                    array.bytes(2 + buffer, offset, length)
                };
                bytes.raw(text);
            }
        }
    }
}

fn push_lists(
    place: Place,
    lengths: &mut Encoder,
    values: &mut Column,
    array: &ArrowArray,
    first: usize,
    count: usize,
) {
    let Some(child) = array.child(0) else {
        return;
    };
    match place {
        Place::Fixed(size) => {
            for _ in 0..count {
                lengths.u64(size as u64);
            }
            values.push_range(child, first * size, count * size);
        }
        Place::ListViews(width) => {
            for i in first..first + count {
                let (offset, size) = (array.number(1, i, width), array.number(2, i, width));
                lengths.u64(index(size) as u64);
                values.push_range(child, index(offset), index(size));
            }
        }
        Place::Offsets(width) => {
            let (start, end) = push_lengths(lengths, array, first, count, width);
            values.push_range(child, start, end - start);
        }
        Place::TextViews => {}
    }
}

/// Values that are written once for a run of places: once for every place.
fn push_runs(width: usize, values: &mut Column, array: &ArrowArray, first: usize, count: usize) {
    let (Some(ends), Some(runs)) = (array.child(0), array.child(1)) else {
        return;
    };
    let mut place = first;
    for run in 0..ends.length() {
        let end = index(ends.number(1, ends.offset() + run, width)).min(first + count);
        while place < end {
            values.push_range(runs, run, 1);
            place += 1;
        }
    }
}

impl Content {
    fn new(schema: &ArrowSchema) -> Result<Self, String> {
        let format = schema.format();
        if let Some(values) = schema.dictionary() {
            let Some(width) = fixed_width(format) else {
                return Err(unknown(format));
            };
            return Ok(Self::Dictionary {
                width,
                signed: format[0].is_ascii_lowercase(),
                values: Box::new(Column::new(values)?),
            });
        }
        let children =
            || -> Result<Vec<Column>, String> { schema.children().map(Column::new).collect() };
        let only = || -> Result<Box<Column>, String> {
            let mut children = children()?;
            match children.pop() {
                Some(child) if children.is_empty() => Ok(Box::new(child)),
                _ => Err(unknown(format)),
            }
        };
        let text = |place| Self::Text {
            place,
            lengths: stream(),
            bytes: stream(),
        };
        let list = |place, values| Self::List {
            place,
            lengths: stream(),
            values,
        };
        Ok(match format {
            b"n" => Self::Null,
            b"b" => Self::Bits(Bits::default()),
            b"u" | b"z" => text(Place::Offsets(4)),
            b"U" | b"Z" => text(Place::Offsets(8)),
            b"vu" | b"vz" => text(Place::TextViews),
            b"+l" | b"+m" => list(Place::Offsets(4), only()?),
            b"+L" => list(Place::Offsets(8), only()?),
            b"+vl" => list(Place::ListViews(4), only()?),
            b"+vL" => list(Place::ListViews(8), only()?),
            b"+s" => Self::Struct(children()?),
            b"+r" => {
                let mut parts = schema.children();
                let (Some(ends), Some(values)) = (parts.next(), parts.next()) else {
                    return Err(unknown(format));
                };
                Self::RunEnds {
                    width: fixed_width(ends.format()).ok_or_else(|| unknown(format))?,
                    values: Box::new(Column::new(values)?),
                }
            }
            _ => {
                if let Some(size) = format.strip_prefix(b"+w:").and_then(decimal) {
                    list(Place::Fixed(size), only()?)
                } else if let Some(codes) = format.strip_prefix(b"+ud:") {
                    Self::union(true, codes, children()?)
                } else if let Some(codes) = format.strip_prefix(b"+us:") {
                    Self::union(false, codes, children()?)
                } else if let Some(width) = fixed_width(format) {
                    Self::Fixed {
                        width,
                        bytes: stream(),
                    }
                } else {
                    return Err(unknown(format));
                }
            }
        })
    }

    fn union(dense: bool, codes: &[u8], children: Vec<Column>) -> Self {
        let codes = codes.split(|byte| *byte == b',');
        Self::Union {
            dense,
            codes: codes
                .map(|code| {
                    decimal(code)
                        .and_then(|code| u8::try_from(code).ok())
                        .unwrap_or(0)
                })
                .collect(),
            ids: stream(),
            children,
        }
    }

    /// Unions and run ends leave it to their parts which values are missing.
    fn has_validity(&self) -> bool {
        !matches!(self, Self::Null | Self::Union { .. } | Self::RunEnds { .. })
    }

    fn layout(&self) -> u8 {
        match self {
            Self::Null => layout::NULL,
            Self::Bits(_) => layout::BITS,
            Self::Fixed { .. } => layout::FIXED,
            Self::Text { .. } => layout::TEXT,
            Self::List { .. } => layout::LIST,
            Self::Struct(_) => layout::STRUCT,
            Self::Union { .. } | Self::Dictionary { .. } | Self::RunEnds { .. } => layout::UNION,
        }
    }

    fn finish(self, encoder: &mut Encoder) {
        match self {
            Self::Null | Self::Dictionary { .. } | Self::RunEnds { .. } => {}
            Self::Bits(bits) => {
                encoder.child(&bits.finish());
            }
            Self::Fixed { width, bytes } => {
                encoder.length(width).child(&bytes.finish());
            }
            Self::Text { lengths, bytes, .. } => {
                encoder.child(&lengths.finish()).child(&bytes.finish());
            }
            Self::List {
                lengths, values, ..
            } => {
                encoder.child(&lengths.finish()).child(&values.finish());
            }
            Self::Struct(children) => {
                encoder.length(children.len());
                for child in children {
                    encoder.child(&child.finish());
                }
            }
            Self::Union { ids, children, .. } => {
                encoder.length(children.len()).child(&ids.finish());
                for child in children {
                    encoder.child(&child.finish());
                }
            }
        }
    }
}

fn unknown(format: &[u8]) -> String {
    let format = String::from_utf8_lossy(format);
    format!("Arrow data of the unknown format {format:?}")
}

fn decimal(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The bytes of a value of a type whose values all have the same size.
fn fixed_width(format: &[u8]) -> Option<usize> {
    Some(match format {
        b"c" | b"C" => 1,
        b"s" | b"S" | b"e" => 2,
        b"i" | b"I" | b"f" | b"tdD" | b"tts" | b"ttm" | b"tiM" => 4,
        b"l" | b"L" | b"g" | b"tdm" | b"ttu" | b"ttn" | b"tiD" => 8,
        b"tin" => 16,
        _ if format.starts_with(b"ts") || format.starts_with(b"tD") => 8,
        _ if format.starts_with(b"w:") => decimal(&format[2..])?,
        _ if format.starts_with(b"d:") => {
            // `d:precision,scale[,bits]`
            let bits = format[2..].split(|byte| *byte == b',').nth(2);
            bits.map_or(Some(128), decimal)? / 8
        }
        _ => return None,
    })
}
