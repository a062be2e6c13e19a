//! `pixel-engine generate`.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use pixel_engine::config::parse_size;
use pixel_engine::plan::rate::{Rate, RateError};
use pixel_engine_bench_data::visits::{self, Abnormalities, Visits};
use pixel_engine_bench_data::{Generator, Options, Shape};

use crate::{Outcome, output};

/// Write realistic CloudFront logs to standard output, the same for the same seed
#[derive(Args)]
#[command(group = clap::ArgGroup::new("amount").required(true))]
#[command(after_help = "Example:\n  pixel-engine generate --lines 100000 | pixel-engine ingest --to null:\n  \
                   pixel-engine generate --visitors 10000 --days 7 --truth truth.json > visits.log")]
pub(crate) struct Generate {
    /// How many lines
    #[arg(long, value_name = "N", group = "amount")]
    lines: Option<u64>,

    /// About how many bytes, to the end of a line: 300MB, 4GiB
    #[arg(long, value_name = "SIZE", group = "amount", value_parser = parse_size)]
    bytes: Option<u64>,

    /// All lines of so many visitors who come, look around and come back, in place of lines that
    /// have nothing to do with each other
    #[arg(long, value_name = "N", group = "amount")]
    visitors: Option<u64>,

    #[command(flatten)]
    visits: VisitFlags,

    /// pixel-4, realtime-40, -43, -45, -46, -69, -71, standard, standard-json, or a list of fields
    #[arg(long, value_name = "PRESET|LIST", default_value = "realtime-46")]
    schema: Shape,

    /// The same seed gives the same log
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// How fast lines are written: 1000/s, or by /min, /h, /day, /month
    /// [default: as fast as they are taken]
    #[arg(long, value_name = "LINES/TIME", value_parser = rate)]
    rate: Option<Rate>,
}

/// What goes with `--visitors`. `requires` would not do: it gives way to what excludes the other.
#[derive(Args)]
struct VisitFlags {
    /// The days on which visitors come, from 2026-01-05 UTC
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "lines", conflicts_with = "bytes")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// What visitors do
    #[arg(long, default_value = "mix", conflicts_with = "lines", conflicts_with = "bytes")]
    kind: Kind,

    /// Leave `uid` out of queries: visitors are told apart by address and user agent
    #[arg(long, conflicts_with = "lines", conflicts_with = "bytes")]
    without_ids: bool,

    /// Leave out what goes wrong: failures, odd queries, bursts, lines that come twice
    #[arg(long, conflicts_with = "lines", conflicts_with = "bytes")]
    clean: bool,

    /// Lines that cannot be read, so many to ten thousand events
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "lines", conflicts_with = "bytes")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=5_000))]
    unreadable: u32,

    /// The hour in the middle has ten times its visitors
    #[arg(long, conflicts_with = "lines", conflicts_with = "bytes")]
    surge: bool,

    /// Write what a report of the log must find to this file, as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "lines", conflicts_with = "bytes")]
    truth: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// They read pages
    Site,
    /// Some of them buy
    Shop,
    /// They see advertisements
    Ad,
    /// Some of each
    Mix,
}

impl VisitFlags {
    fn options(&self, shape: Shape, seed: u64, visitors: u64) -> visits::Options {
        let abnormal = if self.clean { Abnormalities::NONE } else { Abnormalities::default() };
        visits::Options {
            days: self.days,
            visitors,
            kind: match self.kind {
                Kind::Site => visits::Kind::Site,
                Kind::Shop => visits::Kind::Shop,
                Kind::Ad => visits::Kind::Ad,
                Kind::Mix => visits::Kind::Mix,
            },
            has_ids: !self.without_ids,
            surge: self.surge,
            abnormal: Abnormalities { unreadable: self.unreadable, ..abnormal },
            ..visits::Options::new(shape, seed)
        }
    }
}

/// Where the lines come from.
enum Log {
    Hits(Box<Generator>),
    Visits(Box<Visits>),
}

impl Log {
    fn append_header(&self, out: &mut Vec<u8>) {
        match self {
            Log::Hits(hits) => hits.append_header(out),
            Log::Visits(visits) => visits.append_header(out),
        }
    }

    /// False when there is no further line.
    fn append_line(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Log::Hits(hits) => {
                hits.append_line(out);
                true
            }
            Log::Visits(visits) => visits.append_line(out),
        }
    }
}

impl Generate {
    pub(crate) fn run(self) -> Outcome {
        let mut log = match self.visitors {
            None => Log::Hits(Box::new(Generator::new(Options::new(self.schema.clone(), self.seed)))),
            Some(visitors) => {
                let options = self.visits.options(self.schema.clone(), self.seed, visitors);
                Log::Visits(Box::new(Visits::new(options)))
            }
        };
        let written = self.write(&mut log, &mut BufWriter::with_capacity(1 << 20, io::stdout().lock()));
        // A log that its reader left has no truth that anybody could hold it against.
        let is_whole = written.is_ok();
        let outcome = output::finish(written);
        match (&self.visits.truth, log) {
            (Some(path), Log::Visits(visits)) if is_whole => {
                let truth = serde_json::to_vec_pretty(&visits.truth()).expect("its keys are strings and numbers");
                match fs::write(path, truth) {
                    Ok(()) => outcome,
                    Err(error) => {
                        eprintln!("pixel-engine: {}: {error}", path.display());
                        Outcome::Failed
                    }
                }
            }
            _ => outcome,
        }
    }

    fn write(&self, log: &mut Log, out: &mut impl Write) -> io::Result<()> {
        let (max_lines, max_bytes) = (self.lines.unwrap_or(u64::MAX), self.bytes.unwrap_or(u64::MAX));
        // Paced output comes in twentieths of a second, and not before there is a line.
        let step = self.rate.map_or(1_000, |rate| (rate.get() / 20.0).ceil() as u64);
        let begun = Instant::now();
        let (mut lines, mut bytes) = (0, 0);
        let mut text = Vec::new();
        let mut is_over = false;
        log.append_header(&mut text);
        while !is_over && lines < max_lines && bytes < max_bytes {
            for _ in 0..step.min(max_lines - lines) {
                if bytes + text.len() as u64 >= max_bytes {
                    break;
                }
                if !log.append_line(&mut text) {
                    is_over = true;
                    break;
                }
                lines += 1;
            }
            out.write_all(&text)?;
            bytes += text.len() as u64;
            text.clear();
            if let Some(rate) = self.rate {
                out.flush()?;
                let due = Duration::from_secs_f64(lines as f64 / rate.get());
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
        }
        out.flush()
    }
}

/// A rate as `plan` takes it. A number alone was lines a second once, and still is.
fn rate(text: &str) -> Result<Rate, RateError> {
    match text.parse::<u64>() {
        Ok(lines) => Rate::per_second(lines as f64),
        Err(_) => text.parse(),
    }
}
