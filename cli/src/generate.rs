//! `pixel-engine generate`.

use std::io::{self, BufWriter, Write};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use pixel_engine::config::parse_size;
use pixel_engine::plan::rate::{Rate, RateError};
use pixel_engine_bench_data::{Generator, Options, Shape};

use crate::{Outcome, output};

/// Write realistic CloudFront logs to standard output, the same for the same seed
#[derive(Args)]
#[command(group = clap::ArgGroup::new("amount").required(true))]
#[command(after_help = "Example:\n  pixel-engine generate --lines 100000 | pixel-engine ingest --to null:")]
pub(crate) struct Generate {
    /// How many lines
    #[arg(long, value_name = "N", group = "amount")]
    lines: Option<u64>,

    /// About how many bytes, to the end of a line: 300MB, 4GiB
    #[arg(long, value_name = "SIZE", group = "amount", value_parser = parse_size)]
    bytes: Option<u64>,

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

impl Generate {
    pub(crate) fn run(self) -> Outcome {
        output::finish(self.write(&mut BufWriter::with_capacity(1 << 20, io::stdout().lock())))
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        let mut generator = Generator::new(Options::new(self.schema, self.seed));
        let (max_lines, max_bytes) = (self.lines.unwrap_or(u64::MAX), self.bytes.unwrap_or(u64::MAX));
        // Paced output comes in twentieths of a second, and not before there is a line.
        let step = self.rate.map_or(1_000, |rate| (rate.get() / 20.0).ceil() as u64);
        let begun = Instant::now();
        let (mut lines, mut bytes) = (0, 0);
        let mut text = Vec::new();
        generator.append_header(&mut text);
        while lines < max_lines && bytes < max_bytes {
            for _ in 0..step.min(max_lines - lines) {
                if bytes + text.len() as u64 >= max_bytes {
                    break;
                }
                generator.append_line(&mut text);
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
