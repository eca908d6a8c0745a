//! Paths of the tree: always absolute, without empty, `.` or `..` elements.

use types::{V2Code, V2Error};

/// Name space of the cluster's own data.
pub const CLUSTER: &str = "/0";
/// Name space of user keys; the HTTP layer strips it from answers.
pub const KEYS: &str = "/1";
/// Elements of a path. Go has no such limit, but its own JSON reader fails on trees beyond some
/// thousand levels; here the limit bounds every recursion over the tree. A longer path is refused
/// with code 210.
pub const DEPTH_MAX: usize = 256;
/// Bytes of a path. A path is a row key, and the engine's keys end at 32,768 bytes. A longer path is
/// refused with code 210.
pub const BYTES_MAX: usize = 32_000;

/// The shortest path that names the same node.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." => {
                elements.pop();
            }
            _ => elements.push(element),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for element in elements {
        out.push('/');
        out.push_str(element);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// The elements of a clean path, from the root down.
pub fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|element| !element.is_empty())
}

/// Parent and name of a clean path; `None` for the root.
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then_some((if parent.is_empty() { "/" } else { parent }, name))
}

/// The path of a child.
#[must_use]
pub fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// Whether listings leave a node of this name out.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('_')
}

/// Whether no request may replace or remove the node.
#[must_use]
pub fn is_read_only(path: &str) -> bool {
    matches!(path, "/" | CLUSTER | KEYS)
}

/// Refuses a path that is too long or too deep for the store.
///
/// # Errors
/// Code 210 with the limit as cause.
pub fn check_limits(path: &str, index: u64) -> Result<(), V2Error> {
    let cause = if path.len() > BYTES_MAX {
        format!("key is longer than {BYTES_MAX} bytes")
    } else if elements(path).count() > DEPTH_MAX {
        format!("key has more than {DEPTH_MAX} elements")
    } else {
        return Ok(());
    };
    Err(V2Error::new(V2Code::InvalidForm, cause, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_follows_go() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("a", "/a"),
            ("/a/", "/a"),
            ("//a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/a/..b", "/a/..b"),
            ("/a b/;", "/a b/;"),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path:?}");
        }
    }

    #[test]
    fn split_and_join_invert() {
        assert_eq!(split("/"), None);
        for (path, parent, name) in [("/a", "/", "a"), ("/a/b", "/a", "b")] {
            assert_eq!(split(path), Some((parent, name)));
            assert_eq!(join(parent, name), path);
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let deep = "/a".repeat(DEPTH_MAX);
        assert!(check_limits(&deep, 1).is_ok());
        assert_eq!(check_limits(&(deep + "/a"), 7).unwrap_err().index, 7);
        let long = format!("/{}", "x".repeat(BYTES_MAX - 1));
        assert!(check_limits(&long, 1).is_ok());
        assert_eq!(check_limits(&(long + "x"), 1).unwrap_err().code, V2Code::InvalidForm);
    }
}
