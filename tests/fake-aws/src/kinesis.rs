//! Kinesis Data Streams: PutRecords, ListShards, DescribeStreamSummary and DescribeLimits.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64_simd::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::faults::{Fault, Faults, RecordFailure, spoil};
use crate::lock;
use crate::parse::{Blobs, Constraints, Text, members};
use crate::records::{Arrival, Delivered, Store, StreamCounts};
use crate::refusal::Refusal;
use crate::reply::{Protocol, Reply};
use crate::server::{Call, Shared};
use crate::shards::{Shard, ShardMap, ShardQuota};

/// Records in a PutRecords request, at most. Source: PutRecords.
pub const RECORDS_LIMIT: usize = 500;

/// Which shard takes a record: `RecordDistributionStrategy` in DescribeStreamSummary.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Distribution {
    /// `AUTO`: keys are optional, and ignored.
    Auto,
    /// `USER_PARTITION_KEY`: the explicit hash key, else the MD5 of the partition key.
    #[default]
    UserPartitionKey,
}

/// A data stream, to set up and to look into. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    faults: Faults,
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    status: String,
    on_demand: bool,
    encrypted: bool,
    described: Map<String, Value>,
    distribution: Distribution,
    request_limit: usize,
    record_limit_kib: usize,
    page: usize,
    shards: ShardMap,
    /// Of the last record.
    sequence: u64,
}

impl Stream {
    pub(crate) fn new(inner: Arc<Inner>, shared: Arc<Shared>) -> Stream {
        Stream { inner, shared }
    }

    fn set(&self, change: impl FnOnce(&mut State)) -> &Stream {
        change(&mut lock(&self.inner.state));
        self
    }

    /// What each shard takes, open now or later; full at first. [`ShardQuota::default`] without it.
    pub fn quota(&self, quota: ShardQuota) -> &Stream {
        self.set(|state| state.shards.set_quota(quota))
    }

    /// Bytes of a PutRecords request, data and partition keys, in MiB: 10 at first, which is what
    /// AWS's pages say today; 5 until 2025.
    pub fn request_limit_mib(&self, limit: usize) -> &Stream {
        self.set(|state| state.request_limit = limit << 20)
    }

    /// `MaxRecordSizeInKiB`: data and partition key of a record, 1,024 at first, 10,240 at most.
    pub fn record_limit_kib(&self, limit: usize) -> &Stream {
        assert!((1024..=10_240).contains(&limit), "{limit} KiB: MaxRecordSizeInKiB lies between 1024 and 10240");
        self.set(|state| state.record_limit_kib = limit)
    }

    /// `StreamStatus`, `ACTIVE` at first. Only `ACTIVE` and `UPDATING` streams take records.
    pub fn status(&self, status: &str) -> &Stream {
        self.set(|state| status.clone_into(&mut state.status))
    }

    /// `StreamMode`: on-demand or, at first, provisioned. Shards stay what they are.
    pub fn on_demand(&self, on_demand: bool) -> &Stream {
        self.set(|state| state.on_demand = on_demand)
    }

    /// Whether it is encrypted with KMS, which it is not at first.
    pub fn encrypted(&self, encrypted: bool) -> &Stream {
        self.set(|state| state.encrypted = encrypted)
    }

    /// A member of the description as a later version of AWS may answer it.
    pub fn described(&self, member: &str, value: Value) -> &Stream {
        self.set(|state| drop(state.described.insert(member.to_owned(), value)))
    }

    /// How records find their shards, [`Distribution::UserPartitionKey`] at first.
    pub fn distribution(&self, distribution: Distribution) -> &Stream {
        self.set(|state| state.distribution = distribution)
    }

    /// Shards that ListShards answers at once, at most: 1,000 at first.
    pub fn shards_per_page(&self, shards: usize) -> &Stream {
        assert!(shards > 0, "a page has at least one shard");
        self.set(|state| state.page = shards)
    }

    /// Closes a shard and opens two in its place, each with half of its hash keys. Returns their
    /// ids.
    pub fn split_shard(&self, id: &str) -> [Arc<str>; 2] {
        let mut state = lock(&self.inner.state);
        let sequence = state.next_sequence();
        state.shards.split(id, sequence)
    }

    /// Closes two shards that are neighbours and opens one in their place. Returns its id.
    pub fn merge_shards(&self, id: &str, adjacent: &str) -> Arc<str> {
        let mut state = lock(&self.inner.state);
        let sequence = state.next_sequence();
        state.shards.merge(id, adjacent, sequence)
    }

    /// All shards, the closed ones too, in the order of their ids.
    pub fn shards(&self) -> Vec<Shard> {
        lock(&self.inner.state).shards.shards().cloned().collect()
    }

    /// The next PutRecords that breaks no rule meets this; faults queue up.
    pub fn fault(&self, fault: Fault) -> &Stream {
        self.fault_on(Action::PutRecords, fault)
    }

    /// The next call of that action for this stream meets this. [`Fault::FailRecords`] and
    /// [`Fault::WrongCount`] mean nothing to calls without records.
    pub fn fault_on(&self, action: Action, fault: Fault) -> &Stream {
        self.shared.queue_fault(&self.inner.faults, action, fault);
        self
    }

    /// That fraction of all records fails, `Throttled` and `Internal` alike. 0 ends it.
    pub fn fail_records(&self, fraction: f64, seed: u64) -> &Stream {
        self.inner.faults.fail_records(fraction, seed);
        self
    }

    /// That fraction of all PutRecords requests meets one of the faults. 0 ends it.
    pub fn fail_requests(&self, fraction: f64, seed: u64, faults: &[Fault]) -> &Stream {
        self.inner.faults.fail_requests(fraction, seed, faults);
        self
    }

    /// Stores nothing from now on, and counts.
    pub fn keep_counts(&self) -> &Stream {
        self.inner.store.keep_counts();
        self
    }

    /// Calls `each` with every record from now on instead of storing it.
    pub fn hand_over(&self, each: impl FnMut(Arrival<'_>) + Send + 'static) -> &Stream {
        self.inner.store.hand_over(each);
        self
    }

    /// Every record stored, in order of arrival.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.inner.store.delivered()
    }

    /// How much was stored.
    pub fn counts(&self) -> StreamCounts {
        self.inner.store.counts()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Vec<Record<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow)]
    explicit_hash_key: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsOutput {
    encryption_type: &'static str,
    failed_record_count: usize,
    records: Vec<RecordOutput>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RecordOutput {
    #[serde(rename_all = "PascalCase")]
    Stored { sequence_number: String, shard_id: Arc<str> },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'static str, error_message: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListShards<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
    #[serde(borrow)]
    next_token: Option<Text<'a>>,
    #[serde(borrow)]
    exclusive_start_shard_id: Option<Text<'a>>,
    max_results: Option<usize>,
    #[serde(borrow)]
    shard_filter: Option<ShardFilter<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ShardFilter<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    shard_id: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeStreamSummary<'a> {
    #[serde(borrow)]
    stream_name: Option<Text<'a>>,
    #[serde(borrow, rename = "StreamARN")]
    stream_arn: Option<Text<'a>>,
}

/// Where a listing of shards goes on.
#[derive(Default, Deserialize, Serialize)]
struct Page {
    stream: String,
    after: String,
    open_only: bool,
}

impl Inner {
    pub(crate) fn new(name: &str, shards: usize) -> Inner {
        let state = State {
            status: "ACTIVE".to_owned(),
            on_demand: false,
            encrypted: false,
            described: Map::new(),
            distribution: Distribution::default(),
            request_limit: 10 << 20,
            record_limit_kib: 1024,
            page: 1000,
            shards: ShardMap::new(shards),
            sequence: 0,
        };
        Inner { name: name.to_owned(), faults: Faults::default(), store: Arc::default(), state: Mutex::new(state) }
    }

    pub(crate) fn open_shards(&self) -> usize {
        lock(&self.state).shards.open_count()
    }

    pub(crate) fn is_on_demand(&self) -> bool {
        lock(&self.state).on_demand
    }

    fn put(&self, call: &Call<'_>, records: &[Record<'_>], blobs: &Blobs) -> Result<Reply, Refusal> {
        let mut state = lock(&self.state);
        let hash_keys = state.hash_keys(records)?;
        let fault = self.faults.next(Action::PutRecords);
        if fault.as_ref().is_some_and(Fault::prevents) {
            return Ok(spoil(fault, Reply::json(Vec::new()), Protocol::Json));
        }
        let now = Instant::now();
        let failures = self.faults.failing_records(records.len(), fault.as_ref());
        let mut batch = self.store.batch();
        let mut outputs = Vec::with_capacity(records.len());
        for (((record, data), hash_key), failure) in records.iter().zip(blobs.iter()).zip(hash_keys).zip(failures) {
            let partition_key = record.partition_key.as_ref().map(|key| &*key.0);
            let shard = match state.distribution {
                Distribution::Auto => state.shards.take_turn(),
                Distribution::UserPartitionKey => state.shards.route(hash_key.routing),
            };
            let bytes = data.len() + partition_key.map_or(0, str::len);
            let failure =
                failure.or_else(|| (!state.shards.admits(shard, bytes, now)).then_some(RecordFailure::Throttled));
            outputs.push(match failure {
                None => {
                    let sequence = state.next_sequence();
                    let shard_id = state.shards.id(shard);
                    batch.push(Arrival {
                        data,
                        partition_key,
                        explicit_hash_key: hash_key.explicit,
                        shard_id: Some(shard_id),
                        request: call.number,
                    });
                    RecordOutput::Stored { sequence_number: sequence_number(sequence), shard_id: Arc::clone(shard_id) }
                }
                Some(failure) => {
                    batch.fail();
                    let (name, account, shard_id) = (&self.name, &call.shared.account, state.shards.id(shard));
                    let (error_code, error_message) = match failure {
                        RecordFailure::Internal => ("InternalFailure", "Internal service failure.".to_owned()),
                        RecordFailure::Refused => ("KMSDisabledException", "The KMS key is disabled.".to_owned()),
                        RecordFailure::Throttled => (
                            "ProvisionedThroughputExceededException",
                            format!("Rate exceeded for shard {shard_id} in stream {name} under account {account}."),
                        ),
                    };
                    RecordOutput::Failed { error_code, error_message }
                }
            });
        }
        let receipt = batch.finish();
        let failed = outputs.iter().filter_map(|output| match output {
            RecordOutput::Stored { .. } => None,
            RecordOutput::Failed { error_code, .. } => Some(*error_code),
        });
        let failed_record_count = failed.clone().count();
        call.shared.tally.records(records.len() - failed_record_count, failed);
        if matches!(fault, Some(Fault::WrongCount)) {
            outputs.pop();
        }
        let output = PutRecordsOutput { encryption_type: state.encryption(), failed_record_count, records: outputs };
        let body = serde_json::to_vec(&output).expect("the output has no maps");
        Ok(spoil(fault, Reply { receipt: Some(receipt), ..Reply::json(body) }, Protocol::Json))
    }

    fn summary(&self, arn: &str) -> Value {
        let state = lock(&self.state);
        let mut summary = json!({
            "StreamName": self.name,
            "StreamARN": arn,
            "StreamStatus": state.status,
            "StreamModeDetails": { "StreamMode": if state.on_demand { "ON_DEMAND" } else { "PROVISIONED" } },
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_767_600_000.0,
            "EnhancedMonitoring": [{ "ShardLevelMetrics": [] }],
            "EncryptionType": state.encryption(),
            "OpenShardCount": state.shards.open_count(),
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": state.record_limit_kib,
            "RecordDistributionStrategy": match state.distribution {
                Distribution::Auto => "AUTO",
                Distribution::UserPartitionKey => "USER_PARTITION_KEY",
            },
        });
        if state.encrypted {
            summary["KeyId"] = json!("alias/aws/kinesis");
        }
        for (member, value) in &state.described {
            summary[member] = value.clone();
        }
        summary
    }

    fn list(&self, page: Page, most: Option<usize>) -> Value {
        let state = lock(&self.state);
        let mut rest =
            state.shards.shards().filter(|shard| (shard.open || !page.open_only) && *shard.id > *page.after).peekable();
        let shards: Vec<Value> =
            rest.by_ref().take(most.unwrap_or(state.page).min(state.page)).map(shard_output).collect();
        let mut output = json!({ "Shards": shards });
        if rest.peek().is_some() {
            let after = shards.last().and_then(|shard| shard["ShardId"].as_str()).unwrap_or_default().to_owned();
            let token = serde_json::to_vec(&Page { after, ..page }).expect("a page has no maps");
            output["NextToken"] = json!(URL_SAFE_NO_PAD.encode_to_string(token));
        }
        output
    }
}

/// What decides a record's shard.
struct HashKey {
    routing: u128,
    explicit: Option<u128>,
}

impl State {
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn encryption(&self) -> &'static str {
        if self.encrypted { "KMS" } else { "NONE" }
    }

    fn hash_keys(&self, records: &[Record<'_>]) -> Result<Vec<HashKey>, Refusal> {
        let hash_key = |record: &Record<'_>| {
            let explicit = record.explicit_hash_key.as_ref().map(|key| {
                key.0.parse().map_err(|_| {
                    let message = format!(
                        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value \
                         was {}",
                        key.0
                    );
                    Refusal::violation("InvalidArgumentException", message)
                })
            });
            let explicit = explicit.transpose()?;
            let routing = explicit.unwrap_or_else(|| {
                let partition_key = record.partition_key.as_ref().map_or("", |key| &*key.0);
                u128::from_be_bytes(Md5::digest(partition_key).into())
            });
            Ok(HashKey { routing, explicit })
        };
        records.iter().map(hash_key).collect()
    }
}

fn sequence_number(sequence: u64) -> String {
    format!("49594189147623985939{sequence:036}")
}

fn shard_output(shard: &Shard) -> Value {
    let mut sequence_numbers = json!({ "StartingSequenceNumber": sequence_number(shard.first_sequence) });
    if let Some(last) = shard.last_sequence {
        sequence_numbers["EndingSequenceNumber"] = json!(sequence_number(last));
    }
    let mut output = json!({
        "ShardId": shard.id,
        "HashKeyRange": {
            "StartingHashKey": shard.hash_keys.start().to_string(),
            "EndingHashKey": shard.hash_keys.end().to_string(),
        },
        "SequenceNumberRange": sequence_numbers,
    });
    if let Some(parent) = &shard.parent {
        output["ParentShardId"] = json!(parent);
    }
    if let Some(parent) = &shard.adjacent_parent {
        output["AdjacentParentShardId"] = json!(parent);
    }
    output
}

pub(crate) fn put_records(call: &Call<'_>, blobs: &mut Blobs) -> Result<Reply, Refusal> {
    let input: PutRecords<'_> = members(call.body)?;
    let records = input.records.as_deref().unwrap_or_default();
    blobs.clear();
    for record in records {
        match &record.data {
            Some(data) => blobs.push(&data.0)?,
            None => blobs.push_none(),
        }
    }
    let name = stream_name(call, input.stream_name.as_ref(), input.stream_arn.as_ref());
    let known = name.as_ref().ok().and_then(|name| lock(&call.shared.streams).get(*name).cloned());
    // Limits of a stream that does not exist are those of a new one.
    let (keys_needed, record_limit, request_limit) = match &known {
        Some(stream) => {
            let state = lock(&stream.state);
            let keys_needed = state.distribution == Distribution::UserPartitionKey;
            (keys_needed, state.record_limit_kib << 10, state.request_limit)
        }
        None => (true, 1 << 20, 10 << 20),
    };

    let mut constraints = Constraints::default();
    constraints.require_member(input.records.is_some(), "records");
    if input.records.is_some() {
        constraints.check_len(records.len(), 1..RECORDS_LIMIT + 1, "records");
    }
    let mut total = 0;
    for ((number, record), data) in (1..).zip(records).zip(blobs.iter()) {
        let member = |name| format!("records.{number}.member.{name}");
        constraints.require_member(record.data.is_some(), format_args!("records.{number}.member.data"));
        let mut size = data.len();
        match &record.partition_key {
            Some(key) => {
                size += key.0.len();
                constraints.check_len(
                    key.0.chars().count(),
                    1..257,
                    format_args!("records.{number}.member.partitionKey"),
                );
            }
            None => constraints.require_member(!keys_needed, member("partitionKey")),
        }
        if let Some(key) = &record.explicit_hash_key {
            let constraint = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
            constraints.require(is_hash_key(&key.0), member("explicitHashKey"), constraint);
        }
        if size > record_limit {
            constraints.check_len(size, 0..record_limit + 1, member("data"));
        }
        total += size;
    }
    if let Some(name) = &input.stream_name {
        constraints.name(&name.0, 128, "streamName");
    }
    constraints.finish()?;
    let name = name?;
    call.shared.authority.check(call.principal, Action::PutRecords, &arn(call, name))?;
    if total > request_limit {
        let message = format!("Records size exceeds {} MB limit", request_limit >> 20);
        return Err(Refusal::violation("InvalidArgumentException", message));
    }
    let stream = known.ok_or_else(|| not_found(call, name))?;
    if !matches!(lock(&stream.state).status.as_str(), "ACTIVE" | "UPDATING") {
        return Err(not_found(call, name));
    }
    stream.put(call, records, blobs)
}

fn is_hash_key(text: &str) -> bool {
    let digits = text.len() <= 39 && text.bytes().all(|byte| byte.is_ascii_digit());
    text == "0" || digits && !text.is_empty() && !text.starts_with('0')
}

pub(crate) fn list_shards(call: &Call<'_>) -> Result<Reply, Refusal> {
    let input: ListShards<'_> = members(call.body)?;
    let page = match &input.next_token {
        Some(token) => {
            for (member, name) in
                [(&input.stream_name, "StreamName"), (&input.exclusive_start_shard_id, "ExclusiveStartShardId")]
            {
                if member.is_some() {
                    let message = format!("NextToken and {name} cannot be provided together.");
                    return Err(Refusal::violation("InvalidArgumentException", message));
                }
            }
            let page = URL_SAFE_NO_PAD.decode_to_vec(&*token.0).ok();
            let page = page.and_then(|json| serde_json::from_slice(&json).ok());
            page.ok_or_else(|| Refusal::violation("InvalidArgumentException", "NextToken is invalid."))?
        }
        None => {
            let stream = stream_name(call, input.stream_name.as_ref(), input.stream_arn.as_ref())?.to_owned();
            let start = input.exclusive_start_shard_id.as_ref();
            let mut page =
                Page { stream, after: start.map_or_else(String::new, |id| id.0.to_string()), open_only: false };
            if let Some(filter) = &input.shard_filter {
                match &*filter.r#type.0 {
                    "AT_LATEST" => page.open_only = true,
                    "AFTER_SHARD_ID" => match &filter.shard_id {
                        Some(id) => page.after = id.0.to_string(),
                        None => {
                            let message = "ShardId must be provided when ShardFilterType is AFTER_SHARD_ID.";
                            return Err(Refusal::violation("InvalidArgumentException", message));
                        }
                    },
                    "FROM_TRIM_HORIZON" => {}
                    other => return Err(call.beyond_the_fake(format_args!("ShardFilter {other}"))),
                }
            }
            page
        }
    };
    let mut constraints = Constraints::default();
    let most = input.max_results;
    let range = "Member must have value between 1 and 10000";
    constraints.require(most.is_none_or(|most| (1..=10_000).contains(&most)), "maxResults", range);
    constraints.finish()?;
    let stream = find(call, &page.stream, Action::ListShards)?;
    let status = lock(&stream.state).status.clone();
    if !matches!(status.as_str(), "ACTIVE" | "UPDATING") {
        let (name, account) = (&page.stream, &call.shared.account);
        let message = format!("Stream {name} under account {account} not ACTIVE, instead in state {status}");
        return Err(Refusal::new("ResourceInUseException", message));
    }
    let body = stream.list(page, most).to_string().into_bytes();
    Ok(spoil(stream.faults.next(Action::ListShards), Reply::json(body), Protocol::Json))
}

pub(crate) fn describe_stream_summary(call: &Call<'_>) -> Result<Reply, Refusal> {
    let input: DescribeStreamSummary<'_> = members(call.body)?;
    let name = stream_name(call, input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let stream = find(call, name, Action::DescribeStreamSummary)?;
    let body = json!({ "StreamDescriptionSummary": stream.summary(&arn(call, name)) });
    Ok(spoil(
        stream.faults.next(Action::DescribeStreamSummary),
        Reply::json(body.to_string().into_bytes()),
        Protocol::Json,
    ))
}

pub(crate) fn describe_limits(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.shared.authority.check(call.principal, Action::DescribeLimits, "*")?;
    let streams = lock(&call.shared.streams);
    let body = json!({
        "ShardLimit": 20_000,
        "OpenShardCount": streams.values().map(|stream| stream.open_shards()).sum::<usize>(),
        "OnDemandStreamCount": streams.values().filter(|stream| stream.is_on_demand()).count(),
        "OnDemandStreamCountLimit": 50,
    });
    Ok(spoil(
        call.shared.faults.next(Action::DescribeLimits),
        Reply::json(body.to_string().into_bytes()),
        Protocol::Json,
    ))
}

/// The stream that a request names, by its name, its ARN or both.
fn stream_name<'a>(call: &Call<'_>, name: Option<&'a Text<'_>>, arn: Option<&'a Text<'_>>) -> Result<&'a str, Refusal> {
    let invalid = |message: &str| Err(Refusal::violation("InvalidArgumentException", message));
    let Some(arn) = arn else {
        return match name {
            Some(name) => Ok(&name.0),
            None => invalid("Either StreamName or StreamARN should be provided."),
        };
    };
    let parts: Vec<&str> = arn.0.splitn(6, ':').collect();
    let &["arn", partition, "kinesis", region, account, resource] = parts.as_slice() else {
        return invalid("StreamARN is invalid.");
    };
    let Some(in_arn) = resource.strip_prefix("stream/").filter(|_| partition.starts_with("aws")) else {
        return invalid("StreamARN is invalid.");
    };
    if name.is_some_and(|name| name.0 != in_arn) {
        return invalid("StreamName and StreamARN do not match.");
    }
    if region != call.shared.region || account != call.shared.account {
        let message = format!("Stream {in_arn} under account {account} not found.");
        return Err(Refusal::new("ResourceNotFoundException", message));
    }
    Ok(in_arn)
}

/// The stream, if the caller may do that with it.
fn find(call: &Call<'_>, name: &str, action: Action) -> Result<Arc<Inner>, Refusal> {
    call.shared.authority.check(call.principal, action, &arn(call, name))?;
    let stream = lock(&call.shared.streams).get(name).cloned();
    stream.ok_or_else(|| not_found(call, name))
}

fn not_found(call: &Call<'_>, name: &str) -> Refusal {
    let account = &call.shared.account;
    Refusal::new("ResourceNotFoundException", format!("Stream {name} under account {account} not found."))
}

fn arn(call: &Call<'_>, name: &str) -> String {
    format!("arn:aws:kinesis:{}:{}:stream/{name}", call.shared.region, call.shared.account)
}
