//! The JSON of members as Go writes it: field order, omissions, numbers and escapes.
//!
//! Owns:       nothing.
//! Uses:       `gojson` for writing, `serde_json` for reading.
//! Never:      the `/v2/members` shape with its hexadecimal text IDs (that one is the edge's).
//! Invariants: what is written here equals Go's bytes; what Go writes is read back unchanged.
//! Source:     peer-protocol.md 2.2, 12.2, 12.4; disk-formats.md 3.1, 6.

use bytes::Bytes;
use gojson::Object;
use proto::raftpb::ConfState;
use serde::Deserialize;
use types::NodeId;

use crate::Member;

/// Text that should have been one of the JSON shapes of this module.
#[derive(Debug, thiserror::Error)]
#[error("parse {shape} json")]
pub struct JsonError {
    shape: &'static str,
    #[source]
    source: serde_json::Error,
}

/// A member as in the `members` bucket and in conf-change contexts.
#[must_use]
pub fn member_to_json(member: &Member) -> Bytes {
    let mut out = String::new();
    push_member(&mut out, member, false);
    out.into()
}

/// Reads what [`member_to_json`] or Go has written.
///
/// # Errors
/// The text is no JSON object of that shape.
pub fn member_from_json(text: &[u8]) -> Result<Member, JsonError> {
    Ok(parse_object::<MemberJson>("member", text)?.into_member().0)
}

/// The context of a conf change; that of a promotion is made from the ID alone.
#[must_use]
pub fn conf_change_context(member: &Member, is_promote: bool) -> Bytes {
    let mut out = String::new();
    push_member(&mut out, member, is_promote);
    out.into()
}

/// Reads the context of an add, update or promotion; the flag tells a promotion.
///
/// # Errors
/// The text is no JSON object of that shape.
pub fn parse_context(text: &[u8]) -> Result<(Member, bool), JsonError> {
    Ok(parse_object::<MemberJson>("conf change context", text)?.into_member())
}

/// The answer to `GET /members` on the peer port: ascending IDs, with a newline behind.
#[must_use]
pub fn members_to_json<'a>(members: impl IntoIterator<Item = &'a Member>) -> Bytes {
    let mut out = String::new();
    gojson::push_list(&mut out, members, |out, member| push_member(out, member, false));
    out.push('\n');
    out.into()
}

/// Reads the answer of another member to `GET /members`.
///
/// # Errors
/// The text is no array of members.
pub fn members_from_json(text: &[u8]) -> Result<Vec<Member>, JsonError> {
    let members = parse::<Option<Vec<MemberJson>>>("member list", text)?.unwrap_or_default();
    Ok(members.into_iter().map(|member| member.into_member().0).collect())
}

/// What a member publishes about itself; the value of `/0/members/<id>/attributes`.
#[must_use]
pub fn attributes_to_json(name: &str, client_urls: &[String]) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    push_attributes(&mut object, name, client_urls);
    object.finish();
    out
}

/// Reads name and client URLs.
///
/// # Errors
/// The text is no JSON object of that shape.
pub fn attributes_from_json(text: &[u8]) -> Result<(String, Vec<String>), JsonError> {
    let (member, _) = parse_object::<MemberJson>("member attributes", text)?.into_member();
    Ok((member.name, member.client_urls))
}

/// What the cluster decided about a member; the value of `/0/members/<id>/raftAttributes`.
#[must_use]
pub fn raft_attributes_to_json(peer_urls: &[String], is_learner: bool) -> String {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    push_raft_attributes(&mut object, peer_urls, is_learner);
    object.finish();
    out
}

/// Reads peer URLs and the learner flag.
///
/// # Errors
/// The text is no JSON object of that shape.
pub fn raft_attributes_from_json(text: &[u8]) -> Result<(Vec<String>, bool), JsonError> {
    let (member, _) = parse_object::<MemberJson>("member raft attributes", text)?.into_member();
    Ok((member.peer_urls, member.is_learner))
}

/// The value of `meta/confState`.
#[must_use]
pub fn conf_state_to_json(conf_state: &ConfState) -> Bytes {
    let mut out = String::new();
    let mut object = Object::open(&mut out);
    let lists = [
        ("voters", &conf_state.voters),
        ("learners", &conf_state.learners),
        ("voters_outgoing", &conf_state.voters_outgoing),
        ("learners_next", &conf_state.learners_next),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            object.numbers(name, list);
        }
    }
    object.boolean("auto_leave", conf_state.auto_leave);
    object.finish();
    out.into()
}

/// Reads `meta/confState`.
///
/// # Errors
/// The text is no JSON object of that shape.
pub fn conf_state_from_json(text: &[u8]) -> Result<ConfState, JsonError> {
    let parsed = parse_object::<ConfStateJson>("conf state", text)?;
    Ok(ConfState {
        voters: parsed.voters.unwrap_or_default(),
        learners: parsed.learners.unwrap_or_default(),
        voters_outgoing: parsed.voters_outgoing.unwrap_or_default(),
        learners_next: parsed.learners_next.unwrap_or_default(),
        auto_leave: parsed.auto_leave,
    })
}

fn push_member(out: &mut String, member: &Member, is_promote: bool) {
    let mut object = Object::open(out);
    object.number("id", member.id.0);
    push_raft_attributes(&mut object, &member.peer_urls, member.is_learner);
    push_attributes(&mut object, &member.name, &member.client_urls);
    if is_promote {
        object.boolean("isPromote", true);
    }
    object.finish();
}

fn push_raft_attributes(object: &mut Object<'_>, peer_urls: &[String], is_learner: bool) {
    object.strings("peerURLs", peer_urls);
    if is_learner {
        object.boolean("isLearner", true);
    }
}

fn push_attributes(object: &mut Object<'_>, name: &str, client_urls: &[String]) {
    if !name.is_empty() {
        object.string("name", name);
    }
    if !client_urls.is_empty() {
        object.strings("clientURLs", client_urls);
    }
}

/// All fields that any of the member shapes has; absent and `null` mean empty, as in Go.
#[derive(Deserialize)]
struct MemberJson {
    #[serde(default)]
    id: u64,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(default, rename = "isLearner")]
    is_learner: Option<bool>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Option<Vec<String>>,
    #[serde(default, rename = "isPromote")]
    is_promote: Option<bool>,
}

impl MemberJson {
    fn into_member(self) -> (Member, bool) {
        let member = Member {
            id: NodeId(self.id),
            peer_urls: self.peer_urls.unwrap_or_default(),
            is_learner: self.is_learner.unwrap_or_default(),
            name: self.name.unwrap_or_default(),
            client_urls: self.client_urls.unwrap_or_default(),
        };
        (member, self.is_promote.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct ConfStateJson {
    voters: Option<Vec<u64>>,
    learners: Option<Vec<u64>>,
    voters_outgoing: Option<Vec<u64>>,
    learners_next: Option<Vec<u64>>,
    #[serde(default)]
    auto_leave: bool,
}

/// As `parse`; serde alone would also take an array for a struct.
fn parse_object<'a, T: Deserialize<'a>>(
    shape: &'static str,
    text: &'a [u8],
) -> Result<T, JsonError> {
    if text.trim_ascii_start().first().is_some_and(|byte| *byte != b'{') {
        let source = serde::de::Error::custom("not an object");
        return Err(JsonError { shape, source });
    }
    parse(shape, text)
}

fn parse<'a, T: Deserialize<'a>>(shape: &'static str, text: &'a [u8]) -> Result<T, JsonError> {
    serde_json::from_slice(text).map_err(|source| JsonError { shape, source })
}

#[cfg(test)]
mod tests;
