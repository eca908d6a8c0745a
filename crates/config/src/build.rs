//! From given values to a checked [`Config`]: defaults that depend on other settings, then etcd's
//! rules in etcd's order.
//!
//! Source: reference/server-config.md 6; order of the checks as 3.5.1 answers several mistakes.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::duration::parse_nanos;
use crate::flags::{find, parse_bool, parse_signed, parse_unsigned};
use crate::load::{ConfigError, Note, Settings, Source};
use crate::serving::{self, Serving};
use crate::settings::{
    ClusterState, Config, LogFormat, LogLevel, LogOutput, QUOTA_SUGGESTED_MAX_BYTES,
};
use crate::url::{EndpointUrl, join};

/// Member name when none is given.
const DEFAULT_NAME: &str = "default";
/// `--initial-cluster` when nothing is given.
const DEFAULT_CLUSTER: &str = "default=http://localhost:2380";
/// Longest election time-out taken.
const ELECTION_MAX_MS: u64 = 50_000;
/// Request size above which a start is warned about: 10 MiB.
const REQUEST_SUGGESTED_MAX_BYTES: u64 = 10 << 20;

/// Builds and checks.
pub(crate) fn config(
    settings: &Settings,
    detect_host: &dyn Fn() -> Option<IpAddr>,
    notes: &mut Vec<Note>,
) -> Result<Config, ConfigError> {
    let reader = Reader { settings };
    check_logger(&reader)?;
    let mut config = reader.config(notes)?;
    verify_urls(&reader, &config)?;
    verify_timeouts(&config)?;
    if reader.is_given("listen-client-urls") && !reader.is_given("advertise-client-urls") {
        return Err(ConfigError::AdvertiseMissing);
    }
    refuse_tls(&reader, &config)?;
    use_detected_host(&mut config, detect_host, notes);
    default_cluster(&mut config);
    default_data_dir(&mut config, notes);
    warn_about_sizes(&config, notes);
    Ok(config)
}

fn verify<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::Verify(text.into()))
}

/// Typed access to given values and the table's defaults. The values' syntax was checked when they
/// were read, so a failure here is a mistake in the table and answered as a bad setting.
struct Reader<'a> {
    settings: &'a Settings,
}

impl Reader<'_> {
    fn is_given(&self, name: &str) -> bool {
        self.settings.contains_key(name)
    }

    fn text(&self, name: &str) -> &str {
        match self.settings.get(name) {
            Some(given) => &given.value,
            None => find(name).map_or("", |flag| flag.default),
        }
    }

    fn value<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        let text = self.text(name);
        read(text)
            .ok_or_else(|| ConfigError::Verify(format!("invalid value {text:?} for --{name}")))
    }

    fn unsigned(&self, name: &str) -> Result<u64, ConfigError> {
        self.value(name, parse_unsigned)
    }

    fn switch(&self, name: &str) -> Result<bool, ConfigError> {
        self.value(name, parse_bool)
    }

    fn nanos(&self, name: &str) -> Result<i64, ConfigError> {
        self.value(name, parse_nanos)
    }

    /// A time of which every part below zero counts as none.
    fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        Ok(serving::positive(self.nanos(name)?).unwrap_or_default())
    }

    fn urls(&self, name: &str) -> Result<Vec<EndpointUrl>, ConfigError> {
        self.value(name, |text| EndpointUrl::parse_list(text).ok())
    }

    fn config(&self, notes: &mut Vec<Note>) -> Result<Config, ConfigError> {
        let path = |name| Some(self.text(name)).filter(|text| !text.is_empty()).map(PathBuf::from);
        Ok(Config {
            name: self.text("name").to_owned(),
            data_dir: path("data-dir").unwrap_or_default(),
            wal_dir: path("wal-dir"),
            listen_peer_urls: self.urls("listen-peer-urls")?,
            listen_client_urls: self.urls("listen-client-urls")?,
            initial_advertise_peer_urls: self.urls("initial-advertise-peer-urls")?,
            advertise_client_urls: self.urls("advertise-client-urls")?,
            initial_cluster: match self.settings.get("initial-cluster") {
                Some(given) => given.value.clone(),
                None => DEFAULT_CLUSTER.to_owned(),
            },
            initial_cluster_token: self.text("initial-cluster-token").to_owned(),
            initial_cluster_state: self.value("initial-cluster-state", ClusterState::parse)?,
            heartbeat_ms: self.unsigned("heartbeat-interval")?,
            election_ms: self.unsigned("election-timeout")?,
            pre_vote: self.switch("pre-vote")?,
            initial_election_tick_advance: self.switch("initial-election-tick-advance")?,
            snapshot_count: self.unsigned("snapshot-count")?,
            snapshot_catchup_entries: self.unsigned("snapshot-catchup-entries")?,
            max_wals: self.unsigned("max-wals")?,
            max_snapshots: self.unsigned("max-snapshots")?,
            quota_backend_bytes: self.value("quota-backend-bytes", parse_signed)?,
            max_txn_ops: self.unsigned("max-txn-ops")?,
            max_request_bytes: self.unsigned("max-request-bytes")?,
            serving: self.serving(notes)?,
            max_learners: u64::try_from(self.value("max-learners", parse_signed)?).unwrap_or(0),
            strict_reconfig_check: self.switch("strict-reconfig-check")?,
            force_new_cluster: self.switch("force-new-cluster")?,
            enable_v2: parse_bool(self.text("enable-v2")),
            unsafe_no_fsync: self.switch("unsafe-no-fsync")?,
            log_level: self.value("log-level", LogLevel::parse)?,
            log_format: self.value("log-format", LogFormat::parse)?,
            log_outputs: log_outputs(self)?,
        })
    }

    fn serving(&self, notes: &mut Vec<Note>) -> Result<Serving, ConfigError> {
        let watch_progress = self.nanos("watch-progress-notify-interval")?;
        let batch = self.value("compaction-batch-limit", parse_signed)?;
        let pause = self.nanos("compaction-sleep-interval")?;
        let (keepalive_interval, keepalive_timeout) = serving::keepalive(
            self.nanos("grpc-keepalive-interval")?,
            self.nanos("grpc-keepalive-timeout")?,
        );
        let min_time = self.nanos("grpc-keepalive-min-time")?;
        Ok(Serving {
            origins: serving::origins(self.text("cors")),
            hosts: serving::hosts(self.text("host-whitelist")),
            max_concurrent_streams: serving::concurrent_streams(
                self.unsigned("max-concurrent-streams")?,
            ),
            keepalive_min_time: serving::keepalive_min_time(min_time),
            keepalive_interval,
            keepalive_timeout,
            compaction_batch_rows: serving::compaction_batch_rows(batch),
            compaction_pause: serving::compaction_pause(pause),
            extensive_metrics: self.text("metrics") == "extensive",
            warning_apply_duration: self.duration("warning-apply-duration")?,
            warning_unary_request_duration: self.duration("warning-unary-request-duration")?,
            watch_progress_notify_interval: serving::watch_progress_interval(watch_progress, notes),
        })
    }
}

impl ClusterState {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "existing" => Some(Self::Existing),
            _ => None,
        }
    }
}

impl LogLevel {
    /// Reads a level by its name, in small or capital letters as zap takes it; the empty name is
    /// `info` there.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "debug" | "DEBUG" => Some(Self::Debug),
            "info" | "INFO" | "" => Some(Self::Info),
            "warn" | "WARN" => Some(Self::Warn),
            "error" | "ERROR" => Some(Self::Error),
            "dpanic" | "DPANIC" | "panic" | "PANIC" => Some(Self::Panic),
            "fatal" | "FATAL" => Some(Self::Fatal),
            _ => None,
        }
    }
}

impl LogFormat {
    /// Reads a format by its name; the empty name is `json`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "json" | "" => Some(Self::Json),
            "console" => Some(Self::Console),
            _ => None,
        }
    }
}

fn check_logger(reader: &Reader<'_>) -> Result<(), ConfigError> {
    match reader.text("logger") {
        "zap" => Ok(()),
        "capnslog" => verify("--logger=capnslog is removed in v3.5"),
        other => verify(format!("unknown logger option {other:?}")),
    }
}

fn log_outputs(reader: &Reader<'_>) -> Result<Vec<LogOutput>, ConfigError> {
    let mut names: Vec<&str> = reader.text("log-outputs").split(',').collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > 1 && names.contains(&"default") {
        return verify("multi logoutput for \"default\" is not supported yet");
    }
    let read = |name: &str| match name {
        "systemd/journal" => {
            let exit_code = source_of(reader, "log-outputs").exit_code();
            let what = "log output systemd/journal".to_owned();
            Err(ConfigError::NotSupported { what, hint: "; use stderr".to_owned(), exit_code })
        }
        "" => verify("--log-outputs names no output"),
        "default" | "stderr" => Ok(LogOutput::Stderr),
        "stdout" => Ok(LogOutput::Stdout),
        path => Ok(LogOutput::File(PathBuf::from(path))),
    };
    names.into_iter().map(read).collect()
}

fn source_of(reader: &Reader<'_>, name: &str) -> Source {
    reader.settings.get(name).map_or(Source::CommandLine, |given| given.source)
}

fn verify_urls(reader: &Reader<'_>, config: &Config) -> Result<(), ConfigError> {
    check_bound(&config.listen_peer_urls)?;
    check_bound(&config.listen_client_urls)?;
    check_advertised("initial-advertise-peer-urls", &config.initial_advertise_peer_urls)?;
    // Unset beside explicit listeners: etcd drops the default, so there is nothing to check.
    if reader.is_given("listen-client-urls") && !reader.is_given("advertise-client-urls") {
        return Ok(());
    }
    check_advertised("advertise-client-urls", &config.advertise_client_urls)
}

/// A listener needs an address of this machine: names could move.
fn check_bound(urls: &[EndpointUrl]) -> Result<(), ConfigError> {
    let is_address = |url: &EndpointUrl| {
        url.scheme().is_unix() || url.host() == "localhost" || url.host().parse::<IpAddr>().is_ok()
    };
    match urls.iter().find(|url| !is_address(url)) {
        Some(url) => verify(format!("expected IP in URL for binding ({url})")),
        None => Ok(()),
    }
}

fn check_advertised(name: &str, urls: &[EndpointUrl]) -> Result<(), ConfigError> {
    match urls.iter().find(|url| !url.scheme().is_unix() && url.host().is_empty()) {
        Some(url) => verify(format!(
            "--{name} {:?} must be \"host:port\" (unexpected empty host ({url}))",
            join(urls)
        )),
        None => Ok(()),
    }
}

fn verify_timeouts(config: &Config) -> Result<(), ConfigError> {
    let (heartbeat, election) = (config.heartbeat_ms, config.election_ms);
    if heartbeat == 0 {
        return verify("--heartbeat-interval must be >0 (set to 0ms)");
    }
    if election == 0 {
        return verify("--election-timeout must be >0 (set to 0ms)");
    }
    if heartbeat.saturating_mul(5) > election {
        return verify(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > ELECTION_MAX_MS {
        return verify(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        ));
    }
    Ok(())
}

fn refuse_tls(reader: &Reader<'_>, config: &Config) -> Result<(), ConfigError> {
    let lists = [
        ("listen-peer-urls", &config.listen_peer_urls),
        ("listen-client-urls", &config.listen_client_urls),
        ("initial-advertise-peer-urls", &config.initial_advertise_peer_urls),
        ("advertise-client-urls", &config.advertise_client_urls),
    ];
    for (name, urls) in lists {
        if let Some(url) = urls.iter().find(|url| url.scheme().is_tls()) {
            return Err(ConfigError::NotSupported {
                what: format!("TLS ({url} in --{name})"),
                hint: "; use http:// or unix:// URLs".to_owned(),
                exit_code: source_of(reader, name).exit_code(),
            });
        }
    }
    Ok(())
}

/// A listener on all addresses beside a default advertised URL: `localhost` would send the others
/// to themselves, so etcd advertises the address of the default route.
fn use_detected_host(
    config: &mut Config,
    detect_host: &dyn Fn() -> Option<IpAddr>,
    notes: &mut Vec<Note>,
) {
    let is_open = |listen: &[EndpointUrl]| listen.first().is_some_and(|u| u.host() == "0.0.0.0");
    let peers = is_open(&config.listen_peer_urls)
        && join(&config.initial_advertise_peer_urls) == default_of("initial-advertise-peer-urls");
    let clients = is_open(&config.listen_client_urls)
        && join(&config.advertise_client_urls) == default_of("advertise-client-urls");
    if !peers && !clients {
        return;
    }
    let Some(host) = detect_host() else {
        notes.push(Note::info("failed to detect default host"));
        return;
    };
    let at_port_of = |listen: &[EndpointUrl]| {
        let port = listen.first().map_or(0, EndpointUrl::port);
        vec![EndpointUrl::http(host, port)]
    };
    if peers {
        config.initial_advertise_peer_urls = at_port_of(&config.listen_peer_urls);
    }
    if clients {
        config.advertise_client_urls = at_port_of(&config.listen_client_urls);
    }
    notes.push(Note::info("detected default host for advertise").with("host", host.to_string()));
}

fn default_of(name: &str) -> &'static str {
    find(name).map_or("", |flag| flag.default)
}

/// A name without a cluster: this member alone. etcd compares texts, so an explicitly given default
/// counts as not given, and a custom URL without a name leaves the default cluster in place.
fn default_cluster(config: &mut Config) {
    if config.name == DEFAULT_NAME || config.initial_cluster != DEFAULT_CLUSTER {
        return;
    }
    let name = if config.name.is_empty() { DEFAULT_NAME } else { &config.name };
    let members: Vec<String> =
        config.initial_advertise_peer_urls.iter().map(|url| format!("{name}={url}")).collect();
    config.initial_cluster = members.join(",");
}

fn default_data_dir(config: &mut Config, notes: &mut Vec<Note>) {
    if config.data_dir.as_os_str().is_empty() {
        config.data_dir = PathBuf::from(format!("{}.etcd", config.name));
        notes.push(
            Note::warn("'data-dir' was empty; using default")
                .with("data-dir", config.data_dir.display().to_string()),
        );
    }
}

fn warn_about_sizes(config: &Config, notes: &mut Vec<Note>) {
    let over = |message, given: u64, limit: u64| {
        Note::warn(message)
            .with("given", given.to_string())
            .with("suggested-maximum", limit.to_string())
    };
    if config.max_request_bytes > REQUEST_SUGGESTED_MAX_BYTES {
        let message = "exceeded recommended request limit";
        notes.push(over(message, config.max_request_bytes, REQUEST_SUGGESTED_MAX_BYTES));
    }
    match config.quota_limit_bytes() {
        None => notes.push(Note::info("disabled backend quota")),
        Some(bytes) if bytes > QUOTA_SUGGESTED_MAX_BYTES => {
            notes.push(over("quota exceeds the maximum value", bytes, QUOTA_SUGGESTED_MAX_BYTES));
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests;
