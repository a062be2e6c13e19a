//! From the text of a file to pipelines.
//!
//! Each setting is read by itself, so that an error has the place of its key and all of them are
//! found at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::PathBuf;

use pixel_engine_core::config::{Key, Settings};
use pixel_engine_core::source::{Follow, Start};
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{FileConfig, FileError, FileErrors, From, Given, PipelineConfig, SourceConfig, own_files, with_defaults};

/// What is not a setting.
const PIPELINE: &str = "pipeline";
const SOURCE: &str = "source";
const VARIABLE: &str = "PIXEL_ENGINE_";

type Name<'text> = Spanned<DeString<'text>>;
type Table<'text> = DeTable<'text>;
type Item<'text> = Spanned<DeValue<'text>>;

pub(super) fn read(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<FileConfig, FileErrors> {
    let mut reader = Reader { name, text, errors: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.error(error.span(), error.message());
    }
    let pipelines = if reader.errors.is_empty() { reader.file(document.get_ref(), variables) } else { Vec::new() };
    let mut errors = reader.errors;
    if errors.is_empty() {
        return Ok(FileConfig { pipelines });
    }
    errors.sort_by_key(|(place, _)| *place);
    errors.dedup();
    Err(FileErrors(errors.into_iter().map(|(_, error)| error).collect()))
}

struct Reader<'text> {
    name: &'text str,
    text: &'text str,
    /// With the byte of the file, to put them in order.
    errors: Vec<(usize, FileError)>,
}

/// A setting, where it stands, and what it was called there.
#[derive(Clone)]
struct Setting {
    value: Value,
    at: Option<Range<usize>>,
    from: From,
}

type Set = BTreeMap<Key, Setting>;

impl Reader<'_> {
    fn file(&mut self, document: &Table<'_>, variables: &BTreeMap<String, String>) -> Vec<PipelineConfig> {
        let of_all = self.settings(document, &[PIPELINE]);
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
            set.extend(self.settings(table, &[SOURCE]));
            set.extend(of_variables.clone());
            let sources = self.sources(name, table);
            read.extend(self.pipeline(name, &set, sources, pipelines.len() > 1));
        }
        self.refuse_shared_files(&read, pipelines);
        read
    }

    fn pipeline(
        &mut self,
        name: &Name<'_>,
        set: &Set,
        sources: Vec<SourceConfig>,
        is_one_of_several: bool,
    ) -> Option<PipelineConfig> {
        let settings = settings_of(set.iter().map(|(&key, setting)| (key, &setting.value)));
        let settings = settings.expect("each of them could be read");
        let name_of_all = is_one_of_several.then(|| name.get_ref().as_ref());
        match with_defaults(settings, name_of_all).validate() {
            Ok(config) if config.checkpoint().is_none() && sources.iter().any(SourceConfig::wants_checkpoint) => {
                let message = format!(
                    "pipeline {} follows files: add resume = \"FILE\", which keeps how far they are delivered",
                    name.get_ref()
                );
                self.error(Some(name.span()), &message);
                None
            }
            Ok(config) => {
                let given = |(&key, setting): (&Key, &Setting)| {
                    let value = if key.is_secret() { "***".to_owned() } else { setting.value.to_string() };
                    (key, Given { value, from: setting.from.clone() })
                };
                let given = set.iter().map(given).collect();
                Some(PipelineConfig { name: name.get_ref().to_string(), sources, config, given })
            }
            Err(error) => {
                let message = format!("pipeline {}: {error}", name.get_ref());
                match set.get(&error.key()) {
                    Some(setting) => self.error_of(setting, &message),
                    None => self.error(Some(name.span()), &message),
                }
                None
            }
        }
    }

    /// Two pipelines that write the same file would spoil it.
    fn refuse_shared_files(&mut self, read: &[PipelineConfig], pipelines: &Table<'_>) {
        let mut owners: BTreeMap<PathBuf, (&str, Key)> = BTreeMap::new();
        for PipelineConfig { name, config, .. } in read {
            for (key, path) in own_files(config) {
                match owners.entry(path) {
                    Entry::Vacant(free) => drop(free.insert((name, key))),
                    Entry::Occupied(taken) => {
                        let (other, of) = taken.get();
                        let place = pipelines.keys().find(|found| found.get_ref() == name).map(Spanned::span);
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
            let Some(value) = json(item.get_ref()) else {
                self.error(Some(item.span()), &format!("{key}: a table where a value is expected"));
                continue;
            };
            let from = From::Line(self.place(name.span().start).0);
            self.set(&mut set, key, Setting { value, at: Some(item.span()), from });
        }
        set
    }

    fn variables(&mut self, variables: &BTreeMap<String, String>) -> Set {
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
        match settings_of([(key, &setting.value)]) {
            Ok(_) => drop(set.insert(key, setting)),
            Err(error) => self.error_of(&setting, &format!("{key}: {error}")),
        }
    }

    fn sources(&mut self, name: &Name<'_>, pipeline: &Table<'_>) -> Vec<SourceConfig> {
        let Some(sources) = pipeline.get(SOURCE) else {
            let message = format!("pipeline {0} has no source: add a table [[pipeline.{0}.source]]", name.get_ref());
            self.error(Some(name.span()), &message);
            return Vec::new();
        };
        let tables: Vec<&Item<'_>> = match sources.get_ref() {
            DeValue::Array(tables) => tables.iter().collect(),
            _ => vec![sources],
        };
        tables.into_iter().filter_map(|source| self.source(source)).collect()
    }

    fn source(&mut self, source: &Item<'_>) -> Option<SourceConfig> {
        let table = self.table(source, "a source is a table: type = \"follow\", files = [...]")?;
        let Some(kind) = table.get("type") else {
            self.error(Some(source.span()), "the source has no type: one of follow, stdin");
            return None;
        };
        let keys: &[&str] = match kind.get_ref().as_str() {
            Some("stdin") => &["type"],
            Some("follow") => &["type", "files", "start"],
            _ => {
                self.error(Some(kind.span()), "not a type of source: one of follow, stdin");
                return None;
            }
        };
        for (key, _) in table.iter().filter(|(key, _)| !keys.contains(&key.get_ref().as_ref())) {
            let nearest = nearest(key.get_ref(), keys.iter().copied());
            self.error(Some(key.span()), &format!("unknown key `{}` of a source{nearest}", key.get_ref()));
        }
        if keys.len() == 1 {
            return Some(SourceConfig::Stdin);
        }
        let start = match table.get("start").map(|start| (start, start.get_ref().as_str())) {
            None | Some((_, Some("beginning"))) => Start::Beginning,
            Some((_, Some("end"))) => Start::End,
            Some((start, _)) => {
                self.error(Some(start.span()), "start: one of beginning, end");
                return None;
            }
        };
        let Some(files) = table.get("files") else {
            self.error(Some(source.span()), "the source follows no files: add files = [\"/var/log/pixel/*.log\"]");
            return None;
        };
        let globs = match files.get_ref() {
            DeValue::Array(globs) => globs.iter().map(|glob| glob.get_ref().as_str().map(str::to_owned)).collect(),
            one => one.as_str().map(|glob| vec![glob.to_owned()]),
        };
        let globs: Option<Vec<String>> = globs;
        let Some(globs) = globs.filter(|globs| !globs.is_empty()) else {
            self.error(Some(files.span()), "files: a glob, or a list of them");
            return None;
        };
        if let Err(error) = Follow::new(globs.clone(), start) {
            self.error(Some(files.span()), &format!("files: {error}"));
            return None;
        }
        Some(SourceConfig::Follow { files: globs, start })
    }

    fn table<'a, 'text>(&mut self, item: &'a Item<'text>, expected: &str) -> Option<&'a Table<'text>> {
        match item.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                self.error(Some(item.span()), expected);
                None
            }
        }
    }

    fn error_of(&mut self, setting: &Setting, message: &str) {
        match &setting.from {
            From::Line(_) => self.error(setting.at.clone(), message),
            From::Variable(variable) => {
                let error = FileError { source_name: variable.clone(), place: None, message: message.to_owned() };
                self.errors.push((0, error));
            }
        }
    }

    fn error(&mut self, at: Option<Range<usize>>, message: &str) {
        let place = at.as_ref().map(|at| self.place(at.start));
        let error = FileError { source_name: self.name.to_owned(), place, message: message.to_owned() };
        self.errors.push((at.map_or(0, |at| at.start), error));
    }

    /// Line and column of a byte.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// The settings with these values.
fn settings_of<'a>(values: impl IntoIterator<Item = (Key, &'a Value)>) -> Result<Settings, serde_json::Error> {
    let values = values.into_iter().map(|(key, value)| (key.name().to_owned(), value.clone()));
    serde_json::from_value(Value::Object(values.collect::<Map<_, _>>()))
}

/// The same value as JSON has it; `None` for a table.
fn json(value: &DeValue<'_>) -> Option<Value> {
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
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let scored = names.map(|other| (strsim::jaro_winkler(name, other), other));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(score, _)| *score > 0.8);
    best.map_or_else(String::new, |(_, other)| format!("; did you mean `{other}`?"))
}
