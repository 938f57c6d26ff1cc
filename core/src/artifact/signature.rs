//! Detached signatures over an artifact's OCI manifest.
//!
//! ECDSA P-256 with SHA-256 (DER) or Ed25519 (64 bytes), keys as PEM, so that
//! `openssl dgst -sha256 -sign`, `openssl pkeyutl -sign -rawin` and `cosign sign-blob --key` make
//! signatures VYR verifies, and verify those VYR makes. Base64 text, as cosign writes, is read too.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};

use super::Error;
use crate::digest::Digest;
use crate::limits::SIGNATURE_BYTES_MAX;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    #[default]
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(format!(
                "'{text}' is not an algorithm; use ecdsa-p256 or ed25519"
            )),
        }
    }
}

/// A private key.
pub enum SigningKey {
    /// For [`Algorithm::EcdsaP256`].
    EcdsaP256(p256::ecdsa::SigningKey),
    /// For [`Algorithm::Ed25519`].
    Ed25519(ed25519_dalek::SigningKey),
}

/// A public key whose signatures are accepted.
#[derive(Debug, Clone)]
pub struct TrustKey {
    key: PublicKey,
    id: String,
}

#[derive(Debug, Clone)]
enum PublicKey {
    EcdsaP256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// The keys whose signatures a node accepts. When there are none, artifacts need no signature.
#[derive(Debug, Clone, Default)]
pub struct TrustKeys(Vec<TrustKey>);

fn key_error(what: &str, error: impl std::fmt::Display) -> Error {
    Error::KeyInvalid(format!("{what}: {error}"))
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        loop {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|error| key_error("no random bytes", error))?;
            match algorithm {
                Algorithm::Ed25519 => {
                    return Ok(Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(
                        &secret,
                    )));
                }
                // Not every 32 bytes are a scalar of the curve; nearly all are.
                Algorithm::EcdsaP256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&secret) {
                        return Ok(Self::EcdsaP256(key));
                    }
                }
            }
        }
    }

    /// Reads a PEM private key: PKCS#8, or SEC1 as `openssl ecparam -genkey` writes it.
    ///
    /// # Errors
    /// When it is neither, or of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self::EcdsaP256(key));
        }
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(pem) {
            return Ok(Self::Ed25519(key));
        }
        if let Some(start) = pem.find("-----BEGIN EC PRIVATE KEY-----")
            && let Ok(key) = p256::SecretKey::from_sec1_pem(&pem[start..])
        {
            return Ok(Self::EcdsaP256(key.into()));
        }
        Err(Error::KeyInvalid(
            "not a private key that VYR can use; give an unencrypted PEM key, ECDSA P-256 or Ed25519, such as \
             'vyr key generate' makes"
                .into(),
        ))
    }

    /// The key as PKCS#8 PEM.
    ///
    /// # Errors
    /// When it cannot be encoded, which is a defect.
    pub fn to_pem(&self) -> Result<String, Error> {
        let pem = match self {
            Self::EcdsaP256(key) => key.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()),
            Self::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()),
        };
        pem.map_err(|error| key_error("the key cannot be written", error))
    }

    /// The public key as PEM.
    ///
    /// # Errors
    /// When it cannot be encoded, which is a defect.
    pub fn public_pem(&self) -> Result<String, Error> {
        let pem = match self {
            Self::EcdsaP256(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
            Self::Ed25519(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(|error| key_error("the key cannot be written", error))
    }

    /// Signs these bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(bytes);
                signature.to_der().as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
        }
    }

    /// Writes the private key to `path`, for its owner only, and the public key beside it with
    /// `.pub` added. Neither may exist.
    ///
    /// # Errors
    /// When one exists or cannot be written.
    pub fn write_pair(&self, path: &Path) -> Result<(), Error> {
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        for (path, pem, mode) in [
            (path, self.to_pem()?, 0o600),
            (Path::new(&public), self.public_pem()?, 0o644),
        ] {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)
                .and_then(|mut file| file.write_all(pem.as_bytes()))
                .map_err(|error| Error::io("write the key", path, error))?;
        }
        Ok(())
    }
}

impl TrustKey {
    /// Reads a PEM public key.
    ///
    /// # Errors
    /// When it is none, or of another algorithm.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let (key, der) = if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            (PublicKey::EcdsaP256(key), key.to_public_key_der())
        } else if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(pem) {
            (PublicKey::Ed25519(key), key.to_public_key_der())
        } else {
            return Err(Error::KeyInvalid(
                "not a public key that VYR can use; give PEM ('BEGIN PUBLIC KEY'), ECDSA P-256 or Ed25519, such as \
                 the .pub file of 'vyr key generate'"
                    .into(),
            ));
        };
        let der = der.map_err(|error| key_error("the key cannot be encoded", error))?;
        Ok(Self {
            key,
            id: Digest::of(der.as_bytes()).hex(),
        })
    }

    /// Names the key: the SHA-256 of its DER form, hex.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the signature over these bytes is this key's.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(bytes, &signature).is_ok()),
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
        }
    }
}

impl TrustKeys {
    /// Accepts one more key.
    pub fn add(&mut self, key: TrustKey) {
        self.0.push(key);
    }

    /// Whether no signature is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of the key that made a signature, if it is one of these.
    #[must_use]
    pub fn signer(&self, bytes: &[u8], signature: &[u8]) -> Option<&str> {
        self.0
            .iter()
            .find(|key| key.verifies(bytes, signature))
            .map(TrustKey::id)
    }

    /// Whether an artifact with this OCI manifest and these signatures may run.
    ///
    /// # Errors
    /// [`Error::SignatureInvalid`] when there are trust keys and none of them made any of the
    /// signatures.
    pub fn admit<'a>(
        &self,
        oci_manifest: &[u8],
        signatures: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let mut count = 0;
        for signature in signatures {
            if self.signer(oci_manifest, signature).is_some() {
                return Ok(());
            }
            count += 1;
        }
        let reason = if count == 0 {
            "it has no signature and this node needs one; put it with --sign-key".to_owned()
        } else {
            format!(
                "none of its {count} signatures is by a trust key of this node; sign it with the right key"
            )
        };
        Err(Error::SignatureInvalid {
            digest: Digest::of(oci_manifest),
            reason,
        })
    }
}

/// A signature as bytes, whether it came so or as base64 text.
///
/// # Errors
/// When it is too long or empty.
pub(super) fn normalise(signature: &[u8]) -> Result<Vec<u8>, Error> {
    if signature.is_empty() || signature.len() > SIGNATURE_BYTES_MAX {
        return Err(Error::KeyInvalid(format!(
            "a signature has 1 to {SIGNATURE_BYTES_MAX} bytes, this one has {}",
            signature.len()
        )));
    }
    let text = signature.trim_ascii();
    Ok(base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap_or_else(|_| signature.to_vec()))
}
