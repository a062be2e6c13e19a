//! `pixel-engine check`.

use clap::Args;
use pixel_engine::config::Stream;
use pixel_engine::ship::aws::check;

use crate::Outcome;
use crate::aws::Reach;

/// Check credentials, permissions and a stream before anything is sent
///
/// Says who the credentials belong to, whether the stream is there and takes records, its limits, shards and encryption.
/// Writes nothing to the stream; so the permission to put records shows only with the first ones.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine check --to kinesis://beacons --region eu-west-1")]
pub(crate) struct Check {
    /// The stream, by name or ARN
    #[arg(long, value_name = "firehose://STREAM|kinesis://STREAM")]
    to: Stream,

    #[command(flatten)]
    reach: Reach,
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let findings = match check(&self.to, &self.reach.connection()) {
            Ok(findings) => findings,
            Err(error) => {
                eprintln!("pixel-engine: {error}");
                return Outcome::Failed;
            }
        };
        for (what, found) in &findings.lines {
            println!("{what:<12} {found}");
        }
        match findings.problem {
            None => {
                println!("{} takes records", self.to);
                Outcome::Done
            }
            Some(problem) => {
                eprintln!("pixel-engine: {problem}");
                Outcome::Failed
            }
        }
    }
}
