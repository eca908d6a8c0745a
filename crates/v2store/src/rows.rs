//! Flat rows: one for each node, so that the engine mirrors the tree (docs/format/v2-rows.md).
//!
//! Owns:       the encoding of rows.
//! Uses:       `node`, `path`.
//! Never:      the engine; rows arrive and leave as values.
//! Invariants: `Store::from_rows` of all rows is an equal store.
//! Source:     docs/format/v2-rows.md.

use std::sync::Arc;

use bytes::Bytes;

use crate::node::{Content, Node};
use crate::store::INDEX_MAX;
use crate::{Store, path};

const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const HAS_EXPIRATION: u8 = 0x10;

/// A changed row: key is the path, `None` deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Path of the node with its name space.
    pub path: String,
    /// The encoded node.
    pub row: Option<Bytes>,
}

/// Rows that do not make a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt v2 row {path:?}: expected {expected}")]
pub struct RowError {
    /// Key of the row, printable.
    pub path: String,
    /// What should have been there.
    pub expected: &'static str,
}

impl Store {
    /// Rebuilds a store from all its rows, in ascending order of their keys, and its index. The
    /// history starts empty: watchers that ask for the past are told that it is gone.
    ///
    /// # Errors
    /// A row is malformed, has no parent, or is newer than `index`.
    pub fn from_rows(
        rows: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>,
        index: u64,
    ) -> Result<Self, RowError> {
        if index > INDEX_MAX {
            return Err(RowError { path: String::new(), expected: "an index that can be reached" });
        }
        let mut root = Arc::clone(&Self::new().root);
        let mut last_key = Vec::new();
        for (key, row) in rows {
            let (key, row) = (key.as_ref(), row.as_ref());
            let ascending = last_key.as_slice() < key;
            let inserted = if ascending {
                insert_row(&mut root, key, row, index)
            } else {
                Err("keys in ascending order")
            };
            inserted.map_err(|expected| RowError {
                path: String::from_utf8_lossy(key).into_owned(),
                expected,
            })?;
            last_key = key.to_vec();
        }
        Ok(Self::from_root(Arc::unwrap_or_clone(root), index))
    }
}

fn insert_row(
    root: &mut Arc<Node>,
    key: &[u8],
    row: &[u8],
    store_index: u64,
) -> Result<(), &'static str> {
    let path = std::str::from_utf8(key).map_err(|_| "a path in UTF-8")?;
    if path::clean(path) != path {
        return Err("a clean path");
    }
    path::check_limits(path, 0).map_err(|_| "a path within the limits")?;
    let node = decode(row).ok_or("a node")?;
    if node.created_index > node.modified_index || node.modified_index > store_index {
        return Err("indexes not beyond that of the store");
    }
    if path::is_read_only(path) && !node.is_directory() {
        return Err("a directory");
    }
    let (parent, _) = path::split(path).ok_or("a path below the root")?;
    if !root.find(parent).is_ok_and(Node::is_directory) {
        return Err("its parent directory before it");
    }
    Node::insert(root, path, node, 0).map(|_| ()).ok_or("a directory as its parent")
}

/// The row of a node.
pub(crate) fn encode(node: &Node) -> Bytes {
    let value = node.value().as_bytes();
    let mut row = Vec::with_capacity(25 + value.len());
    let kind = if node.is_directory() { DIRECTORY } else { FILE };
    row.push(kind | if node.expiration.is_some() { HAS_EXPIRATION } else { 0 });
    row.extend(node.created_index.to_be_bytes());
    row.extend(node.modified_index.to_be_bytes());
    if let Some(expiration) = node.expiration {
        row.extend(expiration.to_be_bytes());
    }
    row.extend(value);
    row.into()
}

fn decode(row: &[u8]) -> Option<Node> {
    let (&head, rest) = row.split_first()?;
    let (created_index, rest) = rest.split_first_chunk::<8>()?;
    let (modified_index, mut rest) = rest.split_first_chunk::<8>()?;
    let mut expiration = None;
    if head & HAS_EXPIRATION != 0 {
        let (bytes, tail) = rest.split_first_chunk::<8>()?;
        expiration = Some(i64::from_be_bytes(*bytes));
        rest = tail;
    }
    let content = match head & !HAS_EXPIRATION {
        FILE => Content::File(std::str::from_utf8(rest).ok()?.into()),
        DIRECTORY if rest.is_empty() => Content::Directory(Default::default()),
        _ => return None,
    };
    Some(Node {
        created_index: u64::from_be_bytes(*created_index),
        modified_index: u64::from_be_bytes(*modified_index),
        expiration,
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lifetime;

    /// Golden bytes: the format is on disk and must not drift.
    #[test]
    fn rows_are_encoded_as_documented() {
        let mut store = Store::new();
        let lasting = Lifetime { expiration: Some(0x0fed_cba9_8765_4321), refresh: false };
        let applied = store.set("/1/d/k", false, "v", lasting);
        let rows: Vec<_> = applied.changes.iter().map(|c| (&*c.path, c.row.as_deref())).collect();
        let index = [0, 0, 0, 0, 0, 0, 0, 1];
        let directory = [&[2][..], &index, &index].concat();
        let deadline = [0x0f, 0xed, 0xcb, 0xa9, 0x87, 0x65, 0x43, 0x21];
        let file = [&[0x11][..], &index, &index, &deadline, b"v"].concat();
        assert_eq!(rows, [("/1/d", Some(&*directory)), ("/1/d/k", Some(&*file))]);

        let applied = store.delete("/1/d", false, true);
        let gone: Vec<_> = applied.changes.iter().map(|c| (&*c.path, c.row.is_none())).collect();
        assert_eq!(gone, [("/1/d/k", true), ("/1/d", true)]);
    }

    #[test]
    fn rows_that_make_no_tree_are_refused() {
        let directory = encode(&Node::directory(1));
        let file = encode(&Node { content: Content::File("v".into()), ..Node::directory(1) });
        let mut unknown = file.to_vec();
        unknown[0] = 3;
        type Rows<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Rows<'_>, &str); 10] = [
            (&[("/1/a/b", &file)], "its parent directory before it"),
            (&[("/1/a", &file), ("/1/a/b", &file)], "its parent directory before it"),
            (&[("/1/b", &file), ("/1/a", &file)], "keys in ascending order"),
            (&[("/1/a", &file), ("/1/a", &file)], "keys in ascending order"),
            (&[("/", &directory)], "a path below the root"),
            (&[("/1/", &directory)], "a clean path"),
            (&[("/1", &file)], "a directory"),
            (&[("/1/a", &unknown)], "a node"),
            (&[("/1/a", &file[..10])], "a node"),
            (&[("/1/a", &[directory.as_ref(), b"x"].concat())], "a node"),
        ];
        for (rows, expected) in cases {
            let rows = rows.iter().map(|(key, row)| (key.as_bytes(), *row));
            assert_eq!(Store::from_rows(rows, 1).unwrap_err().expected, expected);
        }
        let newer = Store::from_rows([("/1/a", &file)], 0).unwrap_err();
        assert_eq!(newer.expected, "indexes not beyond that of the store");
    }
}
