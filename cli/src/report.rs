//! `pixel-engine report`.

mod csv;
mod live;
pub(crate) mod page;
mod standard;
mod text;
mod uses;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use pixel_engine::agents::Agents;
use pixel_engine::config::{Config, Connection, OnBadLine, Settings, parse_duration};
use pixel_engine::observe::Observed;
use pixel_engine::progress::Progress;
use pixel_engine::quarantine::Quarantine;
use pixel_engine::report::{self, AgentReader, Beacons, Definitions, Document, Lines, State, View};
use pixel_engine::run::{self, Run};
use pixel_engine::sink::null::Null;
use pixel_engine::source::{Files, Follow, Input, Start};

use crate::only_bad_lines::only_bad_lines;
use crate::settings::{Reading, config};
use crate::{Outcome, inputs, output, progress, stop_on_signals, usage_error};
use uses::Uses;

/// Say what the beacons in a log mean: visitors, sessions, pages, agents, faults, funnels
///
/// Reads what `ingest` reads. Every number has its definition beside it; what is an estimate has its
/// error. No address is in a report.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine report access.log
  pixel-engine report logs/ --time-zone Europe/Zurich --json > report.json
  pixel-engine report logs/ --html report.html --csv tables/
  pixel-engine report logs/ --funnel 'view > cart > checkout > paid'
  pixel-engine report logs/ --use ad-tech --networks data-centres.txt
  pixel-engine report day-1/ --salt-file salt --save day-1.state
  pixel-engine report --merge day-1.state --merge day-2.state --salt-file salt")]
pub(crate) struct Report {
    /// Files, folders, globs, or `s3://BUCKET/KEY` with a key, a prefix or a glob; standard input
    /// without any, or for `-`
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    counting: Counting,

    #[command(flatten)]
    uses: Uses,

    #[command(flatten)]
    showing: Showing,

    /// The standard log of the same hours: files, folders or globs; repeatable. Says which of its
    /// lines are missing from the inputs, by x-edge-request-id. Without a value, what states say of
    /// it is merged
    #[arg(long, value_name = "STANDARD", conflicts_with = "live", num_args = 0..=1, default_missing_value = "")]
    reconcile: Vec<String>,

    /// Write what was counted to a file, for --merge
    #[arg(long, value_name = "STATE")]
    save: Option<PathBuf>,

    /// Add what --save has written, of other hours or machines; repeatable. Without inputs, nothing
    /// else is read
    #[arg(long, value_name = "STATE")]
    merge: Vec<PathBuf>,

    /// No progress
    #[arg(long)]
    quiet: bool,
}

/// What is counted.
#[derive(Args)]
#[command(next_help_heading = "What is counted")]
struct Counting {
    /// Where the name of an event is: fields or query.NAME, separated by commas, of which the first
    /// that a line has counts [default: query.e,query.event,query.ev]
    #[arg(long, value_name = "FIELDS")]
    event: Option<String>,

    /// Where the page is that sent the beacon [default: query.url,query.u,cs-referer]
    #[arg(long, value_name = "FIELDS")]
    page: Option<String>,

    /// Where that page was reached from [default: query.ref,query.r]
    #[arg(long, value_name = "FIELDS")]
    referrer: Option<String>,

    /// Where an id of the visitor is; a visitor without one is its address and user agent
    /// [default: query.uid,query.user_id]
    #[arg(long, value_name = "FIELDS")]
    visitor: Option<String>,

    /// The events that there should be, separated by commas; others are abnormal [default: any]
    #[arg(long, value_name = "NAMES")]
    known_events: Option<String>,

    /// The longest pause within a session [default: 30m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    session_gap: Option<Duration>,

    /// Steps that visitors take in this order: names of events, conditions FIELD=GLOB, or both
    #[arg(long, value_name = "STEP > STEP > ...")]
    funnel: Option<String>,

    /// The longest time from a step to the next [default: the session gap]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "funnel")]
    funnel_gap: Option<Duration>,

    /// More beacons than this of one visitor in a minute are abnormal [default: 60]
    #[arg(long, value_name = "N")]
    burst: Option<u32>,

    /// The percentage of requests that the log holds, as its configuration in CloudFront says;
    /// counts are scaled [default: 100]
    #[arg(long, value_name = "PERCENT")]
    sampling: Option<f64>,

    /// A file with 16 or more secret bytes that visitors are hashed with, so that reports can be
    /// merged [default: random for each report]
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,

    /// More bots: a file with a pattern for user agents in each line
    #[arg(long, value_name = "FILE")]
    bots: Option<PathBuf>,
}

/// How it is shown.
#[derive(Args)]
#[command(next_help_heading = "How it is shown")]
struct Showing {
    /// The time zone of hours and days: a name such as Europe/Zurich, or `system` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,

    /// The most rows of each table [default: 10, 20 for --html, and 100 for --json and --csv]
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// Write the report as JSON to standard output
    #[arg(long)]
    json: bool,

    /// Write the report as a page: one file that needs nothing else. Without --json, nothing goes to
    /// standard output then
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,

    /// Write each table of the report as CSV to a folder, which is made. Without --json, nothing goes
    /// to standard output then
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,

    /// Show it on the terminal while the log goes on: of standard input, or of files that are
    /// followed through rotation. The report is printed when `q` ends it
    #[arg(long)]
    live: bool,
}

impl Report {
    pub(crate) fn run(self) -> Outcome {
        let settings = Settings {
            to: Some("null:".to_owned()),
            on_bad_line: Some(OnBadLine::Skip),
            ..self.reading.settings(Settings::default())
        };
        let config = config("report", &settings);
        let own_bots = match self.counting.own_bots() {
            Ok(list) => list,
            Err(message) => usage_error("report", &message),
        };
        let definitions = self.counting.definitions(&self.uses, own_bots.clone(), !self.reconcile.is_empty());
        let (definitions, view) = match definitions
            .and_then(|defined| Ok((defined, View { blog: self.uses.is_blog(), ..self.showing.view()? })))
        {
            Ok(both) => both,
            Err(message) => usage_error("report", &message),
        };
        let standard = standard::settings(settings);
        let standard = crate::settings::config("report", &standard);
        match self.report(&config, &standard, definitions, own_bots.as_deref(), &view) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn report(
        &self,
        config: &Config,
        standard: &Config,
        definitions: Definitions,
        own_bots: Option<&str>,
        view: &View,
    ) -> Result<Outcome, String> {
        let agents = Arc::new(AgentReader::new(self.counting.agents(own_bots)?));
        // While lines are read, as it takes as long as reading a small log.
        let preparing = Arc::clone(&agents);
        thread::spawn(move || preparing.prepare());
        let stop = stop_on_signals().map_err(|error| format!("listening for Ctrl-C: {error}"))?;
        let mut ended = Ended::default();
        let beacons = Arc::new(Observed::new(Beacons::new(definitions, agents)));
        let lines = if self.inputs.is_empty() && !self.merge.is_empty() {
            Lines::default()
        } else {
            self.read(config, &beacons, view, &stop, &mut ended)?
        };
        let observer = beacons.observer();
        let standard_lines = standard::read(observer, &self.reconcile, standard, self.quiet, stop, &mut ended);
        let mut state = observer.take(beacons.take()).with_lines(lines).with_standard_lines(standard_lines);
        for path in &self.merge {
            let merged = load(path).and_then(|other| state.merge(other));
            merged.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if let Some(path) = &self.save {
            save(&state, path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let document = Document::new(&state, observer.agents(), view);
        self.showing.write_files(&document, self.quiet)?;
        let written = self.showing.print(&document);
        Ok(match written {
            Outcome::Done => ended.outcome(&document),
            failed => failed,
        })
    }

    /// Reads the inputs, and says what became of their lines.
    fn read(
        &self,
        config: &Config,
        beacons: &Arc<Observed<Beacons>>,
        view: &View,
        stop: &Arc<AtomicBool>,
        ended: &mut Ended,
    ) -> Result<Lines, String> {
        let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
        let counts = Arc::new(Progress::default());
        let run = Run::new(config).progress(Arc::clone(&counts)).observer(beacons.clone()).stop(Arc::clone(stop));
        let run = if self.showing.live {
            let run = match self.inputs.as_slice() {
                [] => run.source(Files::new([Input::Stdin])),
                files => run.source(Follow::new(files, Start::Beginning).map_err(|error| error.to_string())?),
            };
            live::of_run(beacons, &counts, view, stop, || run.to(&mut sink, &mut quarantine))
                .map_err(|error| format!("terminal: {error}"))?
        } else {
            let (inputs, missing) = inputs::of_arguments(&self.inputs, &Connection::default());
            ended.failed |= missing;
            let total = inputs.iter().map(Input::size).sum();
            let run = run.source(Files::new(inputs));
            progress::of_run(&counts, total, self.quiet, || run.to(&mut sink, &mut quarantine))
        };
        ended.note(&run, "");
        // What is followed has no end but the one that `q` makes.
        ended.interrupted &= !self.showing.live;
        Ok(Lines::of_run(&run))
    }
}

/// How reading ended.
#[derive(Default)]
struct Ended {
    failed: bool,
    interrupted: bool,
}

impl Ended {
    /// Prints what went wrong in a run, and keeps in mind that it did; `context` stands before it.
    fn note(&mut self, run: &run::Report, context: &str) {
        for error in &run.errors {
            eprintln!("pixel-engine: {context}{error}");
            self.failed = true;
        }
        self.interrupted |= run.summary.interrupted;
        if let (Some(first), true) = (&run.first_bad_line, run.summary.has_only_bad_lines()) {
            eprintln!("pixel-engine: {context}{}", only_bad_lines(first));
        }
    }

    fn outcome(&self, document: &Document) -> Outcome {
        if self.failed {
            Outcome::Failed
        } else if self.interrupted {
            Outcome::Stopped
        } else if has_only_bad_lines(&document.lines)
            || document.reconciled.as_ref().is_some_and(|both| has_only_bad_lines(&both.standard_log))
        {
            Outcome::OnlyBadLines
        } else {
            Outcome::Done
        }
    }
}

fn has_only_bad_lines(lines: &Lines) -> bool {
    lines.bad > 0 && lines.bad == lines.lines_in
}

impl Counting {
    fn definitions(&self, uses: &Uses, own_bots: Option<String>, reconcile: bool) -> Result<Definitions, String> {
        let salt = match &self.salt_file {
            Some(path) => Some(fs::read(path).map_err(|error| format!("--salt-file {}: {error}", path.display()))?),
            None => None,
        };
        let settings = report::Settings {
            event: self.event.clone(),
            page: self.page.clone(),
            referrer: self.referrer.clone(),
            visitor: self.visitor.clone(),
            known_events: self.known_events.clone(),
            session_gap: self.session_gap,
            funnel: self.funnel.clone(),
            funnel_gap: self.funnel_gap,
            burst: self.burst,
            sampling: self.sampling,
            salt,
            own_bots,
            advertising: uses.advertising()?,
            shop: uses.shop()?,
            reconcile,
        };
        settings.validate().map_err(|error| error.to_string())
    }

    fn own_bots(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.bots else { return Ok(None) };
        fs::read_to_string(path).map(Some).map_err(|error| format!("--bots {}: {error}", path.display()))
    }

    fn agents(&self, own_bots: Option<&str>) -> Result<Agents, String> {
        let (Some(path), Some(list)) = (&self.bots, own_bots) else { return Ok(Agents::new()) };
        Agents::with_own_list(list).map_err(|error| format!("--bots {}: {error}", path.display()))
    }
}

impl Showing {
    fn view(&self) -> Result<View, String> {
        let zone = match self.time_zone.as_deref() {
            None => TimeZone::UTC,
            Some("system") => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|error| {
                format!("--time-zone {name}: {error}; zones have names such as Europe/Zurich or America/New_York")
            })?,
        };
        let top = self.top.unwrap_or(if self.has_files() || self.json { 100 } else { 10 });
        Ok(View { zone, top, recent: 10, ..View::default() })
    }

    fn has_files(&self) -> bool {
        self.html.is_some() || self.csv.is_some()
    }

    /// Writes the page and the tables, and says so.
    fn write_files(&self, document: &Document, quiet: bool) -> Result<(), String> {
        let mut written = Vec::new();
        if let Some(path) = &self.html {
            let page = page::page(document, self.top.unwrap_or(20));
            whole(path, |mut file| file.write_all(page.as_bytes()))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            written.push(path.display().to_string());
        }
        if let Some(folder) = &self.csv {
            let files = csv::write(document, folder)?;
            written.push(format!("{files} files in {}", folder.display()));
        }
        if !written.is_empty() && !quiet {
            eprintln!("wrote {}", written.join(" and "));
        }
        Ok(())
    }

    fn print(&self, document: &Document) -> Outcome {
        if self.json {
            let mut json = serde_json::to_vec_pretty(document).expect("every key is text");
            json.push(b'\n');
            output::print(&json)
        } else if self.has_files() {
            Outcome::Done
        } else {
            output::print(text::Text(document).to_string().as_bytes())
        }
    }
}

fn load(path: &Path) -> Result<State, report::StateError> {
    State::load(File::open(path)?)
}

fn save(state: &State, path: &Path) -> Result<(), report::StateError> {
    whole(path, |file| state.save(BufWriter::new(file)))
}

/// Writes beside it first, so that a file is whole or not there.
fn whole<E: From<io::Error>>(path: &Path, write: impl FnOnce(File) -> Result<(), E>) -> Result<(), E> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = write(File::create(&part)?).and_then(|()| Ok(fs::rename(&part, path)?));
    if written.is_err() {
        // It is of no use; if it cannot be removed either, the error says what happened.
        let _ = fs::remove_file(&part);
    }
    written
}
