//! v2 answers as fields: status, headers, and each field of the JSON.

use e2e::http::Response;
use serde_json::Value;

use super::reply::{Reply, readable};
use super::v2::Request;

/// Headers of which only the presence can be compared.
const ANY_VALUE: [&str; 4] = ["x-etcd-cluster-id", "x-raft-index", "x-raft-term", "content-length"];
const IGNORED: &str = "date";

/// A whole answer.
pub(super) fn take_apart(request: &Request, response: &Response) -> Reply {
    let mut reply = Reply::default();
    reply.set("status", response.status.to_string());
    for (name, value) in &response.headers {
        let name = name.to_ascii_lowercase();
        let is_any = ANY_VALUE.contains(&name.as_str());
        if name != IGNORED {
            reply.set(name, if is_any { "(set)" } else { value });
        }
    }
    let length = response.header("Content-Length").and_then(|value| value.parse().ok());
    if request.method != "HEAD" && length.is_some_and(|length: usize| length != response.body.len())
    {
        reply.set("content-length", "wrong");
    }
    body(&response.body, is_sorted(request), &mut reply);
    reply
}

/// One event of a watch.
pub(super) fn event(line: &str) -> Reply {
    let mut reply = Reply::default();
    body(line, false, &mut reply);
    reply
}

/// The first of several counts; another value than these leaves the order open or is refused.
fn is_sorted(request: &Request) -> bool {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let first = query.split('&').find_map(|parameter| parameter.strip_prefix("sorted="));
    first.is_some_and(|value| ["true", "1", "t", "T", "TRUE", "True"].contains(&value))
}

fn body(text: &str, is_sorted: bool, reply: &mut Reply) {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return reply.set("body", readable(text.as_bytes()));
    };
    flatten(&value, "body", is_sorted, reply);
    // The order of children is any without `sorted`, and so is the text.
    if is_sorted || !text.contains("\"nodes\":[") {
        reply.set("text", readable(without_times(text).as_bytes()));
    }
}

fn flatten(value: &Value, path: &str, is_sorted: bool, reply: &mut Reply) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "expiration" {
                    reply.set(format!("{path}.{name}"), "(set)");
                } else {
                    flatten(value, &format!("{path}.{name}"), is_sorted, reply);
                }
            }
        }
        Value::Array(elements) => {
            let mut elements: Vec<&Value> = elements.iter().collect();
            if !is_sorted {
                elements.sort_by_key(|element| element["key"].as_str().unwrap_or("").to_owned());
            }
            for (number, element) in elements.into_iter().enumerate() {
                flatten(element, &format!("{path}[{number:03}]"), is_sorted, reply);
            }
        }
        Value::String(text) => reply.set(path, readable(text.as_bytes())),
        Value::Null | Value::Bool(_) | Value::Number(_) => reply.set(path, value.to_string()),
    }
}

/// Text without what depends on the time; a TTL that was cut to zero is absent.
fn without_times(text: &str) -> String {
    let text = cut(text, "\"expiration\":\"", '"');
    let mut parts = text.split("\"ttl\":");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str(
            part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '-'),
        );
    }
    clean.replace(",,", ",")
}

/// Takes out what stands between each `from` and the next `to`.
fn cut(text: &str, from: &str, to: char) -> String {
    let mut parts = text.split(from);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str(from);
        clean.push_str(part.split_once(to).map_or(part, |(_, rest)| rest));
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_times_do_not_matter_and_all_else_does() {
        let request = |target: &str| Request::new("GET", target, "");
        let of = |request: &Request, body: &str| {
            let headers = vec![("X-Etcd-Index".to_owned(), "7".to_owned())];
            take_apart(request, &Response { status: 200, headers, body: body.to_owned() })
        };
        let one = r#"{"node":{"nodes":[{"key":"/a"},{"key":"/b","ttl":5}]}}"#;
        let other = r#"{"node":{"nodes":[{"key":"/b","ttl":4},{"key":"/a"}]}}"#;
        let (plain, sorted) = (request("/v2/keys"), request("/v2/keys?sorted=true"));
        assert_eq!(of(&plain, one).differences(&of(&plain, other)), []);
        assert_ne!(of(&sorted, one).differences(&of(&sorted, other)), []);
        let one = r#"{"a":"x","expiration":"1","ttl":5,"b":2}"#;
        let other = r#"{"a":"x","expiration":"22","ttl":6,"b":2}"#;
        assert_eq!(of(&plain, one).differences(&of(&plain, other)), []);
        for changed in
            [one.replace("x", "y"), one.replace("\"b\":2", "\"b\": 2"), one.replace('5', "9")]
        {
            assert_ne!(of(&plain, one).differences(&of(&plain, &changed)), [], "{changed}");
        }
    }
}
