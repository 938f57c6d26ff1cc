//! The documents of OCI image-spec 1.1 that an artifact is made of.
//!
//! Artifacts follow the CNCF Wasm OCI artifact layout (TAG Runtime, Wasm working group): the config
//! has the media type [`WASM_CONFIG`], the Wasm file is a layer [`WASM`]. VYR's manifest is one
//! more layer. Signatures are referrers: image manifests with a `subject`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
pub(crate) const WASM: &str = "application/wasm";
pub(crate) const VYR_MANIFEST: &str = "application/vnd.vyr.manifest.v1+json";
pub(crate) const SIGNATURE: &str = "application/vnd.vyr.signature.v1";

/// The bytes of [`EMPTY_CONFIG`].
pub(crate) const EMPTY_JSON: &[u8] = b"{}";

/// The name by which other tools find a manifest of a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
pub(crate) const VERSION: &str = "org.opencontainers.image.version";
pub(crate) const DESCRIPTION: &str = "org.opencontainers.image.description";
/// The artifact's kinds, separated by commas.
pub(crate) const KINDS: &str = "org.vyr.kinds";
/// On a signature's descriptor in an index: the digest of what is signed.
pub(crate) const SUBJECT: &str = "org.vyr.signature.subject";
/// On an index: the digest of its canonical form without this annotation.
pub(crate) const INDEX_DIGEST: &str = "org.vyr.index.digest";

pub(crate) type Annotations = BTreeMap<String, String>;

/// Points at a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) annotations: Annotations,
}

impl Descriptor {
    /// Points at these bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            annotations: Annotations::new(),
        }
    }
}

/// An image manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) annotations: Annotations,
}

impl ImageManifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(IMAGE_MANIFEST.into()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
        }
    }

    /// The layers of this media type.
    pub(crate) fn layers_of<'a>(
        &'a self,
        media_type: &'a str,
    ) -> impl Iterator<Item = &'a Descriptor> {
        self.layers
            .iter()
            .filter(move |layer| layer.media_type == media_type)
    }
}

/// The index of a layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageIndex {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) annotations: Annotations,
}

/// The file `oci-layout`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayoutVersion {
    pub(crate) image_layout_version: String,
}

/// The config of a Wasm artifact. `created` is left out: the digest must not depend on the time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WasmConfig {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) layer_digests: Vec<Digest>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) component: Option<WasmComponent>,
}

/// What a component imports and exports.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct WasmComponent {
    #[serde(default)]
    pub(crate) exports: Vec<String>,
    #[serde(default)]
    pub(crate) imports: Vec<String>,
}
