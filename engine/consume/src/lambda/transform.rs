//! Firehose's data transformation: log lines in, JSON lines out.
//!
//! ```text
//! event ─► records ─► block ─► the rules of a run: check, treat, encode ─► reply
//! ```
//! Lines become what they become in any run, by the same [`Rules`]. Records are gathered in blocks,
//! since most hold a single line; each line is told again by where it begins.
//!
//! Each record is answered once, and as a whole, as Firehose has no other unit:
//!
//! | its lines | answer | what Firehose does |
//! |---|---|---|
//! | are good, or filtered out in part | `Ok` and what they became | delivers it |
//! | are filtered out, or there are none | `Dropped` | nothing |
//! | are bad, one of them at least | `ProcessingFailed` and the data as it came | keeps it under the error prefix |
//!
//! A record with good and bad lines fails as a whole: if the good ones were delivered, a second
//! try of the record from the error prefix would deliver them twice.

use std::sync::Arc;
use std::time::Instant;

use base64_simd::STANDARD;
use pixel_engine_core::ack::Acknowledgements;
use pixel_engine_core::block::{BLOCK_SIZE, Block, BufferPool, Origin};
use pixel_engine_core::config::{EncodingKind, Key, OnBadLine};
use pixel_engine_core::encode::{Encoded, Rules, Scratch};
use pixel_engine_core::limits::lambda::MAX_REPLY_SIZE;
use pixel_engine_core::observe::{Observe, Observed};
use pixel_engine_core::source::Format;
use pixel_engine_kpl::MAGIC;
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::Schema;

use super::partition_keys::{KeysOfLines, PartitionKeys};
use super::runtime::{Handler, HandlerError, Invocation};
use super::transformation_event::{Incoming, Reply, records};
use crate::settings::{Accepted, OF_LINES, VariableErrors, read};

const PARTITION_KEYS: &str = "partition_keys";

/// What the function can be told. Records are Firehose's, and so is where they go: what is about
/// either has no use here. Neither has a window of duplicates: when a reply is lost, Firehose sends
/// the same records again, and they must not count as duplicates then.
pub const ACCEPTED: Accepted = Accepted { command: "transform", keys: &[OF_LINES], others: &[PARTITION_KEYS] };

/// The function.
pub struct Transform {
    rules: Rules,
    scratch: Scratch,
    format: Format,
    standard_schema: Option<Arc<Schema>>,
    query_encoding: QueryEncoding,
    partition_keys: Option<Arc<Observed<PartitionKeys>>>,
    skips_bad_lines: bool,
    origin: Arc<Origin>,
    max_reply_size: usize,
}

impl Transform {
    /// The function that is told so by variables.
    ///
    /// # Errors
    /// Variables that do not exist, or have no use here; values that cannot be read, or do not go
    /// together.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Transform, VariableErrors> {
        let mut told = read(ACCEPTED, variables)?;
        told.settings.encode.get_or_insert(EncodingKind::Jsonl);
        let config = told.settings.validate()?;
        let refused = |key: Key, message: &str| VariableErrors::of(key.name(), message);
        if config.on_bad_line() == OnBadLine::Fail {
            let message = "not `fail`, which would fail every record of the event: Firehose keeps those with bad lines";
            return Err(refused(Key::OnBadLine, message));
        }
        let Some(query_encoding) = config.query_encoding().known() else {
            let message = "not `auto`, as the lines of an event may be too few to show it: once or twice";
            return Err(refused(Key::QueryEncoding, message));
        };
        let keys = told.others.get(PARTITION_KEYS).map(|list| list.parse::<PartitionKeys>());
        let keys = keys.transpose().map_err(|error| VariableErrors::of(PARTITION_KEYS, error))?;
        let partition_keys = keys.map(|keys| Arc::new(Observed::new(keys)));
        let observers = partition_keys.iter().map(|keys| Arc::clone(keys) as Arc<dyn Observe>).collect();
        // One buffer comes in while the other goes out.
        let rules = Rules::new(&config, observers, BufferPool::new(2));
        Ok(Transform {
            // A line is as long as it is: its record is not made here.
            rules: Rules { max_line_len: usize::MAX, ..rules },
            scratch: Scratch::default(),
            format: config.format(),
            standard_schema: config.standard_schema().cloned(),
            query_encoding,
            partition_keys,
            skips_bad_lines: config.on_bad_line() == OnBadLine::Skip,
            origin: Arc::new(Origin::new(0, "event")),
            max_reply_size: MAX_REPLY_SIZE,
        })
    }

    /// The reply to an event.
    ///
    /// # Errors
    /// It is not an event of Firehose's data transformation.
    pub fn transform(&mut self, event: &[u8]) -> Result<Vec<u8>, HandlerError> {
        let records = records(event)?;
        let mut answers = Answers { reply: Reply::new(&records, self.max_reply_size), failures: Failures::default() };
        let mut gathered = Gathered { bytes: self.rules.pool.take_empty(), format: None, records: Vec::new() };
        for record in &records {
            let start = gathered.bytes.len();
            let format = match self.append(record, &mut gathered.bytes) {
                Ok(format) => format,
                Err(reason) => {
                    gathered.records.push((record, Part::Failed(reason)));
                    continue;
                }
            };
            if start > 0 && (gathered.bytes.len() > BLOCK_SIZE || !gathered.goes_with(format)) {
                let record_bytes = gathered.bytes.split_off(start);
                self.answer(&mut gathered, &mut answers);
                gathered.bytes.extend_from_slice(&record_bytes);
            }
            gathered.format = gathered.format.or(format);
            gathered.records.push((record, Part::Lines { end: gathered.bytes.len() }));
        }
        self.answer(&mut gathered, &mut answers);
        self.rules.pool.give(gathered.bytes);
        answers.failures.tell(records.len());
        Ok(answers.reply.finish())
    }

    /// Appends the lines of the record, each with its newline, and tells their format. `None` when
    /// there are none.
    fn append(&self, record: &Incoming<'_>, bytes: &mut Vec<u8>) -> Result<Option<Format>, Failure> {
        let start = bytes.len();
        if record.data().is_none_or(|data| STANDARD.decode_append(data, bytes).is_err()) {
            bytes.truncate(start);
            return Err(Failure::Base64);
        }
        if bytes[start..].starts_with(&MAGIC) {
            bytes.truncate(start);
            return Err(Failure::Aggregate);
        }
        if bytes.len() > start && bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        Ok(Format::of(&bytes[start..]).map(|found| if self.format == Format::Auto { found } else { self.format }))
    }

    /// Answers the records that were gathered, in their order, and forgets them.
    fn answer(&mut self, gathered: &mut Gathered<'_, '_>, answers: &mut Answers) {
        let bytes = std::mem::replace(&mut gathered.bytes, self.rules.pool.take_empty());
        let encoded = self.encode(bytes, gathered.format.take());
        let keys = self.partition_keys.as_ref().map(|keys| keys.take());
        let Encoded { block, bad_lines, .. } = &encoded;
        let (failing, skipped) = if self.skips_bad_lines { bad_lines.split_at(0) } else { (&bad_lines[..], &[][..]) };
        answers.failures.skipped += skipped.len();
        let mut bad_lines = failing.iter().peekable();
        let (mut line, mut start) = (0, 0);
        for (record, part) in gathered.records.drain(..) {
            let end = match part {
                Part::Failed(reason) => {
                    answers.fail(record, || reason.to_string());
                    continue;
                }
                Part::Lines { end } => end,
            };
            let first = line;
            while line < block.line_count() && block.source_start(line) < end {
                line += 1;
            }
            let mut bad = None;
            while let Some(next) = bad_lines.next_if(|bad| (bad.offset as usize) < end) {
                bad = bad.or(Some(next));
            }
            let lines = first..line;
            if let Some(bad) = bad {
                answers.fail(record, || format!("at byte {}: {}", bad.offset as usize - start, bad.reason));
            } else if lines.is_empty() {
                answers.reply.dropped(record);
            } else {
                match keys.as_ref().map(|keys| keys_of(keys, lines.clone())).transpose() {
                    Err(reason) => answers.fail(record, || reason.to_string()),
                    Ok(keys) => {
                        let has_room = answers.reply.ok(record, block.lines(lines), keys);
                        answers.failures.too_large += usize::from(!has_room);
                    }
                }
            }
            start = end;
        }
    }

    /// What becomes of lines.
    fn encode(&mut self, bytes: Vec<u8>, format: Option<Format>) -> Encoded {
        let source_bytes = bytes.len() as u64;
        let block = Block {
            bytes,
            origin: Arc::clone(&self.origin),
            offset: 0,
            source_bytes,
            read_at: Instant::now(),
            layout: format.unwrap_or_default().layout(self.standard_schema.clone()),
            query_encoding: self.query_encoding,
            is_treated: false,
            cut: None,
            // What is safe is for Firehose to know.
            token: Acknowledgements::default().token(0, 0..source_bytes),
        };
        self.rules.encode(block, &mut self.scratch)
    }
}

impl Handler for Transform {
    async fn handle(&mut self, invocation: &mut Invocation) -> Result<Vec<u8>, HandlerError> {
        self.transform(&invocation.event)
    }
}

/// Records that are next to be answered, and their lines.
struct Gathered<'records, 'event> {
    bytes: Vec<u8>,
    /// That of all of the lines; `None` while there are none.
    format: Option<Format>,
    records: Vec<(&'records Incoming<'event>, Part)>,
}

impl Gathered<'_, '_> {
    /// Whether lines of that format can be told in the same block. A header holds for all that
    /// follows, so each record of standard logs has a block of its own.
    fn goes_with(&self, format: Option<Format>) -> bool {
        let both = self.format.is_none() || format.is_none() || self.format == format;
        both && self.format != Some(Format::Standard)
    }
}

/// What there is of a record in the block.
enum Part {
    /// The bytes up to there.
    Lines { end: usize },
    /// None.
    Failed(Failure),
}

/// Why a record fails, beside bad lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("its data is no base64")]
    Base64,
    #[error("it is an aggregate of the KPL, which Firehose takes apart only when it reads from a Kinesis stream")]
    Aggregate,
    #[error(
        "its lines have different partition keys, and a record can have only one of each: have Firehose take records \
         apart at newlines (RecordDeAggregation, DELIMITED) before the transformation"
    )]
    Keys,
    #[error("a partition key is too long for the prefix of an object")]
    LongKey,
}

/// The keys of a record with these lines.
fn keys_of(keys: &KeysOfLines, mut lines: std::ops::Range<usize>) -> Result<&str, Failure> {
    if lines.clone().any(|line| keys.is_too_long(line)) {
        return Err(Failure::LongKey);
    }
    let first = keys.of(lines.start);
    if lines.any(|line| keys.of(line) != first) { Err(Failure::Keys) } else { Ok(first) }
}

/// The reply, and what failed.
struct Answers {
    reply: Reply,
    failures: Failures,
}

impl Answers {
    fn fail(&mut self, record: &Incoming<'_>, reason: impl FnOnce() -> String) {
        self.reply.failed(record);
        self.failures.count += 1;
        self.failures.first.get_or_insert_with(|| format!("record {}: {}", record.record_id, reason()));
    }
}

/// Said once an event, and not once a record: a stream of bad lines would fill the log.
#[derive(Default)]
struct Failures {
    count: usize,
    first: Option<String>,
    too_large: usize,
    /// Bad lines that were left out.
    skipped: usize,
}

impl Failures {
    fn tell(&self, records: usize) {
        if let Some(first) = &self.first {
            tracing::warn!(
                "{} of {records} records go to Firehose's error prefix as they came; the first is {first}",
                self.count
            );
        }
        if self.skipped > 0 {
            tracing::warn!("{} bad lines are left out, as PIXEL_ENGINE_ON_BAD_LINE=skip says", self.skipped);
        }
        if self.too_large > 0 {
            tracing::warn!(
                "{} of {records} records go to Firehose's error prefix as they came, because the reply would exceed \
                 the 6 MiB that Lambda allows: set BufferSizeInMBs of the Lambda processor to a smaller number, such \
                 as 1",
                self.too_large
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn function(variables: &[(&str, &str)]) -> Transform {
        let variables = variables.iter().map(|(name, value)| (format!("PIXEL_ENGINE_{name}"), (*value).to_owned()));
        Transform::from_variables(variables).unwrap_or_else(|error| panic!("{error}"))
    }

    fn event<T: AsRef<[u8]>>(records: &[T]) -> Vec<u8> {
        let record = |(number, data): (usize, &T)| {
            let id = format!("4954698668\"{number}");
            json!({ "recordId": id, "approximateArrivalTimestamp": 1510772160000_u64, "data": STANDARD.encode_to_string(data) })
        };
        let records: Vec<Value> = records.iter().enumerate().map(record).collect();
        let event =
            json!({ "invocationId": "i", "deliveryStreamArn": "arn", "region": "r", "records": records, "new": {} });
        event.to_string().into_bytes()
    }

    /// Of each record its result, its data and its partition keys.
    fn answers(reply: &[u8], count: usize) -> Vec<(String, Vec<u8>, Option<Value>)> {
        let reply: Value = serde_json::from_slice(reply).expect("the reply is JSON");
        let records = reply["records"].as_array().expect("records");
        let ids: Vec<&str> = records.iter().map(|record| record["recordId"].as_str().expect("an id")).collect();
        assert_eq!(ids, (0..count).map(|number| format!("4954698668\"{number}")).collect::<Vec<_>>());
        let answer = |record: &Value| {
            let data = record["data"].as_str().expect("there is data, as Firehose wants it");
            let keys = record.get("metadata").map(|metadata| metadata["partitionKeys"].clone());
            let result = record["result"].as_str().expect("a result").to_owned();
            (result, STANDARD.decode_to_vec(data).expect("base64"), keys)
        };
        records.iter().map(answer).collect()
    }

    fn transformed<T: AsRef<[u8]>>(function: &mut Transform, records: &[T]) -> Vec<(String, Vec<u8>, Option<Value>)> {
        let reply = function.transform(&event(records)).unwrap_or_else(|error| panic!("{error}"));
        answers(&reply, records.len())
    }

    const GOOD: &str = "1767571200.068\t203.0.113.9\tcurl/8.0\te=pv&c=a";
    const GOOD_JSON: &str = "{\"timestamp\":1767571200.068,\"c_ip\":\"203.0.113.9\",\"cs_user_agent\":\"curl/8.0\",\
                             \"cs_uri_query\":\"e=pv&c=a\",\"query\":{\"e\":\"pv\",\"c\":\"a\"}}\n";

    #[test]
    fn lines_become_json_with_or_without_a_newline() {
        let records =
            [GOOD.to_owned(), format!("{GOOD}\n"), format!("{GOOD}\r\n\n{GOOD}"), String::new(), "\n".to_owned()];
        let answers = transformed(&mut function(&[]), &records);
        let ok = |data: String| ("Ok".to_owned(), data.into_bytes(), None);
        let dropped = ("Dropped".to_owned(), Vec::new(), None);
        let one = ok(GOOD_JSON.to_owned());
        assert_eq!(answers, [one.clone(), one, ok(GOOD_JSON.repeat(2)), dropped.clone(), dropped]);
    }

    #[test]
    fn a_record_with_a_bad_line_comes_back_whole() {
        let records = ["no tab".to_owned(), format!("{GOOD}\nbad\n{GOOD}\n"), GOOD.to_owned()];
        let answers = transformed(&mut function(&[]), &records);
        let failed = |data: &String| ("ProcessingFailed".to_owned(), data.clone().into_bytes(), None);
        assert_eq!(answers[..2], [failed(&records[0]), failed(&records[1])]);
        assert_eq!(answers[2].0, "Ok");
        let answers = transformed(&mut function(&[("ON_BAD_LINE", "skip")]), &records);
        assert_eq!(answers[0].0, "Dropped");
        assert_eq!(answers[1], ("Ok".to_owned(), GOOD_JSON.repeat(2).into_bytes(), None));
    }

    #[test]
    fn what_is_no_line_at_all_comes_back() {
        let aggregate = [&MAGIC[..], b"\x0a\x01a"].concat();
        let answers = transformed(&mut function(&[]), &[aggregate.clone(), GOOD.into()]);
        assert_eq!(answers[0], ("ProcessingFailed".to_owned(), aggregate, None));
        assert_eq!(answers[1].0, "Ok");
        let event = json!({ "deliveryStreamArn": "arn", "records": [
            { "recordId": "1", "data": "no \"base64\"\u{0}" }, { "recordId": "2" }, { "recordId": "3", "data": null },
            { "recordId": "4", "data": "AA" }, { "recordId": "5", "data": STANDARD.encode_to_string(GOOD) },
        ] });
        let reply = function(&[]).transform(event.to_string().as_bytes()).unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        let failed = |id: &str, data: &str| json!({ "recordId": id, "result": "ProcessingFailed", "data": data });
        let expected = [failed("1", "no \"base64\"\u{0}"), failed("2", ""), failed("3", ""), failed("4", "AA")];
        assert_eq!(reply["records"].as_array().unwrap()[..4], expected);
        assert_eq!(reply["records"][4]["result"], "Ok");
    }

    #[test]
    fn records_of_several_formats_may_come_in_one_event() {
        let json = r#"{"date":"2026-01-05","time":"07:00:00","c-ip":"203.0.113.9"}"#;
        let standard = "#Version: 1.0\n#Fields: date time c-ip\n2026-01-05\t07:00:00\t203.0.113.9";
        let headerless = "2026-01-05\t07:00:00\t203.0.113.9";
        let records = [GOOD, json, standard, headerless, standard, GOOD, json, json];
        let answers = transformed(&mut function(&[("SELECT", "c-ip")]), &records);
        for (index, answer) in answers.iter().enumerate() {
            let expected = if index == 3 { headerless } else { "{\"c_ip\":\"203.0.113.9\"}\n" };
            assert_eq!(String::from_utf8_lossy(&answer.1), expected, "{index}");
            assert_eq!(answer.0, if index == 3 { "ProcessingFailed" } else { "Ok" });
        }
    }

    #[test]
    fn a_header_holds_for_its_own_record_alone() {
        let standard = "#Fields: date time c-ip\n2026-01-05\t07:00:00\t203.0.113.9";
        let records = [standard, "2026-01-05\t07:00:00\t203.0.113.9", standard];
        let answers = transformed(&mut function(&[("FORMAT", "standard")]), &records);
        assert_eq!([0, 1, 2].map(|index| answers[index].0.as_str()), ["Ok", "ProcessingFailed", "Ok"]);
    }

    #[test]
    fn partition_keys_count_towards_the_size_of_a_reply() {
        let mut function = function(&[("PARTITION_KEYS", "date,hour,c-ip,cs-user-agent,query.e")]);
        let records = vec![GOOD; 40];
        function.max_reply_size = 2 * event(&records).len();
        let reply = function.transform(&event(&records)).unwrap();
        assert!(reply.len() <= function.max_reply_size, "{}", reply.len());
        assert!(answers(&reply, records.len()).iter().any(|answer| answer.0 == "ProcessingFailed"));
    }

    #[test]
    fn partition_keys_are_those_of_the_line_as_it_is_delivered() {
        let other_hour = GOOD.replacen("1767571200", "1767574800", 1);
        let records = [
            GOOD.to_owned(),
            other_hour.clone(),
            format!("{GOOD}\n{GOOD}"),
            format!("{GOOD}\n{other_hour}"),
            "bad".to_owned(),
        ];
        let mut function = function(&[("PARTITION_KEYS", "date, hour, c-ip"), ("MASK_IP", "true")]);
        let answers = transformed(&mut function, &records);
        let keys = |hour: &str| Some(json!({ "date": "2026-01-05", "hour": hour, "c_ip": "203.0.113.0" }));
        let found: Vec<_> = answers.iter().map(|answer| (answer.0.as_str(), answer.2.clone())).collect();
        let failed = ("ProcessingFailed", None);
        assert_eq!(found, [("Ok", keys("00")), ("Ok", keys("01")), ("Ok", keys("00")), failed.clone(), failed]);
        assert_eq!(answers[3].1, records[3].as_bytes());
    }

    #[test]
    fn a_record_may_be_larger_than_a_block_and_an_event_than_all_buffers() {
        let line = format!("{GOOD}\n");
        let large = line.repeat(2 * BLOCK_SIZE / line.len());
        let many = line.repeat(200);
        let mut records = vec![many.clone(); 80];
        records.insert(40, large);
        let mut function = function(&[("ENCODE", "raw")]);
        for _ in 0..2 {
            for (answer, record) in transformed(&mut function, &records).iter().zip(&records) {
                assert!(answer.0 == "Ok" && answer.1 == record.as_bytes());
            }
        }
    }

    #[test]
    fn what_does_not_fit_into_the_reply_comes_back_as_it_was() {
        let mut function = function(&[]);
        let records = vec![GOOD; 40];
        let size = event(&records).len();
        for limit in [0, size, size + 500, 2 * size, 10 * size] {
            function.max_reply_size = limit;
            let reply = function.transform(&event(&records)).unwrap();
            assert!(reply.len() <= limit.max(size), "{} of {limit}", reply.len());
            let answers = answers(&reply, records.len());
            let ok = answers.iter().filter(|answer| answer.0 == "Ok").count();
            let expected = [0, size, size + 500].contains(&limit);
            assert_eq!(ok < records.len(), expected, "{ok} with {limit}");
            assert!(ok > 0 || limit <= size);
            for answer in answers {
                let data = if answer.0 == "Ok" { GOOD_JSON } else { GOOD };
                assert_eq!(answer.1, data.as_bytes());
            }
        }
    }

    /// What a line becomes: the naive way.
    fn expected(line: &str) -> Option<&'static str> {
        match line.strip_suffix('\r').unwrap_or(line) {
            "" | FILTERED => None,
            GOOD => Some(GOOD_JSON),
            _ => Some("bad"),
        }
    }

    const FILTERED: &str = "1767571200.068\t203.0.113.9\tbot\te=pv";

    fn any_record() -> impl Strategy<Value = String> {
        let line = prop::sample::select(vec![GOOD, GOOD, GOOD, FILTERED, "", "\r", "bad", "x\t1\tcurl\te", "{}", "#a"]);
        (prop::collection::vec(line, 0..4), any::<bool>())
            .prop_map(|(lines, ends)| lines.join("\n") + if ends { "\n" } else { "" })
            // Told apart by their first line: another test has those.
            .prop_filter("real-time", |record| !record.trim_start().starts_with(['{', '#']))
    }

    proptest! {
        #[test]
        fn every_record_is_answered_once_and_every_line_is_in_one_answer(
            records in prop::collection::vec(any_record(), 0..30),
            skip in any::<bool>(),
            limit in prop::sample::select(vec![0, 2_000, 5_000, usize::MAX]),
        ) {
            let on_bad_line = if skip { "skip" } else { "quarantine" };
            let mut function = function(&[("ON_BAD_LINE", on_bad_line), ("MATCH", "cs-user-agent=curl*")]);
            function.max_reply_size = limit;
            let event = event(&records);
            let reply = function.transform(&event).unwrap();
            prop_assert!(reply.len() <= limit.max(event.len()));
            for ((result, data, _), record) in answers(&reply, records.len()).into_iter().zip(&records) {
                let lines: Vec<&str> = record.split('\n').filter_map(expected).collect();
                let good = lines.iter().filter(|line| **line != "bad").copied().collect::<String>();
                let wanted = match good.as_str() {
                    _ if !skip && lines.contains(&"bad") => "ProcessingFailed",
                    "" => "Dropped",
                    _ => "Ok",
                };
                let has_no_room = wanted == "Ok" && result == "ProcessingFailed" && limit != usize::MAX;
                prop_assert!(result == wanted || has_no_room, "{} instead of {}", result, wanted);
                let data_wanted = match result.as_str() {
                    "Ok" => good.as_str(),
                    "Dropped" => "",
                    _ => record.as_str(),
                };
                prop_assert_eq!(data, data_wanted.as_bytes());
            }
        }
    }
}
