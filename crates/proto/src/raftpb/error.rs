//! Why bytes are not a message.

/// Bytes that are not the encoding of what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("field ends {missing} bytes behind the end of the data")]
    Truncated {
        /// How many bytes are missing at least.
        missing: u64,
    },
    /// A varint has more than 64 bits.
    #[error("varint is longer than 64 bits")]
    VarintOverflow,
    /// A field number of 0 or beyond 2^29-1.
    #[error("field number {number} is not allowed")]
    BadFieldNumber {
        /// What stood in the tag.
        number: u64,
    },
    /// A known field in a shape that it never has, or a shape that does not exist.
    #[error("field {field} has wire type {wire_type}")]
    BadWireType {
        /// Number of the field.
        field: u32,
        /// Wire type, 0 to 7.
        wire_type: u8,
    },
    /// An enum value without meaning here.
    #[error("{name} has no value {value}")]
    UnknownEnumValue {
        /// Name of the enum.
        name: &'static str,
        /// The number found.
        value: u64,
    },
    /// A message kind that never travels between members.
    #[error("message type {value} is not allowed on the wire")]
    MessageTypeNotAllowed {
        /// The number found.
        value: u64,
    },
    /// Unknown groups nested deeper than anything sensible.
    #[error("groups are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: u32,
    },
    /// The data of a log entry is neither a v3 nor a v2 request.
    #[error("entry data is neither a v3 request ({v3}) nor a v2 request ({v2})")]
    NotARequest {
        /// What the v3 decoder said.
        v3: String,
        /// What the v2 decoder said.
        v2: String,
    },
}
