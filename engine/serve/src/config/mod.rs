//! The configuration file: pipelines, each with its sources and settings.
//!
//! ```toml
//! # Settings outside of a pipeline hold for every one that does not set them itself.
//! region = "eu-west-1"
//!
//! [pipeline.beacons]
//! to = "firehose://beacons"
//! spool = "/var/lib/pixel-engine/beacons/spool"
//! resume = "/var/lib/pixel-engine/beacons/checkpoint"
//!
//! [[pipeline.beacons.source]]
//! type = "follow"
//! files = ["/var/log/pixel/*.log"]
//! start = "end"
//! ```
//!
//! Settings are those of the command line, spelled with underscores. A variable of the environment,
//! `PIXEL_ENGINE_` and the key in capitals, comes before the file, in every pipeline. Whatever is
//! wrong is an error with its line and column; all errors are found at once.

mod admin;
mod error;
mod network;
mod queue;
mod read;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pixel_engine_core::config::{Config, Key, Linger, Settings};
use pixel_engine_core::source::Start;

pub use admin::AdminFileConfig;
pub use error::{FileError, FileErrors};
pub use network::{
    Address, FOLLOW_KEYS, HTTP_KEYS, HttpConfig, JOURNAL_KEYS, JournalConfig, ListenConfig, PixelReply,
    READ_JOURNAL_KEYS, Service, SourceKey, TCP_KEYS, UNIX_KEYS,
};
pub use queue::{QueueConfig, S3_KEYS};
pub use read::{VARIABLE, nearest};
pub use report::{REPORT_KEYS, ReportConfig};

/// What a configuration file says, checked.
#[derive(Clone, Debug)]
pub struct FileConfig {
    /// In the order of their names.
    pub pipelines: Vec<PipelineConfig>,
    /// Where to listen for those who look on, if that is wanted.
    pub admin: Option<AdminFileConfig>,
}

/// A pipeline: where its lines come from, what becomes of them, and where they go.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name in the file.
    pub name: String,
    /// Where its lines come from.
    pub sources: Vec<SourceConfig>,
    /// Where those of the network are safe.
    pub journal: Option<JournalConfig>,
    /// What is counted of its lines, if anything is.
    pub report: Option<ReportConfig>,
    /// Everything else.
    pub config: Config,
    /// What was said, and where.
    pub given: BTreeMap<Key, Given>,
    /// The same of its journal and its report, if it has any, and of its sources.
    pub parts: Vec<Part>,
}

/// A journal, a source or a report, as it was given.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// `journal`, `source http`, `report`.
    pub title: String,
    /// The keys that it may have.
    pub keys: &'static [SourceKey],
    /// What was said, and where. Secrets are masked.
    pub given: BTreeMap<&'static str, Given>,
}

/// A setting that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Its value, as in the file; `***` for a secret.
    pub value: String,
    /// Who said so.
    pub from: From,
}

/// Who gave a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// This line of the file, from 1.
    Line(usize),
    /// A variable of the environment.
    Variable(String),
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceConfig {
    /// Standard input.
    Stdin,
    /// Files as they grow.
    Follow {
        /// Globs.
        files: Vec<String>,
        /// Where to begin in files that are there at the start.
        start: Start,
    },
    /// A service on the network, through the pipeline's journal.
    Listen(ListenConfig),
    /// The journal of another pipeline.
    Journal {
        /// Its folder.
        folder: PathBuf,
    },
    /// Objects of S3 that a queue tells of.
    Queue(QueueConfig),
}

impl PipelineConfig {
    /// The folders of the journals that it reads.
    pub fn journals(&self) -> impl Iterator<Item = &Path> {
        let own = self.journal.iter().map(|journal| journal.folder.as_path());
        own.chain(self.sources.iter().filter_map(|source| match source {
            SourceConfig::Journal { folder } => Some(folder.as_path()),
            _ => None,
        }))
    }

    /// What it listens to.
    pub fn services(&self) -> impl Iterator<Item = &ListenConfig> {
        self.sources.iter().filter_map(|source| match source {
            SourceConfig::Listen(listen) => Some(listen),
            _ => None,
        })
    }

    /// The queues that tell it of objects.
    pub fn queues(&self) -> impl Iterator<Item = &QueueConfig> {
        self.sources.iter().filter_map(|source| match source {
            SourceConfig::Queue(queue) => Some(queue),
            _ => None,
        })
    }

    /// Whether it was given as that one was.
    fn is_same(&self, other: &PipelineConfig) -> bool {
        let given = |pipeline: &PipelineConfig| {
            let values = pipeline.given.iter().map(|(&key, given)| (key, given.value.clone()));
            values.collect::<Vec<_>>()
        };
        (&self.name, &self.sources, &self.journal, &self.report, given(self))
            == (&other.name, &other.sources, &other.journal, &other.report, given(other))
    }
}

impl SourceConfig {
    /// Whether only a checkpoint knows where to go on after a restart.
    fn wants_checkpoint(&self) -> bool {
        !matches!(self, SourceConfig::Stdin | SourceConfig::Queue(_))
    }
}

/// How long a line of a sidecar may wait for its record to be filled, where nothing is said.
const LINGER_FOR_FIREHOSE: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(1);
/// How long a sidecar goes on trying once it is stopped, where nothing is said: less than the 30 s
/// that Kubernetes and ECS leave before they kill.
const GRACE: Duration = Duration::from_secs(25);

impl FileConfig {
    /// Reads a file; `variables` are those of the environment.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn read(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<FileConfig, FileErrors> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| FileErrors::unreadable(&name, &error))?;
        FileConfig::parse(&name, &text, variables)
    }

    /// Whether the pipeline is given in this file as it was.
    pub fn has(&self, pipeline: &PipelineConfig) -> bool {
        self.pipelines.iter().any(|here| here.is_same(pipeline))
    }

    /// Reads the text of a file of that name.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(
        name: &str,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<FileConfig, FileErrors> {
        read::read(name, text, &variables.into_iter().collect())
    }
}

/// The settings with what is usual for a sidecar; the name is that of one of several pipelines.
fn with_defaults(settings: Settings, name: Option<&str>) -> Settings {
    let is_firehose = settings.to.as_deref().is_some_and(|to| to.starts_with("firehose:"));
    let linger = if is_firehose { LINGER_FOR_FIREHOSE } else { LINGER };
    let quarantine = name.map(|name| PathBuf::from(format!("pixel-engine-quarantine-{name}.jsonl")));
    Settings {
        linger: settings.linger.or(Some(Linger::After(linger))),
        grace: settings.grace.or(Some(GRACE)),
        quarantine: settings.quarantine.or(quarantine),
        ..settings
    }
}

/// The files that a pipeline writes, which no other one may write too.
fn own_files(pipeline: &PipelineConfig) -> impl Iterator<Item = (&'static str, PathBuf)> {
    let config = &pipeline.config;
    let quarantine = config.quarantine().file().map(|path| (Key::Quarantine.name(), path.to_owned()));
    let checkpoint = config.checkpoint().map(|path| (Key::Resume.name(), path.to_owned()));
    let spool = config.spool().map(|spool| (Key::Spool.name(), spool.folder.clone()));
    let journal = pipeline.journal.iter().map(|journal| ("journal", journal.folder.clone()));
    quarantine.into_iter().chain(checkpoint).chain(spool).chain(journal)
}

#[cfg(test)]
mod tests;
