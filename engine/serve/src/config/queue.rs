//! Objects that a queue tells of.

use glob::Pattern;
use pixel_engine_aws::sqs::QueueUrl;
use pixel_engine_core::config::Connection;
use serde::Deserialize;

use super::network::{SourceKey, key, parsed};
use super::read::globs;

/// The queue of a source of type `s3`, and what is read of its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The queue.
    pub url: QueueUrl,
    /// The region of queue and buckets.
    pub region: Option<String>,
    /// An endpoint in place of those of SQS and S3.
    pub endpoint_url: Option<String>,
    /// Which objects; all of them if there is none.
    pub keys: Vec<Pattern>,
    /// How many are read at a time.
    pub objects: usize,
    /// How many messages are worked on at a time.
    pub messages: usize,
}

impl QueueConfig {
    /// The way to the queue, by that of its pipeline.
    pub fn connection(&self, pipeline: &Connection) -> Connection {
        let region = self.region.as_deref().or(self.url.region()).map(str::to_owned);
        Connection {
            region: region.or_else(|| pipeline.region.clone()),
            endpoint_url: self.endpoint_url.clone().or_else(|| pipeline.endpoint_url.clone()),
            ..pipeline.clone()
        }
    }
}

/// The keys of a source of type `s3`.
pub const S3_KEYS: &[SourceKey] = &[
    key("queue", "required", "the URL of the queue that S3 notifies: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`"),
    key("region", "that in the queue's URL", "the region of the queue and of the buckets"),
    key("endpoint_url", "the pipeline's", "an endpoint in place of those of SQS and S3, for emulators"),
    key(
        "keys",
        "all",
        "a glob, or a list of them: only objects whose keys match are read, such as `logs/E2EXAMPLE.*.gz`. A `*` does \
         not pass a slash, `**` does",
    ),
    key(
        "objects",
        "4",
        "objects that are read at a time. Each takes up to 25 MiB of memory, and most of a core while it is decompressed",
    ),
    key(
        "messages",
        "1000",
        "messages that are worked on at a time; no more are taken. With few, records and files could not fill up, as \
         a message is deleted only when its lines have arrived",
    ),
];

const OBJECTS: usize = 4;
const MAX_OBJECTS: usize = 256;
const MESSAGES: usize = 1_000;
/// Those that a queue lets be in flight. Source: "Amazon SQS message quotas" in the developer guide.
const MAX_MESSAGES: usize = 120_000;

/// A source of type `s3` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct QueueSettings {
    #[serde(deserialize_with = "parsed")]
    queue: Option<QueueUrl>,
    region: Option<String>,
    endpoint_url: Option<String>,
    #[serde(deserialize_with = "globs")]
    keys: Vec<String>,
    objects: Option<usize>,
    messages: Option<usize>,
}

impl QueueSettings {
    pub(super) fn validate(self) -> Result<QueueConfig, String> {
        let missing = "the source has no queue: add queue = \"https://sqs.REGION.amazonaws.com/ACCOUNT/NAME\"";
        let pattern =
            |text: &String| Pattern::new(text).map_err(|error| format!("keys: {text}: not a glob: {}", error.msg));
        let count = |name, given: Option<usize>, default, max| match given.unwrap_or(default) {
            count if (1..=max).contains(&count) => Ok(count),
            _ => Err(format!("{name}: from 1 to {max}")),
        };
        Ok(QueueConfig {
            url: self.queue.ok_or(missing)?,
            region: self.region,
            endpoint_url: self.endpoint_url,
            keys: self.keys.iter().map(pattern).collect::<Result<_, _>>()?,
            objects: count("objects", self.objects, OBJECTS, MAX_OBJECTS)?,
            messages: count("messages", self.messages, MESSAGES, MAX_MESSAGES)?,
        })
    }
}
