//! Detached signatures over an artifact's OCI manifest, and the set of keys that are trusted.
//!
//! A signature is ECDSA P-256/SHA-256 in DER or Ed25519 in 64 bytes; base64 of either is read too,
//! as `cosign` writes it. Whose it is, only verifying tells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::error::Error;
use super::keys::TrustKey;
use crate::limits::SIGNATURE_BYTES_MAX;

/// Size of an Ed25519 signature, bytes (RFC 8032).
const ED25519_BYTES: usize = 64;
/// Hex digits of a key's id in a message.
const ID_DIGITS_SHOWN: usize = 12;

/// The keys whose signatures are accepted. Without any, artifacts need no signature.
#[derive(Debug, Clone, Default)]
pub struct TrustKeys(Vec<TrustKey>);

impl TrustKeys {
    /// Accepts one more key; one that is there already stays once.
    pub fn add(&mut self, key: TrustKey) {
        if !self.0.iter().any(|known| known.id() == key.id()) {
            self.0.push(key);
        }
    }

    /// Whether no signature is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of the trust key that made a signature over exactly `bytes`, if it is one of these.
    #[must_use]
    pub fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<&str> {
        self.0
            .iter()
            .find(|key| key.verifies(bytes, signature))
            .map(TrustKey::id)
    }

    /// Whether an artifact with this OCI manifest and these signatures may run. One signature by a
    /// trust key is enough; others may be by keys that are not known here.
    ///
    /// # Errors
    /// When there are trust keys: [`Error::SignatureMissing`] without any signature,
    /// [`Error::SignatureMalformed`] when all are malformed, [`Error::SignatureUntrusted`] when none
    /// verifies.
    pub fn admit<'a>(
        &self,
        oci_manifest: &[u8],
        signatures: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut well_formed = 0;
        let mut malformed = None;
        for signature in signatures {
            match normalise(signature) {
                Ok(signature) if self.signer(oci_manifest, &signature).is_some() => return Ok(()),
                Ok(_) => well_formed += 1,
                Err(error) => malformed = Some(error),
            }
        }
        match (well_formed, malformed) {
            (0, Some(error)) => Err(error),
            (0, None) => Err(Error::SignatureMissing {
                trust_keys: self.0.len(),
            }),
            (signatures, _) => Err(Error::SignatureUntrusted {
                signatures,
                keys: self.shown(),
            }),
        }
    }

    fn shown(&self) -> String {
        let ids: Vec<_> = self
            .0
            .iter()
            .map(|key| &key.id()[..ID_DIGITS_SHOWN])
            .collect();
        ids.join(", ")
    }
}

/// A signature in binary, whether it came so or as base64 with any whitespace around.
///
/// # Errors
/// [`Error::SignatureMalformed`] for anything that has the form of no signature.
pub(crate) fn normalise(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let refuse = |reason: String| Error::SignatureMalformed { reason };
    if bytes.len() > SIGNATURE_BYTES_MAX {
        let reason = format!(
            "it has {} bytes, the bound is {SIGNATURE_BYTES_MAX}",
            bytes.len()
        );
        return Err(refuse(reason));
    }
    if is_signature(bytes) {
        return Ok(bytes.to_vec());
    }
    let text: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    match BASE64.decode(text) {
        Ok(decoded) if is_signature(&decoded) => Ok(decoded),
        Ok(decoded) if !decoded.is_empty() => Err(refuse(format!(
            "its {} bytes of base64 hold neither form",
            bytes.len()
        ))),
        _ => Err(refuse(format!(
            "its {} bytes have neither form",
            bytes.len()
        ))),
    }
}

fn is_signature(bytes: &[u8]) -> bool {
    bytes.len() == ED25519_BYTES || p256::ecdsa::Signature::from_der(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Algorithm, SigningKey};
    use super::*;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::EcdsaP256, Algorithm::Ed25519];

    fn key(algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(algorithm).expect("random numbers")
    }

    fn trust(key: &SigningKey) -> TrustKeys {
        let mut keys = TrustKeys::default();
        keys.add(key.trust_key().expect("its own public key"));
        keys
    }

    #[test]
    fn a_signature_verifies_with_its_key_and_bytes_only() {
        for algorithm in ALGORITHMS {
            let (ours, other) = (key(algorithm), key(algorithm));
            let signature = ours.sign(b"bytes");
            let signatures = || [signature.as_slice()];
            trust(&ours)
                .admit(b"bytes", signatures())
                .expect("it is good");
            trust(&ours)
                .admit(b"other bytes", signatures())
                .expect_err("other bytes");
            let error = trust(&other)
                .admit(b"bytes", signatures())
                .expect_err("another key");
            assert!(
                matches!(error, Error::SignatureUntrusted { signatures: 1, .. }),
                "{error}"
            );
            let error = trust(&ours).admit(b"bytes", []).expect_err("no signature");
            assert!(
                matches!(error, Error::SignatureMissing { trust_keys: 1 }),
                "{error}"
            );
            let error = trust(&ours)
                .admit(b"bytes", [&b"junk"[..]])
                .expect_err("no signature");
            assert!(matches!(error, Error::SignatureMalformed { .. }), "{error}");
            TrustKeys::default()
                .admit(b"bytes", [])
                .expect("without trust keys nothing is asked");
        }
    }

    #[test]
    fn every_flipped_bit_spoils_a_signature() {
        for algorithm in ALGORITHMS {
            let key = key(algorithm);
            let trust = trust(&key);
            let good = key.sign(b"bytes");
            for position in 0..good.len() * 8 {
                let mut bytes = good.clone();
                bytes[position / 8] ^= 1 << (position % 8);
                trust
                    .admit(b"bytes", [bytes.as_slice()])
                    .expect_err("a flipped bit");
            }
        }
    }

    #[test]
    fn base64_is_read_as_cosign_writes_it() {
        for algorithm in ALGORITHMS {
            let key = key(algorithm);
            let binary = key.sign(b"bytes");
            for text in [
                BASE64.encode(&binary),
                format!("{}\n", BASE64.encode(&binary)),
            ] {
                assert_eq!(normalise(text.as_bytes()).expect("base64"), binary);
                trust(&key)
                    .admit(b"bytes", [text.as_bytes()])
                    .expect("before it is normalised too");
            }
        }
    }

    #[test]
    fn what_is_no_signature_is_called_malformed() {
        let huge = vec![0x30; SIGNATURE_BYTES_MAX + 1];
        let cut = &key(Algorithm::EcdsaP256).sign(b"x")[..40];
        for bytes in [
            &b""[..],
            b"hello",
            b"aGVsbG8=",
            &[0; 63],
            &[0xff; 65],
            &huge,
            cut,
        ] {
            let error = normalise(bytes).expect_err("no signature");
            assert!(matches!(error, Error::SignatureMalformed { .. }), "{error}");
        }
    }

    #[test]
    fn keys_survive_pem() {
        for algorithm in ALGORITHMS {
            let key = key(algorithm);
            let again = SigningKey::from_pem(&key.to_pem().expect("PEM")).expect("its own PEM");
            assert_eq!(
                again.public_pem().expect("PEM"),
                key.public_pem().expect("PEM")
            );
            assert_eq!(key.trust_key().expect("a public key").id().len(), 64);
        }
    }

    #[test]
    fn a_wrong_pem_is_explained() {
        let key = key(Algorithm::EcdsaP256);
        let private = key.to_pem().expect("PEM");
        let public = key.public_pem().expect("PEM");
        let error = TrustKey::from_pem(&private)
            .expect_err("a private key")
            .to_string();
        assert!(error.contains("openssl pkey -in KEY -pubout"), "{error}");
        let error = SigningKey::from_pem(&public)
            .expect_err("a public key")
            .to_string();
        assert!(error.contains("PEM block PUBLIC KEY"), "{error}");
        let encrypted = private.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let error = SigningKey::from_pem(&encrypted)
            .expect_err("encrypted")
            .to_string();
        assert!(error.contains("decrypt it"), "{error}");
        let empty = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        for text in ["", "hello", "-----BEGIN PUBLIC KEY-----", empty] {
            TrustKey::from_pem(text).expect_err(text);
            SigningKey::from_pem(text).expect_err(text);
        }
    }
}
