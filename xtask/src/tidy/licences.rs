//! What we link against: licences, sources, duplicates, and a reason for each.

use std::collections::BTreeMap;

use super::metadata::{Metadata, Package};
use super::{Finding, SourceFile};

/// Licences that go together with Apache-2.0 in one program.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// The only source besides this repository.
const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Packages that are there in several versions, with who keeps the second one.
const DUPLICATES: &[(&str, &str)] = &[
    ("bitflags", "protobuf-build of raft's build script"),
    ("cpufeatures", "chacha20 of proptest's rand"),
    ("getrandom", "raft's rand, tempfile of prost-build"),
    ("hashbrown", "petgraph of prost-build"),
    ("logos", "protox-parse beside prost-reflect"),
    ("logos-codegen", "logos"),
    ("logos-derive", "logos"),
    ("rand", "raft, and proptest"),
    ("rand_chacha", "rand"),
    ("rand_core", "rand"),
    ("syn", "procedural macros: raft's getset, logos"),
    ("thiserror", "raft"),
    ("thiserror-impl", "thiserror"),
];

/// Checks every package that comes from outside.
pub(super) fn check(metadata: &Metadata, files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        findings.extend(licence(package));
        findings.extend(source(package));
        versions.entry(&package.name).or_default().push(&package.version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !DUPLICATES.iter().any(|(known, _)| known == name) {
            let text = format!("{name} is there in versions {}", versions.join(", "));
            findings.push(Finding::whole("Cargo.lock", text));
        }
    }
    for (name, _) in DUPLICATES {
        if versions.get(name).is_none_or(|versions| versions.len() < 2) {
            findings.push(Finding::whole("Cargo.lock", format!("{name} has one version now")));
        }
    }
    findings.extend(reasons(files));
    findings
}

fn licence(package: &Package) -> Option<Finding> {
    let name = &package.name;
    let Some(expression) = &package.licence else {
        return Some(Finding::whole("Cargo.lock", format!("{name} names no licence")));
    };
    (!is_allowed(expression))
        .then(|| Finding::whole("Cargo.lock", format!("licence of {name}: {expression}")))
}

fn source(package: &Package) -> Option<Finding> {
    let source = package.source.as_deref().filter(|source| *source != SOURCE)?;
    Some(Finding::whole("Cargo.lock", format!("{} comes from {source}", package.name)))
}

/// Whether an SPDX expression can be met with allowed licences alone. `AND` binds tighter than `OR`;
/// `/` is the old spelling of `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words };
    parser.either() == Some(true) && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
}

impl Parser<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut met = self.both()?;
        while self.accept("OR") {
            met |= self.both()?;
        }
        Some(met)
    }

    fn both(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.accept("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.accept("(") {
            let met = self.either()?;
            return self.accept(")").then_some(met);
        }
        let mut name = self.next()?.to_owned();
        if self.accept("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(ALLOWED.contains(&name.as_str()))
    }

    fn accept(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.next();
        }
        is_next
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

/// Each third-party crate has its reason beside it in the root manifest.
fn reasons(files: &[SourceFile]) -> Vec<Finding> {
    let root = files.iter().filter(|file| file.path == "Cargo.toml");
    root.flat_map(|file| {
        let lines = file.text.lines().enumerate();
        let table = lines
            .skip_while(|(_, line)| *line != "[workspace.dependencies]")
            .skip(1)
            .take_while(|(_, line)| !line.starts_with('['));
        table
            .filter(|(_, line)| line.contains(" = ") && !line.starts_with('#'))
            .filter(|(_, line)| !line.contains("path = ") && !line.contains("# "))
            .map(|(at, _)| Finding::at(&file.path, at + 1, "dependency without its reason"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn expressions_are_met_by_allowed_licences() {
        for (expression, allowed) in [
            ("MIT", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH something", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(expression), allowed, "{expression}");
        }
    }

    #[test]
    fn a_dependency_has_its_reason() {
        let text =
            "[workspace.dependencies]\nown = { path = \"a\" }\na = \"1\"  # why\nb = \"1\"\n";
        let findings = reasons(&[file("Cargo.toml", text)]);
        assert_eq!(findings, [Finding::at("Cargo.toml", 4, "dependency without its reason")]);
    }
}
