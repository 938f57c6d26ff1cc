//! Keys in PEM, as `openssl` and `cosign` write and read them.
//!
//! Private keys are PKCS#8 (`PRIVATE KEY`, RFC 5958) or SEC 1 (`EC PRIVATE KEY`, RFC 5915); public
//! keys are `SubjectPublicKeyInfo` (`PUBLIC KEY`, RFC 5280). ECDSA P-256 and Ed25519 (RFC 8410).

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::pkcs8::KeypairBytes;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    LineEnding,
};

use super::error::{Error, shortened};
use super::signature::normalise;
use crate::digest::Digest;

/// Longest PEM text that is read, bytes.
const PEM_BYTES_MAX: usize = 64 << 10;

/// How a key signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256; signatures in DER.
    #[default]
    EcdsaP256,
    /// Ed25519; signatures of 64 bytes.
    Ed25519,
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ecdsa-p256" => Ok(Self::EcdsaP256),
            "ed25519" => Ok(Self::Ed25519),
            _ => {
                let text = shortened(text);
                Err(format!(
                    "'{text}' is not an algorithm; use ecdsa-p256 or ed25519"
                ))
            }
        }
    }
}

/// A private key. Its memory is wiped when it is dropped.
pub struct SigningKey(Private);

enum Private {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
}

/// A public key whose signatures are accepted.
#[derive(Debug, Clone)]
pub struct TrustKey {
    id: String,
    public: Public,
}

#[derive(Debug, Clone)]
enum Public {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl SigningKey {
    /// A new key, from the system's random numbers.
    ///
    /// # Errors
    /// [`Error::Key`] when the system gives no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        loop {
            let mut seed = [0u8; 32];
            getrandom::fill(&mut seed).map_err(|error| {
                Error::key(format!("the system gives no random numbers: {error}"))
            })?;
            match algorithm {
                Algorithm::Ed25519 => {
                    return Ok(Self(Private::Ed25519(
                        ed25519_dalek::SigningKey::from_bytes(&seed),
                    )));
                }
                // A number that is no P-256 scalar is rarer than one in 2^31.
                Algorithm::EcdsaP256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&seed) {
                        return Ok(Self(Private::P256(key)));
                    }
                }
            }
        }
    }

    /// Reads an unencrypted private key, PKCS#8 or SEC 1.
    ///
    /// # Errors
    /// [`Error::Key`] that says what the text is instead, and how to get what is needed.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        check_size(text)?;
        if let Some(block) = pem_block(text, "PRIVATE KEY") {
            if let Ok(key) = p256::ecdsa::SigningKey::from_pkcs8_pem(block) {
                return Ok(Self(Private::P256(key)));
            }
            if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(block) {
                return Ok(Self(Private::Ed25519(key)));
            }
            return Err(Error::key(
                "the private key is damaged or neither ECDSA P-256 nor Ed25519; make one with 'vyr key \
                 generate OUT'",
            ));
        }
        if let Some(block) = pem_block(text, "EC PRIVATE KEY") {
            return p256::SecretKey::from_sec1_pem(block)
                .map(|key| Self(Private::P256(key.into())))
                .map_err(|_| Error::key("the EC private key is damaged, encrypted or not P-256"));
        }
        Err(Error::key(explain_pem(
            text,
            "a private key (PEM block PRIVATE KEY)",
        )))
    }

    /// The key in PKCS#8 PEM: a secret.
    ///
    /// # Errors
    /// [`Error::Key`] when it cannot be encoded.
    pub fn to_pem(&self) -> Result<String, Error> {
        let pem = match &self.0 {
            Private::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            // Version 1, without the public key: OpenSSL 3.0 refuses version 2.
            Private::Ed25519(key) => KeypairBytes {
                secret_key: key.to_bytes(),
                public_key: None,
            }
            .to_pkcs8_pem(LineEnding::LF),
        };
        pem.map(|pem| pem.to_string())
            .map_err(|error| Error::key(error.to_string()))
    }

    /// The public key in `SubjectPublicKeyInfo` PEM.
    ///
    /// # Errors
    /// [`Error::Key`] when it cannot be encoded.
    pub fn public_pem(&self) -> Result<String, Error> {
        let pem = match &self.0 {
            Private::P256(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
            Private::Ed25519(key) => key.verifying_key().to_public_key_pem(LineEnding::LF),
        };
        pem.map_err(|error| Error::key(error.to_string()))
    }

    /// The public half, as a trust key.
    ///
    /// # Errors
    /// [`Error::Key`] when it cannot be encoded.
    pub fn trust_key(&self) -> Result<TrustKey, Error> {
        TrustKey::from_pem(&self.public_pem()?)
    }

    /// A detached signature over exactly `bytes`: DER for ECDSA (deterministic, RFC 6979), 64 bytes
    /// for Ed25519.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.0 {
            Private::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(bytes);
                signature.as_bytes().to_vec()
            }
            Private::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
        }
    }

    /// Writes the private key to `path` (mode 0600) and the public key to `path` with `.pub`
    /// appended (mode 0644), and returns the latter's path. Existing files are never overwritten.
    ///
    /// # Errors
    /// [`Error::Io`] when a file is there already or cannot be written; neither is left behind then.
    pub fn write_pair(&self, path: &Path) -> Result<PathBuf, Error> {
        let mut public_path = path.as_os_str().to_owned();
        public_path.push(".pub");
        let public_path = PathBuf::from(public_path);
        write_new(path, 0o600, &self.to_pem()?)?;
        if let Err(error) = write_new(&public_path, 0o644, &self.public_pem()?) {
            // The pair belongs together; the error already tells why it is not there.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(public_path)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.0 {
            Private::P256(_) => Algorithm::EcdsaP256,
            Private::Ed25519(_) => Algorithm::Ed25519,
        };
        write!(f, "SigningKey({algorithm:?})")
    }
}

impl TrustKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`Error::Key`] that says what the text is instead, and how to get what is needed.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        check_size(text)?;
        let Some(block) = pem_block(text, "PUBLIC KEY") else {
            return Err(Error::key(explain_pem(
                text,
                "a public key (PEM block PUBLIC KEY)",
            )));
        };
        let encode = |error| Error::key(format!("{error}"));
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(block) {
            let der = key.to_public_key_der().map_err(encode)?;
            return Ok(Self {
                id: Digest::of(der.as_bytes()).hex(),
                public: Public::P256(key),
            });
        }
        if let Ok(key) = ed25519_dalek::VerifyingKey::from_public_key_pem(block) {
            let der = key.to_public_key_der().map_err(encode)?;
            return Ok(Self {
                id: Digest::of(der.as_bytes()).hex(),
                public: Public::Ed25519(key),
            });
        }
        Err(Error::key(
            "the public key is damaged or neither ECDSA P-256 nor Ed25519",
        ))
    }

    /// The SHA-256 of the key's `SubjectPublicKeyInfo` in DER, as 64 hex digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature`, in binary or base64, is this key's over exactly `bytes`.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = normalise(signature) else {
            return false;
        };
        match &self.public {
            Public::P256(key) => p256::ecdsa::Signature::from_der(&signature)
                .is_ok_and(|signature| key.verify(bytes, &signature).is_ok()),
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(&signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
        }
    }
}

fn check_size(text: &str) -> Result<(), Error> {
    if text.len() > PEM_BYTES_MAX {
        return Err(Error::key(format!(
            "its file has {} bytes, too many for a key",
            text.len()
        )));
    }
    Ok(())
}

/// The PEM block with this label, without what stands before and after it. (`openssl ecparam
/// -genkey` writes a block of parameters first; `openssl pkey -text` adds prose.)
fn pem_block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let text = &text[text.find(&begin)?..];
    Some(&text[..text.find(&end)? + end.len()])
}

fn explain_pem(text: &str, wanted: &str) -> String {
    let found = text
        .split_once("-----BEGIN ")
        .and_then(|(_, rest)| rest.split_once("-----"))
        .map(|(label, _)| shortened(label));
    let remedy = match found.as_deref() {
        None => "make a pair with 'vyr key generate OUT'",
        Some("ENCRYPTED PRIVATE KEY") => "decrypt it with 'openssl pkey -in KEY -out PLAIN'",
        Some(label) if label.contains("SIGSTORE") || label.contains("COSIGN") => {
            "cosign's own key files are encrypted; sign with 'cosign sign-blob' and put with --signature"
        }
        Some("CERTIFICATE") => "take its key out with 'openssl x509 -in CERT -pubkey -noout'",
        Some(label) if label.contains("PRIVATE") => {
            "take the public key out with 'openssl pkey -in KEY -pubout'"
        }
        Some(_) => "make a pair with 'vyr key generate OUT'",
    };
    match found {
        None => format!("it is not PEM; {wanted} is needed: {remedy}"),
        Some(label) => format!("it is a PEM block {label}, and {wanted} is needed: {remedy}"),
    }
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(Error::io("create", path))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // A key cut short is worse than none.
        let _ = std::fs::remove_file(path);
        Error::io("write", path)(error)
    })
}
