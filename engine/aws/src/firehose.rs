//! PutRecordBatch.

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::types::{
    DeliveryStreamDescription, DeliveryStreamEncryptionStatus, DeliveryStreamStatus, DeliveryStreamType,
    PutRecordBatchResponseEntry,
};

use super::connection::send_instead;
use super::failure::{answered, of_record, of_request};
use pixel_engine_core::deliver::{Answer, Description, Failure};
use pixel_engine_core::pack::lines::MAX_RECORD_SIZE;

pub(super) struct Firehose {
    client: Client,
    name: String,
}

impl Firehose {
    pub(super) fn new(configuration: &SdkConfig, endpoint_url: Option<&str>, name: &str) -> Firehose {
        let mut config = aws_sdk_firehose::config::Builder::from(configuration);
        if let Some(url) = endpoint_url {
            // Unset otherwise, one that the chain has for this service alone would be lost.
            config.set_endpoint_url(Some(url.to_owned()));
        }
        Firehose { client: Client::from_conf(config.build()), name: name.to_owned() }
    }

    pub(super) async fn describe(&self) -> Result<Description, Failure> {
        const CALL: &str = "firehose:DescribeDeliveryStream";
        let reply = self.client.describe_delivery_stream().delivery_stream_name(&self.name).send().await;
        let reply = reply.map_err(|error| of_request(&error).during(CALL))?;
        let nothing = || Failure::malformed_reply("no description of the delivery stream");
        let stream = reply.delivery_stream_description.ok_or_else(nothing);
        stream.and_then(|stream| description(&stream)).map_err(|failure| failure.during(CALL))
    }

    /// Sends a request; what the reply says of each record, in order.
    pub(super) async fn put(&self, body: Vec<u8>) -> Result<Vec<Answer>, Failure> {
        let request = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(Vec::new()));
        let reply = request.customize().mutate_request(send_instead(body)).send().await;
        let reply = reply.map_err(|error| of_request(&error))?;
        Ok(reply.request_responses().iter().map(answer).collect())
    }
}

fn answer(entry: &PutRecordBatchResponseEntry) -> Answer {
    match (entry.error_code(), entry.record_id()) {
        (Some(code), _) => Err(of_record(code, entry.error_message())),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(Failure::malformed_reply("a record with neither a RecordId nor an ErrorCode")),
    }
}

fn description(stream: &DeliveryStreamDescription) -> Result<Description, Failure> {
    let encryption = stream.delivery_stream_encryption_configuration();
    let encryption = match encryption.and_then(|it| it.status()) {
        None | Some(DeliveryStreamEncryptionStatus::Disabled) => "not encrypted".to_owned(),
        Some(DeliveryStreamEncryptionStatus::Enabled) => {
            let key = encryption.and_then(|it| it.key_type()).map_or("KMS", |kind| kind.as_str());
            format!("encrypted ({key})")
        }
        Some(other) => format!("encryption {other}"),
    };
    let mut description = Description::default();
    description.status = answered("DeliveryStreamStatus", stream.delivery_stream_status().as_str())?;
    description.takes_records = *stream.delivery_stream_status() == DeliveryStreamStatus::Active;
    description.kind = answered("DeliveryStreamType", stream.delivery_stream_type().as_str())?;
    description.encryption = encryption;
    description.max_record_size = MAX_RECORD_SIZE;
    description.has_other_source = *stream.delivery_stream_type() != DeliveryStreamType::DirectPut;
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(status: &str, kind: &str) -> DeliveryStreamDescription {
        DeliveryStreamDescription::builder()
            .delivery_stream_name("beacons")
            .delivery_stream_arn("arn:aws:firehose:eu-west-1:123456789012:deliverystream/beacons")
            .delivery_stream_status(status.into())
            .delivery_stream_type(kind.into())
            .version_id("1")
            .set_destinations(Some(Vec::new()))
            .has_more_destinations(false)
            .build()
            .unwrap()
    }

    #[test]
    fn a_status_is_told_as_it_was_answered() {
        for (status, takes_records) in [("ACTIVE", true), ("CREATING", false), ("HIBERNATING", false)] {
            let description = description(&stream(status, "DirectPut")).unwrap();
            assert_eq!((description.status.as_str(), description.takes_records), (status, takes_records));
        }
        let without = description(&stream("no value was set", "DirectPut")).unwrap_err();
        assert_eq!(without.to_string(), "MalformedReply: the reply has no DeliveryStreamStatus");
    }

    #[test]
    fn records_go_to_the_source_of_a_stream_that_has_one() {
        let description = description(&stream("ACTIVE", "KinesisStreamAsSource")).unwrap();
        let error = description.verify(false, 0).unwrap_err();
        assert!(error.to_string().starts_with("is a KinesisStreamAsSource: records go to its source"), "{error}");
    }
}
