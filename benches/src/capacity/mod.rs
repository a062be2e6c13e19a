//! What this machine can do, and how much of AWS it fills.
//!
//! [`VariantCapacity`] turns what was measured into figures; [`Capacity`] is all of them with the
//! machine: as text, as JSON, and as a page with charts. The limits are those of the quota pages of
//! the two services.

mod page;
mod text;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pixel_engine::kpl::HashKeys;
use pixel_engine::limits::firehose::DirectPutQuota;
use pixel_engine::limits::kinesis;
use pixel_engine::sink::limits::Api;
use serde::Serialize;

use crate::machine::{self, Machine};
use crate::{RECORD, is_quick, is_set, results};

/// What a shard of a provisioned stream takes in a second.
const SHARD: [(u64, Limit); 2] =
    [(kinesis::SHARD_BYTES_PER_SECOND, Limit::Bytes), (kinesis::SHARD_RECORDS_PER_SECOND, Limit::Records)];

/// What a delivery stream takes by Direct PUT in a second, before AWS raised anything.
const DELIVERY_STREAM: [(u64, Limit); 3] = {
    let quota = DirectPutQuota::LARGE_REGION;
    [(quota.bytes, Limit::Bytes), (quota.records, Limit::Records), (quota.requests, Limit::Requests)]
};

/// Which limit of a service is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes a second.
    Bytes,
    /// Records a second.
    Records,
    /// Requests a second.
    Requests,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Limit::Bytes => "bytes",
            Limit::Records => "records",
            Limit::Requests => "requests",
        }
    }
}

/// What a second brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Log lines.
    pub lines_per_second: f64,
    /// 10^6 bytes of log lines.
    pub megabytes_per_second: f64,
}

impl Rate {
    /// So many lines and bytes in that many seconds.
    pub fn new(lines: u64, bytes: u64, seconds: f64) -> Rate {
        Rate { lines_per_second: lines as f64 / seconds, megabytes_per_second: bytes as f64 / 1e6 / seconds }
    }
}

/// The speed with that many worker threads, by the clock.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Threads {
    /// Worker threads: `--threads`.
    pub threads: usize,
    /// How fast.
    #[serde(flatten)]
    pub rate: Rate,
    /// Times the speed of one thread.
    pub scaling: f64,
}

/// How many shards or delivery streams are full, and which limit says so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Filled {
    /// How many.
    pub count: f64,
    /// The limit that is reached first.
    pub limited_by: Limit,
}

impl Filled {
    /// Of what takes that much a second; `demand` says how much of each limit a second needs.
    fn of(limits: &[(u64, Limit)], demand: impl Fn(Limit) -> f64) -> Filled {
        let filled =
            limits.iter().map(|&(most, limit)| Filled { count: demand(limit) / most as f64, limited_by: limit });
        filled.max_by(|a, b| a.count.total_cmp(&b.count)).expect("a service has limits")
    }
}

/// What a variant made of the lines, in one run over all of them.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of the lines as they are encoded, before any packing and compression.
    pub encoded_bytes: u64,
    /// Records.
    pub records: u64,
    /// Bytes of data in them.
    pub payload_bytes: u64,
    /// Requests that carry them.
    pub requests: u64,
    /// The API that the requests are for.
    pub api: Api,
}

/// The figures of one variant of the pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct VariantCapacity {
    /// What it is called.
    pub name: String,
    /// What one core does: by seconds of CPU time of all threads, in the run with one worker.
    pub one_core: Rate,
    /// By the clock, with 1, 2, 4 and so on up to all cores.
    pub by_threads: Vec<Threads>,
    /// Bytes of data in a record, on average.
    pub record_bytes: f64,
    /// Provisioned shards that one core fills with a record for each line, uncompressed.
    pub shards_unpacked: Filled,
    /// Provisioned shards that one core fills with the records of this variant.
    pub shards_packed: Filled,
    /// Lines a second that one shard takes, a record for each.
    pub lines_per_shard_unpacked: f64,
    /// Lines a second that one shard takes in the records of this variant.
    pub lines_per_shard_packed: f64,
    /// Direct PUT quotas of Firehose that one core fills. None for KPL aggregates, which Direct PUT
    /// does not take apart.
    pub firehose_quotas: Option<Filled>,
    /// What was compared with the input.
    pub checked: String,
    /// Whether it was the same, in every run.
    pub correct: bool,
}

impl VariantCapacity {
    /// The figures of a variant. `by_threads` begins with one thread.
    ///
    /// # Panics
    /// When `by_threads` is empty.
    pub fn new(
        name: &str,
        made: Made,
        one_core: Rate,
        by_threads: &[(usize, Rate)],
        checked: &str,
        correct: bool,
    ) -> VariantCapacity {
        let lines = one_core.lines_per_second;
        // What a core makes of its lines in a second.
        let times = |count: u64| count as f64 * lines / made.lines as f64;
        let key = HashKeys::KEY_LEN as f64;
        let shards_unpacked = Filled::of(&SHARD, |limit| match limit {
            Limit::Bytes => times(made.encoded_bytes) + lines * key,
            Limit::Records | Limit::Requests => lines,
        });
        let packed = |limit| match limit {
            Limit::Bytes => times(made.payload_bytes),
            Limit::Records => times(made.records),
            Limit::Requests => times(made.requests),
        };
        let shards_packed = Filled::of(&SHARD, |limit| match limit {
            Limit::Bytes => packed(limit) + times(made.records) * key,
            _ => packed(limit),
        });
        let one_thread = by_threads[0].1.lines_per_second;
        VariantCapacity {
            name: name.to_owned(),
            one_core,
            by_threads: by_threads
                .iter()
                .map(|&(threads, rate)| Threads { threads, rate, scaling: rate.lines_per_second / one_thread })
                .collect(),
            record_bytes: made.payload_bytes as f64 / made.records as f64,
            shards_unpacked,
            shards_packed,
            lines_per_shard_unpacked: lines / shards_unpacked.count,
            lines_per_shard_packed: lines / shards_packed.count,
            firehose_quotas: (made.api == Api::PutRecordBatch).then(|| Filled::of(&DELIVERY_STREAM, packed)),
            checked: checked.to_owned(),
            correct,
        }
    }

    fn all_cores(&self) -> &Threads {
        self.by_threads.last().expect("a variant was measured with one thread at least")
    }
}

/// The capacity of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    machine: Machine,
    time: String,
    load_average: Option<f64>,
    quick: bool,
    data: String,
    variants: Vec<VariantCapacity>,
}

impl Capacity {
    /// No variant yet; `data` says what the lines are.
    ///
    /// # Errors
    /// The machine does not say how many cores it has.
    pub fn new(data: impl Into<String>) -> io::Result<Capacity> {
        Ok(Capacity {
            machine: Machine::this()?,
            time: machine::now(),
            load_average: machine::load_average(),
            quick: is_quick(),
            data: data.into(),
            variants: Vec::new(),
        })
    }

    /// Adds a variant.
    pub fn push(&mut self, variant: VariantCapacity) {
        self.variants.push(variant);
    }

    /// Writes `capacity-<cpu>-<date>.json` and the page of the same name: to `benches/results` when
    /// [`RECORD`] is set, else to `folder`. The paths of both.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<[PathBuf; 2]> {
        let folder = if is_set(RECORD) { results::folder() } else { folder.to_owned() };
        fs::create_dir_all(&folder)?;
        let json = folder.join(format!("capacity-{}-{}.json", self.machine.slug(), machine::today()));
        fs::write(&json, serde_json::to_string_pretty(self)? + "\n")?;
        let page = json.with_extension("html");
        fs::write(&page, self.to_html())?;
        Ok([json, page])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand lines of 1,000 B in one second, in ten records of which five make a request.
    const MADE: Made = Made {
        lines: 1_000,
        bytes: 1_000_000,
        encoded_bytes: 1_000_000,
        records: 10,
        payload_bytes: 1_000_000,
        requests: 2,
        api: Api::PutRecordBatch,
    };

    fn variant(made: Made, lines_per_second: f64) -> VariantCapacity {
        let rate = Rate { lines_per_second, megabytes_per_second: lines_per_second / 1e3 };
        let twice = Rate { lines_per_second: 2.0 * lines_per_second, ..rate };
        VariantCapacity::new("raw", made, rate, &[(1, rate), (2, twice)], "lines", true)
    }

    pub(super) fn capacity() -> Capacity {
        let mut capacity = Capacity::new("some lines").unwrap();
        capacity.push(variant(MADE, 3_000_000.0));
        capacity.push(VariantCapacity {
            name: "kpl".to_owned(),
            ..variant(Made { api: Api::PutRecords, ..MADE }, 2_000_000.0)
        });
        capacity.push(VariantCapacity { name: "<bad>".to_owned(), correct: false, ..variant(MADE, 1_000_000.0) });
        capacity
    }

    fn filled(count: f64, limited_by: Limit) -> Filled {
        Filled { count, limited_by }
    }

    #[test]
    fn a_shard_is_full_by_records_or_by_bytes() {
        let unpacked = |line: u64, lines| {
            variant(Made { bytes: line * 1_000, encoded_bytes: line * 1_000, ..MADE }, lines).shards_unpacked
        };
        // With its key of 4 B a line of 1,044 B is just below 1 MiB by 1,000, one of 1,045 B just
        // above.
        assert_eq!(unpacked(1_044, 1_000.0), filled(1.0, Limit::Records));
        assert_eq!(unpacked(1_045, 1_048_576.0), filled(1_049.0, Limit::Bytes));
        assert_eq!(unpacked(100, 50_000.0), filled(50.0, Limit::Records));
    }

    #[test]
    fn packed_lines_count_by_records_with_their_keys() {
        let made = Made { payload_bytes: 1_048_536, ..MADE };
        assert_eq!(variant(made, 1_000.0).shards_packed, filled(1.0, Limit::Bytes));
        assert_eq!(variant(made, 7_000.0).lines_per_shard_packed, 1_000.0);
        // So small that their number counts.
        let tiny = Made { records: 1_000, payload_bytes: 10_000, ..MADE };
        assert_eq!(variant(tiny, 3_000.0).shards_packed, filled(3.0, Limit::Records));
    }

    #[test]
    fn a_direct_put_quota_has_three_limits() {
        let quotas = |made| variant(made, 1_000.0).firehose_quotas;
        assert_eq!(quotas(Made { payload_bytes: 5 << 20, ..MADE }), Some(filled(1.0, Limit::Bytes)));
        assert_eq!(quotas(Made { records: 1_000_000, ..MADE }), Some(filled(2.0, Limit::Records)));
        assert_eq!(quotas(Made { requests: 6_000, ..MADE }), Some(filled(3.0, Limit::Requests)));
        assert_eq!(quotas(Made { api: Api::PutRecords, ..MADE }), None);
    }

    #[test]
    fn scaling_is_relative_to_one_thread() {
        let scaling: Vec<f64> = variant(MADE, 10.0).by_threads.iter().map(|threads| threads.scaling).collect();
        assert_eq!(scaling, [1.0, 2.0]);
    }
}
