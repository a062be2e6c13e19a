//! What can be known of a stream or a bucket before the first record is sent.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sts::config::ProvideCredentials;
use tokio::runtime::Builder;

use super::connection::{Target, configuration};
use super::failure::{causes, no_credentials, of_request, status};
use super::s3::Bucket;
use super::sqs::{Attributes, Queue, QueueUrl};
use super::{Connection, Error, StreamClient};
use pixel_engine_core::config::{S3Uri, Stream};
use pixel_engine_core::deliver::{Class, DeliverError, Failure, Service as _};
use pixel_engine_core::limits::kinesis::{SHARD_BYTES_PER_SECOND, SHARD_RECORDS_PER_SECOND};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::MAX_RECORDS;

/// Less than this leaves little time for a request to keep a message that fails.
const SHORT_VISIBILITY: Duration = Duration::from_secs(60);
/// Fewer receives than this may be used up by restarts.
const MIN_RECEIVES: u64 = 3;

/// What was found, a line for each topic, and what is wrong.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Findings {
    /// What was found, in the order in which it was asked for.
    pub lines: Vec<(Topic, String)>,
    /// What works, and had better be otherwise.
    pub warnings: Vec<String>,
    /// What keeps records from being delivered, or messages from being received; nothing was asked
    /// for after it.
    pub problem: Option<Error>,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topic {
    /// The region and, if there is one, the endpoint.
    Region,
    /// Whose the credentials are.
    Credentials,
    /// The stream's state, kind and encryption.
    Stream,
    /// How large records and requests may be.
    Limits,
    /// The open shards and what they take together.
    Shards,
    /// Whether the bucket is there.
    Bucket,
    /// What the queue is set to, and how much is in it.
    Queue,
    /// That the stream ignores partition keys, so that it must not get aggregates.
    Keys,
}

impl Display for Topic {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Topic::Region => "region",
            Topic::Credentials => "credentials",
            Topic::Stream => "stream",
            Topic::Limits => "limits",
            Topic::Shards => "shards",
            Topic::Bucket => "bucket",
            Topic::Queue => "queue",
            Topic::Keys => "keys",
        })
    }
}

/// Asks for everything that delivering to the stream needs: a region, credentials, the stream, its
/// shards. Nothing is written to it. Blocks; not for callers inside tokio.
///
/// # Errors
/// The system gives no thread to work on. What is wrong with the stream is among the findings.
pub fn check(stream: &Stream, connection: &Connection) -> Result<Findings, Error> {
    findings(async |findings| look(stream, connection, &mut findings.lines).await)
}

/// As [`check`], for writing objects to a bucket.
///
/// # Errors
/// As for [`check`].
pub fn check_bucket(uri: &S3Uri, connection: &Connection) -> Result<Findings, Error> {
    findings(async |findings| look_at_bucket(uri, connection, &mut findings.lines).await)
}

/// As [`check`], for receiving the messages of a queue.
///
/// # Errors
/// As for [`check`].
pub fn check_queue(url: &QueueUrl, connection: &Connection) -> Result<Findings, Error> {
    findings(async |findings| look_at_queue(url, connection, findings).await)
}

type Lines = Vec<(Topic, String)>;

fn findings(look: impl AsyncFnOnce(&mut Findings) -> Result<(), Error>) -> Result<Findings, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SinkError::io("a thread for requests", error))?;
    let mut findings = Findings::default();
    findings.problem = runtime.block_on(look(&mut findings)).err();
    Ok(findings)
}

/// The configuration of clients for the target, once it is known who they are.
async fn way(connection: &Connection, target: Target<'_>, lines: &mut Lines) -> Result<SdkConfig, Error> {
    let name = target.name.clone();
    let configuration = configuration(connection, target).await?;
    let region = configuration.region().map(ToString::to_string).unwrap_or_default();
    let endpoint = connection.endpoint_url.as_deref().or(configuration.endpoint_url());
    lines.push((Topic::Region, region + &endpoint.map(|url| format!(", endpoint {url}")).unwrap_or_default()));
    let credentials = |failure| Error::Credentials { target: name, failure: Box::new(failure) };
    lines.push((Topic::Credentials, caller(&configuration).await.map_err(credentials)?));
    Ok(configuration)
}

async fn look_at_bucket(uri: &S3Uri, connection: &Connection, lines: &mut Lines) -> Result<(), Error> {
    let configuration = way(connection, uri.into(), lines).await?;
    let looked = Bucket::new(&configuration, connection, uri.bucket()).look().await;
    let looked = looked.map_err(|failure| SinkError::stream(uri.to_string(), DeliverError::Refused(failure)))?;
    lines.push((
        Topic::Bucket,
        match looked {
            Some(region) => format!("is there, {region}"),
            None => "not known: the role or user may not list it (s3:ListBucket)".to_owned(),
        },
    ));
    Ok(())
}

async fn look_at_queue(url: &QueueUrl, connection: &Connection, findings: &mut Findings) -> Result<(), Error> {
    let configuration = way(connection, url.into(), &mut findings.lines).await?;
    let looked = Queue::new(&configuration, connection, url).attributes().await;
    let attributes = looked.map_err(|failure| SinkError::stream(url.to_string(), DeliverError::Refused(failure)))?;
    let Attributes { visibility_timeout, max_receives, waiting, in_flight } = attributes;
    let seconds = visibility_timeout.as_secs();
    let found = format!("{waiting} messages wait, {in_flight} in flight; visibility timeout {seconds} s");
    findings.lines.push((Topic::Queue, found));
    if visibility_timeout < SHORT_VISIBILITY {
        findings.warnings.push(format!(
            "its visibility timeout is {seconds} s: each message is kept from others by a request every {} s, and one \
             that fails lets its lines come twice; set it to 300 s",
            seconds / 3
        ));
    }
    match max_receives {
        None => findings.warnings.push(
            "it has no redrive policy: a message that cannot be worked on comes again until it expires, and is lost \
             then; add a dead-letter queue with a maxReceiveCount of 5 or more"
                .to_owned(),
        ),
        Some(count) if count < MIN_RECEIVES => findings.warnings.push(format!(
            "its redrive policy gives a message up after {count} receives, and a restart counts as one: set \
             maxReceiveCount to 5 or more"
        )),
        Some(_) => {}
    }
    Ok(())
}

async fn look(stream: &Stream, connection: &Connection, lines: &mut Lines) -> Result<(), Error> {
    let refused = |error: DeliverError| SinkError::Stream { stream: stream.to_string(), error: Box::new(error) };
    let refused_by = |failure| refused(DeliverError::Refused(failure));
    let configuration = way(connection, stream.into(), lines).await?;
    let mut found = |topic, text: String| lines.push((topic, text));
    let client = StreamClient::new(&configuration, connection, stream);
    let description = client.look().await.map_err(refused_by)?;
    found(Topic::Stream, description.to_string());
    let (record, request) = (description.max_record_size, stream.api().max_bytes() >> 20);
    found(Topic::Limits, format!("{record} B a record, {MAX_RECORDS} records and {request} MiB a request"));
    description.verify(false, 0).map_err(refused)?;
    if let Some(shards) = client.shards() {
        client.refresh_shards().await.map_err(refused_by)?;
        let count = shards.current().len() as u64;
        let (mib, thousands) = ((count * SHARD_BYTES_PER_SECOND) >> 20, count * SHARD_RECORDS_PER_SECOND / 1_000);
        found(Topic::Shards, format!("{count} open, together {mib} MiB/s and {thousands},000 records/s"));
    }
    if description.ignores_keys {
        found(Topic::Keys, "ignored (record distribution AUTO): only lines, no aggregates".to_owned());
    }
    Ok(())
}

/// Who the credentials belong to.
async fn caller(configuration: &SdkConfig) -> Result<String, Failure> {
    let Some(provider) = configuration.credentials_provider() else { return Err(no_credentials(String::new())) };
    if let Err(error) = provider.provide_credentials().await {
        return Err(no_credentials(causes(&error)));
    }
    match aws_sdk_sts::Client::new(configuration).get_caller_identity().send().await {
        Ok(identity) => Ok(identity.arn().unwrap_or("of an unnamed caller").to_owned()),
        Err(error) => {
            let failure = of_request(&error);
            // An endpoint that speaks no STS, or a network without a way to it, says nothing about
            // the stream.
            if failure.class() == Class::Permanent && status(&error) == Some(403) {
                return Err(failure.during("sts:GetCallerIdentity"));
            }
            Ok(format!("found; whose they are is not known ({})", failure.code()))
        }
    }
}
