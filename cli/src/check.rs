//! `pixel-engine check`.

use clap::Args;
use pixel_engine::aws::{Topic, check, check_bucket};
use pixel_engine::config::{Settings, Target};

use crate::aws::{Reach, of_aws};
use crate::settings::config;
use crate::{Outcome, usage_error};

/// Check credentials, permissions and a stream or bucket before anything is sent
///
/// Says who the credentials belong to, whether the stream is there and takes records, its limits,
/// shards and encryption; or whether the bucket is there. Writes nothing; so the permission to put
/// records or objects shows only with the first ones.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine check --to kinesis://beacons --region eu-west-1")]
pub(crate) struct Check {
    /// The stream, by name or ARN, or the bucket
    #[arg(long, value_name = "firehose://STREAM|kinesis://STREAM|s3://BUCKET/PREFIX/")]
    to: Target,

    #[command(flatten)]
    reach: Reach,
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let settings = Settings { to: Some(self.to.to_string()), ..Settings::default() };
        let config = config("check", &self.reach.settings(settings));
        let findings = match &self.to {
            Target::Stream(stream) => check(stream, config.connection()),
            Target::S3(uri) => check_bucket(uri, config.connection()),
            _ => usage_error("check", &format!("--to {}: nothing to check beforehand", self.to)),
        };
        let findings = match findings {
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
