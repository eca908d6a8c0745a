//! The body of a long-poll or of a stream of events.
//!
//! Owns:       [`WatchBody`], which holds a watcher as long as its client is there.
//! Uses:       `node::V2Events`.
//! Never:      a time-out: a watch lasts until its event, its client or the server goes.
//! Invariants: one line per event; a body that may lack events ends in an error, which the server
//!             turns into a cut of the chunked body, as a stopping etcd does.
//! Source:     api-v2.md 3.1.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use node::{V2Events, V2Next};

use crate::socket::Line;

/// Events as they come, one line of JSON each.
pub struct WatchBody {
    state: State,
    /// `None` where the end of the client is told otherwise: in HTTP/2, and in tests.
    client: Option<Line>,
}

enum State {
    Waiting(Pin<Box<dyn Future<Output = (V2Next, V2Events)> + Send>>),
    Over,
}

/// The body ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watch was cut")]
pub struct WatchCut;

impl WatchBody {
    pub(super) fn new(events: V2Events, client: Option<Line>) -> Self {
        Self { state: wait(events), client }
    }

    /// Nothing happened yet: whether there is still somebody to tell.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.client {
            Some(client) => client.poll_left(context),
            None => Poll::Pending,
        }
    }
}

fn wait(mut events: V2Events) -> State {
    State::Waiting(Box::pin(async move { (events.next().await, events) }))
}

impl Body for WatchBody {
    type Data = Bytes;
    type Error = WatchCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WatchCut>>> {
        let State::Waiting(next) = &mut self.state else { return Poll::Ready(None) };
        let Poll::Ready((next, events)) = next.as_mut().poll(context) else {
            ready!(self.poll_client(context));
            self.state = State::Over;
            return Poll::Ready(None);
        };
        Poll::Ready(match next {
            V2Next::Event(notice) => {
                self.state = if events.is_over() { State::Over } else { wait(events) };
                Some(Ok(Frame::data(notice.body())))
            }
            V2Next::End => {
                self.state = State::Over;
                None
            }
            V2Next::Cut => {
                self.state = State::Over;
                Some(Err(WatchCut))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }
}
