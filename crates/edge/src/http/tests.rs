use ::http::Request;
use membership::ClusterVersion;
use proto::etcdserverpb::{AlarmMember, AlarmType};
use types::{EtcdError, NodeId};

use super::member::fake::FakeMember;
use super::*;

/// Answers as [`respond`] does, without `/metrics`.
pub(crate) async fn respond_as(member: &FakeMember, parts: &Parts) -> Reply {
    respond_with(member, &HttpContext::with_version("3.5.12".to_owned(), true), parts).await
}

async fn respond_with(member: &FakeMember, context: &HttpContext, parts: &Parts) -> Reply {
    match preflight(parts) {
        Preflight::Done(reply) => reply,
        Preflight::Route(path) => {
            reply::finish(&parts.method, answer(member, context, parts, &path).await)
        }
    }
}

async fn get(member: &FakeMember, target: &str) -> (u16, String) {
    let (parts, ()) = Request::get(target).body(()).unwrap().into_parts();
    let reply = respond_as(member, &parts).await;
    (reply.status().as_u16(), String::from_utf8(reply.body().to_vec()).unwrap())
}

async fn check(member: &FakeMember, rows: &[(&str, u16, &str)]) {
    for (target, status, body) in rows {
        assert_eq!(get(member, target).await, (*status, (*body).to_owned()), "{target}");
    }
}

fn alarm(kind: AlarmType) -> AlarmMember {
    AlarmMember { member_id: 1, alarm: kind as i32 }
}

#[tokio::test]
async fn a_healthy_member() {
    let rows = [
        ("/version", 200, r#"{"etcdserver":"3.5.12","etcdcluster":"3.4.0"}"#),
        ("/health", 200, r#"{"health":"true","reason":""}"#),
        ("/livez", 200, "ok\n"),
        ("/livez?verbose", 200, "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read", 200, "ok\n"),
        ("/livez/linearizable_read", 404, "404 page not found\n"),
        ("/livez/", 404, "404 page not found\n"),
        ("/livezx", 404, "404 page not found\n"),
        ("/readyz?verbose=1", 200, READYZ_OK),
        ("/readyz/non_learner?verbose", 200, "[+]non_learner ok\nok\n"),
        ("/readyz?verbose&exclude=non_learner&exclude=data_corruption&exclude=x", 200, READ_OK),
        ("/", 404, "404 page not found\n"),
        ("/v3", 404, "404 page not found\n"),
    ];
    check(&FakeMember::default(), &rows).await;
    let member = FakeMember { version: None, ..FakeMember::default() };
    let undecided = r#"{"etcdserver":"3.5.12","etcdcluster":"not_decided"}"#;
    check(&member, &[("/version", 200, undecided)]).await;
}

const READYZ_OK: &str = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                         [+]non_learner ok\nok\n";
const READ_OK: &str = "[+]serializable_read ok\n[+]linearizable_read ok\nok\n";

#[tokio::test]
async fn a_member_without_a_leader() {
    let member = FakeMember {
        leader: NodeId(0),
        cluster_fault: Some(EtcdError::Timeout),
        ..FakeMember::default()
    };
    let rows = [
        ("/health", 503, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"),
        ("/health?serializable=true", 200, r#"{"health":"true","reason":""}"#),
        ("/livez", 200, "ok\n"),
        (
            "/readyz",
            503,
            "[+]data_corruption ok\n[+]serializable_read ok\n\
             [-]linearizable_read failed: etcdserver: request timed out\n[+]non_learner ok\n\n",
        ),
        ("/readyz?exclude=linearizable_read", 200, "ok\n"),
        (
            "/readyz/linearizable_read?exclude=linearizable_read",
            503,
            "[-]linearizable_read failed: etcdserver: request timed out\n\n",
        ),
    ];
    check(&member, &rows).await;
    let member = FakeMember { leader: NodeId(1), ..member };
    let reason = r#"{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}"#;
    check(&member, &[("/health", 503, &format!("{reason}\n"))]).await;
}

#[tokio::test]
async fn alarms_come_first() {
    let no_space = FakeMember {
        leader: NodeId(0),
        alarms: vec![alarm(AlarmType::Nospace), alarm(AlarmType::Corrupt)],
        ..FakeMember::default()
    };
    let body = |reason: &str| format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n");
    let rows = [
        ("/health", 503, &*body("ALARM NOSPACE")),
        ("/health?exclude=NOSPACE", 503, &*body("ALARM CORRUPT")),
        ("/health?exclude=NOSPACE&exclude=CORRUPT", 503, &*body("RAFT NO LEADER")),
        ("/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"),
        ("/readyz/serializable_read", 200, "ok\n"),
    ];
    check(&no_space, &rows).await;
    let unknown = AlarmMember { member_id: 1, alarm: 99 };
    let member = FakeMember { alarms: vec![unknown], ..FakeMember::default() };
    check(&member, &[("/health", 503, &*body("ALARM UNKNOWN"))]).await;
}

#[tokio::test]
async fn a_learner_is_live_and_not_ready() {
    let mut member = FakeMember::default();
    member.members[0].is_learner = true;
    let failed = "[-]non_learner failed: not supported for learner\n\n";
    let rows = [
        ("/livez", 200, "ok\n"),
        ("/readyz/non_learner", 503, failed),
        ("/readyz?exclude=non_learner", 200, "ok\n"),
    ];
    check(&member, &rows).await;
}

#[tokio::test]
async fn only_get_asks_for_health() {
    for target in ["/version", "/health", "/livez", "/readyz", "/readyz/non_learner"] {
        for method in ["HEAD", "POST", "PUT"] {
            let request = Request::builder().method(method).uri(target).body(()).unwrap();
            let reply = respond_as(&FakeMember::default(), &request.into_parts().0).await;
            assert_eq!(reply.status(), 405, "{method} {target}");
            assert_eq!(reply.headers()["allow"], "GET");
        }
    }
}

#[tokio::test]
async fn health_is_counted() {
    let context = HttpContext::with_version("3.5.12".to_owned(), true);
    let well = FakeMember { version: Some(ClusterVersion::new(3, 5)), ..FakeMember::default() };
    let ill = FakeMember { leader: NodeId(0), ..FakeMember::default() };
    for (member, target) in [(&well, "/health"), (&ill, "/health"), (&ill, "/readyz")] {
        let (parts, ()) = Request::get(target).body(()).unwrap().into_parts();
        respond_with(member, &context, &parts).await;
    }
    let mut text = String::new();
    let families = context.metrics.registry().gather();
    prometheus::TextEncoder::new().encode_utf8(&families, &mut text).unwrap();
    for line in [
        "etcd_server_health_success 1",
        "etcd_server_health_failures 1",
        "etcd_server_healthcheck{name=\"linearizable_read\",type=\"readyz\"} 1",
        "etcd_server_healthchecks_total{name=\"non_learner\",status=\"success\",type=\"readyz\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}
