//! Artifacts: put, list, show, delete, export, import.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use vyr_core::digest::Digest;
use vyr_core::task::Kind;

use crate::connection::{Client, Error, full};
use crate::tasks::{encode, query};

/// An artifact to be put.
#[derive(Debug, Clone, Default)]
pub struct NewArtifact {
    /// The Wasm file.
    pub wasm: Vec<u8>,
    /// Its VYR manifest, TOML or JSON.
    pub manifest: Option<Vec<u8>>,
    /// Detached signatures over its OCI manifest.
    pub signatures: Vec<Vec<u8>>,
    /// `NAME` or `NAME:TAG`.
    pub name: Option<String>,
    /// The digest it must have.
    pub digest: Option<Digest>,
    /// Store nothing, only learn the OCI manifest that would be stored.
    pub dry_run: bool,
}

/// What a put answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Put {
    /// The artifact's digest.
    pub digest: Digest,
    /// False when it was there already.
    pub created: bool,
    /// How it can be driven.
    pub kinds: Vec<Kind>,
    /// NAME:TAG of each of its names.
    pub names: Vec<String>,
    /// The exact OCI manifest: what a signature is over.
    pub manifest: String,
}

/// A stored artifact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Artifact {
    /// Its digest.
    pub digest: Digest,
    /// NAME:TAG of each of its names.
    pub names: Vec<String>,
    /// How it can be driven.
    pub kinds: Vec<Kind>,
    /// The component's digest.
    pub wasm_digest: Digest,
    /// The component's size.
    pub wasm_bytes: u64,
    /// The interfaces it imports.
    #[serde(default)]
    pub imports: Vec<String>,
    /// The interfaces it exports.
    #[serde(default)]
    pub exports: Vec<String>,
    /// What its author declares.
    pub manifest: serde_json::Value,
    /// Its signatures.
    pub signatures: Vec<Signature>,
}

/// A signature of an artifact, as the node judges it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signature {
    /// The trust key that made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// Whether it was made by a trust key of the node.
    pub trusted: bool,
}

/// One page of artifacts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArtifactPage {
    /// The artifacts, by digest.
    pub artifacts: Vec<Artifact>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Imported {
    artifacts: Vec<Put>,
}

const LAYOUT_TYPE: HeaderValue = HeaderValue::from_static("application/x-tar");

impl Client {
    /// Puts an artifact.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put_artifact(&self, artifact: NewArtifact) -> Result<Put, Error> {
        let dry_run = artifact.dry_run.then(|| "true".to_owned());
        let digest = artifact.digest.map(|digest| digest.to_string());
        let path = format!(
            "/v0/artifacts{}",
            query([
                ("name", artifact.name.clone()),
                ("digest", digest),
                ("dry_run", dry_run)
            ])
        );
        let (content_type, body) = multipart(&artifact);
        let mut request = self.request(Method::PUT, &path, full(body))?;
        let content_type =
            HeaderValue::from_str(&content_type).map_err(|error| self.protocol(error))?;
        request.headers_mut().insert(CONTENT_TYPE, content_type);
        let response = self.send(request).await?;
        self.json(response).await
    }

    /// Takes in every artifact of an OCI image layout, given as a tar archive.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn import_layout(&self, tar: Vec<u8>) -> Result<Vec<Put>, Error> {
        let mut request = self.request(Method::PUT, "/v0/artifacts", full(tar))?;
        request.headers_mut().insert(CONTENT_TYPE, LAYOUT_TYPE);
        let response = self.send(request).await?;
        Ok(self.json::<Imported>(response).await?.artifacts)
    }

    /// An artifact as an OCI image layout in a tar archive.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn export_layout(&self, reference: &str) -> Result<Bytes, Error> {
        let response = self
            .call(
                Method::GET,
                &format!("/v0/artifacts/{}/layout", encode(reference)),
            )
            .await?;
        self.bytes(response).await
    }

    /// One page of artifacts.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn artifacts(&self, cursor: Option<&str>) -> Result<ArtifactPage, Error> {
        self.get(&format!(
            "/v0/artifacts{}",
            query([("cursor", cursor.map(str::to_owned))])
        ))
        .await
    }

    /// An artifact, verified anew by the node.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn artifact(&self, reference: &str) -> Result<Artifact, Error> {
        self.get(&format!("/v0/artifacts/{}", encode(reference)))
            .await
    }

    /// Removes an artifact, or unties a name from it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_artifact(&self, reference: &str) -> Result<(), Error> {
        self.call(
            Method::DELETE,
            &format!("/v0/artifacts/{}", encode(reference)),
        )
        .await?;
        Ok(())
    }
}

/// The parts as multipart/form-data (RFC 7578): content type and body.
fn multipart(artifact: &NewArtifact) -> (String, Vec<u8>) {
    let parts = std::iter::once(("wasm", artifact.wasm.as_slice()))
        .chain(
            artifact
                .manifest
                .iter()
                .map(|manifest| ("manifest", manifest.as_slice())),
        )
        .chain(
            artifact
                .signatures
                .iter()
                .map(|signature| ("signature", signature.as_slice())),
        );
    let parts: Vec<_> = parts.collect();
    // A boundary must not occur in the parts; one that names their content does not.
    let all: Vec<u8> = parts
        .iter()
        .flat_map(|(_, bytes)| bytes.iter().copied())
        .collect();
    let boundary = format!("vyr-{}", &Digest::of(&all).hex()[..32]);
    let mut body = Vec::with_capacity(all.len() + 1024);
    for (name, bytes) in parts {
        let head =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
