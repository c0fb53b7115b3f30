//! What entries are compressed by: gzip (RFC 1952), or Zstandard (RFC 8878).
//!
//! A file tells by its first bytes which it is: no payload starts with those.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use zstd::zstd_safe;

use super::error::Fault;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// So many of its first bytes tell by what a file is compressed.
pub const TELLING: usize = ZSTD_MAGIC.len();

/// How many bytes one byte of a compressed file may stand for at most, if what the file says of
/// its length is to be believed.
const MOST_PER_BYTE: u64 = 1040;

/// The length of a gzip file of nothing.
const LEAST_GZIP: u64 = 18;

/// The longest header of a Zstandard frame.
const ZSTD_HEADER: u64 = 18;

/// How hard gzip tries: beyond this level results of computations hardly shrink further.
const GZIP_LEVEL: u32 = 6;

/// How hard Zstandard tries: its own choice.
const ZSTD_LEVEL: u32 = 3;

/// Beyond this one Zstandard needs memory for what it compresses, and for reading it, by the
/// gigabyte.
const HIGHEST_ZSTD_LEVEL: u32 = 19;

/// By what something is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Gzip,
    Zstd,
}

/// By what something is to be compressed, and how hard that tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    method: Method,
    level: u32,
}

impl Method {
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// What bytes that start so are compressed by, if they are.
    pub fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&GZIP_MAGIC) {
            Some(Self::Gzip)
        } else if start.starts_with(&ZSTD_MAGIC) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The highest level; the lowest is 1.
    pub fn highest_level(self) -> u32 {
        match self {
            Self::Gzip => 9,
            Self::Zstd => HIGHEST_ZSTD_LEVEL,
        }
    }

    /// At a level, or at the one that serves most; `None` if there is no such level.
    pub fn at(self, level: Option<u32>) -> Option<Compression> {
        let level = level.unwrap_or(match self {
            Self::Gzip => GZIP_LEVEL,
            Self::Zstd => ZSTD_LEVEL,
        });
        let levels = 1..=self.highest_level();
        levels.contains(&level).then_some(Compression {
            method: self,
            level,
        })
    }

    /// What reads the bytes that were compressed.
    pub fn reader<'a>(self, compressed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(compressed)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(BufReader::with_capacity(
                zstd_safe::DCtx::in_size(),
                compressed,
            ))?),
        })
    }

    /// An error of reading, as what is wrong with an entry.
    pub fn fault(self, error: &io::Error) -> Fault {
        Fault::Compressed(self.name(), error.to_string())
    }

    /// How long what is in a file is, by what the file says; `None` if it does not, or if that
    /// cannot be. It is right for one member (gzip: of less than 4 GiB). The file is at its
    /// beginning afterwards.
    pub fn stated_length(self, file: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
        let stored = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let stated = match self {
            Self::Gzip if stored < LEAST_GZIP => None,
            Self::Gzip => {
                let mut end = [0; 4];
                file.seek(SeekFrom::End(-4))?;
                file.read_exact(&mut end)?;
                Some(u64::from(u32::from_le_bytes(end)))
            }
            Self::Zstd => {
                let mut header = Vec::new();
                file.by_ref().take(ZSTD_HEADER).read_to_end(&mut header)?;
                zstd_safe::get_frame_content_size(&header).ok().flatten()
            }
        };
        file.rewind()?;
        Ok(stated.filter(|stated| *stated <= stored.saturating_mul(MOST_PER_BYTE)))
    }
}

impl Compression {
    /// Compresses what `write` writes, which has this length.
    pub fn compress<W: Write>(
        self,
        out: W,
        length: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.method {
            Method::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(self.level));
                write(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Method::Zstd => {
                // Levels are small.
                let level = i32::try_from(self.level).unwrap_or(1);
                let mut encoder = zstd::Encoder::new(out, level)?;
                encoder.include_checksum(true)?;
                encoder.set_pledged_src_size(Some(length))?;
                write(&mut encoder)?;
                encoder.finish().map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(method: Method, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let compression = method.at(None).unwrap();
        let write = |out: &mut dyn Write| out.write_all(bytes);
        compression
            .compress(&mut out, bytes.len() as u64, write)
            .unwrap();
        out
    }

    #[test]
    fn what_is_compressed_is_told_and_comes_back() {
        for method in Method::ALL {
            for length in [0, 1, 1000, 1 << 20] {
                let bytes = vec![7; length];
                let packed = compressed(method, &bytes);
                assert_eq!(Method::of(&packed), Some(method));
                let mut read = Vec::new();
                method
                    .reader(&packed[..])
                    .unwrap()
                    .read_to_end(&mut read)
                    .unwrap();
                assert_eq!(read, bytes);
            }
        }
        assert_eq!(Method::of(b"\x80\x05N."), None);
        assert_eq!(Method::of(b""), None);
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        for method in Method::ALL {
            let mut file = io::Cursor::new(compressed(method, &[7; 10_000]));
            assert_eq!(method.stated_length(&mut file).unwrap(), Some(10_000));
            assert_eq!(file.position(), 0);
            let mut short = io::Cursor::new(compressed(method, &[7; 10_000])[..4].to_vec());
            assert_eq!(method.stated_length(&mut short).unwrap(), None);
        }
        let mut gzip = compressed(Method::Gzip, &[7; 1000]);
        let end = gzip.len() - 4;
        gzip[end..].copy_from_slice(&u32::MAX.to_le_bytes());
        let stated = Method::Gzip.stated_length(&mut io::Cursor::new(&gzip));
        assert_eq!(stated.unwrap(), None);
        // A frame of nothing that says that it is of 2^60 bytes.
        let mut bomb = ZSTD_MAGIC.to_vec();
        bomb.push(0xe0);
        bomb.extend((1_u64 << 60).to_le_bytes());
        bomb.extend([1, 0, 0]);
        let stated = Method::Zstd.stated_length(&mut io::Cursor::new(&bomb));
        assert_eq!(stated.unwrap(), None);
        let mut read = Vec::new();
        assert!(
            Method::Zstd
                .reader(&bomb[..])
                .unwrap()
                .read_to_end(&mut read)
                .is_err()
        );
        assert!(read.is_empty());
    }

    #[test]
    fn levels_have_ends() {
        for method in Method::ALL {
            assert_eq!(Method::named(method.name()), Some(method));
            let highest = method.highest_level();
            assert!(method.at(Some(highest)).is_some() && method.at(Some(1)).is_some());
            assert!(method.at(Some(highest + 1)).is_none() && method.at(Some(0)).is_none());
        }
        assert_eq!(Method::named("lzma"), None);
    }
}
