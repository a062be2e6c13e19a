//! The configuration of a run: everything that a user can choose, checked once.
//!
//! ```text
//! flags, variables, a file ──► Settings ──► validate ──► Config ──► run
//!                               plain values          cannot be wrong
//! ```
//! [`Settings`] hold what was typed. [`Settings::validate`] is the only way to a [`Config`], and
//! knows every rule: which values exist, how large they may be, and which of them go together. What
//! it refuses is a [`ConfigError`] with the [`Key`] of the setting. Stages of the pipeline take a
//! `Config` and check nothing again.

mod choice;
mod error;
mod in_force;
mod key;
mod privacy;
pub mod read;
mod s3_uri;
mod settings;
mod stream;
mod units;

use std::fmt::{self, Display, Formatter};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use choice::{
    Choice, ContainerKind, EncodingKind, HashFunction, OnBadLine, QueryEncodingKind, ServerSideEncryption, WhenFull,
};
pub use error::{ConfigError, Problem};
pub use key::Key;
pub use privacy::Secret;
pub use s3_uri::{S3Uri, S3UriError};
pub use settings::Settings;
pub use stream::{Stream, StreamError};
pub use units::{UnitError, parse_duration, parse_size};

use crate::compress::Codec;
use crate::privacy::{Treatment, TreatmentId};
use crate::sink::limits::{Api, Counted};
use crate::source::Format;
use crate::spool::Contents;
use pixel_engine_kpl::HashKeys;
use pixel_engine_log::encode::Encoding;
use pixel_engine_log::schema::{Schema, Schemas};
use pixel_engine_log::select::{Matcher, Selector};
use pixel_engine_log::table::Table;

/// A configuration in which everything is known and fits together; made by [`Settings::validate`].
#[derive(Clone, Debug)]
pub struct Config {
    format: Format,
    schemas: Schemas,
    standard_schema: Option<Arc<Schema>>,
    query_encoding: QueryEncodingKind,
    matcher: Matcher,
    dedup_window: Option<NonZeroUsize>,
    treatment: Option<Arc<Treatment>>,
    on_bad_line: OnBadLine,
    quarantine: QuarantinePlace,
    encoding: Encoding,
    container: Container,
    linger: Linger,
    threads: NonZeroUsize,
    checkpoint: Option<PathBuf>,
    target: Target,
    connection: Connection,
    delivery: DeliveryConfig,
    objects: ObjectsConfig,
    spool: Option<SpoolConfig>,
}

/// What records are made of. Sizes are bytes.
///
/// Whoever opens a sink must know every variant, so another one is a breaking change; fields may be
/// added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Container {
    /// Concatenated lines, for Firehose.
    #[non_exhaustive]
    Lines {
        /// The most bytes of a record, after compression.
        record_size: usize,
        /// Records end just under a multiple of this, unless they are compressed.
        align: NonZeroUsize,
        /// Whether lines may change their order within a block, to fill records better.
        reorder: bool,
        /// Whether each record is a single line, as in CloudFront's real-time logs.
        single: bool,
        /// How records are compressed.
        codec: Codec,
    },
    /// KPL aggregates, for Kinesis. The sink knows the shards that they go to.
    #[non_exhaustive]
    Kpl {
        /// The most bytes of a record with its partition key.
        record_size: usize,
        /// An aggregate holds lines of one shard: that of the hash of this value.
        partition_by: Option<Selector>,
    },
    /// Rows of a table, for Parquet files.
    #[non_exhaustive]
    Parquet {
        /// The columns.
        table: Table,
        /// How pages are compressed.
        codec: Codec,
    },
}

/// Where records go: `firehose://STREAM`, `kinesis://STREAM`, `s3://BUCKET/PREFIX/`, `dir:PATH`,
/// `stdout:[STREAM]` or `null:`.
///
/// ```
/// use pixel_engine_core::config::Target;
/// assert_eq!("dir:out".parse(), Ok(Target::Dir("out".into())));
/// assert_eq!(Target::Dir("out".into()).to_string(), "dir:out");
/// assert_eq!("s3://bucket/logs".parse::<Target>().map(|target| target.to_string()), Ok("s3://bucket/logs/".to_owned()));
/// assert!("ftp://host".parse::<Target>().is_err());
/// ```
///
/// Another variant is a breaking change: a program that does not know it must not compile, rather
/// than deliver to some other place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A stream of Firehose or Kinesis.
    Stream(Stream),
    /// Objects in a bucket, as Firehose would write them, with keys that begin with that one, which
    /// is empty or ends in a slash.
    S3(S3Uri),
    /// The same below a folder.
    Dir(PathBuf),
    /// API requests on standard output, which may name a stream.
    Stdout(Option<String>),
    /// Nowhere, for the numbers alone.
    Null,
}

/// Text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A scheme that does not exist, or one without what must follow it.
    #[error("not one of firehose://STREAM, kinesis://STREAM, dir:PATH, s3://BUCKET/PREFIX/, stdout:[STREAM], null:")]
    Scheme,
    /// The name of the stream cannot be one.
    #[error(transparent)]
    Stream(StreamError),
    /// The bucket or the prefix cannot be one.
    #[error(transparent)]
    S3(S3UriError),
}

/// Where lines go that cannot be shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuarantinePlace {
    /// A file, which is made when the first line goes there.
    File(PathBuf),
    /// `log:`, which is standard error: for a function of Lambda, say, whose files do not last.
    Log,
    /// A stream of Firehose or Kinesis.
    Stream(Stream),
}

impl QuarantinePlace {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            QuarantinePlace::File(path) => Some(path),
            QuarantinePlace::Log | QuarantinePlace::Stream(_) => None,
        }
    }
}

impl Display for QuarantinePlace {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            QuarantinePlace::File(path) => path.display().fmt(formatter),
            QuarantinePlace::Log => formatter.write_str("log:"),
            QuarantinePlace::Stream(stream) => stream.fmt(formatter),
        }
    }
}

/// How long a line may wait for its record to be filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linger {
    /// Depends on the input: [`Linger::DEFAULT_FOR_PIPE`] for what has no end in sight, no limit
    /// for files.
    #[default]
    BySource,
    /// As long as it takes.
    Never,
    /// That long at most.
    After(Duration),
}

/// How to deliver to a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeliveryConfig {
    /// Requests on the way at a time.
    pub concurrency: NonZeroUsize,
    /// Threads that encode, sign and send requests.
    pub threads: NonZeroUsize,
    /// The most bytes of a request.
    pub request_size: usize,
    /// How these are counted.
    pub counted: Counted,
    /// Bytes a second.
    pub rate_limit: RateLimit,
    /// How long to try to deliver a record; `None` for ever.
    pub give_up_after: Option<Duration>,
    /// How long to go on trying once the run is stopped.
    pub grace: Duration,
    /// Whether records are KPL aggregates.
    pub aggregates: bool,
    /// Whether they are compressed.
    pub compressed: bool,
    /// The most bytes of a record, as the service counts them: with the partition key for Kinesis.
    pub record_size: usize,
    /// Whether the records of a shard must be sent one request after the other.
    pub in_order: bool,
}

/// How to write objects, to a folder or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectsConfig {
    /// How long an object may be open: its records are acknowledged when it is complete. Firehose
    /// calls the same its buffering interval.
    pub buffering_interval: Duration,
    /// How S3 encrypts them; `None` for what the bucket says.
    pub sse: Option<ServerSideEncryption>,
    /// The KMS key for that, by id, ARN or alias; `None` for the account's own for S3.
    pub sse_kms_key_id: Option<String>,
}

impl Default for ObjectsConfig {
    /// 300 s, which is Firehose's default.
    fn default() -> ObjectsConfig {
        ObjectsConfig { buffering_interval: Duration::from_secs(300), sse: None, sse_kms_key_id: None }
    }
}

/// Keys of an access to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// What names the access.
    pub access_key_id: String,
    /// What proves it.
    pub secret_access_key: Secret,
}

/// How to reach AWS. What is not given comes from the standard chain: environment, profile, web
/// identity, container, instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The region. It comes before that of the stream's ARN, and that before the chain's.
    pub region: Option<String>,
    /// A profile of the AWS configuration files.
    pub profile: Option<String>,
    /// Keys in place of those that the chain finds. No setting has them, so that they stand in no
    /// file: a program that has some says them by [`Config::with_credentials`].
    pub credentials: Option<Credentials>,
    /// An endpoint in place of the service's own, such as `http://127.0.0.1:4567`.
    pub endpoint_url: Option<String>,
    /// A role to assume through STS.
    pub role_arn: Option<String>,
    /// Time for one request, from its first byte to the end of the reply.
    pub request_timeout: Duration,
}

impl Default for Connection {
    fn default() -> Connection {
        Connection {
            region: None,
            profile: None,
            credentials: None,
            endpoint_url: None,
            role_arn: None,
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// The rate to begin with and never to pass; below it, the rate adapts to throttling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateLimit {
    /// 1 MiB and 1,000 records a second for each shard; for Firehose, whose quota no API tells,
    /// none until it throttles.
    #[default]
    Auto,
    /// None until the service throttles.
    None,
    /// Bytes a second, of a shard or of a Firehose stream.
    BytesPerSecond(u64),
}

/// Text that is not a rate limit: usually a rate in lines, or a unit of time, which is always a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not `none` and not bytes a second, such as 5MiB")]
pub struct RateLimitError;

/// Where records go that cannot be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolConfig {
    /// The folder.
    pub folder: PathBuf,
    /// The most bytes in it.
    pub size: u64,
    /// What to do when these are used.
    pub when_full: WhenFull,
}

impl DeliveryConfig {
    /// What is usual for that API: 4 requests at a time of its default size, and a grace of 10 s.
    /// Of records it knows nothing: no aggregates, no largest size.
    pub fn new(api: Api) -> DeliveryConfig {
        DeliveryConfig {
            concurrency: settings::DEFAULT_CONCURRENCY,
            threads: NonZeroUsize::MIN,
            request_size: api.default_bytes(),
            counted: api.default_count(),
            rate_limit: RateLimit::Auto,
            give_up_after: None,
            grace: settings::DEFAULT_GRACE,
            aggregates: false,
            compressed: false,
            record_size: 0,
            in_order: false,
        }
    }

    /// What records are, as a spool keeps it.
    pub fn contents(&self) -> Contents {
        match (self.aggregates, self.compressed) {
            (true, _) => Contents::Aggregates,
            (false, true) => Contents::CompressedLines,
            (false, false) => Contents::Lines,
        }
    }
}

impl Config {
    /// Where records go when nothing else is said.
    pub const DEFAULT_TARGET: &'static str = "dir:pixel-engine-out";
    /// The quarantine when nothing else is said.
    pub const DEFAULT_QUARANTINE: &'static str = "pixel-engine-quarantine.jsonl";

    /// What the lines are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The accepted schemas of real-time logs.
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// How many times the queries in the log are encoded.
    pub fn query_encoding(&self) -> QueryEncodingKind {
        self.query_encoding
    }

    /// The columns of standard logs that come without a header.
    pub fn standard_schema(&self) -> Option<&Arc<Schema>> {
        self.standard_schema.as_ref()
    }

    /// Lines that do not match are filtered out.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// How many request ids are kept to find duplicates by; `None` when none are looked for.
    pub fn dedup_window(&self) -> Option<NonZeroUsize> {
        self.dedup_window
    }

    /// What becomes of personal data; `None` when nothing does.
    pub(crate) fn treatment(&self) -> Option<&Arc<Treatment>> {
        self.treatment.as_ref()
    }

    /// Which treatment of personal data that is.
    pub fn treatment_id(&self) -> Option<TreatmentId> {
        self.treatment.as_ref().map(|treatment| treatment.id())
    }

    /// What to do with lines that cannot be shipped.
    pub fn on_bad_line(&self) -> OnBadLine {
        self.on_bad_line
    }

    /// Where lines go that cannot be shipped.
    pub fn quarantine(&self) -> &QuarantinePlace {
        &self.quarantine
    }

    /// What a line becomes.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// What records are made of.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// How long a line may wait for its record to be filled.
    pub fn linger(&self) -> Linger {
        self.linger
    }

    /// Threads that scan, encode and compress.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads
    }

    /// The file that keeps how far each input is delivered.
    pub fn checkpoint(&self) -> Option<&Path> {
        self.checkpoint.as_deref()
    }

    /// Where records go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The API whose limits the requests keep: that of the stream, else the one that the container
    /// is for.
    pub fn api(&self) -> Api {
        self.target.stream().map_or(self.container.api(), Stream::api)
    }

    /// How to write objects, when the target is a folder or a bucket.
    pub fn objects(&self) -> &ObjectsConfig {
        &self.objects
    }

    /// How to reach AWS, when the target is a stream or a bucket.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How to deliver, when the target is a stream.
    pub fn delivery(&self) -> &DeliveryConfig {
        &self.delivery
    }

    /// Where records go that cannot be delivered to the stream.
    pub fn spool(&self) -> Option<&SpoolConfig> {
        self.spool.as_ref()
    }

    /// The same with other schemas of real-time logs, for a program that has them already: any of
    /// them go with the rest.
    pub fn with_schemas(self, schemas: Schemas) -> Config {
        Config { schemas, ..self }
    }

    /// The same with these keys for AWS, or for what stands in for it.
    pub fn with_credentials(self, credentials: Credentials) -> Config {
        let connection = Connection { credentials: Some(credentials), ..self.connection };
        Config { connection, ..self }
    }
}

/// Bytes of rows that go to files at a time: what stays in a core's own cache while one column after
/// the other is read from them.
const ROWS_SIZE: usize = 512 << 10;
/// The longest row: of a line that is as long as a block can be, and whose query stands there twice
/// with the lengths of its names and values.
const MAX_ROW_LEN: usize = 1 << 30;

impl Container {
    /// The API that takes such records.
    pub fn api(&self) -> Api {
        match self {
            Container::Lines { .. } | Container::Parquet { .. } => Api::PutRecordBatch,
            Container::Kpl { .. } => Api::PutRecords,
        }
    }

    /// The most bytes of a record.
    pub fn record_size(&self) -> usize {
        match self {
            Container::Lines { record_size, .. } | Container::Kpl { record_size, .. } => *record_size,
            Container::Parquet { .. } => ROWS_SIZE,
        }
    }

    /// How records are compressed.
    pub fn codec(&self) -> Codec {
        match self {
            Container::Lines { codec, .. } => *codec,
            Container::Kpl { .. } | Container::Parquet { .. } => Codec::None,
        }
    }

    /// What decides on the shard of a line.
    pub fn partition_by(&self) -> Option<&Selector> {
        match self {
            Container::Lines { .. } | Container::Parquet { .. } => None,
            Container::Kpl { partition_by, .. } => partition_by.as_ref(),
        }
    }

    /// The longest encoded line, with its newline, that is sure to fit into a record.
    pub fn max_line_len(&self) -> usize {
        match self {
            Container::Lines { record_size, codec, .. } => codec.max_input_len(*record_size),
            // The least record size is above the length of a key.
            Container::Kpl { record_size, .. } => record_size - HashKeys::KEY_LEN,
            // A row that is longer than others goes alone.
            Container::Parquet { .. } => MAX_ROW_LEN,
        }
    }

    /// The record size that lines are put in order for, where they may be.
    pub(crate) fn reorder_for(&self) -> Option<usize> {
        match self {
            Container::Lines { record_size, reorder: true, .. } => Some(*record_size),
            _ => None,
        }
    }
}

impl Target {
    /// The stream, when it is one.
    pub fn stream(&self) -> Option<&Stream> {
        match self {
            Target::Stream(stream) => Some(stream),
            _ => None,
        }
    }
}

impl Display for Target {
    /// As it is read.
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stream(stream) => stream.fmt(out),
            Target::S3(uri) => uri.fmt(out),
            Target::Dir(folder) => write!(out, "dir:{}", folder.display()),
            Target::Stdout(stream) => write!(out, "stdout:{}", stream.as_deref().unwrap_or_default()),
            Target::Null => out.write_str("null:"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        match text.split_once(':') {
            Some(("firehose" | "kinesis", _)) => text.parse().map(Target::Stream).map_err(TargetError::Stream),
            Some(("s3", rest)) if rest.starts_with("//") => {
                text.parse().map(S3Uri::into_folder).map(Target::S3).map_err(TargetError::S3)
            }
            Some(("dir", path)) if !path.is_empty() => Ok(Target::Dir(path.into())),
            Some(("stdout", stream)) => Ok(Target::Stdout((!stream.is_empty()).then(|| stream.to_owned()))),
            Some(("null", "")) => Ok(Target::Null),
            _ => Err(TargetError::Scheme),
        }
    }
}

impl Linger {
    /// What a pipe gets when nothing else is said: lines arrive soon, and a busy pipe fills its
    /// records all the same.
    pub const DEFAULT_FOR_PIPE: Duration = Duration::from_secs(1);

    /// How long a line of a pipe or of a file may wait; `None` for as long as it takes.
    pub fn limit(self, is_pipe: bool) -> Option<Duration> {
        match self {
            Linger::BySource => is_pipe.then_some(Linger::DEFAULT_FOR_PIPE),
            Linger::Never => None,
            Linger::After(time) => Some(time),
        }
    }
}

/// `none`, `0`, or a duration.
impl FromStr for Linger {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Linger, UnitError> {
        if text == "none" {
            return Ok(Linger::Never);
        }
        parse_duration(text).map(|time| if time.is_zero() { Linger::Never } else { Linger::After(time) })
    }
}

/// `none`, or bytes a second.
impl FromStr for RateLimit {
    type Err = RateLimitError;

    fn from_str(text: &str) -> Result<RateLimit, RateLimitError> {
        match text {
            "none" => Ok(RateLimit::None),
            size => parse_size(size).map(RateLimit::BytesPerSecond).map_err(|_| RateLimitError),
        }
    }
}

#[cfg(test)]
mod tests;
