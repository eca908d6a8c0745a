//! The differences that are allowed: `tests/differential/accepted.toml`.
//!
//! Of TOML it uses `[[difference]]` and strings in quotes; anything else is a mistake in the file.
//! In patterns `*` stands for any text.

use std::collections::BTreeMap;

use super::reply::Difference;

const TEXT: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/differential/accepted.toml"));
/// What a row has to say, no more and no less.
const KEYS: [&str; 8] = ["api", "server", "request", "field", "go", "ours", "source", "reason"];

/// One allowed difference.
#[derive(Clone, Debug)]
struct Row {
    line: usize,
    values: BTreeMap<String, String>,
    is_used: bool,
}

impl Row {
    fn allows(&self, server: &str, request: &str, difference: &Difference) -> bool {
        let is = |key: &str, text: &str| matches(&self.values[key], text);
        is("server", server)
            && is("field", &difference.field)
            && is("go", &difference.go)
            && is("ours", &difference.ours)
            && is("request", request)
    }
}

/// The rows for one API.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    rows: Vec<Row>,
}

impl Accepted {
    /// The rows of the file for `api`.
    ///
    /// # Panics
    /// When the file is not in order.
    pub(super) fn load(api: &str) -> Self {
        let mut rows = parse(TEXT).unwrap_or_else(|error| panic!("accepted.toml: {error}"));
        rows.retain(|row| row.values["api"] == api);
        Self { rows }
    }

    /// Whether a row allows it; that row is used then.
    pub(super) fn allows(&mut self, server: &str, request: &str, difference: &Difference) -> bool {
        let row = self.rows.iter_mut().find(|row| row.allows(server, request, difference));
        row.map(|row| row.is_used = true).is_some()
    }

    /// Rows that allowed nothing.
    pub(super) fn unused(&self) -> Vec<String> {
        let unused = self.rows.iter().filter(|row| !row.is_used);
        unused.map(|row| format!("line {}: {}", row.line, row.values["request"])).collect()
    }
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[difference]]" {
            rows.push(Row { line: number, values: BTreeMap::new(), is_used: false });
            continue;
        }
        let wrong = |what: &str| format!("line {number}: {what}: {line}");
        let (key, value) = line.split_once(" = ").ok_or_else(|| wrong("no key"))?;
        let row = rows.last_mut().ok_or_else(|| wrong("no row began"))?;
        let value = string(value).ok_or_else(|| wrong("no string"))?;
        let may_be_empty = ["go", "ours"].contains(&key);
        let is_known = KEYS.contains(&key) && (may_be_empty || !value.is_empty());
        if !is_known || row.values.insert(key.to_owned(), value).is_some() {
            return Err(wrong("unknown, empty or repeated key"));
        }
    }
    match rows.iter().find(|row| row.values.len() != KEYS.len()) {
        Some(row) => Err(format!("line {}: a row needs {KEYS:?}", row.line)),
        None => Ok(rows),
    }
}

/// `'as it is'`, or `"with \\ and \" escaped"`.
fn string(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return (!inner.contains('\'')).then(|| inner.to_owned());
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut letters = inner.chars();
    let mut value = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return None,
            '\\' => value.push(letters.next().filter(|letter| ['"', '\\'].contains(letter))?),
            _ => value.push(letter),
        }
    }
    Some(value)
}

/// Whether `text` is of the form `pattern`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    rest.is_empty() || starts.into_iter().any(|at| matches(rest, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "# comment\n[[difference]]\napi = \"v3\"\nserver = '3.*'\nrequest = 'Put{*'\n\
        field = 'kvs[*].lease'\ngo = '*'\nours = \"<absent>\"\nsource = 'api-v3.md 2.2'\nreason = 'x'\n";

    #[test]
    fn a_row_allows_what_its_patterns_say() {
        let mut accepted = Accepted { rows: parse(ROW).expect("a row") };
        let mut difference =
            Difference { field: "kvs[3].lease".into(), go: "7".into(), ours: "<absent>".into() };
        assert_eq!(accepted.unused().len(), 1);
        assert!(!accepted.allows("2.3", "Put{}", &difference));
        assert!(!accepted.allows("3.5.1", "Range{}", &difference));
        assert!(accepted.allows("3.5.1", "Put{}", &difference));
        assert!(accepted.unused().is_empty());
        difference.field = "kvs[3].lease.x".into();
        assert!(!accepted.allows("3.5.1", "Put{}", &difference));
    }

    #[test]
    fn mistakes_in_the_file_are_refused() {
        for (from, to) in [
            ("reason = 'x'\n", ""),
            ("reason = 'x'", "reason = ''"),
            ("reason = 'x'", "reason = x"),
            ("reason = 'x'", "because = 'x'"),
            ("reason = 'x'", "api = 'v3'"),
            ("[[difference]]", ""),
            ("[[difference]]", "[other]"),
        ] {
            assert!(parse(&ROW.replace(from, to)).is_err(), "{to}");
        }
    }
}
