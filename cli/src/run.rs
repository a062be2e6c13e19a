//! `pixel-engine run`.

pub(crate) mod page;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use pixel_engine::aws::check_queue;
use pixel_engine::config::Key;
use pixel_engine::serve::admin::{self, AdminConfig, Listener};
use pixel_engine::serve::config::{
    AdminFileConfig, FileConfig, From, Given, PipelineConfig, QueueConfig, Service, SourceConfig, SourceKey,
};
use pixel_engine::serve::pipeline::Ended;
use pixel_engine::serve::service_manager;
use pixel_engine::serve::sidecar::{Sidecar, StartError};
use pixel_engine::serve::watch::Watches;
use pixel_engine::source::Start;
use signal_hook::consts::SIGHUP;

use crate::aws::of_aws;
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

    /// Check the configuration, print it, ask its queues what they are set to, and do nothing else
    #[arg(long)]
    check: bool,
}

impl RunPipelines {
    pub(crate) fn run(self) -> Outcome {
        // Before it is read as a configuration, so that a change in between is noticed later.
        let text = read(&self.config);
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
            let queues = file.pipelines.iter().flat_map(|pipeline| pipeline.queues().map(move |it| (pipeline, it)));
            let reached: Vec<bool> = queues.map(|(pipeline, queue)| can_be_received(pipeline, queue)).collect();
            return if reached.contains(&false) { Outcome::Failed } else { Outcome::Done };
        }
        let signals = stop_on_signals().and_then(|stop| {
            let reload = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGHUP, Arc::clone(&reload))?;
            Ok((stop, reload))
        });
        let (stop, reload) = match signals {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("pixel-engine: listening for signals: {error}");
                return Outcome::Failed;
            }
        };
        let watches = Arc::<Watches>::default();
        let admin = match listen(admin(&file), &watches) {
            Ok(listener) => listener,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                return Outcome::Failed;
            }
        };
        file.pipelines.iter().for_each(announce);
        let mut running = match Sidecar::start(file.clone(), Arc::clone(&watches)) {
            Ok(sidecar) => Running { sidecar, watches, admin, file, text, path: self.config },
            Err(error) => {
                eprintln!("pixel-engine: {error}");
                return Outcome::Failed;
            }
        };
        // Not before all pipelines can be seen.
        let told = Arc::clone(&running.watches);
        thread::spawn(move || service_manager::tell(&told));
        let mut looked_at = Instant::now();
        while !stop.load(Ordering::Relaxed) && !running.sidecar.has_ended() {
            thread::sleep(STOP_INTERVAL);
            let is_asked = reload.swap(false, Ordering::Relaxed);
            if is_asked || looked_at.elapsed() >= RELOAD_INTERVAL {
                if let Err(error) = running.reload(is_asked) {
                    tracing::error!("{error}");
                    tell_all(running.sidecar.stop());
                    return Outcome::Failed;
                }
                looked_at = Instant::now();
            }
        }
        service_manager::stopping();
        tell_all(running.sidecar.stop())
    }
}

/// How soon a stop is noticed.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How soon a change of the configuration file is.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A sidecar, and what it was told to do.
struct Running {
    sidecar: Sidecar,
    watches: Arc<Watches>,
    admin: Option<Listener>,
    path: PathBuf,
    file: FileConfig,
    /// The text of the file when it was last looked at.
    text: String,
}

impl Running {
    /// Goes on with what the file says now, if that is another text or somebody asks for it. A file
    /// that is wrong changes nothing.
    fn reload(&mut self, is_asked: bool) -> Result<(), StartError> {
        let text = read(&self.path);
        if text == self.text && !is_asked {
            return Ok(());
        }
        self.text = text;
        let mut file = match FileConfig::read(&self.path, std::env::vars()) {
            Ok(file) => file,
            Err(errors) => {
                tracing::error!("the configuration stays as it was: {errors}");
                return Ok(());
            }
        };
        file.pipelines.iter().filter(|new| !self.file.has(new)).for_each(announce);
        match self.sidecar.change(file.clone()) {
            Ok(()) => {
                eprintln!("{}: the configuration was read again", self.path.display());
                self.admin_of(&mut file);
                self.file = file;
                Ok(())
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                self.sidecar.change(self.file.clone())
            }
        }
    }

    /// Listens where the new file says. If that fails, it says what the old one said.
    fn admin_of(&mut self, new: &mut FileConfig) {
        if admin(new) == admin(&self.file) {
            return;
        }
        // The old one ends first, as both may be of the same address.
        self.admin = None;
        if let Err(message) = listen(admin(new), &self.watches).map(|listener| self.admin = listener) {
            tracing::error!("the admin listener stays as it was: {message}");
            new.admin.clone_from(&self.file.admin);
            let again = listen(admin(new), &self.watches);
            self.admin = again.unwrap_or_else(|message| {
                tracing::error!("{message}");
                None
            });
        }
    }
}

fn admin(file: &FileConfig) -> Option<&AdminConfig> {
    file.admin.as_ref().map(|admin| &admin.config)
}

/// Listens for those who look on, if that is wanted.
fn listen(config: Option<&AdminConfig>, watches: &Arc<Watches>) -> Result<Option<Listener>, String> {
    let Some(config) = config else { return Ok(None) };
    let listener = admin::listen(config, Arc::clone(watches), page::pages())
        .map_err(|error| format!("admin: {}: {error}", config.listen))?;
    eprintln!("admin: http://{}/", listener.address);
    Ok(Some(listener))
}

/// The text of the file; that it cannot be read is told by whoever reads it as a configuration.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn announce(pipeline: &PipelineConfig) {
    eprintln!("{}", headline(pipeline));
}

fn tell_all(ended: Vec<(String, Ended)>) -> Outcome {
    let are_done: Vec<bool> = ended.iter().map(|(name, ended)| tell(name, ended)).collect();
    if are_done.contains(&false) { Outcome::Failed } else { Outcome::Done }
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

fn headline(pipeline: &PipelineConfig) -> String {
    format!("pipeline {}: {} to {}", pipeline.name, sources(pipeline), target(pipeline))
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
        SourceConfig::Listen(listen) => match &listen.service {
            Service::Http(http) if http.tls.is_some() => format!("https on {}", listen.address),
            Service::Http(_) => format!("http on {}", listen.address),
            Service::Lines => format!("lines on {}", listen.address),
        },
        SourceConfig::Journal { folder } => format!("the journal {}", folder.display()),
        SourceConfig::Queue(queue) => format!("objects that {} tells of", queue.url),
        _ => "another source".to_owned(),
    };
    pipeline.sources.iter().map(source).collect::<Vec<_>>().join(", ")
}

/// The pipeline as it holds: what was given, and who said so; behind a `#`, what holds of the rest.
fn print(pipeline: &PipelineConfig) {
    println!("{}", headline(pipeline));
    for &key in Key::ALL {
        let default = pipeline.config.in_force(key);
        print_setting("  ", key.name(), pipeline.given.get(&key), default.as_deref());
    }
    for part in &pipeline.parts {
        println!("  {}", part.title);
        for SourceKey { name, default, .. } in part.keys {
            let default = Some(*default).filter(|default| !["required", "none"].contains(default));
            print_setting("    ", name, part.given.get(name), default);
        }
    }
}

/// Asks the queue of a pipeline what it is set to; whether it answers.
fn can_be_received(pipeline: &PipelineConfig, queue: &QueueConfig) -> bool {
    let findings = match check_queue(&queue.url, &queue.connection(pipeline.config.connection())) {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("pixel-engine: {}", of_aws(&error));
            return false;
        }
    };
    println!("queue {}", queue.url);
    findings.lines.iter().for_each(|(topic, found)| println!("  {topic:<12} {found}"));
    findings.warnings.iter().for_each(|warning| eprintln!("warning: {}: {warning}", queue.url));
    if let Some(problem) = &findings.problem {
        eprintln!("pixel-engine: {}", of_aws(problem));
    }
    findings.problem.is_none()
}

/// Where to listen; the token is masked already.
fn print_admin(admin: &AdminFileConfig) {
    println!("admin: http://{}/", admin.config.listen);
    admin.given.iter().for_each(|(key, given)| print_setting("  ", key, Some(given), None));
}

fn print_setting(indent: &str, key: &str, given: Option<&Given>, default: Option<&str>) {
    match (given, default) {
        (Some(Given { value, from: From::Line(line) }), _) => println!("{indent}{key} = {value}  # line {line}"),
        (Some(Given { value, from: From::Variable(name) }), _) => println!("{indent}{key} = {value}  # {name}"),
        (None, Some(default)) => println!("{indent}# {key} = {default}"),
        (None, None) => {}
    }
}
