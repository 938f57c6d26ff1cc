//! Takes the OCI manifests of artifacts and signatures apart: by VYR, or by tools that follow the
//! CNCF Wasm OCI artifact layout (`wkg`, `oras`) and know no VYR manifest.

use super::blob::BlobKind;
use super::error::Error;
use super::oci::{Descriptor, ImageManifest, KINDS, SIGNATURE, VYR_MANIFEST, WASM};
use crate::digest::Digest;

/// What an artifact's OCI manifest points at.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Descriptor,
    pub(crate) wasm: Descriptor,
    pub(crate) vyr_manifest: Option<Descriptor>,
    /// The annotation of kinds, if VYR made the artifact.
    pub(crate) kinds: Option<String>,
}

/// What a signature's OCI manifest points at.
#[derive(Debug)]
pub(crate) struct SignatureParts {
    pub(crate) config: Descriptor,
    pub(crate) signature: Descriptor,
    pub(crate) subject: Digest,
}

/// Reads an OCI image manifest of any kind.
pub(crate) fn parse(bytes: &[u8], digest: &Digest) -> Result<ImageManifest, Error> {
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(|error| {
        Error::unsupported(
            digest.to_string(),
            format!("it is not an OCI image manifest: {error}"),
        )
    })?;
    if manifest.schema_version != 2 {
        let reason = format!("its schemaVersion is {}, not 2", manifest.schema_version);
        return Err(Error::unsupported(digest.to_string(), reason));
    }
    Ok(manifest)
}

impl Parts {
    pub(crate) fn of(manifest: ImageManifest, digest: &Digest) -> Result<Self, Error> {
        let refuse = |reason: String| Error::unsupported(digest.to_string(), reason);
        let known = |layer: &&Descriptor| matches!(layer.media_type.as_str(), WASM | VYR_MANIFEST);
        if let Some(other) = manifest.layers.iter().find(|layer| !known(layer)) {
            let media_type: String = other.media_type.chars().take(128).collect();
            return Err(refuse(format!(
                "it has a layer of type '{media_type}'; VYR takes one layer {WASM} and at most one {VYR_MANIFEST}"
            )));
        }
        let wasm = one(&manifest, WASM).map_err(|count| {
            refuse(format!(
                "it has {count} layers {WASM}, exactly one is needed"
            ))
        })?;
        let vyr_manifest = match one(&manifest, VYR_MANIFEST) {
            Ok(layer) => Some(layer),
            Err(0) => None,
            Err(count) => {
                return Err(refuse(format!(
                    "it has {count} layers {VYR_MANIFEST}, at most one is taken"
                )));
            }
        };
        let kinds = manifest.annotations.get(KINDS).cloned();
        Ok(Self {
            config: manifest.config,
            wasm,
            vyr_manifest,
            kinds,
        })
    }

    /// Every blob, with what it is.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (BlobKind, &Descriptor)> {
        [
            (BlobKind::Config, &self.config),
            (BlobKind::Wasm, &self.wasm),
        ]
        .into_iter()
        .chain(
            self.vyr_manifest
                .iter()
                .map(|layer| (BlobKind::VyrManifest, layer)),
        )
    }
}

impl SignatureParts {
    pub(crate) fn of(manifest: ImageManifest, digest: &Digest) -> Result<Self, Error> {
        let refuse = |reason: String| Error::unsupported(digest.to_string(), reason);
        let signature = one(&manifest, SIGNATURE).map_err(|count| {
            refuse(format!(
                "it has {count} layers {SIGNATURE}, exactly one is needed"
            ))
        })?;
        let subject = manifest
            .subject
            .ok_or_else(|| refuse("it has no subject".into()))?
            .digest;
        Ok(Self {
            config: manifest.config,
            signature,
            subject,
        })
    }

    /// Every blob, with what it is.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = (BlobKind, &Descriptor)> {
        [
            (BlobKind::Config, &self.config),
            (BlobKind::Signature, &self.signature),
        ]
        .into_iter()
    }
}

/// The one layer of a media type, or how many there are.
fn one(manifest: &ImageManifest, media_type: &str) -> Result<Descriptor, usize> {
    let mut layers = manifest.layers_of(media_type);
    match (layers.next(), layers.count()) {
        (Some(layer), 0) => Ok(layer.clone()),
        (None, _) => Err(0),
        (Some(_), more) => Err(more + 1),
    }
}
