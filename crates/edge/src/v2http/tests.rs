use std::sync::atomic::Ordering;

use ::http::{Method, Request, header};
use http_body_util::Full;
use membership::{ClusterVersion, Member as ClusterMember};
use types::{EtcdError, NodeId, limits};

use super::*;
use crate::http::member::fake::FakeMember;
use crate::http::tests::respond_as;

/// One request of a transcript with the reply to it.
#[derive(Default)]
struct Exchange {
    line: usize,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    reply: Vec<String>,
}

fn transcript() -> Vec<Exchange> {
    let text = include_str!("testdata/etcd-3.4.23.transcript");
    let mut exchanges: Vec<Exchange> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((mark, rest)) = line.split_once(' ') else { continue };
        let last = exchanges.last_mut();
        match (mark, last) {
            ("<", Some(last)) => last.reply.push(rest.to_owned()),
            (">", Some(last)) if last.reply.is_empty() => push_request_line(last, rest),
            (">", _) => {
                let (method, target) = rest.split_once(' ').unwrap();
                let (method, target) = (method.to_owned(), target.to_owned());
                exchanges.push(Exchange { line: at + 1, method, target, ..Exchange::default() });
            }
            _ => {}
        }
    }
    exchanges
}

fn push_request_line(exchange: &mut Exchange, line: &str) {
    if let Some(body) = line.strip_prefix("= ") {
        let body: String = serde_json::from_str(body).unwrap();
        exchange.body = body.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    } else {
        let (name, value) = line.split_once(':').unwrap();
        exchange.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// The lines that a transcript has for a reply.
fn lines(method: &Method, reply: &Reply) -> Vec<String> {
    let mut headers = Vec::new();
    let mut has_cors = false;
    for (name, value) in reply.headers() {
        let value = value.to_str().unwrap();
        match name.as_str() {
            "x-raft-index" | "x-raft-term" => {
                headers.push(format!("{}: N", title_case(name.as_str())))
            }
            name if name.starts_with("access-control") => has_cors = true,
            name => headers.push(format!("{}: {value}", title_case(name))),
        }
    }
    let is_head = *method == Method::HEAD;
    // The server adds the length of every body but one without CORS headers, which Go's server
    // wrote by itself.
    if !is_head && has_cors {
        headers.push(format!("Content-Length: {}", reply.body().len()));
    }
    headers.sort();
    let mut lines = vec![reply.status().as_u16().to_string()];
    lines.append(&mut headers);
    if !has_cors {
        lines.push("no-cors".to_owned());
    }
    if !reply.body().is_empty() {
        assert!(!is_head);
        lines.push(format!("= {}", std::str::from_utf8(reply.body()).unwrap()));
    }
    lines
}

fn whole(answer: Answer) -> Reply {
    match answer {
        Answer::Whole(reply) => reply,
        Answer::Watch(_) => panic!("a watch instead of a reply"),
    }
}

fn context(v2_enabled: bool) -> HttpContext {
    HttpContext::with_version("3.5.12".to_owned(), v2_enabled)
}

async fn send(member: &FakeMember, request: Request<Vec<u8>>) -> Reply {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/v2" || path.starts_with("/v2/") {
        whole(answer(member, &context(true), &parts, Full::new(Bytes::from(body))).await)
    } else {
        respond_as(member, &parts).await
    }
}

fn request(method: &str, target: &str, form: &str) -> Request<Vec<u8>> {
    Request::builder()
        .method(method)
        .uri(target)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.as_bytes().to_vec())
        .unwrap()
}

fn body(reply: &Reply) -> &str {
    std::str::from_utf8(reply.body()).unwrap()
}

#[tokio::test]
async fn replies_equal_those_of_etcd() {
    let member = FakeMember::default();
    let exchanges = transcript();
    assert!(exchanges.len() > 500);
    for exchange in exchanges {
        let Exchange { line, method, target, headers, body, reply } = exchange;
        let mut request = Request::builder().method(method.as_str()).uri(&target);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(body).unwrap();
        let got = lines(&request.method().clone(), &send(&member, request).await);
        let expected: Vec<String> = reply
            .into_iter()
            .map(|line| match line.strip_prefix("= ") {
                Some(body) => format!("= {}", serde_json::from_str::<String>(body).unwrap()),
                None => line,
            })
            .collect();
        assert_eq!(got, expected, "{method} {target}, line {line}");
    }
}

#[tokio::test]
async fn what_comes_later_is_refused_by_name() {
    let member = FakeMember::default();
    for (method, target) in
        [("POST", "/v2/members"), ("PUT", "/v2/members/1"), ("DELETE", "/v2/members/1")]
    {
        assert_eq!(send(&member, request(method, target, "")).await.status(), 501, "{target}");
    }
    assert_eq!(member.proposals.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn options_is_answered_for_every_path_that_is_one() {
    let member = FakeMember::default();
    for (target, status, has_cors) in
        [("/v2/keys//a", 200, true), ("/v2/keys/%zz", 400, false), ("*", 200, false)]
    {
        let (parts, _) = request("OPTIONS", target, "").into_parts();
        let reply = respond_as(&member, &parts).await;
        assert_eq!(reply.status(), status, "{target}");
        let header = "access-control-allow-origin";
        assert_eq!(reply.headers().contains_key(header), has_cors, "{target}");
    }
}

#[tokio::test]
async fn reads_never_reach_the_log() {
    let member = FakeMember::default();
    for target in ["/v2/keys", "/v2/keys?quorum=true", "/v2/keys?quorum=true&wait=true"] {
        assert_eq!(send(&member, request("GET", target, "")).await.status(), 200);
    }
    assert_eq!(send(&member, request("HEAD", "/v2/keys?quorum=true", "")).await.status(), 200);
    assert_eq!(member.linearized.load(Ordering::Relaxed), 2);
    assert_eq!(member.proposals.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn trouble_of_the_cluster_is_code_300() {
    let member = FakeMember { cluster_fault: Some(EtcdError::Timeout), ..FakeMember::default() };
    for (method, target) in [("PUT", "/v2/keys/a"), ("GET", "/v2/keys/a?quorum=true")] {
        let reply = send(&member, request(method, target, "")).await;
        assert_eq!(reply.status(), 500);
        let expected = "{\"errorCode\":300,\"message\":\"Raft Internal Error\",\
             \"cause\":\"etcdserver: request timed out\",\"index\":0}\n";
        assert_eq!(body(&reply), expected);
        assert_eq!(reply.headers()["x-etcd-index"], "0");
        assert!(!reply.headers().contains_key("x-raft-index"));
    }
    assert_eq!(send(&member, request("GET", "/v2/keys", "")).await.status(), 200);
}

#[tokio::test]
async fn writes_stop_where_members_would_stop_on_them() {
    for (version, allowed) in [((3, 4), true), ((3, 5), true), ((3, 6), false), ((4, 0), false)] {
        let version = Some(ClusterVersion::new(version.0, version.1));
        let member = FakeMember { version, ..FakeMember::default() };
        for method in ["PUT", "POST", "DELETE"] {
            let reply = send(&member, request(method, "/v2/keys/a", "value=1")).await;
            let is_refused = body(&reply).contains("v2 writes need a cluster version");
            assert_eq!(is_refused, !allowed, "{method} {version:?}");
            assert_eq!(reply.status() == 500, !allowed);
        }
        assert_eq!(send(&member, request("GET", "/v2/keys", "")).await.status(), 200);
    }
}

#[tokio::test]
async fn a_form_is_read_up_to_its_limit() {
    let member = FakeMember::default();
    let form = |bytes: usize| {
        let mut form = String::from("value=");
        form.extend(std::iter::repeat_n('x', bytes - form.len()));
        form
    };
    let fits = request("PUT", "/v2/keys/a", &form(limits::V2_FORM_MAX_BYTES));
    assert_eq!(send(&member, fits).await.status(), 201);
    let reply = send(&member, request("PUT", "/v2/keys/a", &form(limits::V2_FORM_MAX_BYTES + 1)));
    let expected = "{\"errorCode\":210,\"message\":\"Invalid POST form\",\
         \"cause\":\"http: POST too large\",\"index\":0}\n";
    assert_eq!(body(&reply.await), expected);
}

/// A body that ends before its announced length.
struct Broken;

impl Body for Broken {
    type Data = Bytes;
    type Error = std::fmt::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(Some(Err(std::fmt::Error)))
    }
}

#[tokio::test]
async fn a_broken_body_writes_nothing() {
    let member = FakeMember::default();
    let (parts, _) = request("PUT", "/v2/keys/a", "").into_parts();
    let reply = whole(answer(&member, &context(true), &parts, Broken).await);
    assert_eq!(
        (reply.status().as_u16(), reply.headers()["x-etcd-index"].as_bytes()),
        (400, &b"0"[..])
    );
    assert!(body(&reply).contains("unexpected EOF"));
    assert_eq!(member.proposals.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn switched_off_every_path_is_404() {
    let member = FakeMember::default();
    for target in ["/v2/keys", "/v2/keys/a", "/v2/members", "/v2/machines", "/v2"] {
        let (parts, body) = request("PUT", target, "value=1").into_parts();
        let body = Full::new(Bytes::from(body));
        let reply = whole(answer(&member, &context(false), &parts, body).await);
        assert_eq!(reply.status(), 404, "{target}");
        assert_eq!(reply.body().as_ref(), b"404 page not found\n");
    }
}

#[tokio::test]
async fn members_without_a_leader_or_a_name() {
    let mut member = FakeMember { leader: NodeId(0), ..FakeMember::default() };
    member.members.push(ClusterMember {
        id: NodeId(0x0abc),
        name: String::new(),
        peer_urls: vec!["http://127.0.0.9:2380".to_owned(), "http://127.0.0.8:2380".to_owned()],
        client_urls: Vec::new(),
        is_learner: false,
    });
    let reply = send(&member, request("GET", "/v2/members/leader", "")).await;
    assert_eq!((reply.status().as_u16(), body(&reply)), (503, r#"{"message":"During election"}"#));
    let reply = send(&member, request("GET", "/v2/members", "")).await;
    let expected = r#"{"id":"abc","name":"","peerURLs":["http://127.0.0.9:2380","http://127.0.0.8:2380"],"clientURLs":[]}"#;
    assert!(body(&reply).contains(expected), "{}", body(&reply));
    member.members[1].client_urls = vec!["http://0:1".to_owned()];
    let reply = send(&member, request("GET", "/v2/machines", "")).await;
    assert_eq!(body(&reply), "http://0:1, http://127.77.13.1:2379");
}

#[test]
fn paths_name_resources() {
    let cases = [
        ("/v2/keys", Some(Resource::Keys(""))),
        ("/v2/keys/", Some(Resource::Keys("/"))),
        ("/v2/keys/a/b/", Some(Resource::Keys("/a/b/"))),
        ("/v2/keysx", None),
        ("/v2/members", Some(Resource::Members(""))),
        ("/v2/members/", Some(Resource::Members(""))),
        ("/v2/members/leader/", Some(Resource::Members("leader/"))),
        ("/v2/machines", Some(Resource::Machines)),
        ("/v2/machines/", None),
        ("/v2", None),
        ("/v2/", None),
        ("/v2/stats/self", None),
    ];
    for (path, expected) in cases {
        assert_eq!(Resource::of(path), expected, "{path}");
    }
}

mod ttl;
mod watches;
