//! The flags of the commands that talk to AWS: how to reach it, and how to deliver.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pixel_engine::deliver::{DeliverError, DeliverySink, RateLimit, Settings, WhenFull};
use pixel_engine::ship::SinkError;
use pixel_engine::ship::aws::{self, Connection, Stream, StreamClient};
use pixel_engine::ship::limits::{Api, Counted};
use pixel_engine::spool::Spool;

use crate::size;

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

    /// Time for one request, from its first byte to the end of the reply
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    request_timeout: Duration,
}

impl Reach {
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            region: self.region.clone(),
            profile: self.profile.clone(),
            endpoint_url: self.endpoint_url.clone(),
            role_arn: self.role_arn.clone(),
            request_timeout: self.request_timeout,
        }
    }
}

/// How to deliver.
#[derive(Args, Clone)]
#[command(next_help_heading = "Delivery to firehose:// and kinesis://")]
pub(crate) struct Deliver {
    /// Requests on the way at a time
    #[arg(long, value_name = "N", default_value = "4")]
    concurrency: NonZeroUsize,

    /// Bytes of a request at most [default: 4 MiB for firehose, 5 MiB for kinesis, which takes up to 10 MiB]
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    request_size: Option<u64>,

    /// What counts towards the 4 MiB of a Firehose request, which AWS leaves open
    #[arg(long, value_enum, default_value_t = CountAs::Base64)]
    count_request_size: CountAs,

    /// Bytes a second, of a Firehose stream or of each Kinesis shard; below it, the rate follows throttling [default:
    /// 1 MiB and 1,000 records a shard; none for firehose until it throttles]
    #[arg(long, value_name = "none|BYTES")]
    rate_limit: Option<Rate>,

    /// Stop trying to deliver a record after that time: it goes to the spool, or without one the run ends [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    give_up_after: Option<Duration>,

    /// How long to go on trying after Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    grace: Duration,
}

/// Where records go that cannot be delivered.
#[derive(Args, Clone)]
#[command(next_help_heading = "Delivery to firehose:// and kinesis://")]
pub(crate) struct Keep {
    /// Keep records that cannot be delivered in this folder; `pixel-engine ship` sends them later
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Bytes in the spool at most
    #[arg(long, value_name = "BYTES", default_value = "10GB", value_parser = size::parse, requires = "spool")]
    spool_size: u64,

    /// When the spool is full: hold the input until there is room or the stream takes records again, or end with an error
    #[arg(long, value_enum, default_value_t = Full::Block, requires = "spool")]
    spool_full: Full,
}

impl Keep {
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.spool.as_deref()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CountAs {
    /// The JSON with its base64: the stricter reading
    Base64,
    /// The records' data
    Data,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Full {
    Block,
    Stop,
}

#[derive(Clone, Copy)]
struct Rate(RateLimit);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "none" {
            return Ok(Rate(RateLimit::None));
        }
        match size::parse(text) {
            Ok(0) => Err("nothing would ever be sent".to_owned()),
            Ok(bytes) => Ok(Rate(RateLimit::BytesPerSecond(bytes))),
            Err(_) => Err("not `none` and not bytes a second, such as 5MiB".to_owned()),
        }
    }
}

/// What the records are, which the flags here do not say.
pub(crate) struct Records {
    /// Whether they are KPL aggregates.
    pub(crate) aggregates: bool,
    /// Bytes of one at most.
    pub(crate) size: usize,
    /// Whether those of one shard go one request after the other.
    pub(crate) in_order: bool,
}

impl Deliver {
    /// A request's size that the service takes, or why it does not.
    pub(crate) fn check(&self, api: Api) -> Result<(), String> {
        let (size, most) = (self.request_size(api), api.max_bytes());
        if !(1 << 20..=most).contains(&size) {
            return Err(format!("--request-size {size}: from {} to {most} bytes for {}", 1 << 20, api.name()));
        }
        Ok(())
    }

    fn request_size(&self, api: Api) -> usize {
        self.request_size.map_or(api.default_bytes(), |size| usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// Connects and looks at the stream.
    pub(crate) fn open(
        &self,
        stream: &Stream,
        reach: &Reach,
        keep: Option<&Keep>,
        records: Records,
        threads: NonZeroUsize,
        stop: Arc<AtomicBool>,
    ) -> Result<DeliverySink<StreamClient>, String> {
        let api = stream.api();
        let spool = match keep.and_then(|keep| Some((keep.spool.as_ref()?, keep))) {
            Some((folder, keep)) => {
                let spool = Spool::open(folder, keep.spool_size).map_err(|error| error.to_string())?;
                if spool.batches() > 0 {
                    let (batches, folder) = (spool.batches(), folder.display());
                    eprintln!(
                        "{batches} batches from before are in {folder}: pixel-engine ship {folder} --to {stream}"
                    );
                }
                let when_full = match keep.spool_full {
                    Full::Block => WhenFull::Block,
                    Full::Stop => WhenFull::Stop,
                };
                Some((spool, when_full))
            }
            None => None,
        };
        let mut settings = Settings::new(api);
        settings.concurrency = self.concurrency;
        settings.request_size = self.request_size(api);
        settings.counted = match (api, self.count_request_size) {
            (Api::PutRecordBatch, CountAs::Base64) => Counted::Base64,
            _ => Counted::Data,
        };
        settings.rate_limit = self.rate_limit.map_or(RateLimit::Auto, |Rate(limit)| limit);
        settings.give_up_after = self.give_up_after;
        settings.grace = self.grace;
        settings.aggregates = records.aggregates;
        settings.record_size = records.size;
        settings.in_order = records.in_order;
        settings.spool = spool;
        settings.stop = stop;
        let threads = threads.min(self.concurrency);
        aws::open(stream, &reach.connection(), settings, threads).map_err(|error| of_aws(&error))
    }
}

/// An error of the way to a stream, with the flags that would mend it.
pub(crate) fn of_aws(error: &aws::Error) -> String {
    match error {
        aws::Error::NoRegion { stream } => {
            format!("{stream}: no region: give --region, set AWS_REGION, or name the stream by its ARN")
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

/// `30s`, `5min`, `1h 30m`.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; a duration is 500ms, 30s, 5m, 1h"))
}
