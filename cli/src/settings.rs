//! The flags that are settings of the engine. What was typed becomes [`Settings`], and these a
//! [`Config`]; the engine knows the rules, and its errors are spelled in flags here.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pixel_engine::config::{
    Choice, Config, ContainerKind, EncodingKind, HashFunction, Key, Linger, OnBadLine, QueryEncodingKind, RateLimit,
    Secret, ServerSideEncryption, Settings, WhenFull, parse_duration, parse_size,
};
use pixel_engine::sink::limits::Counted;
use pixel_engine::source::Format;

use crate::usage_error;

/// What lines are, and which of them count.
#[derive(Args)]
pub(crate) struct Reading {
    /// What the lines are [default: auto]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<Format>())]
    format: Option<Format>,

    /// Accepted fields of real-time logs: a preset, a list, or @FILE with a list; repeatable, told
    /// apart by column count. With `--format standard`: the fields of logs without a header
    /// [default: every preset, which are pixel-4, realtime-40, -43, -45, -46, -69, -71]
    #[arg(long, value_name = "PRESET|LIST|@FILE")]
    fields: Vec<String>,

    /// How many times queries are percent-encoded [default: twice, as CloudFront's logs are]
    #[arg(long, value_name = "TIMES", value_parser = choice::<QueryEncodingKind>())]
    query_encoding: Option<QueryEncodingKind>,

    /// Take only lines whose field matches, filter the others out; repeatable, all must match
    #[arg(long = "match", value_name = "FIELD=GLOB")]
    matches: Vec<String>,

    /// Filter out lines whose x-edge-request-id is among the last N that this run has kept, 1 to
    /// 100000000 [default: off]
    #[arg(long, value_name = "N")]
    dedup_window: Option<u64>,

    /// Threads that scan lines and do what follows, 1 to 1024 [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<u64>,
}

/// What lines are, and the columns that they become, for commands that take them as they were or will be
/// given to `ingest`.
#[derive(Args)]
pub(crate) struct Columns {
    /// What the lines are [default: auto, which are real-time logs unless they say otherwise]
    #[arg(long, value_name = "FORMAT", value_parser = choice::<Format>())]
    pub(crate) format: Option<Format>,

    /// The fields that they have: a preset, a list, or @FILE with a list; repeatable [default:
    /// realtime-46]
    #[arg(long, value_name = "PRESET|LIST|@FILE")]
    pub(crate) fields: Vec<String>,

    /// What is kept of them, separated by commas
    #[arg(long, value_name = "FIELDS")]
    pub(crate) select: Option<String>,

    /// In Parquet files, a value with a column of its own; may be given several times
    #[arg(long, value_name = "FIELD|query.NAME")]
    pub(crate) column: Vec<String>,
}

/// What lines are, what becomes of them, and where they go.
#[derive(Args)]
pub(crate) struct Lines {
    #[command(flatten)]
    reading: Reading,

    /// Where to deliver: `firehose://STREAM` and `kinesis://STREAM` (name or ARN) send,
    /// `s3://BUCKET/PREFIX/` and `dir:PATH` write objects as Firehose would, `stdout:[STREAM]` API
    /// requests, `null:` nothing
    /// [default: dir:pixel-engine-out]
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,

    /// What a line becomes [default: raw]
    #[arg(long, value_name = "ENCODING", value_parser = choice::<EncodingKind>())]
    encode: Option<EncodingKind>,

    /// Keep only these: fields, viewer-host, distribution-host, uri-path, query.NAME; separated by
    /// commas
    #[arg(long, value_name = "FIELDS")]
    select: Option<String>,

    /// With `--encode parquet`, a value that gets a column of its own, such as query.uid; may be
    /// given several times
    #[arg(long, value_name = "FIELD|query.NAME")]
    column: Vec<String>,

    /// With `--encode parquet`, sort the rows of each row group by this column, so that readers skip
    /// more of it
    #[arg(long, value_name = "FIELD|query.NAME")]
    sort_by: Option<String>,

    /// What records are made of [default: kpl for kinesis://, else lines]
    #[arg(long, value_name = "CONTAINER", value_parser = choice::<ContainerKind>())]
    container: Option<ContainerKind>,

    /// With `--container kpl`, keep lines with the same value in one shard and in order: a field,
    /// viewer-host, distribution-host, uri-path or query.NAME; lines without the value are spread
    /// over all shards. With `--encode parquet`, folders inside of those of the day and the hour
    /// that are named after these values, separated by commas
    #[arg(long, value_name = "FIELD|query.NAME")]
    partition_by: Option<String>,

    /// The most bytes of a record, after compression [default: 1024000 for lines, 51200 for kpl]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    record_size: Option<u64>,

    /// Cut records of lines just under a multiple of this [default: 5120, what Firehose bills in]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    align: Option<u64>,

    /// Let lines change their order within a block of 1 MiB where that fills records better; for
    /// small records
    #[arg(long)]
    reorder: bool,

    /// none, gzip[:0-9] or zstd[:-7-22]: each record is a complete member or frame [default: none]
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compress: Option<String>,

    /// How long a line may wait for its record to be filled, from 1ms to 1h; none (or 0) for as
    /// long as it takes [default: 1s for standard input and pipes, none for files]
    #[arg(long, value_name = "none|DURATION")]
    linger: Option<Linger>,

    /// What to do with a line that cannot be shipped [default: quarantine]
    #[arg(long, value_name = "WHAT", value_parser = choice::<OnBadLine>())]
    on_bad_line: Option<OnBadLine>,

    /// Where bad lines go, as JSON lines: a file, which is added to, `firehose://STREAM` or
    /// `kinesis://STREAM`, or `log:` for standard error [default: pixel-engine-quarantine.jsonl]
    #[arg(long, value_name = "PATH|STREAM|log:")]
    quarantine: Option<PathBuf>,

    /// Keep in this file how far each input is delivered, and go on there: after a stop or a crash,
    /// or when the inputs have grown, the same command ships the rest. For files, not for standard
    /// input
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
}

/// What becomes of personal data.
#[derive(Args)]
#[command(next_help_heading = "Personal data")]
pub(crate) struct Privacy {
    /// Cut the addresses in c-ip and x-forwarded-for to /24 (IPv4) and /48 (IPv6)
    #[arg(long)]
    mask_ip: bool,

    /// Put a hash with a key in place of these: fields, viewer-host, distribution-host, uri-path,
    /// query.NAME; separated by commas
    #[arg(long, value_name = "FIELDS")]
    hash: Option<String>,

    /// The function for that [default: blake3]
    #[arg(long, value_name = "FUNCTION", value_parser = choice::<HashFunction>())]
    hash_with: Option<HashFunction>,

    /// The key for that, of 16 bytes or more. Other users of the machine see command lines: set
    /// the variable instead
    #[arg(long, value_name = "KEY", env = "PIXEL_ENGINE_HASH_KEY", hide_env_values = true)]
    hash_key: Option<String>,

    /// The file with the key, without the newline at its end
    #[arg(long, value_name = "PATH")]
    hash_key_file: Option<PathBuf>,

    /// Leave these out: fields become `-`, parameters go from the query
    #[arg(long, value_name = "FIELDS")]
    drop: Option<String>,

    /// Put this text in place of a field or query.NAME; repeatable
    #[arg(long, value_name = "FIELD=TEXT")]
    replace: Vec<String>,
}

/// How objects are written.
#[derive(Args)]
#[command(next_help_heading = "Objects of s3:// and dir:")]
pub(crate) struct Objects {
    /// How long an object may be open, from 1s: its lines count as delivered when it is complete
    /// [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    buffering_interval: Option<Duration>,

    #[command(flatten)]
    encryption: Encryption,
}

/// How objects are encrypted.
#[derive(Args)]
#[command(next_help_heading = "Objects of s3:// and dir:")]
pub(crate) struct Encryption {
    /// How S3 encrypts objects [default: as the bucket says]
    #[arg(long, value_name = "HOW", value_parser = choice::<ServerSideEncryption>())]
    sse: Option<ServerSideEncryption>,

    /// The KMS key for that: its id, ARN or alias [default: the account's own for S3]
    #[arg(long, value_name = "KEY")]
    sse_kms_key_id: Option<String>,
}

/// How to deliver.
#[derive(Args)]
#[command(next_help_heading = "Delivery to AWS")]
pub(crate) struct Deliver {
    /// Requests on the way at a time, 1 to 1024 [default: 4]
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,

    /// The most bytes of a request
    /// [default: 4 MiB for firehose, 5 MiB for kinesis, which takes up to 10 MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    request_size: Option<u64>,

    /// What counts towards the 4 MiB of a Firehose request, which AWS leaves open [default: base64]
    #[arg(long, value_name = "WHAT", value_parser = choice::<Counted>())]
    count_request_size: Option<Counted>,

    /// Bytes a second, of a Firehose stream or of each Kinesis shard; below it, the rate follows
    /// throttling [default: 1 MiB and 1,000 records a shard; none for firehose until it throttles]
    #[arg(long, value_name = "none|SIZE")]
    rate_limit: Option<RateLimit>,

    /// Stop trying to deliver a record after that time: it goes to the spool, or without one the
    /// run ends [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    give_up_after: Option<Duration>,

    /// How long to go on trying after Ctrl-C or SIGTERM [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
}

/// Where records go that cannot be delivered.
#[derive(Args)]
#[command(next_help_heading = "Delivery to firehose:// and kinesis://")]
pub(crate) struct Keep {
    /// Keep records that cannot be delivered in this folder; `pixel-engine ship` sends them later
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// The most bytes in the spool [default: 10GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    spool_size: Option<u64>,

    /// What to do when the spool is full [default: block]
    #[arg(long, value_name = "WHAT", value_parser = choice::<WhenFull>())]
    spool_full: Option<WhenFull>,
}

impl Reading {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            format: self.format,
            fields: self.fields.clone(),
            query_encoding: self.query_encoding,
            matches: self.matches.clone(),
            dedup_window: self.dedup_window,
            threads: self.threads,
            ..others
        }
    }
}

impl Lines {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            on_bad_line: self.on_bad_line,
            quarantine: self.quarantine.clone(),
            encode: self.encode,
            select: self.select.clone(),
            column: self.column.clone(),
            sort_by: self.sort_by.clone(),
            to: self.to.clone(),
            container: self.container,
            partition_by: self.partition_by.clone(),
            record_size: self.record_size,
            align: self.align,
            reorder: self.reorder.then_some(true),
            compress: self.compress.clone(),
            linger: self.linger,
            resume: self.resume.clone(),
            ..self.reading.settings(others)
        }
    }
}

impl Privacy {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            mask_ip: self.mask_ip.then_some(true),
            hash: self.hash.clone(),
            hash_with: self.hash_with,
            hash_key: self.hash_key.clone().map(Secret::new),
            hash_key_file: self.hash_key_file.clone(),
            drop: self.drop.clone(),
            replace: self.replace.clone(),
            ..others
        }
    }
}

impl Objects {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings { buffering_interval: self.buffering_interval, ..self.encryption.settings(others) }
    }
}

impl Encryption {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings { sse: self.sse, sse_kms_key_id: self.sse_kms_key_id.clone(), ..others }
    }
}

impl Columns {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            format: self.format,
            fields: self.fields.clone(),
            select: self.select.clone(),
            column: self.column.clone(),
            ..others
        }
    }
}

impl Deliver {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings {
            concurrency: self.concurrency,
            request_size: self.request_size,
            count_request_size: self.count_request_size,
            rate_limit: self.rate_limit,
            give_up_after: self.give_up_after,
            grace: self.grace,
            ..others
        }
    }
}

impl Keep {
    /// These settings, and `others` that have no flags here.
    pub(crate) fn settings(&self, others: Settings) -> Settings {
        Settings { spool: self.spool.clone(), spool_size: self.spool_size, spool_full: self.spool_full, ..others }
    }
}

/// The configuration that the settings make. Settings that make none end the program, with the
/// usage of the command.
pub(crate) fn config(command: &str, settings: &Settings) -> Config {
    settings.validate().unwrap_or_else(|error| usage_error(command, &error.spelled(flag)))
}

/// `--record-size 10`.
fn flag(key: Key, value: Option<&str>) -> String {
    let name = flag_name(key);
    value.map_or_else(|| format!("--{name}"), |value| format!("--{name} {value}"))
}

fn flag_name(key: Key) -> String {
    key.name().replace('_', "-")
}

/// Takes the names of the values.
pub(crate) fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let names = T::CHOICES.iter().map(|&(_, name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(names).map(|name| T::from_name(&name).expect("the parser takes no other names"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::Cli;

    #[test]
    fn every_setting_has_a_flag_and_is_documented() {
        let mut program = Cli::command();
        program.build();
        let ingest = program.find_subcommand("ingest").expect("the command that takes them all");
        let manual = include_str!("../../docs/cli.md");
        for &key in Key::ALL {
            let name = flag_name(key);
            assert!(ingest.get_arguments().any(|argument| argument.get_long() == Some(&name)), "no --{name}");
            assert!(manual.contains(&format!("| `--{name}`")), "--{name} is not in docs/cli.md");
        }
    }

    #[test]
    fn errors_are_spelled_in_flags() {
        let spelled = |settings: Settings| settings.validate().expect_err("they do not go together").spelled(flag);
        let settings = Settings { record_size: Some(10), ..Settings::default() };
        assert_eq!(spelled(settings), "--record-size 10: must be from 1024 to 1024000 bytes for a record of lines");
        let settings = Settings { partition_by: Some("c-ip".to_owned()), ..Settings::default() };
        assert!(spelled(settings).starts_with("--partition-by needs --container kpl: "));
    }
}
