//! Words that may not stay in the repository.

use super::{Finding, SourceFile};

/// Where a word is unwelcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every text file.
    Everywhere,
    /// Rust code and comments.
    Rust,
    /// Rust code that only tests run.
    Tests,
}

struct Rule {
    /// Matched as it stands; split so that this table does not find itself.
    parts: (&'static str, &'static str),
    scope: Scope,
    /// Whether the word must not be a part of a longer one.
    whole_word: bool,
    says: &'static str,
}

const fn rule(
    parts: (&'static str, &'static str),
    scope: Scope,
    whole_word: bool,
    says: &'static str,
) -> Rule {
    Rule { parts, scope, whole_word, says }
}

const MACHINE: &str = "names a path of one machine";
const REGISTRY: &str = "names a registry: clients are configured outside of the repository";
const STRAY: &str = "unfinished work is an issue, not a mark in the code";
const SLEEP: &str = "tests wait for an event, or advance a simulated clock";

const RULES: &[Rule] = &[
    rule(("/wo", "rk/"), Scope::Everywhere, false, MACHINE),
    rule(("/ro", "ot/"), Scope::Everywhere, false, MACHINE),
    rule(("/ho", "me/"), Scope::Everywhere, false, MACHINE),
    rule(("/Us", "ers/"), Scope::Everywhere, false, MACHINE),
    rule(("/tmp", "/etc"), Scope::Everywhere, false, MACHINE),
    rule(("index", "-url"), Scope::Everywhere, false, REGISTRY),
    rule(("index", ".crates.io"), Scope::Everywhere, false, REGISTRY),
    rule(("static", ".crates.io"), Scope::Everywhere, false, REGISTRY),
    rule(("pypi", ".org"), Scope::Everywhere, false, REGISTRY),
    rule(("proxy", ".golang.org"), Scope::Everywhere, false, REGISTRY),
    rule(("deb", ".debian.org"), Scope::Everywhere, false, REGISTRY),
    rule(("replace", "-with"), Scope::Everywhere, false, REGISTRY),
    rule(("FIX", "ME"), Scope::Everywhere, true, STRAY),
    rule(("XX", "X"), Scope::Everywhere, true, STRAY),
    rule(("TO", "DO"), Scope::Rust, true, STRAY),
    rule(("TEMP", "ORARY"), Scope::Rust, true, STRAY),
    rule(("Placeholder", " header"), Scope::Rust, false, STRAY),
    rule(("todo", "!("), Scope::Rust, true, STRAY),
    rule(("unimplemented", "!("), Scope::Rust, true, STRAY),
    rule(("dbg", "!("), Scope::Rust, true, "prints for debugging"),
    rule(("#[allow", "("), Scope::Rust, false, "use #[expect(lint, reason = \"...\")]"),
    rule(("#![allow", "("), Scope::Rust, false, "use #[expect(lint, reason = \"...\")]"),
    rule(("#[igno", "re"), Scope::Rust, false, "a test runs, or it is not there"),
    rule(("sle", "ep("), Scope::Tests, true, SLEEP),
];

/// Tests that may pause: they put a steady load on a cluster, and time is what they measure, or how
/// slow a reader is.
const PACED: &[&str] = &["crates/e2e/tests/e2e/kill", "crates/e2e/tests/e2e/trouble/compaction.rs"];

/// Looks for every rule's word.
pub(super) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files.iter().filter(|file| !file.is_generated()).flat_map(look).collect()
}

fn look(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_paced = PACED.iter().any(|prefix| file.path.starts_with(prefix));
    let mut in_tests = file.is_test();
    for (number, line) in file.text.lines().enumerate() {
        in_tests |= file.is_rust() && line.trim() == "#[cfg(test)]";
        for rule in RULES {
            let in_scope = match rule.scope {
                Scope::Everywhere => true,
                Scope::Rust => file.is_rust(),
                Scope::Tests => file.is_rust() && in_tests && !is_paced,
            };
            if in_scope && holds(line, rule) {
                findings.push(Finding::at(&file.path, number + 1, rule.says));
            }
        }
    }
    findings
}

fn holds(line: &str, rule: &Rule) -> bool {
    let word = format!("{}{}", rule.parts.0, rule.parts.1);
    line.match_indices(&word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        let part_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let ends_in_letter = word.ends_with(char::is_alphanumeric);
        !(rule.whole_word && (part_of_word(before) || ends_in_letter && part_of_word(behind)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&[file(path, text)]).len()
    }

    #[test]
    fn words_are_found_where_they_are_unwelcome() {
        let mark = ["FIX", "ME"].concat();
        assert_eq!(count("a.md", &mark), 1);
        assert_eq!(count("a.md", &format!("{mark}D")), 0);
        let path = ["cd /ro", "ot/x"].concat();
        assert_eq!(count("run", &path), 1);
        assert_eq!(count("crates/a/src/b.rs", &["todo", "!()"].concat()), 1);
        assert_eq!(count("docs/status.md", &["todo", "!()"].concat()), 0);
    }

    #[test]
    fn sleeping_is_for_products_only() {
        let call = ["thread::sle", "ep(PAUSE);\n"].concat();
        assert_eq!(count("crates/a/src/b.rs", &call), 0);
        assert_eq!(count("crates/a/tests/b.rs", &call), 1);
        assert_eq!(count("crates/a/src/b.rs", &format!("#[cfg(test)]\n{call}")), 1);
    }
}
