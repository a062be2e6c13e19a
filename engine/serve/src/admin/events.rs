//! A look at all pipelines each second, as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use pixel_engine_core::quarantine::BadLine;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::savings::Saving;
use crate::watch::{JournalUse, State, Watch, Watches};

const INTERVAL: Duration = Duration::from_secs(1);

/// The body of a reply.
pub(super) enum Reply {
    /// All of it, until it is sent.
    Whole(Option<Bytes>),
    /// No end of it.
    Events(Box<Events>),
}

/// A stream of events.
pub(super) struct Events {
    watches: Arc<Watches>,
    bad_line_text: bool,
    interval: Interval,
    _room: OwnedSemaphorePermit,
}

impl Reply {
    pub(super) fn whole(bytes: Bytes) -> Reply {
        Reply::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Events {
    pub(super) fn new(watches: Arc<Watches>, bad_line_text: bool, room: OwnedSemaphorePermit) -> Events {
        let mut interval = interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Events { watches, bad_line_text, interval, _room: room }
    }

    fn event(&self) -> Bytes {
        let pipelines = self.watches.all();
        let looks: Vec<Look<'_>> = pipelines.iter().map(|watch| Look::at(watch, self.bad_line_text)).collect();
        let json = serde_json::to_string(&looks).expect("its keys are text");
        format!("data: {json}\n\n").into()
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Reply::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Reply::Events(events) => events.interval.poll_tick(context).map(|_| Some(Ok(Frame::data(events.event())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Reply::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Reply::Events(_) => SizeHint::default(),
        }
    }
}

/// A pipeline at a moment.
#[derive(Serialize)]
struct Look<'a> {
    name: &'a str,
    target: String,
    state: &'static str,
    troubles: Vec<String>,
    bytes_in: u64,
    lines_in: u64,
    lines_shipped: u64,
    lines_spooled: u64,
    lines_quarantined: u64,
    lines_filtered: u64,
    lines_undelivered: u64,
    lines_open: u64,
    lag_bytes: u64,
    records: u64,
    requests: u64,
    throttles: u64,
    failures: BTreeMap<String, u64>,
    spool: Option<SpoolLook>,
    journal: Option<JournalUse>,
    queue: Option<QueueLook>,
    savings: Vec<Saving>,
    has_report: bool,
    bad_lines: Vec<BadLineLook>,
}

#[derive(Serialize)]
struct SpoolLook {
    bytes: u64,
    size: u64,
    batches: u64,
    oldest_seconds: Option<u64>,
}

#[derive(Serialize)]
struct QueueLook {
    messages: u64,
    oldest_seconds: u64,
    failed: u64,
}

#[derive(Serialize)]
struct BadLineLook {
    reason: String,
    source: String,
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl<'a> Look<'a> {
    fn at(watch: &'a Watch, bad_line_text: bool) -> Look<'a> {
        let progress = &*watch.progress;
        let requests = &progress.requests;
        let mut failures = requests.failed.get();
        for (code, count) in requests.records_failed.get() {
            *failures.entry(code).or_default() += count;
        }
        Look {
            name: &watch.name,
            target: watch.target.to_string(),
            state: match watch.state() {
                State::Starting => "starting",
                State::Running => "running",
                State::Failed(_) => "failed",
                State::Ended => "ended",
            },
            troubles: watch.troubles(),
            bytes_in: progress.bytes_in.get(),
            lines_in: progress.lines_in.get(),
            lines_shipped: progress.lines_shipped.get(),
            lines_spooled: progress.lines_spooled.get(),
            lines_quarantined: progress.lines_quarantined.get(),
            lines_filtered: progress.lines_filtered.get(),
            lines_undelivered: progress.lines_undelivered.get(),
            lines_open: progress.lines_open(),
            lag_bytes: progress.lag_bytes(),
            records: progress.records.get(),
            requests: requests.sent.get(),
            throttles: requests.throttles.get(),
            failures,
            spool: watch.spool().map(|spool| SpoolLook {
                bytes: spool.usage.bytes,
                size: spool.size,
                batches: spool.usage.batches,
                oldest_seconds: spool.usage.oldest.map(|age| age.as_secs()),
            }),
            journal: watch.journal(),
            queue: watch.queue().map(|queue| QueueLook {
                messages: queue.messages_held(),
                oldest_seconds: queue.oldest().as_secs(),
                failed: queue.messages_failed.get(),
            }),
            savings: watch.rates.savings(progress.billed.get(), watch.billed_unpacked()),
            has_report: watch.report.is_some(),
            bad_lines: progress.recent_bad_lines().iter().map(|line| BadLineLook::of(line, bad_line_text)).collect(),
        }
    }
}

impl BadLineLook {
    fn of(line: &BadLine, with_text: bool) -> BadLineLook {
        BadLineLook {
            // Some reasons quote the line.
            reason: if with_text { line.reason.to_string() } else { line.reason.clone().without_content().to_string() },
            source: line.origin.name.clone(),
            line: line.line,
            text: line.bytes.as_deref().filter(|_| with_text).map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use pixel_engine_core::quarantine::Reason;

    use super::*;

    #[test]
    fn what_stands_in_a_bad_line_is_shown_only_when_asked_for() {
        let secret = "secret-1".to_owned();
        let reason = Reason::Timestamp { field: "timestamp", text: secret.clone() };
        let origin = Arc::new(pixel_engine_core::block::Origin::new(0, "a.log".to_owned()));
        let bytes = b"secret-1\tsecret-1".to_vec();
        let (len, bytes) = (bytes.len(), Some(bytes));
        let line = BadLine { reason, origin, line: 7, offset: 0, len, bytes, part: None };
        let json = |with_text| serde_json::to_string(&BadLineLook::of(&line, with_text)).unwrap();
        assert_eq!(json(false), r#"{"reason":"unparsable timestamp `...`","source":"a.log","line":7}"#);
        assert!(json(true).contains(&secret));
    }
}
