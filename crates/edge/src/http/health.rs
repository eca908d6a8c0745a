//! `/health`, `/livez` and `/readyz`.

use ::http::StatusCode;
use ::http::request::Parts;
use proto::etcdserverpb::{AlarmMember, AlarmType};
use types::{EtcdError, NodeId};

use super::form;
use super::member::Member;
use super::metrics::Metrics;
use super::reply::{self, Reply};

/// `/health`: alarms, then a leader, then a read of one key; the first failure is the reason.
pub(crate) async fn health(member: &impl Member, metrics: &Metrics, parts: &Parts) -> Reply {
    let query = parts.uri.query();
    let excluded = form::values(query, "exclude");
    let serializable = form::values(query, "serializable").first().is_some_and(|v| v == "true");
    let reason = match alarm_reason(&member.alarms(), &excluded) {
        Some(reason) => Some(reason.to_owned()),
        None if !serializable && member.leader() == NodeId(0) => Some("RAFT NO LEADER".to_owned()),
        None => {
            let read = read(member, serializable).await;
            read.err().map(|error| format!("RANGE ERROR:{error}"))
        }
    };
    metrics.count_health(reason.is_none());
    match reason {
        None => reply::text(StatusCode::OK, health_body("true", "")),
        Some(reason) => {
            reply::error(StatusCode::SERVICE_UNAVAILABLE, &health_body("false", &reason))
        }
    }
}

fn health_body(health: &str, reason: &str) -> String {
    let mut body = String::new();
    let mut object = gojson::Object::open(&mut body);
    object.string("health", health);
    object.string("reason", reason);
    object.finish();
    body
}

fn alarm_reason(alarms: &[AlarmMember], excluded: &[String]) -> Option<&'static str> {
    let is_excluded = |kind: AlarmType| excluded.iter().any(|name| name == kind.as_str_name());
    alarms.iter().find_map(|alarm| match AlarmType::try_from(alarm.alarm) {
        Ok(kind) if is_excluded(kind) => None,
        Ok(AlarmType::Nospace) => Some("ALARM NOSPACE"),
        Ok(AlarmType::Corrupt) => Some("ALARM CORRUPT"),
        Ok(AlarmType::None) | Err(_) => Some("ALARM UNKNOWN"),
    })
}

async fn read(member: &impl Member, serializable: bool) -> Result<(), EtcdError> {
    if !serializable {
        member.linearize().await?;
    }
    member.read_one_key().await
}

/// One question of `/livez` and `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    /// As it is written in paths, queries, bodies and labels.
    fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    async fn run(self, member: &impl Member) -> Result<(), String> {
        let corrupt = AlarmType::Corrupt as i32;
        match self {
            Self::DataCorruption if member.alarms().iter().any(|alarm| alarm.alarm == corrupt) => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Self::NonLearner if member.is_learner() => Err("not supported for learner".to_owned()),
            Self::DataCorruption | Self::NonLearner => Ok(()),
            Self::SerializableRead => read(member, true).await.map_err(|error| error.to_string()),
            Self::LinearizableRead => read(member, false).await.map_err(|error| error.to_string()),
        }
    }
}

/// A path below `/livez` or `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// `livez` or `readyz`, for the label.
    kind: &'static str,
    checks: &'static [Check],
    /// Whether `exclude` takes checks out: only for all of them together.
    excludes: bool,
}

const LIVEZ: &[Check] = &[Check::SerializableRead];
const READYZ: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Probe {
    /// The probe that a path asks for.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let (kind, checks, rest) = if let Some(rest) = path.strip_prefix("/livez") {
            ("livez", LIVEZ, rest)
        } else {
            ("readyz", READYZ, path.strip_prefix("/readyz")?)
        };
        if rest.is_empty() {
            return Some(Self { kind, checks, excludes: true });
        }
        let name = rest.strip_prefix('/')?;
        let at = checks.iter().position(|check| check.name() == name)?;
        Some(Self { kind, checks: &checks[at..=at], excludes: false })
    }

    /// Runs the checks: `ok`, or a line for each of them with 503.
    pub(crate) async fn answer(
        self,
        member: &impl Member,
        metrics: &Metrics,
        parts: &Parts,
    ) -> Reply {
        let query = parts.uri.query();
        let excluded = if self.excludes { form::values(query, "exclude") } else { Vec::new() };
        warn_unknown(self.checks, &excluded);
        let mut lines = String::new();
        let mut healthy = true;
        for check in self.checks {
            if excluded.iter().any(|name| name == check.name()) {
                continue;
            }
            let result = check.run(member).await;
            metrics.count_check(self.kind, check.name(), result.is_ok());
            healthy &= result.is_ok();
            lines.push_str(&line(*check, &result));
        }
        if !healthy {
            return reply::error(StatusCode::SERVICE_UNAVAILABLE, &lines);
        }
        let is_verbose = !form::values(query, "verbose").is_empty();
        if !is_verbose {
            lines.clear();
        }
        lines.push_str("ok");
        reply::error(StatusCode::OK, &lines)
    }
}

fn line(check: Check, result: &Result<(), String>) -> String {
    match result {
        Ok(()) => format!("[+]{} ok\n", check.name()),
        Err(error) => format!("[-]{} failed: {error}\n", check.name()),
    }
}

fn warn_unknown(checks: &[Check], excluded: &[String]) {
    for name in excluded {
        if checks.iter().all(|check| check.name() != name) {
            tracing::warn!(check = %name, "health checks: unknown check cannot be excluded");
        }
    }
}
