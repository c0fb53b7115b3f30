//! Signatures that anybody can check: Ed25519, of files that are handed on.

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// A signer's key, the private part with the public one: RFC 5958, as others write it, too.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The PKCS#8 document of a new key; `None` if the system gives no random numbers.
    pub fn generate() -> Option<Vec<u8>> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Some(document.as_ref().to_vec())
    }

    /// The key in a PKCS#8 document; `None` if it is none.
    pub fn read(document: &[u8]) -> Option<Self> {
        // Version 1, as `openssl genpkey` writes it, holds no public key: that is computed.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).ok()?;
        Some(Self(pair))
    }

    pub fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Whether `signature` is what the owner of a public key made of `message`.
pub fn is_signed_by(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(message, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn signs_as_rfc_8032_says() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let document = bytes(&format!("302e020100300506032b657004220420{seed}"));
        let key = SigningKey::read(&document).unwrap();
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(key.public(), bytes(public));
        let signature = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
                         5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
        assert_eq!(key.sign(b""), bytes(signature));
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert!(SigningKey::read(b"").is_none());
        assert!(!is_signed_by(b"", b"message", &[0; 64]));
    }

    proptest! {
        #[test]
        fn any_change_is_noticed(
            message in prop::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..=255,
        ) {
            let key = SigningKey::read(&SigningKey::generate().unwrap()).unwrap();
            let signature = key.sign(&message);
            prop_assert!(is_signed_by(key.public(), &message, &signature));
            let mut changed = message.clone();
            changed[at.index(message.len())] ^= flip;
            prop_assert!(!is_signed_by(key.public(), &changed, &signature));
            let mut forged = signature;
            let place = at.index(forged.len());
            forged[place] ^= flip;
            prop_assert!(!is_signed_by(key.public(), &message, &forged));
        }
    }
}
