//! What the gRPC library of etcd says by itself, and the few texts of its services that are not in
//! the error table: all of it in grpc-go's words (1.82, as etcd 3.7.1 is built with).

use std::fmt::Display;

/// `RangeStream` with an order that is not the natural one; `UNIMPLEMENTED`.
pub const RANGE_STREAM_SORT: &str = "RangeStream does not support custom sort orders";
/// `RangeStream` with bounds on revisions; `UNIMPLEMENTED`.
pub const RANGE_STREAM_FILTERS: &str = "RangeStream does not support revision filters";
/// `grpc.health.v1.Health` asked about a name that it does not know; `NOT_FOUND`.
pub const UNKNOWN_SERVICE_HEALTH: &str = "unknown service";
/// The time that the client gave has passed; `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: &str = "context deadline exceeded";
/// The client closed its side without a message; `UNKNOWN` up to 1.76, `INTERNAL` since.
pub const NO_MESSAGE: &str = "EOF";
/// The client closed its side in the middle of a message; `UNKNOWN`.
pub const CUT_MESSAGE: &str = "unexpected EOF";
/// A message is marked as compressed and no header says how; `INTERNAL`.
pub const COMPRESSED_WITHOUT_ENCODING: &str =
    "grpc: compressed flag set with identity or empty encoding";

/// A path without service and method; `UNIMPLEMENTED`.
#[must_use]
pub fn malformed_method(path: &str) -> String {
    format!("malformed method name: {path:?}")
}

/// A service that is not served; `UNIMPLEMENTED`.
#[must_use]
pub fn unknown_service(service: &str) -> String {
    format!("unknown service {service}")
}

/// A method that its service does not have; `UNIMPLEMENTED`.
#[must_use]
pub fn unknown_method(service: &str, method: &str) -> String {
    format!("unknown method {method} for service {service}")
}

/// A content type that only begins like that of gRPC; `INVALID_ARGUMENT` with HTTP status 415.
#[must_use]
pub fn bad_content_type(content_type: &str) -> String {
    format!("invalid gRPC request content-type {content_type:?}")
}

/// Another method than POST; `INTERNAL` with HTTP status 405.
#[must_use]
pub fn not_post(method: &str) -> String {
    format!("Received a HEADERS frame with :method {method:?} which should be POST")
}

/// A `grpc-timeout` that cannot be read; `INTERNAL` with HTTP status 400.
#[must_use]
pub fn bad_timeout(reason: impl Display) -> String {
    format!("malformed grpc-timeout: {reason}")
}

/// A message above the receive limit; `RESOURCE_EXHAUSTED`.
#[must_use]
pub fn too_large(length: usize, limit: usize) -> String {
    format!("grpc: received message larger than max ({length} vs. {limit})")
}

/// A message above the receive limit once it is decompressed; `RESOURCE_EXHAUSTED`.
#[must_use]
pub fn too_large_decompressed(limit: usize) -> String {
    format!("grpc: received message after decompression larger than max {limit}")
}

/// A compressed message of an encoding that the server does not know; `UNIMPLEMENTED`.
#[must_use]
pub fn no_decompressor(encoding: &str) -> String {
    format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}")
}

/// A compressed message that cannot be decompressed; `INTERNAL`.
#[must_use]
pub fn bad_compression(reason: impl Display) -> String {
    format!("grpc: failed to decompress the message: {reason}")
}

/// The first byte of a message is neither 0 nor 1; `INTERNAL`.
#[must_use]
pub fn bad_payload_format(flag: u8) -> String {
    format!("grpc: received unexpected payload format {flag}")
}

/// A message that is not the protobuf message it should be; `INTERNAL`.
#[must_use]
pub fn bad_message(reason: impl Display) -> String {
    format!("{BAD_MESSAGE}{reason}")
}

/// [`bad_message`] in the words for a message of a stream.
#[must_use]
pub fn bad_stream_message(reason: impl Display) -> String {
    format!("grpc: failed to unmarshal the received message: {reason}")
}

/// What [`bad_message`] begins with.
pub const BAD_MESSAGE: &str = "grpc: error unmarshalling request: ";
