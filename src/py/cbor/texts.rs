//! Short texts that were made lately: keys repeat within a value, and from one value to the next.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Texts up to this length are looked for.
const SHORT: usize = 32;
const SLOTS: usize = 1 << 9;

/// A text of a hash; the next one of the same slot takes its place.
type Slot = Option<(u64, Py<PyString>)>;

pub struct Texts(Box<[Slot]>);

impl Texts {
    fn new() -> Self {
        Self((0..SLOTS).map(|_| None).collect())
    }

    /// The text of these bytes, which was made already if it is a short one that was met lately.
    pub fn text<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
        if bytes.len() > SHORT {
            return PyString::from_bytes(py, bytes);
        }
        let hash = hash(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "the highest 9 bits")]
        let slot = &mut self.0[(hash >> (u64::BITS - SLOTS.ilog2())) as usize];
        if let Some((held, text)) = slot
            && *held == hash
            && text.bind(py).to_str()?.as_bytes() == bytes
        {
            return Ok(text.bind(py).clone());
        }
        let text = PyString::from_bytes(py, bytes)?;
        *slot = Some((hash, text.clone().unbind()));
        Ok(text)
    }
}

/// Whether offsets cut these bytes into texts.
pub fn are_texts(mut offsets: impl Iterator<Item = i64>, data: &[u8]) -> bool {
    let mut last = 0;
    if data.is_ascii() {
        return offsets.all(|offset| std::mem::replace(&mut last, offset) <= offset)
            && usize::try_from(last).is_ok_and(|last| last <= data.len());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    offsets.all(|offset| {
        std::mem::replace(&mut last, offset) <= offset
            && usize::try_from(offset).is_ok_and(|offset| text.is_char_boundary(offset))
    })
}

/// Eight bytes at a time: whoever makes them collide only makes texts anew.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |hash: u64, word: u64| (hash.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| {
        step(hash, u64::from_le_bytes(*word))
    });
    step(hash, u64::from_le_bytes(last))
}

/// The texts of a serialiser, which one walk at a time has; others begin with none.
#[derive(Default)]
pub struct Lent(Mutex<Option<Texts>>);

impl Lent {
    pub fn take(&self) -> Texts {
        // Nobody waits: a fork may have happened while another thread was here.
        let texts = self.0.try_lock().ok().and_then(|mut held| held.take());
        texts.unwrap_or_else(Texts::new)
    }

    pub fn give_back(&self, texts: Texts) {
        if let Ok(mut held) = self.0.try_lock() {
            *held = Some(texts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::are_texts;

    #[test]
    fn offsets_cut_texts() {
        for (offsets, data, expected) in [
            (&[0, 1, 3][..], "abc", true),
            (&[], "", true),
            (&[1, 1, 2], "abc", true),
            (&[0, 2, 1], "abc", false),
            (&[0, 4], "abc", false),
            (&[-1, 2], "abc", false),
            (&[0, 2, 3], "\u{e9}b", true),
            (&[0, 1, 3], "\u{e9}b", false),
            (&[0, 4], "\u{e9}b", false),
            (&[0, 3, 2], "\u{e9}b", false),
        ] {
            assert_eq!(
                are_texts(offsets.iter().copied(), data.as_bytes()),
                expected,
                "{offsets:?} {data}"
            );
        }
        assert!(!are_texts([0, 1].into_iter(), b"\xff"));
    }
}
