//! What others may see of pipelines while they run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pixel_engine_core::billing::Billed;
use pixel_engine_core::config::{Linger, SpoolConfig, Target};
use pixel_engine_core::journal::Journal;
use pixel_engine_core::progress::{Count, Progress};
use pixel_engine_core::record::Delivered;
use pixel_engine_core::sink::limits::Api;
use pixel_engine_core::spool::{self, Usage};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::queue::QueueCounts;
use crate::report::LiveReport;
use crate::savings::Rates;

/// A spool or a journal counts as nearly full from this part of its size on: nine tenths.
const NEARLY_FULL: (u64, u64) = (9, 10);
/// Beside the linger, how long lines may be on their way while nothing else happens: twice what a
/// request and the wait before the next one take at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pipelines of a program, by their names.
#[derive(Debug, Default)]
pub struct Watches(Mutex<BTreeMap<String, Arc<Watch>>>);

/// A pipeline as others see it. Its counts go on when it begins again, also with another
/// configuration.
#[derive(Debug)]
pub struct Watch {
    /// Its name in the configuration file.
    pub name: String,
    /// Where its records go.
    pub target: Target,
    /// Whose limits and prices its records go by.
    pub api: Api,
    /// What became of its lines.
    pub progress: Arc<Progress>,
    /// How often it began.
    pub starts: Count,
    /// Lines that were kept in the spool and have arrived since.
    pub spool_lines_shipped: Count,
    pub(crate) queue: Arc<QueueCounts>,
    has_queue: bool,
    /// What its lines say, if that is counted. It goes on when the pipeline begins again, unless it is
    /// to count something else.
    pub(crate) report: Option<Arc<LiveReport>>,
    pub(crate) rates: Rates,
    spool: Option<SpoolConfig>,
    journal: Option<Arc<Journal>>,
    linger: Linger,
    state: Mutex<State>,
    last_change: Mutex<([u64; 4], Instant)>,
}

/// What a pipeline is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It opens what it delivers to.
    Starting,
    /// Its sources are read.
    Running,
    /// It failed for that reason, and begins again.
    Failed(String),
    /// Its sources have ended, or it was stopped.
    Ended,
}

/// What is in the spool of a pipeline, of how many bytes that there may be.
#[derive(Clone, Copy, Debug)]
pub struct SpoolUse {
    /// What is in it.
    pub usage: Usage,
    /// The most bytes.
    pub size: u64,
}

/// What is in the journal of a pipeline, of how many bytes that there may be.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JournalUse {
    /// Bytes in it.
    pub bytes: u64,
    /// The most bytes.
    pub size: u64,
}

impl Watches {
    /// Begins to watch a pipeline that writes to this journal, if it has one. The counts of one of
    /// the same name that has ended go on.
    pub fn watch(&self, pipeline: &PipelineConfig, journal: Option<Arc<Journal>>) -> Arc<Watch> {
        let mut watches = lock(&self.0);
        let before = watches.get(&pipeline.name);
        let watch = Arc::new(Watch::new(pipeline, journal, before.map(Arc::as_ref)));
        watches.insert(pipeline.name.clone(), Arc::clone(&watch));
        watch
    }

    /// Forgets the pipelines that have other names.
    pub fn keep<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: Vec<&str> = names.collect();
        lock(&self.0).retain(|name, _| names.contains(&name.as_str()));
    }

    /// The pipelines, in the order of their names.
    pub fn all(&self) -> Vec<Arc<Watch>> {
        lock(&self.0).values().cloned().collect()
    }

    /// Why pipelines cannot deliver, a sentence each; nothing when all of them can.
    pub fn troubles(&self) -> Vec<String> {
        let troubles = |watch: &Arc<Watch>| {
            let troubles = watch.troubles();
            let name = watch.name.clone();
            troubles.into_iter().map(move |trouble| format!("pipeline {name}: {trouble}"))
        };
        self.all().iter().flat_map(troubles).collect()
    }
}

impl Watch {
    fn new(pipeline: &PipelineConfig, journal: Option<Arc<Journal>>, before: Option<&Watch>) -> Watch {
        let PipelineConfig { name, config, report, .. } = pipeline;
        let progress = before.map(|before| Arc::clone(&before.progress)).unwrap_or_default();
        let report = report.as_ref().map(|report| match before.and_then(|before| before.report.as_ref()) {
            Some(same) if same.config() == report => Arc::clone(same),
            _ => Arc::new(LiveReport::new(report.clone(), Arc::clone(&progress))),
        });
        Watch {
            name: name.clone(),
            target: config.target().clone(),
            api: config.api(),
            progress,
            starts: before.map(|before| Count::from(before.starts.get())).unwrap_or_default(),
            spool_lines_shipped: before.map(|before| Count::from(before.spool_lines_shipped.get())).unwrap_or_default(),
            queue: before.map(|before| Arc::clone(&before.queue)).unwrap_or_default(),
            has_queue: pipeline.queues().next().is_some(),
            report,
            rates: Rates::of(config),
            spool: config.spool().cloned(),
            journal,
            linger: config.linger(),
            state: Mutex::new(State::Starting),
            last_change: Mutex::new(([0; 4], Instant::now())),
        }
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// What is in its spool, where it has one that can be read.
    pub fn spool(&self) -> Option<SpoolUse> {
        let SpoolConfig { folder, size, .. } = self.spool.as_ref()?;
        Some(SpoolUse { usage: spool::usage(folder).ok()?, size: *size })
    }

    /// What is in the journal that it writes to, if it does.
    pub fn journal(&self) -> Option<JournalUse> {
        let journal = self.journal.as_ref()?;
        Some(JournalUse { bytes: journal.bytes(), size: journal.limit() })
    }

    /// What became of the messages of its queues, if it has any.
    pub fn queue(&self) -> Option<&QueueCounts> {
        self.has_queue.then_some(&*self.queue)
    }

    /// What the lines that have arrived would have been billed as records of their own: each as the
    /// mean of those that were packed.
    pub fn billed_unpacked(&self) -> Billed {
        let Progress { lines_shipped, lines_packed, billed_unpacked, .. } = &*self.progress;
        let arrived = u128::from(lines_shipped.get() + self.spool_lines_shipped.get());
        let packed = u128::from(lines_packed.get().max(1));
        billed_unpacked.get().map(|billed| u64::try_from(u128::from(billed) * arrived / packed).unwrap_or(u64::MAX))
    }

    /// Why it cannot deliver.
    pub fn troubles(&self) -> Vec<String> {
        let by_state = match self.state() {
            State::Starting => Some("it has not begun yet".to_owned()),
            State::Failed(reason) => Some(format!("it failed, and begins again: {reason}")),
            State::Running | State::Ended => None,
        };
        let full = |what, bytes: u64, size: u64| {
            let is_nearly_full = bytes / NEARLY_FULL.0 >= size / NEARLY_FULL.1;
            is_nearly_full.then(|| format!("its {what} is nearly full: {bytes} of {size} bytes are used"))
        };
        let of_spool = self.spool().and_then(|spool| full("spool", spool.usage.bytes, spool.size));
        let of_journal = self.journal().and_then(|journal| full("journal", journal.bytes, journal.size));
        let of_queue = self.queue().and_then(QueueCounts::failure);
        let of_delivery = self.progress.requests.failure();
        by_state.into_iter().chain(of_delivery).chain(of_spool).chain(of_journal).chain(of_queue).collect()
    }

    /// Whether lines are on their way to a stream and nothing has happened for so long that nothing
    /// will. Other targets may keep an object open for any time.
    pub(crate) fn is_stuck(&self) -> bool {
        let Progress { lines_in, lines_shipped, requests, .. } = &*self.progress;
        let counts = [lines_in.get(), lines_shipped.get(), requests.sent.get(), self.starts.get()];
        let mut last_change = lock(&self.last_change);
        if last_change.0 != counts {
            *last_change = (counts, Instant::now());
        }
        let (Target::Stream(_), Linger::After(linger), State::Running) = (&self.target, self.linger, self.state())
        else {
            return false;
        };
        self.progress.lines_open() > 0 && last_change.1.elapsed() > linger + PATIENCE
    }

    pub(crate) fn set(&self, state: State) {
        *lock(&self.state) = state;
    }

    /// Counts records of the spool that have arrived.
    pub(crate) fn spool_shipped(&self, delivered: &Delivered) {
        self.spool_lines_shipped.add(delivered.lines);
        self.progress.records.add(delivered.records);
        self.progress.payload_bytes.add(delivered.payload_bytes);
        self.progress.billed.add(delivered.billed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under the locks is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pixel_engine_core::config::Settings;

    use super::*;

    fn watch(settings: Settings) -> Watch {
        let settings = Settings { to: Some("firehose://beacons".to_owned()), ..settings };
        let config = settings.validate().unwrap();
        let (name, given) = ("beacons".to_owned(), BTreeMap::new());
        Watch::new(
            &PipelineConfig {
                name,
                sources: Vec::new(),
                journal: None,
                report: None,
                config,
                given,
                parts: Vec::new(),
            },
            None,
            None,
        )
    }

    #[test]
    fn a_pipeline_is_ready_while_it_runs_and_has_room_in_its_spool() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { spool: Some(folder.path().to_owned()), ..Settings::default() };
        let watch = watch(Settings { spool_size: Some(10 << 20), ..settings });
        assert_eq!(watch.troubles(), ["it has not begun yet"]);
        watch.set(State::Running);
        assert_eq!(watch.troubles(), [""; 0]);
        fs::write(folder.path().join("2026-11-29T02-03-04.000005Z_0000000001.batch"), vec![0; 9 << 20]).unwrap();
        let full = watch.troubles();
        assert_eq!(full, ["its spool is nearly full: 9437184 of 10485760 bytes are used"]);
        watch.set(State::Failed("disk full".to_owned()));
        assert_eq!(watch.troubles()[0], "it failed, and begins again: disk full");
    }

    #[test]
    fn only_lines_that_are_on_their_way_can_be_stuck() {
        let mut watch = watch(Settings { linger: Some(Linger::After(Duration::from_secs(1))), ..Settings::default() });
        watch.set(State::Running);
        let let_pass = |watch: &Watch, time| lock(&watch.last_change).1 -= time;
        let_pass(&watch, PATIENCE * 2);
        assert!(!watch.is_stuck(), "nothing is to be done");
        watch.progress.lines_in.add(1);
        assert!(!watch.is_stuck(), "it was read just now");
        let_pass(&watch, PATIENCE / 2);
        assert!(!watch.is_stuck());
        let_pass(&watch, PATIENCE);
        assert!(watch.is_stuck());
        watch.target = Target::Dir("out".into());
        assert!(!watch.is_stuck(), "its object is open");
    }
}
