//! The two services behind one face, and what they say of a stream before anything is sent.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_firehose::types::{DeliveryStreamEncryptionStatus, DeliveryStreamStatus, DeliveryStreamType};
use aws_sdk_kinesis::types::{EncryptionType, RecordDistributionStrategy, StreamMode, StreamStatus};

use super::Stream;
use super::failure::Failure;
use super::firehose::Firehose;
use super::kinesis::Kinesis;
use pixel_engine_core::record::Record;
use pixel_engine_core::sink::entry::{append_entry, begin_request, end_request};
use pixel_engine_core::sink::limits::Api;
use pixel_engine_kpl::{ShardMap, SharedShardMap};

pub(super) enum Service {
    Firehose(Firehose),
    Kinesis(Kinesis),
}

/// What a service says of a record: the shard that took it, for Kinesis.
pub(super) type Answer = Result<Option<String>, Failure>;

/// A stream as its service describes it.
#[derive(Debug)]
pub(super) struct Description {
    /// `ACTIVE`, `CREATING`, ...
    pub(super) status: String,
    /// Whether records can be put now.
    pub(super) takes_records: bool,
    /// Direct PUT, provisioned or on-demand.
    pub(super) kind: String,
    pub(super) encryption: String,
    /// Bytes of data and partition key.
    pub(super) largest_record: usize,
    /// Shards are chosen by the service, whatever the keys: an `AUTO` stream.
    pub(super) ignores_keys: bool,
    /// A delivery stream whose source is something else.
    pub(super) other_source: bool,
}

impl Service {
    pub(super) fn new(configuration: &SdkConfig, endpoint_url: Option<&str>, stream: &Stream) -> Service {
        match stream.api() {
            Api::PutRecordBatch => Service::Firehose(Firehose::new(configuration, endpoint_url, stream.name())),
            Api::PutRecords => Service::Kinesis(Kinesis::new(configuration, endpoint_url, stream)),
        }
    }

    /// The name of the call that [`Service::describe`] makes, as a permission.
    pub(super) fn permission_to_describe(&self) -> &'static str {
        match self {
            Service::Firehose(_) => "firehose:DescribeDeliveryStream",
            Service::Kinesis(_) => "kinesis:DescribeStreamSummary",
        }
    }

    pub(super) async fn describe(&self) -> Result<Description, Failure> {
        match self {
            Service::Firehose(firehose) => {
                let stream = firehose.describe().await?;
                let encryption = stream.delivery_stream_encryption_configuration();
                let encryption = encryption.filter(|it| it.status() == Some(&DeliveryStreamEncryptionStatus::Enabled));
                let key = encryption.and_then(|it| it.key_type()).map_or("KMS", |kind| kind.as_str());
                Ok(Description {
                    status: stream.delivery_stream_status().to_string(),
                    takes_records: *stream.delivery_stream_status() == DeliveryStreamStatus::Active,
                    kind: stream.delivery_stream_type().to_string(),
                    encryption: if encryption.is_some() {
                        format!("encrypted ({key})")
                    } else {
                        "not encrypted".into()
                    },
                    largest_record: pixel_engine_core::pack::lines::MAX_RECORD_SIZE,
                    ignores_keys: false,
                    other_source: *stream.delivery_stream_type() != DeliveryStreamType::DirectPut,
                })
            }
            Service::Kinesis(kinesis) => {
                let stream = kinesis.describe().await?;
                let mode = stream.stream_mode_details().map(|mode| mode.stream_mode());
                let is_encrypted = stream.encryption_type() == Some(&EncryptionType::Kms);
                let key = stream.key_id().unwrap_or("KMS");
                Ok(Description {
                    status: stream.stream_status().to_string(),
                    takes_records: matches!(stream.stream_status(), StreamStatus::Active | StreamStatus::Updating),
                    kind: if mode == Some(&StreamMode::OnDemand) { "on-demand" } else { "provisioned" }.to_owned(),
                    encryption: if is_encrypted { format!("encrypted ({key})") } else { "not encrypted".into() },
                    // Streams are made with 1 MiB; older endpoints do not say it.
                    largest_record: stream.max_record_size_in_kib().map_or(1 << 20, |kib| kib as usize * 1024),
                    ignores_keys: stream.record_distribution_strategy() == Some(&RecordDistributionStrategy::Auto),
                    other_source: false,
                })
            }
        }
    }

    /// The map that records are packed by; none for Firehose.
    pub(super) fn shards(&self) -> Option<&SharedShardMap> {
        match self {
            Service::Firehose(_) => None,
            Service::Kinesis(kinesis) => Some(kinesis.shards()),
        }
    }

    /// Reads the map again, unless that was done a moment ago; whether it was read.
    pub(super) async fn refresh_shards(&self) -> Result<bool, Failure> {
        match self {
            Service::Firehose(_) => Ok(false),
            Service::Kinesis(kinesis) => kinesis.refresh().await,
        }
    }

    /// Sends the body of a request; what the reply says of each record.
    pub(super) async fn put(&self, body: Vec<u8>, records: usize) -> Result<Vec<Answer>, Failure> {
        let answers: Vec<Answer> = match self {
            Service::Firehose(firehose) => {
                firehose.put(body).await?.into_iter().map(|answer| answer.map(|()| None)).collect()
            }
            Service::Kinesis(kinesis) => kinesis.put(body).await?.into_iter().map(|answer| answer.map(Some)).collect(),
        };
        if answers.len() != records {
            let found = answers.len();
            return Err(Failure::malformed_reply(format!("{found} results for {records} records")));
        }
        Ok(answers)
    }
}

/// The request that carries these records.
pub(super) fn body(stream: &Stream, records: &[Record]) -> Vec<u8> {
    let data: usize = records.iter().map(Record::length).sum();
    // 128 B around each: member names, and a key with its explicit hash key.
    let mut body = Vec::with_capacity(data.div_ceil(3) * 4 + records.len() * 128 + 256);
    begin_request(
        &mut body,
        stream.api(),
        Some(stream.arn().filter(|_| stream.api() == Api::PutRecords).unwrap_or(stream.name())),
    );
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        append_entry(&mut body, record);
    }
    end_request(&mut body);
    body
}

/// Which bucket and which shard a record is meant for.
pub(super) struct Places(Option<Arc<ShardMap>>);

impl Places {
    pub(super) fn new(shards: Option<&SharedShardMap>) -> Places {
        Places(shards.map(SharedShardMap::current))
    }

    /// The index of the bucket: the shard, or 0 for the whole stream.
    pub(super) fn bucket(&self, record: &Record) -> usize {
        match (&self.0, record.key()) {
            (Some(map), Some(key)) => map.shard_of(key.explicit_hash_key),
            _ => 0,
        }
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> usize {
        self.0.as_ref().map_or(1, |map| map.len())
    }

    /// Whether the shard that took a record is another than the one it was meant for.
    pub(super) fn is_other_shard(&self, record: &Record, shard: &str) -> bool {
        self.0.as_ref().is_some_and(|map| map.shards()[self.bucket(record)].id != shard)
    }
}

impl Display for Description {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}, {}", self.status, self.kind, self.encryption)
    }
}
