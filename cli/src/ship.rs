//! `pixel-engine ship`.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use clap::Args;
use pixel_engine::config::{Config, Settings, Stream};
use pixel_engine::deliver::{DrainError, Drained, drain};
use pixel_engine::sink::Sink;
use pixel_engine::spool;

use crate::aws::{self, Reach, of_sink};
use crate::settings::{Deliver, config};
use crate::{Outcome, stop_on_signals, summary};

/// Send what `ingest --spool` has kept, and remove each batch once all of it has arrived
///
/// Batches go in the order in which they were kept. What cannot be delivered stays for the next
/// time; a damaged batch is reported and left as it is.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine ship spool/ --to firehose://beacons")]
pub(crate) struct Ship {
    /// The folder that `ingest --spool` was given
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The stream, by name or ARN, of the service that the batches were kept for
    #[arg(long, value_name = "firehose://STREAM|kinesis://STREAM")]
    to: Stream,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    deliver: Deliver,

    /// No summary; errors are still printed
    #[arg(long)]
    quiet: bool,
}

impl Ship {
    pub(crate) fn run(self) -> Outcome {
        let settings = Settings { to: Some(self.to.to_string()), ..Settings::default() };
        match self.drain(&config("ship", &self.deliver.settings(settings))) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn drain(&self, config: &Config) -> Result<Outcome, String> {
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        // Without a batch there is nothing to ask AWS for.
        let there = spool::batches(&self.folder).map_err(|error| error.to_string())?.len();
        if there == 0 {
            eprintln!("nothing to send in {}", self.folder.display());
            return Ok(Outcome::Done);
        }
        // Batches were packed for a stream of this service; the size of their records was checked
        // then.
        let mut delivery = aws::deliver(&self.to, &self.reach, config.delivery(), None, stop.clone())?;
        let progress = AtomicU64::new(0);
        let drained =
            drain(&self.folder, config.api(), &mut delivery, &progress, &stop).map_err(|error| error.to_string())?;
        self.tell(&drained, &delivery);
        Ok(if drained.error.is_some() || !drained.damaged.is_empty() {
            Outcome::Failed
        } else if drained.left > 0 {
            Outcome::Stopped
        } else {
            Outcome::Done
        })
    }

    fn tell(&self, drained: &Drained, delivery: &impl Sink) {
        for error in drained.damaged.iter().chain(&drained.error) {
            let error = match error {
                DrainError::Sink(error) => of_sink(error),
                error => error.to_string(),
            };
            eprintln!("pixel-engine: {error}");
        }
        if self.quiet {
            return;
        }
        let Drained { found, removed, damaged, left, .. } = drained;
        let damaged = damaged.len();
        eprintln!("batches   {found} found = {removed} delivered and removed + {left} left + {damaged} unusable");
        let delivered = delivery.delivered();
        eprintln!("delivered {} records, {} lines, {} B", delivered.records, delivered.lines, delivered.payload_bytes);
        if let Some(shipping) = delivery.shipping() {
            eprint!("{}", summary::ShippingTable(&shipping));
        }
    }
}
