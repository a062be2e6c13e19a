//! `pixel-engine ship`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pixel_engine::config::{Config, Settings, Stream};
use pixel_engine::deliver::{DrainError, Drained};
use pixel_engine::serve::drain;
use pixel_engine::sink::Sink;
use pixel_engine::spool::{self, Outline, SpoolError};

use crate::aws::{Reach, of_aws, of_sink};
use crate::settings::{Deliver, config};
use crate::{Outcome, progress, stop_on_signals, summary};

/// Send what `ingest --spool` has kept, and remove each batch once all of it has arrived
///
/// Batches go in the order in which they were kept. Records that are refused for good stay in their
/// batch, which is reported, and the batches behind it are sent. What cannot be delivered for now
/// ends it and stays for the next time, as does everything behind it. A damaged batch is reported
/// and left as it is.
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

    /// No progress and no summary; errors are still printed
    #[arg(long)]
    quiet: bool,
}

impl Ship {
    pub(crate) fn run(self) -> Outcome {
        let settings = Settings { to: Some(self.to.to_string()), ..Settings::default() };
        match self.ship(&config("ship", &self.reach.settings(self.deliver.settings(settings)))) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn ship(&self, config: &Config) -> Result<Outcome, String> {
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        // Without a batch there is nothing to ask AWS for.
        let outlines = self.outlines().map_err(|error| error.to_string())?;
        if outlines.is_empty() {
            eprintln!("nothing to send in {}", self.folder.display());
            return Ok(Outcome::Done);
        }
        let opened = drain::open(&self.to, config, &outlines, &Arc::default(), &stop);
        let mut drain = opened.map_err(|error| of_aws(&error))?;
        let progress = Arc::clone(&drain.progress);
        let (batches, bytes) = (outlines.len() as u64, outlines.iter().map(|outline| outline.size).sum());
        let drained = progress::of_drain(&progress, batches, bytes, self.quiet, || drain.run(&self.folder));
        let drained = drained.map_err(|error| error.to_string())?;
        self.tell(&drained, &drain.sink);
        Ok(if drained.error.is_some() || !drained.damaged.is_empty() || !drained.refused.is_empty() {
            Outcome::Failed
        } else if drained.left > 0 {
            Outcome::Stopped
        } else {
            Outcome::Done
        })
    }

    fn outlines(&self) -> Result<Vec<Outline>, SpoolError> {
        spool::batches(&self.folder)?.iter().map(|path| spool::outline(path)).collect()
    }

    fn tell(&self, drained: &Drained, delivery: &impl Sink) {
        for error in drained.damaged.iter().chain(&drained.refused).chain(&drained.error) {
            let error = match error {
                DrainError::Sink(error) => of_sink(error),
                error => error.to_string(),
            };
            eprintln!("pixel-engine: {error}");
        }
        if self.quiet {
            return;
        }
        let Drained { found, removed, refused, damaged, left, .. } = drained;
        let (refused, damaged) = (refused.len(), damaged.len());
        eprintln!(
            "batches   {found} found = {removed} delivered and removed + {refused} refused + {left} left + {damaged} \
             unusable"
        );
        let delivered = delivery.delivered();
        eprintln!("delivered {} records, {} lines, {} B", delivered.records, delivered.lines, delivered.payload_bytes);
        if let Some(shipping) = delivery.shipping() {
            eprint!("{}", summary::ShippingTable(&shipping));
        }
    }
}
