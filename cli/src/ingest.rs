//! `pixel-engine ingest`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use pixel_engine::checkpoint::{Checkpoint, CheckpointError, Standing};
use pixel_engine::config::{Config, Settings, Target};
use pixel_engine::progress::Progress;
use pixel_engine::run::{Error, Report, Run};
use pixel_engine::serve::sink::{self, OpenError};
use pixel_engine::sink::Sink;
use pixel_engine::source::{Files, Input, OpenFile};
use pixel_engine::spool;

use crate::aws::{Reach, of_aws, of_sink};
use crate::only_bad_lines::only_bad_lines;
use crate::settings::{Deliver, Keep, Lines, Objects, Privacy, config};
use crate::summary::Table;
use crate::{Outcome, inputs, progress, stop_on_signals, usage_error};

/// Pack CloudFront logs into records and deliver them
///
/// Reads real-time logs, standard logs and standard logs v2 in JSON, plain or compressed with gzip,
/// bzip2, xz or zstd, told apart by content. Every line is shipped, quarantined or filtered; the
/// summary on stderr shows that the counts add up, and what the records are billed beside one
/// record a line.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine ingest access.log          objects below pixel-engine-out/
  zcat *.gz | pixel-engine ingest --encode jsonl --compress zstd
  pixel-engine ingest logs/ --to stdout: --container kpl
  pixel-engine ingest logs/ --resume logs.checkpoint")]
pub(crate) struct Ingest {
    /// Files, folders, globs, or `s3://BUCKET/KEY` with a key, a prefix or a glob; standard input
    /// without any, or for `-`
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,

    #[command(flatten)]
    lines: Lines,

    /// Write the numbers of the summary as JSON
    #[arg(long, value_name = "PATH")]
    summary_json: Option<PathBuf>,

    /// No progress and no summary; errors are still printed
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    privacy: Privacy,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    objects: Objects,

    #[command(flatten)]
    deliver: Deliver,

    #[command(flatten)]
    keep: Keep,
}

impl Ingest {
    pub(crate) fn run(self) -> Outcome {
        let settings = self.deliver.settings(self.objects.settings(self.keep.settings(Settings::default())));
        let settings = self.reach.settings(self.lines.settings(self.privacy.settings(settings)));
        match self.ingest(&config("ingest", &settings)) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn ingest(&self, config: &Config) -> Result<Outcome, String> {
        let mut failed = false;
        let inputs = self.inputs(config, &mut failed);
        if inputs.is_empty() {
            return Ok(Outcome::Failed);
        }
        let checkpoint = checkpoint(config, &inputs).map_err(|error| error.to_string())?;
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        let mut sink = self.sink(config, &inputs, &stop, checkpoint.as_ref())?;
        let quarantine = sink::open_quarantine(config, Arc::clone(&stop));
        let mut quarantine = quarantine.map_err(|error| format!("quarantine: {}", of_open(error)))?;
        let progress = Arc::new(Progress::default());
        let total = match &checkpoint {
            Some(checkpoint) => Some(self.tell_where(checkpoint, &inputs)),
            None => inputs.iter().map(Input::size).sum(),
        };
        let report = progress::of_run(&progress, total, self.quiet, || {
            Run::new(config)
                .source(Files::new(inputs.as_slice()))
                .progress(Arc::clone(&progress))
                .stop(stop)
                .checkpoint(checkpoint.as_deref())
                .to(&mut *sink, &mut quarantine)
        });
        failed |= !self.tell(config, &report);
        // A reader of our output that has seen enough closes the pipe; that is not an interruption.
        let wanted_no_more = report.errors.iter().any(is_broken_pipe);
        Ok(if failed {
            Outcome::Failed
        } else if report.summary.interrupted && !wanted_no_more {
            Outcome::Stopped
        } else if report.summary.lines_spooled > 0 {
            Outcome::Kept
        } else if report.summary.has_only_bad_lines() {
            Outcome::OnlyBadLines
        } else {
            Outcome::Done
        })
    }

    fn inputs(&self, config: &Config, failed: &mut bool) -> Vec<Input> {
        let (mut inputs, missing) = inputs::of_arguments(&self.inputs, config.connection());
        *failed |= missing;
        if let Some(checkpoint) = config.checkpoint().and_then(|path| fs::canonicalize(path).ok()) {
            // It may be in the folder of the logs, but it is not a log.
            let is_log = |input: &Input| match input {
                Input::Stdin | Input::Object(_) => true,
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

    /// Prints where each input goes on; returns how many bytes of them are left on disk.
    fn tell_where(&self, checkpoint: &Checkpoint, inputs: &[Input]) -> u64 {
        let (mut left, mut done) = (0, 0);
        for input in inputs {
            let file = match input {
                Input::Stdin => continue,
                Input::File(path) => OpenFile::open(path),
                Input::Object(object) if checkpoint.has_all_of(&**object) => {
                    done += 1;
                    continue;
                }
                // Its head takes a request, which the reader makes anyway.
                Input::Object(object) => {
                    left += object.size();
                    continue;
                }
            };
            // The reader reports one that cannot be opened.
            let Ok(file) = file else { continue };
            let (standing, ahead) = (checkpoint.standing(&file), checkpoint.bytes_ahead(&file));
            left += standing.bytes_left(&file);
            match standing {
                Standing::Done => done += 1,
                Standing::Left(position) if position.offset + ahead > 0 && !self.quiet => {
                    let of = if file.keeps_offsets() { format!(" of {}", file.size) } else { String::new() };
                    let line = position.lines + 1;
                    let but =
                        if ahead > 0 { format!(", but for {ahead} bytes delivered beyond it") } else { String::new() };
                    eprintln!("resuming {} at byte {}{of} (line {line}){but}", input.name(), position.offset);
                }
                _ => {}
            }
        }
        if done > 0 && !self.quiet {
            eprintln!("{done} of {} inputs were delivered before and have not changed", inputs.len());
        }
        left
    }

    /// Where records go.
    fn sink(
        &self,
        config: &Config,
        inputs: &[Input],
        stop: &Arc<AtomicBool>,
        checkpoint: Option<&Arc<Checkpoint>>,
    ) -> Result<Box<dyn Sink>, String> {
        if let (Target::Stream(stream), Some(spool)) = (config.target(), config.spool()) {
            let before = spool::batches(&spool.folder).map_or(0, |batches| batches.len());
            if before > 0 {
                let folder = spool.folder.display();
                eprintln!("{before} batches from before are in {folder}: pixel-engine ship {folder} --to {stream}");
            }
        }
        // What the format leaves open, the first file decides; of objects, the first that is to be read.
        let is_done = |input: &&Input| match (input, checkpoint) {
            (Input::Object(object), Some(checkpoint)) => checkpoint.has_all_of(&**object),
            _ => false,
        };
        let first = inputs.iter().find(|input| !is_done(input));
        let is_json = first.is_some_and(|input| *input != Input::Stdin && input.begins_with(b'{'));
        sink::open(config, is_json, Arc::default(), Arc::clone(stop), checkpoint).map_err(of_open)
    }

    /// Prints what happened; returns whether it went well.
    fn tell(&self, config: &Config, report: &Report) -> bool {
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
            let (name, position) = (&first.origin.name, first.position);
            eprintln!(
                "pixel-engine: stopped in {name}: everything before byte {} (line {}) is delivered{}{}",
                position.offset,
                position.lines + 1,
                match unfinished.len() {
                    0 => String::new(),
                    1 => "; one more input is not done".to_owned(),
                    more => format!("; {more} more inputs are not done"),
                },
                if config.checkpoint().is_some() { "; the same command goes on there" } else { "" },
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
            match (config.target(), report.summary.records) {
                (Target::Dir(folder), 1..) => eprintln!("objects   below {}", folder.display()),
                (Target::S3(uri), 1..) => eprintln!("objects   below {uri}"),
                _ => {}
            }
            if let (Target::Stream(stream), Some(spool), 1..) =
                (config.target(), config.spool(), report.summary.lines_spooled)
            {
                let (lines, folder) = (report.summary.lines_spooled, spool.folder.display());
                eprintln!("{lines} lines are in the spool: pixel-engine ship {folder} --to {stream}");
            }
            if let (Some(first), 1..) = (&report.first_bad_line, report.summary.lines_quarantined) {
                eprintln!("bad lines in {}, the first: {first}", config.quarantine());
            }
        }
        if let (Some(first), true) = (&report.first_bad_line, report.summary.has_only_bad_lines()) {
            eprintln!("pixel-engine: {}", only_bad_lines(first));
        }
        good
    }
}

/// A sink cannot be opened, with the flags that would mend it.
pub(crate) fn of_open(error: OpenError) -> String {
    match error {
        OpenError::Aws(error) => of_aws(&error),
        OpenError::Sink(error) => of_sink(&error),
        error => error.to_string(),
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Sink(error) if error.is_broken_pipe())
}

/// The checkpoint, for inputs that can be read again.
fn checkpoint(config: &Config, inputs: &[Input]) -> Result<Option<Arc<Checkpoint>>, CheckpointError> {
    let Some(path) = config.checkpoint() else { return Ok(None) };
    // An input whose metadata cannot be read is not known to be a pipe; opening it reports the
    // error.
    let is_pipe = |input: &&Input| match input {
        Input::Stdin => true,
        Input::Object(_) => false,
        Input::File(path) => fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()),
    };
    if let Some(pipe) = inputs.iter().find(is_pipe) {
        let name = pipe.name();
        usage_error("ingest", &format!("--resume needs files: what {name} has given once cannot be read again"));
    }
    Checkpoint::open(path).map(|checkpoint| Some(Arc::new(checkpoint)))
}
