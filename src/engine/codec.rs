//! The bytes of an entry: a payload, its signature behind it, gzip around both.
//!
//! ```text
//! payload [signature: 64 hex characters]      and, compressed, gzip of all that
//! ```
//! Reading tells gzip by its first bytes. Whether there is a signature cannot be told from the
//! bytes: a store with keys demands one, a store without takes all of them as the payload, whose
//! own end (the STOP of a pickle) leaves a signature unread.

use std::borrow::Cow;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::digest::Hex;
use super::error::Fault;
use super::sign::{self, Keys};

/// The first bytes of a gzip file. No pickle starts with them.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The length of a gzip file of nothing, and how many bytes one byte of it may stand for at most.
const LEAST: u64 = 18;
const MOST_PER_BYTE: u64 = 1040;

/// How hard gzip tries: beyond this level results of computations hardly shrink further.
const LEVEL: u32 = 6;

/// A payload up to this length is copied together with its signature, to be written at once.
const JOINED: usize = 1 << 16;

/// Bytes whose signature held, if one was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload {
    bytes: Vec<u8>,
    length: usize,
}

impl std::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Writes the bytes to store for a payload.
pub fn write(
    payload: &[u8],
    signature: Option<&Hex>,
    compress: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let signature = signature.map_or(&[][..], |hex| hex.as_bytes());
    if compress {
        let mut gzip = GzEncoder::new(out, Compression::new(LEVEL));
        gzip.write_all(payload)?;
        gzip.write_all(signature)?;
        return gzip.finish().map(drop);
    }
    if signature.is_empty() || payload.len() > JOINED {
        out.write_all(payload)?;
        return out.write_all(signature);
    }
    out.write_all(&[payload, signature].concat())
}

/// The bytes to store for a payload.
pub fn encode(payload: &[u8], keys: &Keys, compress: bool) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(payload, keys.sign(payload).as_ref(), compress, &mut bytes)?;
    Ok(bytes)
}

/// The payload of stored bytes. Nothing of it may be interpreted before this returns.
pub fn decode(bytes: Vec<u8>, keys: &Keys) -> Result<Payload, Fault> {
    let bytes = if bytes.starts_with(&GZIP_MAGIC) {
        decompress(bytes.as_slice())?
    } else {
        bytes
    };
    verify(bytes, keys)
}

/// As `decode`, of bytes that stay where they are.
pub fn view<'a>(bytes: &'a [u8], keys: &Keys) -> Result<Cow<'a, [u8]>, Fault> {
    if bytes.starts_with(&GZIP_MAGIC) {
        let mut payload = decompress(bytes)?;
        payload.truncate(payload_length(&payload, keys)?);
        return Ok(Cow::Owned(payload));
    }
    Ok(Cow::Borrowed(&bytes[..payload_length(bytes, keys)?]))
}

/// What gzip was made of; the memory it takes grows with what is really there.
pub fn decompress(gzip: impl Read) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(gzip)
        .read_to_end(&mut bytes)
        .map_err(|error| Fault::Gzip(error.to_string()))?;
    Ok(bytes)
}

/// How long what is in a gzip file is, by what its end says, which is right for one member of less
/// than 4 GiB; `None` if that cannot be. The file is at its beginning afterwards.
pub fn stated_length(gzip: &mut (impl Read + Seek)) -> io::Result<Option<u64>> {
    let stored = gzip.seek(SeekFrom::End(0))?;
    if stored < LEAST {
        gzip.rewind()?;
        return Ok(None);
    }
    let mut end = [0; 4];
    gzip.seek(SeekFrom::End(-4))?;
    gzip.read_exact(&mut end)?;
    gzip.rewind()?;
    let stated = u64::from(u32::from_le_bytes(end));
    Ok((stated <= stored.saturating_mul(MOST_PER_BYTE)).then_some(stated))
}

/// How long what is in a gzip file is: all of it is decompressed for that. The file is at its
/// beginning afterwards.
pub fn counted_length(gzip: &mut (impl Read + Seek)) -> Result<u64, Fault> {
    let counted = io::copy(&mut MultiGzDecoder::new(&mut *gzip), &mut io::sink());
    let rewound = counted.and_then(|length| gzip.rewind().map(|()| length));
    rewound.map_err(|error| Fault::Gzip(error.to_string()))
}

/// Decompresses into memory that was made for it: all but the signature, and the signature; false
/// if it has another length.
pub fn decompress_into(
    gzip: impl Read,
    payload: &mut [u8],
    signature: &mut [u8],
) -> Result<bool, Fault> {
    let mut decoder = MultiGzDecoder::new(gzip);
    for part in [payload, signature] {
        match decoder.read_exact(part) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.map_err(|error| Fault::Gzip(error.to_string()))?,
        }
    }
    let more = decoder.read(&mut [0]);
    Ok(more.map_err(|error| Fault::Gzip(error.to_string()))? == 0)
}

/// Checks and cuts off the signature.
pub fn verify(bytes: Vec<u8>, keys: &Keys) -> Result<Payload, Fault> {
    let length = payload_length(&bytes, keys)?;
    Ok(Payload { bytes, length })
}

/// Where the payload ends, once its signature holds.
fn payload_length(bytes: &[u8], keys: &Keys) -> Result<usize, Fault> {
    if bytes.is_empty() {
        return Err(Fault::Empty);
    }
    if keys.is_empty() {
        return Ok(bytes.len());
    }
    let (data, signature) = sign::split(bytes);
    keys.verify(data, signature)?;
    Ok(data.len())
}

/// Bytes to store, compressed; `None` if they are so already.
pub fn compressed(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if bytes.starts_with(&GZIP_MAGIC) {
        return Ok(None);
    }
    encode(bytes, &Keys::default(), true).map(Some)
}

/// Stored bytes without compression; `None` if they have none.
pub fn decompressed(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(None);
    }
    decompress(bytes).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(signed: bool) -> Keys {
        Keys::new(signed.then_some(b"key"))
    }

    #[test]
    fn what_is_decompressed_into_memory_of_its_length() {
        let keys = Keys::new([b"key"]);
        for length in [0, 1, 63, 64, 1000, 100_000] {
            let payload = vec![7; length];
            let bytes = encode(&payload, &keys, true).unwrap();
            let mut file = io::Cursor::new(bytes);
            let all = length as u64 + 64;
            assert_eq!(stated_length(&mut file).unwrap(), Some(all));
            assert_eq!(counted_length(&mut file).unwrap(), all);
            let (mut read, mut signature) = (vec![0; length], [0; 64]);
            assert!(decompress_into(&mut file, &mut read, &mut signature).unwrap());
            assert_eq!(read, payload);
            keys.verify(&read, &signature).unwrap();
            for other in [length + 1, length.saturating_sub(1)] {
                if other != length {
                    file.set_position(0);
                    let mut read = vec![0; other];
                    assert!(!decompress_into(&mut file, &mut read, &mut signature).unwrap());
                }
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_not_believed() {
        let mut bytes = encode(&[7; 1000], &Keys::default(), true).unwrap();
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(stated_length(&mut io::Cursor::new(&bytes)).unwrap(), None);
        let mut short = io::Cursor::new(GZIP_MAGIC);
        assert_eq!(stated_length(&mut short).unwrap(), None);
        assert!(counted_length(&mut short).is_err());
    }

    proptest! {
        #[test]
        fn payloads_round_trip(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            signed: bool,
            compress: bool,
        ) {
            // Pickles never do.
            prop_assume!(!payload.starts_with(&GZIP_MAGIC));
            let bytes = encode(&payload, &keys(signed), compress).unwrap();
            prop_assert_eq!(&*view(&bytes, &keys(signed)).unwrap(), &payload[..]);
            prop_assert_eq!(&*decode(bytes.clone(), &keys(signed)).unwrap(), &payload[..]);
            let plain = decode(bytes, &Keys::default()).unwrap();
            prop_assert!(plain.starts_with(&payload));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            gzip: bool,
            signed: bool,
        ) {
            let mut all = if gzip { GZIP_MAGIC.to_vec() } else { Vec::new() };
            all.extend(bytes);
            let decoded = decode(all, &keys(signed));
            prop_assert!(decoded.is_err() || !signed);
        }

        #[test]
        fn a_truncated_gzip_is_a_fault(cut in 2_usize..60) {
            let bytes = encode(&[7; 1000], &Keys::default(), true).unwrap();
            let cut = cut.min(bytes.len() - 1);
            let decoded = decode(bytes[..cut].to_vec(), &Keys::default());
            prop_assert!(matches!(decoded, Err(Fault::Gzip(_))));
        }
    }

    #[test]
    fn nothing_is_a_fault() {
        assert_eq!(decode(Vec::new(), &Keys::default()), Err(Fault::Empty));
    }

    #[test]
    fn conversions_leave_alone_what_is_so_already() {
        let gzip = compressed(b"data").unwrap().unwrap();
        assert_eq!(compressed(&gzip).unwrap(), None);
        assert_eq!(decompressed(&gzip).unwrap().unwrap(), b"data");
        assert_eq!(decompressed(b"data").unwrap(), None);
        assert!(decompressed(&gzip[..12]).is_err());
    }
}
