//! Every error of the v2 keys API: code, message and HTTP status (api-v2.md 2).

macro_rules! v2_table {
    ($($variant:ident = $code:literal, $status:literal, $text:literal;)*) => {
        /// Code of a v2 error; some rows exist for compatibility only and are never produced.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum V2Code {
            $(#[doc = $text] $variant = $code,)*
        }

        impl V2Code {
            /// All rows of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number in the field `errorCode`.
            #[must_use]
            pub fn number(self) -> u16 {
                self as u16
            }

            /// The text in the field `message`.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The HTTP status of a reply with this error.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }
        }
    };
}

v2_table! {
    KeyNotFound = 100, 404, "Key not found";
    CompareFailed = 101, 412, "Compare failed";
    NotFile = 102, 403, "Not a file";
    PeersFull = 103, 400, "Reached the max number of peers in the cluster";
    NotDirectory = 104, 400, "Not a directory";
    KeyExists = 105, 412, "Key already exists";
    KeywordPrefix = 106, 400, "The prefix of given key is a keyword in etcd";
    RootReadOnly = 107, 400, "Root is read only";
    DirectoryNotEmpty = 108, 403, "Directory not empty";
    PeerExists = 109, 400, "Peer address has existed";
    Unauthorized = 110, 401, "The request requires user authentication";
    ValueRequired = 200, 400, "Value is Required in POST form";
    PrevValueRequired = 201, 400, "PrevValue is Required in POST form";
    TtlNotNumber = 202, 400, "The given TTL in POST form is not a number";
    IndexNotNumber = 203, 400, "The given index in POST form is not a number";
    ValueOrTtlRequired = 204, 400, "Value or TTL is required in POST form";
    TimeoutNotNumber = 205, 400, "The given timeout in POST form is not a number";
    NameRequired = 206, 400, "Name is required in POST form";
    IndexOrValueRequired = 207, 400, "Index or value is required";
    IndexValueMutex = 208, 400, "Index and value cannot both be specified";
    InvalidField = 209, 400, "Invalid field";
    InvalidForm = 210, 400, "Invalid POST form";
    RefreshValue = 211, 400, "Value provided on refresh";
    RefreshTtlRequired = 212, 400, "A TTL must be provided on refresh";
    RaftInternal = 300, 500, "Raft Internal Error";
    LeaderElection = 301, 500, "During Leader Election";
    WatcherCleared = 400, 400, "watcher is cleared due to etcd recovery";
    EventIndexCleared = 401, 400, "The event in requested index is outdated and cleared";
    StandbyInternal = 402, 400, "Standby Internal Error";
    InvalidActiveSize = 403, 400, "Invalid active size";
    StandbyRemoveDelay = 404, 400, "Standby remove delay";
    ClientInternal = 500, 400, "Client Internal Error";
}

/// A v2 error as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message} ({cause}) [{index}]", code = code.number(), message = code.message())]
pub struct V2Error {
    /// Row of the table.
    pub code: V2Code,
    /// Detail; left out of the body when empty.
    pub cause: String,
    /// Store index of the answer, 0 where the store was not asked.
    pub index: u64,
}

impl V2Error {
    /// An error with its cause at a store index.
    #[must_use]
    pub fn new(code: V2Code, cause: impl Into<String>, index: u64) -> Self {
        Self { code, cause: cause.into(), index }
    }
}
