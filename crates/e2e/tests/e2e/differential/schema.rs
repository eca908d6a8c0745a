//! Messages of the v3 API taken apart by the text of our own `.proto` files, so that every field on
//! the wire is seen, whether a generated type knows it or not.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::reply::{Reply, readable};

const FILES: [&str; 2] = [
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto/mvcc.proto")),
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto/rpc.proto")),
];
/// IDs of cluster and member: only whether they are there.
const IDS: [&str; 2] = ["cluster_id", "member_id"];
const TERM: &str = "raft_term";

/// A field of a message.
#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: String,
    is_repeated: bool,
}

/// All messages with their fields by number, and all methods with request and reply.
#[derive(Debug, Default)]
pub(super) struct Schema {
    messages: BTreeMap<String, BTreeMap<u64, Field>>,
    methods: BTreeMap<String, (String, String)>,
}

impl Schema {
    /// The schema of the client API.
    pub(super) fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let mut schema = Schema::default();
            for file in FILES {
                schema.read(file);
            }
            schema
        })
    }

    /// Names of the messages of a method, as `/etcdserverpb.KV/Put`.
    pub(super) fn method(&self, path: &str) -> Option<(&str, &str)> {
        let (request, reply) = self.methods.get(path)?;
        Some((request, reply))
    }

    /// Takes a message apart; what is no such message becomes one field.
    pub(super) fn take_apart(&self, message: &str, bytes: &[u8]) -> Reply {
        let mut reply = Reply::default();
        if self.walk(message, bytes, "", &mut reply).is_none() {
            reply.set("(not decoded)", readable(bytes));
        }
        reply
    }

    /// A message on one line, as `Put{key:a,lease:7}`.
    pub(super) fn line(&self, path: &str, bytes: &[u8]) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        match self.method(path) {
            Some((request, _)) => {
                let fields = self.take_apart(request, bytes).to_string();
                let fields: Vec<String> =
                    fields.lines().map(|line| line.trim().replacen(": ", ":", 1)).collect();
                format!("{name}{{{}}}", fields.join(", "))
            }
            None => format!("{path}{{{}}}", readable(bytes)),
        }
    }

    fn read(&mut self, file: &str) {
        let (mut message, mut service) = (String::new(), String::new());
        for line in file.lines() {
            let words: Vec<&str> =
                line.split([' ', '(', ')', ';', '{']).filter(|word| !word.is_empty()).collect();
            match words.as_slice() {
                ["message", name, ..] => message = (*name).to_owned(),
                ["service", name, ..] => service = (*name).to_owned(),
                ["rpc", name, rest @ ..] => {
                    let names: Vec<&&str> =
                        rest.iter().filter(|word| !["stream", "returns"].contains(word)).collect();
                    let both = (names[0].to_string(), names[1].to_string());
                    self.methods.insert(format!("/etcdserverpb.{service}/{name}"), both);
                }
                ["repeated", kind, name, "=", number, ..] => {
                    self.field(&message, kind, name, number, true);
                }
                [kind, name, "=", number, ..] => self.field(&message, kind, name, number, false),
                [] | [_, ..] => {}
            }
        }
    }

    fn field(&mut self, message: &str, kind: &str, name: &str, number: &str, is_repeated: bool) {
        let number = number.parse().expect("a number of a field");
        let kind = kind.rsplit('.').next().unwrap_or(kind).to_owned();
        let field = Field { name: name.to_owned(), kind, is_repeated };
        self.messages.entry(message.to_owned()).or_default().insert(number, field);
    }

    fn walk(&self, message: &str, bytes: &[u8], path: &str, reply: &mut Reply) -> Option<()> {
        let nothing = BTreeMap::new();
        let fields = self.messages.get(message).unwrap_or(&nothing);
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (number, value) = read_field(&mut rest)?;
            let count = counts.entry(number).or_default();
            let at = match fields.get(&number) {
                Some(field) if field.is_repeated => format!("{path}{}[{count:03}]", field.name),
                Some(field) => format!("{path}{}", field.name),
                None => format!("{path}#{number}[{count:03}]"),
            };
            *count += 1;
            let field = fields.get(&number);
            match value {
                Value::Number(number) => {
                    reply.set(at, field.map_or_else(|| number.to_string(), |f| shown(f, number)));
                }
                Value::Bytes(bytes) => match field {
                    Some(field) if self.messages.contains_key(&field.kind) => {
                        reply.set(at.clone(), "{}");
                        self.walk(&field.kind, bytes, &format!("{at}."), reply)?;
                    }
                    _ => reply.set(at, format!("\"{}\"", readable(bytes))),
                },
            }
        }
        Some(())
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A number as its field shows it.
fn shown(field: &Field, number: u64) -> String {
    if IDS.contains(&field.name.as_str()) || field.name == TERM {
        return "(set)".to_owned();
    }
    match field.kind.as_str() {
        "uint64" | "uint32" | "bool" => number.to_string(),
        _ => number.cast_signed().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;
    use proto::etcdserverpb::{LeaseGrantRequest, PutRequest, RangeResponse, ResponseHeader};

    #[test]
    fn messages_are_taken_apart() {
        let schema = Schema::get();
        let put = PutRequest { key: "k\0".into(), lease: -7, ..PutRequest::default() };
        let line = schema.line("/etcdserverpb.KV/Put", &put.encode_to_vec());
        assert_eq!(line, r#"Put{key:"k\x00", lease:-7}"#);
        let grant = LeaseGrantRequest { ttl: 5, id: 0 }.encode_to_vec();
        assert_eq!(schema.line("/etcdserverpb.Lease/LeaseGrant", &grant), "LeaseGrant{ttl:5}");
        let header = ResponseHeader { cluster_id: 5, revision: 9, ..ResponseHeader::default() };
        let pair = proto::mvccpb::KeyValue { key: "a".into(), ..Default::default() };
        let kvs = vec![proto::StoredKeyValue(pair.encode_to_vec().into())];
        let reply = RangeResponse { header: Some(header), kvs, count: 1, more: true };
        let apart = schema.take_apart("RangeResponse", &reply.encode_to_vec());
        assert_eq!(apart.get("header.cluster_id"), Some("(set)"));
        assert_eq!(apart.number("header.revision"), 9);
        assert_eq!(apart.get("kvs[000].key"), Some("\"a\""));
        assert_eq!(apart.get("more"), Some("1"));
        assert_eq!(schema.line("/no/Method", b"\xff"), r"/no/Method{\xff}");
        assert!(schema.take_apart("RangeResponse", b"\x0a\xff").get("(not decoded)").is_some());
    }
}
