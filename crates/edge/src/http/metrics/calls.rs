//! The families of the gRPC edge.

use prometheus::proto::MetricType;

use super::families::{Families, Observed, counter_metric};
use crate::grpc::{BOUNDS_MS, CODES, HEALTH, Method, MethodTally, SERVED, Tally, Times, value};
use crate::http::process::as_f64;

/// A counter of each method: name, help, which one.
type MethodCounter = (&'static str, &'static str, fn(&MethodTally) -> u64);

const PER_METHOD: [MethodCounter; 3] = [
    ("grpc_server_started_total", "Calls that began.", |tally| value(&tally.started)),
    ("grpc_server_msg_received_total", "Messages received in calls.", |t| value(&t.received)),
    ("grpc_server_msg_sent_total", "Messages sent in calls.", |tally| value(&tally.sent)),
];

/// Streams of which etcd counts failures, and its names for them. A failure to send is never counted:
/// it means that the client is gone, which etcd does not count either.
const STREAMS: [(&str, &str); 2] = [("Watch", "watch"), ("LeaseKeepAlive", "lease-keepalive")];

pub(super) fn add_calls(families: &mut Families, tally: &Tally) {
    for (name, help, counter) in PER_METHOD {
        let rows = SERVED.iter().zip(tally.methods()).map(|(method, counts)| {
            let labels = labels(method, None);
            (labels, as_f64(counter(counts)))
        });
        families.counters(name, help, rows);
    }
    let codes: Vec<String> = (0..CODES).map(code_name).collect();
    let handled = SERVED.iter().zip(tally.methods()).flat_map(|(method, counts)| {
        let codes = &codes;
        counts.handled.iter().zip(codes).map(move |(count, code)| {
            let labels = labels(method, Some(code));
            (labels, as_f64(value(count)))
        })
    });
    families.counters("grpc_server_handled_total", "Calls that ended, by code.", handled);
    if tally.keeps_times() {
        for (method, counts) in SERVED.iter().zip(tally.methods()) {
            let name = "grpc_server_handling_seconds";
            let labels = labels(method, None);
            families.histogram(name, "Time that calls took.", &labels, &observed(&counts.times));
        }
    }
    let (received, sent) = tally.bytes();
    let name = "etcd_network_client_grpc_received_bytes_total";
    families.counter(name, "Bytes received from gRPC clients.", &[], as_f64(received));
    let name = "etcd_network_client_grpc_sent_bytes_total";
    families.counter(name, "Bytes sent to gRPC clients.", &[], as_f64(sent));
    for (method, counts) in SERVED.iter().zip(tally.methods()) {
        let broken = value(&counts.broken);
        let stream = STREAMS.iter().find(|(name, _)| *name == method.name && broken > 0);
        if let Some((_, api)) = stream.filter(|_| method.service != HEALTH) {
            let name = "etcd_network_server_stream_failures_total";
            let labels = [("API", *api), ("Type", "receive")];
            families.counter(name, "Streams that failed.", &labels, as_f64(broken));
        }
    }
    for (kind, version, count) in tally.versions() {
        let name = "etcd_server_client_requests_total";
        let labels = [("client_api_version", version.as_str()), ("type", kind)];
        families.counter(name, "Calls by version of the client.", &labels, as_f64(count));
    }
}

fn labels<'a>(method: &'a Method, code: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let mut labels = Vec::with_capacity(4);
    labels.extend(code.map(|code| ("grpc_code", code)));
    labels.push(("grpc_method", method.name));
    labels.push(("grpc_service", method.service));
    labels.push(("grpc_type", method.shape.label()));
    labels
}

/// The name of a status code in grpc-go.
fn code_name(code: usize) -> String {
    let code = tonic::Code::from_i32(i32::try_from(code).unwrap_or(2));
    match code {
        tonic::Code::Ok => "OK".to_owned(),
        tonic::Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    }
}

fn observed(times: &Times) -> Observed {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_MS.len());
    for (bucket, bound) in times.buckets.iter().zip(BOUNDS_MS) {
        cumulative += value(bucket);
        buckets.push((as_f64(bound) / 1e3, cumulative));
    }
    let count = times.buckets.iter().map(value).sum();
    Observed { buckets, count, sum: as_f64(value(&times.sum_micros)) / 1e6 }
}

impl Families {
    /// Adds a whole family of counters.
    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (Vec<(&'static str, &'a str)>, f64)>,
    ) {
        let metrics = rows.map(|(labels, value)| counter_metric(&labels, value)).collect();
        self.family(name, help, MetricType::COUNTER, metrics);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_of_codes_are_those_of_go() {
        let names: Vec<String> = (0..CODES).map(code_name).collect();
        assert_eq!(
            names.join(" "),
            "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists \
             PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented \
             Internal Unavailable DataLoss Unauthenticated"
        );
    }

    #[test]
    fn every_method_and_code_is_there_from_the_start() {
        let tally = Tally::new(true);
        tally.handled(0, tonic::Code::Ok, Duration::from_millis(7));
        let mut families = Families::default();
        add_calls(&mut families, &tally);
        let families = families.finish();
        let count = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            family.map_or(0, |family| family.get_metric().len())
        };
        assert_eq!(count("grpc_server_started_total"), SERVED.len());
        assert_eq!(count("grpc_server_handled_total"), SERVED.len() * CODES);
        assert_eq!(count("grpc_server_handling_seconds"), SERVED.len());
    }
}
