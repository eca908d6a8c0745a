//! From the error table to gRPC statuses.

use tonic::{Code, Status};
use types::{EtcdError, grpc_text};

/// The status of an error of the table.
pub(crate) fn status(error: EtcdError) -> Status {
    Status::new(Code::from_i32(i32::from(error.code() as u8)), error.text())
}

/// Why a message of a stream was not received. The codec does not know what kind of call it works for
/// and words it for a unary one.
pub(crate) fn stream_status(error: Status) -> Status {
    match error.message().strip_prefix(grpc_text::BAD_MESSAGE) {
        Some(reason) => Status::internal(grpc_text::bad_stream_message(reason)),
        None => error,
    }
}
