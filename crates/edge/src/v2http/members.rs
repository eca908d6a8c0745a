//! `/v2/members` and `/v2/machines`, so far for reading.

use ::http::{Method, StatusCode};
use membership::Member as ClusterMember;
use types::NodeId;

use super::set_cluster_id;
use crate::http::member::Member;
use crate::http::reply::{self, Reply};

const MEMBERS_METHODS: &str = "GET,POST,DELETE,PUT";

/// Answers for what is behind `/v2/members/`.
pub(super) fn members(member: &impl Member, method: &Method, name: &str) -> Reply {
    let mut reply = match (method, name) {
        (&Method::GET, "") => reply::json(StatusCode::OK, collection(&member.members())),
        (&Method::GET, "leader") => leader(member),
        (&Method::GET, _) => reply::message(StatusCode::NOT_FOUND, "Not found"),
        (&Method::PUT | &Method::DELETE, "") => reply::method_not_allowed(None),
        (&Method::POST | &Method::PUT | &Method::DELETE, _) => {
            let text = "changing members through /v2/members is not supported yet";
            reply::message(StatusCode::NOT_IMPLEMENTED, text)
        }
        _ => return reply::method_not_allowed(Some(MEMBERS_METHODS)),
    };
    set_cluster_id(reply.headers_mut(), member.cluster_id());
    reply
}

/// Answers for `/v2/machines`: the client URLs of all members, sorted.
pub(super) fn machines(member: &impl Member, method: &Method) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::method_not_allowed(Some("GET,HEAD"));
    }
    let mut urls: Vec<String> =
        member.members().into_iter().flat_map(|member| member.client_urls).collect();
    urls.sort_unstable();
    reply::text(StatusCode::OK, urls.join(", "))
}

fn leader(member: &impl Member) -> Reply {
    let id = member.leader();
    let known = if id == NodeId(0) { Vec::new() } else { member.members() };
    let Some(leader) = known.iter().find(|member| member.id == id) else {
        return reply::message(StatusCode::SERVICE_UNAVAILABLE, "During election");
    };
    let mut body = String::new();
    push_member(&mut body, leader);
    body.push('\n');
    reply::json(StatusCode::OK, body)
}

fn collection(members: &[ClusterMember]) -> String {
    let mut body = String::new();
    let mut object = gojson::Object::open(&mut body);
    gojson::push_list(object.key("members"), members, push_member);
    object.finish();
    body.push('\n');
    body
}

fn push_member(out: &mut String, member: &ClusterMember) {
    let mut object = gojson::Object::open(out);
    object.string("id", &member.id.to_string());
    object.string("name", &member.name);
    push_urls(object.key("peerURLs"), &member.peer_urls);
    push_urls(object.key("clientURLs"), &member.client_urls);
    object.finish();
}

/// Unlike elsewhere in etcd's JSON, no URLs are an empty list here.
fn push_urls(out: &mut String, urls: &[String]) {
    gojson::push_list(out, urls, |out, url| gojson::push_string(out, url));
}
