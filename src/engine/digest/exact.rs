//! Scheme `exact`: an injective encoding of values under BLAKE3.
//!
//! A value's *pre-image* starts with the [`Tag`] of its kind; whatever has a variable length is
//! preceded by it; children enter as their 32 digest bytes. No pre-image is a prefix of another,
//! so those shorter than one BLAKE3 block (64 bytes) can be padded with zeros to exactly one
//! block, and the digests of many small values are computed side by side in SIMD lanes
//! ([`Window`]).

use blake3::Hasher;
use blake3::platform::Platform;
use smallvec::SmallVec;

use super::Hash;

/// One BLAKE3 block.
pub const BLOCK: usize = 64;

/// How many blocks are hashed side by side: as many as the widest processors take (AVX-512).
const LANES: usize = u16::BITS as usize;

/// Pre-images up to this size stay in one buffer; longer ones are hashed in pieces of it.
const PIECE: usize = 64 * 1024;

/// The first byte of every pre-image: what kind of value it encodes. The numbers are part of the
/// format (`docs/design.md`): they never change and are never given to another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    None = 0x01,
    Bool = 0x02,
    Ellipsis = 0x03,
    NotImplemented = 0x04,
    /// An argument that was left at a default which has no digest.
    Default = 0x05,

    // Numbers by value: equal numbers of any type have one pre-image.
    Integer = 0x10,
    Dyadic = 0x11,
    Ratio = 0x12,
    HugeDecimal = 0x13,
    Infinity = 0x14,
    NotANumber = 0x15,
    Complex = 0x16,
    /// A number of a user's own class: the class's name, then the number.
    NumberSubclass = 0x17,
    /// Any number by type and value (typed digests).
    TypedNumber = 0x18,

    Text = 0x20,
    Bytes = 0x21,
    /// Bytes-like and text-like values of other types: the type's name, then the content.
    NamedText = 0x22,
    NamedBytes = 0x23,
    /// `array.array` and `memoryview`.
    PackedArray = 0x24,
    MemoryView = 0x25,

    Sequence = 0x30,
    Set = 0x31,
    Mapping = 0x32,
    OrderedMapping = 0x33,
    NamedTuple = 0x34,
    Range = 0x35,
    /// A subclass instance that carries attributes besides its content.
    WithState = 0x36,
    /// An instance of a user's subclass of a library's class.
    Subclass = 0x37,

    Record = 0x40,
    TypedRecord = 0x41,
    Namespace = 0x42,
    Enum = 0x43,
    Flag = 0x44,
    /// What a hook or `__digest__` says of an instance, with its class (typed digests).
    OwnRule = 0x45,
    /// Any other object, by its class and the parts of its reduction.
    Reduction = 0x46,
    /// A result that its serialised bytes tell from all others.
    Serialised = 0x47,
    /// A result that nothing tells from others.
    Unique = 0x48,

    Class = 0x50,
    Module = 0x51,
    Function = 0x52,
    Code = 0x53,
    Recursion = 0x54,
    Method = 0x55,
    Builtin = 0x56,
    Partial = 0x57,
    Descriptor = 0x58,
    /// Functions, classes and modules by what they do, not by where they are.
    FunctionDefinition = 0x59,
    ClassDefinition = 0x5a,
    ModuleContent = 0x5b,
    /// Code by its syntax tree.
    Syntax = 0x5c,
    /// A decorated function that has a version.
    Versioned = 0x5d,

    DateTime = 0x60,
    Date = 0x61,
    Time = 0x62,
    TimeDelta = 0x63,
    TimeZone = 0x64,

    Path = 0x68,
    Uuid = 0x69,
    Pattern = 0x6a,
    Slice = 0x6b,
    IpAddress = 0x6c,
    /// What is in a file; and in a folder.
    File = 0x6d,
    Folder = 0x6e,

    Array = 0x70,
    ObjectArray = 0x71,
    StructuredArray = 0x72,
    MaskedArray = 0x73,
    NumpyScalar = 0x74,
    Dtype = 0x75,
    RandomState = 0x76,

    Frame = 0x80,
    Series = 0x81,
    Index = 0x82,
    Column = 0x83,
    PandasScalar = 0x84,
    /// Bytes of a column whose number its column tells.
    Stream = 0x85,

    ArrowTable = 0x88,
    ArrowArray = 0x89,
    PolarsFrame = 0x8a,
    PolarsSeries = 0x8b,
    Tensor = 0x8c,
    SparseArray = 0x8d,
    Labelled = 0x8e,
    ArrowType = 0x8f,

    /// A call record, the key that a record is found under, and what the keys of a function's
    /// calls have in common.
    Call = 0xf0,
    LookupKey = 0xf1,
    CallShape = 0xf2,
}

/// Builds one pre-image and hashes it.
pub struct Encoder {
    /// Encoders stand on the stack of every level of a walk: the commonest pre-images fit, no more.
    buffer: SmallVec<[u8; 128]>,
    hasher: Option<Box<Hasher>>,
}

impl Encoder {
    pub fn new(tag: Tag) -> Self {
        let mut buffer = SmallVec::new();
        buffer.push(tag as u8);
        Self {
            buffer,
            hasher: None,
        }
    }

    /// One byte as it is: a flag or a small code of the kind's own.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        self.buffer.push(byte);
        self
    }

    /// A fixed-width number: lengths, counts, fields of known size. Little-endian.
    pub fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    pub fn i64(&mut self, number: i64) -> &mut Self {
        self.raw(&number.to_le_bytes())
    }

    /// The length of something that follows: LEB128, so that small values stay in one block.
    pub fn length(&mut self, length: usize) -> &mut Self {
        let mut rest = length;
        while rest >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
            self.buffer.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 0x80")]
        self.buffer.push(rest as u8);
        self
    }

    /// Bytes of any length, after their length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).raw(bytes)
    }

    /// Text as UTF-8, after its length in bytes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// The digest of a child.
    pub fn child(&mut self, hash: &Hash) -> &mut Self {
        self.raw(hash)
    }

    /// Bytes whose number the pre-image already tells.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        if self.buffer.len() + bytes.len() > PIECE {
            self.flush();
            if bytes.len() > PIECE {
                self.update(bytes);
                return self;
            }
        }
        self.buffer.extend_from_slice(bytes);
        self
    }

    /// Large contiguous bytes whose number the pre-image already tells; safe to call without the
    /// GIL, and worth it.
    #[inline(never)]
    pub fn bulk(&mut self, bytes: &[u8]) -> &mut Self {
        if bytes.len() <= PIECE {
            return self.raw(bytes);
        }
        self.flush();
        super::parallel::update(self.hasher(), bytes);
        self
    }

    // A hasher takes two kilobytes of stack while it is made: not in the frames of the walk.
    #[inline(never)]
    fn flush(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.hasher().update(&buffer);
    }

    #[inline(never)]
    fn update(&mut self, bytes: &[u8]) {
        self.hasher().update(bytes);
    }

    fn hasher(&mut self) -> &mut Hasher {
        self.hasher.get_or_insert_with(Box::default)
    }

    #[inline(never)]
    pub fn finish(mut self) -> Hash {
        if self.hasher.is_some() {
            self.flush();
            return *self.hasher().finalize().as_bytes();
        }
        if self.buffer.len() < BLOCK {
            self.buffer.resize(BLOCK, 0);
        }
        *blake3::hash(&self.buffer).as_bytes()
    }

    /// The pre-image as one block, if it fits.
    pub fn block(&self) -> Option<[u8; BLOCK]> {
        if self.hasher.is_some() || self.buffer.len() > BLOCK {
            return None;
        }
        let mut block = [0; BLOCK];
        block[..self.buffer.len()].copy_from_slice(&self.buffer);
        Some(block)
    }
}

/// Where the digests of children go, in order.
pub trait Sink {
    fn child(&mut self, hash: &Hash);
}

impl Sink for Encoder {
    fn child(&mut self, hash: &Hash) {
        self.raw(hash);
    }
}

impl Sink for Vec<Hash> {
    fn child(&mut self, hash: &Hash) {
        self.push(*hash);
    }
}

/// Children on their way to a [`Sink`]: the small ones among them are hashed side by side.
///
/// A walk has one for every level of a nest on its stack: what is large is on the heap.
pub struct Window<'sink, S: Sink> {
    sink: &'sink mut S,
    platform: Platform,
    /// The pre-images that wait, and behind them the one that is being written.
    blocks: Vec<[u8; BLOCK]>,
    pending: usize,
    /// The digests that are known already, of the children whose bits are set in `known_at`.
    known: Vec<Hash>,
    known_at: u16,
}

impl<'sink, S: Sink> Window<'sink, S> {
    pub fn new(sink: &'sink mut S) -> Self {
        Self {
            sink,
            platform: Platform::detect(),
            blocks: Vec::with_capacity(LANES),
            pending: 0,
            known: Vec::new(),
            known_at: 0,
        }
    }

    /// The block in which to write a child's pre-image (cleared); [`Window::push_block`] adds it.
    pub fn next_block(&mut self) -> &mut [u8; BLOCK] {
        self.blocks.truncate(self.pending);
        self.blocks.push([0; BLOCK]);
        &mut self.blocks[self.pending]
    }

    /// Adds the child whose pre-image was written into [`Window::next_block`].
    pub fn push_block(&mut self) {
        self.pending += 1;
        self.flush_if_full();
    }

    /// Adds a child whose digest is known.
    pub fn push(&mut self, hash: Hash) {
        if self.pending == 0 {
            self.sink.child(&hash);
        } else {
            self.known_at |= 1 << self.count();
            self.known.push(hash);
            self.flush_if_full();
        }
    }

    fn count(&self) -> usize {
        self.pending + self.known.len()
    }

    fn flush_if_full(&mut self) {
        if self.count() == LANES {
            self.finish();
        }
    }

    /// Hands every child over to the sink.
    #[inline(never)]
    pub fn finish(&mut self) {
        let mut hashes = [[0; 32]; LANES];
        hash_blocks(self.platform, &self.blocks[..self.pending], &mut hashes);
        let (mut computed, mut known) = (hashes.iter(), self.known.iter());
        for place in 0..self.count() {
            let hash = if self.known_at >> place & 1 == 1 {
                known.next()
            } else {
                computed.next()
            };
            if let Some(hash) = hash {
                self.sink.child(hash);
            }
        }
        self.blocks.clear();
        self.known.clear();
        self.known_at = 0;
        self.pending = 0;
    }
}

/// BLAKE3 of messages of exactly one block, as many at once as the processor has lanes.
fn hash_blocks(platform: Platform, blocks: &[[u8; BLOCK]], out: &mut [Hash; LANES]) {
    /// BLAKE3's initial value, and the flags of a message that is one block: first and last of
    /// its chunk, and the root of its tree (BLAKE3 specification, 2.2).
    const IV: [u32; 8] = [
        0x6A09_E667,
        0xBB67_AE85,
        0x3C6E_F372,
        0xA54F_F53A,
        0x510E_527F,
        0x9B05_688C,
        0x1F83_D9AB,
        0x5BE0_CD19,
    ];
    const CHUNK_START: u8 = 1;
    const CHUNK_END: u8 = 2;
    const ROOT: u8 = 8;
    // Below this the lanes are not worth filling.
    if blocks.len() < 3 {
        for (block, hash) in blocks.iter().zip(out) {
            *hash = *blake3::hash(block).as_bytes();
        }
        return;
    }
    let inputs: SmallVec<[&[u8; BLOCK]; LANES]> = blocks.iter().collect();
    let counter = blake3::IncrementCounter::No;
    platform.hash_many(
        &inputs,
        &IV,
        0,
        counter,
        0,
        CHUNK_START,
        CHUNK_END | ROOT,
        out.as_flattened_mut(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash_of(preimage: &[u8]) -> Hash {
        let mut padded = preimage.to_vec();
        if padded.len() < BLOCK {
            padded.resize(BLOCK, 0);
        }
        *blake3::hash(&padded).as_bytes()
    }

    proptest! {
        #[test]
        fn an_encoder_hashes_its_preimage(content in prop::collection::vec(any::<u8>(), 0..200_000)) {
            let mut encoder = Encoder::new(Tag::Bytes);
            encoder.bytes(&content);
            let mut preimage = vec![Tag::Bytes as u8];
            let mut rest = content.len();
            while rest >= 0x80 {
                preimage.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
                rest >>= 7;
            }
            preimage.push(u8::try_from(rest).unwrap());
            preimage.extend_from_slice(&content);
            prop_assert_eq!(encoder.finish(), hash_of(&preimage));
        }

        #[test]
        fn bulk_is_the_same_bytes(content in prop::collection::vec(any::<u8>(), 0..300_000)) {
            let mut one = Encoder::new(Tag::Array);
            one.u64(7).bulk(&content).byte(1);
            let mut other = Encoder::new(Tag::Array);
            other.u64(7);
            for piece in content.chunks(1000) {
                other.raw(piece);
            }
            other.byte(1);
            prop_assert_eq!(one.finish(), other.finish());
        }

        #[test]
        fn a_window_keeps_order_and_digests(
            children in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..63)), 0..100),
        ) {
            let mut out: Vec<Hash> = Vec::new();
            let mut window = Window::new(&mut out);
            for (known, preimage) in &children {
                if *known {
                    window.push(hash_of(preimage));
                } else {
                    window.next_block()[..preimage.len()].copy_from_slice(preimage);
                    window.push_block();
                }
            }
            window.finish();
            let expected: Vec<Hash> = children.iter().map(|(_, preimage)| hash_of(preimage)).collect();
            prop_assert_eq!(out, expected);
        }
    }
}
