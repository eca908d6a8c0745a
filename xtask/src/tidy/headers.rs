//! Each file opens by saying what it is, and is part of its crate.

use super::{Finding, SourceFile};

/// Fields of the header of a crate, in this order (style.md 2).
const FIELDS: [&str; 5] = ["Owns:", "Uses:", "Never:", "Invariants:", "Source:"];
/// Lines of a file that is not a test, above which it wants a hard look at its second type.
const FILE_LINES_MAX: usize = 800;

/// Checks every Rust file but the generated ones.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_generated()) {
        findings.extend(header(file));
        findings.extend(length(file));
        findings.extend(declared(file, files));
    }
    findings
}

fn header(file: &SourceFile) -> Option<Finding> {
    // `foo/tests.rs` is about `foo`, which says what that is.
    if file.path.ends_with("/tests.rs") {
        return None;
    }
    let header: Vec<&str> =
        file.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    if header.first().is_none_or(|sentence| sentence.is_empty()) {
        return Some(Finding::whole(&file.path, "does not open with `//!` and what it is"));
    }
    let found: Vec<&str> = FIELDS
        .into_iter()
        .filter(|field| header.iter().any(|line| line.starts_with(field)))
        .collect();
    let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    if is_root && found.len() < FIELDS.len() {
        let missing: Vec<&str> =
            FIELDS.into_iter().filter(|field| !found.contains(field)).collect();
        let text = format!("crate header lacks {}", missing.join(" "));
        return Some(Finding::whole(&file.path, text));
    }
    let order = header.iter().filter_map(|line| FIELDS.iter().position(|f| line.starts_with(f)));
    if !order.is_sorted() {
        return Some(Finding::whole(&file.path, format!("header fields are {}", FIELDS.join(" "))));
    }
    None
}

fn length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let too_long = lines > FILE_LINES_MAX && !file.is_test();
    too_long.then(|| {
        Finding::whole(&file.path, format!("{lines} lines: look for the second type inside"))
    })
}

/// A file that no `mod` names is never compiled.
fn declared(file: &SourceFile, files: &[SourceFile]) -> Option<Finding> {
    let parents = parents(&file.path)?;
    let name = file.path.rsplit('/').next()?.trim_end_matches(".rs");
    let name = if name == "mod" { file.path.rsplit('/').nth(1)? } else { name };
    let wanted = format!("mod {name};");
    let is_declared = files
        .iter()
        .filter(|parent| parents.contains(&parent.path))
        .any(|parent| parent.text.lines().any(|line| line.trim_end().ends_with(&wanted)));
    (!is_declared).then(|| Finding::whole(&file.path, format!("dead file: no `{wanted}` for it")))
}

/// Files that may declare the module in `path`; `None` for roots of a target.
fn parents(path: &str) -> Option<Vec<String>> {
    let (mut folder, mut name) = path.rsplit_once('/')?;
    if name == "mod.rs" {
        (folder, name) = folder.rsplit_once('/')?;
    }
    let is_target = ["tests", "examples", "benches", "src/bin"]
        .iter()
        .any(|kind| folder.ends_with(&format!("/{kind}")))
        && !folder.trim_end_matches("/src/bin").contains("/src/");
    if matches!(name, "lib.rs" | "main.rs" | "build.rs") || is_target {
        return None;
    }
    let candidates = ["lib.rs", "main.rs", "mod.rs"].map(|root| format!("{folder}/{root}"));
    Some(candidates.into_iter().chain([format!("{folder}.rs")]).collect())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const WHOLE: &str = "//! A thing.\n//!\n//! Owns:       a.\n//! Uses:       b.\n\
         //! Never:      c.\n//! Invariants: d.\n//! Source:     e.\n";

    fn texts(files: &[SourceFile]) -> Vec<String> {
        check(files).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn crates_need_all_fields_and_modules_a_sentence() {
        assert_eq!(texts(&[file("crates/a/src/lib.rs", WHOLE)]), [""; 0]);
        let part = WHOLE.replace("//! Never:      c.\n", "");
        assert_eq!(
            texts(&[file("crates/a/src/lib.rs", &part)]),
            ["crates/a/src/lib.rs: crate header lacks Never:"]
        );
        let bare = [
            file("crates/a/src/lib.rs", &format!("{WHOLE}mod b;\n")),
            file("crates/a/src/b.rs", "use c;\n"),
        ];
        assert_eq!(texts(&bare), ["crates/a/src/b.rs: does not open with `//!` and what it is"]);
        let mixed = WHOLE.replace("Owns: ", "Uses: ").replacen("Uses:       b", "Owns:       b", 1);
        assert_eq!(texts(&[file("crates/a/src/lib.rs", &mixed)]).len(), 1);
    }

    #[test]
    fn a_file_without_a_mod_is_dead() {
        let root = file("crates/a/src/lib.rs", &format!("{WHOLE}pub mod b;\n"));
        let used = file("crates/a/src/b.rs", "//! B.\nmod c;\n");
        let inner = file("crates/a/src/b/c.rs", "//! C.\n");
        let dead = file("crates/a/src/b/d.rs", "//! D.\n");
        let target = file("crates/a/tests/e.rs", "//! E.\n");
        assert_eq!(
            texts(&[root, used, inner, dead, target]),
            ["crates/a/src/b/d.rs: dead file: no `mod d;` for it"]
        );
    }

    #[test]
    fn long_files_are_found_unless_they_are_tests() {
        let long = format!("{WHOLE}{}", "\n".repeat(FILE_LINES_MAX));
        assert_eq!(texts(&[file("crates/a/src/lib.rs", &long)]).len(), 1);
        assert_eq!(texts(&[file("crates/a/tests/it/main.rs", &long)]), [""; 0]);
    }
}
