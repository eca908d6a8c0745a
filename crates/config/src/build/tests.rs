use std::net::Ipv4Addr;

use super::*;
use crate::load::{NoteLevel, Outcome, parse};

fn run(line: &str, environment: &[(&str, &str)]) -> Result<(Config, Vec<Note>), ConfigError> {
    let arguments: Vec<String> =
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let host = || Some(IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7)));
    match parse(&arguments, &environment, &host)? {
        Outcome::Run { config, notes } => Ok((*config, notes)),
        Outcome::Print { .. } => panic!("not a start: {line}"),
    }
}

fn config_of(line: &str) -> Config {
    run(line, &[]).unwrap().0
}

#[test]
fn defaults_are_those_of_the_governing_release() {
    let (config, notes) = run("", &[]).unwrap();
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(config.wal_path(), PathBuf::from("default.etcd/member/wal"));
    assert_eq!(join(&config.listen_peer_urls), "http://localhost:2380");
    assert_eq!(join(&config.listen_client_urls), "http://localhost:2379");
    assert_eq!(join(&config.advertise_client_urls), "http://localhost:2379");
    assert_eq!(config.initial_cluster, "default=http://localhost:2380");
    assert_eq!((config.heartbeat_ms, config.election_ms, config.election_ticks()), (100, 1000, 10));
    assert_eq!((config.snapshot_count, config.snapshot_catchup_entries), (10_000, 5_000));
    assert_eq!((config.max_txn_ops, config.max_request_bytes), (128, 1_572_864));
    assert_eq!(config.quota_limit_bytes(), Some(2_147_483_648));
    assert_eq!(config.enable_v2, None);
    assert!(config.pre_vote && config.strict_reconfig_check && !config.unsafe_no_fsync);
    assert_eq!(config.log_outputs, [LogOutput::Stderr]);
    let messages: Vec<&str> = notes.iter().map(|note| note.message).collect();
    assert_eq!(messages, ["'data-dir' was empty; using default"]);
}

#[test]
fn environment_sets_what_the_line_does_not() {
    let (config, _) = run(
        "--heartbeat-interval 50",
        &[
            ("ETCD_NAME", "m1"),
            ("ETCD_ELECTION_TIMEOUT", ""),
            ("ETCD_LISTEN_PEER_URLS", "http://10.0.0.1:2380,unix:///run/p.sock"),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", "http://m1.example:2380"),
            ("ETCD_ENABLE_V2", "false"),
            ("ETCD_MAX_LEARNERS", "-3"),
            ("ETCD_QUOTA_BACKEND_BYTES", "-1"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
    assert_eq!((config.heartbeat_ms, config.election_ms), (50, 1000));
    assert_eq!(config.data_dir, PathBuf::from("m1.etcd"));
    assert_eq!(config.listen_peer_urls.len(), 2);
    assert_eq!(config.initial_cluster, "m1=http://m1.example:2380");
    assert_eq!(config.enable_v2, Some(false));
    assert_eq!(config.max_learners, 0);
    assert_eq!(config.quota_limit_bytes(), None);
}

#[test]
fn an_open_listener_beside_a_default_url_advertises_the_detected_host() {
    let config = config_of(
        "--name a --listen-peer-urls http://0.0.0.0:5 --listen-client-urls http://0.0.0.0:6 \
         --advertise-client-urls http://localhost:2379",
    );
    assert_eq!(join(&config.initial_advertise_peer_urls), "http://10.9.8.7:5");
    assert_eq!(join(&config.advertise_client_urls), "http://10.9.8.7:6");
    assert_eq!(config.initial_cluster, "a=http://10.9.8.7:5");
    let config = config_of(
        "--listen-client-urls http://0.0.0.0:6 --advertise-client-urls http://me.example:6",
    );
    assert_eq!(join(&config.advertise_client_urls), "http://me.example:6");
}

#[test]
fn older_names_win_over_newer_ones_with_a_note() {
    let (config, notes) = run(
        "--experimental-snapshot-catchup-entries=7 --snapshot-catchup-entries=9 --log-output stdout",
        &[],
    )
    .unwrap();
    assert_eq!(config.snapshot_catchup_entries, 7);
    assert_eq!(config.log_outputs, [LogOutput::Stdout]);
    assert!(notes.iter().any(|note| note.message == "flag has a newer name"));
}

#[test]
fn flags_that_ask_for_what_is_the_case_are_taken() {
    let line = "--cors=* --proxy off --auth-token simple --enable-grpc-gateway=T \
                --raft-read-timeout=5000ms --grpc-keepalive-interval 120m --cert-file= \
                --auto-compaction-retention=0 --backend-batch-interval=0 --discovery-fallback proxy \
                --max-concurrent-streams 0xffffffff --v2-deprecation=not-yet --config -force";
    let (_, notes) = run(line, &[("ETCD_METRICS", "basic"), ("ETCD_CONFIG_FILE", "")]).unwrap();
    let ignored = notes.iter().filter(|note| note.level == NoteLevel::Warn);
    // v2-deprecation, config, force, and the data directory's note.
    assert_eq!(ignored.count(), 4, "{notes:?}");
}

#[test]
fn every_flag_that_does_not_work_is_refused_by_name_from_both_sources() {
    use crate::flags::{Kind, Status, TABLE};
    for flag in TABLE.iter().filter(|flag| matches!(flag.status, Status::NotYet(_))) {
        let value = match flag.kind {
            Kind::Bool if flag.default == "true" => "false",
            Kind::Bool => "true",
            Kind::Duration => "17s",
            Kind::Choice(words) => words[words.len() - 1],
            Kind::Urls => "http://127.0.0.1:1",
            _ => "17",
        };
        let error = run(&format!("--{}={value}", flag.name), &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{}", flag.name);
        assert!(error.to_string().contains(flag.name), "{error}");
        let error = run("", &[(flag.env_name().as_str(), value)]).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{}", flag.name);
        assert!(error.to_string().contains(&flag.env_name()), "{error}");
    }
}

#[test]
fn surprising_sizes_are_noted() {
    let (_, notes) =
        run("--quota-backend-bytes=9000000000 --max-request-bytes=20000000", &[]).unwrap();
    let messages: Vec<&str> = notes.iter().map(|note| note.message).collect();
    assert!(messages.contains(&"quota exceeds the maximum value"));
    assert!(messages.contains(&"exceeded recommended request limit"));
}

#[test]
fn log_outputs_are_sorted_and_checked() {
    let config = config_of("--log-outputs=stderr,/var/log/e.log,stdout,stderr");
    let expected = [LogOutput::File("/var/log/e.log".into()), LogOutput::Stderr, LogOutput::Stdout];
    assert_eq!(config.log_outputs, expected);
    assert!(run("--log-outputs=", &[]).is_err());
    assert!(run("--log-outputs=systemd/journal", &[]).is_err());
}

#[test]
fn refusals_do_not_show_secrets() {
    let error = run("", &[("ETCD_DISCOVERY_PASSWORD", "hunter2")]).unwrap_err().to_string();
    assert!(error.contains("ETCD_DISCOVERY_PASSWORD") && !error.contains("hunter2"), "{error}");
}

#[test]
fn watch_progress_has_a_default_and_a_minimum() {
    let cases = [
        ("", 600_000),
        ("--watch-progress-notify-interval=0", 600_000),
        ("--watch-progress-notify-interval=-3s", 600_000),
        ("--watch-progress-notify-interval=2s", 2_000),
        ("--watch-progress-notify-interval=99ms", 100),
        ("--experimental-watch-progress-notify-interval=700ms", 700),
    ];
    for (line, millis) in cases {
        let (config, notes) = run(line, &[]).unwrap();
        let interval = config.serving.watch_progress_notify_interval;
        assert_eq!(interval.as_millis(), millis, "{line:?}");
        let adjusted = notes.iter().any(|note| note.message.starts_with("adjusting"));
        assert_eq!(adjusted, line.ends_with("99ms"), "{line:?}");
    }
}

#[test]
fn limits_of_connections_follow_etcd() {
    let (config, _) = run("", &[]).unwrap();
    let serving = &config.serving;
    assert_eq!(serving.max_concurrent_streams, u32::MAX);
    assert_eq!(serving.keepalive_min_time.as_secs(), 5);
    let pings = |serving: &Serving| {
        (serving.keepalive_interval.as_millis(), serving.keepalive_timeout.as_millis())
    };
    assert_eq!(pings(serving), (7_200_000, 20_000));
    for (line, expected) in [
        ("--grpc-keepalive-interval=3s --grpc-keepalive-timeout=4s", (3_000, 4_000)),
        ("--grpc-keepalive-interval=3ms", (1_000, 20_000)),
        ("--grpc-keepalive-interval=0 --grpc-keepalive-timeout=4s", (7_200_000, 20_000)),
        ("--grpc-keepalive-interval=3s --grpc-keepalive-timeout=0", (7_200_000, 20_000)),
    ] {
        assert_eq!(pings(&config_of(line).serving), expected, "{line}");
    }
    let serving = config_of("--grpc-keepalive-min-time=0 --max-concurrent-streams=0x10").serving;
    assert_eq!((serving.keepalive_min_time.as_secs(), serving.max_concurrent_streams), (300, 16));
    assert_eq!(config_of("--max-concurrent-streams 0").serving.max_concurrent_streams, u32::MAX);
    for (value, reason) in [("4294967296", "value out of range"), ("x", "invalid syntax")] {
        let error = run(&format!("--max-concurrent-streams={value}"), &[]).unwrap_err();
        let expected = format!(
            "invalid value \"{value}\" for flag -max-concurrent-streams: \
             strconv.ParseUint: parsing \"{value}\": {reason}"
        );
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn compaction_and_warnings_have_defaults_and_older_names() {
    let serving = config_of("").serving;
    assert_eq!((serving.compaction_batch_rows, serving.compaction_pause.as_millis()), (1000, 10));
    assert_eq!(serving.warning_apply_duration.as_millis(), 100);
    assert_eq!(serving.warning_unary_request_duration.as_millis(), 300);
    assert!(!serving.extensive_metrics);
    let serving = config_of(
        "--experimental-compaction-batch-limit=7 --experimental-compaction-sleep-interval=1s \
         --experimental-warning-apply-duration=2s --warning-unary-request-duration=3s \
         --metrics=extensive",
    )
    .serving;
    assert_eq!((serving.compaction_batch_rows, serving.compaction_pause.as_millis()), (7, 1000));
    assert_eq!(serving.warning_apply_duration.as_secs(), 2);
    assert_eq!(serving.warning_unary_request_duration.as_secs(), 3);
    assert!(serving.extensive_metrics);
    let both =
        "--experimental-warning-unary-request-duration=1s --warning-unary-request-duration=2s";
    let error = run(both, &[]).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        "both --experimental-warning-unary-request-duration and --warning-unary-request-duration \
         flags are set. Use only --warning-unary-request-duration"
    );
    let serving = config_of("--compaction-batch-limit=-5 --compaction-sleep-interval=-1s").serving;
    assert_eq!((serving.compaction_batch_rows, serving.compaction_pause.as_millis()), (1000, 10));
}

#[test]
fn hosts_and_origins() {
    let words = |line: &str| {
        let serving = config_of(line).serving;
        let list = |set: Option<std::collections::BTreeSet<String>>| {
            set.map(|set| set.into_iter().collect::<Vec<_>>().join(" "))
        };
        (list(serving.hosts), list(serving.origins))
    };
    assert_eq!(words(""), (None, None));
    assert_eq!(words("--host-whitelist=* --cors=*"), (None, None));
    assert_eq!(words("--host-whitelist=b,a,*").0, None);
    assert_eq!(words("--host-whitelist=b,a").0, Some("a b".to_owned()));
    assert_eq!(words("--host-whitelist=").0, Some(String::new()));
    assert_eq!(words("--cors=http://b:1,http://a:2").1, Some("http://a:2 http://b:1".to_owned()));
    for (value, reason) in [
        ("x", "URL scheme must be http, https, unix, or unixs: x"),
        ("http://a", "URL address does not have the form \"host:port\": http://a"),
        ("http://a:1,*", "URL scheme must be http, https, unix, or unixs: *"),
    ] {
        let error = run(&format!("--cors={value}"), &[]).unwrap_err().to_string();
        let expected = format!("invalid value \"{value}\" for flag -cors: {reason}");
        assert!(error.contains(&expected), "{error}");
    }
}
