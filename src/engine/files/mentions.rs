//! Keys that are mentioned in the bytes of an entry that cannot be read.
//!
//! Whatever holds keys holds them as text. An entry whose class is gone, or whose signature does
//! not hold, still shows which others it may need; it may show more than it needs.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::Store;
use crate::engine::compression::{Method, TELLING};
use crate::engine::digest::{DIGEST_LENGTH, Hash};
use crate::engine::disk::File;
use crate::engine::error::{Error, Result};

impl Store {
    /// Which of the keys in `wanted` are mentioned in a file; none if it is gone. What cannot be
    /// decompressed was torn, and is of no use to anybody.
    pub fn mentions(path: &Path, wanted: &HashSet<Hash>) -> Result<HashSet<Hash>> {
        Self::mentions_where(path, |key| wanted.contains(key))
    }

    /// As `mentions`, of the keys that `is_wanted` says.
    pub fn mentions_where(path: &Path, is_wanted: impl Fn(&Hash) -> bool) -> Result<HashSet<Hash>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if super::is_absent(&error) => return Ok(HashSet::new()),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let mut search = Search::new(is_wanted);
        match search.read_file(&mut file) {
            // A folder in the place of an entry.
            Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(HashSet::new()),
            read => read.map(|()| search.found).map_err(Error::io("read", path)),
        }
    }

    /// The same in the bytes of an entry.
    pub fn mentions_in(bytes: &[u8], is_wanted: impl Fn(&Hash) -> bool) -> HashSet<Hash> {
        let mut search = Search::new(is_wanted);
        if let Some(method) = Method::of(bytes) {
            // What it cannot make out was torn.
            let _ = method.reader(bytes).and_then(|reader| search.read(reader));
        } else {
            search.take(bytes);
        }
        search.found
    }
}

/// A search for keys in a stream of bytes.
struct Search<W> {
    is_wanted: W,
    found: HashSet<Hash>,
    /// What the last 64 characters are in binary, if they are hex: counted from an even place, and
    /// from an odd one.
    windows: [Hash; 2],
    length: usize,
    last: u8,
}

impl<W: Fn(&Hash) -> bool> Search<W> {
    fn new(is_wanted: W) -> Self {
        Self {
            is_wanted,
            found: HashSet::new(),
            windows: [[0; 32]; 2],
            length: 0,
            last: 0,
        }
    }

    fn read_file(&mut self, file: &mut File) -> io::Result<()> {
        let mut start = Vec::new();
        file.read_up_to(TELLING as u64, &mut start)?;
        let method = Method::of(&start);
        let whole = io::Cursor::new(start).chain(file);
        let Some(method) = method else {
            return self.read(whole);
        };
        match self.read(method.reader(whole)?) {
            Err(error) if error.raw_os_error().is_none() => Ok(()),
            read => read,
        }
    }

    fn read(&mut self, mut bytes: impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match bytes.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.take(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let nibble = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => {
                    self.length = 0;
                    continue;
                }
            };
            self.length += 1;
            let window = &mut self.windows[self.length % 2];
            window.copy_within(1.., 0);
            window[31] = self.last << 4 | nibble;
            self.last = nibble;
            if self.length >= DIGEST_LENGTH && (self.is_wanted)(window) {
                self.found.insert(*window);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::codec;
    use crate::engine::digest::Hex;
    use crate::engine::sign::Keys;

    const KEYS: [Hash; 3] = [[0xa1; 32], [0x5b; 32], [0xcd; 32]];

    fn mentioned(bytes: &[u8]) -> Vec<Hash> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry");
        std::fs::write(&path, bytes).unwrap();
        let wanted = HashSet::from(KEYS);
        let mut found: Vec<_> = Store::mentions(&path, &wanted)
            .unwrap()
            .into_iter()
            .collect();
        found.sort_unstable();
        found
    }

    fn text(key: usize) -> String {
        Hex::of(&KEYS[key]).as_str().to_owned()
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let other = "ee".repeat(32);
        for before in ["", "x", "a", "0123", "abc@", "ffff", &other] {
            for after in ["", "x", "a", "a0", "q\0"] {
                let bytes = format!("{before}{}{after}", text(1));
                assert_eq!(mentioned(bytes.as_bytes()), [KEYS[1]], "{before} {after}");
            }
        }
        let bytes = format!("{}{}..{}", text(0), text(2), text(1));
        assert_eq!(mentioned(bytes.as_bytes()), [KEYS[1], KEYS[0], KEYS[2]]);
        assert_eq!(mentioned(&text(0).as_bytes()[1..]), [KEYS[0]; 0]);
        assert_eq!(mentioned(text(0).to_uppercase().as_bytes()), [KEYS[0]; 0]);
    }

    #[test]
    fn across_the_parts_that_are_read_at_once() {
        let bytes = "z".repeat((1 << 16) - 30) + &text(0);
        assert_eq!(mentioned(bytes.as_bytes()), [KEYS[0]]);
    }

    #[test]
    fn in_compressed_and_signed_and_torn_entries() {
        let payload = format!("{} {}", text(0), "filling ".repeat(1 << 12)) + &text(1);
        let keys = Keys::new([b"key"]);
        for method in Method::ALL {
            let bytes = codec::encode(payload.as_bytes(), &keys, method.at(None)).unwrap();
            assert_eq!(mentioned(&bytes), [KEYS[1], KEYS[0]]);
            // What is left of it is looked at as far as it goes.
            mentioned(&bytes[..bytes.len() / 2]);
        }
        assert_eq!(mentioned(&payload.as_bytes()[..100]), [KEYS[0]]);
        assert_eq!(mentioned(b""), [KEYS[0]; 0]);
    }

    #[test]
    fn what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = HashSet::from(KEYS);
        for path in [folder.path().to_owned(), folder.path().join("none")] {
            assert_eq!(Store::mentions(&path, &wanted).unwrap(), HashSet::new());
        }
    }
}
