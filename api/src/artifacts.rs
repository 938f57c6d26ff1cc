//! Artifacts over HTTP: put, show, list, delete, export, import.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Serialize;
use vyr_core::artifact::{
    self, Manifest, Name, NewArtifact, Prepared, Reference, Store, Tag, TrustKeys,
};
use vyr_core::digest::Digest;
use vyr_core::problem::Code;
use vyr_core::task::Kind;
use vyr_shard::artifact::inspect;

use crate::app::{App, blocking};
use crate::body::{RequestBody, ResponseBody};
use crate::failure::{Failure, empty, json, with_type};
use crate::query::Query;
use crate::tasks::page_rows;
use crate::upload::{LAYOUT_TYPE, Upload};

/// An artifact as clients see it.
#[derive(Debug, Serialize)]
struct ArtifactDocument {
    digest: Digest,
    names: Vec<String>,
    kinds: Vec<Kind>,
    wasm_digest: Digest,
    wasm_bytes: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    manifest: Manifest,
    signatures: Vec<SignatureDocument>,
}

#[derive(Debug, Serialize)]
struct SignatureDocument {
    /// The trust key that made it, if it is one of this node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    trusted: bool,
}

#[derive(Debug, Serialize)]
struct Page {
    artifacts: Vec<ArtifactDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Digest>,
}

/// What a put answers.
#[derive(Debug, Serialize)]
struct PutDocument {
    digest: Digest,
    created: bool,
    kinds: Vec<Kind>,
    names: Vec<String>,
    /// The exact OCI manifest: what a signature is over.
    manifest: String,
}

#[derive(Debug, Serialize)]
struct ImportDocument {
    artifacts: Vec<PutDocument>,
}

/// What is to be stored.
struct Candidate {
    wasm: Vec<u8>,
    manifest: Manifest,
    names: Vec<(Name, Tag)>,
    signatures: Vec<Vec<u8>>,
    expected: Option<Digest>,
    dry_run: bool,
}

/// An inspected artifact with its documents.
struct Ready {
    component: Vec<u8>,
    kinds: Vec<Kind>,
    prepared: Prepared,
}

/// `PUT /v0/artifacts`.
pub(crate) async fn put(
    app: &Rc<App>,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["name", "digest", "dry_run"])?;
    let name: Option<Reference> = query.parsed("name")?;
    let names = match name {
        None => Vec::new(),
        Some(Reference::Name(name, tag)) => vec![(name, tag)],
        Some(_) => {
            return Err(Failure::invalid(
                "name looks like a digest; give NAME[:TAG]",
            ));
        }
    };
    let expected: Option<Digest> = query.parsed("digest")?;
    let dry_run = query.flag("dry_run")?;
    let uploads = app.uploads.acquire().await;
    let bytes_max = usize::try_from(app.limits.artifact_bytes_max).unwrap_or(usize::MAX);
    let (parts, body) = request.into_parts();
    let body = body.collect(bytes_max, app.body_time_max()).await?;
    let response = match Upload::read(&parts.headers, body).await? {
        Upload::Wasm {
            wasm,
            manifest,
            signatures,
        } => {
            let (wasm, manifest) = (wasm.to_vec(), *manifest);
            let candidate = Candidate {
                wasm,
                manifest,
                names,
                signatures,
                expected,
                dry_run,
            };
            let document = store(app, candidate).await?;
            let status = if document.created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            json(status, &document)
        }
        Upload::Layout(tar) => {
            if dry_run || expected.is_some() || !names.is_empty() {
                return Err(Failure::invalid(
                    "a layout brings its own names and digests; give no parameters",
                ));
            }
            json(StatusCode::OK, &import(app, tar).await?)
        }
    };
    drop(uploads);
    Ok(response)
}

/// Checks, compiles and stores one artifact, in this order: what cannot run is never stored.
async fn store(app: &App, candidate: Candidate) -> Result<PutDocument, Failure> {
    let Candidate {
        wasm,
        manifest,
        names,
        signatures,
        expected,
        dry_run,
    } = candidate;
    let ready = blocking(move || ready(&wasm, &manifest)).await?;
    let Ready {
        component,
        kinds,
        prepared,
    } = ready;
    let digest = prepared.digest;
    if let Some(expected) = expected
        && expected != digest
    {
        return Err(artifact::Error::DigestMismatch {
            expected,
            found: digest,
        }
        .into());
    }
    let mut document = PutDocument {
        digest,
        created: false,
        kinds,
        names: Vec::new(),
        manifest: String::from_utf8_lossy(&prepared.oci_manifest).into_owned(),
    };
    if dry_run {
        return Ok(document);
    }
    app.shard
        .trust_keys()
        .admit(&prepared.oci_manifest, signatures.iter().map(Vec::as_slice))?;
    let (preparer, bytes) = (app.shard.preparer(), component.clone());
    blocking(move || preparer.prepare(bytes)).await?;
    let store = Arc::clone(app.shard.store());
    let put = blocking(move || -> Result<_, artifact::Error> {
        let put = store.put(&prepared, &component, names.first(), &signatures)?;
        for name in names.iter().skip(1) {
            store.put(&prepared, &component, Some(name), &[])?;
        }
        Ok((put.created, store.get(&digest)?.names))
    });
    (document.created, document.names) = put.await?;
    Ok(document)
}

fn ready(wasm: &[u8], manifest: &Manifest) -> Result<Ready, vyr_shard::Error> {
    let inspected = inspect(wasm)?;
    let prepared = Prepared::new(&NewArtifact {
        wasm: &inspected.component,
        manifest,
        kinds: &inspected.kinds,
        imports: &inspected.imports,
        exports: &inspected.exports,
    });
    Ok(Ready {
        component: inspected.component.into_owned(),
        kinds: inspected.kinds,
        prepared,
    })
}

/// Takes every artifact of a layout in, or none: each keeps its digest, so its signatures hold.
async fn import(app: &App, tar: Bytes) -> Result<ImportDocument, Failure> {
    let (store, keys) = (
        Arc::clone(app.shard.store()),
        Arc::clone(app.shard.trust_keys()),
    );
    let preparer = app.shard.preparer();
    blocking(move || {
        let dir = unpack(&tar)?;
        let check = |artifact: &artifact::Artifact, wasm: &[u8]| {
            artifact.check_trust(&keys)?;
            preparer.prepare(inspect(wasm)?.component.into_owned())
        };
        let arrivals = store.import_with(dir.path(), check)?;
        let documents = arrivals.into_iter().map(|arrival| {
            let artifact = store.get(&arrival.digest)?;
            Ok::<_, Failure>(PutDocument {
                digest: artifact.digest,
                created: arrival.created,
                kinds: kinds(&store, &artifact)?,
                names: artifact.names,
                manifest: String::from_utf8_lossy(&artifact.oci_manifest).into_owned(),
            })
        });
        Ok::<_, Failure>(ImportDocument {
            artifacts: documents.collect::<Result<_, _>>()?,
        })
    })
    .await
}

/// How an artifact can be driven. One that others made does not say so itself.
fn kinds(store: &Store, artifact: &artifact::Artifact) -> Result<Vec<Kind>, vyr_shard::Error> {
    if artifact.kinds.is_empty() {
        return Ok(inspect(&store.wasm(artifact)?)?.kinds);
    }
    Ok(artifact.kinds.clone())
}

/// Unpacks a layout's archive into a temporary directory.
fn unpack(tar: &[u8]) -> Result<tempfile::TempDir, Failure> {
    let malformed = |error: std::io::Error| {
        Failure::new(
            Code::ArtifactInvalid,
            format!("the tar archive cannot be unpacked: {error}"),
        )
    };
    let dir = tempfile::tempdir().map_err(malformed)?;
    for entry in tar::Archive::new(tar).entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        let kind = entry.header().entry_type();
        // Links could lead out of the directory; a layout has none.
        if !kind.is_file() && !kind.is_dir() {
            return Err(Failure::new(
                Code::ArtifactInvalid,
                "the tar archive holds something other than files and directories",
            ));
        }
        entry.unpack_in(dir.path()).map_err(malformed)?;
    }
    Ok(dir)
}

/// `GET /v0/artifacts/{ref}`.
pub(crate) async fn show(
    app: &App,
    reference: Reference,
) -> Result<Response<ResponseBody>, Failure> {
    let digest = app.shard.resolve(&reference)?;
    let (store, keys) = (
        Arc::clone(app.shard.store()),
        Arc::clone(app.shard.trust_keys()),
    );
    let document = blocking(move || -> Result<_, vyr_shard::Error> {
        let artifact = store.get(&digest)?;
        store.wasm(&artifact)?;
        let kinds = kinds(&store, &artifact)?;
        Ok(describe(artifact::Artifact { kinds, ..artifact }, &keys))
    });
    Ok(json(StatusCode::OK, &document.await?))
}

fn describe(artifact: artifact::Artifact, keys: &TrustKeys) -> ArtifactDocument {
    let signatures = artifact
        .signature_bytes()
        .map(|signature| keys.signer(&artifact.oci_manifest, signature))
        .map(|key| SignatureDocument {
            key: key.map(str::to_owned),
            trusted: key.is_some(),
        })
        .collect();
    ArtifactDocument {
        digest: artifact.digest,
        names: artifact.names,
        kinds: artifact.kinds,
        wasm_digest: artifact.wasm_digest,
        wasm_bytes: artifact.wasm_bytes,
        imports: artifact.imports,
        exports: artifact.exports,
        manifest: artifact.manifest,
        signatures,
    }
}

/// `GET /v0/artifacts`.
pub(crate) async fn list(
    app: &App,
    request: &Request<RequestBody>,
) -> Result<Response<ResponseBody>, Failure> {
    let query = Query::parse(request.uri().query(), &["cursor", "limit"])?;
    let after: Option<Digest> = query.parsed("cursor")?;
    let rows_max = page_rows(&query, app.limits.page_rows_max)?;
    let (store, keys) = (
        Arc::clone(app.shard.store()),
        Arc::clone(app.shard.trust_keys()),
    );
    let page = blocking(move || -> Result<_, artifact::Error> {
        let digests = store.list()?;
        let mut rest = digests
            .iter()
            .filter(|digest| after.is_none_or(|after| **digest > after));
        let mut artifacts = Vec::new();
        for digest in rest.by_ref().take(rows_max) {
            match store.get(digest) {
                Ok(artifact) => artifacts.push(describe(artifact, &keys)),
                // Another process may have removed it since.
                Err(artifact::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let next = artifacts
            .last()
            .map(|last| last.digest)
            .filter(|_| rest.next().is_some());
        Ok(Page { artifacts, next })
    });
    Ok(json(StatusCode::OK, &page.await?))
}

/// `DELETE /v0/artifacts/{ref}`.
pub(crate) async fn delete(
    app: &App,
    reference: Reference,
) -> Result<Response<ResponseBody>, Failure> {
    let store = Arc::clone(app.shard.store());
    let removed = blocking(move || -> Result<_, artifact::Error> {
        let digest = store.resolve(&reference)?;
        // A damaged artifact can be removed too; then its compiled form stays until it is unused.
        let wasm = store.get(&digest).ok().map(|artifact| artifact.wasm_digest);
        Ok((store.remove(&reference)?, wasm))
    });
    if let (Some(digest), wasm) = removed.await? {
        app.shard.forget_artifact(digest, wasm).await;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v0/artifacts/{ref}/layout`.
pub(crate) async fn layout(
    app: &App,
    reference: Reference,
) -> Result<Response<ResponseBody>, Failure> {
    let digest = app.shard.resolve(&reference)?;
    let store = Arc::clone(app.shard.store());
    let tar = blocking(move || export(&store, &digest)).await?;
    Ok(with_type(StatusCode::OK, LAYOUT_TYPE, tar))
}

fn export(store: &Store, digest: &Digest) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Code::StoreUnavailable,
            format!("the layout cannot be exported: {error}"),
        )
    };
    let dir = tempfile::tempdir().map_err(failed)?;
    store.export(digest, dir.path())?;
    let mut archive = tar::Builder::new(Vec::new());
    archive.mode(tar::HeaderMode::Deterministic);
    for part in ["oci-layout", "index.json"] {
        archive
            .append_path_with_name(dir.path().join(part), part)
            .map_err(failed)?;
    }
    archive
        .append_dir_all("blobs", dir.path().join("blobs"))
        .map_err(failed)?;
    archive.into_inner().map_err(failed)
}
