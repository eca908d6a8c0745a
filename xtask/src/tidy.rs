//! Checks what clippy cannot: headers, arrows between crates, stray text, links, licences.
//!
//! Owns:       the rules of style.md that are decided by looking at files.
//! Uses:       `git ls-files` for the list of files, `cargo metadata` for crates and licences.
//! Never:      changes a file.
//! Invariants: all findings are reported, in the order of the checks, before the command fails.
//! Source:     style.md 2, 9, 10, 11.

mod arrows;
mod documents;
mod headers;
mod licences;
mod metadata;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use metadata::Metadata;

/// Something to be put right.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 when the finding is about the whole file.
    line: usize,
    text: String,
}

impl Finding {
    fn whole(path: &str, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 0, text: text.into() }
    }

    fn at(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.text),
            line => write!(f, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// A text file of the repository.
#[derive(Debug)]
struct SourceFile {
    /// Relative to the workspace, with `/`.
    path: String,
    text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    fn is_generated(&self) -> bool {
        self.path.contains("/generated/")
    }

    /// Whether the whole file is test code.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// Runs every check.
pub(crate) fn run() -> Result<()> {
    let root = crate::workspace();
    let files = text_files(&root)?;
    let metadata = Metadata::load(&root)?;
    let mut findings = headers::check(&files);
    findings.extend(arrows::check(&metadata, &files));
    findings.extend(text::check(&files));
    findings.extend(documents::check(&files, &|path| root.join(path).exists()));
    findings.extend(licences::check(&metadata, &files));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: {} files, {} packages, nothing found", files.len(), metadata.packages.len());
    Ok(())
}

/// Tracked files and those that would be tracked; binary ones left out.
fn text_files(root: &Path) -> Result<Vec<SourceFile>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("run git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).context("file names")?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path: PathBuf = root.join(name);
        // A file that is tracked but deleted in the work tree has nothing to be checked.
        let Ok(bytes) = fs::read(&path) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(SourceFile { path: name.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}
