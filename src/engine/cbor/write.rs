//! Writing: small things into one buffer, large ones kept beside it until all is put together.

use smallvec::SmallVec;

use super::float::{Short, shorten};
use super::{Major, START, simple, tag};

/// Where something starts that may turn out to be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// What is put between the bytes when all is known.
enum Insert {
    /// The tag of what is shared, if it is.
    Place(u32),
    Reference(u32),
    Large(usize),
}

/// Writes one entry. `B` is what large buffers are held by.
pub struct Writer<B> {
    bytes: Vec<u8>,
    /// In the order of the bytes that they precede.
    inserts: SmallVec<[(usize, Insert); 2]>,
    /// Of each place, whether something refers to it.
    shared: SmallVec<[bool; 8]>,
    large: Vec<B>,
}

impl<B: AsRef<[u8]>> Default for Writer<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: AsRef<[u8]>> Writer<B> {
    pub fn new() -> Self {
        Self {
            bytes: {
                let mut bytes = Vec::with_capacity(120);
                bytes.extend(START);
                bytes
            },
            inserts: SmallVec::new(),
            shared: SmallVec::new(),
            large: Vec::new(),
        }
    }

    /// One that writes a part, without the start of an entry.
    pub fn of_part() -> Self {
        Self {
            bytes: Vec::new(),
            inserts: SmallVec::new(),
            shared: SmallVec::new(),
            large: Vec::new(),
        }
    }

    pub fn head(&mut self, major: Major, argument: u64) {
        push_head(&mut self.bytes, major, argument);
    }

    #[inline]
    pub fn length(&mut self, major: Major, length: usize) {
        self.head(major, length as u64);
    }

    pub fn tag(&mut self, tag: u64) {
        self.head(Major::Tag, tag);
    }

    pub fn null(&mut self) {
        self.head(Major::Simple, simple::NULL);
    }

    pub fn bool(&mut self, value: bool) {
        self.head(
            Major::Simple,
            if value { simple::TRUE } else { simple::FALSE },
        );
    }

    pub fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.head(Major::Unsigned, value),
            Err(_) => self.head(Major::Negative, !value.cast_unsigned()),
        }
    }

    /// An integer of any size: its magnitude, or of a negative one that of -1 minus it, its lowest
    /// byte first.
    pub fn big_integer(&mut self, negative: bool, magnitude: &[u8]) {
        let length = magnitude.iter().rposition(|byte| *byte != 0);
        let magnitude = &magnitude[..length.map_or(0, |last| last + 1)];
        let mut small = [0; 8];
        if let Some(room) = small.get_mut(..magnitude.len()) {
            room.copy_from_slice(magnitude);
            let major = if negative {
                Major::Negative
            } else {
                Major::Unsigned
            };
            return self.head(major, u64::from_le_bytes(small));
        }
        self.tag(if negative {
            tag::NEGATIVE
        } else {
            tag::POSITIVE
        });
        self.length(Major::Bytes, magnitude.len());
        self.bytes.extend(magnitude.iter().rev());
    }

    pub fn float(&mut self, number: f64) {
        match shorten(number) {
            Short::Half(bits) => {
                self.bytes.push(0xf9);
                self.bytes.extend(bits.to_be_bytes());
            }
            Short::Single(bits) => {
                self.bytes.push(0xfa);
                self.bytes.extend(bits.to_be_bytes());
            }
            Short::Double(bits) => {
                self.bytes.push(0xfb);
                self.bytes.extend(bits.to_be_bytes());
            }
        }
    }

    pub fn text(&mut self, text: &str) {
        self.length(Major::Text, text.len());
        self.bytes.extend(text.as_bytes());
    }

    pub fn byte_string(&mut self, bytes: &[u8]) {
        self.length(Major::Bytes, bytes.len());
        self.bytes.extend(bytes);
    }

    /// A byte string that is copied once, into the finished entry.
    pub fn large_byte_string(&mut self, bytes: B) {
        self.length(Major::Bytes, bytes.as_ref().len());
        self.large(bytes);
    }

    /// The same of a text.
    pub fn large_text(&mut self, bytes: B) {
        self.length(Major::Text, bytes.as_ref().len());
        self.large(bytes);
    }

    fn large(&mut self, bytes: B) {
        self.insert(Insert::Large(self.large.len()));
        self.large.push(bytes);
    }

    /// Notes that what is written next may be referred to.
    pub fn place(&mut self) -> Place {
        #[expect(clippy::cast_possible_truncation, reason = "4,294,967,296 do not fit")]
        let number = self.shared.len() as u32;
        self.shared.push(false);
        self.insert(Insert::Place(number));
        Place(number)
    }

    /// Writes that here is what is, or will be, at a place.
    pub fn reference(&mut self, place: Place) {
        self.shared[place.number()] = true;
        self.insert(Insert::Reference(place.0));
    }

    fn insert(&mut self, insert: Insert) {
        self.inserts.push((self.bytes.len(), insert));
    }

    /// What was written, if nothing has to be put in.
    pub fn simple(&self) -> Option<&[u8]> {
        let plain = self.large.is_empty() && !self.shared.contains(&true);
        plain.then_some(self.bytes.as_slice())
    }

    /// The order of elements that were written one by one, each from `starts` to the next.
    pub fn sorted(&self, starts: &[usize]) -> Vec<usize> {
        let mut order: Vec<_> = (0..starts.len()).collect();
        order.sort_by_key(|index| self.between(starts, *index));
        order
    }

    fn between(&self, starts: &[usize], index: usize) -> &[u8] {
        let end = starts.get(index + 1).copied();
        &self.bytes[starts[index]..end.unwrap_or(self.bytes.len())]
    }

    /// These elements, in their order.
    pub fn append_sorted(&mut self, part: &Self, starts: &[usize]) {
        for index in part.sorted(starts) {
            self.bytes.extend(part.between(starts, index));
        }
    }

    /// How many bytes were written so far.
    pub fn written(&self) -> usize {
        self.bytes.len()
    }

    /// An entry of which the parts are known.
    pub fn finish(&self) -> Finished<'_, B> {
        let mut numbers = vec![0; self.shared.len()];
        let mut next = 0_u64;
        let mut length = self.bytes.len();
        for (place, shared) in self.shared.iter().enumerate() {
            if *shared {
                numbers[place] = next;
                next += 1;
            }
        }
        for (_, insert) in &self.inserts {
            length += match insert {
                Insert::Place(place) if self.shared[*place as usize] => 2,
                Insert::Place(_) => 0,
                Insert::Reference(place) => 2 + head_length(numbers[*place as usize]),
                Insert::Large(index) => self.large[*index].as_ref().len(),
            };
        }
        Finished {
            writer: self,
            numbers,
            length,
        }
    }
}

/// An entry before it is in one piece.
pub struct Finished<'a, B> {
    writer: &'a Writer<B>,
    numbers: Vec<u64>,
    length: usize,
}

impl<B: AsRef<[u8]>> Finished<'_, B> {
    pub fn length(&self) -> usize {
        self.length
    }

    /// Gives the entry piece by piece.
    pub fn for_each(&self, mut give: impl FnMut(&[u8])) {
        let writer = self.writer;
        let mut from = 0;
        let mut head = Vec::new();
        for (at, insert) in &writer.inserts {
            if let Insert::Place(place) = insert
                && !writer.shared[*place as usize]
            {
                continue;
            }
            give(&writer.bytes[from..*at]);
            from = *at;
            head.clear();
            match insert {
                Insert::Place(_) => push_head(&mut head, Major::Tag, tag::SHARED),
                Insert::Reference(place) => {
                    push_head(&mut head, Major::Tag, tag::REFERENCE);
                    push_head(&mut head, Major::Unsigned, self.numbers[*place as usize]);
                }
                Insert::Large(index) => {
                    give(writer.large[*index].as_ref());
                    continue;
                }
            }
            give(&head);
        }
        give(&writer.bytes[from..]);
    }
}

fn head_length(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked by the ranges")]
fn push_head(bytes: &mut Vec<u8>, major: Major, argument: u64) {
    let major = (major as u8) << 5;
    match argument {
        0..=23 => bytes.push(major | argument as u8),
        24..=0xff => bytes.extend([major | 0x18, argument as u8]),
        0x100..=0xffff => {
            bytes.push(major | 0x19);
            bytes.extend((argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            bytes.push(major | 0x1a);
            bytes.extend((argument as u32).to_be_bytes());
        }
        _ => {
            bytes.push(major | 0x1b);
            bytes.extend(argument.to_be_bytes());
        }
    }
}
