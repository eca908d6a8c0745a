//! `RangeStream`: a range in pieces of a size that suits messages.
//!
//! Owns:       how many pairs the next piece gets.
//! Uses:       `node::RangeStream`.
//! Never:      more than one piece in memory for a client that reads slowly; a piece that is larger
//!             than wanted by more than one pair.
//! Invariants: all pieces belong to the revision of the first one; only the last has a header.
//! Source:     api-v3.md 2.2.

use std::pin::Pin;
use std::task::{Context, Poll};

use node::{Handle, RangePiece, RangeStream};
use prost::Message as _;
use proto::StoredKeyValue;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;
use types::EtcdError;
use types::grpc_text;

use super::reply;
use super::status::status;

/// Pairs of the first piece.
const FIRST_PIECE_PAIRS: usize = 10;

/// Refuses what cannot be answered in pieces. As in etcd an order of its own means one that is named:
/// with `NONE` the target does not matter, and the order is the natural one.
pub(super) fn check(request: &RangeRequest) -> Result<(), Status> {
    let by_key = request.sort_target == SortTarget::Key as i32;
    let natural = request.sort_order == SortOrder::None as i32
        || (by_key && request.sort_order == SortOrder::Ascend as i32);
    if !natural {
        return Err(Status::unimplemented(grpc_text::RANGE_STREAM_SORT));
    }
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if bounds.iter().any(|bound| *bound != 0) {
        return Err(Status::unimplemented(grpc_text::RANGE_STREAM_FILTERS));
    }
    Ok(())
}

/// Pairs to ask for next when `asked` brought a piece of `got`: more while pieces are small, as many
/// as fit once they are cut by their size.
fn next_pairs(asked: usize, got: usize, bytes: usize, wanted_bytes: usize) -> usize {
    if bytes < wanted_bytes / 2 { asked.saturating_mul(2) } else { got.max(1) }
}

type Read = Result<Option<RangePiece>, EtcdError>;
type Reading = Pin<Box<dyn Future<Output = (Box<RangeStream>, Read)> + Send>>;

/// The messages of a streamed range.
pub(crate) struct RangePieces {
    handle: Handle,
    pairs: usize,
    wanted_bytes: usize,
    state: State,
}

enum State {
    Idle(Box<RangeStream>),
    Reading(Reading),
    Ended,
}

impl RangePieces {
    pub(super) fn new(handle: Handle, stream: RangeStream, wanted_bytes: usize) -> Self {
        Self {
            handle,
            pairs: FIRST_PIECE_PAIRS,
            wanted_bytes,
            state: State::Idle(Box::new(stream)),
        }
    }

    fn message(&mut self, piece: RangePiece) -> RangeStreamResponse {
        let mut response = RangeResponse {
            kvs: piece.kvs.into_iter().map(StoredKeyValue).collect(),
            ..RangeResponse::default()
        };
        let (got, bytes) = (response.kvs.len(), response.encoded_len());
        self.pairs = next_pairs(self.pairs, got, bytes, self.wanted_bytes);
        if let Some(summary) = piece.summary {
            response.header =
                Some(reply::header(&self.handle, summary.revision, self.handle.term()));
            (response.more, response.count) = (summary.more, summary.count);
        }
        RangeStreamResponse { range_response: Some(response) }
    }
}

impl Stream for RangePieces {
    type Item = Result<RangeStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut reading = match std::mem::replace(&mut this.state, State::Ended) {
            State::Reading(reading) => reading,
            State::Idle(mut stream) => {
                let (pairs, bytes) = (this.pairs, this.wanted_bytes);
                Box::pin(async move {
                    let read = stream.next(pairs, bytes).await;
                    (stream, read)
                })
            }
            State::Ended => return Poll::Ready(None),
        };
        match reading.as_mut().poll(context) {
            Poll::Pending => {
                this.state = State::Reading(reading);
                Poll::Pending
            }
            Poll::Ready((stream, Ok(Some(piece)))) => {
                if piece.summary.is_none() {
                    this.state = State::Idle(stream);
                }
                Poll::Ready(Some(Ok(this.message(piece))))
            }
            Poll::Ready((_, Ok(None))) => Poll::Ready(None),
            Poll::Ready((_, Err(error))) => Poll::Ready(Some(Err(status(error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_filters_are_refused() {
        let plain = RangeRequest::default();
        assert!(check(&plain).is_ok());
        let ascending = RangeRequest { sort_order: SortOrder::Ascend.into(), ..plain.clone() };
        assert!(check(&ascending).is_ok());
        assert!(
            check(&RangeRequest { sort_target: SortTarget::Mod.into(), ..plain.clone() }).is_ok()
        );
        for request in [
            RangeRequest { sort_order: SortOrder::Descend.into(), ..plain.clone() },
            RangeRequest { sort_target: SortTarget::Mod.into(), ..ascending },
        ] {
            let error = check(&request).unwrap_err();
            assert_eq!(error.message(), "RangeStream does not support custom sort orders");
            assert_eq!(error.code(), tonic::Code::Unimplemented);
        }
        for request in [
            RangeRequest { min_mod_revision: 1, ..plain.clone() },
            RangeRequest { max_create_revision: -1, ..plain.clone() },
        ] {
            let error = check(&request).unwrap_err();
            assert_eq!(error.message(), "RangeStream does not support revision filters");
        }
    }

    #[test]
    fn pieces_approach_the_wanted_size() {
        for (asked, got, bytes, next) in [
            (10, 10, 40, 20),
            (10, 10, 49, 20),
            (10, 10, 50, 10),
            (10, 7, 101, 7),
            (10, 1, 999, 1),
            (10, 0, 0, 20),
        ] {
            assert_eq!(next_pairs(asked, got, bytes, 100), next, "{bytes}");
        }
    }
}
