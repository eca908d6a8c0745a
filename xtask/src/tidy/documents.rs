//! Links in documents lead somewhere, and every document can be reached.

use super::{Finding, SourceFile};

/// Folders whose README lists all their documents.
const INDEXED: &[&str] = &["docs/format", "docs/decisions"];

/// Checks links of documents and mentions of documents in code; `exists` knows all paths.
pub(super) fn check(files: &[SourceFile], exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        if file.is_markdown() {
            findings.extend(broken_links(file, files, exists));
        }
        if file.is_markdown() || file.is_rust() {
            findings.extend(broken_mentions(file, exists));
        }
    }
    findings.extend(INDEXED.iter().flat_map(|folder| unlisted(folder, files)));
    findings
}

fn broken_links(
    file: &SourceFile,
    files: &[SourceFile],
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in targets(line) {
            let outside = target.contains("://") || target.starts_with("mailto:");
            if outside {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { file.path.clone() } else { join(&file.path, path) };
            if !exists(&path) {
                findings.push(Finding::at(&file.path, number, format!("broken link: {target}")));
            } else if !anchor.is_empty() && !has_anchor(files, &path, anchor) {
                findings.push(Finding::at(&file.path, number, format!("no such place: {target}")));
            }
        }
    }
    findings
}

/// Lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        (!in_code).then_some((at + 1, line))
    })
}

/// Targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// `target` seen from the folder of the document at `from`.
fn join(from: &str, target: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn has_anchor(files: &[SourceFile], path: &str, anchor: &str) -> bool {
    let Some(file) = files.iter().find(|file| file.path == path) else { return true };
    prose(&file.text)
        .filter(|(_, line)| line.starts_with('#'))
        .any(|(_, line)| slug(line.trim_start_matches('#')) == anchor)
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let kept =
        heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A document of `docs` named in text or code must be there; tests may invent some.
fn broken_mentions(file: &SourceFile, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    for (number, line) in lines.enumerate() {
        for (at, _) in line.match_indices("docs/") {
            let inside = line[..at]
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'));
            let end = line[at..]
                .find(|c: char| !(c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_')))
                .map_or(line.len(), |length| at + length);
            let mention = line[at..end].trim_end_matches('.');
            if !inside && mention.ends_with(".md") && !exists(mention) {
                let text = format!("names a document that is not there: {mention}");
                findings.push(Finding::at(&file.path, number + 1, text));
            }
        }
    }
    findings
}

/// Documents of a folder that its README does not link.
fn unlisted(folder: &str, files: &[SourceFile]) -> Vec<Finding> {
    let index = format!("{folder}/README.md");
    let listed: Vec<&str> = files
        .iter()
        .filter(|file| file.path == index)
        .flat_map(|file| file.text.lines().flat_map(targets))
        .collect();
    files
        .iter()
        .filter_map(|file| file.path.strip_prefix(folder)?.strip_prefix('/'))
        .filter(|name| name.ends_with(".md") && *name != "README.md" && !listed.contains(name))
        .map(|name| Finding::whole(&index, format!("does not list {name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn texts(files: &[SourceFile]) -> Vec<String> {
        let exists = |path: &str| files.iter().any(|file| file.path == path);
        check(files, &exists).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn links_are_followed_from_their_document() {
        let target = file("docs/status.md", "# The state, today\n");
        let good =
            file("docs/format/README.md", "[a](../status.md#the-state-today) [b](https://x)");
        assert_eq!(texts(&[target, good]), [""; 0]);
        let bad = file("docs/a.md", "[a](b.md) [c](#nowhere)\n```\n[d](e.md)\n```\n");
        assert_eq!(texts(&[bad]), ["broken link: b.md", "no such place: #nowhere"]);
    }

    #[test]
    fn documents_named_in_code_exist() {
        let code = "//! Source: docs/format/none.md.\n// see https://example.net/docs/else.md\n";
        assert_eq!(
            texts(&[file("crates/a/src/lib.rs", code)]),
            ["names a document that is not there: docs/format/none.md"]
        );
    }

    #[test]
    fn every_decision_is_listed() {
        let index = file("docs/decisions/README.md", "[one](0001-one.md)\n");
        let files =
            [index, file("docs/decisions/0001-one.md", ""), file("docs/decisions/0002-two.md", "")];
        assert_eq!(texts(&files), ["does not list 0002-two.md"]);
    }
}
