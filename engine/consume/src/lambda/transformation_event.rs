//! The event of Firehose's data transformation, and the reply to it.
//!
//! ```text
//! {"deliveryStreamArn":…,"records":[{"recordId":"1","data":"BASE64",…},…],…}
//! {"records":[{"recordId":"1","result":"Ok","data":"BASE64","metadata":{"partitionKeys":{…}}},…]}
//! ```
//! Source: "Transform source data" in the Firehose developer guide. It says of `data` that every
//! record of a reply must have it, so every one does. A record that failed has the data that came:
//! nobody says whether Firehose keeps that or what it sent. This takes no room that the event did
//! not have, as `"result":"ProcessingFailed"` is shorter than `"approximateArrivalTimestamp"` and
//! its number: a reply in which every record failed is smaller than its event.

use std::borrow::Cow;

use base64_simd::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::runtime::HandlerError;

/// A record that is to be transformed. Its text is that of the event, unless it is escaped there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Incoming<'event> {
    #[serde(borrow)]
    pub(super) record_id: Cow<'event, str>,
    #[serde(borrow)]
    data: Option<Text<'event>>,
}

/// By itself, serde would copy what is optional.
#[derive(Debug, Deserialize)]
struct Text<'event>(#[serde(borrow)] Cow<'event, str>);

impl Incoming<'_> {
    /// Base64, as it should be; `None` if there is no text at all.
    pub(super) fn data(&self) -> Option<&str> {
        self.data.as_ref().map(|text| &*text.0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'event> {
    #[serde(borrow)]
    records: Vec<Incoming<'event>>,
    /// No other service's event has it.
    #[serde(rename = "deliveryStreamArn")]
    _delivery_stream_arn: IgnoredAny,
}

/// The records of an event.
pub(super) fn records(event: &[u8]) -> Result<Vec<Incoming<'_>>, HandlerError> {
    let event = serde_json::from_slice(event).map_err(|error| HandlerError {
        kind: "Function.UnexpectedEvent",
        message: format!("this is {}, and not an event of Firehose's data transformation", kind_of(event, &error)),
    })?;
    let Event { records, .. } = event;
    Ok(records)
}

/// What an event is instead, as far as it shows.
pub(super) fn kind_of(event: &[u8], error: &serde_json::Error) -> String {
    let event: Value = match serde_json::from_slice(event) {
        Ok(event) => event,
        Err(error) => return format!("no JSON ({error})"),
    };
    // Kinesis, SQS, S3, SNS and others have the service in each record, Kafka beside its records,
    // EventBridge in one word.
    let service = [&event["Records"][0]["eventSource"], &event["Records"][0]["EventSource"], &event["eventSource"]];
    if let Some(service) = service.into_iter().chain([&event["source"]]).find_map(Value::as_str) {
        return format!("an event of {service}");
    }
    let keys: Vec<&str> = event.as_object().into_iter().flatten().map(|member| member.0.as_str()).take(10).collect();
    match keys.as_slice() {
        [] => "JSON without a name in it".to_owned(),
        keys => format!("an object of {} ({error})", keys.join(", ")),
    }
}

/// A reply that grows record by record, and keeps room for those that are still to come.
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// What is left when each record that is still to come has failed.
    room: usize,
}

impl Reply {
    /// A reply of at most so many bytes. If even the answers that take least would not fit, it has
    /// those.
    pub(super) fn new(records: &[Incoming<'_>], limit: usize) -> Reply {
        let least: usize = records.iter().map(failed_len).sum();
        let mut reply = Reply { bytes: Vec::with_capacity((2 * least).min(limit)), room: 0 };
        reply.text(r#"{"records":["#);
        reply.room = limit.saturating_sub(reply.bytes.len() + END.len() + least);
        reply
    }

    /// The record has become that data. `false` if there is no room for it: then it has failed.
    pub(super) fn ok(&mut self, record: &Incoming<'_>, data: &[u8], partition_keys: Option<&str>) -> bool {
        let keys_len = partition_keys.map_or(0, |keys| METADATA.len() + keys.len() + METADATA_END.len());
        let len = answer_len(record, "Ok") + STANDARD.encoded_length(data.len()) + keys_len;
        // The least that it could take is not in the room.
        let Some(room) = (self.room + failed_len(record)).checked_sub(len) else {
            self.failed(record);
            return false;
        };
        self.room = room;
        self.head(record, "Ok");
        self.text("\"");
        STANDARD.encode_append(data, &mut self.bytes);
        self.text("\"");
        if let Some(keys) = partition_keys {
            self.text(METADATA);
            self.text(keys);
            self.text(METADATA_END);
        }
        self.text("}");
        true
    }

    /// Nothing of the record is to be delivered.
    pub(super) fn dropped(&mut self, record: &Incoming<'_>) {
        self.room += failed_len(record).saturating_sub(answer_len(record, "Dropped"));
        self.head(record, "Dropped");
        self.text(r#"""}"#);
    }

    /// The record could not be transformed: it is given back as it came.
    pub(super) fn failed(&mut self, record: &Incoming<'_>) {
        self.head(record, FAILED);
        // What is no base64 may be any text.
        self.json(record.data().unwrap_or_default());
        self.text("}");
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.text(END);
        self.bytes
    }

    /// Everything up to the data.
    fn head(&mut self, record: &Incoming<'_>, result: &str) {
        if self.bytes.ends_with(b"}") {
            self.text(",");
        }
        self.text(r#"{"recordId":"#);
        self.json(&record.record_id);
        self.text(r#","result":""#);
        self.text(result);
        self.text(r#"","data":"#);
    }

    fn json(&mut self, text: &str) {
        serde_json::to_writer(&mut self.bytes, text).expect("text can be written to memory");
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

const FAILED: &str = "ProcessingFailed";
const METADATA: &str = r#","metadata":{"partitionKeys":"#;
const METADATA_END: &str = "}";
const END: &str = "]}";

/// What the answer to a record that failed takes, at most, with the comma before it.
fn failed_len(record: &Incoming<'_>) -> usize {
    answer_len(record, FAILED) + json_len(record.data().unwrap_or_default())
}

/// What an answer takes beside the data and the partition keys.
fn answer_len(record: &Incoming<'_>, result: &str) -> usize {
    r#",{"recordId":"","result":"","data":""}"#.len() + json_len(&record.record_id) + result.len()
}

/// The bytes of a text as JSON has it, or a little more.
fn json_len(text: &str) -> usize {
    let escaped = text.bytes().filter(|&byte| byte < b' ' || byte == b'"' || byte == b'\\').count();
    text.len() + escaped * (r"\u0000".len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_the_event_unless_it_is_escaped_there() {
        let event =
            br#"{"deliveryStreamArn":"a","records":[{"recordId":"1","data":"AA=="},{"recordId":"\"","data":"\/"}]}"#;
        let records = records(event).unwrap();
        let is_borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
        let borrowed = records.iter().map(|it| (is_borrowed(&it.record_id), is_borrowed(&it.data.as_ref().unwrap().0)));
        assert_eq!(borrowed.collect::<Vec<_>>(), [(true, true), (false, false)]);
        assert_eq!((&*records[1].record_id, records[1].data()), ("\"", Some("/")));
    }
}
