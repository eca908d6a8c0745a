//! Queries and form bodies as Go's `net/url` parses them.

use std::fmt::Write as _;

use super::path::{Plus, text, unescape};

/// Go's words for a `;` between parameters, which stopped being a separator.
const SEMICOLON: &str = "invalid semicolon separator in query";

/// Hands every parameter, in order, to `take`; what cannot be parsed is left out.
///
/// # Errors
/// Go's text for what was left out: a semicolon anywhere, else the first malformed escape.
pub(crate) fn each(query: &[u8], mut take: impl FnMut(String, String)) -> Result<(), String> {
    let mut bad_escape = None;
    let mut semicolon = false;
    for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pair.contains(&b';') {
            semicolon = true;
            continue;
        }
        match parse_pair(pair) {
            Ok((name, value)) => take(name, value),
            Err(escape) => bad_escape = bad_escape.or(Some(escape)),
        }
    }
    if semicolon {
        return Err(SEMICOLON.to_owned());
    }
    bad_escape.map_or(Ok(()), |escape| Err(format!("invalid URL escape {}", quote(escape))))
}

/// All values of a parameter of a query, whatever is wrong with the others.
pub(crate) fn values(query: Option<&str>, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let parsed = each(query.unwrap_or_default().as_bytes(), |name, value| {
        if name == wanted {
            found.push(value);
        }
    });
    // Go's `URL.Query` drops this error too.
    drop(parsed);
    found
}

fn parse_pair(pair: &[u8]) -> Result<(String, String), &[u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=');
    let (name, value) = match equals {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &b""[..]),
    };
    let name = unescape(name, Plus::Space)?;
    Ok((text(name), text(unescape(value, Plus::Space)?)))
}

/// Go's `strconv.Quote` for the few bytes of a malformed escape.
fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_quoted(&mut out, c));
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    out.push('"');
    out
}

fn push_quoted(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{b}' => out.push_str("\\v"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '\0'..='\u{1f}' | '\u{7f}' => {
            write!(out, "\\x{:02x}", u32::from(c)).expect("writing to a String cannot fail");
        }
        // The two signs of Latin-1 that do not print; an escape has no room for a longer one.
        '\u{80}'..='\u{a0}' | '\u{ad}' => {
            write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a String cannot fail");
        }
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> (Vec<(String, String)>, Result<(), String>) {
        let mut pairs = Vec::new();
        let result = each(query.as_bytes(), |name, value| pairs.push((name, value)));
        (pairs, result)
    }

    #[test]
    fn pairs_follow_go() {
        let cases: [(&str, &[(&str, &str)]); 7] = [
            ("", &[]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("a=b=c", &[("a", "b=c")]),
            ("=5&a=+%2B%26", &[("", "5"), ("a", " +&")]),
            ("%61=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a=%ff", &[("a", "\u{fffd}")]),
        ];
        for (query, expected) in cases {
            let (pairs, result) = parsed(query);
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!((pairs.as_slice(), result), (expected, Ok(())), "{query}");
        }
    }

    #[test]
    fn a_bad_pair_is_left_out_and_named() {
        let (pairs, result) = parsed("a=%zz&b=%1&c=3");
        assert_eq!(pairs, [("c".to_owned(), "3".to_owned())]);
        assert_eq!(result, Err("invalid URL escape \"%zz\"".to_owned()));
        assert_eq!(parsed("a=%zz&b;c").1, Err(SEMICOLON.to_owned()));
    }

    #[test]
    fn quote_follows_go() {
        let cases: [(&[u8], &str); 6] = [
            (b"%", r#""%""#),
            (b"%\"\\", r#""%\"\\""#),
            (b"%\n\x01", r#""%\n\x01""#),
            (b"%\xff\x7f", r#""%\xff\x7f""#),
            ("%\u{a0}".as_bytes(), r#""%\u00a0""#),
            ("%ä".as_bytes(), r#""%ä""#),
        ];
        for (bytes, expected) in cases {
            assert_eq!(quote(bytes), expected);
        }
    }
}
