//! The event of Lambda's event source mapping for Kinesis.
//!
//! Source: "Process Amazon Kinesis Data Streams records with Lambda" in the Lambda developer guide.

use pixel_engine_core::source::Format;

use super::json::{Nodes, elements, member, members, text};
use super::transformation_event::kind_of;
use crate::batch::{Batch, Place};

/// The records of one shard, at most 10,000.
pub(super) struct KinesisEvent<'event> {
    records: Vec<EventRecord<'event>>,
}

/// A record, and where it comes from.
#[derive(Default)]
struct EventRecord<'event> {
    event_source_arn: &'event str,
    /// `shardId-000000000000:49590338271490256608559692538361571095921575989136588898`.
    event_id: &'event str,
    sequence_number: &'event str,
    data: &'event str,
}

impl<'event> KinesisEvent<'event> {
    /// Reads the event in place.
    ///
    /// # Errors
    /// It is none of Kinesis: what it is instead.
    pub(super) fn read(json: &'event mut [u8]) -> Result<KinesisEvent<'event>, String> {
        let refused = |found: String| format!("this is {found}, and not an event of a Kinesis stream");
        let tape = simd_json::to_tape(json).map_err(|error| refused(format!("no JSON ({error})")))?;
        let records = member(&tape.0, "Records").and_then(elements).ok_or_else(|| refused(kind_of(&tape.0)))?;
        let records = records.map(|record| record_of(record).ok_or_else(|| refused(kind_of(&tape.0))));
        Ok(KinesisEvent { records: records.collect::<Result<_, _>>()? })
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
    pub(super) fn sequence_number(&self, index: usize) -> &'event str {
        self.records[index].sequence_number
    }

    /// The lines of all records, and where those of each end.
    pub(super) fn batch(&self, format: Format) -> (Batch, Vec<Place>) {
        let data = || self.records.iter().map(|record| record.data);
        // A newline more each, and the padding of base64 less.
        let mut batch = Batch::with_capacity(format, data().map(|data| data.len() / 4 * 3 + 1).sum());
        let ends = data().map(|data| {
            batch.add_base64(data);
            batch.end()
        });
        let ends = ends.collect();
        (batch, ends)
    }
}

/// A record of Kinesis; `None` if it is something else.
fn record_of<'event>(record: Nodes<'_, 'event>) -> Option<EventRecord<'event>> {
    let mut read = EventRecord::default();
    let (mut event_source, mut data, mut sequence_number) = (None, None, None);
    for (key, value) in members(record) {
        match key {
            "eventSource" => event_source = text(value),
            "eventSourceARN" => read.event_source_arn = text(value).unwrap_or_default(),
            "eventID" => read.event_id = text(value).unwrap_or_default(),
            "kinesis" => {
                for (key, value) in members(value) {
                    match key {
                        "data" => data = text(value),
                        "sequenceNumber" => sequence_number = text(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    (event_source? == "aws:kinesis").then_some(())?;
    Some(EventRecord { data: data?, sequence_number: sequence_number?, ..read })
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
            (r#"{"Records":[{"eventSource":"aws:sqs","body":"x"}]}"#, "an event of aws:sqs"),
            (r#"{"Records":[{"EventSource":"aws:sns","Sns":{}}]}"#, "an event of aws:sns"),
            (r#"{"records":{"topic-0":[]},"eventSource":"aws:kafka"}"#, "an event of aws:kafka"),
            (r#"{"deliveryStreamArn":"x","records":[]}"#, "an object of deliveryStreamArn, records"),
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
