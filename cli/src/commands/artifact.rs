//! `vyr artifact`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use vyr_client::{Artifact, Client, NewArtifact};
use vyr_core::artifact::SigningKey;
use vyr_core::task::Kind;

use super::{block_on, client, read, read_text};
use crate::arguments::{Artifact as Command, Connection, Format, PutArtifact};
use crate::output;

pub(crate) fn run(command: Command, connection: &Connection) -> anyhow::Result<ExitCode> {
    let client = client(connection)?;
    block_on(async move {
        match command {
            Command::Put(arguments) => put(&client, arguments).await?,
            Command::Ls { output } => list(&client, output).await?,
            Command::Inspect { reference, output } => {
                show(&client.artifact(&reference).await?, output)?;
            }
            Command::Verify { reference } => verify(&client, &reference).await?,
            Command::Rm { reference } => client.delete_artifact(&reference).await?,
            Command::Export { reference, dir } => export(&client, &reference, &dir).await?,
            Command::Import { dir } => import(&client, &dir).await?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn put(client: &Client, arguments: PutArtifact) -> anyhow::Result<()> {
    let mut artifact = NewArtifact {
        wasm: read(&arguments.file)?,
        manifest: arguments.manifest.as_deref().map(read).transpose()?,
        name: arguments.name,
        dry_run: arguments.dry_run,
        ..NewArtifact::default()
    };
    if let Some(path) = &arguments.signature {
        artifact.signatures.push(read(path)?);
    }
    if let Some(path) = &arguments.sign_key {
        let key =
            SigningKey::from_pem(&read_text(path)?).with_context(|| path.display().to_string())?;
        artifact
            .signatures
            .push(sign(client, &artifact, &key).await?);
    }
    let put = client.put_artifact(artifact).await?;
    if arguments.dry_run {
        // Exactly the bytes to sign: no newline is added.
        print!("{}", put.manifest);
        eprintln!("{} would be stored", put.digest);
        return Ok(());
    }
    println!("{}", put.digest);
    let kinds: Vec<_> = put.kinds.iter().map(|kind| kind.as_str()).collect();
    let what = if put.created {
        "stored"
    } else {
        "was there already"
    };
    eprintln!("{what}; kind: {}", kinds.join(", "));
    Ok(())
}

/// Has the node say which bytes a signature must be over, and signs them.
async fn sign(
    client: &Client,
    artifact: &NewArtifact,
    key: &SigningKey,
) -> anyhow::Result<Vec<u8>> {
    let dry_run = NewArtifact {
        dry_run: true,
        signatures: Vec::new(),
        ..artifact.clone()
    };
    let prepared = client.put_artifact(dry_run).await?;
    Ok(key.sign(prepared.manifest.as_bytes()))
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let mut artifacts = Vec::new();
    let mut cursor = None;
    loop {
        let page = client.artifacts(cursor.as_deref()).await?;
        artifacts.extend(page.artifacts);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if format == Format::Json {
        return output::json(&artifacts);
    }
    let rows: Vec<_> = artifacts
        .iter()
        .map(|artifact| {
            [
                artifact
                    .digest
                    .to_string()
                    .chars()
                    .take("sha256:".len() + 12)
                    .collect(),
                artifact.names.join(" "),
                kinds(&artifact.kinds),
                artifact.wasm_bytes.to_string(),
                artifact.signatures.len().to_string(),
            ]
        })
        .collect();
    output::table(["DIGEST", "NAMES", "KINDS", "BYTES", "SIGNATURES"], &rows)?;
    Ok(())
}

fn kinds(kinds: &[Kind]) -> String {
    kinds
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join(",")
}

fn show(artifact: &Artifact, format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(artifact);
    }
    let signatures: Vec<_> = artifact
        .signatures
        .iter()
        .map(|signature| match &signature.key {
            Some(key) => format!("by trust key {key}"),
            None => "by a key that this node does not trust".into(),
        })
        .collect();
    output::facts(&[
        ("digest", artifact.digest.to_string()),
        ("names", artifact.names.join(" ")),
        ("kinds", kinds(&artifact.kinds)),
        (
            "component",
            format!("{} ({} bytes)", artifact.wasm_digest, artifact.wasm_bytes),
        ),
        ("imports", artifact.imports.join("\n")),
        ("exports", artifact.exports.join("\n")),
        ("manifest", artifact.manifest.to_string()),
        (
            "signatures",
            if signatures.is_empty() {
                "none".into()
            } else {
                signatures.join("\n")
            },
        ),
    ])?;
    Ok(())
}

async fn verify(client: &Client, reference: &str) -> anyhow::Result<()> {
    let artifact = client.artifact(reference).await?;
    let trusted = artifact
        .signatures
        .iter()
        .filter(|signature| signature.trusted)
        .count();
    println!("{}", artifact.digest);
    eprintln!(
        "every stored byte has its digest; {} of {} signatures by trust keys of the node",
        trusted,
        artifact.signatures.len()
    );
    Ok(())
}

async fn export(client: &Client, reference: &str, dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        bail!("{} exists; give a directory to make", dir.display());
    }
    let tar = client.export_layout(reference).await?;
    let unpacked = tar::Archive::new(&*tar).unpack(dir);
    unpacked.with_context(|| format!("cannot write {}", dir.display()))?;
    eprintln!(
        "an OCI image layout; for instance 'skopeo inspect oci:{}'",
        dir.display()
    );
    Ok(())
}

async fn import(client: &Client, dir: &Path) -> anyhow::Result<()> {
    let pack = || -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for file in ["oci-layout", "index.json"] {
            archive.append_path_with_name(dir.join(file), file)?;
        }
        archive.append_dir_all("blobs", dir.join("blobs"))?;
        archive.into_inner()
    };
    let tar = pack().with_context(|| format!("{} is not an OCI image layout", dir.display()))?;
    for put in client.import_layout(tar).await? {
        println!("{}", put.digest);
        eprintln!(
            "{} {}",
            if put.created {
                "stored"
            } else {
                "was there already"
            },
            put.names.join(" ")
        );
    }
    Ok(())
}
