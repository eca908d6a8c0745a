//! The `etcd` program: reads settings, sets up logs, runs the server.
//!
//! Owns:       standard streams and the exit code of the process.
//! Uses:       `config` for the settings, `server` for everything else.
//! Never:      decides anything about the data or the cluster.
//! Invariants: settings are whole and checked before anything is opened; a server that had started
//!             ends by the signal that stopped it.
//! Source:     reference/server-config.md 1 and 11.

mod logging;

use std::ffi::OsString;
use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::process::ExitCode;

use config::datadir;
use config::{Config, ConfigError, LogLevel, Note, NoteLevel, Outcome};
use logging::{Record, Sink};
use serde_json::Value;

/// A request allocates some dozens of times; decision 0021 has what others cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let early = Sink::early();
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = text_of(words.iter().skip(1))
        .and_then(|arguments| config::parse(&arguments, &environment()?, &default_route_host));
    match outcome {
        Ok(Outcome::Print { stdout, stderr }) => {
            // A reader that has gone away is no reason to fail.
            let _ = std::io::stdout().write_all(stdout.as_bytes());
            let _ = std::io::stderr().write_all(stderr.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Outcome::Run { config, notes }) => start(&early, &words, *config, &notes),
        Err(error) => ExitCode::from(report_bad_settings(&early, &error)),
    }
}

/// Serves until stopped. A start error is logged the way etcd logs every one of them.
fn start(early: &Sink, words: &[OsString], config: Config, notes: &[Note]) -> ExitCode {
    let sink = match Sink::open(config.log_level, config.log_format, &config.log_outputs) {
        Ok(sink) => sink,
        Err(text) => {
            return ExitCode::from(report_bad_settings(early, &ConfigError::Verify(text)));
        }
    };
    logging::install(sink.clone());
    let words: Vec<Value> = words.iter().map(|w| Value::from(w.to_string_lossy())).collect();
    log(&sink, LogLevel::Info, line!(), "Running: ", &[("args", Value::from(words))]);
    for note in notes {
        let level = match note.level {
            NoteLevel::Info => LogLevel::Info,
            NoteLevel::Warn => LogLevel::Warn,
        };
        let fields: Vec<(&str, Value)> =
            note.fields.iter().map(|(key, value)| (*key, Value::from(value.as_str()))).collect();
        log(&sink, level, line!(), note.message, &fields);
    }
    if let Err(text) = look_into_data_dir(&sink, &config) {
        log(&sink, LogLevel::Fatal, line!(), &text, &[]);
        return ExitCode::FAILURE;
    }
    match server::run(config) {
        Ok(exit) => end(&sink, exit),
        Err(error) => {
            let error = [("error", Value::from(with_sources(&error)))];
            log(&sink, LogLevel::Warn, line!(), "failed to start etcd", &error);
            log(&sink, LogLevel::Fatal, line!(), "discovery failed", &error);
            ExitCode::FAILURE
        }
    }
}

/// Ends the process the way etcd does: by the signal that stopped it, in good order when it was
/// removed from its cluster, with an error after a fault.
fn end(sink: &Sink, exit: server::Exit) -> ExitCode {
    match exit {
        server::Exit::Removed => ExitCode::SUCCESS,
        server::Exit::Fault(text) => {
            let error = [("error", Value::from(text))];
            log(sink, LogLevel::Fatal, line!(), "etcd stopped after a fault", &error);
            ExitCode::FAILURE
        }
        // PID 1 has no default action to die by.
        server::Exit::Signal(_) if std::process::id() == 1 => ExitCode::SUCCESS,
        server::Exit::Signal(signal) => {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            ExitCode::SUCCESS
        }
    }
}

fn look_into_data_dir(sink: &Sink, config: &Config) -> Result<(), String> {
    let contents = datadir::inspect(&config.data_dir).map_err(|error| with_sources(&error))?;
    let data_dir = Value::from(config.data_dir.to_string_lossy());
    for name in contents.strangers {
        let fields = [("filename", Value::from(name)), ("data-dir", data_dir.clone())];
        log(sink, LogLevel::Warn, line!(), "found invalid file under data directory", &fields);
    }
    if contents.has_member {
        let fields = [("data-dir", data_dir), ("dir-type", Value::from("member"))];
        log(sink, LogLevel::Info, line!(), "server has been already initialized", &fields);
    }
    Ok(())
}

/// Says on stderr what is wrong with the settings and gives the exit code.
fn report_bad_settings(sink: &Sink, error: &ConfigError) -> u8 {
    let text = error.to_string();
    match error {
        ConfigError::Syntax(_) | ConfigError::NotSupported { .. } => {
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
        }
        ConfigError::Shadowed { variable } => {
            let fields = [("environment-variable", Value::from(variable.as_str()))];
            log(sink, LogLevel::Fatal, line!(), &text, &fields);
        }
        ConfigError::Verify(_) | ConfigError::AdvertiseMissing => {
            let fields = [("error", Value::from(text))];
            log(sink, LogLevel::Warn, line!(), "failed to verify flags", &fields);
            if *error == ConfigError::AdvertiseMissing {
                log(sink, LogLevel::Warn, line!(), "advertise client URLs are not set", &fields);
            }
        }
    }
    error.exit_code()
}

/// Writes one of this program's own events.
fn log(sink: &Sink, level: LogLevel, line: u32, message: &str, fields: &[(&str, Value)]) {
    let caller = format!("etcd/main.rs:{line}");
    sink.write(&Record { level, caller: &caller, message, fields });
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The words as text. One that is not UTF-8 is refused: as a path it would name another file.
fn text_of<'a>(words: impl Iterator<Item = &'a OsString>) -> Result<Vec<String>, ConfigError> {
    let read = |word: &OsString| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| ConfigError::Verify(format!("{word:?} is not UTF-8 text")))
    };
    words.map(read).collect()
}

fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let is_ours = |name: &OsString| name.as_encoded_bytes().starts_with(b"ETCD_");
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
        let mut texts = text_of([name, value].iter())?.into_iter();
        if let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            variables.push((name, value));
        }
    }
    Ok(variables)
}

/// Address of the interface that the default route leaves by. Connecting a datagram socket asks the
/// kernel for the route and sends nothing; the address is one reserved for documentation.
fn default_route_host() -> Option<IpAddr> {
    let probe = |local: &str, remote: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        let host = socket.local_addr().ok()?.ip();
        (!host.is_loopback() && !host.is_unspecified()).then_some(host)
    };
    probe("0.0.0.0:0", "198.51.100.1:9").or_else(|| probe("[::]:0", "[2001:db8::1]:9"))
}
