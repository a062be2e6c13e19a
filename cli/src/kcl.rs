//! `pixel-engine kcl`.

use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::HumanCount as Count;
use pixel_engine::config::{Config, Settings, Target, parse_duration};
use pixel_engine::consume::kcl::{Ended, Patience, Properties, run_child};
use pixel_engine::consume::open_run::OpenRun;
use pixel_engine::run::{Error, Report};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::aws::{Reach, of_sink};
use crate::ingest::of_open;
use crate::only_bad_lines::only_bad_lines;
use crate::settings::{Deliver, Lines, Objects, Privacy, config};
use crate::summary::LinesSum;
use crate::{Outcome, usage_error};

/// Read a Kinesis stream as a child of the Kinesis Client Library
///
/// The library's MultiLangDaemon starts this command once for each shard, with records on standard
/// input. It takes a checkpoint for what is delivered, and nothing else: what is not comes again,
/// here or on another machine. By hand, only --print-properties is of use.
#[derive(Args)]
#[command(after_help = "Example:
  pixel-engine kcl --to firehose://beacons --print-properties \\
      --stream hits --application pixel-engine > kcl.properties")]
pub(crate) struct Kcl {
    #[command(flatten)]
    lines: Lines,

    /// Take a checkpoint of a shard at most that often [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    checkpoint_interval: Option<Duration>,

    /// How long a shard that goes to another machine waits for what is on its way; below
    /// gracefulLeaseHandoffTimeoutMillis and shutdownGraceMillis [default: 20s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    hand_off: Option<Duration>,

    /// No summary when a shard ends; errors are still printed
    #[arg(long)]
    quiet: bool,

    /// Refused, with the reason.
    #[arg(long, hide = true)]
    spool: Option<PathBuf>,

    #[command(flatten)]
    daemon: Daemon,

    #[command(flatten)]
    privacy: Privacy,

    #[command(flatten)]
    reach: Reach,

    #[command(flatten)]
    objects: Objects,

    #[command(flatten)]
    deliver: Deliver,
}

/// What the daemon is told.
#[derive(Args)]
#[command(next_help_heading = "Properties of the daemon")]
struct Daemon {
    /// Write a properties file for the daemon to standard output, with the other flags of this
    /// command in it, and do nothing else
    #[arg(long, requires = "stream", requires = "application")]
    print_properties: bool,

    /// The stream that the daemon reads: its name or ARN
    #[arg(long, value_name = "NAME|ARN", requires = "print_properties")]
    stream: Option<String>,

    /// The application, which is also the name of the lease table in DynamoDB
    #[arg(long, value_name = "NAME", requires = "print_properties")]
    application: Option<String>,

    /// The region of both [default: from the ARN, --region, or AWS_REGION]
    #[arg(long, value_name = "REGION", requires = "print_properties")]
    stream_region: Option<String>,

    /// Read by enhanced fan-out, which AWS bills, and not by polling
    #[arg(long, requires = "print_properties")]
    fan_out: bool,

    /// What the daemon counts in CloudWatch, which AWS bills [default: none]
    #[arg(long, value_name = "LEVEL", requires = "print_properties")]
    metrics: Option<Metrics>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Metrics {
    /// Nothing
    None,
    /// Of the worker
    Summary,
    /// Of each shard too
    Detailed,
}

impl Kcl {
    pub(crate) fn run(self) -> Outcome {
        let settings = self.deliver.settings(self.objects.settings(Settings::default()));
        let settings = self.reach.settings(self.lines.settings(self.privacy.settings(settings)));
        if settings.resume.is_some() {
            refuse("--resume has no place here: the checkpoint of a shard is in the daemon's lease table");
        }
        if self.spool.is_some() {
            refuse("--spool has no place here: what is not delivered has no checkpoint, and Kinesis keeps it");
        }
        // There is a child for each shard, and a shard gives 2 MB/s.
        let settings = Settings { threads: settings.threads.or(Some(1)), ..settings };
        let config = config("kcl", &settings);
        if matches!(config.target(), Target::Stdout(_)) {
            refuse("--to stdout: has no place here: standard output is how the daemon is answered");
        }
        if self.daemon.print_properties {
            print!("{}", self.properties(&settings));
            return Outcome::Done;
        }
        match self.child(config) {
            Ok(outcome) => outcome,
            Err(message) => {
                eprintln!("pixel-engine: {message}");
                Outcome::Failed
            }
        }
    }

    fn child(&self, config: Config) -> Result<Outcome, String> {
        // A terminal and a service manager send them to the daemon's children too. The daemon says
        // when to end, and if it ends first, standard input does.
        for signal in [SIGINT, SIGTERM] {
            let ignored = flag::register(signal, Arc::default());
            ignored.map_err(|error| format!("listening for signals: {error}"))?;
        }
        let (format, bad_lines) = (config.format(), config.quarantine().to_string());
        let run = OpenRun::start(config, Arc::default()).map_err(of_open)?;
        let patience = Patience::default();
        let patience = Patience {
            checkpoint_interval: self.checkpoint_interval.unwrap_or(patience.checkpoint_interval),
            hand_off: self.hand_off.unwrap_or(patience.hand_off),
        };
        let ended = run_child(BufReader::with_capacity(1 << 20, io::stdin()), io::stdout(), run, format, patience);
        Ok(self.tell(&ended, &bad_lines))
    }

    /// Says how it ended. The daemon logs each line of it.
    fn tell(&self, ended: &Ended, bad_lines: &str) -> Outcome {
        let shard = ended.shard.as_deref().unwrap_or("no shard");
        let errors = ended.report.iter().flat_map(|report| &report.errors).map(|error| match error {
            Error::Sink(error) => of_sink(error),
            error => error.to_string(),
        });
        let errors: Vec<String> = errors.chain(ended.error.iter().map(ToString::to_string)).collect();
        errors.iter().for_each(|error| eprintln!("pixel-engine: {shard}: {error}"));
        if !self.quiet {
            if ended.records_left > 0 {
                let left = Count(ended.records_left as u64);
                eprintln!("{shard}: {left} records have no checkpoint; who has the shard next is sent them again");
            }
            if let Some(report) = &ended.report {
                eprintln!("{shard}: {}", summary(report));
            }
        }
        if let Some((report, first)) = ended.report.as_ref().and_then(|it| Some((it, it.first_bad_line.as_ref()?))) {
            if report.summary.has_only_bad_lines() {
                eprintln!("pixel-engine: {shard}: {}", only_bad_lines(first));
            } else if !self.quiet && report.summary.lines_quarantined > 0 {
                eprintln!("{shard}: bad lines in {bad_lines}, the first: {first}");
            }
        }
        if errors.is_empty() { Outcome::Done } else { Outcome::Failed }
    }

    fn properties(&self, settings: &Settings) -> String {
        let Daemon { stream, application, stream_region, fan_out, metrics, .. } = &self.daemon;
        let (stream, application) = stream.clone().zip(application.clone()).expect("clap requires both");
        let of_arn = stream.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).map(str::to_owned);
        let region = stream_region.clone().or(of_arn).or_else(|| settings.region.clone());
        let properties = Properties {
            command: self.command(),
            stream,
            application,
            region: region.or_else(|| std::env::var("AWS_REGION").ok()),
            fan_out: *fan_out,
            metrics: match metrics {
                None | Some(Metrics::None) => "NONE",
                Some(Metrics::Summary) => "SUMMARY",
                Some(Metrics::Detailed) => "DETAILED",
            },
        };
        if properties.region.is_none() {
            refuse("no region: give --stream-region, set AWS_REGION, or name the stream by its ARN");
        }
        let mut text = String::from(
            "# The MultiLangDaemon reads this; docs/kcl.md has the rest. It is started as\n\
             #   java -cp 'lib/*' software.amazon.kinesis.multilang.MultiLangDaemon --properties-file kcl.properties\n\
             # and logs every line of this file.\n\n",
        );
        let said = properties.text().unwrap_or_else(|error| refuse(&error.to_string()));
        text.push_str(said.trim_end());
        text.push('\n');
        text
    }

    /// This program with these flags, but for those that are the daemon's.
    fn command(&self) -> Vec<String> {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("pixel-engine"));
        let of_daemon = Daemon::augment_args(clap::Command::new("kcl"));
        let mut command = vec![program.display().to_string()];
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let name = argument.split_once('=').map_or(&*argument, |(name, _)| name);
            if name == "--hash-key" {
                refuse("--hash-key would stand in the file and in the daemon's log: set PIXEL_ENGINE_HASH_KEY");
            }
            let is_it = |flag: &&clap::Arg| flag.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
            match of_daemon.get_arguments().find(is_it) {
                Some(flag) if flag.get_action().takes_values() && !argument.contains('=') => drop(arguments.next()),
                Some(_) => {}
                None => command.push(argument),
            }
        }
        command
    }
}

/// One line, as the daemon's log has a time and a name before each.
fn summary(report: &Report) -> String {
    let it = &report.summary;
    let (lines, records, requests) = (Count(it.lines_in), Count(it.records), Count(it.requests));
    format!("{lines} lines in = {}, {records} records in {requests} requests", LinesSum(it))
}

fn refuse(message: &str) -> ! {
    usage_error("kcl", message)
}
