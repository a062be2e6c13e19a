//! `pixel-engine ingest`.

use std::fs;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use clap::{Args, ValueEnum};
use pixel_engine::checkpoint::{Checkpoint, CheckpointError, Standing};
use pixel_engine::compress::Codec;
use pixel_engine::encode::Encoding;
use pixel_engine::pack::kpl::{HashKeys, SharedShardMap};
use pixel_engine::pack::{kpl, lines};
use pixel_engine::pipeline::{self, Error, OnBadLine, Options, Packing, Progress, Report};
use pixel_engine::quarantine::Quarantine;
use pixel_engine::schema::{LogKind, PRESETS, Schema, SchemaError, Schemas};
use pixel_engine::select::{Matcher, Selection, Selector};
use pixel_engine::ship::Sink;
use pixel_engine::ship::aws::{Stream, StreamError};
use pixel_engine::ship::dir::{Dir, ObjectFormat};
use pixel_engine::ship::limits::Api;
use pixel_engine::ship::null::Null;
use pixel_engine::ship::requests::Requests;
use pixel_engine::source::{Format, Input, OpenFile, expand};

use crate::aws::{Deliver, Keep, Reach, Records, of_sink};
use crate::summary::Table;
use crate::{Outcome, progress, size, stop_on_signals, usage_error};

/// Pack CloudFront logs into records and deliver them
///
/// Reads real-time logs, standard logs and standard logs v2 in JSON, plain, gzip or zstd, told apart by content.
/// Every line is shipped, quarantined or filtered; the summary on stderr shows that the counts add up, and what
/// the records are billed beside one record a line.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine ingest access.log          objects below pixel-engine-out/
  zcat *.gz | pixel-engine ingest --encode jsonl --compress zstd
  pixel-engine ingest logs/ --to stdout: --container kpl
  pixel-engine ingest logs/ --resume logs.checkpoint")]
pub(crate) struct Ingest {
    /// Files, folders or globs; standard input without any, or for `-`
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,

    /// What the lines are
    #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
    format: LogFormat,

    /// Accepted fields of real-time logs: a preset, a list, or @FILE with a list; repeatable, told apart by column
    /// count. Default: every preset (pixel-4, realtime-40, -43, -45, -46, -69, -71). With `--format standard`: the
    /// fields of logs without a header
    #[arg(long, value_name = "PRESET|LIST|@FILE")]
    fields: Vec<String>,

    /// Where to deliver: `firehose://STREAM` and `kinesis://STREAM` (name or ARN) send, `dir:PATH` writes objects as
    /// Firehose would, `stdout:[STREAM]` API requests, `null:` nothing
    #[arg(long, value_name = "TARGET", default_value = "dir:pixel-engine-out")]
    to: Target,

    /// What a line becomes
    #[arg(long, value_enum, default_value_t = Encode::Raw)]
    encode: Encode,

    /// Keep only these: fields, viewer-host, distribution-host, uri-path, query.NAME; split by commas
    #[arg(long, value_name = "FIELDS")]
    select: Option<Selection>,

    /// Ship only lines whose field matches, filter the others out; repeatable, all must match
    #[arg(long = "match", value_name = "FIELD=GLOB")]
    matches: Vec<String>,

    /// `lines` for Firehose, `kpl` for Kinesis [default: kpl for kinesis://, else lines]
    #[arg(long, value_enum)]
    container: Option<Container>,

    /// Keep lines with the same value in one shard and in order: a field, viewer-host, distribution-host, uri-path or
    /// query.NAME; for `--container kpl`. Lines without the value are spread over all shards
    #[arg(long, value_name = "FIELD|query.NAME")]
    partition_by: Option<Selector>,

    /// Bytes of a record at most, after compression [default: 1024000 for lines, 51200 for kpl]
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    record_size: Option<u64>,

    /// Cut records of lines just under a multiple of this [default: 5120, what Firehose bills in]
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    align: Option<u64>,

    /// Let lines change their order within a block of 1 MiB where that fills records better; for small records
    #[arg(long)]
    reorder: bool,

    /// none, gzip[:0-9] or zstd[:-7-22]: each record is a complete member or frame
    #[arg(long, value_name = "CODEC[:LEVEL]", default_value = "none")]
    compress: Codec,

    /// What to do with a line that cannot be shipped
    #[arg(long, value_enum, default_value_t = BadLines::Quarantine)]
    on_bad_line: BadLines,

    /// Where bad lines go, as JSON lines; an existing file is added to
    #[arg(long, value_name = "PATH", default_value = "pixel-engine-quarantine.jsonl")]
    quarantine: PathBuf,

    /// Keep in this file how far each input is delivered, and go on there: after a stop or a crash, or when the
    /// inputs have grown, the same command ships the rest. For files, not for standard input
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,

    /// Threads that scan, encode and compress [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Write the numbers of the summary as JSON
    #[arg(long, value_name = "PATH")]
    summary_json: Option<PathBuf>,

    /// Neither progress nor summary; errors are still said
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    deliver: Deliver,

    #[command(flatten)]
    keep: Keep,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// Told from the first line
    Auto,
    /// Real-time logs: tab-separated, no header
    Realtime,
    /// Standard logs with `#Fields` headers
    Standard,
    /// Standard logs v2 as JSON lines
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encode {
    /// As it came, or the selected fields split by tabs
    Raw,
    /// A JSON object with typed numbers and decoded query parameters
    Jsonl,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Container {
    /// Lines one after the other
    Lines,
    /// KPL aggregates
    Kpl,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BadLines {
    /// Keep it in the quarantine file
    Quarantine,
    /// Deliver what stands before it and exit with 1
    Fail,
    /// Leave it out and count it as filtered
    Skip,
}

#[derive(Clone)]
enum Target {
    Stream(Stream),
    Dir(PathBuf),
    Stdout(Option<String>),
    Null,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Target::Dir(path.into())),
            Some(("stdout", stream)) => Ok(Target::Stdout((!stream.is_empty()).then(|| stream.to_owned()))),
            Some(("null", "")) => Ok(Target::Null),
            Some(("firehose" | "kinesis", _)) => {
                text.parse().map(Target::Stream).map_err(|error: StreamError| error.to_string())
            }
            _ => Err("not one of firehose://STREAM, kinesis://STREAM, dir:PATH, stdout:[STREAM], null:".to_owned()),
        }
    }
}

impl Ingest {
    pub(crate) fn run(self) -> Outcome {
        let options = self.options().unwrap_or_else(|message| {
            usage_error("ingest", &message);
        });
        match self.deliver_with(options) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn deliver_with(&self, options: Options) -> Result<Outcome, String> {
        let mut failed = false;
        let inputs = self.inputs(&mut failed);
        if inputs.is_empty() {
            return Ok(Outcome::Failed);
        }
        let checkpoint = self.checkpoint(&inputs).map_err(|error| error.to_string())?;
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        let (mut sink, shards) = self.sink(&inputs, &options, &stop)?;
        let options = Options { shards, ..options };
        let mut quarantine = Quarantine::new(&self.quarantine);
        let progress = Progress::default();
        let total = match &checkpoint {
            Some(checkpoint) => Some(self.tell_where(checkpoint, &inputs)),
            None => inputs.iter().map(Input::size).sum(),
        };
        let report = progress::shown(&progress, total, self.quiet, || {
            pipeline::run(&inputs, options, &mut *sink, &mut quarantine, &progress, &stop, checkpoint.as_ref())
        });
        failed |= !self.tell(&report, &quarantine);
        // A reader that has seen enough ends the run before its input, and means it.
        let wanted_no_more = report.errors.iter().any(is_broken_pipe);
        Ok(if failed {
            Outcome::Failed
        } else if report.summary.interrupted && !wanted_no_more {
            Outcome::Stopped
        } else if report.summary.lines_spooled > 0 {
            Outcome::Kept
        } else {
            Outcome::Done
        })
    }

    fn container(&self) -> Container {
        let default = match &self.to {
            Target::Stream(stream) if stream.api() == Api::PutRecords => Container::Kpl,
            _ => Container::Lines,
        };
        self.container.unwrap_or(default)
    }

    fn options(&self) -> Result<Options, String> {
        let packing = match self.container() {
            Container::Lines => Packing::Lines,
            Container::Kpl => Packing::Kpl,
        };
        match &self.to {
            Target::Stream(stream) if stream.api() == Api::PutRecordBatch && packing == Packing::Kpl => {
                return Err(
                    "--container kpl does not go with firehose://: Firehose takes aggregates apart only when they \
                            come from a Kinesis stream"
                        .to_owned(),
                );
            }
            Target::Stream(stream) => self.deliver.check(stream.api())?,
            _ if self.keep.folder().is_some() => {
                return Err(
                    "--spool goes with firehose:// and kinesis:// alone: other targets do not fail for a while"
                        .to_owned(),
                );
            }
            _ => {}
        }
        if packing == Packing::Kpl {
            let refused = [
                (self.compress != Codec::None, "--compress", "consumers could not unpack a compressed aggregate"),
                (self.align.is_some(), "--align", "aggregates are filled to the last line that fits"),
                (self.reorder, "--reorder", "aggregates are filled to the last line that fits"),
            ];
            if let Some((_, flag, why)) = refused.iter().find(|(given, ..)| *given) {
                return Err(format!("{flag} does not go with --container kpl: {why}"));
            }
        } else if self.partition_by.is_some() {
            return Err("--partition-by goes with --container kpl alone: Firehose has no shards".to_owned());
        }
        let (default, least, most) = match packing {
            Packing::Lines => (lines::MAX_RECORD_SIZE, 1_024, lines::MAX_RECORD_SIZE),
            Packing::Kpl => (kpl::DEFAULT_RECORD_SIZE, kpl::MIN_RECORD_SIZE, kpl::MAX_RECORD_SIZE),
        };
        let record_size = self.record_size.map_or(default, |size| usize::try_from(size).unwrap_or(usize::MAX));
        if !(least..=most).contains(&record_size) {
            return Err(format!("--record-size {record_size}: from {least} to {most} bytes"));
        }
        let align = self.align.map_or(5_120, |align| usize::try_from(align).unwrap_or(usize::MAX));
        if align == 0 || align > record_size.max(5_120) {
            return Err(format!("--align {align}: from 1 to the record size, {record_size}"));
        }
        let kind = if self.format == LogFormat::Standard { LogKind::Standard } else { LogKind::RealTime };
        let (schemas, standard_schema) = schemas(kind, &self.fields)?;
        Ok(Options {
            format: match self.format {
                LogFormat::Auto => Format::Auto,
                LogFormat::Realtime => Format::RealTime,
                LogFormat::Standard => Format::Standard,
                LogFormat::Json => Format::Json,
            },
            schemas,
            standard_schema,
            encoding: match (self.encode, &self.select) {
                (Encode::Raw, None) => Encoding::Raw,
                (Encode::Raw, Some(selection)) => Encoding::Projection(selection.clone()),
                (Encode::Jsonl, selection) => Encoding::Json(selection.clone()),
            },
            matcher: Matcher::new(self.matches.iter().map(String::as_str))
                .map_err(|error| format!("--match: {error}"))?,
            on_bad_line: match self.on_bad_line {
                BadLines::Quarantine => OnBadLine::Quarantine,
                BadLines::Fail => OnBadLine::Fail,
                BadLines::Skip => OnBadLine::Skip,
            },
            packing,
            partition_by: self.partition_by.clone(),
            shards: SharedShardMap::default(),
            record_size,
            align,
            reorder: self.reorder,
            codec: self.compress,
            threads: self.threads.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        })
    }

    fn inputs(&self, failed: &mut bool) -> Vec<Input> {
        if self.inputs.is_empty() {
            if io::stdin().is_terminal() {
                eprintln!("reading log lines from the terminal; Ctrl-D ends them");
            }
            return vec![Input::Stdin];
        }
        let mut inputs = Vec::new();
        for argument in &self.inputs {
            match expand(argument) {
                Ok(found) => inputs.extend(found),
                Err(error) => {
                    eprintln!("pixel-engine: {error}");
                    *failed = true;
                }
            }
        }
        if let Some(checkpoint) = self.resume.as_ref().and_then(|path| fs::canonicalize(path).ok()) {
            // In the folder of the logs it is no log.
            let is_log = |input: &Input| match input {
                Input::Stdin => true,
                Input::File(path) => fs::canonicalize(path).map_or(true, |path| path != checkpoint),
            };
            let found = inputs.len();
            inputs.retain(is_log);
            if inputs.is_empty() && found > 0 {
                eprintln!("pixel-engine: {}: the checkpoint, and no input beside it", checkpoint.display());
            }
        }
        inputs
    }

    /// The checkpoint of `--resume`.
    fn checkpoint(&self, inputs: &[Input]) -> Result<Option<Checkpoint>, CheckpointError> {
        let Some(path) = &self.resume else { return Ok(None) };
        // What cannot be looked at is no pipe as far as anyone knows; opening it says what is wrong.
        let is_pipe = |input: &&Input| match input {
            Input::Stdin => true,
            Input::File(path) => fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()),
        };
        if let Some(pipe) = inputs.iter().find(is_pipe) {
            let name = pipe.name();
            usage_error("ingest", &format!("--resume needs files: what {name} has given once cannot be read again"));
        }
        Checkpoint::open(path).map(Some)
    }

    /// Says where the inputs are gone on with; returns how many bytes are left of them on disk.
    fn tell_where(&self, checkpoint: &Checkpoint, inputs: &[Input]) -> u64 {
        let (mut left, mut done) = (0, 0);
        for input in inputs {
            let Input::File(path) = input else { continue };
            // One that cannot be opened is told of when its turn comes.
            let Ok(file) = OpenFile::open(path) else { continue };
            let standing = checkpoint.standing(&file);
            left += standing.bytes_left(&file);
            match standing {
                Standing::Done => done += 1,
                Standing::Left(position) if position.offset > 0 && !self.quiet => {
                    let of = if file.is_compressed() { String::new() } else { format!(" of {}", file.size) };
                    let line = position.lines + 1;
                    eprintln!("resuming {} at byte {}{of} (line {line})", input.name(), position.offset);
                }
                _ => {}
            }
        }
        if done > 0 && !self.quiet {
            eprintln!("{done} of {} inputs were delivered before and have not changed", inputs.len());
        }
        left
    }

    /// Where records go, and the shards that they are packed for.
    fn sink(
        &self,
        inputs: &[Input],
        options: &Options,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Box<dyn Sink>, SharedShardMap), String> {
        let container = self.container();
        let (api, format) = match container {
            Container::Lines => (Api::PutRecordBatch, ObjectFormat::Data),
            Container::Kpl => (Api::PutRecords, ObjectFormat::PutRecordsEntries),
        };
        let sink: Box<dyn Sink> = match &self.to {
            Target::Null => Box::new(Null::new(api)),
            Target::Stdout(stream) => Box::new(Requests::new(io::stdout(), api, stream.clone())),
            Target::Dir(folder) => {
                let json = container == Container::Kpl || self.encode == Encode::Jsonl || self.raw_json(inputs);
                let name = if json { ".jsonl" } else { ".tsv" };
                let dir = Dir::new(folder, format!("{name}{}", self.compress.extension()), format);
                Box::new(dir.map_err(|error| error.to_string())?)
            }
            Target::Stream(stream) => {
                let is_kpl = container == Container::Kpl;
                let records = Records {
                    aggregates: is_kpl,
                    // Kinesis counts the key, and so does the record size of aggregates.
                    size: match (stream.api(), container) {
                        (Api::PutRecords, Container::Lines) => options.record_size + HashKeys::KEY_LEN,
                        _ => options.record_size,
                    },
                    in_order: options.partition_by.is_some(),
                };
                let (threads, stop) = (options.threads, Arc::clone(stop));
                let delivery = self.deliver.open(stream, &self.reach, Some(&self.keep), records, threads, stop)?;
                let shards = delivery.shards().unwrap_or_default();
                return Ok((Box::new(delivery), shards));
            }
        };
        Ok((sink, SharedShardMap::default()))
    }

    /// Whether lines that stay as they came are JSON: by `--format`, else by the first file.
    fn raw_json(&self, inputs: &[Input]) -> bool {
        match (self.format, &self.select, inputs) {
            (LogFormat::Json, None, _) => true,
            (LogFormat::Auto, None, [file @ Input::File(_), ..]) => file.begins_with(b'{'),
            _ => false,
        }
    }

    /// Says what happened; whether it went well.
    fn tell(&self, report: &Report, quarantine: &Quarantine) -> bool {
        let mut good = true;
        for error in &report.errors {
            if !is_broken_pipe(error) {
                match error {
                    Error::Sink(error) => eprintln!("pixel-engine: {}", of_sink(error)),
                    error => eprintln!("pixel-engine: {error}"),
                }
                good = false;
            }
        }
        let mut unfinished = report.unfinished.iter();
        if let Some(first) = unfinished.next() {
            let (name, position) = (&first.source.name, first.position);
            eprintln!(
                "pixel-engine: stopped in {name}: everything before byte {} (line {}) is delivered{}{}",
                position.offset,
                position.lines + 1,
                match unfinished.len() {
                    0 => String::new(),
                    1 => "; one more input is not done".to_owned(),
                    more => format!("; {more} more inputs are not done"),
                },
                if self.resume.is_some() { "; the same command goes on there" } else { "" },
            );
        }
        if let Some(path) = &self.summary_json {
            let json = serde_json::to_vec_pretty(&report.summary).map_err(io::Error::from);
            if let Err(error) = json.and_then(|json| fs::write(path, json)) {
                eprintln!("pixel-engine: {}: {error}", path.display());
                good = false;
            }
        }
        if !self.quiet {
            eprintln!("{}", Table(&report.summary));
            if let (Target::Dir(folder), 1..) = (&self.to, report.summary.records) {
                eprintln!("objects   below {}", folder.display());
            }
            if let (Target::Stream(stream), Some(folder), 1..) =
                (&self.to, self.keep.folder(), report.summary.lines_spooled)
            {
                let (lines, folder) = (report.summary.lines_spooled, folder.display());
                eprintln!("{lines} lines are in the spool: pixel-engine ship {folder} --to {stream}");
            }
            if let Some(first) = quarantine.first() {
                eprintln!("bad lines in {}, the first: {first}", self.quarantine.display());
            }
        }
        good
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Sink(error) if error.is_broken_pipe())
}

/// What `--fields` accepts: the real-time schemas, and the fields of standard logs without a header.
pub(crate) fn schemas(kind: LogKind, fields: &[String]) -> Result<(Schemas, Option<Arc<Schema>>), String> {
    let mut schemas = Vec::new();
    for argument in fields {
        schemas.push(schema(kind, argument).map_err(|message| format!("--fields {argument}: {message}"))?);
    }
    match (kind, schemas.as_slice()) {
        (_, []) => Ok((Schemas::all_presets(), None)),
        (LogKind::Standard, [one]) => Ok((Schemas::default(), Some(Arc::new(one.clone())))),
        (LogKind::Standard, _) => Err("--fields: standard logs without a header take one list".to_owned()),
        (LogKind::RealTime, _) => {
            let schemas = Schemas::new(schemas).map_err(|error| format!("--fields: {error}"))?;
            Ok((schemas, None))
        }
    }
}

fn schema(kind: LogKind, argument: &str) -> Result<Schema, String> {
    let list = match argument.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| error.to_string())?,
        None => argument.to_owned(),
    };
    if let Some(preset) = Schema::preset(list.trim()) {
        return Ok(preset);
    }
    Schema::parse(kind, &list).map_err(|error| match error {
        SchemaError::UnknownField { suggestion: None, .. } => {
            let presets: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            format!("{error}; presets are {}", presets.join(", "))
        }
        error => error.to_string(),
    })
}
