//! `pixel-engine decode`.

mod documents;
mod shapes;

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use clap::Args;
use pixel_engine::kpl::{Decoded, PlainReason, decode};
use pixel_engine::source::{BYTE_ORDER_MARK, Input, expand};
use serde_json::Value;

use crate::{Outcome, output};
use documents::{Document, Documents};
use shapes::{Entry, NO_DATA};

/// Aggregates inside aggregates are unpacked that deep. One is a producer's mistake; this many are
/// an attack.
const MAX_DEPTH: usize = 16;

/// Unpack KPL aggregates into user records, one a line
///
/// Takes records in the shapes in which AWS hands them out and takes them: requests (`ingest
/// --container kpl`) and their entries; the output of `aws kinesis get-records`, as JSON or text
/// and with any --query that keeps the data; events of Lambda, EventBridge Pipes, and Firehose and
/// Kinesis Analytics transformations; one record's raw data. A record that is no aggregate is
/// printed as it is.
///
/// What cannot be decoded is reported on stderr with the number of its record, and the others are
/// still printed. Of a damaged aggregate, what KCL would still deliver is printed.
#[derive(Args)]
#[command(after_help = "Examples:
  pixel-engine ingest a.log --to stdout: --container kpl | pixel-engine decode
  aws kinesis get-records --shard-iterator $it --query 'Records[].Data' | pixel-engine decode")]
pub(crate) struct Decode {
    /// Files, folders or globs; standard input without any, or for `-`
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,
}

/// Why decoding ends before its input does.
#[derive(Debug)]
enum Failure {
    Input(String),
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

struct Decoder<O, E> {
    out: O,
    errors: E,
    source: String,
    /// Records of this source so far.
    records: u64,
    /// What could not be decoded, in all sources.
    bad: u64,
    /// Whether an aggregate inside this record was reported.
    is_nested: bool,
}

impl Decode {
    pub(crate) fn run(self) -> Outcome {
        let arguments = if self.inputs.is_empty() { vec!["-".to_owned()] } else { self.inputs };
        let mut decoder = Decoder::new(BufWriter::with_capacity(256 << 10, io::stdout().lock()), io::stderr());
        let mut failed = false;
        for argument in arguments {
            let result = expand(&argument)
                .map_err(|error| Failure::Input(error.to_string()))
                .and_then(|inputs| inputs.iter().try_for_each(|input| decoder.input(input)));
            match result {
                Ok(()) => {}
                Err(Failure::Input(message)) => {
                    eprintln!("pixel-engine: {message}");
                    failed = true;
                }
                Err(Failure::Output(error)) => return output::finish(Err(error)),
            }
        }
        match output::finish(decoder.out.flush()) {
            Outcome::Done if failed || decoder.bad > 0 => Outcome::Failed,
            outcome => outcome,
        }
    }
}

impl<O: Write, E: Write> Decoder<O, E> {
    fn new(out: O, errors: E) -> Decoder<O, E> {
        Decoder { out, errors, source: String::new(), records: 0, bad: 0, is_nested: false }
    }

    fn input(&mut self, input: &Input) -> Result<(), Failure> {
        let raw = input.open(Arc::default(), Arc::default()).map_err(|error| Failure::Input(error.to_string()))?;
        self.read(input.name(), BufReader::with_capacity(256 << 10, raw))
    }

    fn read(&mut self, source: String, mut bytes: impl BufRead) -> Result<(), Failure> {
        (self.source, self.records) = (source, 0);
        let first = bytes.fill_buf().map_err(|error| self.unreadable(&error))?;
        // In front of anything but JSON, it is data.
        if let Some(text) = first.strip_prefix(BYTE_ORDER_MARK)
            && matches!(text.trim_ascii_start(), [b'{' | b'[' | b'"', ..])
        {
            bytes.consume(BYTE_ORDER_MARK.len());
        }
        // Lines in front that say nothing yet: blank ones, and what the AWS CLI writes for a query
        // without a result. A record may begin with a number as well.
        let mut start = Vec::new();
        let is_json = loop {
            let line = start.len();
            let len = bytes.read_until(b'\n', &mut start).map_err(|error| self.unreadable(&error))?;
            let line = start[line..].trim_ascii();
            if len == 0 || !(line.is_empty() || is_scalar(line)) {
                break len == 0 || matches!(line, [b'{' | b'[' | b'"', ..]);
            }
        };
        let mut bytes = io::Cursor::new(start).chain(bytes);
        if is_json {
            let mut documents = Documents::new(bytes);
            while let Some(document) = documents.next().map_err(|error| self.unreadable(&error))? {
                self.document(&document)?;
            }
            return Ok(());
        }
        let mut data = Vec::new();
        bytes.read_to_end(&mut data).map_err(|error| self.unreadable(&error))?;
        match std::str::from_utf8(&data).ok().and_then(shapes::of_text) {
            Some(entries) => entries.into_iter().try_for_each(|entry| self.entry(entry)),
            None => self.record(&data),
        }
    }

    fn unreadable(&self, error: &dyn Display) -> Failure {
        Failure::Input(format!("{}: after {} records: {error}", self.source, self.records))
    }

    fn document(&mut self, document: &Document) -> Result<(), Failure> {
        match serde_json::from_slice::<Value>(&document.bytes) {
            Ok(value) => match shapes::of_json(&value) {
                Some(entries) => entries.into_iter().try_for_each(|entry| self.entry(entry)),
                None => self.record(&document.bytes),
            },
            Err(error) => self.damaged(document, &document.explain(&error)),
        }
    }

    /// The records that are whole in a document that is not.
    fn damaged(&mut self, document: &Document, what: &str) -> Result<(), Failure> {
        let mut is_reported = false;
        if let Some(mut elements) = document.elements() {
            while let Some(element) = elements.next().map_err(|error| self.unreadable(&error))? {
                if element.bytes.starts_with(b"]") {
                    break;
                }
                match serde_json::from_slice::<Value>(&element.bytes) {
                    Ok(value) => {
                        let entries = shapes::of_json(&value).unwrap_or_else(|| vec![Err(NO_DATA.into())]);
                        entries.into_iter().try_for_each(|entry| self.entry(entry))?;
                    }
                    Err(error) => {
                        self.entry(Err(element.explain(&error).into()))?;
                        is_reported = true;
                    }
                }
            }
        }
        if is_reported { Ok(()) } else { self.entry(Err(what.to_owned().into())) }
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), Failure> {
        match entry.map_err(|what| what.into_owned()).and_then(shapes::data) {
            Ok(data) => self.record(&data),
            Err(what) => {
                self.records += 1;
                self.bad(&what);
                Ok(())
            }
        }
    }

    fn record(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.records += 1;
        self.is_nested = false;
        Ok(self.unpack(data, 0)?)
    }

    /// Prints a record, or a user record of an aggregate in so many others.
    fn unpack(&mut self, data: &[u8], depth: usize) -> io::Result<()> {
        let (aggregate, error) = match decode(data) {
            Decoded::Plain(PlainReason::NoMagic) => return self.line(data),
            Decoded::Plain(reason) => {
                self.bad(&format!("{reason}; KCL would pass the {} bytes on as they are", data.len()));
                return Ok(());
            }
            Decoded::Aggregate(aggregate) => (aggregate, None),
            Decoded::Partial { aggregate, error } => (aggregate, Some(error)),
        };
        if depth == MAX_DEPTH {
            self.bad(&format!("aggregates inside aggregates, more than {MAX_DEPTH} deep: those are left out"));
            return Ok(());
        }
        if depth > 0 && !self.is_nested {
            self.is_nested = true;
            self.say("an aggregate inside an aggregate, unpacked here; KCL would pass it on as it is");
        }
        for record in aggregate.records() {
            self.unpack(record.data, depth + 1)?;
        }
        if let Some(error) = error {
            self.bad(&format!("{error}; KCL would lose the user records from there on"));
        }
        Ok(())
    }

    fn bad(&mut self, what: &str) {
        self.bad += 1;
        self.say(what);
    }

    fn say(&mut self, what: &str) {
        // There is nobody to tell that stderr is gone.
        let _ = writeln!(self.errors, "pixel-engine: {}: record {}: {what}", self.source, self.records);
    }

    fn line(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)?;
        if data.ends_with(b"\n") { Ok(()) } else { self.out.write_all(b"\n") }
    }
}

/// Whether it is a JSON number, a truth value or null.
fn is_scalar(line: &[u8]) -> bool {
    matches!(serde_json::from_slice(line), Ok(Value::Null | Value::Bool(_) | Value::Number(_)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is printed, what is said, and how much could not be decoded.
    fn decoded(input: &[u8]) -> (Vec<u8>, String, u64) {
        let mut decoder = Decoder::new(Vec::new(), Vec::new());
        decoder.read("it".to_owned(), input).expect("bytes can be read and written");
        (decoder.out, String::from_utf8(decoder.errors).expect("text"), decoder.bad)
    }

    /// Base64 that only this test writes: of a text, of an aggregate or not, whole or damaged.
    fn any_base64() -> impl Strategy<Value = String> {
        let data = prop_oneof![
            "undecoded [a-z]{3,20}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 12..40),
            prop::collection::vec(any::<u8>(), 12..40).prop_map(|data| [&pixel_engine::kpl::MAGIC[..], &data].concat()),
        ];
        (data, any::<bool>()).prop_map(|(data, is_damaged)| {
            base64_simd::STANDARD.encode_to_string(data) + if is_damaged { "!" } else { "" }
        })
    }

    /// JSON with the names that records go by, in all places.
    fn any_json() -> impl Strategy<Value = Value> {
        let names = ["Records", "records", "Record", "kinesis", "data", "recordId", "partitionKey", "result", "x"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z ]{0,5}".prop_map(Value::from),
            any_base64().prop_map(|base64| serde_json::json!({"Data": base64, "PartitionKey": "8000"})),
        ];
        leaf.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..4).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    /// The strings under `Data` that are base64.
    fn data_in(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| data_in(element, found)),
            Value::Object(object) => {
                let text = object.get("Data").and_then(Value::as_str);
                found.extend(text.filter(|text| !text.ends_with('!')).map(str::to_owned));
                object.values().for_each(|value| data_in(value, found));
            }
            _ => {}
        }
    }

    proptest! {
        /// Base64 that was given as data is decoded or reported, and never printed as it is.
        #[test]
        fn undecoded_data_is_never_printed(
            values in prop::collection::vec((any_json(), any::<bool>()), 1..4),
            cut in any::<prop::sample::Index>(),
            is_cut in any::<bool>(),
        ) {
            let mut text = String::new();
            let mut data = Vec::new();
            for (value, is_pretty) in &values {
                data_in(value, &mut data);
                text += &if *is_pretty { format!("{value:#}\n") } else { format!("{value}\n") };
            }
            if is_cut {
                let cut = cut.index(text.len());
                text.remove(cut);
            }
            let (printed, said, bad) = decoded(text.as_bytes());
            let printed = String::from_utf8_lossy(&printed);
            for base64 in data.iter().filter(|_| !is_cut) {
                prop_assert!(!printed.contains(base64.as_str()), "{} in {}", base64, printed);
            }
            prop_assert!(bad as usize <= said.lines().count());
        }

        #[test]
        fn any_bytes_are_survived(start in "[\\[{\"\\]}:,\\\\ \n\t]{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            decoded(&[start.as_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn aggregates_are_unpacked_only_so_deep() {
        let key = pixel_engine::kpl::PartitionKey::of_hash_key(0);
        let wrapped = |data: Vec<u8>| {
            let mut aggregate = Vec::new();
            pixel_engine::kpl::write_aggregate(&mut aggregate, &key, [&data[..], b"beside"].into_iter());
            pixel_engine::kpl::seal(&mut [&mut aggregate[..]]);
            aggregate
        };
        let nested = |depth: usize| (0..depth).fold(b"innermost".to_vec(), |data, _| wrapped(data));
        let (printed, said, bad) = decoded(&nested(MAX_DEPTH));
        assert_eq!((bad, said.lines().count()), (0, 1), "{said}");
        assert!(printed.starts_with(b"innermost\nbeside\n"));
        let (printed, said, bad) = decoded(&nested(MAX_DEPTH + 1));
        assert_eq!(bad, 1);
        assert!(
            said.contains("more than 16 deep") && !String::from_utf8_lossy(&printed).contains("innermost"),
            "{said}"
        );
    }
}
