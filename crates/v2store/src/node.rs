//! The tree: nodes shared between copies of the store until one of them changes.
//!
//! Owns:       [`Node`] and the walks over it.
//! Uses:       `path`.
//! Never:      indexes of the store, events, deadlines.
//! Invariants: names are not empty and hold no `/`; the depth is at most `path::DEPTH_MAX`, which
//!             is what makes recursion over the tree safe.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::V2Code;

use crate::path;

/// Children by name, in byte order.
pub(crate) type Children = BTreeMap<Arc<str>, Arc<Node>>;

/// A file or a directory. Its path is not stored: it is the way that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) created_index: u64,
    pub(crate) modified_index: u64,
    /// Unix nanoseconds.
    pub(crate) expiration: Option<i64>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    File(Arc<str>),
    Directory(Children),
}

/// Why a walk ended early, and the path at which it did.
pub(crate) type Blocked = (V2Code, String);

impl Node {
    pub(crate) fn directory(index: u64) -> Self {
        Self {
            created_index: index,
            modified_index: index,
            expiration: None,
            content: Content::Directory(Children::new()),
        }
    }

    pub(crate) fn empty_file() -> Self {
        Self { content: Content::File("".into()), ..Self::directory(0) }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    /// The value of a file, the empty text for a directory.
    pub(crate) fn value(&self) -> &str {
        match &self.content {
            Content::File(value) => value,
            Content::Directory(_) => "",
        }
    }

    pub(crate) fn children(&self) -> Option<&Children> {
        match &self.content {
            Content::Directory(children) => Some(children),
            Content::File(_) => None,
        }
    }

    fn children_mut(&mut self) -> Option<&mut Children> {
        match &mut self.content {
            Content::Directory(children) => Some(children),
            Content::File(_) => None,
        }
    }

    /// The node at a clean path below this one.
    pub(crate) fn find(&self, target: &str) -> Result<&Self, Blocked> {
        let mut node = self;
        let mut here = String::from("/");
        for name in path::elements(target) {
            let Some(children) = node.children() else {
                return Err((V2Code::NotDirectory, here));
            };
            here = path::join(&here, name);
            match children.get(name) {
                Some(child) => node = child,
                None => return Err((V2Code::KeyNotFound, here)),
            }
        }
        Ok(node)
    }

    /// Whether a node could be put below `directory`, which need not exist yet.
    pub(crate) fn check_directory(&self, directory: &str) -> Result<(), Blocked> {
        let mut node = self;
        let mut here = String::from("/");
        for name in path::elements(directory) {
            let Some(child) = node.children().and_then(|children| children.get(name)) else {
                return Ok(());
            };
            here = path::join(&here, name);
            if !child.is_directory() {
                return Err((V2Code::NotDirectory, here));
            }
            node = child;
        }
        Ok(())
    }

    /// The node at a path, for changing it; nodes on the way that are shared get copied.
    pub(crate) fn find_mut<'a>(root: &'a mut Arc<Self>, target: &str) -> Option<&'a mut Self> {
        let mut node = Arc::make_mut(root);
        for name in path::elements(target) {
            node = Arc::make_mut(node.children_mut()?.get_mut(name)?);
        }
        Some(node)
    }

    /// Puts `child` at `target` and makes the directories that lead there; returns the paths of
    /// the new ones. `None` when a file is in the way.
    pub(crate) fn insert(
        root: &mut Arc<Self>,
        target: &str,
        child: Self,
        index: u64,
    ) -> Option<Vec<String>> {
        let (parent, name) = path::split(target)?;
        let mut made = Vec::new();
        let mut node = Arc::make_mut(root);
        let mut here = String::from("/");
        for element in path::elements(parent) {
            here = path::join(&here, element);
            let next = node.children_mut()?.entry(element.into()).or_insert_with(|| {
                made.push(here.clone());
                Arc::new(Self::directory(index))
            });
            node = Arc::make_mut(next);
        }
        node.children_mut()?.insert(name.into(), Arc::new(child));
        Some(made)
    }

    /// Takes a node out of the tree with all below it.
    pub(crate) fn detach(root: &mut Arc<Self>, target: &str) -> Option<Arc<Self>> {
        let (parent, name) = path::split(target)?;
        Self::find_mut(root, parent)?.children_mut()?.remove(name)
    }

    /// Visits the node at `here` and all below it, parents first, in byte order of names.
    pub(crate) fn visit(&self, here: &str, visit: &mut impl FnMut(&str, &Self)) {
        visit(here, self);
        for (name, child) in self.children().into_iter().flatten() {
            child.visit(&path::join(here, name), visit);
        }
    }
}
