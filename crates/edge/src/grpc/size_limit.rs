//! The receive limit, checked on the announced length before anything is buffered.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::{BodyData, BodyError};

/// Length of the prefix of a gRPC message: compression flag and big-endian length.
const PREFIX_BYTES: usize = 5;

/// A request body that ends in grpc-go's own error when a message is too large.
pub(crate) struct SizeLimit<B> {
    body: B,
    limit: usize,
    prefix: Vec<u8>,
    /// Bytes of the current message still to come.
    rest: usize,
}

impl<B> SizeLimit<B> {
    pub(crate) fn new(body: B, limit: usize) -> Self {
        Self { body, limit, prefix: Vec::with_capacity(PREFIX_BYTES), rest: 0 }
    }

    fn check(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.rest > 0 {
                let step = self.rest.min(data.len());
                self.rest -= step;
                data.advance(step);
                continue;
            }
            let step = (PREFIX_BYTES - self.prefix.len()).min(data.len());
            self.prefix.extend_from_slice(&data[..step]);
            data.advance(step);
            if let Ok([_, a, b, c, d]) = <[u8; PREFIX_BYTES]>::try_from(self.prefix.as_slice()) {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if length > self.limit {
                    return Err(too_large(length, self.limit));
                }
                self.rest = length;
                self.prefix.clear();
            }
        }
        Ok(())
    }
}

impl<B> Body for SizeLimit<B>
where
    B: Body<Data = BodyData> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = BodyData;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<BodyData>, BodyError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref()
            && let Err(status) = self.check(data)
        {
            return Poll::Ready(Some(Err(Box::new(status))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_large(length: usize, limit: usize) -> Status {
    let text = format!("grpc: received message larger than max ({length} vs. {limit})");
    Status::resource_exhausted(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(limit: usize, pieces: &[&[u8]]) -> Result<(), String> {
        let mut check = SizeLimit::new((), limit);
        for piece in pieces {
            check.check(piece).map_err(|status| status.message().to_owned())?;
        }
        Ok(())
    }

    #[test]
    fn lengths_are_checked_however_the_bytes_arrive() {
        assert_eq!(feed(3, &[&[0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 1, 9]]), Ok(()));
        assert_eq!(feed(3, &[&[0, 0, 0], &[0, 3, 1], &[2, 3], &[0, 0, 0, 0, 0]]), Ok(()));
        let text = "grpc: received message larger than max (4 vs. 3)";
        assert_eq!(feed(3, &[&[0, 0, 0], &[0, 4]]), Err(text.to_owned()));
    }
}
