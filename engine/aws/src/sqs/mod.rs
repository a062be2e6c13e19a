//! SQS: queues of notifications of new objects in S3.
//!
//! [`Queue`] makes the calls, each once; [`Notification`] is what a message says; an [`Inbox`] is a
//! queue with the way to the objects that it is about.

mod inbox;
mod notification;
mod url;

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::types::{MessageSystemAttributeName as System, QueueAttributeName};
use pixel_engine_core::config::Connection;
use pixel_engine_core::deliver::Failure;
use serde_json::Value;

pub use inbox::Inbox;
pub use notification::{NewObject, NotNotification, Notification};
pub use url::{QueueUrl, QueueUrlError};

use crate::connection::Target;
use crate::failure::{answered, of_request};

/// The most messages of a request. Source: ReceiveMessage in the API reference.
pub const MAX_MESSAGES: usize = 10;
/// How long a request waits for a message: the most that SQS waits. Source: the same.
pub const MAX_WAIT: Duration = Duration::from_secs(20);
/// The longest that a message can be kept from others, from when it was received. Source:
/// ChangeMessageVisibility in the API reference.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message that was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it keeps however often it is received.
    pub id: String,
    /// What it is deleted by: another one each time, of which only the last holds.
    pub receipt: String,
    /// What it says.
    pub body: String,
    /// When it was sent; `None` from what is not quite SQS.
    pub sent: Option<SystemTime>,
    /// How often it was received, this time included.
    pub receives: u32,
}

/// What a queue is set to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attributes {
    /// How long a message that was received is kept from others.
    pub visibility_timeout: Duration,
    /// How often a message is received before it goes to the dead-letter queue; `None` without one.
    pub max_receives: Option<u64>,
    /// About how many messages wait.
    pub waiting: u64,
    /// About how many were received and not deleted yet.
    pub in_flight: u64,
}

impl<'a> From<&'a QueueUrl> for Target<'a> {
    fn from(url: &'a QueueUrl) -> Target<'a> {
        Target { name: url.to_string(), region: url.region(), takes_arn: false }
    }
}

impl Queue {
    pub(crate) fn new(configuration: &SdkConfig, connection: &Connection, url: &QueueUrl) -> Queue {
        let mut config = Builder::from(configuration);
        if let Some(endpoint) = &connection.endpoint_url {
            config.set_endpoint_url(Some(endpoint.clone()));
        }
        // The reply may take as long as the wait.
        let timeouts = configuration.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
        let timeouts = timeouts.operation_attempt_timeout(connection.request_timeout + MAX_WAIT);
        config.set_timeout_config(Some(timeouts.build()));
        Queue { client: Client::from_conf(config.build()), url: url.to_string() }
    }

    /// Up to so many messages, as soon as there is one; none after [`MAX_WAIT`].
    ///
    /// # Errors
    /// The queue refuses, or does not answer.
    pub async fn receive(&self, messages: usize) -> Result<Vec<Message>, Failure> {
        const CALL: &str = "sqs:ReceiveMessage";
        let request = self.client.receive_message().queue_url(&self.url);
        let request = request
            .max_number_of_messages(messages.clamp(1, MAX_MESSAGES) as i32)
            .wait_time_seconds(MAX_WAIT.as_secs() as i32)
            .message_system_attribute_names(System::SentTimestamp)
            .message_system_attribute_names(System::ApproximateReceiveCount);
        let reply = request.send().await.map_err(|error| of_request(&error).during(CALL))?;
        reply
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(message)
            .collect::<Result<_, _>>()
            .map_err(|it| it.during(CALL))
    }

    /// Deletes the message of that receipt.
    ///
    /// # Errors
    /// The queue refuses, as with a receipt that holds no longer, or does not answer.
    pub async fn delete(&self, receipt: &str) -> Result<(), Failure> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
        request.send().await.map(drop).map_err(|error| of_request(&error).during("sqs:DeleteMessage"))
    }

    /// Keeps the message of that receipt from others for that long, from now on; or no longer.
    ///
    /// # Errors
    /// The queue refuses, as when the message is visible already, or does not answer.
    pub async fn set_visibility(&self, receipt: &str, timeout: Duration) -> Result<(), Failure> {
        let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        let seconds = timeout.min(MAX_VISIBILITY).as_secs() as i32;
        let reply = request.visibility_timeout(seconds).send().await;
        reply.map(drop).map_err(|error| of_request(&error).during("sqs:ChangeMessageVisibility"))
    }

    /// What the queue is set to, and how much is in it.
    ///
    /// # Errors
    /// There is no such queue, or the caller may not ask.
    pub async fn attributes(&self) -> Result<Attributes, Failure> {
        const CALL: &str = "sqs:GetQueueAttributes";
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let reply = request.attribute_names(QueueAttributeName::All).send().await;
        let reply = reply.map_err(|error| of_request(&error).during(CALL))?;
        attributes(&reply.attributes.unwrap_or_default()).map_err(|failure| failure.during(CALL))
    }
}

fn message(message: aws_sdk_sqs::types::Message) -> Result<Message, Failure> {
    let attribute = |name| message.attributes.as_ref()?.get(&name)?.parse::<u64>().ok();
    let sent = attribute(System::SentTimestamp);
    let receives = attribute(System::ApproximateReceiveCount).and_then(|count| count.try_into().ok());
    Ok(Message {
        id: answered("MessageId", message.message_id.as_deref().unwrap_or_default())?,
        receipt: answered("ReceiptHandle", message.receipt_handle.as_deref().unwrap_or_default())?,
        sent: sent.and_then(|millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))),
        receives: receives.unwrap_or(1),
        body: message.body.unwrap_or_default(),
    })
}

fn attributes(found: &HashMap<QueueAttributeName, String>) -> Result<Attributes, Failure> {
    let number = |name: QueueAttributeName| found.get(&name).and_then(|value| value.parse().ok());
    let seconds = number(QueueAttributeName::VisibilityTimeout);
    let missing = || Failure::malformed_reply("the reply has no VisibilityTimeout");
    let redrive = found.get(&QueueAttributeName::RedrivePolicy);
    // A number, or the text of one.
    let max_receives = |policy: &String| {
        let policy: Value = serde_json::from_str(policy).ok()?;
        let count = &policy["maxReceiveCount"];
        count.as_u64().or_else(|| count.as_str()?.parse().ok())
    };
    Ok(Attributes {
        visibility_timeout: Duration::from_secs(seconds.ok_or_else(missing)?),
        max_receives: redrive.and_then(max_receives),
        waiting: number(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or_default(),
        in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_told_as_they_were_answered() {
        use QueueAttributeName::{RedrivePolicy, VisibilityTimeout};
        let with = |policy: Option<&str>| {
            let policy = policy.map(|policy| (RedrivePolicy, policy.to_owned()));
            attributes(&policy.into_iter().chain([(VisibilityTimeout, "45".to_owned())]).collect()).unwrap()
        };
        assert_eq!((with(None).visibility_timeout.as_secs(), with(None).max_receives), (45, None));
        let arn = "arn:aws:sqs:eu-west-1:123456789012:dead";
        for count in ["5", "\"5\""] {
            let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{count}}}"#);
            assert_eq!(with(Some(&policy)).max_receives, Some(5));
        }
        let error = attributes(&HashMap::new()).unwrap_err().to_string();
        assert_eq!(error, "MalformedReply: the reply has no VisibilityTimeout");
    }
}
