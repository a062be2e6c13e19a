//! PutRecords, and the map of shards that it goes by.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{
    EncryptionType, PutRecordsResultEntry, RecordDistributionStrategy, ShardFilter, ShardFilterType,
    StreamDescriptionSummary, StreamMode, StreamStatus,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connection::send_instead;
use super::failure::{answered, of_record, of_request, told};
use pixel_engine_core::config::Stream;
use pixel_engine_core::deliver::{Answer, Description, Failure};
use pixel_engine_core::limits::kinesis::DEFAULT_MAX_RECORD_SIZE;
use pixel_engine_kpl::{Shard, ShardMap, SharedShardMap};

/// A reshard takes seconds; ListShards takes 1,000 calls a second, for all of an account's programs
/// together.
const MIN_TIME_BETWEEN_REFRESHES: Duration = Duration::from_secs(1);

pub(super) struct Kinesis {
    client: Client,
    stream: Stream,
    shards: SharedShardMap,
    refreshed: Mutex<Option<Instant>>,
}

impl Kinesis {
    pub(super) fn new(configuration: &SdkConfig, endpoint_url: Option<&str>, stream: &Stream) -> Kinesis {
        let mut config = aws_sdk_kinesis::config::Builder::from(configuration);
        if let Some(url) = endpoint_url {
            // Unset otherwise, one that the chain has for this service alone would be lost.
            config.set_endpoint_url(Some(url.to_owned()));
        }
        Kinesis {
            client: Client::from_conf(config.build()),
            stream: stream.clone(),
            shards: SharedShardMap::default(),
            refreshed: Mutex::new(None),
        }
    }

    /// The map, which is read by [`Kinesis::refresh`].
    pub(super) fn shards(&self) -> &SharedShardMap {
        &self.shards
    }

    pub(super) async fn describe(&self) -> Result<Description, Failure> {
        const CALL: &str = "kinesis:DescribeStreamSummary";
        let request = match self.stream.arn() {
            Some(arn) => self.client.describe_stream_summary().stream_arn(arn),
            None => self.client.describe_stream_summary().stream_name(self.stream.name()),
        };
        let reply = request.send().await.map_err(|error| of_request(&error).during(CALL))?;
        let nothing = || Failure::malformed_reply("no description of the stream");
        let stream = reply.stream_description_summary.ok_or_else(nothing);
        stream.and_then(|stream| description(&stream)).map_err(|failure| failure.during(CALL))
    }

    /// Reads the map of shards again, unless that was done a moment ago; whether it was read.
    pub(super) async fn refresh(&self) -> Result<bool, Failure> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|when| when.elapsed() < MIN_TIME_BETWEEN_REFRESHES) {
            return Ok(false);
        }
        let map = self.list_shards().await.map_err(|failure| {
            // Without a map there is nothing to go by, and it is asked for again at once. With one,
            // a call that failed is no reason for more of them.
            *refreshed = refreshed.map(|_| Instant::now());
            failure.during("kinesis:ListShards")
        })?;
        tracing::info!("{}: {} open shards", self.stream, map.len());
        self.shards.replace(map);
        *refreshed = Some(Instant::now());
        Ok(true)
    }

    async fn list_shards(&self) -> Result<ShardMap, Failure> {
        let open = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build();
        let open = open.map_err(|error| Failure::malformed_reply(error.to_string()))?;
        let mut shards = Vec::new();
        let mut next_token: Option<String> = None;
        loop {
            // A token stands for the stream and the filter.
            let request = match (&next_token, self.stream.arn()) {
                (Some(token), _) => self.client.list_shards().next_token(token),
                (None, Some(arn)) => self.client.list_shards().stream_arn(arn).shard_filter(open.clone()),
                (None, None) => self.client.list_shards().stream_name(self.stream.name()).shard_filter(open.clone()),
            };
            let reply = request.send().await.map_err(|error| of_request(&error))?;
            for shard in reply.shards() {
                // An endpoint that does not know the filter lists closed shards too.
                let is_open =
                    shard.sequence_number_range().is_none_or(|range| range.ending_sequence_number().is_none());
                if is_open {
                    shards.push(read_shard(shard)?);
                }
            }
            next_token = reply.next_token().map(ToOwned::to_owned);
            if next_token.is_none() {
                break;
            }
        }
        ShardMap::new(shards).map_err(|error| Failure::malformed_reply(error.to_string()))
    }

    /// Sends a request; for each record, in order, the shard that took it or why none did.
    pub(super) async fn put(&self, body: Vec<u8>) -> Result<Vec<Answer>, Failure> {
        let request = match self.stream.arn() {
            Some(arn) => self.client.put_records().stream_arn(arn),
            None => self.client.put_records().stream_name(self.stream.name()),
        };
        let request = request.set_records(Some(Vec::new()));
        let reply = request.customize().mutate_request(send_instead(body)).send().await;
        let reply = reply.map_err(|error| of_request(&error))?;
        Ok(reply.records.into_iter().map(answer).collect())
    }
}

fn answer(entry: PutRecordsResultEntry) -> Answer {
    match (entry.error_code, entry.sequence_number, entry.shard_id) {
        (Some(code), ..) => Err(of_record(&code, entry.error_message.as_deref())),
        (None, Some(_), Some(shard)) => Ok(Some(shard)),
        _ => Err(Failure::malformed_reply("a record with neither a SequenceNumber nor an ErrorCode")),
    }
}

fn description(stream: &StreamDescriptionSummary) -> Result<Description, Failure> {
    let mode = stream.stream_mode_details().and_then(|mode| told(mode.stream_mode().as_str()));
    let mut kind = match mode.map(StreamMode::from) {
        // Older endpoints do not tell.
        None | Some(StreamMode::Provisioned) => "provisioned".to_owned(),
        Some(StreamMode::OnDemand) => "on-demand".to_owned(),
        Some(other) => other.to_string(),
    };
    let distribution = stream.record_distribution_strategy();
    if let Some(other) = distribution.filter(|it| RecordDistributionStrategy::try_parse(it.as_str()).is_err()) {
        kind += &format!(", record distribution {other}");
    }
    let encryption = match stream.encryption_type() {
        None | Some(EncryptionType::None) => "not encrypted".to_owned(),
        Some(EncryptionType::Kms) => format!("encrypted ({})", stream.key_id().unwrap_or("KMS")),
        Some(other) => format!("encryption {other}"),
    };
    let mut description = Description::default();
    description.status = answered("StreamStatus", stream.stream_status().as_str())?;
    description.takes_records = matches!(stream.stream_status(), StreamStatus::Active | StreamStatus::Updating);
    description.kind = kind;
    description.encryption = encryption;
    // Streams are made with 1 MiB; older endpoints do not tell the limit.
    description.max_record_size =
        stream.max_record_size_in_kib().map_or(DEFAULT_MAX_RECORD_SIZE, |kib| kib as usize * 1024);
    description.ignores_keys = distribution == Some(&RecordDistributionStrategy::Auto);
    Ok(description)
}

fn read_shard(shard: &aws_sdk_kinesis::types::Shard) -> Result<Shard, Failure> {
    let range = shard.hash_key_range();
    let key = |key: Option<&str>| key.and_then(|key| key.parse().ok());
    let start = key(range.map(|range| range.starting_hash_key()));
    let end = key(range.map(|range| range.ending_hash_key()));
    match (start, end) {
        (Some(start), Some(end)) => Ok(Shard { id: shard.shard_id().to_owned(), start, end }),
        _ => Err(Failure::malformed_reply(format!("{} has no range of hash keys", shard.shard_id()))),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::DateTime;

    use super::*;

    #[test]
    fn a_status_is_told_as_it_was_answered() {
        let stream = |status: &str| {
            StreamDescriptionSummary::builder()
                .stream_name("hits")
                .stream_arn("arn:aws:kinesis:eu-west-1:123456789012:stream/hits")
                .stream_status(status.into())
                .retention_period_hours(24)
                .stream_creation_timestamp(DateTime::from_secs(0))
                .set_enhanced_monitoring(Some(Vec::new()))
                .open_shard_count(1)
                .build()
                .unwrap()
        };
        for (status, takes_records) in [("ACTIVE", true), ("UPDATING", true), ("DELETING", false), ("NEW", false)] {
            let description = description(&stream(status)).unwrap();
            assert_eq!((description.status.as_str(), description.takes_records), (status, takes_records));
        }
        let without = description(&stream("no value was set")).unwrap_err();
        assert_eq!(without.to_string(), "MalformedReply: the reply has no StreamStatus");
    }
}
