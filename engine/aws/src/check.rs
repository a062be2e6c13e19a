//! What can be known of a stream before the first record is sent.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use aws_sdk_sts::config::ProvideCredentials;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::Stream;
use super::connection::Connection;
use super::delivery::{Settings, stopped};
use super::failure::{CODE_CREDENTIALS, CODE_REPLY, Class, Failure, causes};
use super::service::{Description, Service};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::{Api, MOST_RECORDS};

/// How long a start may be kept waiting by an endpoint that does not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was found, a line each, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What it is about, and what was found.
    pub lines: Vec<(&'static str, String)>,
    /// What keeps records from being delivered, in one line.
    pub problem: Option<String>,
}

/// Asks for everything that delivering to the stream needs: a region, credentials, the stream, its shards. Nothing
/// is written to it.
///
/// # Errors
/// The system gives no thread to work on.
pub fn check(stream: &Stream, connection: &Connection) -> Result<Findings, SinkError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| SinkError::io("a thread for requests", error))?;
    let mut findings = Findings::default();
    if let Err(error) = runtime.block_on(look(stream, connection, &mut findings)) {
        findings.problem = Some(error.to_string());
    }
    Ok(findings)
}

async fn look(stream: &Stream, connection: &Connection, findings: &mut Findings) -> Result<(), SinkError> {
    let mut found = |what, text: String| findings.lines.push((what, text));
    let configuration = connection.configuration(stream).await?;
    let region = configuration.region().map(ToString::to_string).unwrap_or_default();
    let endpoint = connection.endpoint_url.as_deref().or(configuration.endpoint_url());
    found("region", region + &endpoint.map(|url| format!(", endpoint {url}")).unwrap_or_default());
    found("credentials", caller(stream, &configuration).await?);

    let service = Service::new(&configuration, connection.endpoint_url.as_deref(), stream);
    let description =
        service.describe().await.map_err(|failure| of_call(stream, service.permission_to_describe(), &failure))?;
    found("stream", description.to_string());
    let request = match stream.api() {
        Api::PutRecordBatch => "4 MiB",
        Api::PutRecords => "10 MiB",
    };
    let record = description.largest_record;
    found("limits", format!("{record} B a record, {MOST_RECORDS} records and {request} a request"));
    verify(stream, &description, false, 0)?;
    if let Some(shards) = service.shards() {
        service.refresh_shards().await.map_err(|failure| of_call(stream, "kinesis:ListShards", &failure))?;
        let count = shards.current().len();
        let rates = format!("{count} open, together {count} MiB/s and {},000 records/s", count);
        found("shards", rates);
    }
    if description.ignores_keys {
        found("keys", "ignored (record distribution AUTO): only --container lines".to_owned());
    }
    Ok(())
}

/// Who the credentials belong to.
async fn caller(stream: &Stream, configuration: &SdkConfig) -> Result<String, SinkError> {
    let refused = |reason| SinkError::Stream { stream: stream.to_string(), reason };
    let provider = configuration.credentials_provider();
    let no_credentials = |message| {
        let code = CODE_CREDENTIALS.to_owned();
        refused(Failure { code, message, status: None, may_have_arrived: false }.to_string())
    };
    let Some(provider) = provider else { return Err(no_credentials(String::new())) };
    if let Err(error) = provider.provide_credentials().await {
        return Err(no_credentials(causes(&error)));
    }
    match aws_sdk_sts::Client::new(configuration).get_caller_identity().send().await {
        Ok(identity) => Ok(identity.arn().unwrap_or("of an unnamed caller").to_owned()),
        Err(error) => {
            let failure = Failure::of_request(&error);
            // An endpoint that speaks no STS, or a network without a way to it, says nothing about the stream.
            if failure.class() == Class::Permanent && failure.status.is_some_and(|status| status == 403) {
                return Err(refused(format!("sts:GetCallerIdentity: {failure}")));
            }
            Ok(format!("found; whose they are is not known ({})", failure.code))
        }
    }
}

/// The way to a stream.
pub(super) struct Opened {
    pub(super) service: Service,
    /// Whether records go to the shards of their keys, as the stream said at the start.
    pub(super) keys_choose_shard: bool,
}

/// The way to a stream that takes such records as the settings say.
pub(super) async fn open(stream: &Stream, connection: &Connection, settings: &Settings) -> Result<Opened, SinkError> {
    let configuration = connection.configuration(stream).await?;
    let service = Service::new(&configuration, connection.endpoint_url.as_deref(), stream);
    let call = service.permission_to_describe();
    let is_firehose = stream.api() == Api::PutRecordBatch;
    // Firehose needs no more than the permission to put records, and there are endpoints that describe a stream
    // otherwise than AWS: what is wrong shows with the first records then, and those that cannot be sent are kept.
    let is_no_matter =
        |failure: &Failure| is_firehose && (failure.code.starts_with("AccessDenied") || failure.code == CODE_REPLY);
    let description = patiently(settings, async || match service.describe().await {
        Err(failure) if is_no_matter(&failure) => {
            tracing::debug!("{stream}: not looked at beforehand: {call}: {failure}");
            Ok(None)
        }
        described => described.map(Some),
    });
    let mut keys_choose_shard = true;
    match description.await {
        Ok(Some(description)) => {
            tracing::info!("{stream}: {description}");
            verify(stream, &description, settings.aggregates, settings.record_size)?;
            keys_choose_shard = !description.ignores_keys;
        }
        Ok(None) => {}
        Err(failure) if is_firehose && settings.spool.is_some() && failure.class() != Class::Permanent => {
            tracing::warn!("{stream}: {call}: {failure}; going on, as there is a spool");
        }
        Err(failure) => return Err(of_call(stream, call, &failure)),
    }
    let refreshed = patiently(settings, async || service.refresh_shards().await).await;
    refreshed.map_err(|failure| of_call(stream, "kinesis:ListShards", &failure))?;
    Ok(Opened { service, keys_choose_shard })
}

/// Asks again for a while what may work in a moment, unless the run is stopped.
async fn patiently<T>(settings: &Settings, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        answer = ask_again(settings, ask) => answer,
        () = stopped(&settings.stop) => Err(Failure::timeout("stopped before there was a reply", false)),
    }
}

async fn ask_again<T>(settings: &Settings, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let until = Instant::now() + settings.give_up_after.map_or(PATIENCE, |time| time.min(PATIENCE));
    let mut wait = Duration::from_millis(100);
    loop {
        let failure = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let may_help = matches!(failure.class(), Class::Transient | Class::Throttled);
        if !may_help || Instant::now() + wait > until {
            return Err(failure);
        }
        sleep(wait).await;
        wait *= 2;
    }
}

/// Whether the stream takes such records.
pub(super) fn verify(
    stream: &Stream,
    description: &Description,
    aggregates: bool,
    record_size: usize,
) -> Result<(), SinkError> {
    let reason = if description.other_source {
        format!("is a {}: records go to its source, not to it; deliver to that with kinesis://", description.kind)
    } else if !description.takes_records {
        format!("the stream is {}: wait until it is ACTIVE", description.status)
    } else if aggregates && description.ignores_keys {
        "the stream's record distribution is AUTO: it ignores partition keys, and consumers silently drop aggregates \
         whose keys are not their shard's. Use --container lines, or give the stream USER_PARTITION_KEY"
            .to_owned()
    } else if record_size > description.largest_record {
        format!(
            "the stream takes records of {} B, --record-size is {record_size}: lower it, or raise the stream's \
             MaxRecordSizeInKiB",
            description.largest_record
        )
    } else {
        return Ok(());
    };
    Err(SinkError::Stream { stream: stream.to_string(), reason })
}

/// A failure of a call that is also the name of the permission for it.
fn of_call(stream: &Stream, call: &str, failure: &Failure) -> SinkError {
    SinkError::Stream { stream: stream.to_string(), reason: format!("{call}: {failure}") }
}
