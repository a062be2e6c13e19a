//! What others may see of pipelines while they run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pixel_engine_core::config::{Config, Linger, SpoolConfig, Target};
use pixel_engine_core::progress::{Count, Progress};
use pixel_engine_core::record::Delivered;
use pixel_engine_core::sink::limits::Api;
use pixel_engine_core::spool::{self, Usage};

use crate::config::PipelineConfig;
use crate::savings::Rates;

/// A spool counts as nearly full from this part of its size on: nine tenths.
const NEARLY_FULL: (u64, u64) = (9, 10);
/// Beside the linger, how long lines may be on their way while nothing else happens: twice what a
/// request and the wait before the next one take at most.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pipelines of a program.
#[derive(Debug, Default)]
pub struct Watches(Mutex<Vec<Arc<Watch>>>);

/// A pipeline as others see it. Its counts go on when it begins again.
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
    pub(crate) rates: Rates,
    spool: Option<SpoolConfig>,
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

impl Watches {
    /// Begins to watch a pipeline.
    pub fn watch(&self, pipeline: &PipelineConfig) -> Arc<Watch> {
        let watch = Arc::new(Watch::new(&pipeline.name, &pipeline.config));
        lock(&self.0).push(Arc::clone(&watch));
        watch
    }

    /// The pipelines, in the order in which they came.
    pub fn all(&self) -> Vec<Arc<Watch>> {
        lock(&self.0).clone()
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
    fn new(name: &str, config: &Config) -> Watch {
        Watch {
            name: name.to_owned(),
            target: config.target().clone(),
            api: config.api(),
            progress: Arc::default(),
            starts: Count::default(),
            spool_lines_shipped: Count::default(),
            rates: Rates::of(config),
            spool: config.spool().cloned(),
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

    /// Why it cannot deliver.
    pub fn troubles(&self) -> Vec<String> {
        let by_state = match self.state() {
            State::Starting => Some("it has not begun yet".to_owned()),
            State::Failed(reason) => Some(format!("it failed, and begins again: {reason}")),
            State::Running | State::Ended => None,
        };
        let of_spool = self
            .spool()
            .filter(SpoolUse::is_nearly_full)
            .map(|spool| format!("its spool is nearly full: {} of {} bytes are used", spool.usage.bytes, spool.size));
        by_state.into_iter().chain(self.progress.requests.failure()).chain(of_spool).collect()
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

impl SpoolUse {
    fn is_nearly_full(&self) -> bool {
        self.usage.bytes / NEARLY_FULL.0 >= self.size / NEARLY_FULL.1
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
        Watch::new("beacons", &settings.validate().unwrap())
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
