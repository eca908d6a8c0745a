//! Request targets that Go's server takes and hyper's refuses: a few bytes that should have been
//! escaped, as curl sends them when they are typed.
//!
//! Owns:       nothing.
//! Uses:       `std`.
//! Never:      touches anything but the target of the first request of an HTTP/1 connection: clients
//!             that keep connections escape what they send.
//! Invariants: a target without such bytes stays as it is; the mended one decodes to the same bytes.
//! Source:     api-v2.md 1.2; Go `net/url`; `http::uri`.

/// Escapes what hyper would refuse in the target of a first head.
pub(crate) fn mend(head: Vec<u8>) -> Vec<u8> {
    let Some((start, end)) = target_of(&head) else { return head };
    if !head[start..end].iter().any(|byte| needs_escape(*byte)) {
        return head;
    }
    let mut mended = Vec::with_capacity(head.len() + 64);
    mended.extend_from_slice(&head[..start]);
    for byte in &head[start..end] {
        if needs_escape(*byte) {
            mended.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            mended.push(*byte);
        }
    }
    mended.extend_from_slice(&head[end..]);
    mended
}

/// Where the target of a request line `METHOD target HTTP/1.x` begins and ends.
fn target_of(head: &[u8]) -> Option<(usize, usize)> {
    let line = head.iter().position(|byte| *byte == b'\r')?;
    let start = head[..line].iter().position(|byte| *byte == b' ')? + 1;
    let end = head[..line].iter().rposition(|byte| *byte == b' ')?;
    let is_target = head.get(start) == Some(&b'/') && head[end..line].starts_with(b" HTTP/1.");
    (start < end && is_target).then_some((start, end))
}

fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_odd_bytes_of_the_target_change() {
        let cases = [
            ("GET /a<b>?c=\"d\"`e HTTP/1.1\r\n", "GET /a%3Cb%3E?c=%22d%22%60e HTTP/1.1\r\n"),
            (
                "PUT /k?value={\"a\":1} HTTP/1.1\r\nX: \"<>\r\n",
                "PUT /k?value={%22a%22:1} HTTP/1.1\r\nX: \"<>\r\n",
            ),
        ];
        for (head, expected) in cases {
            assert_eq!(String::from_utf8(mend(head.into())).unwrap(), expected);
        }
        let kept = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /a%3C{|}\\^ HTTP/1.1\r\n\r\n",
            "GET <a> HTTP/1.1\r\n\r\n",
            "GET /<a>\r\n\r\n",
            "GET /<a> HTTP/2.0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\"\r\n",
            "",
        ];
        for head in kept {
            assert_eq!(mend(head.into()), head.as_bytes(), "{head:?}");
        }
    }
}
