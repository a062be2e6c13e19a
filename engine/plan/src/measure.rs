//! Measures a sample by packing it, through the same pipeline that packs it for real.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::workload::{LineLengths, Origin, PackedLines, PerRecord, RecordKind, Size, Speed, Workload};
use pixel_engine_core::billing::PUT_PAYLOAD_UNIT;
use pixel_engine_core::compress::Codec;
use pixel_engine_core::config::{ConfigError, ContainerKind, Settings};
use pixel_engine_core::observe::{Observed, Observer};
use pixel_engine_core::pack::lines;
use pixel_engine_core::quarantine::Quarantine;
use pixel_engine_core::run::{self, Run, Summary};
use pixel_engine_core::sink::null::Null;
use pixel_engine_core::source::{Files, Input};
use pixel_engine_log::line::Line;
use pixel_engine_log::schema::Schemas;

/// Bytes of the sample that its lines are counted in.
const SAMPLE_BYTES: u64 = 256 << 20;
/// Bytes of the sample that a ratio is measured on.
const RATIO_BYTES: u64 = 32 << 20;
/// How long a speed is measured.
const SPEED_TIME: Duration = Duration::from_millis(400);
/// Files that are read until that time is over, at most: the sample's again and again.
const MAX_READS: usize = 20_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Files, which are read several times.
    pub inputs: Vec<Input>,
    /// Accepted schemas of real-time logs.
    pub schemas: Schemas,
    /// Threads that pack.
    pub threads: NonZeroUsize,
    /// The most bytes of an aggregate, with its key.
    pub aggregate_size: usize,
    /// How Firehose records are compressed: a design for each.
    pub codecs: Vec<Codec>,
}

/// Why a sample tells nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A pipe: its bytes are there only once.
    #[error("{0}: a sample is read several times, so it must be a file")]
    NotAFile(String),
    /// No line at all.
    #[error("the sample is empty")]
    Empty,
    /// Not one line of it is a log line.
    #[error("none of the sample's {lines} lines is a log line; the first: {first}")]
    NoLogLine {
        /// How many there are.
        lines: u64,
        /// The first of them and what is wrong with it.
        first: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// More threads than a run can have.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Sample {
    /// Packs the sample in every way that a plan compares.
    ///
    /// # Errors
    /// It cannot be read, or there is no log line in it.
    pub fn measure(&self) -> Result<Workload, MeasureError> {
        if let Some(input) = self.inputs.iter().find(|input| !input.can_be_read_again()) {
            return Err(MeasureError::NotAFile(input.name()));
        }
        let once = self.pack(Packing::lines(lines::MAX_RECORD_SIZE, Amount::Bytes(SAMPLE_BYTES)))?;
        let summary = &once.summary;
        if summary.lines_in == 0 {
            return Err(MeasureError::Empty);
        }
        if summary.lines_shipped == 0 {
            let first = once.first_bad_line.unwrap_or_default();
            return Err(MeasureError::NoLogLine { lines: summary.lines_in, first });
        }
        let lines = summary.lines_shipped as f64;
        let line_bytes = summary.payload_bytes as f64 / lines;
        let sample_bytes = summary.payload_bytes;

        let raw = self.pack(Packing::lines(lines::MAX_RECORD_SIZE, Amount::SpeedTime))?.summary;
        let lines_of_aggregates = Packing::lines(self.aggregate_size, Amount::SpeedTime);
        let aggregates = Packing { container: ContainerKind::Kpl, ..lines_of_aggregates };
        let aggregated = self.pack(aggregates)?.summary;
        let compressed = self.codecs.iter().map(|&codec| self.compressed(codec, line_bytes, sample_bytes));
        Ok(Workload {
            line_bytes,
            unpacked: PerRecord {
                firehose: summary.billed_bytes_unpacked as f64 / lines,
                put_payload_units: (summary.billed_bytes_kinesis_provisioned_unpacked / PUT_PAYLOAD_UNIT) as f64
                    / lines,
                on_demand: summary.billed_bytes_kinesis_on_demand_unpacked as f64 / lines,
            },
            raw: measured(PackedLines::raw(line_bytes, mean_record(&raw)), &raw),
            kpl: measured(PackedLines::kpl(line_bytes, self.aggregate_size), &aggregated),
            compressed: compressed.collect::<Result<_, _>>()?,
            origin: Origin::Sample {
                lines: summary.lines_shipped,
                bytes: summary.payload_bytes,
                bad_lines: summary.lines_quarantined,
                first_bad_line: once.first_bad_line,
                cut: summary.interrupted,
            },
            lengths: Some(once.lengths),
        })
    }

    /// How far records of several sizes shrink, and how fast.
    fn compressed(&self, codec: Codec, line_bytes: f64, sample_bytes: u64) -> Result<PackedLines, MeasureError> {
        let limit = lines::MAX_RECORD_SIZE;
        let mut sizes: Vec<Size> = Vec::new();
        for record_size in [2_048, 5_120, 20_480, 102_400, limit] {
            let packing = Packing { codec, ..Packing::lines(record_size, Amount::Bytes(RATIO_BYTES)) };
            let summary = self.pack(packing)?.summary;
            // A record too small for many of the lines would tell of the short ones only.
            let representative = summary.lines_shipped as f64 > 0.99 * summary.lines_in as f64 || record_size == limit;
            if representative && summary.lines_shipped > 0 {
                let records = summary.records as f64;
                let lines = summary.lines_shipped as f64 * line_bytes / records;
                let size = Size { lines, data: summary.payload_bytes as f64 / records };
                sizes.retain(|smaller| smaller.lines < 0.99 * size.lines && smaller.data < size.data);
                sizes.push(size);
            }
        }
        let largest = *sizes.last().expect("the largest record takes every line that was shipped");
        let ratio = largest.lines / largest.data;
        // A sample shorter than a record does not fill one: at that ratio it would get this far.
        let full = (full_when_compressed(limit as f64) * ratio).min(MAX_LINES_OF_A_RECORD).max(largest.lines);
        if full > 1.01 * largest.lines {
            sizes.push(Size { lines: full, data: full / ratio });
        }

        // Lines that come again within a record would compress to nothing, so no record is longer
        // than the sample.
        let no_repetition = (0.9 * sample_bytes as f64 / ratio) as usize;
        let record_size = no_repetition.clamp(smallest_record(line_bytes), limit);
        let timed = self.pack(Packing { codec, ..Packing::lines(record_size, Amount::SpeedTime) })?.summary;
        Ok(PackedLines { speed: Some(speed(&timed)), ..PackedLines::of(RecordKind::Lines(codec), sizes) })
    }

    fn pack(&self, packing: Packing) -> Result<Outcome, MeasureError> {
        let settings = Settings {
            container: Some(packing.container),
            record_size: Some(packing.record_size as u64),
            compress: (packing.codec != Codec::None).then(|| packing.codec.to_string()),
            threads: Some(self.threads.get() as u64),
            ..Settings::default()
        };
        let config = settings.validate()?.with_schemas(self.schemas.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let (mut sink, mut quarantine) = (Null::new(config.api()), Quarantine::new("/dev/null"));
        let mut run = Run::new(&config).stop(Arc::clone(&stop));
        let mut seen = None;
        let report = match packing.amount {
            Amount::Bytes(max_bytes) => {
                let lines = Arc::new(Observed::new(Lines { max_bytes, seen: AtomicU64::new(0), stop }));
                seen = Some(Arc::clone(&lines));
                run = run.source(Files::new(self.inputs.as_slice())).observer(lines);
                run.to(&mut sink, &mut quarantine)
            }
            Amount::SpeedTime => {
                let reads = MAX_READS.max(self.inputs.len());
                let inputs: Vec<Input> = self.inputs.iter().cycle().take(reads).cloned().collect();
                thread::scope(|scope| {
                    let clock = scope.spawn(|| {
                        thread::park_timeout(SPEED_TIME);
                        stop.store(true, Ordering::Relaxed);
                    });
                    let report = run.source(Files::new(inputs)).to(&mut sink, &mut quarantine);
                    clock.thread().unpark();
                    report
                })
            }
        };
        match report.errors.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Outcome {
                summary: report.summary,
                lengths: seen.map(|lines| lines.take().lengths).unwrap_or_default(),
                first_bad_line: report.first_bad_line.map(|line| line.to_string()),
            }),
        }
    }
}

/// Bytes of a compressed record that is full: the packer aims 3 % below the limit.
fn full_when_compressed(limit: f64) -> f64 {
    0.97 * limit
}

/// The most bytes of lines that go into a compressed record.
const MAX_LINES_OF_A_RECORD: f64 = (16 << 20) as f64;

/// The smallest record to measure speed with: a few lines, and what a codec adds to noise.
fn smallest_record(line_bytes: f64) -> usize {
    ((4.0 * line_bytes) as usize + 1_024).min(lines::MAX_RECORD_SIZE)
}

fn mean_record(summary: &Summary) -> f64 {
    summary.payload_bytes as f64 / summary.records as f64
}

/// The packing with what full records came to.
fn measured(packed: PackedLines, summary: &Summary) -> PackedLines {
    let records = summary.records as f64;
    let full_billed = PerRecord {
        firehose: summary.billed_bytes_firehose as f64 / records,
        put_payload_units: (summary.billed_bytes_kinesis_provisioned / PUT_PAYLOAD_UNIT) as f64 / records,
        on_demand: summary.billed_bytes_kinesis_on_demand as f64 / records,
    };
    PackedLines { full_billed: Some(full_billed), speed: Some(speed(summary)), ..packed }
}

fn speed(summary: &Summary) -> Speed {
    Speed {
        lines_per_second: summary.lines_per_second,
        megabytes_per_second: summary.megabytes_per_second,
        threads: summary.threads,
    }
}

/// A way of packing the sample.
#[derive(Clone, Copy)]
struct Packing {
    container: ContainerKind,
    codec: Codec,
    record_size: usize,
    amount: Amount,
}

/// How much of the sample.
#[derive(Clone, Copy)]
enum Amount {
    /// Its beginning, of about that many bytes of lines.
    Bytes(u64),
    /// All of it again and again for [`SPEED_TIME`].
    SpeedTime,
}

impl Packing {
    fn lines(record_size: usize, amount: Amount) -> Packing {
        Packing { container: ContainerKind::Lines, codec: Codec::None, record_size, amount }
    }
}

struct Outcome {
    summary: Summary,
    lengths: LineLengths,
    first_bad_line: Option<String>,
}

/// Counts lines by length, and ends the run when it has seen enough.
struct Lines {
    max_bytes: u64,
    seen: AtomicU64,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Tally {
    lengths: LineLengths,
    /// Of the lines since the last block.
    bytes: u64,
}

impl Observer for Lines {
    type Tally = Tally;

    fn observe(&self, _line: &Line<'_>, text: &[u8], tally: &mut Tally) {
        let len = text.len() + 1;
        tally.lengths.add(len);
        tally.bytes += len as u64;
    }

    fn end_block(&self, tally: &mut Tally) {
        let bytes = std::mem::take(&mut tally.bytes);
        if self.seen.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.max_bytes {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn merge(&self, into: &mut Tally, from: Tally) {
        into.lengths.merge(&from.lengths);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use pixel_engine_kpl as kpl;

    fn sample(path: impl AsRef<Path>) -> Sample {
        Sample {
            inputs: vec![Input::File(path.as_ref().to_owned())],
            schemas: Schemas::all_presets(),
            threads: NonZeroUsize::MIN,
            aggregate_size: kpl::DEFAULT_RECORD_SIZE,
            codecs: vec![Codec::Zstd(1), Codec::Gzip(1)],
        }
    }

    /// Lines of the smallest preset, of changing length and content.
    fn log(lines: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        let line = |_| {
            let query: String = (0..random.usize(20..200)).map(|_| random.alphanumeric()).collect();
            format!("1767600000.068\t203.0.113.9\tMozilla/5.0%20(X11;%20Linux)\te=pv&q={query}\n")
        };
        (0..lines).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn a_sample_is_measured_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.log");
        let text = log(20_000);
        fs::write(&path, &text).unwrap();
        let workload = sample(&path).measure().unwrap();
        assert_eq!(workload.line_bytes, text.len() as f64 / 20_000.0);
        let Origin::Sample { lines, bytes, bad_lines, ref first_bad_line, cut } = workload.origin else { panic!() };
        assert_eq!((lines, bytes, bad_lines, cut), (20_000, text.len() as u64, 0, false));
        assert_eq!(*first_bad_line, None);
        // Every line is below 5,120 B, and none above 1,024.
        assert_eq!(workload.unpacked, PerRecord { firehose: 5_120.0, put_payload_units: 1.0, on_demand: 1_024.0 });
        let lengths = workload.lengths.unwrap();
        let longest = text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::len).max().unwrap();
        assert_eq!((lengths.lines(), lengths.quantile(1.0)), (20_000, longest as u32));
        for packing in [&workload.raw, &workload.kpl].into_iter().chain(&workload.compressed) {
            assert!(packing.sizes.is_sorted_by(|less, more| less.lines < more.lines && less.data < more.data));
            assert!(packing.speed.unwrap().lines_per_second > 1_000.0, "{packing:?}");
        }
        // Records end within the last sixteenth, just under a multiple of 5,120 B.
        assert!((960_000.0..=1_024_000.0).contains(&workload.raw.full().data), "{:?}", workload.raw);
        let rounding = workload.raw.full_billed.unwrap().firehose / workload.raw.full().data;
        assert!((1.0..1.001).contains(&rounding), "{rounding}");
        assert_eq!(workload.kpl.full_billed.unwrap().put_payload_units.round(), 2.0);
        for compressed in &workload.compressed {
            // Noise of 62 letters has 6 bits a byte, so these lines cannot shrink twofold; nor does
            // a repeated sample.
            assert!((1.1..2.5).contains(&compressed.ratio()), "{compressed:?}");
            let [small, full] = [compressed.sizes[0], compressed.full()];
            assert!(small.lines / small.data < full.lines / full.data, "{compressed:?}");
            assert!((900_000.0..=1_024_000.0).contains(&full.data), "{compressed:?}");
        }
    }

    #[test]
    fn the_formula_of_aggregates_is_what_the_packer_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.log");
        fs::write(&path, log(50_000)).unwrap();
        let sample = sample(&path);
        let line = fs::read(&path).unwrap().len() as f64 / 50_000.0;
        let lines = Packing::lines(kpl::DEFAULT_RECORD_SIZE, Amount::Bytes(u64::MAX));
        let run = Packing { container: ContainerKind::Kpl, ..lines };
        let summary = sample.pack(run).unwrap().summary;
        let full = PackedLines::kpl(line, kpl::DEFAULT_RECORD_SIZE).full();
        let measured = (summary.bytes_in as f64 / summary.records as f64, mean_record(&summary));
        assert!((full.lines / measured.0 - 1.0).abs() < 0.005, "{full:?} {measured:?}");
        assert!((full.data / measured.1 - 1.0).abs() < 0.005, "{full:?} {measured:?}");
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.log");
        let error = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            sample(&path).measure().unwrap_err().to_string()
        };
        assert_eq!(error(b""), "the sample is empty");
        assert_eq!(error(b"\n\n"), "the sample is empty");
        assert!(error(b"hello\nworld\n").starts_with("none of the sample's 2 lines is a log line; the first: "));
        let mut stdin = sample(&path);
        stdin.inputs.push(Input::Stdin);
        assert_eq!(
            stdin.measure().unwrap_err().to_string(),
            "stdin: a sample is read several times, so it must be a file"
        );
        let missing = sample(folder.path().join("missing")).measure().unwrap_err();
        assert!(matches!(missing, MeasureError::NotAFile(_)), "{missing}");
    }
}
