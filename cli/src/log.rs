//! The log on stderr.

use std::env;
use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// How a line of the log looks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Logs from here on. Only this project's own lines: at their most talkative, the AWS SDK and the HTTP client under it
/// log headers, and with them session tokens and signatures.
pub(crate) fn start(format: Format) {
    // Empty is as good as not set, as for most variables.
    let wanted = env::var("PIXEL_ENGINE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let level = wanted.as_deref().map_or(Ok(LevelFilter::WARN), str::parse);
    let targets = |level| Targets::new().with_target("pixel_engine", level);
    let lines = fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match format {
        Format::Text => lines.without_time().with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let unreadable = level.is_err();
    tracing_subscriber::registry().with(lines.with_filter(targets(level.unwrap_or(LevelFilter::WARN)))).init();
    if unreadable {
        let wanted = wanted.unwrap_or_default();
        eprintln!("pixel-engine: PIXEL_ENGINE_LOG={wanted}: not one of off, error, warn, info, debug, trace");
    }
}
