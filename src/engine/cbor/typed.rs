//! Typed arrays (RFC 8746): the tag says what the elements are.

/// The elements of a typed array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    pub kind: Kind,
    /// In bytes: 1, 2, 4 or 8; of floats 2, 4 or 8.
    pub size: usize,
    pub little: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unsigned,
    Signed,
    Float,
}

const FIRST: u64 = 64;
const FLOAT: u64 = 1 << 4;
const SIGNED: u64 = 1 << 3;
const LITTLE: u64 = 1 << 2;

impl Element {
    /// An element, if there is a tag for it. Single bytes have no order.
    pub fn new(kind: Kind, size: usize, little: bool) -> Option<Self> {
        let known = match kind {
            Kind::Float => matches!(size, 2 | 4 | 8),
            Kind::Unsigned | Kind::Signed => matches!(size, 1 | 2 | 4 | 8),
        };
        let little = little && size > 1;
        known.then_some(Self { kind, size, little })
    }

    pub fn tag(self) -> u64 {
        let length = u64::from(self.size.trailing_zeros());
        let order = if self.little { LITTLE } else { 0 };
        FIRST
            + order
            + match self.kind {
                Kind::Unsigned => length,
                Kind::Signed => SIGNED + length,
                Kind::Float => FLOAT + length - 1,
            }
    }

    /// What the tag of a typed array says.
    pub fn of(tag: u64) -> Option<Self> {
        let bits = tag.checked_sub(FIRST).filter(|bits| *bits < 24)?;
        let little = bits & LITTLE != 0;
        let kind = match (bits & FLOAT != 0, bits & SIGNED != 0) {
            (true, _) => Kind::Float,
            (false, true) => Kind::Signed,
            (false, false) => Kind::Unsigned,
        };
        let size = 1_usize << (bits & 3) << u8::from(kind == Kind::Float);
        let element = Self::new(kind, size, little)?;
        (element.little == little).then_some(element)
    }
}
