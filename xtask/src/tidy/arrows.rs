//! Arrows between crates point inward, and the core stays free of what is not deterministic.

use super::metadata::{Metadata, Package};
use super::{Finding, SourceFile};

/// What a crate is (ARCHITECTURE.md, code map).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Values, traits, wire types.
    Plain,
    /// Deterministic state machines: no I/O, clock, randomness, threads, `async`.
    Core,
    /// Files of etcd, over the `disk` traits.
    Format,
    /// Threads, sockets, files.
    Shell,
    /// Programs.
    Program,
    /// Only for tests.
    Test,
    /// Chores.
    Tool,
}

/// All crates. A crate depends only on crates above it, as its kind allows; a new line or a moved
/// one is a design change and wants a decision record.
const LAYERS: &[(&str, Kind)] = &[
    ("types", Kind::Plain),
    ("gojson", Kind::Plain),
    ("disk", Kind::Plain),
    ("proto", Kind::Plain),
    ("membership", Kind::Core),
    ("consensus", Kind::Core),
    ("mvcc", Kind::Core),
    ("lease", Kind::Core),
    ("v2store", Kind::Core),
    ("apply", Kind::Core),
    ("duties", Kind::Core),
    ("bolt", Kind::Format),
    ("wal", Kind::Format),
    ("backend", Kind::Shell),
    ("osdisk", Kind::Shell),
    ("transport", Kind::Shell),
    ("node", Kind::Shell),
    ("config", Kind::Shell),
    ("edge", Kind::Shell),
    ("server", Kind::Shell),
    ("etcd", Kind::Program),
    ("simdisk", Kind::Test),
    ("sim", Kind::Test),
    ("e2e", Kind::Test),
    ("bench", Kind::Tool),
    ("micro", Kind::Tool),
    ("xtask", Kind::Tool),
];

/// Third-party crates that any core crate may use.
const CORE_ALLOWED: &[&str] = &["bytes", "thiserror"];
/// What single core crates may use besides, each for a reason given in its header or manifest.
const CORE_EXTRA: &[(&str, &[&str])] = &[
    // The algorithm, and the logging interface that its constructor asks for.
    ("consensus", &["raft", "slog"]),
    // IDs are SHA-1 sums, rows and contexts are JSON.
    ("membership", &["serde", "serde_json", "sha1"]),
    // The payload of `.snap` files and replies are JSON.
    ("v2store", &["serde", "serde_json"]),
    // Stored pairs and entries are protobuf; HashKV is a CRC-32C.
    ("mvcc", &["prost", "crc32c"]),
    ("apply", &["prost"]),
];
/// Bans that the clippy.toml of a core crate must hold.
const CORE_BANS: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::spawn",
    "std::thread::sleep",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::hash::RandomState",
    "std::fs::File",
    "std::net::TcpStream",
    "std::net::TcpListener",
];

/// Checks our crates against the tables above.
pub(super) fn check(metadata: &Metadata, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata.ours() {
        let manifest = manifest(&package.name);
        let Some((place, kind)) = layer(&package.name) else {
            findings.push(Finding::whole(&manifest, "crate is not in tidy's table of layers"));
            continue;
        };
        findings.extend(outward(package, place, kind).map(|text| Finding::whole(&manifest, text)));
        findings.extend(foreign(package, kind).map(|text| Finding::whole(&manifest, text)));
        findings.extend(bans(&package.name, kind, files));
        findings.extend(lints(&manifest, files));
    }
    findings
}

fn layer(name: &str) -> Option<(usize, Kind)> {
    let place = LAYERS.iter().position(|(known, _)| *known == name)?;
    LAYERS.get(place).map(|(_, kind)| (place, *kind))
}

fn manifest(name: &str) -> String {
    if name == "xtask" {
        "xtask/Cargo.toml".to_owned()
    } else {
        format!("crates/{name}/Cargo.toml")
    }
}

/// Whether a crate of kind `from` may use one of kind `to`.
fn may_use(from: Kind, to: Kind) -> bool {
    match from {
        Kind::Plain | Kind::Format => to == Kind::Plain,
        Kind::Core => matches!(to, Kind::Plain | Kind::Core),
        Kind::Shell => matches!(to, Kind::Plain | Kind::Core | Kind::Format | Kind::Shell),
        Kind::Program => matches!(to, Kind::Plain | Kind::Shell),
        Kind::Test => to != Kind::Tool,
        Kind::Tool => true,
    }
}

fn outward(package: &Package, place: usize, kind: Kind) -> impl Iterator<Item = String> {
    package.dependencies.iter().filter(|dependency| dependency.is_ours).filter_map(
        move |dependency| {
            let name = &dependency.name;
            let (other, other_kind) = layer(name)?;
            if dependency.is_dev {
                // Tests may stand anything beside the crate but a program.
                let bad = matches!(other_kind, Kind::Program | Kind::Tool);
                return bad.then(|| format!("its tests depend on the program {name}"));
            }
            let allowed = other < place && may_use(kind, other_kind);
            (!allowed).then(|| format!("arrow points outward: {kind:?} on {name}, {other_kind:?}"))
        },
    )
}

fn foreign(package: &Package, kind: Kind) -> impl Iterator<Item = String> {
    let extra = CORE_EXTRA.iter().find(|(name, _)| *name == package.name);
    let extra = extra.map_or(&[][..], |(_, names)| *names);
    let names = package
        .dependencies
        .iter()
        .filter(move |dependency| !dependency.is_ours && !dependency.is_dev && kind == Kind::Core);
    names
        .map(|dependency| dependency.name.as_str())
        .filter(|name| !CORE_ALLOWED.contains(name) && !extra.contains(name))
        .map(|name| format!("core crate may not depend on {name}"))
}

fn bans(name: &str, kind: Kind, files: &[SourceFile]) -> Vec<Finding> {
    if kind != Kind::Core {
        return Vec::new();
    }
    let path = format!("crates/{name}/clippy.toml");
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return vec![Finding::whole(&path, "core crate has no clippy.toml of its own")];
    };
    CORE_BANS
        .iter()
        .filter(|ban| !file.text.contains(&format!("\"{ban}\"")))
        .map(|ban| Finding::whole(&path, format!("does not ban {ban}")))
        .collect()
}

fn lints(manifest: &str, files: &[SourceFile]) -> Option<Finding> {
    let file = files.iter().find(|file| file.path == manifest)?;
    let inherits = file.text.contains("[lints]\nworkspace = true");
    (!inherits).then(|| Finding::whole(manifest, "does not take the lints of the workspace"))
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Dependency;
    use super::*;

    fn ours(name: &str, dependencies: &[(&str, bool, bool)]) -> Metadata {
        let dependencies = dependencies.iter().map(|(name, is_ours, is_dev)| Dependency {
            name: (*name).to_owned(),
            is_ours: *is_ours,
            is_dev: *is_dev,
        });
        let package = Package {
            name: name.to_owned(),
            dependencies: dependencies.collect(),
            ..Package::default()
        };
        Metadata { packages: vec![package] }
    }

    fn count(name: &str, dependencies: &[(&str, bool, bool)]) -> usize {
        let bans: Vec<String> = CORE_BANS.iter().map(|ban| format!("\"{ban}\"")).collect();
        let path = format!("crates/{name}/clippy.toml");
        check(&ours(name, dependencies), &[super::super::file(&path, &bans.join("\n"))]).len()
    }

    #[test]
    fn arrows_point_inward() {
        assert_eq!(count("apply", &[("mvcc", true, false), ("types", true, false)]), 0);
        assert_eq!(count("mvcc", &[("apply", true, false)]), 1);
        assert_eq!(count("mvcc", &[("wal", true, false)]), 1);
        assert_eq!(count("wal", &[("simdisk", true, true)]), 0);
        assert_eq!(count("wal", &[("simdisk", true, false)]), 1);
        assert_eq!(count("newcomer", &[]), 1);
    }

    #[test]
    fn the_core_uses_only_listed_crates() {
        assert_eq!(count("lease", &[("bytes", false, false)]), 0);
        assert_eq!(count("lease", &[("rand", false, false)]), 1);
        assert_eq!(count("lease", &[("proptest", false, true)]), 0);
        assert_eq!(count("node", &[("rand", false, false)]), 0);
    }

    #[test]
    fn a_core_crate_bans_clocks() {
        assert_eq!(check(&ours("lease", &[]), &[]).len(), 1);
    }
}
