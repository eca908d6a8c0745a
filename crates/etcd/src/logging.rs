//! Logs in etcd's form: one JSON object, or one tab-separated line, per event.
//!
//! Owns:       the log outputs; the one sink that all events of the process go through.
//! Uses:       `tracing` for events, `serde_json` for quoting.
//! Never:      fails a caller: an output that cannot be written loses the line.
//! Invariants: a line is written whole or not at all, under one lock; equal messages are thinned
//!             out per second (`sampling`), so a log storm has a bound.
//! Source:     reference/server-config.md 11; keys and order as 3.5.1 writes them.

mod layer;
mod sampling;
mod timestamp;

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use config::{LogFormat, LogLevel, LogOutput};
use serde_json::Value;

pub(crate) use layer::install;
use sampling::Sampler;

/// One event, ready to be written.
pub(crate) struct Record<'a> {
    /// Severity.
    pub(crate) level: LogLevel,
    /// Crate path and line of the code that logs.
    pub(crate) caller: &'a str,
    /// What happened.
    pub(crate) message: &'a str,
    /// Particulars in the order given.
    pub(crate) fields: &'a [(&'a str, Value)],
}

/// Where events go. Clones share the outputs.
#[derive(Clone)]
pub(crate) struct Sink {
    level: LogLevel,
    format: LogFormat,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    outputs: Vec<Box<dyn Write + Send>>,
    sampler: Sampler,
}

impl Sink {
    /// JSON on standard error: what is used until the settings are known.
    pub(crate) fn early() -> Self {
        Self::over(LogLevel::Info, LogFormat::Json, vec![Box::new(io::stderr())])
    }

    /// Opens the outputs.
    ///
    /// # Errors
    /// A text that names the file which cannot be opened.
    pub(crate) fn open(
        level: LogLevel,
        format: LogFormat,
        outputs: &[LogOutput],
    ) -> Result<Self, String> {
        let open = |output: &LogOutput| -> Result<Box<dyn Write + Send>, String> {
            match output {
                LogOutput::Stderr => Ok(Box::new(io::stderr())),
                LogOutput::Stdout => Ok(Box::new(io::stdout())),
                LogOutput::File(path) => {
                    match OpenOptions::new().append(true).create(true).open(path) {
                        Ok(file) => Ok(Box::new(file)),
                        Err(error) => {
                            Err(format!("couldn't open log output {:?}: {error}", path.display()))
                        }
                    }
                }
            }
        };
        let outputs = outputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self::over(level, format, outputs))
    }

    fn over(level: LogLevel, format: LogFormat, outputs: Vec<Box<dyn Write + Send>>) -> Self {
        let shared = Shared { outputs, sampler: Sampler::new() };
        Self { level, format, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Reports whether events of a level are written.
    pub(crate) fn takes(&self, level: LogLevel) -> bool {
        level >= self.level
    }

    /// Writes one event to all outputs.
    pub(crate) fn write(&self, record: &Record<'_>) {
        if !self.takes(record.level) {
            return;
        }
        let now = SystemTime::now();
        let mut line = match self.format {
            LogFormat::Json => json_line(now, record),
            LogFormat::Console => console_line(now, record),
        };
        line.push('\n');
        // A panic of another thread while it wrote leaves nothing half-done that matters here.
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if !shared.sampler.admits(now, record.level, record.message) {
            return;
        }
        for output in &mut shared.outputs {
            // Standard output is line-buffered by std, the others are not buffered at all. There is
            // nowhere to report a failure to.
            let _ = output.write_all(line.as_bytes());
        }
    }
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Panic => "panic",
        LogLevel::Fatal => "fatal",
    }
}

fn json_line(now: SystemTime, record: &Record<'_>) -> String {
    let mut line = format!(
        "{{\"level\":\"{}\",\"ts\":\"{}\",\"caller\":{},\"msg\":{}",
        level_name(record.level),
        timestamp::utc(now),
        quoted(record.caller),
        quoted(record.message),
    );
    for (key, value) in record.fields {
        // Writing into a String cannot fail, here and below.
        let _ = write!(line, ",{}:{value}", quoted(key));
    }
    line.push('}');
    line
}

fn console_line(now: SystemTime, record: &Record<'_>) -> String {
    let mut line = format!(
        "{}\t{}\t{}\t{}",
        timestamp::utc(now),
        level_name(record.level),
        one_line(record.caller),
        one_line(record.message),
    );
    for (position, (key, value)) in record.fields.iter().enumerate() {
        line.push_str(if position == 0 { "\t{" } else { ", " });
        let _ = write!(line, "{}: {value}", quoted(key));
    }
    if !record.fields.is_empty() {
        line.push('}');
    }
    line
}

fn quoted(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// Keeps a text of a peer or client from faking a line of its own.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests;
