//! The event of Lambda's event source mapping for Kinesis.
//!
//! Source: "Process Amazon Kinesis Data Streams records with Lambda" in the Lambda developer guide.

use std::borrow::Cow;

use pixel_engine_core::source::Format;
use serde::Deserialize;

use super::transformation_event::kind_of;
use crate::batch::{Batch, Place};

/// The records of one shard, at most 10,000. Their text is that of the event, unless it is escaped
/// there.
#[derive(Deserialize)]
pub(super) struct KinesisEvent<'event> {
    #[serde(rename = "Records", borrow)]
    records: Vec<EventRecord<'event>>,
}

/// A record, and where it comes from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'event> {
    #[serde(rename = "eventSourceARN", borrow, default)]
    event_source_arn: Cow<'event, str>,
    /// `shardId-000000000000:49590338271490256608559692538361571095921575989136588898`.
    #[serde(rename = "eventID", borrow, default)]
    event_id: Cow<'event, str>,
    #[serde(borrow)]
    kinesis: KinesisRecord<'event>,
}

/// What no other service's records have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KinesisRecord<'event> {
    #[serde(borrow)]
    sequence_number: Cow<'event, str>,
    /// Base64.
    #[serde(borrow)]
    data: Cow<'event, str>,
}

impl<'event> KinesisEvent<'event> {
    /// Reads the event.
    ///
    /// # Errors
    /// It is none of Kinesis: what it is instead.
    pub(super) fn read(event: &'event [u8]) -> Result<KinesisEvent<'event>, String> {
        serde_json::from_slice(event)
            .map_err(|error| format!("this is {}, and not an event of a Kinesis stream", kind_of(event, &error)))
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// What people call the batch: `hits/shardId-000000000000 from 4959...`.
    pub(super) fn name(&self) -> String {
        let Some(first) = self.records.first() else { return "no records".to_owned() };
        let stream = first.event_source_arn.rsplit('/').next().unwrap_or_default();
        let shard = first.event_id.split(':').next().unwrap_or_default();
        format!("{stream}/{shard} from {}", first.kinesis.sequence_number)
    }

    /// The lines of all records, and what is left to know of each.
    pub(super) fn batch(&self, format: Format) -> (Batch, Places) {
        let mut batch = Batch::new(format);
        let mut places = Places::default();
        for EventRecord { kinesis: KinesisRecord { sequence_number, data }, .. } in &self.records {
            batch.add_base64(data);
            places.sequence_numbers.push_str(sequence_number);
            places.ends.push((batch.end(), places.sequence_numbers.len()));
        }
        (batch, places)
    }
}

/// Which records the lines of a batch are of. The event need not be kept for that.
#[derive(Default)]
pub(super) struct Places {
    /// One after the other.
    sequence_numbers: String,
    /// For each record, where its lines end, and its sequence number.
    ends: Vec<(Place, usize)>,
}

impl Places {
    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The first record that does not end before that place: its number and its sequence number.
    pub(super) fn record_at(&self, place: Place) -> (usize, &str) {
        let index = self.ends.partition_point(|end| end.0 <= place).min(self.ends.len() - 1);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].1);
        (index, &self.sequence_numbers[start..self.ends[index].1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(usize, String), String> {
        KinesisEvent::read(json.as_bytes()).map(|event| (event.len(), event.name()))
    }

    #[test]
    fn an_event_as_aws_documents_it_is_read() {
        let event = r#"{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"4959",
            "data":"MS41CWE=","approximateArrivalTimestamp":1545084650.987,"encryptionType":"KMS"},
            "eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"shardId-000000000006:4959",
            "eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role",
            "awsRegion":"us-east-2","eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/hits"},
            {"kinesis":{"sequenceNumber":"4960","data":""},"eventSource":"aws:kinesis"}]}"#;
        assert_eq!(read(event), Ok((2, "hits/shardId-000000000006 from 4959".to_owned())));
        let event = KinesisEvent::read(event.as_bytes()).unwrap();
        let (batch, places) = event.batch(Format::Auto);
        let place = |offset| Place { part: 0, offset };
        assert_eq!((batch.end(), places.len()), (place(6), 2));
        assert_eq!((places.record_at(place(0)), places.record_at(place(5))), ((0, "4959"), (0, "4959")));
        assert_eq!(places.record_at(place(6)), (1, "4960"), "the last record, which is empty, is named at least");
        assert_eq!(read(r#"{"Records":[]}"#), Ok((0, "no records".to_owned())));
    }

    #[test]
    fn what_is_no_event_of_kinesis_is_said() {
        for (event, said) in [
            (r#"{"Records":[{"eventSource":"aws:sqs","body":"x"}]}"#, "an event of aws:sqs"),
            (r#"{"Records":[{"EventSource":"aws:sns","Sns":{}}]}"#, "an event of aws:sns"),
            (r#"{"records":{"topic-0":[]},"eventSource":"aws:kafka"}"#, "an event of aws:kafka"),
            (
                r#"{"deliveryStreamArn":"x","records":[]}"#,
                "an object of deliveryStreamArn, records (missing field `Records`",
            ),
            (r#"{"Records":[{"eventSource":"aws:kinesis"}]}"#, "an event of aws:kinesis"),
            ("[1]", "JSON without a name in it"),
            ("null", "JSON without a name in it"),
            ("", "no JSON"),
            (r#"{"Records":[{"eventSource":"aws:kinesis","kinesis":{"data":5,"sequenceNumber":"1"}}]}"#, "aws:kinesis"),
        ] {
            let error = read(event).unwrap_err();
            assert!(error.contains(said), "{event}: {error}");
        }
    }
}
