//! The v2 API behind its HTTP: a request through the log, and a read of the tree.

use apply::Reply;
use proto::v2_request::V2Request;
use types::RequestId;
use v2store::json;

use crate::case::Run;
use crate::input::{Turns, scattered};
use crate::member::Member;

/// Nodes that are set.
const NODES: u64 = 10_000;
/// Directories that they are in.
const FOLDERS: u64 = 100;
/// Requests made beforehand.
const REQUESTS: u64 = 1_024;
/// The time that bodies are made for.
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn path(turn: u64) -> String {
    let number = scattered(turn, NODES);
    format!("/1/services/{:03}/instance-{number:06}", number % FOLDERS)
}

fn member() -> Member {
    let mut member = Member::new();
    let requests: Vec<V2Request> = (0..NODES).map(request).collect();
    for some in requests.chunks(500) {
        let payloads = some.iter().map(|request| (RequestId(request.id), request.encode()));
        let _ = member.propose_bytes(payloads.collect());
    }
    member
}

fn request(turn: u64) -> V2Request {
    V2Request {
        id: turn + 1,
        method: "PUT".to_owned(),
        path: path(turn),
        val: "v".repeat(256),
        ..V2Request::default()
    }
}

/// `PUT /v2/keys/...`, from the parsed form to the body of the answer.
pub(super) fn set() -> Run {
    let mut member = member();
    let mut requests = Turns::of((0..REQUESTS).map(request));
    Box::new(move || {
        let request = requests.next();
        let payload = (RequestId(request.id), request.encode());
        let applied = member.propose_bytes(vec![payload]);
        let Some(Reply::V2(Ok(event))) = &applied[0].reply else {
            panic!("not the reply to a set: {applied:?}");
        };
        assert!(json::event_body(event, NOW_NS).len() > 256);
    })
}

/// `GET /v2/keys/...`, from the path to the body of the answer.
pub(super) fn get() -> Run {
    let member = member();
    let mut paths = Turns::of((0..REQUESTS).map(path));
    Box::new(move || {
        let event = member.machine.v2().get(paths.next(), false, false).expect("the node is there");
        assert!(json::event_body(&event, NOW_NS).len() > 256);
    })
}
