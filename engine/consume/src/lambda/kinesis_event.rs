//! The event of Lambda's event source mapping for Kinesis.
//!
//! Source: "Process Amazon Kinesis Data Streams records with Lambda" in the Lambda developer guide.

use serde::Deserialize;

use crate::batch::{Batch, Place};
use pixel_engine_core::source::Format;

/// The records of one shard, at most 10,000.
pub(super) struct KinesisEvent<'a> {
    records: Vec<EventRecord<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "Records", borrow)]
    records: Option<Vec<EventRecord<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventRecord<'a> {
    #[serde(borrow, default)]
    event_source: &'a str,
    #[serde(rename = "eventSourceARN", borrow, default)]
    event_source_arn: &'a str,
    /// `shardId-000000000000:49590338271490256608559692538361571095921575989136588898`.
    #[serde(rename = "eventID", borrow, default)]
    event_id: &'a str,
    #[serde(borrow)]
    kinesis: Option<KinesisRecord<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KinesisRecord<'a> {
    #[serde(borrow)]
    data: &'a str,
    #[serde(borrow)]
    sequence_number: &'a str,
}

impl<'a> KinesisEvent<'a> {
    /// Reads the event in place.
    ///
    /// # Errors
    /// It is none of Kinesis: what it is instead.
    pub(super) fn read(json: &'a mut [u8]) -> Result<KinesisEvent<'a>, String> {
        const WANTED: &str = "this function takes events of a Kinesis stream";
        let event: Event<'a> =
            simd_json::serde::from_slice(json).map_err(|error| format!("{WANTED}; this is none: {error}"))?;
        let records = event.records.ok_or_else(|| format!("{WANTED}; this one has no `Records`"))?;
        for record in &records {
            if record.event_source != "aws:kinesis" || record.kinesis.is_none() {
                return Err(format!("{WANTED}; a record of this one has the event source `{}`", record.event_source));
            }
        }
        Ok(KinesisEvent { records })
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
        format!("{stream}/{shard} from {}", self.sequence_number(0))
    }

    /// The sequence number of a record.
    pub(super) fn sequence_number(&self, index: usize) -> &'a str {
        self.kinesis(index).sequence_number
    }

    /// The lines of all records, and where those of each end.
    pub(super) fn batch(&self, format: Format) -> (Batch, Vec<Place>) {
        let data = || (0..self.len()).map(|index| self.kinesis(index).data);
        // A newline more each, and the padding of base64 less.
        let mut batch = Batch::with_capacity(format, data().map(|data| data.len() / 4 * 3 + 1).sum());
        let ends = data().map(|data| {
            batch.add_base64(data);
            batch.end()
        });
        let ends = ends.collect();
        (batch, ends)
    }

    fn kinesis(&self, index: usize) -> &KinesisRecord<'a> {
        self.records[index].kinesis.as_ref().expect("it was looked at when the event was read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(usize, String), String> {
        let mut json = json.as_bytes().to_vec();
        KinesisEvent::read(&mut json).map(|event| (event.len(), event.name()))
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
        let mut json = event.as_bytes().to_vec();
        let event = KinesisEvent::read(&mut json).unwrap();
        let (batch, ends) = event.batch(Format::Auto);
        assert_eq!(ends, [Place { part: 0, offset: 6 }; 2]);
        assert_eq!((batch.end(), event.sequence_number(1)), (ends[1], "4960"));
        assert_eq!(read(r#"{"Records":[]}"#), Ok((0, "no records".to_owned())));
    }

    #[test]
    fn what_is_no_event_of_kinesis_is_said() {
        for (event, said) in [
            (r#"{"Records":[{"eventSource":"aws:sqs","body":"x"}]}"#, "the event source `aws:sqs`"),
            (r#"{"Records":[{"EventSource":"aws:sns","Sns":{}}]}"#, "the event source ``"),
            (r#"{"records":{"topic-0":[]},"eventSource":"aws:kafka"}"#, "has no `Records`"),
            (r#"{"Records":[{"eventSource":"aws:kinesis"}]}"#, "the event source `aws:kinesis`"),
            ("[1]", "this is none"),
            ("null", "this is none"),
            ("", "this is none"),
            (r#"{"Records":[{"eventSource":"aws:kinesis","kinesis":{"data":5,"sequenceNumber":"1"}}]}"#, "this is none"),
        ] {
            let error = read(event).unwrap_err();
            assert!(error.contains(said), "{event}: {error}");
        }
    }
}
