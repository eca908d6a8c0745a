//! Takes `tracing` events to the [`Sink`].

use std::fmt;

use config::LogLevel;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::{Record, Sink};

/// Libraries whose debug and info events drown ours; their warnings are kept.
const CHATTY: [&str; 7] = ["h2", "hyper", "hyper_util", "mio", "rustls", "tonic", "tower"];

/// Makes the sink the target of all events of the process. A second call changes nothing.
pub(crate) fn install(sink: Sink) {
    let subscriber = tracing_subscriber::registry().with(SinkLayer { sink });
    // Fails only when something is installed already.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The bridge.
pub(super) struct SinkLayer {
    pub(super) sink: Sink,
}

impl<S: Subscriber> Layer<S> for SinkLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let library = metadata.target().split("::").next().unwrap_or("");
        let is_chatter = CHATTY.contains(&library) && *metadata.level() > Level::WARN;
        !is_chatter && level_of(metadata).is_some_and(|level| self.sink.takes(level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(level) = level_of(event.metadata()) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.sink.write(&Record {
            level,
            caller: &caller(event.metadata()),
            message: &fields.message,
            fields: &fields.others,
        });
    }
}

/// `trace` has no counterpart in etcd and is never written.
fn level_of(metadata: &Metadata<'_>) -> Option<LogLevel> {
    match *metadata.level() {
        Level::ERROR => Some(LogLevel::Error),
        Level::WARN => Some(LogLevel::Warn),
        Level::INFO => Some(LogLevel::Info),
        Level::DEBUG => Some(LogLevel::Debug),
        Level::TRACE => None,
    }
}

/// `crates/server/src/run.rs`, line 7, as `server/run.rs:7`; of third-party code the module.
fn caller(metadata: &Metadata<'_>) -> String {
    let line = metadata.line().unwrap_or(0);
    match metadata.file().and_then(|file| file.strip_prefix("crates/")) {
        Some(file) => format!("{}:{line}", file.replacen("/src/", "/", 1)),
        None => format!("{}:{line}", metadata.target()),
    }
}

/// The fields of one event, the message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
            return;
        }
        // Lists of texts and numbers print as JSON lists; written as such they stay lists.
        let list = text.starts_with('[').then(|| serde_json::from_str::<Value>(&text).ok());
        self.push(field, list.flatten().unwrap_or(Value::String(text)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.push(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
}
