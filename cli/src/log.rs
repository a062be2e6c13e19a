//! The log on stderr.

mod repeats;

use std::env;
use std::io::{self, IsTerminal};
use std::sync::LazyLock;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing::metadata::ParseLevelFilterError;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use repeats::Repeats;

static REPEATS: LazyLock<Repeats> = LazyLock::new(Repeats::default);

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Logs from here on. Only this project's own lines: at their most talkative, the AWS SDK and the
/// HTTP client under it log headers, and with them session tokens and signatures.
pub(crate) fn start(format: LogFormat) {
    subscriber(format).init();
    REPEATS.start();
    if let (wanted, Err(_)) = wanted_level() {
        eprintln!("pixel-engine: PIXEL_ENGINE_LOG={wanted}: not one of off, error, warn, info, debug, trace");
    }
}

/// Writes what is still to be said, at the end of the program.
pub(crate) fn finish() {
    REPEATS.finish();
}

/// Does something that may have to warn before it is known how the log is to be written.
pub(crate) fn before_start<T>(work: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(subscriber(LogFormat::Text), work)
}

fn subscriber(format: LogFormat) -> impl Subscriber + Send + Sync + 'static {
    let level = wanted_level().1.unwrap_or(LevelFilter::WARN);
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.without_time().with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(Targets::new().with_target("pixel_engine", level).and(REPEATS.clone())))
}

/// What `PIXEL_ENGINE_LOG` asks for, and the level that this is.
fn wanted_level() -> (String, Result<LevelFilter, ParseLevelFilterError>) {
    let wanted = env::var("PIXEL_ENGINE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.unwrap_or_else(|| "warn".to_owned());
    let level = wanted.parse();
    (wanted, level)
}
