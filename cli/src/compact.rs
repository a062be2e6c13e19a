//! `pixel-engine compact`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use indicatif::{DecimalBytes, HumanCount};
use pixel_engine::aws::s3;
use pixel_engine::config::{
    Config, EncodingKind, QuarantinePlace, QueryEncodingKind, Settings, Target, parse_duration, parse_size,
};
use pixel_engine::deliver;
use pixel_engine::lake::compact::{Compaction, Error, Options, Progress, Report, Summary};
use pixel_engine::sink::folder::Folder;
use pixel_engine::sink::inventory::Inventory;
use serde::Serialize;

use crate::aws::{Reach, of_aws, of_sink};
use crate::settings::{Columns, Encryption, choice, config};
use crate::{Outcome, progress, stop_on_signals, usage_error};

/// The least bytes of new files: row groups are no smaller.
const MIN_SIZE: u64 = 1 << 20;

/// Make few large Parquet files of many small ones, folder by folder
///
/// Takes what pixel-engine and Firehose deliver: Parquet, JSON lines and log lines, plain or
/// compressed. Rows stay in their folder; of those with the same x_edge_request_id, the first is kept.
/// Old files are removed when the new ones are complete and their rows are counted. What cannot be
/// carried over as it is stays, with its reason.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine compact lake --dry-run
  pixel-engine compact s3://bucket/lake/ --older-than 2h
  pixel-engine compact s3://bucket/firehose/2026/01/05/ --fields realtime-46 --column query.uid")]
pub(crate) struct Compact {
    /// The table: a folder, or s3://BUCKET/PREFIX/; of a part of it, only that part is compacted
    #[arg(value_name = "DIR|s3://BUCKET/PREFIX/")]
    place: String,

    /// Bytes at which a new file is large enough; files of half of it and more are left alone
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "128MiB")]
    file_size: u64,

    /// Leave alone files that were written in this time, as there may be more to come
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "15m")]
    older_than: Duration,

    /// In S3, finish or undo what an earlier compaction has begun when that is so long ago; in a
    /// folder, this is done as soon as its process is gone
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
    recover_after: Duration,

    /// Change nothing, and print which folders would be compacted
    #[arg(long)]
    dry_run: bool,

    /// How new files are compressed: none, gzip[:1-9] or zstd[:1-22] [default: zstd:1]
    #[arg(long, value_name = "CODEC[:LEVEL]")]
    compress: Option<String>,

    /// Threads that decode and encode, 1 to 1024 [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<u64>,

    /// Write the numbers of the summary as JSON
    #[arg(long, value_name = "PATH")]
    summary_json: Option<PathBuf>,

    /// No progress and no summary; errors, and what was left alone, are still printed
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    text: Text,

    #[command(flatten)]
    encryption: Encryption,

    #[command(flatten)]
    reach: Reach,
}

/// What lines of text are.
#[derive(Args)]
#[command(next_help_heading = "Lines of text")]
struct Text {
    #[command(flatten)]
    columns: Columns,

    /// How many times queries are percent-encoded [default: twice, as CloudFront's logs are]
    #[arg(long, value_name = "TIMES", value_parser = choice::<QueryEncodingKind>())]
    query_encoding: Option<QueryEncodingKind>,

    /// Where bad lines go, as JSON lines: a file, which is added to, or `log:` for standard error
    /// [default: pixel-engine-quarantine.jsonl]
    #[arg(long, value_name = "PATH|log:")]
    quarantine: Option<PathBuf>,
}

/// What `--summary-json` holds.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    left: &'a [pixel_engine::lake::compact::Left],
    error: Option<String>,
}

impl Compact {
    pub(crate) fn run(self) -> Outcome {
        let config = self.config();
        match self.compact(&config) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn config(&self) -> Config {
        let is_s3 = self.place.starts_with("s3://");
        if self.file_size < MIN_SIZE {
            usage_error("compact", &format!("--file-size {}: must be 1 MiB or more", self.file_size));
        }
        if self.compress.as_deref().is_some_and(|codec| codec.starts_with("zstd:-") || codec == "zstd:0") {
            usage_error("compact", "--compress: in Parquet files, levels of zstd are 1 to 22");
        }
        let settings = Settings {
            encode: Some(EncodingKind::Parquet),
            to: Some(if is_s3 { self.place.clone() } else { format!("dir:{}", self.place) }),
            compress: self.compress.clone(),
            threads: self.threads,
            query_encoding: self.text.query_encoding,
            quarantine: self.text.quarantine.clone(),
            ..Settings::default()
        };
        let settings = self.text.columns.settings(self.encryption.settings(self.reach.settings(settings)));
        let config = config("compact", &settings);
        if matches!(config.quarantine(), QuarantinePlace::Stream(_)) {
            usage_error("compact", "--quarantine: a file, or log:, and no stream");
        }
        config
    }

    fn compact(&self, config: &Config) -> Result<Outcome, String> {
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        let store = store(config, &stop)?;
        let options = Options {
            file_size: self.file_size,
            older_than: self.older_than,
            recover_after: self.recover_after,
            is_dry_run: self.dry_run,
        };
        let progress = Arc::new(Progress::default());
        let report = progress::of_compaction(&progress, self.quiet, || {
            let compaction = Compaction::new(store, config, options);
            compaction.progress(Arc::clone(&progress)).stop(stop).run()
        });
        let error = report.error.as_ref().map(of_error);
        let is_written = self.write_summary(&report, error.as_deref());
        if !self.quiet {
            self.tell(&report);
        }
        for left in &report.left {
            let name = if left.name.is_empty() { "files" } else { &left.name };
            eprintln!("pixel-engine: left alone: {name}: {}", left.reason);
        }
        if let Some(error) = &error {
            eprintln!("pixel-engine: {error}");
        }
        Ok(if error.is_some() || !is_written {
            Outcome::Failed
        } else if report.summary.interrupted {
            Outcome::Stopped
        } else if !report.left.is_empty() {
            Outcome::Kept
        } else {
            Outcome::Done
        })
    }

    fn write_summary(&self, report: &Report, error: Option<&str>) -> bool {
        let Some(path) = &self.summary_json else { return true };
        let document = Document { summary: &report.summary, left: &report.left, error: error.map(str::to_owned) };
        let json = serde_json::to_vec_pretty(&document).map_err(io::Error::from);
        let written = json.and_then(|json| fs::write(path, json));
        if let Err(error) = &written {
            eprintln!("pixel-engine: {}: {error}", path.display());
        }
        written.is_ok()
    }

    fn tell(&self, report: &Report) {
        let summary = &report.summary;
        let (count, size) = (HumanCount, DecimalBytes);
        for plan in &report.plans {
            let folder = if plan.folder.is_empty() { "./" } else { &plan.folder };
            println!("{folder}  {} files, {}", count(plan.files), size(plan.bytes));
        }
        let untouched = [
            (summary.files_kept, "large enough or alone"),
            (summary.files_recent, "too recent"),
            (summary.files_left, "left alone"),
            (summary.files_not_reached, "not reached"),
        ];
        let untouched: Vec<String> = untouched
            .into_iter()
            .filter(|(files, _)| *files > 0)
            .map(|(files, what)| format!("{} {what}", count(files)))
            .collect();
        let untouched = if untouched.is_empty() { String::new() } else { format!("; {}", untouched.join(", ")) };
        let found = (count(summary.folders_found), count(summary.files_found));
        if self.dry_run {
            let (folders, files) = (count(summary.folders_compacted), count(summary.files_in));
            eprintln!("would compact {files} of {} files in {folders} of {} folders{untouched}", found.1, found.0);
            return;
        }
        eprintln!("folders  {} of {} compacted", count(summary.folders_compacted), found.0);
        if summary.folders_recovered > 0 {
            eprintln!("         {} taken over from a compaction that was killed", count(summary.folders_recovered));
        }
        let (files_in, files_out) = (count(summary.files_in), count(summary.files_out));
        eprintln!("files    {files_in} of {} became {files_out}{untouched}", found.1);
        let (rows_in, rows_out) = (count(summary.rows_in), count(summary.rows_out));
        eprintln!("rows     {rows_in} in = {rows_out} out + {} duplicates", count(summary.duplicates));
        if summary.lines_quarantined > 0 {
            let place = self.text.quarantine.as_deref().unwrap_or(Path::new(Config::DEFAULT_QUARANTINE));
            eprintln!("         and {} bad lines in {}", count(summary.lines_quarantined), place.display());
        }
        eprintln!("bytes    {} became {}", size(summary.bytes_before), size(summary.bytes_after));
    }
}

fn store(config: &Config, stop: &Arc<AtomicBool>) -> Result<Arc<dyn Inventory>, String> {
    match config.target() {
        Target::S3(uri) => {
            let mut options = deliver::Options::from(config.delivery().clone());
            options.config.give_up_after = Some(PATIENCE);
            options.stop = Arc::clone(stop);
            let inventory = s3::Inventory::open(uri, config.connection(), config.objects(), options);
            Ok(Arc::new(inventory.map_err(|error| of_aws(&error))?))
        }
        Target::Dir(folder) => {
            let is_folder = fs::metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?.is_dir();
            if !is_folder {
                return Err(format!("{}: not a folder", folder.display()));
            }
            Ok(Arc::new(Folder::new(folder).map_err(|error| of_sink(&error))?))
        }
        _ => unreachable!("a folder or a bucket"),
    }
}

/// How long a request to S3 is tried.
const PATIENCE: Duration = Duration::from_mins(5);

fn of_error(error: &Error) -> String {
    match error {
        Error::Sink(error) => of_sink(error),
        error => error.to_string(),
    }
}
