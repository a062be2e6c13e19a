//! Amazon Data Firehose: PutRecordBatch and DescribeDeliveryStream.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::bucket::{Bucket, take_all};
use crate::faults::{Fault, Faults, RecordFailure, spoil};
use crate::lock;
use crate::parse::{Blobs, Constraints, Text, members};
use crate::records::{Arrival, Delivered, Store, StreamCounts};
use crate::refusal::Refusal;
use crate::reply::{Protocol, Reply};
use crate::server::{Call, Shared};

/// Records in a PutRecordBatch request, at most. Source: Firehose quotas.
pub const RECORDS_LIMIT: usize = 500;
/// Bytes of a record before base64, at most. Source: Firehose quotas, 1,000 KiB.
pub const RECORD_LIMIT: usize = 1_024_000;
/// Bytes of a PutRecordBatch request, at most: 4 MiB. See [`Count`].
pub const REQUEST_LIMIT: usize = 4 << 20;

/// What the 4 MiB of a request are counted over, which AWS does not document.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Count {
    /// The records in base64.
    #[default]
    Base64,
    /// The body of the HTTP request.
    Body,
    /// The records before base64.
    Raw,
}

/// The quota of a delivery stream; what is `None` is without a limit. A second's worth may come at
/// once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Bytes of records before base64, a second.
    pub bytes: Option<u64>,
    /// Records a second.
    pub records: Option<u64>,
    /// Requests a second.
    pub requests: Option<u64>,
}

impl Quota {
    /// Direct PUT in us-east-1, us-west-2 and eu-west-1: 5 MiB/s, 500,000 records/s, 2,000
    /// requests/s.
    pub fn large_region() -> Quota {
        Quota { bytes: Some(5 << 20), records: Some(500_000), requests: Some(2000) }
    }

    /// Direct PUT elsewhere: 1 MiB/s, 100,000 records/s, 1,000 requests/s.
    pub fn small_region() -> Quota {
        Quota { bytes: Some(1 << 20), records: Some(100_000), requests: Some(1000) }
    }
}

/// What is refused past the [`Quota`], with `ServiceUnavailableException` "Slow down.".
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Throttle {
    /// The records that do not fit, one by one, in a reply with status 200.
    #[default]
    Records,
    /// The whole request.
    Request,
}

/// Where a delivery stream's records come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Source {
    /// Producers call PutRecordBatch.
    #[default]
    DirectPut,
    /// A Kinesis data stream, and then PutRecordBatch is refused.
    KinesisStream,
}

/// A delivery stream, to set up and to look into. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct DeliveryStream {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    faults: Faults,
    store: Arc<Store>,
    settings: Mutex<Settings>,
}

#[derive(Debug)]
struct Settings {
    status: String,
    source: Source,
    encrypted: bool,
    described: Map<String, Value>,
    count: Count,
    throttle: Throttle,
    bytes: Option<Bucket>,
    records: Option<Bucket>,
    requests: Option<Bucket>,
}

impl DeliveryStream {
    pub(crate) fn new(inner: Arc<Inner>, shared: Arc<Shared>) -> DeliveryStream {
        DeliveryStream { inner, shared }
    }

    fn set(&self, change: impl FnOnce(&mut Settings)) -> &DeliveryStream {
        change(&mut lock(&self.inner.settings));
        self
    }

    /// What the 4 MiB are counted over, [`Count::Base64`] at first.
    pub fn count(&self, count: Count) -> &DeliveryStream {
        self.set(|settings| settings.count = count)
    }

    /// Sets the quota, full at first. Without it there is none.
    pub fn quota(&self, quota: Quota, throttle: Throttle) -> &DeliveryStream {
        let now = Instant::now();
        let bucket = |rate: Option<u64>| rate.map(|per_second| Bucket::new(per_second, now));
        self.set(|settings| {
            settings.throttle = throttle;
            settings.bytes = bucket(quota.bytes);
            settings.records = bucket(quota.records);
            settings.requests = bucket(quota.requests);
        })
    }

    /// `DeliveryStreamStatus`, `ACTIVE` at first. Only `ACTIVE` and `DELETING` streams take
    /// records.
    pub fn status(&self, status: &str) -> &DeliveryStream {
        self.set(|settings| status.clone_into(&mut settings.status))
    }

    /// Where its records come from, [`Source::DirectPut`] at first.
    pub fn source(&self, source: Source) -> &DeliveryStream {
        self.set(|settings| settings.source = source)
    }

    /// Whether it is encrypted, which it is not at first.
    pub fn encrypted(&self, encrypted: bool) -> &DeliveryStream {
        self.set(|settings| settings.encrypted = encrypted)
    }

    /// A member of the description as a later version of AWS may answer it.
    pub fn described(&self, member: &str, value: Value) -> &DeliveryStream {
        self.set(|settings| drop(settings.described.insert(member.to_owned(), value)))
    }

    /// The next PutRecordBatch that breaks no rule meets this; faults queue up.
    pub fn fault(&self, fault: Fault) -> &DeliveryStream {
        self.fault_on(Action::PutRecordBatch, fault)
    }

    /// The next call of that action for this stream meets this. [`Fault::FailRecords`] and
    /// [`Fault::WrongCount`] mean nothing to calls without records.
    pub fn fault_on(&self, action: Action, fault: Fault) -> &DeliveryStream {
        self.shared.queue_fault(&self.inner.faults, action, fault);
        self
    }

    /// That fraction of all records fails, `Throttled` and `Internal` alike. 0 ends it.
    pub fn fail_records(&self, fraction: f64, seed: u64) -> &DeliveryStream {
        self.inner.faults.fail_records(fraction, seed);
        self
    }

    /// That fraction of all PutRecordBatch requests meets one of the faults. 0 ends it.
    pub fn fail_requests(&self, fraction: f64, seed: u64, faults: &[Fault]) -> &DeliveryStream {
        self.inner.faults.fail_requests(fraction, seed, faults);
        self
    }

    /// Stores nothing from now on, and counts.
    pub fn keep_counts(&self) -> &DeliveryStream {
        self.inner.store.keep_counts();
        self
    }

    /// Calls `each` with every record from now on instead of storing it.
    pub fn hand_over(&self, each: impl FnMut(Arrival<'_>) + Send + 'static) -> &DeliveryStream {
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
struct PutRecordBatch<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
    #[serde(borrow)]
    records: Option<Vec<Record<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeDeliveryStream<'a> {
    #[serde(borrow)]
    delivery_stream_name: Option<Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchOutput {
    encrypted: bool,
    failed_put_count: usize,
    request_responses: Vec<RecordOutput>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RecordOutput {
    #[serde(rename_all = "PascalCase")]
    Stored { record_id: String },
    #[serde(rename_all = "PascalCase")]
    Failed { error_code: &'static str, error_message: &'static str },
}

const SLOW_DOWN: &str = "Slow down.";

impl Inner {
    pub(crate) fn new(name: &str) -> Inner {
        let settings = Settings {
            status: "ACTIVE".to_owned(),
            source: Source::default(),
            encrypted: false,
            described: Map::new(),
            count: Count::default(),
            throttle: Throttle::default(),
            bytes: None,
            records: None,
            requests: None,
        };
        Inner {
            name: name.to_owned(),
            faults: Faults::default(),
            store: Arc::default(),
            settings: Mutex::new(settings),
        }
    }

    fn put(&self, call: &Call<'_>, blobs: &Blobs) -> Result<Reply, Refusal> {
        let fault = self.faults.next(Action::PutRecordBatch);
        if fault.as_ref().is_some_and(Fault::prevents) {
            return Ok(spoil(fault, Reply::json(Vec::new()), Protocol::Json));
        }
        let mut settings = lock(&self.settings);
        let now = Instant::now();
        let count = blobs.iter().count();
        settings.admit(count, blobs.total(), now)?;

        let failures = self.faults.failing_records(count, fault.as_ref());
        let mut batch = self.store.batch();
        let mut responses = Vec::with_capacity(count);
        for ((index, data), failure) in blobs.iter().enumerate().zip(failures) {
            let failure = failure.or_else(|| settings.throttles(data.len(), now).then_some(RecordFailure::Throttled));
            responses.push(match failure {
                None => {
                    batch.push(Arrival {
                        data,
                        partition_key: None,
                        explicit_hash_key: None,
                        shard_id: None,
                        request: call.number,
                    });
                    RecordOutput::Stored { record_id: format!("{:016x}{index:04x}", call.number) }
                }
                Some(failure) => {
                    batch.fail();
                    let (error_code, error_message) = match failure {
                        RecordFailure::Internal => ("InternalFailure", "Internal service failure."),
                        RecordFailure::Refused => ("InvalidKMSResourceException", "The KMS key is disabled."),
                        RecordFailure::Throttled => ("ServiceUnavailableException", SLOW_DOWN),
                    };
                    RecordOutput::Failed { error_code, error_message }
                }
            });
        }
        let receipt = batch.finish();
        let failed = responses.iter().filter_map(|response| match response {
            RecordOutput::Stored { .. } => None,
            RecordOutput::Failed { error_code, .. } => Some(*error_code),
        });
        let failed_put_count = failed.clone().count();
        call.shared.tally.records(count - failed_put_count, failed);
        if matches!(fault, Some(Fault::WrongCount)) {
            responses.pop();
        }
        let output =
            PutRecordBatchOutput { encrypted: settings.encrypted, failed_put_count, request_responses: responses };
        let body = serde_json::to_vec(&output).expect("the output has no maps");
        Ok(spoil(fault, Reply { receipt: Some(receipt), ..Reply::json(body) }, Protocol::Json))
    }

    fn description(&self, arn: &str) -> Value {
        let settings = lock(&self.settings);
        let (kind, source) = match settings.source {
            Source::DirectPut => ("DirectPut", Value::Null),
            Source::KinesisStream => {
                let stream = arn.replacen(":firehose:", ":kinesis:", 1).replacen("deliverystream/", "stream/", 1);
                ("KinesisStreamAsSource", json!({ "KinesisStreamSourceDescription": { "KinesisStreamARN": stream } }))
            }
        };
        let mut description = json!({
            "DeliveryStreamName": self.name,
            "DeliveryStreamARN": arn,
            "DeliveryStreamStatus": settings.status,
            "DeliveryStreamType": kind,
            "DeliveryStreamEncryptionConfiguration":
                if settings.encrypted { json!({ "KeyType": "AWS_OWNED_CMK", "Status": "ENABLED" }) }
                else { json!({ "Status": "DISABLED" }) },
            "VersionId": "1",
            "CreateTimestamp": 1_767_600_000.0,
            "Destinations": [{ "DestinationId": "destinationId-000000000001" }],
            "HasMoreDestinations": false,
        });
        if !source.is_null() {
            description["Source"] = source;
        }
        for (member, value) in &settings.described {
            description[member] = value.clone();
        }
        description
    }
}

impl Settings {
    /// Takes from the quota what a whole request takes.
    fn admit(&mut self, records: usize, bytes: usize, now: Instant) -> Result<(), Refusal> {
        let passes = match self.throttle {
            Throttle::Records => take_all([(&mut self.requests, 1)], now),
            Throttle::Request => take_all(
                [(&mut self.requests, 1), (&mut self.records, records as u64), (&mut self.bytes, bytes as u64)],
                now,
            ),
        };
        if passes { Ok(()) } else { Err(Refusal::new("ServiceUnavailableException", SLOW_DOWN).status(503)) }
    }

    /// Whether one record is too much; if not, takes it from the quota.
    fn throttles(&mut self, bytes: usize, now: Instant) -> bool {
        self.throttle == Throttle::Records && !take_all([(&mut self.records, 1), (&mut self.bytes, bytes as u64)], now)
    }
}

pub(crate) fn put_record_batch(call: &Call<'_>, blobs: &mut Blobs) -> Result<Reply, Refusal> {
    let input: PutRecordBatch<'_> = members(call.body)?;
    let records = input.records.as_deref().unwrap_or_default();
    blobs.clear();
    for record in records {
        match &record.data {
            Some(data) => blobs.push(&data.0)?,
            None => blobs.push_none(),
        }
    }
    let mut constraints = Constraints::default();
    constraints.require_member(input.records.is_some(), "records");
    if input.records.is_some() {
        constraints.check_len(records.len(), 1..RECORDS_LIMIT + 1, "records");
    }
    for ((number, record), data) in (1..).zip(records).zip(blobs.iter()) {
        constraints.require_member(record.data.is_some(), format_args!("records.{number}.member.data"));
        constraints.check_len(data.len(), 0..RECORD_LIMIT + 1, format_args!("records.{number}.member.data"));
    }
    let name = checked_name(input.delivery_stream_name.as_ref(), constraints)?;
    let stream = find(call, name, Action::PutRecordBatch)?;
    let counted = match lock(&stream.settings).count {
        Count::Base64 => records.iter().filter_map(|record| record.data.as_ref()).map(|data| data.0.len()).sum(),
        Count::Body => call.body.len(),
        Count::Raw => blobs.total(),
    };
    if counted > REQUEST_LIMIT {
        return Err(Refusal::violation("InvalidArgumentException", "Records size exceeds 4 MB limit"));
    }
    {
        let settings = lock(&stream.settings);
        if settings.source == Source::KinesisStream {
            let message = "This operation is not permitted on KinesisStreamAsSource delivery stream type.";
            return Err(Refusal::new("InvalidArgumentException", message));
        }
        if !matches!(settings.status.as_str(), "ACTIVE" | "DELETING") {
            return Err(not_found(call, name));
        }
    }
    stream.put(call, blobs)
}

pub(crate) fn describe_delivery_stream(call: &Call<'_>) -> Result<Reply, Refusal> {
    let input: DescribeDeliveryStream<'_> = members(call.body)?;
    let name = checked_name(input.delivery_stream_name.as_ref(), Constraints::default())?;
    let stream = find(call, name, Action::DescribeDeliveryStream)?;
    let body = json!({ "DeliveryStreamDescription": stream.description(&arn(call, name)) });
    Ok(spoil(
        stream.faults.next(Action::DescribeDeliveryStream),
        Reply::json(body.to_string().into_bytes()),
        Protocol::Json,
    ))
}

fn checked_name<'a>(name: Option<&'a Text<'_>>, mut constraints: Constraints) -> Result<&'a str, Refusal> {
    constraints.require_member(name.is_some(), "deliveryStreamName");
    if let Some(name) = name {
        constraints.name(&name.0, 64, "deliveryStreamName");
    }
    constraints.finish()?;
    Ok(name.map_or("", |name| &name.0))
}

/// The stream, if the caller may do that with it.
fn find(call: &Call<'_>, name: &str, action: Action) -> Result<Arc<Inner>, Refusal> {
    call.shared.authority.check(call.principal, action, &arn(call, name))?;
    let stream = lock(&call.shared.delivery_streams).get(name).cloned();
    stream.ok_or_else(|| not_found(call, name))
}

fn not_found(call: &Call<'_>, name: &str) -> Refusal {
    let account = &call.shared.account;
    Refusal::new("ResourceNotFoundException", format!("Firehose {name} under account {account} not found."))
}

fn arn(call: &Call<'_>, name: &str) -> String {
    format!("arn:aws:firehose:{}:{}:deliverystream/{name}", call.shared.region, call.shared.account)
}
