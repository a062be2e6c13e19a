//! The function that aggregates: records of a stream of Kinesis in, well-packed records out.
//!
//! Lambda invokes it with a batch of records of one shard. All lines of the batch are packed
//! together and sent, and the invocation is answered when all have arrived. When some cannot be
//! delivered in time, the answer names the first record that has not arrived wholly: Lambda tries
//! again from there, if the event source mapping says `ReportBatchItemFailures`.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pixel_engine_core::config::{Config, Key, Linger, Settings, Target};
use pixel_engine_core::progress::Progress;
use pixel_engine_core::run::Report;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::kinesis_event::KinesisEvent;
use super::runtime::{Handler, HandlerError, Invocation};
use crate::open_run::{Fate, OpenRun, Taken};
use crate::settings::{Accepted, OF_LINES, VariableErrors, read};

const REPORT: &str = "report_batch_item_failures";

/// What the function can be told. An invocation waits for its records and for nothing else, and its
/// deadline says how long they are tried; what is not delivered is still in the stream, and needs
/// neither a spool nor a checkpoint.
pub const ACCEPTED: Accepted = Accepted {
    command: "aggregate",
    keys: &[
        OF_LINES,
        &[
            Key::DedupWindow,
            Key::Quarantine,
            Key::To,
            Key::Container,
            Key::PartitionBy,
            Key::RecordSize,
            Key::Align,
            Key::Reorder,
            Key::Compress,
            Key::Threads,
            Key::Concurrency,
            Key::RequestSize,
            Key::CountRequestSize,
            Key::RateLimit,
            Key::GiveUpAfter,
            Key::Region,
            Key::Profile,
            Key::EndpointUrl,
            Key::RoleArn,
            Key::RequestTimeout,
        ],
    ],
    others: &[REPORT],
};

/// How long requests on the way may still take when there is no time for new ones.
const GRACE: Duration = Duration::from_millis(500);
/// What is left then for the answer.
const FOR_THE_ANSWER: Duration = Duration::from_millis(250);
/// How long the start may take to look at the stream. Lambda gives it 10 s.
const START: Duration = Duration::from_secs(8);

/// Packs and delivers the records of Kinesis events.
pub struct Aggregate {
    config: Config,
    reports_item_failures: bool,
    progress: Arc<Progress>,
    open: Arc<dyn Fn(Arc<Progress>) -> Result<OpenRun, String> + Send + Sync>,
    run: Option<OpenRun>,
}

impl Aggregate {
    /// The function that is told so by variables.
    ///
    /// # Errors
    /// Variables that do not exist, or have no use here; values that cannot be read, or do not go
    /// together.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Aggregate, VariableErrors> {
        let told = read(ACCEPTED, variables)?;
        let reports_item_failures = match told.others.get(REPORT).map(String::as_str) {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(VariableErrors::of(REPORT, "true or false")),
        };
        if told.settings.to.is_none() {
            return Err(VariableErrors::of(
                Key::To.name(),
                "where do records go? kinesis://STREAM or firehose://STREAM",
            ));
        }
        let config = Settings {
            linger: Some(Linger::Never),
            grace: Some(GRACE),
            quarantine: told.settings.quarantine.or_else(|| Some("log:".into())),
            // A shard gives no more than one can take, and each costs memory.
            threads: told.settings.threads.or(Some(1)),
            ..told.settings
        };
        let config = config.validate()?;
        if matches!(config.target(), Target::Dir(_) | Target::S3(_) | Target::Stdout(_)) {
            let message = "kinesis://STREAM or firehose://STREAM: an invocation is answered when its records are safe, \
                           and no file of a function is, nor an object before it is complete";
            return Err(VariableErrors::of(Key::To.name(), message));
        }
        Ok(Aggregate::new(config, reports_item_failures))
    }

    /// A function of that configuration. With `reports_item_failures`, an invocation that delivers
    /// some records and not others is answered with the first of the others, else it fails as a
    /// whole.
    pub fn new(config: Config, reports_item_failures: bool) -> Aggregate {
        let to = config.clone();
        let open = move |progress| OpenRun::start(to.clone(), progress).map_err(|error| error.to_string());
        Aggregate::with_runs(config, reports_item_failures, open)
    }

    /// A function whose runs are opened by `open`, which are more than one only after failures.
    pub fn with_runs(
        config: Config,
        reports_item_failures: bool,
        open: impl Fn(Arc<Progress>) -> Result<OpenRun, String> + Send + Sync + 'static,
    ) -> Aggregate {
        Aggregate { config, reports_item_failures, progress: Arc::default(), open: Arc::new(open), run: None }
    }

    /// Connects and looks at the stream, so that the first invocation need not. A stream that does
    /// not answer yet is no error.
    ///
    /// # Errors
    /// There is no such stream, no permission, no region.
    pub async fn start(&mut self) -> Result<(), String> {
        match timeout(START, self.open()).await {
            Ok(run) => self.run = Some(run?),
            Err(_) => tracing::warn!("{}: no answer yet", self.config.target()),
        }
        Ok(())
    }

    async fn open(&self) -> Result<OpenRun, String> {
        let (open, progress) = (Arc::clone(&self.open), Arc::clone(&self.progress));
        spawn_blocking(move || open(progress)).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The run that takes the batch, which is a new one after a failure.
    async fn running(&mut self, until: Instant) -> Result<OpenRun, String> {
        match self.run.take() {
            Some(run) if run.is_running() => Ok(run),
            _ => match timeout_at(until, self.open()).await {
                Ok(opened) => opened,
                Err(_) => Err(format!("{}: no answer before the deadline", self.config.target())),
            },
        }
    }

    async fn aggregate(&mut self, json: Vec<u8>, deadline: SystemTime) -> Result<Vec<u8>, HandlerError> {
        let begun = Instant::now();
        let event =
            KinesisEvent::read(&json).map_err(|message| HandlerError { kind: "Function.UnexpectedEvent", message })?;
        if event.len() == 0 {
            return Ok(answer(None));
        }
        let name = event.name();
        let (batch, places) = event.batch(self.config.format());
        // Megabytes that are not needed while the lines are on their way.
        drop(event);
        drop(json);
        let before = Counts::of(&self.progress);
        let time = deadline.duration_since(SystemTime::now()).unwrap_or_default();
        let until = begun + time.saturating_sub(GRACE + FOR_THE_ANSWER);
        let not_delivered = |message| HandlerError { kind: "Function.NotDelivered", message };
        let run = self.running(until).await.map_err(|message| not_delivered(format!("{name}: {message}")))?;
        let taking = run.take(name.clone(), batch);
        run.flush();
        let mut deliver = std::pin::pin!(async {
            match taking.await {
                Ok(taken) => Taken::fate(taken).await,
                Err(_) => Fate::Failed { gap: Default::default(), bytes_ahead: 0 },
            }
        });
        let (fate, is_late) = match timeout_at(until, &mut deliver).await {
            Ok(fate) => (fate, false),
            Err(_) => {
                run.stop();
                // What is on the way is answered for, or given up.
                (deliver.await, true)
            }
        };
        let Fate::Failed { gap, bytes_ahead } = fate else {
            self.run = Some(run);
            let counts = Counts::of(&self.progress).since(before);
            tracing::info!("{name}: {} records, {counts} in {} ms", places.len(), begun.elapsed().as_millis());
            return Ok(answer(None));
        };
        let report = spawn_blocking(move || run.close()).await;
        let why = report.ok().and_then(|report| why(&report)).unwrap_or_else(|| match is_late {
            true => "the deadline came first".to_owned(),
            false => "the run has ended".to_owned(),
        });
        let (first, sequence_number) = places.record_at(gap);
        let message = format!(
            "{name}: {first} of {} records are delivered, the next is {sequence_number}: {why}; {bytes_ahead} bytes of \
             lines behind it have arrived too and will come twice",
            places.len()
        );
        if !self.reports_item_failures {
            return Err(not_delivered(message));
        }
        tracing::error!("{message}");
        Ok(answer(Some(sequence_number)))
    }
}

impl Handler for Aggregate {
    async fn handle(&mut self, invocation: &mut Invocation) -> Result<Vec<u8>, HandlerError> {
        self.aggregate(mem::take(&mut invocation.event), invocation.deadline).await
    }
}

/// What the event source mapping is told: the record to go on with, if not all are done.
fn answer(first: Option<&str>) -> Vec<u8> {
    match first {
        None => br#"{"batchItemFailures":[]}"#.to_vec(),
        Some(sequence_number) => {
            serde_json::json!({"batchItemFailures": [{"itemIdentifier": sequence_number}]}).to_string().into_bytes()
        }
    }
}

/// What went wrong in the run.
fn why(report: &Report) -> Option<String> {
    let errors: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// Counts of lines and of what they became.
#[derive(Clone, Copy)]
struct Counts {
    lines: u64,
    shipped: u64,
    quarantined: u64,
    filtered: u64,
    records: u64,
    requests: u64,
}

impl Counts {
    fn of(progress: &Progress) -> Counts {
        Counts {
            lines: progress.lines_in.get(),
            shipped: progress.lines_shipped.get(),
            quarantined: progress.lines_quarantined.get(),
            filtered: progress.lines_filtered.get(),
            records: progress.records.get(),
            requests: progress.requests.sent.get(),
        }
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            lines: self.lines - before.lines,
            shipped: self.shipped - before.shipped,
            quarantined: self.quarantined - before.quarantined,
            filtered: self.filtered - before.filtered,
            records: self.records - before.records,
            requests: self.requests - before.requests,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { lines, shipped, quarantined, filtered, records, requests } = self;
        write!(
            out,
            "{lines} lines in = {shipped} shipped + {quarantined} quarantined + {filtered} filtered, {records} records \
             out, {requests} requests"
        )
    }
}
