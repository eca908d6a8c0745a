//! Generates the message and service types of `crates/proto` from its `.proto` files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace;

const FILES: &[&str] = &[
    "auth.proto",
    "lease.proto",
    "membership.proto",
    "mvcc.proto",
    "raft_internal.proto",
    "rpc.proto",
];

/// Writes the generated files in place.
pub(crate) fn write() -> Result<()> {
    generate_into(&generated_dir())
}

/// Fails when the checked-in files differ from what would be generated.
pub(crate) fn check() -> Result<()> {
    let scratch = workspace().join("target/codegen-check");
    fs::create_dir_all(&scratch).context("create scratch folder")?;
    generate_into(&scratch)?;
    for entry in fs::read_dir(&scratch).context("list scratch folder")? {
        let fresh = entry?.path();
        let name = fresh.file_name().context("file name")?.to_owned();
        let kept = generated_dir().join(&name);
        if fs::read(&kept).ok() != fs::read(&fresh).ok() {
            bail!("{} is stale: run cargo xtask codegen", kept.display());
        }
    }
    Ok(())
}

fn generate_into(out: &Path) -> Result<()> {
    fs::create_dir_all(out).context("create output folder")?;
    let source = workspace().join("crates/proto/proto");
    let descriptors = protox::compile(FILES, [&source]).context("compile .proto files")?;
    tonic_prost_build::configure()
        .bytes(".")
        // Stored pairs travel as the bytes they are stored as: see `proto::StoredKeyValue`.
        .extern_path(".mvccpb.KeyValue", "crate::StoredKeyValue")
        // Malformed requests are answered in grpc-go's words.
        .codec_path("crate::codec::GoCodec")
        .build_client(true)
        .build_transport(false)
        .out_dir(out)
        .compile_fds(descriptors)
        .context("generate code")?;
    Ok(())
}

fn generated_dir() -> PathBuf {
    workspace().join("crates/proto/src/generated")
}
