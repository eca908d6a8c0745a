//! The methods of all services: what kind of call each is, and who may make it.

/// Which sides of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Unary,
    ServerStream,
    BidiStream,
}

impl Shape {
    /// As the label of a metric.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// What a learner answers (api-v3.md 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLearner {
    Served,
    /// The method itself looks at its request.
    MethodDecides,
    Refused,
}

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) on_learner: OnLearner,
}

/// Every method that is served. Those of the same services that are not here come with later issues
/// and answer as methods that do not exist.
pub(crate) static METHODS: &[Method] = &[
    method(KV, "Range", Shape::Unary, OnLearner::MethodDecides),
    method(KV, "RangeStream", Shape::ServerStream, OnLearner::Refused),
    method(KV, "Put", Shape::Unary, OnLearner::Refused),
    method(KV, "DeleteRange", Shape::Unary, OnLearner::Refused),
    method(KV, "Txn", Shape::Unary, OnLearner::Refused),
    method(KV, "Compact", Shape::Unary, OnLearner::Refused),
    method(WATCH, "Watch", Shape::BidiStream, OnLearner::Refused),
    method(LEASE, "LeaseGrant", Shape::Unary, OnLearner::Refused),
    method(LEASE, "LeaseRevoke", Shape::Unary, OnLearner::Refused),
    method(LEASE, "LeaseKeepAlive", Shape::BidiStream, OnLearner::Refused),
    method(LEASE, "LeaseTimeToLive", Shape::Unary, OnLearner::Refused),
    method(LEASE, "LeaseLeases", Shape::Unary, OnLearner::Refused),
    method(CLUSTER, "MemberAdd", Shape::Unary, OnLearner::Refused),
    method(CLUSTER, "MemberRemove", Shape::Unary, OnLearner::Refused),
    method(CLUSTER, "MemberUpdate", Shape::Unary, OnLearner::Refused),
    method(CLUSTER, "MemberList", Shape::Unary, OnLearner::Refused),
    method(MAINTENANCE, "Status", Shape::Unary, OnLearner::Served),
    method(MAINTENANCE, "HashKV", Shape::Unary, OnLearner::Refused),
    method(MAINTENANCE, "Alarm", Shape::Unary, OnLearner::Refused),
    method(HEALTH, "Check", Shape::Unary, OnLearner::Refused),
    method(HEALTH, "Watch", Shape::ServerStream, OnLearner::Refused),
];

pub(crate) const KV: &str = "etcdserverpb.KV";
pub(crate) const WATCH: &str = "etcdserverpb.Watch";
pub(crate) const LEASE: &str = "etcdserverpb.Lease";
pub(crate) const CLUSTER: &str = "etcdserverpb.Cluster";
pub(crate) const MAINTENANCE: &str = "etcdserverpb.Maintenance";
pub(crate) const HEALTH: &str = "grpc.health.v1.Health";

const fn method(
    service: &'static str,
    name: &'static str,
    shape: Shape,
    on_learner: OnLearner,
) -> Method {
    Method { service, name, shape, on_learner }
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Place of the method in [`METHODS`].
    Method(usize),
    UnknownMethod {
        service: &'a str,
        method: &'a str,
    },
    UnknownService(&'a str),
    Malformed,
}

/// Finds the method of a path.
pub(crate) fn find(path: &str) -> Found<'_> {
    let Some((service, name)) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/') else {
        return Found::Malformed;
    };
    let is_it = |method: &Method| method.service == service && method.name == name;
    if let Some(place) = METHODS.iter().position(is_it) {
        return Found::Method(place);
    }
    if METHODS.iter().any(|method| method.service == service) {
        return Found::UnknownMethod { service, method: name };
    }
    Found::UnknownService(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_at_the_last_slash() {
        assert_eq!(find("/etcdserverpb.KV/Range"), Found::Method(0));
        let service = "etcdserverpb.KV";
        assert_eq!(find("/etcdserverpb.KV/Nope"), Found::UnknownMethod { service, method: "Nope" });
        assert_eq!(find("/a/b/c"), Found::UnknownService("a/b"));
        assert_eq!(find("/nothing"), Found::Malformed);
        assert_eq!(find("/"), Found::Malformed);
    }

    #[test]
    fn learners_serve_what_etcd_lets_them() {
        let open = METHODS.iter().filter(|method| method.on_learner != OnLearner::Refused);
        let open: Vec<&str> = open.map(|method| method.name).collect();
        assert_eq!(open, ["Range", "Status"]);
    }
}
