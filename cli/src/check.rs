//! `pixel-engine check`.

use clap::Args;
use pixel_engine::aws::{Topic, check};
use pixel_engine::config::{Settings, Stream};

use crate::Outcome;
use crate::aws::{Reach, of_aws};
use crate::settings::config;

/// Check credentials, permissions and a stream before anything is sent
///
/// Says who the credentials belong to, whether the stream is there and takes records, its limits,
/// shards and encryption. Writes nothing to the stream; so the permission to put records shows only
/// with the first ones.
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
        let settings = Settings { to: Some(self.to.to_string()), ..Settings::default() };
        let config = config("check", &self.reach.settings(settings));
        let findings = match check(&self.to, config.connection()) {
            Ok(findings) => findings,
            Err(error) => {
                eprintln!("pixel-engine: {}", of_aws(&error));
                return Outcome::Failed;
            }
        };
        for (topic, found) in &findings.lines {
            let flag = if *topic == Topic::Keys { " (--container lines)" } else { "" };
            println!("{topic:<12} {found}{flag}");
        }
        match findings.problem {
            None => {
                println!("{} takes records", self.to);
                Outcome::Done
            }
            Some(problem) => {
                eprintln!("pixel-engine: {}", of_aws(&problem));
                Outcome::Failed
            }
        }
    }
}
