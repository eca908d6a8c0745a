use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// An output that the test can read.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(level: LogLevel, format: LogFormat, work: impl FnOnce()) -> String {
    let kept = Kept::default();
    let sink = Sink::over(level, format, vec![Box::new(kept.clone())]);
    let subscriber = tracing_subscriber::registry().with(layer::SinkLayer { sink });
    tracing::subscriber::with_default(subscriber, work);
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_lines_have_etcds_keys_in_etcds_order() {
    let record = Record {
        level: LogLevel::Fatal,
        caller: "etcd/main.rs:7",
        message: "discovery \"failed\"",
        fields: &[("error", Value::from("a\nb")), ("count", Value::from(3))],
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    assert_eq!(
        json_line(now, &record),
        "{\"level\":\"fatal\",\"ts\":\"1970-01-01T00:00:01.000000Z\",\
         \"caller\":\"etcd/main.rs:7\",\"msg\":\"discovery \\\"failed\\\"\",\
         \"error\":\"a\\nb\",\"count\":3}"
    );
    assert_eq!(
        console_line(now, &record),
        "1970-01-01T00:00:01.000000Z\tfatal\tetcd/main.rs:7\tdiscovery \"failed\"\t\
         {\"error\": \"a\\nb\", \"count\": 3}"
    );
}

#[test]
fn events_become_lines_with_typed_fields() {
    let line = logged(LogLevel::Info, LogFormat::Json, || {
        tracing::info!(
            "data-dir" = %"d.etcd", count = 3, ratio = 0.5, ok = true, urls = ?["a", "b"],
            "started {}", "well"
        );
        tracing::debug!("not written");
    });
    let value: Value = serde_json::from_str(&line).expect("one JSON line");
    assert_eq!(value["level"], "info");
    assert_eq!(value["msg"], "started well");
    assert_eq!(value["data-dir"], "d.etcd");
    assert_eq!(value["count"], 3);
    assert_eq!(value["ratio"], 0.5);
    assert_eq!(value["ok"], true);
    assert_eq!(value["urls"], serde_json::json!(["a", "b"]));
    let caller = value["caller"].as_str().unwrap_or("");
    assert!(caller.starts_with("etcd/logging/tests.rs:"), "{caller}");
}

#[test]
fn level_decides_what_is_written() {
    let write_all = || {
        tracing::error!("e");
        tracing::warn!("w");
        tracing::info!("i");
        tracing::debug!("d");
        tracing::trace!("t");
        tracing::info!(target: "h2::codec", "chatter");
        tracing::warn!(target: "h2::codec", "trouble");
    };
    let lines = |level| logged(level, LogFormat::Json, write_all).lines().count();
    assert_eq!(lines(LogLevel::Debug), 5);
    assert_eq!(lines(LogLevel::Info), 4);
    assert_eq!(lines(LogLevel::Warn), 3);
    assert_eq!(lines(LogLevel::Error), 1);
    assert_eq!(lines(LogLevel::Fatal), 0);
}

#[test]
fn messages_cannot_fake_lines() {
    for format in [LogFormat::Json, LogFormat::Console] {
        let text = logged(LogLevel::Info, format, || tracing::info!(who = "x\ny", "a\nb\rc"));
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    }
}

#[test]
fn outputs_that_cannot_be_opened_are_named() {
    let outputs = [LogOutput::File("no-such-directory/log".into())];
    let error = Sink::open(LogLevel::Info, LogFormat::Json, &outputs).err().unwrap_or_default();
    assert!(error.contains("no-such-directory/log"), "{error}");
}
