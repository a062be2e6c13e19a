//! How many lines come in each second.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::rate::Load;
use pixel_engine_core::config::{OnBadLine, Settings};
use pixel_engine_core::observe::{Observed, Observer};
use pixel_engine_core::quarantine::Quarantine;
use pixel_engine_core::run;
use pixel_engine_core::sink::null::Null;
use pixel_engine_core::source::{Files, Input};
use pixel_engine_log::line::Line;
use pixel_engine_log::schema::Schemas;

/// The seconds of a day.
const DAY: usize = 86_400;
/// The longest trace: 31 days.
const MAX_TRACE_SECONDS: u64 = 31 * 86_400;

/// Lines by the second.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Demand {
    /// What it is called.
    pub name: String,
    /// Lines in each second.
    #[serde(skip)]
    pub rates: Vec<f64>,
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read, usually because it is not there.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// A row is not `second,events`; usually it has other columns or a separator that is not a
    /// comma.
    #[error("{path}: line {line}: `{text}` is not `second,events`")]
    Row {
        /// The file.
        path: String,
        /// Its line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// The log cannot be read, usually because its compression is broken.
    #[error(transparent)]
    Log(#[from] run::Error),
    /// The file is empty, or nothing in it has a time.
    #[error("{0}: no line of it has a time: neither a log nor a CSV file of `second,events`")]
    Empty(String),
    /// The trace is longer than a month, usually because two logs of different years are in it.
    #[error("{path}: its times are {seconds} s apart; a trace has at most {MAX_TRACE_SECONDS}")]
    Long {
        /// The file.
        path: String,
        /// From the first time to the last.
        seconds: u64,
    },
}

impl Demand {
    /// The same number in every second.
    pub fn constant(rate: f64, seconds: usize) -> Demand {
        Demand { name: "constant".to_owned(), rates: vec![rate; seconds] }
    }

    /// A day that is busiest at 20:00: a bell curve around the clock, `e^(k cos)`, with the load's
    /// average and peak.
    pub fn diurnal(load: Load) -> Demand {
        let angle = |second: usize| std::f64::consts::TAU * (second as f64 / DAY as f64 - 20.0 / 24.0);
        let (average, peak) = (load.average.get(), load.peak.get());
        let shape = |sharpness: f64| (0..DAY).map(move |second| (sharpness * (angle(second).cos() - 1.0)).exp());
        // The sharper the bell, the lower its mean, which has to be average / peak. Its reciprocal
        // grows at least as the root of 2 pi sharpness, so this is sharp enough for any factor that
        // a load takes.
        let (mut flat, mut sharp) = (0.0, 1e7);
        for _ in 0..60 {
            let middle = (flat + sharp) / 2.0;
            let mean = shape(middle).sum::<f64>() / DAY as f64;
            if mean > average / peak { flat = middle } else { sharp = middle }
        }
        Demand { name: "diurnal".to_owned(), rates: shape(flat).map(|part| peak * part).collect() }
    }

    /// A day at the average rate with a crowd at noon, which rises to the peak within 30 s, stays
    /// for ten minutes, and then halves every ten minutes.
    pub fn flash_crowd(load: Load) -> Demand {
        const NOON: f64 = 43_200.0;
        const RISE: f64 = 30.0;
        const STAY: f64 = 600.0;
        const HALF: f64 = 600.0;
        let crowd = |second: usize| match second as f64 - NOON {
            ..0.0 => 0.0,
            since @ ..RISE => since / RISE,
            since if since < RISE + STAY => 1.0,
            since => 0.5_f64.powf((since - RISE - STAY) / HALF),
        };
        let (average, peak) = (load.average.get(), load.peak.get());
        let rates = (0..DAY).map(|second| average + (peak - average) * crowd(second)).collect();
        Demand { name: "flash-crowd".to_owned(), rates }
    }

    /// Reads a file: CSV rows of `second,events`, with or without a header, or a log whose times
    /// are counted. Seconds that do not occur have no lines.
    ///
    /// # Errors
    /// The file cannot be read, or is neither.
    pub fn trace(path: &Path, schemas: &Schemas) -> Result<Demand, TraceError> {
        let name = path.display().to_string();
        let read_error = |error| TraceError::Read { path: name.clone(), error };
        let is_csv = {
            let mut start = [0; 256];
            let len = std::io::Read::read(&mut fs::File::open(path).map_err(read_error)?, &mut start);
            let start = &start[..len.map_err(read_error)?];
            let row = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
            row.contains(&b',') && !row.contains(&b'\t') && !row.starts_with(b"{") && !row.starts_with(b"#")
        };
        let seconds =
            if is_csv { rows(&name, &fs::read_to_string(path).map_err(read_error)?)? } else { times(path, schemas)? };
        let (Some((&first, _)), Some((&last, _))) = (seconds.first_key_value(), seconds.last_key_value()) else {
            return Err(TraceError::Empty(name));
        };
        if last - first >= MAX_TRACE_SECONDS {
            return Err(TraceError::Long { path: name, seconds: last - first });
        }
        let mut rates = vec![0.0; (last - first + 1) as usize];
        for (second, lines) in seconds {
            rates[(second - first) as usize] = lines;
        }
        if rates.iter().all(|&rate| rate == 0.0) {
            return Err(TraceError::Empty(name));
        }
        Ok(Demand { name, rates })
    }

    /// Multiplies every second's lines, so that the average becomes the one given.
    pub fn scaled_to(mut self, average: f64) -> Demand {
        let factor = average / self.average();
        self.rates.iter_mut().for_each(|rate| *rate *= factor);
        self
    }

    /// Lines a second on average.
    pub fn average(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// Lines in the worst second.
    pub fn peak(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}

fn rows(path: &str, text: &str) -> Result<BTreeMap<u64, f64>, TraceError> {
    let mut seconds = BTreeMap::new();
    for (number, row) in text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty()) {
        let parsed = row.split_once(',').and_then(|(second, events)| {
            let events: f64 = events.trim().parse().ok()?;
            Some((second.trim().parse().ok()?, (0.0..=1e12).contains(&events).then_some(events)?))
        });
        match parsed {
            Some((second, events)) => *seconds.entry(second).or_insert(0.0) += events,
            // A header has no number.
            None if number == 0 && !row.contains(|letter: char| letter.is_ascii_digit()) => {}
            None => {
                let text = row.chars().take(40).collect();
                return Err(TraceError::Row { path: path.to_owned(), line: number + 1, text });
            }
        }
    }
    Ok(seconds)
}

/// The times of a log, through the pipeline that reads every format.
fn times(path: &Path, schemas: &Schemas) -> Result<BTreeMap<u64, f64>, TraceError> {
    let settings = Settings { on_bad_line: Some(OnBadLine::Skip), threads: Some(1), ..Settings::default() };
    let config = settings.validate().expect("these go together").with_schemas(schemas.clone());
    let seconds = Arc::new(Observed::new(Seconds));
    let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
    let input = [Input::File(path.to_owned())];
    let run = run::Run::new(&config).source(Files::new(input)).observer(seconds.clone());
    match run.to(&mut sink, &mut quarantine).errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(seconds.take()),
    }
}

/// Counts lines by the second in which they were logged.
struct Seconds;

impl Observer for Seconds {
    type Tally = BTreeMap<u64, f64>;

    fn observe(&self, line: &Line<'_>, _text: &[u8], tally: &mut Self::Tally) {
        if let Some(millis) = line.time_millis() {
            *tally.entry(millis as u64 / 1_000).or_insert(0.0) += 1.0;
        }
    }

    fn merge(&self, into: &mut Self::Tally, from: Self::Tally) {
        for (second, lines) in from {
            *into.entry(second).or_insert(0.0) += lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    fn load(average: f64, factor: f64) -> Load {
        Load::new(Rate::per_second(average).unwrap(), factor).unwrap()
    }

    fn trace(text: &str) -> Result<Demand, TraceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        fs::write(&path, text).unwrap();
        Demand::trace(&path, &Schemas::all_presets())
    }

    #[test]
    fn a_day_has_the_average_and_the_peak_that_were_asked_for() {
        for factor in [1.0, 1.5, 2.0, 4.0, 50.0, 1_000.0] {
            let day = Demand::diurnal(load(1_000.0, factor));
            assert_eq!(day.rates.len(), 86_400);
            assert!((day.average() / 1_000.0 - 1.0).abs() < 0.001, "{factor}: {}", day.average());
            assert!((day.peak() / (factor * 1_000.0) - 1.0).abs() < 1e-6, "{factor}: {}", day.peak());
            assert_eq!(day.rates[72_000], day.peak(), "at 20:00");
        }
    }

    #[test]
    fn a_crowd_comes_at_noon_and_goes() {
        let day = Demand::flash_crowd(load(100.0, 5.0));
        assert_eq!((day.rates[43_199], day.rates[43_230], day.rates[43_800]), (100.0, 500.0, 500.0));
        assert!((day.rates[43_830 + 600] - 300.0).abs() < 1e-9);
        assert!(day.rates[86_399] < 100.1);
    }

    #[test]
    fn rows_are_a_trace_with_gaps() {
        let day = trace("second,events\n10,5\n12, 7.5\n10,1\n").unwrap();
        assert_eq!(day.rates, [6.0, 0.0, 7.5]);
        assert_eq!(day.average(), 4.5);
        assert_eq!(day.scaled_to(9.0).rates, [12.0, 0.0, 15.0]);
        assert_eq!(trace("1,2\n").unwrap().rates, [2.0]);
    }

    #[test]
    fn the_times_of_a_log_are_a_trace() {
        let real_time =
            "1767600000.068\t203.0.113.9\tcurl\t-\n1767600002.9\t203.0.113.9\tcurl\t-\n1767600000.9\t-\t-\t-\n";
        assert_eq!(trace(real_time).unwrap().rates, [2.0, 0.0, 1.0]);
        let standard =
            "#Version: 1.0\n#Fields: date time c-ip\n2026-11-23\t23:59:59\t1.2.3.4\n2026-11-24\t00:00:01\t1.2.3.4\n";
        assert_eq!(trace(standard).unwrap().rates, [1.0, 0.0, 1.0]);
        let json =
            "{\"timestamp(ms)\":\"1731699951183\",\"c-ip\":\"1.2.3.4\"}\n{\"timestamp(ms)\":\"1731699952000\"}\n";
        assert_eq!(trace(json).unwrap().rates, [1.0, 1.0]);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        let error = |text: &str| trace(text).unwrap_err().to_string();
        assert!(error("1,2\n3;4\n").ends_with("line 2: `3;4` is not `second,events`"));
        assert!(error("1,-2\n").contains("line 1"));
        assert!(error("1,nan\n").contains("line 1"));
        for nothing in ["", "second,events\n", "1,0\n", "hello\n"] {
            assert!(error(nothing).contains("no line of it has a time"), "{nothing}");
        }
        assert!(error("0,1\n99999999,1\n").contains("99999999 s apart"));
        let missing = Demand::trace(Path::new("missing"), &Schemas::all_presets()).unwrap_err();
        assert!(missing.to_string().starts_with("missing: "));
    }
}
