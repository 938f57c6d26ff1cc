//! Makes the OCI documents of an artifact and of a signature.

use super::error::Error;
use super::json::canonical;
use super::manifest::Manifest;
use super::oci::{
    DESCRIPTION, Descriptor, EMPTY_CONFIG, EMPTY_JSON, IMAGE_MANIFEST, ImageManifest, KINDS,
    SIGNATURE, TITLE, VERSION, VYR_MANIFEST, WASM, WASM_CONFIG, WasmComponent, WasmConfig,
};
use super::{CONFIG_BYTES_MAX, WASM_BYTES_MAX};
use crate::digest::Digest;
use crate::task::Kind;

/// The first bytes of a core module (WebAssembly Core Specification, binary format); those of a
/// component have another version.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What an artifact is made of.
#[derive(Debug, Clone, Copy)]
pub struct NewArtifact<'a> {
    /// The Wasm file: a component, or a core module.
    pub wasm: &'a [u8],
    /// What its author declares.
    pub manifest: &'a Manifest,
    /// How it can be driven, as found in the Wasm file.
    pub kinds: &'a [Kind],
    /// The interfaces it imports, as found in the Wasm file.
    pub imports: &'a [String],
    /// The interfaces it exports, as found in the Wasm file.
    pub exports: &'a [String],
}

/// An artifact's documents before they are stored: what is to be signed.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The artifact's digest: that of `oci_manifest`.
    pub digest: Digest,
    /// The exact bytes that a signature is made over.
    pub oci_manifest: Vec<u8>,
    pub(crate) wasm_digest: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) vyr_manifest: Vec<u8>,
}

impl Prepared {
    /// Makes an artifact's documents. They depend on the Wasm file, the manifest and what was found
    /// in the Wasm file; not on names, signatures or time.
    #[must_use]
    pub fn new(new: &NewArtifact<'_>) -> Self {
        let vyr_manifest = new.manifest.to_canonical_json();
        let wasm_layer = Descriptor::of(WASM, new.wasm);
        let manifest_layer = Descriptor::of(VYR_MANIFEST, &vyr_manifest);
        let is_module = new.wasm.starts_with(CORE_MODULE);
        let config = canonical(&WasmConfig {
            architecture: "wasm".into(),
            os: if is_module { "wasip1" } else { "wasip2" }.into(),
            layer_digests: vec![wasm_layer.digest, manifest_layer.digest],
            component: (!is_module).then(|| WasmComponent {
                exports: sorted(new.exports),
                imports: sorted(new.imports),
            }),
        });
        let wasm_digest = wasm_layer.digest;
        let layers = vec![wasm_layer, manifest_layer];
        let mut document = ImageManifest::new(Descriptor::of(WASM_CONFIG, &config), layers);
        let facts = [
            (
                KINDS,
                Some(kinds_text(new.kinds)).filter(|text| !text.is_empty()),
            ),
            (TITLE, new.manifest.name.clone()),
            (VERSION, new.manifest.version.clone()),
            (DESCRIPTION, new.manifest.description.clone()),
        ];
        let annotations = facts
            .into_iter()
            .filter_map(|(key, value)| Some((key.into(), value?)));
        document.annotations.extend(annotations);
        let oci_manifest = canonical(&document);
        let digest = Digest::of(&oci_manifest);
        Self {
            digest,
            oci_manifest,
            wasm_digest,
            config,
            vyr_manifest,
        }
    }

    /// Refuses what the store could not read back: a manifest that was made by code and is not
    /// valid, a list of interfaces or a Wasm file beyond its bound, or another Wasm file.
    pub(crate) fn check(&self, wasm: &[u8]) -> Result<(), Error> {
        Manifest::from_json(&self.vyr_manifest)?;
        check_size("the Wasm file", wasm.len(), WASM_BYTES_MAX)?;
        check_size(
            "the list of imports and exports",
            self.config.len(),
            CONFIG_BYTES_MAX,
        )?;
        let found = Digest::of(wasm);
        if found != self.wasm_digest {
            return Err(Error::DigestMismatch {
                expected: self.wasm_digest,
                found,
            });
        }
        Ok(())
    }
}

/// The OCI manifest of a signature over an artifact whose OCI manifest has `subject_bytes` bytes.
pub(crate) fn signature_manifest(
    subject: &Digest,
    subject_bytes: u64,
    signature: &[u8],
) -> Vec<u8> {
    let config = Descriptor::of(EMPTY_CONFIG, EMPTY_JSON);
    let layer = Descriptor::of(SIGNATURE, signature);
    let mut document = ImageManifest::new(config, vec![layer]);
    document.artifact_type = Some(SIGNATURE.into());
    document.subject = Some(Descriptor::new(IMAGE_MANIFEST, *subject, subject_bytes));
    canonical(&document)
}

/// The kinds as the annotation holds them: sorted, each once.
fn kinds_text(kinds: &[Kind]) -> String {
    let mut texts: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.join(",")
}

/// The kinds that an annotation holds; one that this version does not know is left out.
pub(crate) fn parse_kinds(text: &str) -> Vec<Kind> {
    let known = [Kind::Command, Kind::Http];
    text.split(',')
        .filter_map(|word| known.into_iter().find(|kind| kind.as_str() == word))
        .collect()
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    names
}

fn check_size(what: &str, bytes: usize, bytes_max: u64) -> Result<(), Error> {
    let bytes = bytes as u64;
    if bytes > bytes_max {
        return Err(Error::TooLarge {
            what: what.into(),
            bytes,
            bytes_max,
        });
    }
    Ok(())
}
