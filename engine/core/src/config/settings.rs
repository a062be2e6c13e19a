//! Settings as they were typed, and the rules by which they make a [`Config`].

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::error::{ConfigError, Problem};
use super::units::format_duration;
use super::{
    Choice, Config, Connection, Container, ContainerKind, DeliveryConfig, EncodingKind, HashFunction, Key, Linger,
    ObjectsConfig, OnBadLine, QuarantinePlace, QueryEncodingKind, RateLimit, Secret, ServerSideEncryption, SpoolConfig,
    Stream, Target, TargetError, WhenFull, privacy, read,
};
use crate::compress::Codec;
use crate::duplicates::DuplicateWindow;
use crate::pack::lines;
use crate::sink::limits::{Api, Counted};
use crate::source::Format;
use pixel_engine_kpl::{self as kpl, HashKeys};
use pixel_engine_log::encode::Encoding;
use pixel_engine_log::schema::{LogKind, Schema, Schemas};
use pixel_engine_log::select::{Matcher, SelectError, Selection, Selector};
use pixel_engine_log::table::Table;

/// What a user may set, as plain values: nothing here has been looked at yet, and what is not set
/// has a default. [`Settings::validate`] makes a [`Config`] of it.
///
/// They can be deserialized from a file, from variables, where every value is text, or from
/// whatever a deployment has. Keys have the names of the fields here. A key that does not exist is
/// refused.
///
/// ```
/// use pixel_engine_core::config::{Container, Settings};
///
/// let settings: Settings = serde_json::from_str(r#"{ "to": "kinesis://hits", "record_size": "100KiB" }"#)?;
/// let config = settings.validate()?;
/// assert!(matches!(config.container(), Container::Kpl { record_size: 102_400, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the lines are. Default: told from the first line of each input.
    #[serde(deserialize_with = "read::choice")]
    pub format: Option<Format>,
    /// The accepted fields of real-time logs: each a preset, a list of names, or `@FILE` with one
    /// of these; told apart by their column count. With the format `standard`: the columns of logs
    /// without a header. Default: every preset.
    #[serde(deserialize_with = "read::list")]
    pub fields: Vec<String>,
    /// How many times the queries in the log are percent-encoded. Default: twice.
    #[serde(deserialize_with = "read::choice")]
    pub query_encoding: Option<QueryEncodingKind>,
    /// Conditions `FIELD=GLOB`: a line that does not match all of them is filtered out. Default:
    /// none.
    #[serde(rename = "match", deserialize_with = "read::list")]
    pub matches: Vec<String>,
    /// Lines whose `x-edge-request-id` is among the last so many of the run are filtered out.
    /// Default: none are.
    #[serde(deserialize_with = "read::count")]
    pub dedup_window: Option<u64>,
    /// Whether addresses in `c-ip` and `x-forwarded-for` are cut to their network. Default: no.
    #[serde(deserialize_with = "read::switch")]
    pub mask_ip: Option<bool>,
    /// The values that a hash with a key stands in place of, separated by commas. Default: none.
    pub hash: Option<String>,
    /// The function that they are hashed with. Default: BLAKE3.
    #[serde(deserialize_with = "read::choice")]
    pub hash_with: Option<HashFunction>,
    /// The key that they are hashed with, at least 16 bytes.
    #[serde(deserialize_with = "read::secret")]
    pub hash_key: Option<Secret>,
    /// The file with that key, in place of it.
    pub hash_key_file: Option<PathBuf>,
    /// The values that become absent, separated by commas. Default: none.
    pub drop: Option<String>,
    /// Values and what stands in their place, each `SELECTOR=VALUE`. Default: none.
    #[serde(deserialize_with = "read::list")]
    pub replace: Vec<String>,
    /// What to do with a line that cannot be shipped. Default: quarantine.
    #[serde(deserialize_with = "read::choice")]
    pub on_bad_line: Option<OnBadLine>,
    /// Where lines go that cannot be shipped: a file, `firehose://STREAM`, `kinesis://STREAM`, or
    /// `log:` for standard error. Default: [`Config::DEFAULT_QUARANTINE`].
    pub quarantine: Option<PathBuf>,
    /// What a line becomes. Default: the line as it came.
    #[serde(deserialize_with = "read::choice")]
    pub encode: Option<EncodingKind>,
    /// The values to keep of each line, separated by commas. Default: all.
    pub select: Option<String>,
    /// Values that get a column of their own beside those of the log, such as `query.uid`. For
    /// `parquet`. Default: none.
    #[serde(deserialize_with = "read::list")]
    pub column: Vec<String>,
    /// The column by which the rows of a row group are sorted, such as `query.uid`. For `parquet`.
    /// Default: as they come.
    pub sort_by: Option<String>,
    /// Where to deliver: see [`Target`]. Default: [`Config::DEFAULT_TARGET`].
    pub to: Option<String>,
    /// What records are made of. Default: `kpl` for `kinesis://`, else `lines`.
    #[serde(deserialize_with = "read::choice")]
    pub container: Option<ContainerKind>,
    /// For `kpl`: lines with the same value go to the same shard, in order; shards take turns by
    /// default. For `parquet`: values that folders are named after, inside of those of the day and
    /// the hour, separated by commas.
    pub partition_by: Option<String>,
    /// The most bytes of a record, after compression. Default: 1,024,000 for `lines`, 51,200 for
    /// `kpl`.
    #[serde(deserialize_with = "read::size")]
    pub record_size: Option<u64>,
    /// Records of lines end just under a multiple of this many bytes; without effect when they are
    /// compressed. For `lines`. Default: 5,120, the bytes that Firehose bills in.
    #[serde(deserialize_with = "read::size")]
    pub align: Option<u64>,
    /// Whether lines may change their order within a block, to fill records better. For `lines`.
    /// Default: no.
    #[serde(deserialize_with = "read::switch")]
    pub reorder: Option<bool>,
    /// How records or the pages of Parquet files are compressed: `none`, `gzip[:LEVEL]` or
    /// `zstd[:LEVEL]`. For `lines` and `parquet`. Default: `none`, and for `parquet` `zstd:1`.
    pub compress: Option<String>,
    /// How long a line may wait for its record to be filled. Default: 1 s for a pipe, no limit for
    /// files.
    #[serde(deserialize_with = "read::linger")]
    pub linger: Option<Linger>,
    /// Threads that scan, encode and compress. Default: one for each core.
    #[serde(deserialize_with = "read::count")]
    pub threads: Option<u64>,
    /// The file that keeps how far each input is delivered. Default: none.
    pub resume: Option<PathBuf>,
    /// How long an object may be open before it is complete. For folders and buckets. Default: 300 s.
    #[serde(deserialize_with = "read::duration")]
    pub buffering_interval: Option<Duration>,
    /// How S3 encrypts objects. For buckets. Default: as the bucket says.
    #[serde(deserialize_with = "read::choice")]
    pub sse: Option<ServerSideEncryption>,
    /// The KMS key for that. Default: the account's own for S3.
    pub sse_kms_key_id: Option<String>,
    /// Requests on the way at a time. Default: 4.
    #[serde(deserialize_with = "read::count")]
    pub concurrency: Option<u64>,
    /// The most bytes of a request. Default: 4 MiB for Firehose, 5 MiB for Kinesis.
    #[serde(deserialize_with = "read::size")]
    pub request_size: Option<u64>,
    /// What counts towards the bytes of a Firehose request. Default: base64.
    #[serde(deserialize_with = "read::choice")]
    pub count_request_size: Option<Counted>,
    /// The most bytes a second for a Firehose stream or for each Kinesis shard. Default:
    /// [`RateLimit::Auto`].
    #[serde(deserialize_with = "read::rate_limit")]
    pub rate_limit: Option<RateLimit>,
    /// How long to try to deliver a record. Default: for ever.
    #[serde(deserialize_with = "read::duration")]
    pub give_up_after: Option<Duration>,
    /// How long to go on trying once the run is stopped. Default: 10 s.
    #[serde(deserialize_with = "read::duration")]
    pub grace: Option<Duration>,
    /// The folder for records that cannot be delivered. For streams. Default: none.
    pub spool: Option<PathBuf>,
    /// The most bytes in that folder. Default: 10 GB.
    #[serde(deserialize_with = "read::size")]
    pub spool_size: Option<u64>,
    /// What to do when that folder is full. Default: block.
    #[serde(deserialize_with = "read::choice")]
    pub spool_full: Option<WhenFull>,
    /// The AWS region. For streams and buckets, as all that follow. Default: that of the stream's ARN, or of
    /// the standard AWS chain.
    pub region: Option<String>,
    /// The profile of the AWS configuration files. Default: that of the chain.
    pub profile: Option<String>,
    /// The endpoint in place of the service's own. Default: that of the chain, else AWS.
    pub endpoint_url: Option<String>,
    /// The role to assume through STS. Default: none.
    pub role_arn: Option<String>,
    /// The time for one request, from its first byte to the end of the reply. Default: 30 s.
    #[serde(deserialize_with = "read::duration")]
    pub request_timeout: Option<Duration>,
}

/// The least bytes of a record of lines: room for a line and for what a codec adds to it.
const MIN_LINES_RECORD_SIZE: usize = 1_024;
/// More threads or requests at a time than any machine has use for.
const MAX_THREADS: usize = 1_024;
const MAX_CONCURRENCY: usize = 1_024;
pub(super) const DEFAULT_CONCURRENCY: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");
const MIN_REQUEST_SIZE: usize = 1 << 20;
pub(super) const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// Long enough for anyone, and short enough to be added to the time of any clock.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// No service answers faster, and nothing would ever be delivered.
const MIN_REQUEST_TIMEOUT: Duration = Duration::from_millis(1);
const MIN_BUFFERING_INTERVAL: Duration = Duration::from_secs(1);
const MIN_LINGER: Duration = Duration::from_millis(1);
const MAX_LINGER: Duration = Duration::from_secs(60 * 60);
/// What Athena itself compresses with. Files are as small as at level 3: see `Codec::compress_page`.
const PARQUET_LEVEL: i32 = 1;
/// The fields of real-time logs without those of media players; they have all of standard logs.
const USUAL_FIELDS: &str = "realtime-46";
const DEFAULT_SPOOL_SIZE: u64 = 10_000_000_000;

impl Settings {
    /// The configuration that these settings make.
    ///
    /// `@FILE` in [`fields`](Settings::fields) is read here.
    ///
    /// # Errors
    /// A value that does not exist or is out of range, or one that does not go with another. The
    /// error names the key.
    pub fn validate(&self) -> Result<Config, ConfigError> {
        let target = self.target()?;
        let stream = target.stream();
        let (schemas, standard_schema) = self.schemas()?;
        let table = self.table(&schemas, standard_schema.as_deref())?;
        let container = self.container_for(&target, table)?;
        let api = stream.map_or(container.api(), Stream::api);
        let threads = count(Key::Threads, self.threads, MAX_THREADS)?
            .unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let conditions = self.matches.iter().map(String::as_str);
        let (quarantine, checkpoint) = (self.quarantine(&target)?, self.checkpoint()?);
        if let (Some(quarantine), Some(checkpoint)) = (quarantine.file(), &checkpoint)
            && quarantine == checkpoint
        {
            let value = checkpoint.display().to_string();
            return Err(ConfigError::new(Key::Resume, value, Problem::SameFile { other: Key::Quarantine }));
        }
        Ok(Config {
            format: self.format.unwrap_or_default(),
            schemas,
            standard_schema,
            query_encoding: self.query_encoding.unwrap_or_default(),
            matcher: Matcher::new(conditions).map_err(|error| selecting(Key::Match, error))?,
            dedup_window: count(Key::DedupWindow, self.dedup_window, DuplicateWindow::MAX_LEN)?,
            treatment: privacy::treatment(self)?.map(Arc::new),
            on_bad_line: self.on_bad_line.unwrap_or_default(),
            quarantine,
            encoding: self.encoding(&container)?,
            linger: self.valid_linger()?,
            threads,
            checkpoint,
            delivery: self.delivery(stream.is_some(), api, &container, threads)?,
            connection: self.connection()?,
            objects: self.objects(&target)?,
            spool: self.spool_for(stream)?,
            target,
            container,
        })
    }

    fn target(&self) -> Result<Target, ConfigError> {
        let target = self.to.as_deref().unwrap_or(Config::DEFAULT_TARGET);
        target.parse().map_err(|error| ConfigError::new(Key::To, target.to_owned(), Problem::Target(error)))
    }

    fn container_for(&self, target: &Target, table: Option<Table>) -> Result<Container, ConfigError> {
        if let Some(table) = table {
            return self.parquet(target, table);
        }
        let stream = target.stream();
        let default = match stream.map(Stream::api) {
            Some(Api::PutRecords) => ContainerKind::Kpl,
            _ => ContainerKind::Lines,
        };
        match (self.container.unwrap_or(default), stream.map(Stream::api)) {
            (kpl @ ContainerKind::Kpl, Some(Api::PutRecordBatch)) => Err(ConfigError::new(
                Key::Container,
                kpl.name().to_owned(),
                Problem::Excluded {
                    by: Key::To,
                    value: Some("firehose://"),
                    why: "Firehose takes aggregates apart only when they come from a Kinesis stream",
                },
            )),
            (ContainerKind::Kpl, _) => self.kpl(),
            (ContainerKind::Lines, _) => self.lines(false),
            (ContainerKind::Line, _) => self.single_lines(),
        }
    }

    /// A record is as long as its line: there is nothing to fill.
    fn single_lines(&self) -> Result<Container, ConfigError> {
        const ONE: &str = "a record is one line, as it is";
        let is_compressed = self.compress.as_ref().is_some_and(|codec| codec != "none");
        for (is_given, key) in [
            (is_compressed, Key::Compress),
            (self.align.is_some(), Key::Align),
            (self.reorder == Some(true), Key::Reorder),
        ] {
            if is_given {
                let value = Some(ContainerKind::Line.name());
                return Err(ConfigError::new(key, None, Problem::Excluded { by: Key::Container, value, why: ONE }));
            }
        }
        self.lines(true)
    }

    fn lines(&self, single: bool) -> Result<Container, ConfigError> {
        const { assert!(MIN_LINES_RECORD_SIZE <= lines::MAX_RECORD_SIZE) };
        if self.partition_by.is_some() {
            let needs_kpl = Problem::Alone {
                needs: Key::Container,
                value: Some("kpl"),
                why: "records of lines have no key, and Firehose has no shards",
            };
            return Err(ConfigError::new(Key::PartitionBy, None, needs_kpl));
        }
        let codec = self.codec()?.unwrap_or_default();
        let max = lines::MAX_RECORD_SIZE;
        let record_size = size(Key::RecordSize, self.record_size, MIN_LINES_RECORD_SIZE, max, "a record of lines")?;
        let record_size = record_size.unwrap_or(max);
        let align = size(Key::Align, self.align, 1, record_size.max(lines::DEFAULT_ALIGN), "this record size")?;
        let align = NonZeroUsize::new(align.unwrap_or(lines::DEFAULT_ALIGN)).expect("0 was refused");
        Ok(Container::Lines { record_size, align, reorder: self.reorder.unwrap_or_default(), single, codec })
    }

    fn parquet(&self, target: &Target, table: Table) -> Result<Container, ConfigError> {
        let files = "it is files, which need dir: or s3://";
        if !matches!(target, Target::Dir(_) | Target::S3(_)) {
            let excluded = Problem::Excluded { by: Key::To, value: None, why: files };
            return Err(ConfigError::new(Key::Encode, EncodingKind::Parquet.name().to_owned(), excluded));
        }
        for (is_given, key) in [
            (self.container.is_some(), Key::Container),
            (self.record_size.is_some(), Key::RecordSize),
            (self.align.is_some(), Key::Align),
            (self.reorder == Some(true), Key::Reorder),
        ] {
            if is_given {
                let value = Some(EncodingKind::Parquet.name());
                let excluded = Problem::Excluded { by: Key::Encode, value, why: "it is about records" };
                return Err(ConfigError::new(key, None, excluded));
            }
        }
        Ok(Container::Parquet { table, codec: self.codec()?.unwrap_or(Codec::Zstd(PARQUET_LEVEL)) })
    }

    /// How to compress, where that is said.
    fn codec(&self) -> Result<Option<Codec>, ConfigError> {
        let codec = self.compress.as_deref().map(str::parse).transpose();
        codec.map_err(|error| ConfigError::new(Key::Compress, None, Problem::Codec(error)))
    }

    fn kpl(&self) -> Result<Container, ConfigError> {
        const { assert!(HashKeys::KEY_LEN < kpl::MIN_RECORD_SIZE) };
        const FULL_ANYHOW: &str = "aggregates are filled to the last line that fits";
        let is_compressed = self.compress.as_ref().is_some_and(|codec| codec != "none");
        for (is_given, key, why) in [
            (is_compressed, Key::Compress, "consumers could not unpack a compressed aggregate"),
            (self.align.is_some(), Key::Align, FULL_ANYHOW),
            (self.reorder == Some(true), Key::Reorder, FULL_ANYHOW),
        ] {
            if is_given {
                return Err(ConfigError::new(
                    key,
                    None,
                    Problem::Excluded { by: Key::Container, value: Some("kpl"), why },
                ));
            }
        }
        let partition_by = self.partition_by.as_deref().map(str::parse).transpose();
        let (min, max) = (kpl::MIN_RECORD_SIZE, kpl::MAX_RECORD_SIZE);
        let record_size = size(Key::RecordSize, self.record_size, min, max, "an aggregate")?;
        Ok(Container::Kpl {
            record_size: record_size.unwrap_or(kpl::DEFAULT_RECORD_SIZE),
            partition_by: partition_by.map_err(|error| selecting(Key::PartitionBy, error))?,
        })
    }

    /// The real-time schemas that are accepted, and that of standard logs without a header.
    fn schemas(&self) -> Result<(Schemas, Option<Arc<Schema>>), ConfigError> {
        let is_standard = self.format == Some(Format::Standard);
        let kind = if is_standard { LogKind::Standard } else { LogKind::RealTime };
        let schemas: Vec<Schema> = self.fields.iter().map(|fields| schema(kind, fields)).collect::<Result<_, _>>()?;
        let refused = |problem| ConfigError::new(Key::Fields, None, problem);
        match schemas.as_slice() {
            [] => Ok((Schemas::all_presets(), None)),
            [one] if is_standard => Ok((Schemas::default(), Some(Arc::new(one.clone())))),
            _ if is_standard => Err(refused(Problem::OneList)),
            _ => Ok((Schemas::new(schemas).map_err(|error| refused(Problem::Fields(error)))?, None)),
        }
    }

    fn encoding(&self, container: &Container) -> Result<Encoding, ConfigError> {
        Ok(match (container, self.encode, self.selection()?) {
            (Container::Parquet { table, .. }, ..) => Encoding::Rows(table.clone()),
            (_, Some(EncodingKind::Jsonl), selection) => Encoding::Json(selection),
            (_, _, None) => Encoding::Raw,
            (_, _, Some(selection)) => Encoding::Projection(selection),
        })
    }

    fn selection(&self) -> Result<Option<Selection>, ConfigError> {
        let selection = self.select.as_deref().map(str::parse).transpose();
        selection.map_err(|error| selecting(Key::Select, error))
    }

    /// The columns of Parquet files: those of the fields that were named, else those that
    /// CloudFront's logs have, of either kind. `None` for other encodings.
    fn table(&self, schemas: &Schemas, standard: Option<&Schema>) -> Result<Option<Table>, ConfigError> {
        if self.encode != Some(EncodingKind::Parquet) {
            for (is_given, key, why) in [
                (!self.column.is_empty(), Key::Column, "other encodings have the parameters of the query by name"),
                (self.sort_by.is_some(), Key::SortBy, "lines go out as they come"),
            ] {
                if is_given {
                    let no_rows = Problem::Alone { needs: Key::Encode, value: Some(EncodingKind::Parquet.name()), why };
                    return Err(ConfigError::new(key, None, no_rows));
                }
            }
            return Ok(None);
        }
        let columns = self.column.iter().map(|name| name.parse()).collect::<Result<Vec<Selector>, _>>();
        let columns = columns.map_err(|error| selecting(Key::Column, error))?;
        let table = match self.selection()? {
            Some(_) if !columns.is_empty() => {
                let why = "name it there: a selection has all columns";
                let excluded = Problem::Excluded { by: Key::Select, value: None, why };
                return Err(ConfigError::new(Key::Column, None, excluded));
            }
            Some(selection) => Table::of_selection(&selection),
            None if self.fields.is_empty() => {
                let usual = Schema::preset(USUAL_FIELDS).expect("it is one of the presets");
                Table::of_log([&usual], &columns)
            }
            None => Table::of_log(schemas.iter().map(|schema| &**schema).chain(standard), &columns),
        };
        let folders = self.partition_by.as_deref().map(str::parse::<Selection>).transpose();
        let folders = folders.map_err(|error| selecting(Key::PartitionBy, error))?;
        let table = match folders {
            Some(folders) => table.with_folders(folders.selectors()),
            None => table,
        };
        let Some(name) = &self.sort_by else { return Ok(Some(table)) };
        let selector = name.parse().map_err(|error| selecting(Key::SortBy, error))?;
        let no_column = || {
            let why = "the files have no column of that name";
            ConfigError::new(Key::SortBy, name.clone(), Problem::Alone { needs: Key::Column, value: None, why })
        };
        Ok(Some(table.sorted_by(&selector).ok_or_else(no_column)?))
    }

    fn valid_linger(&self) -> Result<Linger, ConfigError> {
        match self.linger.unwrap_or_default() {
            Linger::After(Duration::ZERO) => Ok(Linger::Never),
            Linger::After(given) => {
                time(Key::Linger, Some(given), MIN_LINGER, MAX_LINGER).map(|_| Linger::After(given))
            }
            linger => Ok(linger),
        }
    }

    fn quarantine(&self, target: &Target) -> Result<QuarantinePlace, ConfigError> {
        let given = path(Key::Quarantine, self.quarantine.as_deref())?;
        let given = given.unwrap_or_else(|| Config::DEFAULT_QUARANTINE.into());
        let text = match given.to_str() {
            Some("log:") => return Ok(QuarantinePlace::Log),
            Some(text) if text.starts_with("firehose://") || text.starts_with("kinesis://") => text,
            _ => return Ok(QuarantinePlace::File(given)),
        };
        let refused = |problem| ConfigError::new(Key::Quarantine, text.to_owned(), problem);
        let stream = text.parse().map_err(|error| refused(Problem::Target(TargetError::Stream(error))))?;
        if target.stream() == Some(&stream) {
            return Err(refused(Problem::SameStream { other: Key::To }));
        }
        Ok(QuarantinePlace::Stream(stream))
    }

    fn checkpoint(&self) -> Result<Option<PathBuf>, ConfigError> {
        path(Key::Resume, self.resume.as_deref())
    }

    fn delivery(
        &self,
        is_stream: bool,
        api: Api,
        container: &Container,
        threads: NonZeroUsize,
    ) -> Result<DeliveryConfig, ConfigError> {
        let concurrency = count(Key::Concurrency, self.concurrency, MAX_CONCURRENCY)?;
        let concurrency = concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        // What no request is sent with may be what it likes, as long as there is such a request.
        let (max, of) = if is_stream {
            (api.max_bytes(), api.name())
        } else {
            (Api::PutRecords.max_bytes().max(Api::PutRecordBatch.max_bytes()), "a request")
        };
        let request_size = size(Key::RequestSize, self.request_size, MIN_REQUEST_SIZE, max, of)?;
        let rate_limit = self.rate_limit.unwrap_or_default();
        if rate_limit == RateLimit::BytesPerSecond(0) {
            let nothing = Problem::Nothing { why: "nothing would ever be sent" };
            return Err(ConfigError::new(Key::RateLimit, "0".to_owned(), nothing));
        }
        let (is_kpl, key_len) = match (container, api) {
            (Container::Kpl { .. }, _) => (true, 0),
            // Kinesis counts the key with the data, and so does the record size of aggregates.
            (Container::Lines { .. } | Container::Parquet { .. }, Api::PutRecords) => (false, HashKeys::KEY_LEN),
            (Container::Lines { .. } | Container::Parquet { .. }, Api::PutRecordBatch) => (false, 0),
        };
        Ok(DeliveryConfig {
            concurrency,
            threads: threads.min(concurrency),
            request_size: request_size.unwrap_or(api.default_bytes()),
            counted: match api {
                Api::PutRecordBatch => self.count_request_size.unwrap_or(api.default_count()),
                Api::PutRecords => api.default_count(),
            },
            rate_limit,
            give_up_after: time(Key::GiveUpAfter, self.give_up_after, Duration::ZERO, MAX_WAIT)?,
            grace: time(Key::Grace, self.grace, Duration::ZERO, MAX_WAIT)?.unwrap_or(DEFAULT_GRACE),
            aggregates: is_kpl,
            compressed: container.codec() != Codec::None,
            record_size: container.record_size() + key_len,
            in_order: container.partition_by().is_some(),
        })
    }

    fn objects(&self, target: &Target) -> Result<ObjectsConfig, ConfigError> {
        let no_bucket =
            |key, why| ConfigError::new(key, None, Problem::Alone { needs: Key::To, value: Some("s3://"), why });
        if self.sse.is_some() && !matches!(target, Target::S3(_)) {
            return Err(no_bucket(Key::Sse, "it is S3 that encrypts"));
        }
        let sse_kms_key_id = given(Key::SseKmsKeyId, self.sse_kms_key_id.as_ref())?;
        if sse_kms_key_id.is_some() && self.sse != Some(ServerSideEncryption::AwsKms) {
            let name = ServerSideEncryption::AwsKms.name();
            let no_kms = Problem::Alone { needs: Key::Sse, value: Some(name), why: "nothing else has such a key" };
            return Err(ConfigError::new(Key::SseKmsKeyId, None, no_kms));
        }
        let interval = time(Key::BufferingInterval, self.buffering_interval, MIN_BUFFERING_INTERVAL, MAX_WAIT)?;
        Ok(ObjectsConfig {
            buffering_interval: interval.unwrap_or(ObjectsConfig::default().buffering_interval),
            sse: self.sse,
            sse_kms_key_id,
        })
    }

    fn connection(&self) -> Result<Connection, ConfigError> {
        let timeout = time(Key::RequestTimeout, self.request_timeout, MIN_REQUEST_TIMEOUT, MAX_WAIT)?;
        Ok(Connection {
            region: given(Key::Region, self.region.as_ref())?,
            profile: given(Key::Profile, self.profile.as_ref())?,
            credentials: None,
            endpoint_url: given(Key::EndpointUrl, self.endpoint_url.as_ref())?,
            role_arn: given(Key::RoleArn, self.role_arn.as_ref())?,
            request_timeout: timeout.unwrap_or(Connection::default().request_timeout),
        })
    }

    fn spool_for(&self, stream: Option<&Stream>) -> Result<Option<SpoolConfig>, ConfigError> {
        let Some(folder) = path(Key::Spool, self.spool.as_deref())? else {
            for (is_given, key) in
                [(self.spool_size.is_some(), Key::SpoolSize), (self.spool_full.is_some(), Key::SpoolFull)]
            {
                if is_given {
                    let no_spool =
                        Problem::Alone { needs: Key::Spool, value: None, why: "there is no spool without it" };
                    return Err(ConfigError::new(key, None, no_spool));
                }
            }
            return Ok(None);
        };
        if stream.is_none() {
            let no_stream = Problem::Alone {
                needs: Key::To,
                value: Some("firehose:// or kinesis://"),
                why: "what other targets have not taken stays in the input",
            };
            return Err(ConfigError::new(Key::Spool, None, no_stream));
        }
        let size = self.spool_size.unwrap_or(DEFAULT_SPOOL_SIZE);
        if size == 0 {
            let nothing = Problem::Nothing { why: "no record would fit into the spool" };
            return Err(ConfigError::new(Key::SpoolSize, "0".to_owned(), nothing));
        }
        Ok(Some(SpoolConfig { folder, size, when_full: self.spool_full.unwrap_or_default() }))
    }
}

/// The list of fields that an argument names.
fn schema(kind: LogKind, argument: &str) -> Result<Schema, ConfigError> {
    let refused = |problem| ConfigError::new(Key::Fields, argument.to_owned(), problem);
    let list = match argument.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| refused(Problem::File(error)))?,
        None => argument.to_owned(),
    };
    match Schema::preset(list.trim()) {
        Some(preset) => Ok(preset),
        None => Schema::parse(kind, &list).map_err(|error| refused(Problem::Fields(error))),
    }
}

pub(super) fn selecting(key: Key, error: SelectError) -> ConfigError {
    ConfigError::new(key, None, Problem::Select(error))
}

fn size(key: Key, given: Option<u64>, min: usize, max: usize, of: &'static str) -> Result<Option<usize>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    let size = usize::try_from(given).ok().filter(|size| (min..=max).contains(size));
    size.map(Some).ok_or_else(|| ConfigError::new(key, given.to_string(), Problem::Size { min, max, of }))
}

fn count(key: Key, given: Option<u64>, max: usize) -> Result<Option<NonZeroUsize>, ConfigError> {
    let Some(given) = given else { return Ok(None) };
    let count = usize::try_from(given).ok().filter(|&count| count <= max).and_then(NonZeroUsize::new);
    count.map(Some).ok_or_else(|| ConfigError::new(key, given.to_string(), Problem::Count { min: 1, max }))
}

fn time(key: Key, given: Option<Duration>, min: Duration, max: Duration) -> Result<Option<Duration>, ConfigError> {
    match given.filter(|given| !(min..=max).contains(given)) {
        None => Ok(given),
        Some(wrong) => Err(ConfigError::new(key, format_duration(wrong), Problem::Time { min, max })),
    }
}

/// Text that is not empty.
fn given(key: Key, text: Option<&String>) -> Result<Option<String>, ConfigError> {
    if text.is_some_and(String::is_empty) {
        return Err(ConfigError::new(key, None, Problem::Nothing { why: "it is empty" }));
    }
    Ok(text.cloned())
}

pub(super) fn path(key: Key, given: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    if given.is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(ConfigError::new(key, None, Problem::Nothing { why: "the path is empty" }));
    }
    Ok(given.map(Path::to_owned))
}
