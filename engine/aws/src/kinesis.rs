//! PutRecords, and the map of shards that it goes by.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType, StreamDescriptionSummary};
use tokio::sync::Mutex;

use super::Stream;
use super::connection::send_instead;
use super::failure::Failure;
use pixel_engine_kpl::{Shard, ShardMap, SharedShardMap};

/// A reshard takes seconds; ListShards takes 1,000 calls a second, for all of an account's programs together.
const LEAST_TIME_BETWEEN_REFRESHES: Duration = Duration::from_secs(1);

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

    pub(super) async fn describe(&self) -> Result<StreamDescriptionSummary, Failure> {
        let request = match self.stream.arn() {
            Some(arn) => self.client.describe_stream_summary().stream_arn(arn),
            None => self.client.describe_stream_summary().stream_name(self.stream.name()),
        };
        let reply = request.send().await.map_err(|error| Failure::of_request(&error))?;
        let nothing = || Failure::malformed_reply("no description of the stream");
        reply.stream_description_summary.ok_or_else(nothing)
    }

    /// Reads the map of shards again, unless that was done a moment ago; whether it was read.
    pub(super) async fn refresh(&self) -> Result<bool, Failure> {
        let mut refreshed = self.refreshed.lock().await;
        if refreshed.is_some_and(|when| when.elapsed() < LEAST_TIME_BETWEEN_REFRESHES) {
            return Ok(false);
        }
        let map = self.list_shards().await.inspect_err(|_| {
            // Without a map there is nothing to go by, and it is asked for again at once. With one, a call that
            // failed is no reason for more of them.
            *refreshed = refreshed.map(|_| Instant::now());
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
            let reply = request.send().await.map_err(|error| Failure::of_request(&error))?;
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
        ShardMap::new(shards).map_err(|error| Failure::malformed_reply(format!("ListShards: {error}")))
    }

    /// Sends a request; for each record, in order, the shard that took it or why none did.
    pub(super) async fn put(&self, body: Vec<u8>) -> Result<Vec<Result<String, Failure>>, Failure> {
        let request = match self.stream.arn() {
            Some(arn) => self.client.put_records().stream_arn(arn),
            None => self.client.put_records().stream_name(self.stream.name()),
        };
        let request = request.set_records(Some(Vec::new()));
        let reply = request.customize().mutate_request(send_instead(body)).send().await;
        let reply = reply.map_err(|error| Failure::of_request(&error))?;
        let answer = |entry: aws_sdk_kinesis::types::PutRecordsResultEntry| match (
            entry.error_code,
            entry.sequence_number,
            entry.shard_id,
        ) {
            (Some(code), ..) => Err(Failure::of_record(&code, entry.error_message.as_deref())),
            (None, Some(_), Some(shard)) => Ok(shard),
            _ => Err(Failure::malformed_reply("a record with neither a SequenceNumber nor an ErrorCode")),
        };
        Ok(reply.records.into_iter().map(answer).collect())
    }
}

fn read_shard(shard: &aws_sdk_kinesis::types::Shard) -> Result<Shard, Failure> {
    let range = shard.hash_key_range();
    let key = |key: Option<&str>| key.and_then(|key| key.parse().ok());
    let start = key(range.map(|range| range.starting_hash_key()));
    let end = key(range.map(|range| range.ending_hash_key()));
    match (start, end) {
        (Some(start), Some(end)) => Ok(Shard { id: shard.shard_id().to_owned(), start, end }),
        _ => Err(Failure::malformed_reply(format!("ListShards: {} has no range of hash keys", shard.shard_id()))),
    }
}
