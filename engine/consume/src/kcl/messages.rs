//! The protocol of the MultiLangDaemon: one JSON object a line, in both directions.
//!
//! The daemon writes a message and waits for the child's `status`. Before that, the child may send
//! a `checkpoint` and is answered with a message of the same name.
//!
//! ```text
//! {"action":"processRecords","records":[{"data":"aGk=","sequenceNumber":"49","subSequenceNumber":0,…}],…}
//! {"action":"checkpoint","sequenceNumber":"49","subSequenceNumber":0}
//! {"action":"checkpoint","sequenceNumber":"49","subSequenceNumber":0,"error":null}
//! {"action":"status","responseFor":"processRecords"}
//! ```
//! What counts is the package `software.amazon.kinesis.multilang.messages`; the protocol's text in
//! its `package-info` shows fields that no class has. The daemon may add fields to what it sends.
//! The child may not: Jackson refuses a line with a field that it does not know, and the daemon
//! then waits for ever.

use std::io::{self, Write};

use simd_json::{Buffers, Node, StaticNode};

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'line> {
    /// The first message: which shard this child has.
    Initialize {
        /// `shardId-000000000000`.
        shard: &'line str,
        /// Where it begins: the last checkpoint, or `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP`.
        from: Option<&'line str>,
    },
    /// Records of the shard in their order, aggregates already taken apart. There may be none.
    ProcessRecords(Vec<Record<'line>>),
    /// The answer to a checkpoint.
    Checkpoint {
        /// The simple name of a Java exception; `None` when the checkpoint is kept.
        error: Option<&'line str>,
    },
    /// Another worker has the shard.
    LeaseLost,
    /// The shard was split or merged, and everything in it was handed over.
    ShardEnded,
    /// The worker is about to stop, or to pass the shard to another one.
    ShutdownRequested,
    /// Written by daemons before 2.1 in place of the three above, and answered under its own name.
    Shutdown(ShutdownReason),
}

/// Why a daemon before 2.1 ends a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownReason {
    /// As [`Message::LeaseLost`].
    LeaseLost,
    /// As [`Message::ShardEnded`].
    ShardEnded,
    /// As [`Message::ShutdownRequested`].
    Requested,
}

impl Message<'_> {
    /// What a `status` names to say that the message was handled.
    pub fn action(&self) -> &'static str {
        match self {
            Message::Initialize { .. } => "initialize",
            Message::ProcessRecords(_) => "processRecords",
            Message::Checkpoint { .. } => "checkpoint",
            Message::LeaseLost => "leaseLost",
            Message::ShardEnded => "shardEnded",
            Message::ShutdownRequested => "shutdownRequested",
            Message::Shutdown(_) => "shutdown",
        }
    }
}

/// A user record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'line> {
    /// Base64 with padding; `None` stands for no bytes.
    pub data: Option<&'line str>,
    /// Digits, up to 56 of them.
    pub sequence_number: &'line str,
    /// The place in an aggregate, from 0.
    pub sub_sequence_number: u64,
}

/// Why a line is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The text is no JSON.
    #[error("not valid JSON at byte {byte}")]
    Json {
        /// The byte in the line, from 1; after a cut it may be one behind.
        byte: usize,
    },
    /// JSON of another kind.
    #[error("it is {0}, not an object")]
    NotAnObject(&'static str),
    /// A field is not there.
    #[error("no `{0}`")]
    Missing(&'static str),
    /// A value of another kind.
    #[error("`{name}` is {found}, not {wanted}")]
    Kind {
        /// The field.
        name: &'static str,
        /// `an array`.
        found: &'static str,
        /// `text`.
        wanted: &'static str,
    },
    /// A sequence number that Kinesis never gives.
    #[error("`sequenceNumber` is not made of digits")]
    SequenceNumber,
    /// A reason for `shutdown` that is none.
    #[error("`reason` is `{0}`, which no version of the daemon writes")]
    Reason(String),
    /// A message that this version does not know.
    #[error("the action `{0}` is unknown: is the daemon newer than this program?")]
    UnknownAction(String),
    /// Something is wrong with one of the records.
    #[error("record {number} of {of}: {error}")]
    Record {
        /// Which one, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// What is wrong with it.
        error: Box<MessageError>,
    },
}

/// Reads one message after the other, with buffers that are used again.
#[derive(Default)]
pub struct MessageReader {
    buffers: Buffers,
}

impl MessageReader {
    /// The message of a line. What is text in it borrows from the line, where escapes are undone in
    /// place.
    ///
    /// # Errors
    /// The line is no message of the daemon; nothing of it is in the error but an unknown action.
    pub fn read<'line>(&mut self, line: &'line mut [u8]) -> Result<Message<'line>, MessageError> {
        let tape = simd_json::to_tape_with_buffers(line, &mut self.buffers)
            .map_err(|error| MessageError::Json { byte: error.index() + 1 })?;
        let message = Object::of(&tape.0)?;
        match message.text("action")? {
            "initialize" => Ok(Message::Initialize {
                shard: message.text("shardId")?,
                from: message.text_or_null("sequenceNumber")?,
            }),
            "processRecords" => message.records().map(Message::ProcessRecords),
            "checkpoint" => Ok(Message::Checkpoint { error: message.text_or_null("error")? }),
            "leaseLost" => Ok(Message::LeaseLost),
            "shardEnded" => Ok(Message::ShardEnded),
            "shutdownRequested" => Ok(Message::ShutdownRequested),
            "shutdown" => match message.text("reason")? {
                "LEASE_LOST" | "ZOMBIE" => Ok(Message::Shutdown(ShutdownReason::LeaseLost)),
                "SHARD_END" | "TERMINATE" => Ok(Message::Shutdown(ShutdownReason::ShardEnded)),
                "REQUESTED" => Ok(Message::Shutdown(ShutdownReason::Requested)),
                reason => Err(MessageError::Reason(shortened(reason))),
            },
            action => Err(MessageError::UnknownAction(shortened(action))),
        }
    }
}

/// Enough of a word to recognise it.
fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

/// The nodes of an object: itself, then keys and values, each value with all that is in it.
#[derive(Clone, Copy)]
struct Object<'tape, 'line>(&'tape [Node<'line>]);

impl<'tape, 'line> Object<'tape, 'line> {
    fn of(nodes: &'tape [Node<'line>]) -> Result<Object<'tape, 'line>, MessageError> {
        match nodes.first() {
            Some(Node::Object { .. }) => Ok(Object(nodes)),
            other => Err(MessageError::NotAnObject(other.map_or("nothing", kind))),
        }
    }

    /// The nodes of a value; `None` also for null.
    fn get(self, name: &str) -> Option<&'tape [Node<'line>]> {
        let mut rest = &self.0[1..];
        while let [Node::String(key), value @ ..] = rest {
            let (value, behind) = value.split_at(width(value.first()?));
            if *key == name {
                return Some(value).filter(|value| !matches!(value, [Node::Static(StaticNode::Null)]));
            }
            rest = behind;
        }
        None
    }

    fn text_or_null(self, name: &'static str) -> Result<Option<&'line str>, MessageError> {
        match self.get(name) {
            None => Ok(None),
            Some([Node::String(text), ..]) => Ok(Some(*text)),
            Some(other) => Err(of_kind(name, other, "text")),
        }
    }

    fn text(self, name: &'static str) -> Result<&'line str, MessageError> {
        self.text_or_null(name)?.ok_or(MessageError::Missing(name))
    }

    fn records(self) -> Result<Vec<Record<'line>>, MessageError> {
        let (of, mut rest) = match self.get("records") {
            Some([Node::Array { len, .. }, elements @ ..]) => (*len, elements),
            Some(other) => return Err(of_kind("records", other, "an array")),
            None => return Err(MessageError::Missing("records")),
        };
        let mut records = Vec::with_capacity(of);
        while let Some(first) = rest.first() {
            let (record, behind) = rest.split_at(width(first));
            let record = Object::of(record).and_then(Object::record).map_err(|error| MessageError::Record {
                number: records.len() + 1,
                of,
                error: Box::new(error),
            })?;
            records.push(record);
            rest = behind;
        }
        Ok(records)
    }

    fn record(self) -> Result<Record<'line>, MessageError> {
        let sequence_number = self.text("sequenceNumber")?;
        // It goes back as it came, so it must be what it seems to be.
        if sequence_number.is_empty() || !sequence_number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MessageError::SequenceNumber);
        }
        let sub_sequence_number = match self.get("subSequenceNumber") {
            None => 0,
            Some([Node::Static(StaticNode::U64(number)), ..]) => *number,
            Some([Node::Static(StaticNode::I64(number)), ..]) if *number >= 0 => number.unsigned_abs(),
            Some(other) => return Err(of_kind("subSequenceNumber", other, "a number from 0")),
        };
        Ok(Record { data: self.text_or_null("data")?, sequence_number, sub_sequence_number })
    }
}

/// How many nodes a value takes, with all that is in it.
fn width(value: &Node<'_>) -> usize {
    match value {
        Node::Object { count, .. } | Node::Array { count, .. } => 1 + count,
        _ => 1,
    }
}

fn of_kind(name: &'static str, found: &[Node<'_>], wanted: &'static str) -> MessageError {
    MessageError::Kind { name, found: found.first().map_or("nothing", kind), wanted }
}

fn kind(value: &Node<'_>) -> &'static str {
    match value {
        Node::String(_) => "text",
        Node::Object { .. } => "an object",
        Node::Array { .. } => "an array",
        Node::Static(StaticNode::Null) => "null",
        Node::Static(StaticNode::Bool(_)) => "true or false",
        Node::Static(_) => "a number",
    }
}

/// Writes that a message was handled: `action` is that of the message.
///
/// # Errors
/// The daemon does not read any more.
pub fn write_status(out: &mut impl Write, action: &str) -> io::Result<()> {
    write_line(out, &format!(r#"{{"action":"status","responseFor":"{action}"}}"#))
}

/// Writes that everything up to this record need not be sent again. Without a record: everything
/// that the daemon has sent, and that ends a shard which has ended.
///
/// A sequence number alone would mean the first user record of an aggregate, so the other number
/// always goes with it.
///
/// # Errors
/// The daemon does not read any more.
pub fn write_checkpoint(out: &mut impl Write, at: Option<(&str, u64)>) -> io::Result<()> {
    write_line(
        out,
        &match at {
            Some((sequence_number, sub_sequence_number)) => format!(
                r#"{{"action":"checkpoint","sequenceNumber":"{sequence_number}","subSequenceNumber":{sub_sequence_number}}}"#
            ),
            None => r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null}"#.to_owned(),
        },
    )
}

/// A line of its own, whatever else may have been written to the same pipe, as AWS's client for
/// Python does it. The daemon passes over empty lines.
fn write_line(out: &mut impl Write, json: &str) -> io::Result<()> {
    out.write_all(format!("\n{json}\n").as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn with_message<T>(text: &str, look: impl FnOnce(Result<Message<'_>, MessageError>) -> T) -> T {
        let mut line = text.as_bytes().to_vec();
        look(MessageReader::default().read(&mut line))
    }

    #[track_caller]
    fn is(text: &str, wanted: Message<'_>) {
        with_message(text, |message| assert_eq!(message.as_ref(), Ok(&wanted), "{text}"));
    }

    #[track_caller]
    fn fails(text: &str, wanted: &str) {
        let said = with_message(text, |message| message.expect_err(text).to_string());
        assert!(said.contains(wanted), "{text}: {said}");
    }

    #[test]
    fn every_message_of_the_daemon_is_read() {
        is(
            r#"{"action":"initialize","shardId":"shardId-000000000000","sequenceNumber":"TRIM_HORIZON","subSequenceNumber":0}"#,
            Message::Initialize { shard: "shardId-000000000000", from: Some("TRIM_HORIZON") },
        );
        is(
            r#"{"shardId":"s","sequenceNumber":null,"subSequenceNumber":null,"action":"initialize"}"#,
            Message::Initialize { shard: "s", from: None },
        );
        is(
            r#"{"action":"processRecords","records":[{"data":"aGk=","partitionKey":"a","sequenceNumber":"49680674100391270361939477101390811648371936428168314882","approximateArrivalTimestamp":1767600000068,"subSequenceNumber":7,"action":"record"}],"millisBehindLatest":0}"#,
            Message::ProcessRecords(vec![Record {
                data: Some("aGk="),
                sequence_number: "49680674100391270361939477101390811648371936428168314882",
                sub_sequence_number: 7,
            }]),
        );
        is(r#"{"action":"processRecords","records":[],"millisBehindLatest":null}"#, Message::ProcessRecords(vec![]));
        is(
            r#"{"action":"checkpoint","sequenceNumber":"49","subSequenceNumber":3,"error":null}"#,
            Message::Checkpoint { error: None },
        );
        is(
            r#"{"action":"checkpoint","sequenceNumber":null,"subSequenceNumber":null,"error":"ThrottlingException"}"#,
            Message::Checkpoint { error: Some("ThrottlingException") },
        );
        is(r#"{"action":"leaseLost"}"#, Message::LeaseLost);
        is(r#"{"action":"shardEnded"}"#, Message::ShardEnded);
        is(r#"{"action":"shutdownRequested"}"#, Message::ShutdownRequested);
        for (reason, wanted) in [
            ("LEASE_LOST", ShutdownReason::LeaseLost),
            ("ZOMBIE", ShutdownReason::LeaseLost),
            ("SHARD_END", ShutdownReason::ShardEnded),
            ("TERMINATE", ShutdownReason::ShardEnded),
            ("REQUESTED", ShutdownReason::Requested),
        ] {
            is(&json!({ "action": "shutdown", "reason": reason }).to_string(), Message::Shutdown(wanted));
        }
    }

    #[test]
    fn fields_that_are_new_or_null_do_not_matter() {
        is(
            r#"{"new":{"action":"no","a":[1,{"b":[]}]},"records":[{"more":[{"sequenceNumber":"1"}],"sequenceNumber":"49","data":null,"partitionKey":null,"approximateArrivalTimestamp":null},{"sequenceNumber":"50","subSequenceNumber":null,"data":""}],"action":"processRecords"}"#,
            Message::ProcessRecords(vec![
                Record { data: None, sequence_number: "49", sub_sequence_number: 0 },
                Record { data: Some(""), sequence_number: "50", sub_sequence_number: 0 },
            ]),
        );
        is(
            "{\"action\":\"initialize\",\"shardId\":\"a\\\"\\u00e9\",\"x\":-1.5e3}\r",
            Message::Initialize { shard: "a\"é", from: None },
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        fails("hello", "not valid JSON at byte");
        fails(r#"{"action":"leaseLost""#, "not valid JSON");
        fails("\"\u{0}\"", "not valid JSON");
        fails("[]", "it is an array, not an object");
        fails("null", "it is null, not an object");
        fails("{}", "no `action`");
        fails(r#"{"action":null}"#, "no `action`");
        fails(r#"{"action":7}"#, "`action` is a number, not text");
        fails(r#"{"action":"dance"}"#, "the action `dance` is unknown");
        fails(r#"{"action":"initialize"}"#, "no `shardId`");
        fails(r#"{"action":"processRecords"}"#, "no `records`");
        fails(r#"{"action":"processRecords","records":{}}"#, "`records` is an object, not an array");
        fails(r#"{"action":"processRecords","records":[[]]}"#, "record 1 of 1: it is an array, not an object");
        let with = |record: &str| {
            format!(r#"{{"action":"processRecords","records":[{{"sequenceNumber":"1","data":""}},{record}]}}"#)
        };
        fails(&with("{}"), "record 2 of 2: no `sequenceNumber`");
        fails(&with(r#"{"sequenceNumber":"TRIM_HORIZON"}"#), "record 2 of 2: `sequenceNumber` is not made of digits");
        fails(&with(r#"{"sequenceNumber":"1","subSequenceNumber":-1}"#), "`subSequenceNumber` is a number, not");
        fails(&with(r#"{"sequenceNumber":"1","data":[1]}"#), "`data` is an array, not text");
        fails(r#"{"action":"shutdown","reason":"TIRED"}"#, "`reason` is `TIRED`");
        fails("", "not valid JSON");
    }

    #[test]
    fn what_is_written_has_these_fields_and_no_others() {
        let mut out = Vec::new();
        write_status(&mut out, Message::LeaseLost.action()).expect("a Vec");
        write_checkpoint(&mut out, Some(("49", 3))).expect("a Vec");
        write_checkpoint(&mut out, None).expect("a Vec");
        let text = String::from_utf8(out).expect("ASCII");
        assert_eq!(
            text,
            "\n{\"action\":\"status\",\"responseFor\":\"leaseLost\"}\n\
             \n{\"action\":\"checkpoint\",\"sequenceNumber\":\"49\",\"subSequenceNumber\":3}\n\
             \n{\"action\":\"checkpoint\",\"sequenceNumber\":null,\"subSequenceNumber\":null}\n"
        );
    }

    proptest! {
        #[test]
        fn records_come_out_as_they_went_in(
            records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), "[0-9]{1,56}", any::<u32>()), 0..50)
        ) {
            let records: Vec<(String, String, u32)> = records
                .into_iter()
                .map(|(data, number, sub)| (base64_simd::STANDARD.encode_to_string(data), number, sub))
                .collect();
            let message = json!({
                "action": "processRecords",
                "records": records.iter().map(|(data, number, sub)| json!({
                    "data": data, "partitionKey": "é\u{1F600}\n", "sequenceNumber": number,
                    "approximateArrivalTimestamp": 1_767_600_000_068_u64, "subSequenceNumber": sub, "action": "record",
                })).collect::<Vec<_>>(),
                "millisBehindLatest": 12,
            });
            let wanted = records
                .iter()
                .map(|(data, number, sub)| Record { data: Some(data), sequence_number: number, sub_sequence_number: u64::from(*sub) })
                .collect();
            is(&message.to_string(), Message::ProcessRecords(wanted));
        }

        #[test]
        fn nothing_panics(text in ".{0,200}") {
            with_message(&text, |_| ());
        }
    }
}
