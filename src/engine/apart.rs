//! Payloads whose large buffers lie apart, so that they can be written from where they are and
//! mapped into memory.
//!
//! ```text
//! magic | u64 length of the stream | u64 count of buffers | [u64 length, u64 kind]* | stream
//!       | [zeros up to a multiple of 64 | buffer]*
//! ```
//! Numbers are little-endian. The stream is what a serialiser made of all but the buffers, in any
//! form: nothing here looks into it.

use std::io::{self, Read};

use super::error::Fault;

/// The first bytes of such a payload. No pickle, no CBOR, and nothing compressed starts with them.
pub const MAGIC: [u8; 8] = *b"\xfffleche\x01";

/// What buffers lie at multiples of: what the widest processors load at once.
pub const ALIGNMENT: usize = 64;

/// Shorter buffers stay in the stream. Keys of results depend on it.
pub const SHORTEST: usize = 1 << 18;

const FIXED: usize = MAGIC.len() + 16;
const ROW: usize = 16;
const ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// What a buffer comes back as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory that something else is a view of.
    Memory = 0,
    /// An immutable object that owns its bytes.
    Bytes = 1,
}

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub kind: Kind,
    /// Counted from the beginning of the payload.
    pub start: usize,
    pub length: usize,
}

impl Place {
    pub fn end(&self) -> usize {
        self.start + self.length
    }
}

/// Where everything in a payload lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    stream: usize,
    places: Vec<Place>,
}

impl Layout {
    /// Of a stream of this length and these buffers; `None` if no file could be so long.
    pub fn new(stream: usize, buffers: impl IntoIterator<Item = (Kind, usize)>) -> Option<Self> {
        let buffers = buffers.into_iter().collect::<Vec<_>>();
        let mut end = buffers.len().checked_mul(ROW)?.checked_add(FIXED)?;
        end = end.checked_add(stream)?;
        let mut places = Vec::with_capacity(buffers.len());
        for (kind, length) in buffers {
            let start = end.checked_next_multiple_of(ALIGNMENT)?;
            end = start.checked_add(length)?;
            places.push(Place {
                kind,
                start,
                length,
            });
        }
        i64::try_from(end).ok()?;
        Some(Self { stream, places })
    }

    /// Reads what stands before the stream; `length` is how long the payload is at most.
    pub fn read(source: &mut impl Read, length: u64) -> io::Result<Result<Self, Fault>> {
        let mut fixed = [0; FIXED];
        if length < FIXED as u64 {
            return Ok(Err(Fault::Cut));
        }
        source.read_exact(&mut fixed)?;
        let [stream, count] = [&fixed[8..16], &fixed[16..]].map(number);
        if fixed[..8] != MAGIC || count > length / ROW as u64 {
            return Ok(Err(Fault::Cut));
        }
        let mut table = Vec::new();
        let room = usize::try_from(count * ROW as u64).unwrap_or(usize::MAX);
        if table.try_reserve_exact(room).is_err() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        source.take(room as u64).read_to_end(&mut table)?;
        Ok(Self::from_table(stream, &table, room)
            .filter(|layout| layout.length() as u64 <= length)
            .ok_or(Fault::Cut))
    }

    fn from_table(stream: u64, table: &[u8], expected: usize) -> Option<Self> {
        let rows = table.chunks_exact(ROW).map(|row| {
            let kind = match number(&row[8..]) {
                0 => Kind::Memory,
                1 => Kind::Bytes,
                _ => return None,
            };
            Some((kind, usize::try_from(number(&row[..8])).ok()?))
        });
        let rows = rows.collect::<Option<Vec<_>>>()?;
        (table.len() == expected).then_some(())?;
        Self::new(usize::try_from(stream).ok()?, rows)
    }

    /// What stands before the stream.
    pub fn head(&self) -> Vec<u8> {
        let mut head = MAGIC.to_vec();
        let mut push = |number: usize| head.extend((number as u64).to_le_bytes());
        push(self.stream);
        push(self.places.len());
        for place in &self.places {
            push(place.length);
            push(place.kind as usize);
        }
        head
    }

    /// How long that is.
    pub fn head_length(&self) -> usize {
        FIXED + ROW * self.places.len()
    }

    /// Where the stream ends.
    pub fn stream_end(&self) -> usize {
        self.head_length() + self.stream
    }

    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where the first buffer begins.
    pub fn first(&self) -> usize {
        self.places
            .first()
            .map_or(self.stream_end(), |first| first.start)
    }

    /// How long the payload is.
    pub fn length(&self) -> usize {
        self.places.last().map_or(self.stream_end(), Place::end)
    }

    /// The payload, part by part.
    pub fn parts<'a>(
        &self,
        head: &'a [u8],
        stream: &'a [u8],
        buffers: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<&'a [u8]> {
        let mut parts = vec![head, stream];
        let mut end = self.stream_end();
        for (place, buffer) in self.places.iter().zip(buffers) {
            parts.push(&ZEROS[..place.start - end]);
            parts.push(buffer);
            end = place.end();
        }
        parts
    }
}

/// Whether a payload is one of these.
pub fn is_apart(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// The stream in a payload, and where its buffers lie.
pub fn view(payload: &[u8]) -> Result<(&[u8], Layout), Fault> {
    let read = Layout::read(&mut &payload[..], payload.len() as u64);
    let layout = read.map_err(|_| Fault::Cut)??;
    let stream = &payload[layout.head_length()..layout.stream_end()];
    Ok((stream, layout))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(stream: &[u8], buffers: &[(bool, Vec<u8>)]) -> (Layout, Vec<u8>) {
        let kind = |memory| if memory { Kind::Memory } else { Kind::Bytes };
        let lengths = buffers
            .iter()
            .map(|(memory, bytes)| (kind(*memory), bytes.len()));
        let layout = Layout::new(stream.len(), lengths).unwrap();
        let head = layout.head();
        let buffers = buffers.iter().map(|(_, bytes)| bytes.as_slice());
        let bytes = layout.parts(&head, stream, buffers).concat();
        (layout, bytes)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stream in prop::collection::vec(any::<u8>(), 0..100),
            buffers in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..5),
            more in 0_usize..70,
        ) {
            let (layout, mut bytes) = payload(&stream, &buffers);
            prop_assert_eq!(bytes.len(), layout.length());
            prop_assert!(is_apart(&bytes));
            bytes.resize(bytes.len() + more, 7);
            let (read, found) = view(&bytes).unwrap();
            prop_assert_eq!(read, &stream[..]);
            for (place, (_, buffer)) in found.places().iter().zip(&buffers) {
                prop_assert_eq!(place.start % ALIGNMENT, 0);
                prop_assert_eq!(&bytes[place.start..place.end()], &buffer[..]);
            }
            prop_assert_eq!(found, layout);
        }

        #[test]
        fn what_is_cut_is_noticed(
            buffers in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..200)), 1..4),
            at in any::<prop::sample::Index>(),
        ) {
            let (_, bytes) = payload(b"stream", &buffers);
            prop_assert_eq!(view(&bytes[..at.index(bytes.len())]), Err(Fault::Cut));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            count in 0_u64..4,
        ) {
            for start in [&MAGIC[..], &[&MAGIC[..], &[9, 0, 0, 0, 0, 0, 0, 0], &count.to_le_bytes()[..]].concat()] {
                let bytes = [start, &bytes].concat();
                if let Ok((stream, layout)) = view(&bytes) {
                    prop_assert!(stream.len() <= bytes.len() && layout.length() <= bytes.len());
                }
            }
        }
    }
}
