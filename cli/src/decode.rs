//! `pixel-engine decode`.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use base64_simd::STANDARD;
use clap::Args;
use pixel_engine::kpl::{Aggregate, Decoded, PlainReason, decode};
use pixel_engine::source::{BYTE_ORDER_MARK, Input, expand};
use serde_json::Value;

use crate::{Outcome, output};

/// Unpack KPL aggregates into user records, one a line
///
/// Reads PutRecords requests or entries as `ingest --container kpl` writes them, a Lambda event of
/// a Kinesis stream, the output of `aws kinesis get-records`, or one record's raw data. A record
/// that is no aggregate is printed as it is. A damaged aggregate is said on stderr, and what KCL
/// would still deliver of it is printed.
#[derive(Args)]
#[command(after_help = "Example:\n  pixel-engine ingest a.log --to stdout: --container kpl | pixel-engine decode")]
pub(crate) struct Decode {
    /// Files, folders or globs; standard input without any, or for `-`
    #[arg(value_name = "INPUT")]
    inputs: Vec<String>,
}

/// Why decoding ends before its input does.
enum Failure {
    Input(String),
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

struct Decoder<W> {
    out: W,
    source: String,
    records: u64,
    damaged: u64,
}

impl Decode {
    pub(crate) fn run(self) -> Outcome {
        let arguments = if self.inputs.is_empty() { vec!["-".to_owned()] } else { self.inputs };
        let out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
        let mut decoder = Decoder { out, source: String::new(), records: 0, damaged: 0 };
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
            Outcome::Done if failed || decoder.damaged > 0 => Outcome::Failed,
            outcome => outcome,
        }
    }
}

impl<W: Write> Decoder<W> {
    fn input(&mut self, input: &Input) -> Result<(), Failure> {
        self.source = input.name();
        self.records = 0;
        let raw = input.open(Arc::default(), Arc::default()).map_err(|error| Failure::Input(error.to_string()))?;
        let mut bytes = BufReader::with_capacity(256 << 10, raw);
        let first = bytes.fill_buf().map_err(|error| self.unreadable(&error))?;
        let mark_len = if first.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        if first[mark_len..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
            bytes.consume(mark_len);
            for value in serde_json::Deserializer::from_reader(bytes).into_iter::<Value>() {
                self.json(&value.map_err(|error| self.unreadable(&error))?)?;
            }
            return Ok(());
        }
        let mut blob = Vec::new();
        bytes.read_to_end(&mut blob).map_err(|error| self.unreadable(&error))?;
        if blob.is_empty() { Ok(()) } else { self.record(&blob) }
    }

    fn unreadable(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Input(format!("{}: after {} records: {error}", self.source, self.records))
    }

    /// A request or reply with `Records`, a Lambda event, or a single entry.
    fn json(&mut self, value: &Value) -> Result<(), Failure> {
        let entries = match value.get("Records") {
            Some(Value::Array(entries)) => entries.as_slice(),
            _ => std::slice::from_ref(value),
        };
        for entry in entries {
            let text = entry.get("Data").or_else(|| entry.get("kinesis")?.get("data")).and_then(Value::as_str);
            let what = "expected Data (Kinesis API) or kinesis.data (Lambda event)";
            let text = text.ok_or_else(|| self.unreadable(&what))?;
            let data = STANDARD.decode_to_vec(text).map_err(|error| self.unreadable(&format!("base64: {error}")))?;
            self.record(&data)?;
        }
        Ok(())
    }

    fn record(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.records += 1;
        match decode(data) {
            Decoded::Aggregate(aggregate) => self.user_records(&aggregate)?,
            Decoded::Plain(PlainReason::NoMagic) => self.line(data)?,
            Decoded::Plain(reason) => {
                self.damage(&format!("{reason}; KCL would pass the {} bytes on as they are", data.len()))
            }
            Decoded::Partial { aggregate, error } => {
                self.user_records(&aggregate)?;
                self.damage(&format!("{error}; KCL would lose the user records from there on"));
            }
        }
        Ok(())
    }

    fn damage(&mut self, what: &str) {
        self.damaged += 1;
        eprintln!("pixel-engine: {}: record {}: {what}", self.source, self.records);
    }

    fn user_records(&mut self, aggregate: &Aggregate<'_>) -> io::Result<()> {
        aggregate.records().try_for_each(|record| self.line(record.data))
    }

    fn line(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)?;
        if data.ends_with(b"\n") { Ok(()) } else { self.out.write_all(b"\n") }
    }
}
