//! The forms in which an artifact arrives.

use std::convert::Infallible;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use multer::Multipart;
use vyr_core::artifact::Manifest;
use vyr_core::limits::{MANIFEST_BYTES_MAX, SIGNATURE_BYTES_MAX};
use vyr_core::problem::Code;

use crate::failure::Failure;

/// An OCI image layout in a tar archive.
pub(crate) const LAYOUT_TYPE: &str = "application/x-tar";

/// What a client sent.
pub(crate) enum Upload {
    /// A Wasm file with what belongs to it.
    Wasm {
        wasm: Bytes,
        manifest: Box<Manifest>,
        signatures: Vec<Vec<u8>>,
    },
    /// A layout in a tar archive.
    Layout(Bytes),
}

impl Upload {
    /// Takes a request's body apart, by its content type.
    pub(crate) async fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, Failure> {
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/wasm" => Ok(Self::Wasm {
                wasm: body,
                manifest: Box::default(),
                signatures: Vec::new(),
            }),
            LAYOUT_TYPE => Ok(Self::Layout(body)),
            "multipart/form-data" => parts(content_type, body).await,
            _ => Err(Failure::new(
                Code::MediaTypeUnsupported,
                "give the artifact as multipart/form-data (parts wasm, manifest, signature), application/wasm, or an \
                 OCI layout as application/x-tar",
            )),
        }
    }
}

async fn parts(content_type: &str, body: Bytes) -> Result<Upload, Failure> {
    let malformed = |error: multer::Error| Failure::invalid(format!("the multipart body: {error}"));
    let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
    let stream = futures_lite::stream::once(Ok::<_, Infallible>(body));
    let mut multipart = Multipart::new(stream, boundary);
    let (mut wasm, mut manifest, mut signatures) = (None, None, Vec::new());
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(malformed)?;
        match name.as_str() {
            "wasm" => set_once(&mut wasm, bytes, "wasm")?,
            "manifest" => set_once(&mut manifest, read_manifest(&bytes)?, "manifest")?,
            "signature" => {
                check_size("signature", bytes.len(), SIGNATURE_BYTES_MAX)?;
                signatures.push(bytes.to_vec());
            }
            other => {
                return Err(Failure::invalid(format!(
                    "unknown part '{other}'; the parts are wasm, manifest and signature"
                )));
            }
        }
    }
    let wasm = wasm.ok_or_else(|| Failure::invalid("the part 'wasm' is missing"))?;
    Ok(Upload::Wasm {
        wasm,
        manifest: Box::new(manifest.unwrap_or_default()),
        signatures,
    })
}

fn set_once<T>(slot: &mut Option<T>, value: T, name: &str) -> Result<(), Failure> {
    if slot.replace(value).is_some() {
        return Err(Failure::invalid(format!(
            "the part '{name}' stands more than once"
        )));
    }
    Ok(())
}

/// A manifest as TOML, or as JSON when it begins like an object.
fn read_manifest(bytes: &[u8]) -> Result<Manifest, Failure> {
    check_size("manifest", bytes.len(), MANIFEST_BYTES_MAX)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Ok(Manifest::from_json(bytes)?);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Failure::new(Code::ManifestInvalid, "the manifest is not UTF-8"))?;
    Ok(Manifest::from_toml(text)?)
}

fn check_size(name: &str, bytes: usize, bytes_max: usize) -> Result<(), Failure> {
    if bytes > bytes_max {
        let detail = format!("the part '{name}' has {bytes} bytes, the bound is {bytes_max}");
        return Err(Failure::new(Code::RequestTooLarge, detail));
    }
    Ok(())
}
