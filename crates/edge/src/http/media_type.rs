//! `Content-Type` as Go's `mime.ParseMediaType` reads it.

use std::collections::BTreeSet;

/// The one type whose body has parameters.
const FORM: &str = "application/x-www-form-urlencoded";
/// Go's text for whatever is wrong behind the type.
const BAD_PARAMETER: &str = "mime: invalid media parameter";

/// Whether a header names a form; no header, and an empty one, names raw bytes.
///
/// # Errors
/// Go's text for a malformed header.
pub(crate) fn is_form(content_type: &[u8]) -> Result<bool, &'static str> {
    if content_type.is_empty() {
        return Ok(false);
    }
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    let (kind, parameters) = content_type.split_at(end);
    let kind = kind.trim_ascii().to_ascii_lowercase();
    check_kind(&kind)?;
    check_parameters(parameters)?;
    Ok(kind == FORM.as_bytes())
}

fn check_kind(kind: &[u8]) -> Result<(), &'static str> {
    let (main, rest) = split_token(kind);
    if main.is_empty() {
        return Err("mime: no media type");
    }
    let Some((slash, rest)) = rest.split_first() else { return Ok(()) };
    if *slash != b'/' {
        return Err("mime: expected slash after first token");
    }
    let (sub, rest) = split_token(rest);
    if sub.is_empty() {
        return Err("mime: expected token after slash");
    }
    if rest.is_empty() { Ok(()) } else { Err("mime: unexpected content after media subtype") }
}

fn check_parameters(mut rest: &[u8]) -> Result<(), &'static str> {
    let mut seen = BTreeSet::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() || rest.trim_ascii() == b";" {
            return Ok(());
        }
        let (name, behind) = parameter(rest).ok_or(BAD_PARAMETER)?;
        if !seen.insert(name) {
            return Err("mime: duplicate parameter name");
        }
        rest = behind;
    }
}

/// The name of one `; name=value`, and what is behind the value.
fn parameter(rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let rest = rest.strip_prefix(b";")?.trim_ascii_start();
    let (name, rest) = split_token(rest);
    if name.is_empty() {
        return None;
    }
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    Some((name.to_ascii_lowercase(), behind_value(rest)?))
}

fn behind_value(rest: &[u8]) -> Option<&[u8]> {
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let (token, rest) = split_token(rest);
        return (!token.is_empty()).then_some(rest);
    };
    let mut at = 0;
    while let Some(byte) = quoted.get(at) {
        at += 1;
        match byte {
            b'"' => return Some(&quoted[at..]),
            b'\\' if quoted.get(at).is_some_and(|next| is_special(*next)) => at += 1,
            b'\r' | b'\n' => return None,
            _ => {}
        }
    }
    None
}

fn split_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    let is_token = |byte: &u8| byte.is_ascii_graphic() && !is_special(*byte);
    let end = bytes.iter().position(|byte| !is_token(byte)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn is_special(byte: u8) -> bool {
    b"()<>@,;:\\\"/[]?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_go() {
        let cases: [(&str, Result<bool, &str>); 19] = [
            ("", Ok(false)),
            (FORM, Ok(true)),
            ("  Application/X-WWW-Form-URLencoded ; charset=UTF-8", Ok(true)),
            ("application/x-www-form-urlencoded;", Ok(true)),
            ("application/x-www-form-urlencoded; ; ", Err(BAD_PARAMETER)),
            ("application/json", Ok(false)),
            ("application", Ok(false)),
            ("/", Err("mime: no media type")),
            (";a=b", Err("mime: no media type")),
            ("application x", Err("mime: expected slash after first token")),
            ("application/", Err("mime: expected token after slash")),
            ("a/b c", Err("mime: unexpected content after media subtype")),
            ("a/b; c", Err(BAD_PARAMETER)),
            ("a/b; c=", Err(BAD_PARAMETER)),
            ("a/b; c=\"x", Err(BAD_PARAMETER)),
            ("a/b; c=\"\\\"x;y\"; d=\"\"", Ok(false)),
            ("a/b; c=1; d=1", Ok(false)),
            ("a/b; c=1; C=1", Err("mime: duplicate parameter name")),
            ("a/b; c=1 2", Err(BAD_PARAMETER)),
        ];
        for (text, expected) in cases {
            assert_eq!(is_form(text.as_bytes()), expected, "{text}");
        }
    }
}
