//! From the error table to gRPC statuses.

use tonic::{Code, Status};
use types::EtcdError;

/// The status of an error of the table.
pub(crate) fn status(error: EtcdError) -> Status {
    Status::new(Code::from_i32(i32::from(error.code() as u8)), error.text())
}
