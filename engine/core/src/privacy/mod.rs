//! What becomes of personal data: addresses are cut to their network, values are hashed, dropped
//! or replaced.
//!
//! A line is treated where it is encoded, after the matcher and before anything else sees it: what
//! is shipped, spooled, partitioned by, observed or kept in the quarantine is the treated line. A
//! line that cannot be read cannot be treated, and its content goes nowhere.
//!
//! `hash` has the hash functions, `address` the networks; `text` treats text that is stored before
//! a run reads it, and `id` says which treatment that was.

mod address;
mod hash;
mod id;
mod text;

use pixel_engine_log::field::Field;
use pixel_engine_log::json_line::rewrite;
use pixel_engine_log::line::Line;
use pixel_engine_log::percent;
use pixel_engine_log::query::{self, Parameter, Query, QueryEncoding};
use pixel_engine_log::schema::{Column, Schema};
use pixel_engine_log::select::Selector;

pub(crate) use hash::KeyedHash;
pub use id::TreatmentId;
pub use text::Privacy;

use crate::quarantine::Reason;

/// What becomes of which values of a line.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Treatment {
    /// Whether addresses are cut to their network.
    pub(crate) mask_ip: bool,
    /// What becomes of a value. Where two name the same column, the first counts.
    pub(crate) actions: Vec<(Selector, Action)>,
}

/// What becomes of a value that is there.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// It is absent from then on.
    Drop,
    /// Another one stands in its place.
    Replace(Box<[u8]>),
    /// Its hash stands in its place.
    Hash(KeyedHash),
}

/// A line after its treatment.
pub(crate) struct Treated<'a> {
    /// Its columns.
    pub(crate) line: Line<'a>,
    /// The line as it is shipped where nothing else is made of it.
    pub(crate) text: &'a [u8],
}

/// Treats one line after the other, with buffers that are used again.
pub(crate) struct Treater<'rules> {
    rules: Rules<'rules>,
    /// The schema that `steps` are for.
    schema: Option<u64>,
    /// What to do with each of its columns.
    steps: Vec<Step<'rules>>,
    values: Vec<u8>,
    ends: Vec<u32>,
    json: Vec<u8>,
}

/// The actions, by what they are for.
struct Rules<'rules> {
    all: &'rules Treatment,
    path: Option<&'rules Action>,
    query: Option<&'rules Action>,
    parameters: Vec<(&'rules [u8], &'rules Action)>,
}

/// What to do with a column.
#[derive(Clone, Copy)]
enum Step<'rules> {
    Keep,
    /// Of an address, the one form of it is hashed.
    Whole {
        is_address: bool,
        action: &'rules Action,
    },
    Address,
    Addresses,
    Query,
    /// A path, in real-time logs with the query behind it.
    Stem,
}

impl<'rules> Treater<'rules> {
    pub(crate) fn new(treatment: &'rules Treatment) -> Treater<'rules> {
        let (mut path, mut query, mut parameters) = (None, None, Vec::new());
        for (selector, action) in &treatment.actions {
            match selector {
                Selector::UriPath => path = Some(action),
                Selector::Field(Field::CsUriQuery) => query = Some(action),
                Selector::Query(name) => parameters.push((name.as_bytes(), action)),
                _ => {}
            }
        }
        Treater {
            rules: Rules { all: treatment, path, query, parameters },
            schema: None,
            steps: Vec::new(),
            values: Vec::new(),
            ends: Vec::new(),
            json: Vec::new(),
        }
    }

    /// The line after its treatment; `json` is its text where it is an object.
    pub(crate) fn treat<'a>(&'a mut self, line: &Line<'a>, json: Option<&[u8]>) -> Result<Treated<'a>, Reason> {
        let Treater { rules, schema, steps, values, ends, json: out } = self;
        if schema.replace(line.schema().id()) != Some(line.schema().id()) {
            *steps = rules.steps(line.schema());
        }
        values.clear();
        ends.clear();
        for (text, &step) in line.columns().zip(&*steps) {
            if matches!(text, b"" | b"-") {
                values.extend_from_slice(text);
            } else {
                rules.append(step, text, line.query_encoding(), values);
            }
            ends.push(values.len() as u32);
            values.push(b'\t');
        }
        if let Some(last) = values.last_mut() {
            *last = b'\n';
        }
        let treated = Line::new(values, 0, ends, line.schema()).with_query_encoding(line.query_encoding());
        let text = match json {
            None => treated.raw(),
            Some(json) => {
                out.clear();
                let other = |index| Some(treated.column(index)).filter(|value| *value != line.column(index));
                rewrite(json, other, out).map_err(Reason::Json)?;
                out
            }
        };
        Ok(Treated { line: treated, text })
    }
}

impl<'rules> Rules<'rules> {
    fn steps(&self, schema: &Schema) -> Vec<Step<'rules>> {
        let step = |(index, column): (usize, &Column)| {
            let mut named = self.all.actions.iter().filter(|(selector, _)| selector.column(schema) == Some(index));
            match (named.next(), column) {
                (Some((_, action)), column) => {
                    let is_address = matches!(column, Column::Known(Field::CIp | Field::SIp));
                    Step::Whole { is_address, action }
                }
                (None, Column::Known(Field::CIp)) if self.all.mask_ip => Step::Address,
                (None, Column::Known(Field::XForwardedFor)) if self.all.mask_ip => Step::Addresses,
                (None, Column::Known(Field::CsUriQuery)) => Step::Query,
                (None, Column::Known(Field::CsUriStem)) => Step::Stem,
                _ => Step::Keep,
            }
        };
        schema.columns().iter().enumerate().map(step).collect()
    }

    /// Appends what becomes of a value that is there.
    fn append(&self, step: Step<'_>, text: &[u8], encoding: QueryEncoding, out: &mut Vec<u8>) {
        let before = out.len();
        match step {
            Step::Keep => out.extend_from_slice(text),
            Step::Whole { is_address: true, action: Action::Hash(hash) } => match address::parse(text) {
                Some(address) => hash.append(address.to_string().as_bytes(), out),
                None => hash.append(&percent::decode(text), out),
            },
            Step::Whole { action, .. } => action.append(text, out),
            Step::Address => address::append_masked(text, out),
            Step::Addresses => address::append_all_masked(&percent::decode(text), out),
            Step::Query => self.append_query(text, encoding, out),
            Step::Stem => {
                let (path, query) = text.split_at(memchr::memchr(b'?', text).unwrap_or(text.len()));
                match self.path {
                    Some(action) if !path.is_empty() => action.append(path, out),
                    _ => out.extend_from_slice(path),
                }
                if let [b'?', query @ ..] = query {
                    let path_end = out.len();
                    out.push(b'?');
                    match self.query {
                        Some(action) if !query.is_empty() => action.append(query, out),
                        _ => self.append_query(query, encoding, out),
                    }
                    if out.len() == path_end + 1 && !query.is_empty() {
                        out.pop();
                    }
                }
            }
        }
        // What nothing is left of is absent.
        if out.len() == before {
            out.push(b'-');
        }
    }

    /// Appends the query with what becomes of its parameters.
    fn append_query(&self, text: &[u8], encoding: QueryEncoding, out: &mut Vec<u8>) {
        let mut is_first = true;
        for pair in text.split(|&byte| byte == b'&') {
            let parameter = Query::with_encoding(pair, encoding).next();
            let action = parameter.and_then(|parameter| self.action_for(&parameter));
            if let Some(Action::Drop) = action {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.push(b'&');
            }
            match (parameter.filter(|parameter| parameter.value.is_some_and(|value| !value.is_empty())), action) {
                (Some(parameter), Some(action)) => {
                    out.extend_from_slice(parameter.name);
                    out.push(b'=');
                    match action {
                        Action::Drop => {}
                        Action::Replace(value) => query::encode_into(value, encoding, out),
                        Action::Hash(hash) => hash.append(&parameter.value_decoded().unwrap_or_default(), out),
                    }
                }
                _ => out.extend_from_slice(pair),
            }
        }
    }

    /// What becomes of the parameter. Its name counts in either encoding: it must not get through
    /// because the setting is wrong.
    fn action_for(&self, parameter: &Parameter<'_>) -> Option<&'rules Action> {
        let twice = Query::new(parameter.name).next();
        let is_named = |name| parameter.is_named(name) || twice.is_some_and(|twice| twice.is_named(name));
        self.parameters.iter().find(|(name, _)| is_named(name)).map(|(_, action)| *action)
    }
}

impl Action {
    /// Appends what becomes of a text that is encoded once; nothing when it is dropped.
    fn append(&self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Action::Drop => {}
            Action::Replace(value) => percent::encode_into(value, out),
            Action::Hash(hash) => hash.append(&percent::decode(text), out),
        }
    }
}

#[cfg(test)]
mod tests;
