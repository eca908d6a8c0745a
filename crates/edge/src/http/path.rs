//! Request paths as Go's `net/url` and `ServeMux` read them.

use std::fmt::Write as _;

/// The decoded path; bytes that are no UTF-8 are replaced. `None` for a malformed escape or a
/// target that is no path.
pub(crate) fn decode(raw: &str) -> Option<String> {
    if !raw.starts_with('/') {
        return None;
    }
    let decoded = unescape(raw.as_bytes(), Plus::Literal).ok()?;
    Some(text(decoded))
}

/// The path that Go redirects to: no empty, `.` or `..` elements; a final slash stays.
pub(crate) fn clean(path: &str) -> String {
    let mut clean = v2store::path::clean(path);
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    clean
}

/// The redirect target of a raw path that can be decoded: clean, with the query of the request.
pub(crate) fn location(raw: &str, query: Option<&str>) -> String {
    let mut out = String::with_capacity(raw.len());
    for byte in clean_bytes(raw) {
        if is_path_byte(byte) {
            out.push(char::from(byte));
        } else {
            push_escaped(&mut out, byte);
        }
    }
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        out.push('?');
        for &byte in query.as_bytes() {
            if byte.is_ascii() {
                out.push(char::from(byte));
            } else {
                write!(out, "%{byte:x}").expect("writing to a String cannot fail");
            }
        }
    }
    out
}

/// The decoded, clean path byte for byte: unlike a key, a redirect keeps what is no UTF-8.
fn clean_bytes(raw: &str) -> Vec<u8> {
    let bytes = unescape(raw.as_bytes(), Plus::Literal).unwrap_or_default();
    // One sign per byte for the while; what is looked at are slashes and dots.
    let carrier: String = bytes.into_iter().map(char::from).collect();
    clean(&carrier).chars().filter_map(|sign| u8::try_from(u32::from(sign)).ok()).collect()
}

/// What a plus sign stands for: itself in a path, a space in a form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    Literal,
    Space,
}

/// Undoes percent-encoding.
///
/// # Errors
/// The malformed escape: a percent sign and up to two bytes behind it.
pub(crate) fn unescape(raw: &[u8], plus: Plus) -> Result<Vec<u8>, &[u8]> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, behind)) = rest.split_first() {
        let (decoded, behind) = match byte {
            b'%' => {
                let escape = || &rest[..rest.len().min(3)];
                let digits = behind.first_chunk::<2>().ok_or_else(escape)?;
                let value = hex(digits).ok_or_else(escape)?;
                (value, &behind[2..])
            }
            b'+' if plus == Plus::Space => (b' ', behind),
            _ => (byte, behind),
        };
        out.push(decoded);
        rest = behind;
    }
    Ok(out)
}

/// Bytes as text; what is no UTF-8 is replaced, one sign per byte as Go does it.
pub(crate) fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => replace_broken(error.as_bytes()),
    }
}

fn replace_broken(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

fn hex(digits: &[u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

/// Bytes that Go leaves alone in a path.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&byte)
}

fn push_escaped(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_keeps_a_final_slash() {
        let cases = [
            ("/", "/"),
            ("//", "/"),
            ("/v2/keys/", "/v2/keys/"),
            ("/v2/keys//", "/v2/keys/"),
            ("/v2/keys/..", "/v2"),
            ("/v2/keys/.", "/v2/keys"),
            ("/v2/../..", "/"),
            ("/v2/../../", "/"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn redirects_keep_every_byte() {
        let cases = [
            ("/v2/keys//a%20b%3f", None, "/v2/keys/a%20b%3F"),
            ("/v2/keys/%ff%fe/./x", Some("quorum=%20true"), "/v2/keys/%FF%FE/x?quorum=%20true"),
            ("/v2/keys/%c3%a9//", Some(""), "/v2/keys/%C3%A9/"),
        ];
        for (raw, query, expected) in cases {
            assert_eq!(location(raw, query), expected);
        }
    }

    #[test]
    fn decode_refuses_what_is_no_path() {
        assert_eq!(decode("/a%2Fb+c").as_deref(), Some("/a/b+c"));
        assert_eq!(decode("/%ff%e4").as_deref(), Some("/\u{fffd}\u{fffd}"));
        for raw in ["*", "", "/%", "/%1", "/%zz", "/a%4"] {
            assert_eq!(decode(raw), None, "{raw}");
        }
    }

    #[test]
    fn broken_utf8_is_replaced_byte_by_byte() {
        assert_eq!(text(b"a\xf0\x9f\x98b".to_vec()), "a\u{fffd}\u{fffd}\u{fffd}b");
    }

    #[test]
    fn unescape_names_the_bad_escape() {
        assert_eq!(unescape(b"a%20b+c", Plus::Space), Ok(b"a b c".to_vec()));
        assert_eq!(unescape(b"a%zz1", Plus::Space), Err(&b"%zz"[..]));
        assert_eq!(unescape(b"%41%4", Plus::Space), Err(&b"%4"[..]));
    }
}
