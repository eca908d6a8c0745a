//! What an operation did, as replies and watchers see it.

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's")]
pub enum Action {
    Get,
    Create,
    Set,
    Update,
    Delete,
    CompareAndSwap,
    CompareAndDelete,
    Expire,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 8] = [
        Self::Get,
        Self::Create,
        Self::Set,
        Self::Update,
        Self::Delete,
        Self::CompareAndSwap,
        Self::CompareAndDelete,
        Self::Expire,
    ];

    /// The word in the field `action`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Set => "set",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::CompareAndSwap => "compareAndSwap",
            Self::CompareAndDelete => "compareAndDelete",
            Self::Expire => "expire",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// One event: the answer to a request, or what a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub action: Action,
    /// The node afterwards; for a removal only its key and indexes.
    pub node: NodeView,
    /// The node before, without children.
    pub prev_node: Option<NodeView>,
    /// Store index of the answer (`X-Etcd-Index`). For a change it equals the modified index of
    /// `node`.
    pub index: u64,
    /// Whether a reply says 201: `create`, or a `set` of a node that did not exist.
    pub is_created: bool,
    /// A renewal of a TTL that watchers are not told about.
    pub refresh: bool,
}

/// A node as an event shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Path with its name space.
    pub key: String,
    /// Content of a file; `None` for directories and removed nodes.
    pub value: Option<String>,
    /// Whether it is a directory.
    pub dir: bool,
    /// Unix nanoseconds.
    pub expiration: Option<i64>,
    /// Seconds that were left when the event happened; `None` when they are to be computed from
    /// the time of answering.
    pub ttl: Option<i64>,
    /// Visible children, when the directory was listed.
    pub nodes: Option<Vec<Self>>,
    /// Index of the last change.
    pub modified_index: u64,
    /// Index of the creation.
    pub created_index: u64,
}
