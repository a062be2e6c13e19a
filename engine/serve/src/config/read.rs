//! From the text of a file to pipelines.
//!
//! Each setting is read by itself, so that an error has the place of its key and all of them are
//! found at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::PathBuf;

use pixel_engine_core::config::{Config, ConfigError, Key, Secret, Settings};
use pixel_engine_core::source::{Follow, Start};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::network::{HttpSettings, JournalSettings, ReadJournalSettings, TcpSettings, UnixSettings};
use super::queue::{QueueSettings, S3_KEYS};
use super::report::REPORT;
use super::{
    Address, FOLLOW_KEYS, FileConfig, FileError, FileErrors, From, Given, HTTP_KEYS, JOURNAL_KEYS, JournalConfig, Part,
    PipelineConfig, READ_JOURNAL_KEYS, SourceConfig, SourceKey, TCP_KEYS, UNIX_KEYS, own_files, with_defaults,
};

/// What is not a setting.
pub(super) const PIPELINE: &str = "pipeline";
pub(super) const ADMIN: &str = "admin";
const SOURCE: &str = "source";
const ACCESS_KEY: &str = "access_key";
/// In place of a secret.
const MASK: &str = "\"***\"";
/// What the name of every variable begins with that is a setting.
pub const VARIABLE: &str = "PIXEL_ENGINE_";
/// Those of sources.
const TYPES: &str = "follow, http, journal, s3, stdin, tcp, unix";

pub(super) type Variables = BTreeMap<String, String>;

pub(super) type Name<'text> = Spanned<DeString<'text>>;
pub(super) type Table<'text> = DeTable<'text>;
pub(super) type Item<'text> = Spanned<DeValue<'text>>;

pub(super) fn read(name: &str, text: &str, variables: &Variables) -> Result<FileConfig, FileErrors> {
    let mut reader = Reader { name, text, errors: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.error(error.span(), error.message());
    }
    let (pipelines, admin) = match reader.errors.is_empty() {
        true => {
            let pipelines = reader.file(document.get_ref(), variables);
            let admin = reader.admin(document.get_ref(), variables);
            if admin.is_none() && reader.errors.is_empty() {
                reader.refuse_unseen_reports(&pipelines, document.get_ref());
            }
            (pipelines, admin)
        }
        false => (Vec::new(), None),
    };
    let mut errors = reader.errors;
    if errors.is_empty() {
        return Ok(FileConfig { pipelines, admin });
    }
    errors.sort_by_key(|(place, _)| *place);
    errors.dedup();
    Err(FileErrors(errors.into_iter().map(|(_, error)| error).collect()))
}

pub(super) struct Reader<'text> {
    name: &'text str,
    text: &'text str,
    /// With the byte of the file, to put them in order.
    errors: Vec<(usize, FileError)>,
}

/// A setting, where it stands, and what it was called there.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) at: Option<Range<usize>>,
    pub(super) from: From,
}

impl Setting {
    /// What others may see of it.
    pub(super) fn given(&self, is_secret: bool) -> Given {
        Given { value: if is_secret { MASK.to_owned() } else { self.value.to_string() }, from: self.from.clone() }
    }
}

type Set = BTreeMap<Key, Setting>;

impl Reader<'_> {
    fn file(&mut self, document: &Table<'_>, variables: &Variables) -> Vec<PipelineConfig> {
        let of_all = self.settings(document, &[PIPELINE, ADMIN]);
        let of_variables = self.variables(variables);
        let Some(pipelines) = document.get(PIPELINE) else {
            self.error(None, "no pipeline: add a table [pipeline.NAME] with `to` and a source");
            return Vec::new();
        };
        let Some(pipelines) = self.table(pipelines, "pipelines are tables: [pipeline.NAME]") else { return Vec::new() };
        let mut read = Vec::new();
        for (name, pipeline) in pipelines {
            let Some(table) = self.table(pipeline, "a pipeline is a table: [pipeline.NAME]") else { continue };
            let mut set = of_all.clone();
            let others: Vec<&str> = JOURNAL_KEYS.iter().map(|key| key.name).chain([SOURCE, REPORT]).collect();
            set.extend(self.settings(table, &others));
            set.extend(of_variables.clone());
            let name_of_several = (pipelines.len() > 1).then(|| name.get_ref().as_ref());
            if let Some(config) = self.config(name, &set, name_of_several) {
                read.extend(self.pipeline(name, table, &set, config, variables));
            }
        }
        self.refuse_shared_files(&read, pipelines);
        self.refuse_strange_journals(&read, pipelines);
        read
    }

    fn config(&mut self, name: &Name<'_>, set: &Set, name_of_several: Option<&str>) -> Option<Config> {
        let settings = settings_of(set.iter().map(|(key, setting)| (key.name(), &setting.value)));
        let settings: Settings = settings.expect("each of them could be read");
        let refused = |error: ConfigError| {
            let message = format!("pipeline {}: {error}", name.get_ref());
            match set.get(&error.key()) {
                Some(setting) => self.error_of(setting, &message),
                None => self.error(Some(name.span()), &message),
            }
        };
        with_defaults(settings, name_of_several).validate().map_err(refused).ok()
    }

    fn pipeline(
        &mut self,
        name: &Name<'_>,
        table: &Table<'_>,
        set: &Set,
        config: Config,
        variables: &Variables,
    ) -> Option<PipelineConfig> {
        let mut parts = Vec::new();
        let journal = self.journal(name, table, variables, &mut parts);
        let sources = self.sources(name, table, &config, variables, &mut parts);
        let report = self.report(name, table, &mut parts);
        let what = match sources.iter().find(|source| source.wants_checkpoint()) {
            Some(SourceConfig::Follow { .. }) => "follows files",
            _ => "reads a journal",
        };
        if config.checkpoint().is_none() && sources.iter().any(SourceConfig::wants_checkpoint) {
            let message = format!(
                "pipeline {} {what}: add resume = \"FILE\", which keeps how far they are delivered",
                name.get_ref()
            );
            self.error(Some(name.span()), &message);
            return None;
        }
        if journal.is_none() && sources.iter().any(|source| matches!(source, SourceConfig::Listen(_))) {
            let message = format!(
                "pipeline {} listens on the network: add journal = \"FOLDER\", in which lines are safe until they are \
                 delivered",
                name.get_ref()
            );
            self.error(Some(name.span()), &message);
            return None;
        }
        let given = set.iter().map(|(&key, setting)| (key, setting.given(key.is_secret()))).collect();
        Some(PipelineConfig { name: name.get_ref().to_string(), sources, journal, report, config, given, parts })
    }

    /// A journal that nobody writes to, and an address that two services would listen to.
    fn refuse_strange_journals(&mut self, read: &[PipelineConfig], pipelines: &Table<'_>) {
        let mut addresses: BTreeMap<&Address, &str> = BTreeMap::new();
        for pipeline in read {
            let place = place_of(&pipeline.name, pipelines);
            for source in &pipeline.sources {
                let message = match source {
                    SourceConfig::Journal { folder } => {
                        let is_own = |other: &&PipelineConfig| {
                            other.name != pipeline.name && other.journal.as_ref().is_some_and(|it| it.folder == *folder)
                        };
                        let is_there = read.iter().any(|other| is_own(&other));
                        let folder = folder.display();
                        (!is_there).then(|| format!("{folder} is the journal of no other pipeline of this file"))
                    }
                    SourceConfig::Listen(listen) => {
                        let other = addresses.insert(&listen.address, &pipeline.name);
                        other.map(|other| format!("{} is an address of pipeline {other} too", listen.address))
                    }
                    _ => None,
                };
                if let Some(message) = message {
                    self.error(place.clone(), &format!("pipeline {}: {message}", pipeline.name));
                }
            }
        }
    }

    /// Two pipelines that write the same file would spoil it.
    fn refuse_shared_files(&mut self, read: &[PipelineConfig], pipelines: &Table<'_>) {
        let mut owners: BTreeMap<PathBuf, (&str, &str)> = BTreeMap::new();
        for pipeline in read {
            let name = pipeline.name.as_str();
            for (key, path) in own_files(pipeline) {
                match owners.entry(path) {
                    Entry::Vacant(free) => drop(free.insert((name, key))),
                    Entry::Occupied(taken) => {
                        let (other, of) = taken.get();
                        let place = place_of(name, pipelines);
                        let path = taken.key().display();
                        let message = format!(
                            "pipeline {name}: {key} is {path}, which is {of} of pipeline {other}: name another"
                        );
                        self.error(place, &message);
                    }
                }
            }
        }
    }

    /// The settings of a table. `others` are keys that mean something else in it.
    fn settings(&mut self, table: &Table<'_>, others: &[&str]) -> Set {
        let mut set = Set::new();
        for (name, item) in table {
            if others.contains(&name.get_ref().as_ref()) {
                continue;
            }
            let Some(key) = Key::ALL.iter().copied().find(|key| key.name() == name.get_ref()) else {
                let names = Key::ALL.iter().map(|key| key.name()).chain(others.iter().copied());
                let nearest = nearest(name.get_ref(), names);
                self.error(Some(name.span()), &format!("unknown key `{}`{nearest}", name.get_ref()));
                continue;
            };
            if let Some(setting) = self.setting(name, item) {
                self.set(&mut set, key, setting);
            }
        }
        set
    }

    /// What stands behind a key in the file.
    pub(super) fn setting(&mut self, name: &Name<'_>, item: &Item<'_>) -> Option<Setting> {
        let value = json(item.get_ref());
        if value.is_none() {
            self.error(Some(item.span()), &format!("{}: a table where a value is expected", name.get_ref()));
        }
        Some(Setting { value: value?, at: Some(item.span()), from: From::Line(self.place(name.span().start).0) })
    }

    fn variables(&mut self, variables: &Variables) -> Set {
        let mut set = Set::new();
        for &key in Key::ALL {
            let variable = format!("{VARIABLE}{}", key.name().to_uppercase());
            if let Some(value) = variables.get(&variable) {
                let from = From::Variable(variable);
                self.set(&mut set, key, Setting { value: Value::String(value.clone()), at: None, from });
            }
        }
        set
    }

    /// Adds a setting whose value can be read.
    fn set(&mut self, set: &mut Set, key: Key, setting: Setting) {
        match settings_of::<Settings>([(key.name(), &setting.value)]) {
            Ok(_) => drop(set.insert(key, setting)),
            Err(error) => self.error_of(&setting, &format!("{key}: {error}")),
        }
    }

    fn sources(
        &mut self,
        name: &Name<'_>,
        pipeline: &Table<'_>,
        config: &Config,
        variables: &Variables,
        parts: &mut Vec<Part>,
    ) -> Vec<SourceConfig> {
        let Some(sources) = pipeline.get(SOURCE) else {
            let message = format!("pipeline {0} has no source: add a table [[pipeline.{0}.source]]", name.get_ref());
            self.error(Some(name.span()), &message);
            return Vec::new();
        };
        let tables: Vec<&Item<'_>> = match sources.get_ref() {
            DeValue::Array(tables) => tables.iter().collect(),
            _ => vec![sources],
        };
        tables.into_iter().filter_map(|source| self.source(source, config, variables, parts)).collect()
    }

    /// A source of the pipeline of that configuration, whose lines it reads.
    fn source(
        &mut self,
        source: &Item<'_>,
        config: &Config,
        variables: &Variables,
        parts: &mut Vec<Part>,
    ) -> Option<SourceConfig> {
        let table = self.table(source, "a source is a table: type = \"follow\", files = [...]")?;
        let Some(kind) = table.get("type") else {
            self.error(Some(source.span()), &format!("the source has no type: one of {TYPES}"));
            return None;
        };
        let at = source.span();
        let kind_name = kind.get_ref().as_str();
        let mut part = Part { title: format!("source {}", kind_name.unwrap_or_default()), ..Part::default() };
        let checked = match kind_name {
            Some("stdin") => self.typed(table, &[], &mut part).map(|NoSettings {}| Ok(SourceConfig::Stdin)),
            Some("follow") => self.typed(table, FOLLOW_KEYS, &mut part).map(FollowSettings::validate),
            Some("http") => self.typed(table, HTTP_KEYS, &mut part).map(|mut http: HttpSettings| {
                if let Some(key) = variables.get(&format!("{VARIABLE}ACCESS_KEY")) {
                    http.access_key = Some(Secret::new(key.clone()));
                    let from = From::Variable(format!("{VARIABLE}ACCESS_KEY"));
                    part.given.insert(ACCESS_KEY, Given { value: MASK.to_owned(), from });
                }
                http.validate(config).map(SourceConfig::Listen)
            }),
            Some("tcp") => {
                self.typed(table, TCP_KEYS, &mut part).map(|tcp: TcpSettings| tcp.validate().map(SourceConfig::Listen))
            }
            Some("unix") => self
                .typed(table, UNIX_KEYS, &mut part)
                .map(|unix: UnixSettings| unix.validate().map(SourceConfig::Listen)),
            Some("journal") => self.typed(table, READ_JOURNAL_KEYS, &mut part).map(|journal: ReadJournalSettings| {
                let missing = "the source reads no journal: add folder = \"FOLDER\", that of another pipeline";
                journal.folder.map(|folder| SourceConfig::Journal { folder }).ok_or(missing.to_owned())
            }),
            Some("s3") => self
                .typed(table, S3_KEYS, &mut part)
                .map(|queue: QueueSettings| queue.validate().map(SourceConfig::Queue)),
            _ => {
                self.error(Some(kind.span()), &format!("not a type of source: one of {TYPES}"));
                return None;
            }
        };
        parts.push(part);
        checked?.map_err(|error| self.error(Some(at), &error)).ok()
    }

    /// The settings of a source of some type, or of a report; `None` when there was an error. What
    /// was given is added to its part.
    pub(super) fn typed<T: DeserializeOwned>(
        &mut self,
        table: &Table<'_>,
        keys: &'static [SourceKey],
        part: &mut Part,
    ) -> Option<T> {
        part.keys = keys;
        let mut values = Vec::new();
        let errors = self.errors.len();
        for (name, item) in table.iter().filter(|(name, _)| name.get_ref() != "type") {
            let Some(key) = keys.iter().find(|key| key.name == name.get_ref()) else {
                let nearest = nearest(name.get_ref(), keys.iter().map(|key| key.name));
                let what = part.title.split(' ').next().unwrap_or_default();
                self.error(Some(name.span()), &format!("unknown key `{}` of a {what}{nearest}", name.get_ref()));
                continue;
            };
            let value = json(item.get_ref()).unwrap_or_default();
            let shown = if key.name == ACCESS_KEY { MASK.to_owned() } else { value.to_string() };
            let from = From::Line(self.place(name.span().start).0);
            part.given.insert(key.name, Given { value: shown, from });
            if let Err(error) = settings_of::<T>([(&**name.get_ref(), &value)]) {
                self.error(Some(item.span()), &format!("{}: {error}", name.get_ref()));
            }
            values.push((&**name.get_ref(), value));
        }
        let is_right = self.errors.len() == errors;
        let values = values.iter().map(|(name, value)| (*name, value));
        is_right.then(|| settings_of(values).expect("each of them could be read"))
    }

    /// The journal of a pipeline, by what stands in its table and in the environment.
    fn journal(
        &mut self,
        name: &Name<'_>,
        pipeline: &Table<'_>,
        variables: &Variables,
        parts: &mut Vec<Part>,
    ) -> Option<JournalConfig> {
        let (mut values, mut part) = (Vec::new(), Part { title: "journal".to_owned(), ..Part::default() });
        part.keys = JOURNAL_KEYS;
        for key in JOURNAL_KEYS {
            let variable = format!("{VARIABLE}{}", key.name.to_uppercase());
            let is_for_others = key.name != "journal" && !pipeline.contains_key("journal");
            let setting = if let Some(value) = variables.get(&variable).filter(|_| !is_for_others) {
                Setting { value: Value::String(value.clone()), at: None, from: From::Variable(variable) }
            } else if let Some((name, item)) = pipeline.get_key_value(key.name) {
                let from = From::Line(self.place(name.span().start).0);
                Setting { value: json(item.get_ref()).unwrap_or_default(), at: Some(item.span()), from }
            } else {
                continue;
            };
            part.given.insert(key.name, setting.given(false));
            match settings_of::<JournalSettings>([(key.name, &setting.value)]) {
                Ok(_) => values.push((key.name, setting.value)),
                Err(error) => self.error_of(&setting, &format!("{}: {error}", key.name)),
            }
        }
        if !part.given.is_empty() {
            parts.push(part);
        }
        let settings = settings_of(values.iter().map(|(name, value)| (*name, value)));
        let settings: JournalSettings = settings.expect("each of them could be read");
        settings.validate().unwrap_or_else(|error| {
            self.error(Some(name.span()), &format!("pipeline {}: {error}", name.get_ref()));
            None
        })
    }

    pub(super) fn table<'a, 'text>(&mut self, item: &'a Item<'text>, expected: &str) -> Option<&'a Table<'text>> {
        match item.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.error(Some(item.span()), expected);
                None
            }
        }
    }

    pub(super) fn error_of(&mut self, setting: &Setting, message: &str) {
        match &setting.from {
            From::Line(_) => self.error(setting.at.clone(), message),
            From::Variable(variable) => {
                let error = FileError { source_name: variable.clone(), place: None, message: message.to_owned() };
                self.errors.push((0, error));
            }
        }
    }

    pub(super) fn error(&mut self, at: Option<Range<usize>>, message: &str) {
        let place = at.as_ref().map(|at| self.place(at.start));
        let error = FileError { source_name: self.name.to_owned(), place, message: message.to_owned() };
        self.errors.push((at.map_or(0, |at| at.start), error));
    }

    /// Line and column of a byte.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// A source without settings.
#[derive(Deserialize)]
struct NoSettings {}

/// A source of type `follow` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FollowSettings {
    #[serde(deserialize_with = "globs")]
    files: Vec<String>,
    start: StartKind,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a glob, or a list of them")]
enum Globs {
    One(String),
    Some(Vec<String>),
}

pub(super) fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Globs::deserialize(deserializer)? {
        Globs::One(glob) => Ok(vec![glob]),
        Globs::Some(globs) if globs.is_empty() => Err(de::Error::custom("a glob, or a list of them")),
        Globs::Some(globs) => Ok(globs),
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StartKind {
    #[default]
    Beginning,
    End,
}

impl FollowSettings {
    fn validate(self) -> Result<SourceConfig, String> {
        let files = self.files;
        if files.is_empty() {
            return Err("the source follows no files: add files = [\"/var/log/pixel/*.log\"]".to_owned());
        }
        let start = match self.start {
            StartKind::Beginning => Start::Beginning,
            StartKind::End => Start::End,
        };
        Follow::new(files.clone(), start).map_err(|error| format!("files: {error}"))?;
        Ok(SourceConfig::Follow { files, start })
    }
}

/// The settings with these values.
fn settings_of<'a, T: DeserializeOwned>(
    values: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> Result<T, serde_json::Error> {
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
    serde_json::from_value(Value::Object(values.collect()))
}

/// Where the name of a pipeline stands.
fn place_of(name: &str, pipelines: &Table<'_>) -> Option<Range<usize>> {
    pipelines.keys().find(|found| found.get_ref() == name).map(Spanned::span)
}

/// The same value as JSON has it; `None` for a table.
pub(super) fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.into(),
            Err(_) => Value::String(number.to_string()),
        },
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map_or(Value::Null, Value::from),
        DeValue::Boolean(switch) => Value::Bool(*switch),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(list) => Value::Array(list.iter().map(|item| json(item.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(_) => return None,
    })
}

/// `, did you mean ...?` with the most similar of these names, if one is.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let scored = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(score, _)| *score > 0.8);
    best.map_or_else(String::new, |(_, other)| format!("; did you mean `{other}`?"))
}
