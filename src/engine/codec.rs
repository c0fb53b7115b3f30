//! The bytes of an entry: a payload, its signature behind it, compression around both.
//!
//! ```text
//! payload [signature: 64 hex characters]      and, compressed, gzip or Zstandard of all that
//! ```
//! Reading tells these by their first bytes. Whether there is a signature cannot be told from the
//! bytes: a store with keys demands one, a store without takes all of them as the payload, whose
//! own end (the STOP of a pickle) leaves a signature unread.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Seek, Write};

use super::compression::{Compression, Method};
use super::error::Fault;
use super::sign::{self, Keys, SIGNATURE_LENGTH};

/// A payload up to this length is copied together with its signature, to be written at once.
const JOINED: usize = 1 << 16;

/// So much is signed and written at a time: what the processor's cache holds.
const CHUNK: usize = 1 << 18;

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

/// Writes the bytes to store for a payload, which may be in parts.
pub fn write(
    payload: &[&[u8]],
    keys: &Keys,
    compression: Option<Compression>,
    out: &mut impl Write,
) -> io::Result<()> {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    if let Some(compression) = compression {
        let signature = if keys.is_empty() { 0 } else { SIGNATURE_LENGTH };
        let all = (length + signature) as u64;
        return compression.compress(out, all, |out| write_signed(payload, keys, out));
    }
    if length > JOINED || (keys.is_empty() && payload.len() == 1) {
        return write_signed(payload, keys, out);
    }
    let mut joined = payload.concat();
    if let Some(signature) = keys.sign(&joined) {
        joined.extend_from_slice(signature.as_bytes());
    }
    out.write_all(&joined)
}

/// Writes a payload, signing it in the same pass.
fn write_signed(payload: &[&[u8]], keys: &Keys, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let Some(mut signer) = keys.signer() else {
        return payload.iter().try_for_each(|part| out.write_all(part));
    };
    for chunk in payload.iter().flat_map(|part| part.chunks(CHUNK)) {
        signer.update(chunk);
        out.write_all(chunk)?;
    }
    signer
        .finish()
        .map_or(Ok(()), |signature| out.write_all(signature.as_bytes()))
}

/// The bytes to store for a payload.
pub fn encode(
    payload: &[u8],
    keys: &Keys,
    compression: Option<Compression>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(&[payload], keys, compression, &mut bytes)?;
    Ok(bytes)
}

/// The payload of stored bytes. Nothing of it may be interpreted before this returns.
pub fn decode(bytes: Vec<u8>, keys: &Keys) -> Result<Payload, Fault> {
    let bytes = match Method::of(&bytes) {
        Some(method) => decompress(method, bytes.as_slice())?,
        None => bytes,
    };
    verify(bytes, keys)
}

/// As `decode`, of bytes that stay where they are.
pub fn view<'a>(bytes: &'a [u8], keys: &Keys) -> Result<Cow<'a, [u8]>, Fault> {
    if let Some(method) = Method::of(bytes) {
        let mut payload = decompress(method, bytes)?;
        payload.truncate(payload_length(&payload, keys)?);
        return Ok(Cow::Owned(payload));
    }
    Ok(Cow::Borrowed(&bytes[..payload_length(bytes, keys)?]))
}

/// What was compressed; the memory it takes grows with what is really there.
pub fn decompress(method: Method, compressed: impl Read) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let read = method.reader(compressed);
    read.and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(|error| method.fault(&error))?;
    Ok(bytes)
}

/// How long what is in a compressed file is: all of it is decompressed for that. The file is at its
/// beginning afterwards.
pub fn counted_length(method: Method, file: &mut (impl Read + Seek)) -> Result<u64, Fault> {
    let reader = method.reader(&mut *file);
    let counted = reader.and_then(|mut reader| io::copy(&mut reader, &mut io::sink()));
    let rewound = counted.and_then(|length| file.rewind().map(|()| length));
    rewound.map_err(|error| method.fault(&error))
}

/// Decompresses into memory that was made for it: all but the signature, and the signature; false
/// if it has another length.
pub fn decompress_into(
    method: Method,
    compressed: impl Read,
    payload: &mut [u8],
    signature: &mut [u8],
) -> Result<bool, Fault> {
    let fault = |error: io::Error| method.fault(&error);
    let mut reader = method.reader(compressed).map_err(fault)?;
    for part in [payload, signature] {
        if !fill(&mut reader, part).map_err(fault)? {
            return Ok(false);
        }
    }
    Ok(reader.read(&mut [0]).map_err(fault)? == 0)
}

/// Whether there were so many bytes. One that was cut is an error, and not an end.
fn fill(reader: &mut impl Read, mut bytes: &mut [u8]) -> io::Result<bool> {
    while !bytes.is_empty() {
        match reader.read(bytes) {
            Ok(0) => return Ok(false),
            Ok(read) => bytes = &mut bytes[read..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
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

/// Bytes to store, compressed; `None` if they are so already, by whatever.
pub fn compressed(bytes: &[u8], compression: Compression) -> io::Result<Option<Vec<u8>>> {
    if Method::of(bytes).is_some() {
        return Ok(None);
    }
    encode(bytes, &Keys::default(), Some(compression)).map(Some)
}

/// Stored bytes without compression; `None` if they have none.
pub fn decompressed(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let decompressed = Method::of(bytes).map(|method| decompress(method, bytes));
    decompressed.transpose().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(signed: bool) -> Keys {
        Keys::new(signed.then_some(b"key"))
    }

    fn by(method: Method) -> Option<Compression> {
        method.at(None)
    }

    fn compressions() -> impl Strategy<Value = Option<Compression>> {
        prop::sample::select(vec![None, by(Method::Gzip), by(Method::Zstd)])
    }

    #[test]
    fn what_is_decompressed_into_memory_of_its_length() {
        let keys = Keys::new([b"key"]);
        for (method, length) in Method::ALL
            .into_iter()
            .flat_map(|method| [0, 1, 63, 64, 1000, 100_000].map(|length| (method, length)))
        {
            let payload = vec![7; length];
            let bytes = encode(&payload, &keys, by(method)).unwrap();
            let mut file = io::Cursor::new(bytes);
            let all = length as u64 + 64;
            assert_eq!(counted_length(method, &mut file).unwrap(), all);
            let (mut read, mut signature) = (vec![0; length], [0; 64]);
            assert!(decompress_into(method, &mut file, &mut read, &mut signature).unwrap());
            assert_eq!(read, payload);
            keys.verify(&read, &signature).unwrap();
            for other in [length + 1, length.saturating_sub(1)] {
                if other != length {
                    file.set_position(0);
                    let mut read = vec![0; other];
                    let into = decompress_into(method, &mut file, &mut read, &mut signature);
                    assert!(!into.unwrap());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn payloads_round_trip(
            payload in prop::collection::vec(any::<u8>(), 1..300),
            signed: bool,
            compression in compressions(),
            cut in any::<prop::sample::Index>(),
        ) {
            // Pickles never do.
            prop_assume!(Method::of(&payload).is_none());
            let bytes = encode(&payload, &keys(signed), compression).unwrap();
            prop_assert_eq!(&*view(&bytes, &keys(signed)).unwrap(), &payload[..]);
            prop_assert_eq!(&*decode(bytes.clone(), &keys(signed)).unwrap(), &payload[..]);
            let plain = decode(bytes.clone(), &Keys::default()).unwrap();
            prop_assert!(plain.starts_with(&payload));
            let (start, end) = payload.split_at(cut.index(payload.len()));
            let mut parts = Vec::new();
            write(&[start, end], &keys(signed), compression, &mut parts).unwrap();
            prop_assert_eq!(decode(parts, &keys(signed)), decode(bytes, &keys(signed)));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            start in prop::sample::select(vec![&b""[..], b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]),
            signed: bool,
        ) {
            let decoded = decode([start, &bytes].concat(), &keys(signed));
            prop_assert!(decoded.is_err() || !signed);
        }

        #[test]
        fn what_is_cut_is_a_fault(cut in 4_usize..60, method in prop::sample::select(Method::ALL.to_vec())) {
            let bytes = encode(&[7; 1000], &Keys::default(), by(method)).unwrap();
            let cut = &bytes[..cut.min(bytes.len() - 1)];
            let decoded = decode(cut.to_vec(), &Keys::default());
            prop_assert!(matches!(decoded, Err(Fault::Compressed(..))));
            prop_assert!(counted_length(method, &mut io::Cursor::new(cut)).is_err());
            let into = decompress_into(method, cut, &mut [0; 1000], &mut []);
            prop_assert!(into.is_err());
        }
    }

    #[test]
    fn nothing_is_a_fault() {
        assert_eq!(decode(Vec::new(), &Keys::default()), Err(Fault::Empty));
    }

    #[test]
    fn conversions_leave_alone_what_is_so_already() {
        for method in Method::ALL {
            let compression = by(method).unwrap();
            let packed = compressed(b"data", compression).unwrap().unwrap();
            assert_eq!(compressed(&packed, compression).unwrap(), None);
            assert_eq!(decompressed(&packed).unwrap().unwrap(), b"data");
            assert_eq!(decompressed(b"data").unwrap(), None);
            assert!(decompressed(&packed[..12]).is_err());
        }
    }
}
