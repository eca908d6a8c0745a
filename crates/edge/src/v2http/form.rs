//! The parameters of a keys request, from its query and its form body.

use std::collections::BTreeMap;
use std::time::Duration;

use ::http::request::Parts;
use ::http::{Method, header};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use types::limits::{V2_BODY_IDLE_SECONDS, V2_FORM_MAX_BYTES};

use crate::http::{form, media_type};

/// Every parameter that has a meaning; others are dropped while they are read, so that a body of
/// millions of them costs nothing.
const NAMES: [&str; 14] = [
    "value",
    "dir",
    "ttl",
    "refresh",
    "prevExist",
    "prevValue",
    "prevIndex",
    "recursive",
    "sorted",
    "quorum",
    "wait",
    "waitIndex",
    "stream",
    "noValueOnSuccess",
];

/// The first value of each known parameter; those of the body come before those of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(BTreeMap<&'static str, String>);

impl Form {
    /// The first value, if the parameter is there at all.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads a request as Go's `ParseForm` does.
    ///
    /// # Errors
    /// Go's text for a form that cannot be parsed; the body's fault comes before the query's.
    pub(super) async fn read<B>(parts: &Parts, body: B) -> Result<Self, String>
    where
        B: Body<Data = Bytes> + Unpin + Send,
    {
        let has_form = parts.method == Method::PUT || parts.method == Method::POST;
        let body = if has_form { read_body(parts, body).await? } else { Bytes::new() };
        Self::parse(&body, parts.uri.query().unwrap_or_default())
    }

    /// Reads form body and query.
    ///
    /// # Errors
    /// As [`Form::read`].
    pub(super) fn parse(body: &[u8], query: &str) -> Result<Self, String> {
        let mut form = Self::default();
        form::each(body, |name, value| form.take(&name, value))?;
        form::each(query.as_bytes(), |name, value| form.take(&name, value))?;
        Ok(form)
    }

    fn take(&mut self, name: &str, value: String) {
        if let Some(known) = NAMES.into_iter().find(|known| *known == name) {
            self.0.entry(known).or_insert(value);
        }
    }
}

async fn read_body<B>(parts: &Parts, body: B) -> Result<Bytes, String>
where
    B: Body<Data = Bytes> + Unpin + Send,
{
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    if !media_type::is_form(content_type.map_or(b"", |value| value.as_bytes()))? {
        return Ok(Bytes::new());
    }
    // The boxed error would need `B::Error: Into<Box<dyn Error>>`; only its kind is of interest.
    let body = body.map_err(|_| std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
    collect(Limited::new(body, V2_FORM_MAX_BYTES), Duration::from_secs(V2_BODY_IDLE_SECONDS)).await
}

/// Takes in a body of which something comes at least once in `idle`.
async fn collect<B>(mut body: Limited<B>, idle: Duration) -> Result<Bytes, String>
where
    B: Body<Data = Bytes, Error = std::io::Error> + Unpin,
{
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame());
        match frame.await.map_err(|_| "i/o timeout")? {
            None => return Ok(bytes.freeze()),
            Some(Ok(frame)) => bytes.extend(frame.into_data()),
            Some(Err(error)) if error.is::<LengthLimitError>() => {
                return Err("http: POST too large".to_owned());
            }
            Some(Err(_)) => return Err("unexpected EOF".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;

    /// A body that begins and then is silent.
    struct Halting(Option<Bytes>);

    impl Body for Halting {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0.take().map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
        }
    }

    #[tokio::test]
    async fn a_body_that_halts_is_given_up() {
        let body = Halting(Some(Bytes::from_static(b"value=")));
        let collected = collect(Limited::new(body, 100), Duration::from_millis(20)).await;
        assert_eq!(collected, Err("i/o timeout".to_owned()));
    }
}
