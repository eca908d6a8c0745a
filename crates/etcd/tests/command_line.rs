//! What the `etcd` program says and how it ends when it is not to serve: exit code and text per
//! command line and environment.
//!
//! Tests marked [R] pass row by row with Go 3.5.1 in place of our program. 3.4.23 gives the same exit
//! codes and texts in its older log form, but takes `--logger=capnslog`.

use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A start that wrongly succeeds would serve for ever; so long is waited before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments, environment, exit code, what stderr contains.
type Row = (&'static [&'static str], &'static [(&'static str, &'static str)], i32, &'static str);

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn drain(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = from.read_to_string(&mut text);
        let _ = sender.send(text);
    });
    receiver
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut child: Child = Command::new(env!("CARGO_BIN_EXE_etcd"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start etcd");
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    // The pipe closes when the process ends.
    let Ok(stderr) = stderr.recv_timeout(PATIENCE) else {
        child.kill().expect("kill etcd");
        child.wait().expect("wait for etcd");
        panic!("still running: {arguments:?} {environment:?}");
    };
    let code = child.wait().expect("wait for etcd").code();
    Ended { code, stdout: stdout.recv_timeout(PATIENCE).unwrap_or_default(), stderr }
}

/// Runs every row and reports all that differ at once.
fn check(rows: &[Row]) {
    let mut wrong = String::new();
    for (arguments, environment, code, text) in rows {
        let ended = run(arguments, environment);
        let is_right =
            ended.code == Some(*code) && ended.stderr.contains(text) && ended.stdout.is_empty();
        if !is_right {
            let found = format!("{:?} {}{}", ended.code, ended.stdout, ended.stderr);
            let _ = writeln!(
                wrong,
                "{arguments:?} {environment:?}\nexpected {code} {text}\nfound {found}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

const MUST_ADVERTISE: &str =
    "--advertise-client-urls is required when --listen-client-urls is set explicitly";

#[test]
fn syntax_mistakes_exit_with_2_and_usage() {
    // [R]
    let rows: &[Row] = &[
        (&["--nope"], &[], 2, "flag provided but not defined: -nope\nUsage:\n\n  etcd [flags]\n"),
        (&["--nope=1", "--help"], &[], 2, "flag provided but not defined: -nope\n"),
        (&["--name"], &[], 2, "flag needs an argument: -name\nUsage:"),
        (&["--=x"], &[], 2, "bad flag syntax: --=x\nUsage:"),
        (&["---name"], &[], 2, "bad flag syntax: ---name\nUsage:"),
        (
            &["--heartbeat-interval=abc"],
            &[],
            2,
            "invalid value \"abc\" for flag -heartbeat-interval: parse error\nUsage:",
        ),
        (
            &["--snapshot-count=-1"],
            &[],
            2,
            "invalid value \"-1\" for flag -snapshot-count: parse error\n",
        ),
        (&["--pre-vote=xx"], &[], 2, "invalid boolean value \"xx\" for -pre-vote: parse error\n"),
        (
            &["--initial-cluster-state=foo"],
            &[],
            2,
            "invalid value \"foo\" for flag -initial-cluster-state: invalid value\n",
        ),
        (&["--log-level=foo"], &[], 2, "unrecognized level: \"foo\""),
        (
            &["--listen-peer-urls=foo"],
            &[],
            2,
            "invalid value \"foo\" for flag -listen-peer-urls: URL scheme must be http, https, \
             unix, or unixs: foo\n",
        ),
        (
            &["--listen-peer-urls", "127.0.0.1:2380"],
            &[],
            2,
            "parse \"127.0.0.1:2380\": first path segment in URL cannot contain colon\n",
        ),
        (&["--listen-peer-urls=http://a:1/"], &[], 2, "URL must not contain a path: http://a:1/\n"),
        (
            &["--listen-peer-urls=http://a"],
            &[],
            2,
            "URL address does not have the form \"host:port\": http://a\n",
        ),
    ];
    check(rows);
}

#[test]
fn leftover_words_exit_with_1() {
    // [R]
    let rows: &[Row] = &[
        (
            &["foo"],
            &[],
            1,
            "\"msg\":\"failed to verify flags\",\"error\":\"'foo' is not a valid flag\"}\n",
        ),
        (&["--pre-vote", "false"], &[], 1, "\"error\":\"'false' is not a valid flag\""),
        (&["--", "--name"], &[], 1, "\"error\":\"'--name' is not a valid flag\""),
        // Before a flag that is refused.
        (&["--cert-file=c", "foo"], &[], 1, "\"error\":\"'foo' is not a valid flag\""),
    ];
    check(rows);
}

#[test]
fn settings_that_break_a_rule_exit_with_1_and_etcds_text() {
    // [R]
    let rows: &[Row] = &[
        (
            &["--listen-client-urls=http://foo.example:2379", "--advertise-client-urls=http://a:1"],
            &[],
            1,
            "expected IP in URL for binding (http://foo.example:2379)",
        ),
        (
            &["--listen-client-urls=http://:2379", "--advertise-client-urls=http://a:1"],
            &[],
            1,
            "expected IP in URL for binding (http://:2379)",
        ),
        (
            &["--advertise-client-urls=http://:1"],
            &[],
            1,
            r#"--advertise-client-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))"#,
        ),
        (
            &["--initial-advertise-peer-urls=http://b:2,http://:1"],
            &[],
            1,
            r#"--initial-advertise-peer-urls \"http://:1,http://b:2\" must be \"host:port\" (unexpected empty host (http://:1))"#,
        ),
        (&["--listen-client-urls=http://127.0.0.1:2379"], &[], 1, MUST_ADVERTISE),
        (&[], &[("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:2379")], 1, MUST_ADVERTISE),
        (&["--heartbeat-interval=0"], &[], 1, "--heartbeat-interval must be >0 (set to 0ms)"),
        (&["--election-timeout=0"], &[], 1, "--election-timeout must be >0 (set to 0ms)"),
        (
            &["--election-timeout=100"],
            &[],
            1,
            "--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            &["--election-timeout=60000"],
            &[],
            1,
            "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
        ),
        (&["--logger=capnslog"], &[], 1, "--logger=capnslog is removed in v3.5"),
        (&["--logger=foo"], &[], 1, r#"unknown logger option \"foo\""#),
        (
            &["--log-outputs=default,stderr"],
            &[],
            1,
            r#"multi logoutput for \"default\" is not supported yet"#,
        ),
        (&["--log-outputs=no-such-directory/log"], &[], 1, "no-such-directory/log"),
    ];
    check(rows);
}

#[test]
fn environment_mistakes_exit_with_1() {
    const SHADOWED: &str = "conflicting environment variable is shadowed by corresponding \
                            command-line flag (either unset environment variable or disable \
                            flag))\",\"environment-variable\":\"ETCD_NAME\"";
    // [R]
    let rows: &[Row] = &[
        (
            &[],
            &[("ETCD_PRE_VOTE", "xx")],
            1,
            r#""error":"invalid value \"xx\" for ETCD_PRE_VOTE: parse error""#,
        ),
        (
            &[],
            &[("ETCD_HEARTBEAT_INTERVAL", "abc")],
            1,
            r#"invalid value \"abc\" for ETCD_HEARTBEAT_INTERVAL: parse error"#,
        ),
        (
            &[],
            &[("ETCD_LISTEN_PEER_URLS", "http://a")],
            1,
            r#"for ETCD_LISTEN_PEER_URLS: URL address does not have the form \"host:port\": http://a"#,
        ),
        (&["--name", "y"], &[("ETCD_NAME", "x")], 1, SHADOWED),
        (&["--name", "y"], &[("ETCD_NAME", "")], 1, SHADOWED),
        (&["--name", "y"], &[("ETCD_NAME", "x"), ("ETCD_PRE_VOTE", "xx")], 1, SHADOWED),
    ];
    check(rows);
}

#[test]
fn what_does_not_work_yet_is_refused_by_name() {
    let rows: &[Row] = &[
        (&["--cert-file", "c.pem"], &[], 2, "flag --cert-file=c.pem is not supported"),
        (&["--auto-tls"], &[], 2, "flag --auto-tls=true is not supported"),
        (&["--config-file=c.yml"], &[], 2, "flag --config-file=c.yml is not supported"),
        (&["--debug"], &[], 2, "--log-level=debug"),
        (&["--proxy=on"], &[], 2, "flag --proxy=on is not supported"),
        (&["--experimental-initial-corrupt-check"], &[], 2, "--experimental-initial-corrupt-check"),
        (&["--discovery-srv=example.com"], &[], 2, "--discovery-srv"),
        (
            &[],
            &[("ETCD_CERT_FILE", "c.pem")],
            1,
            "environment variable ETCD_CERT_FILE=c.pem is not supported",
        ),
        (&[], &[("ETCD_CONFIG_FILE", "c.yml")], 1, "environment variable ETCD_CONFIG_FILE=c.yml"),
        (&["gateway", "start"], &[], 2, "sub-command gateway is not supported"),
        (&["grpc-proxy"], &[], 2, "sub-command grpc-proxy is not supported"),
        (
            &["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=http://a:1"],
            &[],
            2,
            "TLS (https://127.0.0.1:1 in --listen-client-urls) is not supported",
        ),
        (
            &[],
            &[("ETCD_LISTEN_PEER_URLS", "https://127.0.0.1:1")],
            1,
            "TLS (https://127.0.0.1:1 in --listen-peer-urls) is not supported",
        ),
    ];
    check(rows);
}

#[test]
fn help_goes_to_both_streams_and_exits_with_0() {
    // [R]: usage on stderr, flags on stdout; what stands behind is not looked at.
    for arguments in [&["-h"][..], &["--help"], &["--name", "a", "--help", "--nope"]] {
        let ended = run(arguments, &[("ETCD_PRE_VOTE", "xx")]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.stderr.starts_with("Usage:\n\n  etcd [flags]\n"), "{}", ended.stderr);
        assert!(ended.stdout.contains("\nMember:\n  --name 'default'\n"), "{}", ended.stdout);
    }
}

#[test]
fn version_is_printed_before_settings_are_judged() {
    // [R] as to the first four names and the order of checks.
    let bad = [("ETCD_PRE_VOTE", "xx")];
    for arguments in [&["--version"][..], &["--version", "--heartbeat-interval=0"]] {
        let ended = run(arguments, &bad);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(lines.len(), 5, "{}", ended.stdout);
        assert!(lines[0].starts_with("etcd Version: 3."), "{}", ended.stdout);
        assert!(lines[1].starts_with("Git SHA: "), "{}", ended.stdout);
        assert!(lines[2].starts_with("Go Version: "), "{}", ended.stdout);
        assert!(lines[3].starts_with("Go OS/Arch: linux/"), "{}", ended.stdout);
        assert!(lines[4].starts_with("etch Version: "), "{}", ended.stdout);
    }
    assert_eq!(run(&["--version", "foo"], &[]).code, Some(1));
}

#[test]
fn a_data_directory_of_a_proxy_is_refused() {
    let base = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("proxy-dirs");
    for (folders, text) in [
        (&["member", "proxy"][..], "invalid datadir; both member and proxy directories exist"),
        (&["proxy"], "belongs to a v2 proxy"),
    ] {
        let dir = base.join(folders.concat());
        for folder in folders {
            std::fs::create_dir_all(dir.join(folder)).expect("create folders");
        }
        let ended = run(&["--data-dir", dir.to_str().expect("text path")], &[]);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or("");
        assert!(last.contains("\"level\":\"fatal\"") && last.contains(text), "{}", ended.stderr);
    }
}

#[test]
fn notes_on_the_settings_are_logged_before_the_start() {
    // A folder of a proxy ends the start behind the notes.
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("notes");
    std::fs::create_dir_all(dir.join("proxy")).expect("create folders");
    let dir = dir.to_str().expect("text path");
    let ended = run(&["-config", "--data-dir", dir], &[("ETCD_FOO", "1"), ("ETCD_NAME", "n")]);
    for text in [
        "\"level\":\"info\",",
        "\"msg\":\"Running: \",\"args\":[\"",
        "\"level\":\"warn\",",
        "\"msg\":\"unrecognized environment variable\",\"environment-variable\":\"ETCD_FOO\"",
        "\"msg\":\"recognized and used environment variable\",\"variable-name\":\"ETCD_NAME\"",
        "\"msg\":\"flag is no longer supported; ignoring it\",\"flag\":\"config\"",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    assert_eq!(ended.code, Some(1));
}
