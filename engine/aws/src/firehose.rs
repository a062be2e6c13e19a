//! PutRecordBatch.

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::types::DeliveryStreamDescription;

use super::connection::send_instead;
use super::failure::Failure;

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

    pub(super) async fn describe(&self) -> Result<DeliveryStreamDescription, Failure> {
        let reply = self.client.describe_delivery_stream().delivery_stream_name(&self.name).send().await;
        let reply = reply.map_err(|error| Failure::of_request(&error))?;
        let nothing = || Failure::malformed_reply("no description of the delivery stream");
        reply.delivery_stream_description.ok_or_else(nothing)
    }

    /// Sends a request; what the reply says of each record, in order.
    pub(super) async fn put(&self, body: Vec<u8>) -> Result<Vec<Result<(), Failure>>, Failure> {
        let request = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(Vec::new()));
        let reply = request.customize().mutate_request(send_instead(body)).send().await;
        let reply = reply.map_err(|error| Failure::of_request(&error))?;
        let answer = |entry: &aws_sdk_firehose::types::PutRecordBatchResponseEntry| match (
            entry.error_code(),
            entry.record_id(),
        ) {
            (Some(code), _) => Err(Failure::of_record(code, entry.error_message())),
            (None, Some(_)) => Ok(()),
            (None, None) => Err(Failure::malformed_reply("a record with neither a RecordId nor an ErrorCode")),
        };
        Ok(reply.request_responses().iter().map(answer).collect())
    }
}
