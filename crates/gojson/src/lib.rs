//! JSON text spelled exactly as Go's `encoding/json` spells it.
//!
//! Owns:       nothing; all functions append to a buffer of the caller.
//! Uses:       `std`.
//! Never:      parsing (serde_json does that), reflection, pretty printing.
//! Invariants: equal calls give equal bytes; output is valid UTF-8.
//! Source:     Go `encoding/json` of Go 1.19, with which etcd 3.4.23 is built.

use std::fmt::Write as _;

/// Appends `text` as a quoted JSON string with Go's default escapes.
///
/// `<`, `>`, `&`, U+2028 and U+2029 are escaped because Go makes JSON safe inside HTML; backspace
/// and form feed have no short form in the Go that built 3.4.23.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // Whole runs of plain text at a time: most texts are one.
    while let Some(at) = rest.bytes().position(may_need_escape) {
        out.push_str(&rest[..at]);
        let mut chars = rest[at..].chars();
        if let Some(c) = chars.next() {
            push_escaped(out, c);
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Whether a character that begins with this byte may be escaped.
fn may_need_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0..=0x1f | 0xe2 | 0xef)
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Go escapes U+FFFD only where it stands for broken bytes. A `String` holds it already
        // replaced, and broken bytes are by far the likelier origin.
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{fffd}' | '\0'..='\u{1f}' => {
            push_escape(out, u32::from(c));
        }
        _ => out.push(c),
    }
}

fn push_escape(out: &mut String, code: u32) {
    write!(out, "\\u{code:04x}").expect("writing to a String cannot fail");
}

/// Writes one JSON object field by field, in the order of the calls.
///
/// `finish` closes the object; without it the text stays open.
#[must_use = "an object is only complete after finish()"]
pub struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Appends a name and hands out the buffer for its value.
    pub fn key(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        push_string(self.out, name);
        self.out.push(':');
        self.out
    }

    /// Appends a string field.
    pub fn string(&mut self, name: &str, value: &str) {
        push_string(self.key(name), value);
    }

    /// Appends an unsigned number.
    pub fn number(&mut self, name: &str, value: u64) {
        push_display(self.key(name), value);
    }

    /// Appends a signed number.
    pub fn signed(&mut self, name: &str, value: i64) {
        push_display(self.key(name), value);
    }

    /// Appends a truth value.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.key(name).push_str(if value { "true" } else { "false" });
    }

    /// Appends a list of strings; an empty one as `null`, which is what Go makes of a nil slice.
    pub fn strings(&mut self, name: &str, values: &[String]) {
        let out = self.key(name);
        if values.is_empty() {
            out.push_str("null");
        } else {
            push_list(out, values, |out, value| push_string(out, value));
        }
    }

    /// Appends a list of numbers.
    pub fn numbers(&mut self, name: &str, values: &[u64]) {
        push_list(self.key(name), values, push_display);
    }

    /// Closes the object.
    pub fn finish(self) {
        self.out.push('}');
    }
}

/// Appends `items` as a JSON array, each written by `write`.
pub fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

fn push_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let cases = [
            ("plain /a", r#""plain /a""#),
            ("<&>", r#""\u003c\u0026\u003e""#),
            ("\"\\", r#""\"\\""#),
            ("\n\r\t", r#""\n\r\t""#),
            ("\0\u{8}\u{c}\u{1f}", r#""\u0000\u0008\u000c\u001f""#),
            ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
            // Those that begin like an escaped one, inside of runs and at both ends.
            ("\u{2019}a<b\u{2027}c\u{ff01}", "\"\u{2019}a\\u003cb\u{2027}c\u{ff01}\""),
            ("", "\"\""),
            ("\u{7f}\u{fffd}ü😀", "\"\u{7f}\\ufffdü😀\""),
        ];
        for (text, expected) in cases {
            let mut out = String::new();
            push_string(&mut out, text);
            assert_eq!(out, expected, "{text:?}");
        }
    }

    #[test]
    fn object_keeps_order_and_knows_nil() {
        let mut out = String::new();
        let mut object = Object::open(&mut out);
        object.number("id", u64::MAX);
        object.signed("n", -1);
        object.boolean("b", true);
        object.strings("none", &[]);
        object.strings("some", &["a".into(), "b".into()]);
        object.numbers("nums", &[1, 2]);
        object.finish();
        assert_eq!(
            out,
            r#"{"id":18446744073709551615,"n":-1,"b":true,"none":null,"some":["a","b"],"nums":[1,2]}"#
        );
    }
}
