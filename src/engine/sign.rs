//! Signatures of stored bytes: HMAC-SHA256, written behind the bytes as 64 hex characters.

use ring::hmac;

use super::digest::{DIGEST_LENGTH, Hex, parse_hex};
use super::error::Fault;

/// Length of a signature, in bytes.
pub const SIGNATURE_LENGTH: usize = DIGEST_LENGTH;

/// The last byte of every pickle.
const STOP: u8 = b'.';

/// Secret keys: the first one signs, any of them verifies.
#[derive(Clone, Default)]
pub struct Keys(Vec<hmac::Key>);

impl Keys {
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        let key = |key: K| hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
        Self(keys.into_iter().map(key).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The signature of `data`; `None` without any key.
    pub fn sign(&self, data: &[u8]) -> Option<Hex> {
        let tag = hmac::sign(self.0.first()?, data);
        // HMAC-SHA256 always gives 32 bytes.
        let hash = tag.as_ref().try_into().ok()?;
        Some(Hex::of(hash))
    }

    /// A signature to be made of data that comes in parts; `None` without any key.
    pub fn signer(&self) -> Option<Signer> {
        self.0
            .first()
            .map(|key| Signer(hmac::Context::with_key(key)))
    }

    /// As `verify`, of data that is in parts.
    pub fn verify_parts(&self, parts: &[&[u8]], signature: &[u8]) -> Result<(), Fault> {
        let tag = parse_hex(signature).ok_or(Fault::Unsigned)?;
        let holds = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            for part in parts {
                context.update(part);
            }
            // All of them are looked at, whichever differ.
            let made = context.sign();
            let differences = made.as_ref().iter().zip(tag);
            differences.fold(0, |all, (made, given)| all | (made ^ given)) == 0
        };
        if self.0.iter().any(holds) {
            Ok(())
        } else {
            Err(Fault::Forged)
        }
    }

    /// Whether `signature` is what one of the keys makes of `data`. Compares in constant time.
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), Fault> {
        let tag = parse_hex(signature).ok_or(Fault::Unsigned)?;
        let holds = |key: &hmac::Key| hmac::verify(key, data, &tag).is_ok();
        if self.0.iter().any(holds) {
            Ok(())
        } else {
            Err(Fault::Forged)
        }
    }
}

/// A signature that is being made.
pub struct Signer(hmac::Context);

impl Signer {
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub fn finish(self) -> Option<Hex> {
        // HMAC-SHA256 always gives 32 bytes.
        let tag = self.0.sign();
        let hash = tag.as_ref().try_into().ok()?;
        Some(Hex::of(hash))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys(of {})", self.0.len())
    }
}

/// Splits signed bytes into the data and its signature.
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().saturating_sub(SIGNATURE_LENGTH))
}

/// Where the pickle in signed bytes ends: behind its last STOP, which no hex character is.
pub fn end_of_pickle(bytes: &[u8]) -> Option<usize> {
    let last = bytes.iter().rposition(|byte| *byte == STOP)?;
    Some(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signs_as_rfc_4231_says() {
        let keys = Keys::new([b"Jefe"]);
        let signature = keys.sign(b"what do ya want for nothing?").unwrap();
        assert_eq!(
            signature.as_str(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_first_key_signs_and_any_verifies() {
        let (old, new) = (Keys::new([b"old"]), Keys::new([b"new", b"old"]));
        let signature = old.sign(b"data").unwrap();
        assert_eq!(new.verify(b"data", signature.as_bytes()), Ok(()));
        let signature = new.sign(b"data").unwrap();
        let refused = old.verify(b"data", signature.as_bytes());
        assert_eq!(refused, Err(Fault::Forged));
        assert!(Keys::default().sign(b"data").is_none());
    }

    #[test]
    fn what_is_no_signature_is_missing() {
        let keys = Keys::new([b"key"]);
        assert_eq!(keys.verify(b"", b"N."), Err(Fault::Unsigned));
        assert_eq!(keys.verify(b"", &[b'A'; 64]), Err(Fault::Unsigned));
    }

    #[test]
    fn keys_do_not_show() {
        assert_eq!(format!("{:?}", Keys::new([b"secret"])), "Keys(of 1)");
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(
            data in prop::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..=255,
        ) {
            let keys = Keys::new([b"key"]);
            let mut bytes = data;
            let signature = keys.sign(&bytes).unwrap();
            bytes.extend(signature.as_bytes());
            let (data, signature) = split(&bytes);
            prop_assert_eq!(keys.verify(data, signature), Ok(()));
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let (data, signature) = split(&bytes);
            prop_assert!(keys.verify(data, signature).is_err());
        }
    }
}
