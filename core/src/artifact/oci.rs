//! The documents of an OCI image layout, as far as VYR writes and reads them (OCI Image Format
//! Specification 1.1: image-layout, descriptor, image index, image manifest).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::task::Kind;

pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
pub(super) const WASM_TYPE: &str = "application/wasm";
pub(super) const VYR_MANIFEST_TYPE: &str = "application/vnd.vyr.manifest.v1+json";
pub(super) const SIGNATURE_TYPE: &str = "application/vnd.vyr.signature.v1";
/// Names a manifest in an index.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The bytes of the empty descriptor.
pub(super) const EMPTY: &[u8] = b"{}";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageManifest {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<Descriptor>,
}

/// The config of a Wasm artifact, as the CNCF's Wasm OCI artifact layout describes it, without a
/// creation time, so that the same content has the same digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WasmConfig {
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) layer_digests: Vec<Digest>,
    #[serde(default)]
    pub(super) component: Option<Interfaces>,
    /// VYR's own: how the component can be driven.
    #[serde(default)]
    pub(super) kinds: Vec<Kind>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Interfaces {
    #[serde(default)]
    pub(super) exports: Vec<String>,
    #[serde(default)]
    pub(super) imports: Vec<String>,
}

impl Descriptor {
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            artifact_type: None,
        }
    }

    pub(super) fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

impl Index {
    pub(super) fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX_TYPE.into(),
            manifests: Vec::new(),
        }
    }
}
