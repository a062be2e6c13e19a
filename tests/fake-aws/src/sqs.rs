//! Simple Queue Service: standard queues with receipts, visibility timeouts and dead-letter queues.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::action::Action;
use crate::authorization::hex;
use crate::faults::{Fault, Faults, spoil};
use crate::lock;
use crate::refusal::Refusal;
use crate::reply::{Protocol, Reply};
use crate::server::{Call, Shared};

/// The longest that a message is kept from others, from when it was received.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);
/// How soon a message that comes ends a wait for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A queue, as the test sees it.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    url: String,
}

/// A message that is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its id.
    pub id: String,
    /// What it says.
    pub body: String,
    /// How often it was received.
    pub receives: u32,
    /// How long it is still kept from others; zero when it can be received.
    pub hidden_for: Duration,
}

#[derive(Debug)]
pub(crate) struct Inner {
    name: String,
    faults: Faults,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    visibility_timeout: Duration,
    /// The queue for what was received so often, and how often.
    redrive: Option<(Arc<Inner>, u32)>,
    next: u64,
    /// By their numbers.
    messages: BTreeMap<u64, Stored>,
    deleted: u64,
    stale_deletes: u64,
    extensions: u64,
}

#[derive(Debug)]
struct Stored {
    body: String,
    sent: Timestamp,
    receives: u32,
    received: Option<Instant>,
    visible: Instant,
}

impl Inner {
    pub(crate) fn new(name: &str) -> Inner {
        let content = Content {
            visibility_timeout: Duration::from_secs(30),
            redrive: None,
            next: 0,
            messages: BTreeMap::new(),
            deleted: 0,
            stale_deletes: 0,
            extensions: 0,
        };
        Inner { name: name.to_owned(), faults: Faults::default(), content: Mutex::new(content) }
    }
}

impl Queue {
    pub(crate) fn new(inner: Arc<Inner>, shared: Arc<Shared>, endpoint: &str) -> Queue {
        let url = format!("{endpoint}/{}/{}", shared.account, inner.name);
        Queue { inner, shared, url }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long a message that is received is kept from others: 30 s unless set.
    pub fn visibility_timeout(&self, timeout: Duration) -> &Queue {
        lock(&self.inner.content).visibility_timeout = timeout;
        self
    }

    /// A message that was received so many times goes to that queue.
    pub fn redrive(&self, to: &Queue, max_receives: u32) -> &Queue {
        lock(&self.inner.content).redrive = Some((Arc::clone(&to.inner), max_receives));
        self
    }

    /// Sends a message.
    pub fn send(&self, body: impl Into<String>) -> &Queue {
        lock(&self.inner.content).add(body.into());
        self
    }

    /// The messages that are not deleted, in the order in which they were sent.
    pub fn messages(&self) -> Vec<QueuedMessage> {
        let now = Instant::now();
        let content = lock(&self.inner.content);
        let message = |(number, stored): (&u64, &Stored)| QueuedMessage {
            id: id_of(*number),
            body: stored.body.clone(),
            receives: stored.receives,
            hidden_for: stored.visible.saturating_duration_since(now),
        };
        content.messages.iter().map(message).collect()
    }

    /// Ends the visibility timeouts of all messages.
    pub fn make_visible(&self) -> &Queue {
        let now = Instant::now();
        lock(&self.inner.content).messages.values_mut().for_each(|message| message.visible = now);
        self
    }

    /// How many messages were deleted.
    pub fn deleted(&self) -> u64 {
        lock(&self.inner.content).deleted
    }

    /// How often a message was to be deleted by another receipt than the last one, which does nothing.
    pub fn stale_deletes(&self) -> u64 {
        lock(&self.inner.content).stale_deletes
    }

    /// How often a visibility timeout was changed to more than nothing.
    pub fn extensions(&self) -> u64 {
        lock(&self.inner.content).extensions
    }

    /// The next request of that action meets this.
    pub fn fault_on(&self, action: Action, fault: Fault) -> &Queue {
        self.shared.queue_fault(&self.inner.faults, action, fault);
        self
    }
}

/// What the requests have, each some of it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    #[serde(default)]
    queue_url: String,
    receipt_handle: Option<String>,
    max_number_of_messages: Option<i64>,
    wait_time_seconds: Option<i64>,
    visibility_timeout: Option<i64>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
}

/// Answers a request of a known sender.
pub(crate) fn answer(call: &Call<'_>, action: Action) -> Result<Reply, Refusal> {
    let request: Request = serde_json::from_slice(call.body)
        .map_err(|error| Refusal::violation("SerializationException", error.to_string()))?;
    let name = request.queue_url.rsplit('/').next().unwrap_or_default();
    let arn = format!("arn:aws:sqs:{}:{}:{name}", call.shared.region, call.shared.account);
    call.shared.authority.check(call.principal, action, &arn)?;
    let inner = lock(&call.shared.queues).get(name).cloned();
    let inner = inner.ok_or_else(|| Refusal::new("QueueDoesNotExist", "The specified queue does not exist."))?;
    let fault = inner.faults.next(action);
    let json = if fault.as_ref().is_some_and(Fault::prevents) {
        json!({})
    } else {
        match action {
            Action::ReceiveMessage => receive(call, &inner, &request)?,
            Action::DeleteMessage => lock(&inner.content).delete(&request)?,
            Action::ChangeMessageVisibility => lock(&inner.content).change_visibility(&request)?,
            _ => lock(&inner.content).attributes(&arn, call),
        }
    };
    Ok(spoil(fault, Reply::json(json.to_string().into_bytes()), Protocol::Json))
}

/// The error's name in the older protocol, which the header of a reply still has.
pub(crate) fn query_error(code: &str) -> String {
    let name = match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "MessageNotInflight" => "AWS.SimpleQueueService.MessageNotInflight",
        other => other,
    };
    format!("{name};Sender")
}

fn receive(call: &Call<'_>, inner: &Inner, request: &Request) -> Result<Value, Refusal> {
    let within = |name: &str, given: Option<i64>, least: i64, most: i64, default: i64| match given.unwrap_or(default) {
        value if (least..=most).contains(&value) => Ok(value),
        value => {
            let message = format!(
                "Value {value} for parameter {name} is invalid. Reason: Must be between {least} and {most}, if provided."
            );
            Err(Refusal::violation("InvalidParameterValue", message))
        }
    };
    let most = within("MaxNumberOfMessages", request.max_number_of_messages, 1, 10, 1)? as usize;
    let wait = within("WaitTimeSeconds", request.wait_time_seconds, 0, 20, 0)?;
    let visibility = within("VisibilityTimeout", request.visibility_timeout, 0, 43_200, -1).ok();
    let last = Instant::now() + Duration::from_secs(wait as u64);
    loop {
        // Nothing is given to a client that has gone while it waited.
        if call.connection.is_gone() {
            return Ok(json!({}));
        }
        let found = lock(&inner.content).receive(most, visibility, request);
        if !found.is_empty() || Instant::now() >= last || call.shared.are_down() {
            return Ok(if found.is_empty() { json!({}) } else { json!({ "Messages": found }) });
        }
        thread::sleep(LOOK_INTERVAL);
    }
}

fn id_of(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

impl Content {
    fn add(&mut self, body: String) {
        self.next += 1;
        let (sent, visible) = (Timestamp::now(), Instant::now());
        self.messages.insert(self.next, Stored { body, sent, receives: 0, received: None, visible });
    }

    fn receive(&mut self, most: usize, visibility: Option<i64>, request: &Request) -> Vec<Value> {
        let now = Instant::now();
        if let Some((dead, max_receives)) = &self.redrive {
            let max_receives = *max_receives;
            let given_up = self.messages.extract_if(.., |_, it| it.visible <= now && it.receives >= max_receives);
            let given_up: Vec<Stored> = given_up.map(|(_, stored)| stored).collect();
            let mut dead = lock(&dead.content);
            given_up.into_iter().for_each(|stored| dead.add(stored.body));
        }
        let timeout = visibility.map_or(self.visibility_timeout, |seconds| Duration::from_secs(seconds as u64));
        let visible = self.messages.iter_mut().filter(|(_, message)| message.visible <= now).take(most);
        let wants = |name: &str| request.message_system_attribute_names.iter().any(|wanted| wanted == name);
        visible
            .map(|(number, message)| {
                message.receives += 1;
                (message.received, message.visible) = (Some(now), now + timeout);
                let mut attributes: HashMap<&str, String> = HashMap::new();
                if wants("SentTimestamp") {
                    attributes.insert("SentTimestamp", message.sent.as_millisecond().to_string());
                }
                if wants("ApproximateReceiveCount") {
                    attributes.insert("ApproximateReceiveCount", message.receives.to_string());
                }
                json!({
                    "MessageId": id_of(*number),
                    "ReceiptHandle": format!("receipt-{number}-{}", message.receives),
                    "MD5OfBody": hex(&Md5::digest(&message.body)),
                    "Body": message.body,
                    "Attributes": attributes,
                })
            })
            .collect()
    }

    /// The number of the message that a receipt is about, and whether it is the last one.
    fn receipt(&self, request: &Request) -> Result<(u64, bool), Refusal> {
        let receipt = request.receipt_handle.as_deref().unwrap_or_default();
        let parts = receipt.strip_prefix("receipt-").and_then(|rest| rest.split_once('-'));
        let numbers = parts.and_then(|(number, time)| Some((number.parse().ok()?, time.parse().ok()?)));
        let (number, time): (u64, u32) = numbers.ok_or_else(|| {
            Refusal::violation(
                "ReceiptHandleIsInvalid",
                format!("The input receipt handle \"{receipt}\" is not a valid receipt handle."),
            )
        })?;
        Ok((number, self.messages.get(&number).is_none_or(|message| message.receives == time)))
    }

    fn delete(&mut self, request: &Request) -> Result<Value, Refusal> {
        match self.receipt(request)? {
            (number, true) => self.deleted += u64::from(self.messages.remove(&number).is_some()),
            (_, false) => self.stale_deletes += 1,
        }
        Ok(json!({}))
    }

    fn change_visibility(&mut self, request: &Request) -> Result<Value, Refusal> {
        let (number, is_last) = self.receipt(request)?;
        let seconds = request.visibility_timeout.unwrap_or(-1);
        let invalid = |reason: &str| {
            let message = format!("Value for parameter ReceiptHandle is invalid. Reason: {reason}");
            Refusal::new("InvalidParameterValue", message)
        };
        let Some(message) = self.messages.get_mut(&number).filter(|_| is_last) else {
            return Err(invalid("Message does not exist or is not available for visibility timeout change."));
        };
        let now = Instant::now();
        if message.visible <= now {
            return Err(Refusal::new("MessageNotInflight", "The specified message isn't in flight."));
        }
        let timeout = u64::try_from(seconds).map(Duration::from_secs).map_err(|_| {
            Refusal::violation("InvalidParameterValue", "VisibilityTimeout must be between 0 and 43200")
        })?;
        let held = message.received.map_or(Duration::ZERO, |received| now - received);
        if held + timeout > MAX_VISIBILITY {
            return Err(invalid("Total VisibilityTimeout for the message is beyond the limit [43200 seconds]."));
        }
        message.visible = now + timeout;
        self.extensions += u64::from(!timeout.is_zero());
        Ok(json!({}))
    }

    fn attributes(&self, arn: &str, call: &Call<'_>) -> Value {
        let now = Instant::now();
        let hidden = self.messages.values().filter(|message| message.visible > now).count();
        let mut attributes = json!({
            "QueueArn": arn,
            "VisibilityTimeout": self.visibility_timeout.as_secs().to_string(),
            "ApproximateNumberOfMessages": (self.messages.len() - hidden).to_string(),
            "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
        });
        if let Some((dead, max_receives)) = &self.redrive {
            let Shared { region, account, .. } = call.shared;
            let target = format!("arn:aws:sqs:{region}:{account}:{}", dead.name);
            let policy = json!({ "deadLetterTargetArn": target, "maxReceiveCount": max_receives });
            attributes["RedrivePolicy"] = policy.to_string().into();
        }
        json!({ "Attributes": attributes })
    }
}
