//! The way to AWS: the flags of the commands that talk to it, and the delivery to a stream.

use std::time::Duration;

use clap::Args;
use pixel_engine::aws::{self};
use pixel_engine::config::{Settings, parse_duration};
use pixel_engine::deliver::DeliverError;
use pixel_engine::sink::SinkError;

/// How to reach AWS. Everything else comes from the standard chain: environment, profile, role.
#[derive(Args, Clone)]
#[command(next_help_heading = "AWS")]
pub(crate) struct Reach {
    /// Region [default: from the stream's ARN, AWS_REGION, or the profile]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,

    /// Profile of the AWS configuration files [default: AWS_PROFILE]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Endpoint in place of the service's own [default: AWS_ENDPOINT_URL, else AWS]
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,

    /// Role to assume through STS
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,

    /// Time for one request, from its first byte to the end of the reply [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    request_timeout: Option<Duration>,
}

impl Reach {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            region: self.region.clone(),
            profile: self.profile.clone(),
            endpoint_url: self.endpoint_url.clone(),
            role_arn: self.role_arn.clone(),
            request_timeout: self.request_timeout,
            ..others
        }
    }
}

/// An error of the way to a stream, with the flags that would mend it.
pub(crate) fn of_aws(error: &aws::Error) -> String {
    match error {
        aws::Error::NoRegion { target, takes_arn } => {
            let or = if *takes_arn { ", or name the stream by its ARN" } else { "" };
            format!("{target}: no region: give --region, set AWS_REGION{or}")
        }
        aws::Error::Sink(error) => of_sink(error),
        error => error.to_string(),
    }
}

/// An error of delivery, with the flags that would mend it.
pub(crate) fn of_sink(error: &SinkError) -> String {
    let SinkError::Stream { stream, error: reason } = error else { return error.to_string() };
    match **reason {
        DeliverError::IgnoresKeys => format!("{error} (lines: --container lines)"),
        DeliverError::RecordTooLarge { record_size, limit } => format!(
            "{stream}: the stream takes records of {limit} B, --record-size is {record_size}: lower it, or raise the \
             stream's MaxRecordSizeInKiB"
        ),
        _ => error.to_string(),
    }
}
