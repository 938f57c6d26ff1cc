//! Reads an artifact out of a layout, each blob checked against its digest.

use std::io;

use super::OCI_MANIFEST_BYTES_MAX;
use super::assemble::parse_kinds;
use super::blob::{BlobKind, Blobs};
use super::error::Error;
use super::manifest::Manifest;
use super::oci::{WASM_CONFIG, WasmComponent, WasmConfig};
use super::parts::{Parts, SignatureParts, parse};
use super::signature::{TrustKeys, normalise};
use super::{CONFIG_BYTES_MAX, WASM_BYTES_MAX};
use crate::digest::Digest;
use crate::limits::{MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX};
use crate::task::Kind;

/// A stored artifact. Everything here was verified when it was read; the Wasm file is verified when
/// [`super::Store::wasm`] reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its digest: that of `oci_manifest`.
    pub digest: Digest,
    /// Its VYR manifest; the default one for an artifact made by other tools.
    pub manifest: Manifest,
    /// How it can be driven; empty when other tools made it and did not say.
    pub kinds: Vec<Kind>,
    /// The interfaces it exports, as far as its maker listed them.
    pub exports: Vec<String>,
    /// The interfaces it imports, as far as its maker listed them.
    pub imports: Vec<String>,
    /// The digest of the Wasm file.
    pub wasm_digest: Digest,
    /// The size of the Wasm file, bytes.
    pub wasm_bytes: u64,
    /// Its signatures; whose they are, only [`TrustKeys`] tell.
    pub signatures: Vec<StoredSignature>,
    /// `NAME:TAG` of each name it has now.
    pub names: Vec<String>,
    /// The exact bytes that signatures are made over.
    pub oci_manifest: Vec<u8>,
}

/// A stored signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSignature {
    /// The signature itself, in binary.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// The bytes of its signatures.
    pub fn signature_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.signatures
            .iter()
            .map(|signature| signature.bytes.as_slice())
    }

    /// Whether it may run where these keys are trusted.
    ///
    /// # Errors
    /// As [`TrustKeys::admit`].
    pub fn check_trust(&self, keys: &TrustKeys) -> Result<(), Error> {
        keys.admit(&self.oci_manifest, self.signature_bytes())
    }
}

/// The most bytes that a blob of this kind may have.
pub(crate) fn bytes_max(kind: BlobKind) -> u64 {
    match kind {
        BlobKind::OciManifest | BlobKind::SignatureManifest => OCI_MANIFEST_BYTES_MAX,
        BlobKind::Config => CONFIG_BYTES_MAX,
        BlobKind::Wasm => WASM_BYTES_MAX,
        BlobKind::VyrManifest => MANIFEST_BYTES_MAX as u64,
        BlobKind::Signature => SIGNATURE_BYTES_MAX as u64,
    }
}

/// Reads the parts of an artifact's OCI manifest, and its bytes.
pub(crate) fn read_parts(blobs: &Blobs, digest: &Digest) -> Result<(Parts, Vec<u8>), Error> {
    let bytes = blobs.read(BlobKind::OciManifest, digest, OCI_MANIFEST_BYTES_MAX)?;
    Ok((Parts::of(parse(&bytes, digest)?, digest)?, bytes))
}

/// Reads the parts of a signature's OCI manifest, and its bytes.
pub(crate) fn read_signature_parts(
    blobs: &Blobs,
    digest: &Digest,
) -> Result<(SignatureParts, Vec<u8>), Error> {
    let bytes = blobs.read(BlobKind::SignatureManifest, digest, OCI_MANIFEST_BYTES_MAX)?;
    Ok((SignatureParts::of(parse(&bytes, digest)?, digest)?, bytes))
}

/// Reads an artifact with the signatures whose OCI manifests are given.
pub(crate) fn read_artifact<'a>(
    blobs: &Blobs,
    digest: &Digest,
    names: Vec<String>,
    signatures: impl Iterator<Item = &'a Digest>,
) -> Result<Artifact, Error> {
    let (parts, oci_manifest) = read_parts(blobs, digest)?;
    let component = read_component(blobs, &parts)?;
    let manifest = match &parts.vyr_manifest {
        None => Manifest::default(),
        Some(layer) => Manifest::from_json(&blobs.read(
            BlobKind::VyrManifest,
            &layer.digest,
            bytes_max(BlobKind::VyrManifest),
        )?)?,
    };
    check_wasm_size(blobs, &parts)?;
    let signatures = signatures
        .map(|signature| read_signature(blobs, signature, digest))
        .collect::<Result<_, _>>()?;
    let kinds = match &parts.kinds {
        Some(text) => parse_kinds(text),
        None => kinds_of_exports(&component.exports),
    };
    Ok(Artifact {
        digest: *digest,
        manifest,
        kinds,
        exports: component.exports,
        imports: component.imports,
        wasm_digest: parts.wasm.digest,
        wasm_bytes: parts.wasm.size,
        signatures,
        names,
        oci_manifest,
    })
}

fn read_component(blobs: &Blobs, parts: &Parts) -> Result<WasmComponent, Error> {
    let bytes = blobs.read(BlobKind::Config, &parts.config.digest, CONFIG_BYTES_MAX)?;
    if parts.config.media_type != WASM_CONFIG {
        return Ok(WasmComponent::default());
    }
    let config: WasmConfig = serde_json::from_slice(&bytes).map_err(|error| {
        Error::unsupported(
            parts.config.digest.to_string(),
            format!("it is no Wasm config: {error}"),
        )
    })?;
    Ok(config.component.unwrap_or_default())
}

fn read_signature(
    blobs: &Blobs,
    digest: &Digest,
    subject: &Digest,
) -> Result<StoredSignature, Error> {
    let (parts, _) = read_signature_parts(blobs, digest)?;
    if parts.subject != *subject {
        let reason = format!("it is a signature of {}, not of {subject}", parts.subject);
        return Err(Error::unsupported(digest.to_string(), reason));
    }
    let kind = BlobKind::Signature;
    let bytes = normalise(&blobs.read(kind, &parts.signature.digest, bytes_max(kind))?)?;
    Ok(StoredSignature { bytes })
}

/// A Wasm file of the wrong size is found without reading it all.
fn check_wasm_size(blobs: &Blobs, parts: &Parts) -> Result<(), Error> {
    let digest = &parts.wasm.digest;
    let path = blobs.path(digest);
    match std::fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == parts.wasm.size => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("read", &path)(error))
        }
        // Says what exactly is wrong; if the bytes are right, the size in the manifest is not.
        _ => {
            let bytes = blobs.read(BlobKind::Wasm, digest, WASM_BYTES_MAX)?;
            Err(Error::unsupported(
                digest.to_string(),
                format!(
                    "the OCI manifest gives it {} bytes, it has {}",
                    parts.wasm.size,
                    bytes.len()
                ),
            ))
        }
    }
}

/// The kinds of an artifact that other tools made, if they listed its exports.
fn kinds_of_exports(exports: &[String]) -> Vec<Kind> {
    let interfaces = [
        (Kind::Command, "wasi:cli/run@0.2."),
        (Kind::Http, "wasi:http/incoming-handler@0.2."),
    ];
    let exported = |interface: &str| exports.iter().any(|export| export.starts_with(interface));
    interfaces
        .into_iter()
        .filter(|(_, interface)| exported(interface))
        .map(|(kind, _)| kind)
        .collect()
}
