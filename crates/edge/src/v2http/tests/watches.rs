//! Long-polls and streams, up to the bytes of their bodies.

use http_body_util::BodyExt;

use super::*;

async fn watch(member: &FakeMember, target: &str) -> Response<WatchBody> {
    let (parts, body) = request("GET", target, "").into_parts();
    match answer(member, &context(true), &parts, Full::new(Bytes::from(body))).await {
        Answer::Watch(reply) => reply,
        Answer::Whole(reply) => panic!("{} instead of a watch", body_of(&reply)),
    }
}

fn body_of(reply: &Reply) -> &str {
    std::str::from_utf8(reply.body()).unwrap()
}

async fn put(member: &FakeMember, target: &str) {
    let reply = send(member, request("PUT", target, "value=v")).await;
    assert!(reply.status().is_success(), "{}", body_of(&reply));
}

/// The next line of a body; `None` at its end.
async fn line(body: &mut WatchBody) -> Option<Result<String, WatchCut>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()))
}

#[tokio::test]
async fn the_head_comes_first_and_the_event_ends_a_long_poll() {
    let member = FakeMember::default();
    let reply = watch(&member, "/v2/keys/k?wait=true&recursive=true").await;
    assert_eq!(reply.status(), 200);
    let headers =
        ["content-type", "x-etcd-cluster-id", "x-etcd-index", "x-raft-index", "x-raft-term"];
    let values = headers.map(|name| reply.headers()[name].to_str().unwrap().to_owned());
    assert_eq!(values, ["application/json", "f58c1e5baf7f2e57", "3", "4711", "2"]);
    assert_eq!(reply.headers()["access-control-allow-origin"], "*");
    assert!(!reply.headers().contains_key("content-length"));
    let mut body = reply.into_body();
    assert!(!body.is_end_stream());
    put(&member, "/v2/keys/other").await;
    put(&member, "/v2/keys/k/a").await;
    put(&member, "/v2/keys/k/b").await;
    let expected = "{\"action\":\"set\",\"node\":{\"key\":\"/k/a\",\"value\":\"v\",\
                    \"modifiedIndex\":5,\"createdIndex\":5}}\n";
    assert_eq!(line(&mut body).await, Some(Ok(expected.to_owned())));
    assert!(body.is_end_stream());
    assert_eq!(line(&mut body).await, None);
}

#[tokio::test]
async fn a_stream_has_a_line_for_each_event_until_the_server_stops() {
    let member = FakeMember::default();
    let mut body = watch(&member, "/v2/keys/k?wait=true&stream=true").await.into_body();
    for index in [4, 5] {
        put(&member, "/v2/keys/k").await;
        let line = line(&mut body).await.unwrap().unwrap();
        assert!(line.contains(&format!("\"modifiedIndex\":{index}")) && line.ends_with("}\n"));
    }
    let reply = send(&member, request("DELETE", "/v2/keys/k", "")).await;
    assert_eq!(reply.status(), 200);
    let twice = [line(&mut body).await, line(&mut body).await];
    assert_eq!(twice[0], twice[1], "a stream on a removed node is told twice");
    member.closing.send_replace(true);
    assert_eq!(line(&mut body).await, Some(Err(WatchCut)));
    assert_eq!(line(&mut body).await, None);
}

#[tokio::test]
async fn the_past_is_answered_at_once_if_it_is_known() {
    let member = FakeMember::default();
    for _ in 0..1010 {
        put(&member, "/v2/keys/k").await;
    }
    let reply = watch(&member, "/v2/keys/k?wait=true&waitIndex=14").await;
    assert_eq!(reply.headers()["x-etcd-index"], "1013");
    let mut body = reply.into_body();
    assert!(line(&mut body).await.unwrap().unwrap().contains("\"modifiedIndex\":14"));
    assert_eq!(line(&mut body).await, None);
    let reply = send(&member, request("GET", "/v2/keys/k?wait=true&waitIndex=13", "")).await;
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["x-etcd-index"].as_bytes()),
        (400, &b"1013"[..])
    );
    let expected = "{\"errorCode\":401,\"message\":\"The event in requested index is outdated and cleared\",\
         \"cause\":\"the requested history has been cleared [14/13]\",\"index\":1013}\n";
    assert_eq!(body_of(&reply), expected);
    assert!(!reply.headers().contains_key("x-raft-index"));
}

#[tokio::test]
async fn where_no_watch_can_be_the_reply_is_whole() {
    let member = FakeMember::default();
    let reply = send(&member, request("GET", "/v2/keys?wait=true&quorum=true", "")).await;
    assert_eq!(reply.status(), 200);
    let reply = send(&member, request("HEAD", "/v2/keys?wait=true", "")).await;
    assert_eq!(reply.status(), 400);
    let fault = Some(EtcdError::RequestTooManyRequests);
    let member = FakeMember { cluster_fault: fault, ..FakeMember::default() };
    let reply = send(&member, request("GET", "/v2/keys/k?wait=true", "")).await;
    assert_eq!(reply.status(), 500);
    assert!(body_of(&reply).contains("\"cause\":\"etcdserver: too many requests\""));
}
