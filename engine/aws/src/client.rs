//! The two services behind one face.

use aws_config::SdkConfig;

use super::connection::configuration;
use super::firehose::Firehose;
use super::kinesis::Kinesis;
use super::{Connection, Error};
use pixel_engine_core::config::Stream;
use pixel_engine_core::deliver::{Answer, Description, Failure, Service};
use pixel_engine_core::record::Record;
use pixel_engine_core::sink::entry::{append_entry, begin_request, end_request};
use pixel_engine_core::sink::limits::Api;
use pixel_engine_core::spool::Destination;
use pixel_engine_kpl::SharedShardMap;

/// A stream of Firehose or Kinesis that can be sent to.
pub struct StreamClient {
    stream: Stream,
    api: Client,
}

enum Client {
    Firehose(Firehose),
    Kinesis(Kinesis),
}

impl StreamClient {
    /// Finds region and credentials. Nothing is asked of the stream yet.
    ///
    /// # Errors
    /// There is no region, no such profile, or an endpoint that is none.
    pub async fn connect(stream: &Stream, connection: &Connection) -> Result<StreamClient, Error> {
        let configuration = configuration(connection, stream).await?;
        Ok(StreamClient::new(&configuration, connection, stream))
    }

    pub(super) fn new(configuration: &SdkConfig, connection: &Connection, stream: &Stream) -> StreamClient {
        let endpoint_url = connection.endpoint_url.as_deref();
        let api = match stream.api() {
            Api::PutRecordBatch => Client::Firehose(Firehose::new(configuration, endpoint_url, stream.name())),
            Api::PutRecords => Client::Kinesis(Kinesis::new(configuration, endpoint_url, stream)),
        };
        StreamClient { stream: stream.clone(), api }
    }

    /// What the stream is, in any case.
    pub(super) async fn look(&self) -> Result<Description, Failure> {
        match &self.api {
            Client::Firehose(firehose) => firehose.describe().await,
            Client::Kinesis(kinesis) => kinesis.describe().await,
        }
    }
}

impl Service for StreamClient {
    fn uri(&self) -> String {
        self.stream.to_string()
    }

    fn destination(&self) -> Destination {
        Destination { api: self.stream.api(), stream: self.stream.name().to_owned() }
    }

    fn shards(&self) -> Option<&SharedShardMap> {
        match &self.api {
            Client::Firehose(_) => None,
            Client::Kinesis(kinesis) => Some(kinesis.shards()),
        }
    }

    async fn refresh_shards(&self) -> Result<bool, Failure> {
        match &self.api {
            Client::Firehose(_) => Ok(false),
            Client::Kinesis(kinesis) => kinesis.refresh().await,
        }
    }

    /// Firehose needs no more than the permission to put records, and there are endpoints that
    /// describe a stream otherwise than AWS: what is wrong shows with the first records then.
    async fn describe(&self) -> Result<Option<Description>, Failure> {
        match (&self.api, self.look().await) {
            (Client::Firehose(_), Err(failure)) if is_no_answer(&failure) => {
                tracing::debug!("{}: not looked at beforehand: {failure}", self.stream);
                Ok(None)
            }
            (_, described) => described.map(Some),
        }
    }

    /// Written straight from the blocks that the lines came in: see `sink::entry`.
    fn body(&self, records: &[Record]) -> Vec<u8> {
        let data: usize = records.iter().map(Record::data_len).sum();
        // 128 B around each: member names, and a key with its explicit hash key.
        let mut body = Vec::with_capacity(data.div_ceil(3) * 4 + records.len() * 128 + 256);
        let api = self.stream.api();
        let name = self.stream.arn().filter(|_| api == Api::PutRecords).unwrap_or(self.stream.name());
        begin_request(&mut body, api, Some(name));
        for (index, record) in records.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            append_entry(&mut body, record);
        }
        end_request(&mut body);
        body
    }

    async fn put(&self, body: Vec<u8>) -> Result<Vec<Answer>, Failure> {
        match &self.api {
            Client::Firehose(firehose) => firehose.put(body).await,
            Client::Kinesis(kinesis) => kinesis.put(body).await,
        }
    }
}

/// Whether that says nothing about the stream.
fn is_no_answer(failure: &Failure) -> bool {
    failure.code().starts_with("AccessDenied") || failure.code() == Failure::MALFORMED_REPLY
}
