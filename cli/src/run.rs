//! `pixel-engine run`.

mod page;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use clap::Args;
use pixel_engine::config::Key;
use pixel_engine::serve::admin;
use pixel_engine::serve::config::{AdminFileConfig, FileConfig, From, Given, PipelineConfig, SourceConfig};
use pixel_engine::serve::pipeline::{Ended, keep_up};
use pixel_engine::serve::service_manager;
use pixel_engine::serve::watch::Watches;
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
            file.admin.iter().for_each(print_admin);
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
        let watches = Arc::new(Watches::default());
        let watched: Vec<_> = file.pipelines.iter().map(|pipeline| (pipeline, watches.watch(pipeline))).collect();
        let _listener = match file.admin.map(|admin| admin.config) {
            None => None,
            Some(config) => match admin::listen(&config, Arc::clone(&watches), page::page()) {
                Ok(listener) => {
                    eprintln!("admin: http://{}/", listener.address);
                    Some(listener)
                }
                Err(error) => {
                    eprintln!("pixel-engine: admin: {}: {error}", config.listen);
                    return Outcome::Failed;
                }
            },
        };
        let (told, stopped) = (Arc::clone(&watches), Arc::clone(&stop));
        thread::spawn(move || service_manager::tell(&told, &stopped));
        let ended: Vec<(String, Ended)> = thread::scope(|scope| {
            let running: Vec<_> = watched
                .iter()
                .map(|(pipeline, watch)| {
                    eprintln!("pipeline {}: {} to {}", pipeline.name, sources(pipeline), target(pipeline));
                    let stop = Arc::clone(&stop);
                    (pipeline.name.clone(), scope.spawn(move || keep_up(pipeline, watch, &stop)))
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Ended>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(|(name, thread)| (name, join(thread))).collect()
        });
        service_manager::stopping();
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
        print_given(key.name(), given);
    }
}

/// Where to listen; the token is masked already.
fn print_admin(admin: &AdminFileConfig) {
    println!("admin: http://{}/", admin.config.listen);
    admin.given.iter().for_each(|(key, given)| print_given(key, given));
}

fn print_given(key: &str, given: &Given) {
    let from = match &given.from {
        From::Line(line) => format!("line {line}"),
        From::Variable(variable) => variable.clone(),
    };
    println!("  {key} = {}  # {from}", given.value);
}
