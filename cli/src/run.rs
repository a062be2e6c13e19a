//! `pixel-engine run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use pixel_engine::config::Key;
use pixel_engine::serve::config::{FileConfig, From, PipelineConfig, SourceConfig};
use pixel_engine::serve::pipeline::{Ended, keep_up};
use pixel_engine::source::Start;

use crate::only_bad_lines::only_bad_lines;
use crate::summary::Table;
use crate::{Outcome, stop_on_signals};

/// Stay up beside an application and ship what it logs
///
/// Runs the pipelines of a configuration file until SIGTERM or Ctrl-C: each follows files as they
/// grow, or reads standard input, and delivers. What cannot be delivered goes to the pipeline's
/// spool, and from there to the stream once that answers again.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine run --config /etc/pixel-engine.toml")]
pub(crate) struct RunPipelines {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "PIXEL_ENGINE_CONFIG", default_value = "pixel-engine.toml")]
    config: PathBuf,

    /// Check the configuration, print it, and do nothing else
    #[arg(long)]
    check: bool,
}

impl RunPipelines {
    pub(crate) fn run(self) -> Outcome {
        let file = match FileConfig::read(&self.config, std::env::vars()) {
            Ok(file) => file,
            Err(errors) => {
                eprintln!("{errors}");
                return Outcome::WrongConfig;
            }
        };
        if self.check {
            file.pipelines.iter().for_each(print);
            return Outcome::Done;
        }
        let stop = match stop_on_signals() {
            Ok(stop) => stop,
            Err(error) => {
                eprintln!("pixel-engine: listening for SIGTERM: {error}");
                return Outcome::Failed;
            }
        };
        let ended: Vec<(String, Ended)> = thread::scope(|scope| {
            let running: Vec<_> = file
                .pipelines
                .iter()
                .map(|pipeline| {
                    eprintln!("pipeline {}: {} to {}", pipeline.name, sources(pipeline), target(pipeline));
                    let stop = Arc::clone(&stop);
                    (pipeline.name.clone(), scope.spawn(move || keep_up(pipeline, &stop)))
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Ended>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(|(name, thread)| (name, join(thread))).collect()
        });
        let mut outcome = Outcome::Done;
        for (name, ended) in &ended {
            if !tell(name, ended) {
                outcome = Outcome::Failed;
            }
        }
        outcome
    }
}

/// Says how a pipeline ended; whether nothing is left undone.
fn tell(name: &str, ended: &Ended) -> bool {
    match ended {
        Ended::Report(report) => {
            eprintln!("pipeline {name}:\n{}", Table(&report.summary));
            if let (Some(first), true) = (&report.first_bad_line, report.summary.has_only_bad_lines()) {
                eprintln!("pixel-engine: {}", only_bad_lines(first));
            }
            report.errors.is_empty() && report.summary.lines_undelivered == 0
        }
        _ => {
            eprintln!("pipeline {name}: stopped before it could run");
            false
        }
    }
}

fn target(pipeline: &PipelineConfig) -> String {
    let given = pipeline.given.get(&Key::To).map(|to| to.value.trim_matches('"').to_owned());
    given.unwrap_or_else(|| pixel_engine::config::Config::DEFAULT_TARGET.to_owned())
}

fn sources(pipeline: &PipelineConfig) -> String {
    let source = |source: &SourceConfig| match source {
        SourceConfig::Stdin => "stdin".to_owned(),
        SourceConfig::Follow { files, start: Start::Beginning } => files.join(" "),
        SourceConfig::Follow { files, start: Start::End } => format!("{} from the end", files.join(" ")),
        _ => "another source".to_owned(),
    };
    pipeline.sources.iter().map(source).collect::<Vec<_>>().join(", ")
}

/// The pipeline as it holds: what was given, and who said so.
fn print(pipeline: &PipelineConfig) {
    println!("pipeline {}: {} to {}", pipeline.name, sources(pipeline), target(pipeline));
    for (key, given) in &pipeline.given {
        let from = match &given.from {
            From::Line(line) => format!("line {line}"),
            From::Variable(variable) => variable.clone(),
        };
        println!("  {key} = {}  # {from}", given.value);
    }
}
