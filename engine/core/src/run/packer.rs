//! Takes encoded blocks in order, cuts them into records, and hands these to the pool in groups.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rayon::ThreadPool;

use super::reader::ToPacker;
use super::writer::ToWriter;
use super::{BadLines, Error, LINES_MEMORY, SourceCounts, groups_in_flight, on_pool};
use crate::ack::{AckToken, Acknowledgements};
use crate::billing::Billed;
use crate::check::LineCounts;
use crate::compress::Codec;
use crate::config::{self, Config, OnBadLine};
use crate::encode::{Encoded, EncodedBlock};
use crate::finish::{Compressor, Container};
use crate::pack::Packed;
use crate::pack::aggregates::AggregatePacker;
use crate::pack::lines::LinesPacker;
use crate::pack::partitions::PartitionPacker;
use crate::progress::Progress;
use crate::quarantine::BadLine;
use crate::sink::{RecordLimit, Sink};
use crate::source::Closed;

/// Aggregates in a group: two for each of the 16 lanes of the widest MD5 kernel.
const GROUP_AGGREGATES: usize = 32;
/// Bytes of lines at which a group of any kind is full.
const GROUP_BYTES: usize = 2 << 20;

pub(super) struct Packer<'a> {
    cutter: Cutter,
    container: Arc<Container>,
    reorder: bool,
    /// Whether each line is a record.
    single_lines: bool,
    record_size: usize,
    /// What the sink would rather have for now.
    record_limit: RecordLimit,
    on_bad_line: OnBadLine,
    pool: &'a ThreadPool,
    output: Sender<ToWriter>,
    progress: &'a Progress,
    acknowledgements: Acknowledgements,
    group: Vec<Packed>,
    group_bytes: usize,
    /// How long a line may wait for its record to fill up.
    linger: Option<Duration>,
    /// The newlines before the next block of each origin that has not ended.
    newlines_before: BTreeMap<usize, u64>,
    packed: PackedCounts,
}

enum Cutter {
    Lines(LinesPacker),
    Aggregates(AggregatePacker),
    Partitions(PartitionPacker),
}

/// What the packer saw.
#[derive(Default)]
pub(super) struct PackedCounts {
    pub(super) lines: LineCounts,
    pub(super) by_source: Vec<SourceCounts>,
    pub(super) skipped: u64,
    pub(super) bytes_in: u64,
    pub(super) unpacked: Billed,
    pub(super) first_bad_line: Option<BadLine>,
    pub(super) bad_lines: BTreeMap<&'static str, BadLines>,
    pub(super) errors: Vec<Error>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        config: &Config,
        linger: Option<Duration>,
        sink: &dyn Sink,
        pool: &'a ThreadPool,
        output: Sender<ToWriter>,
        progress: &'a Progress,
        acknowledgements: Acknowledgements,
    ) -> Packer<'a> {
        let (cutter, container) = match config.container() {
            config::Container::Kpl { record_size, partition_by } => {
                let cutter = match partition_by {
                    Some(_) => Cutter::Partitions(PartitionPacker::new(*record_size, sink.shards())),
                    None => Cutter::Aggregates(AggregatePacker::new(*record_size, sink.shards())),
                };
                (cutter, Container::Kpl)
            }
            config::Container::Parquet { .. } => {
                (Cutter::Lines(LinesPacker::new(config.container().record_size(), 1)), Container::Lines)
            }
            config::Container::Lines { record_size, align, codec: Codec::None, .. } => {
                (Cutter::Lines(LinesPacker::new(*record_size, align.get())), Container::Lines)
            }
            config::Container::Lines { record_size, codec, .. } => {
                // Beside those in the channel, the writer waits for one and the packer gathers one.
                let records = groups_in_flight(config.threads().get()) + 2;
                let compressor = Compressor::new(*codec, *record_size, records, LINES_MEMORY);
                (Cutter::Lines(LinesPacker::new(*record_size, 1)), Container::CompressedLines(compressor))
            }
        };
        Packer {
            cutter,
            container: Arc::new(container),
            reorder: config.container().reorder_for().is_some(),
            single_lines: matches!(config.container(), config::Container::Lines { single: true, .. }),
            record_size: config.container().record_size(),
            record_limit: sink.record_limit(),
            on_bad_line: config.on_bad_line(),
            pool,
            output,
            progress,
            acknowledgements,
            group: Vec::new(),
            group_bytes: 0,
            linger,
            newlines_before: BTreeMap::new(),
            packed: PackedCounts::default(),
        }
    }

    /// Packs until the reader ends, a bad line ends the run, or the writer fails.
    pub(super) fn pack(mut self, input: &Receiver<ToPacker>) -> PackedCounts {
        // A writer that has gone has told why itself.
        let _ = self.pack_all(input);
        self.packed
    }

    fn pack_all(&mut self, input: &Receiver<ToPacker>) -> Result<(), Closed> {
        loop {
            let item = match self.due() {
                None => input.recv().map_err(RecvTimeoutError::from),
                Some(due) => input.recv_deadline(due),
            };
            match item {
                Ok(ToPacker::Block(encoded)) => {
                    let encoded = encoded.recv().expect("the pool finishes every job");
                    let stopped = encoded.stopped;
                    self.add(encoded)?;
                    if stopped {
                        break;
                    }
                }
                Ok(ToPacker::Error(error)) => self.packed.errors.push(error),
                Ok(ToPacker::Ended(origin)) => drop(self.newlines_before.remove(&origin)),
                Ok(ToPacker::Flush) => {
                    self.flush()?;
                    self.send_group()?;
                    self.output.send(ToWriter::Flush)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.due().is_some_and(|due| due <= Instant::now()) {
                self.flush_old()?;
            }
        }
        self.flush()?;
        self.send_group()
    }

    /// When the oldest line that waits here has waited long enough.
    fn due(&self) -> Option<Instant> {
        let linger = self.linger?;
        let open = match &self.cutter {
            Cutter::Lines(packer) => packer.oldest(),
            Cutter::Aggregates(packer) => packer.oldest(),
            Cutter::Partitions(packer) => packer.oldest(),
        };
        let gathered = self.group.iter().filter_map(|packed| packed.oldest);
        open.into_iter().chain(gathered).min().map(|oldest| oldest + linger)
    }

    /// Sends on what has lines that have waited long enough.
    fn flush_old(&mut self) -> Result<(), Closed> {
        let Some(time) = self.linger.and_then(|linger| Instant::now().checked_sub(linger)) else { return Ok(()) };
        {
            let mut emit = into_group(&mut self.group, &mut self.group_bytes);
            match &mut self.cutter {
                Cutter::Lines(packer) => packer.flush_older(time, &mut emit),
                Cutter::Aggregates(packer) => packer.flush_older(time, &mut emit),
                Cutter::Partitions(packer) => packer.flush_older(time, &mut emit),
            }
        }
        self.send_full_groups()?;
        self.send_group()
    }

    fn add(&mut self, encoded: Encoded) -> Result<(), Closed> {
        let Encoded { block, mut bad_lines, counts, unpacked, source_bytes, origin, stopped, token } = encoded;
        // With the first block of an origin, it still stands where this run began it.
        let first = || self.acknowledgements.position(origin.number).lines;
        let newlines_before = self.newlines_before.entry(origin.number).or_insert_with(first);
        for bad_line in &mut bad_lines {
            bad_line.line += *newlines_before + 1;
        }
        *newlines_before += counts.newlines;
        self.packed.lines += counts;
        if self.packed.by_source.len() <= origin.source {
            self.packed.by_source.resize_with(origin.source + 1, SourceCounts::default);
        }
        self.packed.by_source[origin.source].add(counts, source_bytes);
        self.packed.unpacked += unpacked;
        self.packed.bytes_in += source_bytes;
        self.progress.bytes_in.add(source_bytes);
        self.progress.lines_in.add(counts.lines_in);
        self.progress.lines_filtered.add(counts.filtered);
        self.progress.lines_duplicate.add(counts.duplicates);
        self.progress.lines_packed.add(block.line_count() as u64);
        self.progress.billed_unpacked.add(unpacked);
        if !bad_lines.is_empty() {
            self.progress.note_bad_lines(&bad_lines);
        }

        let no_waiting = self.cut(&block, &token);
        self.send_full_groups()?;
        if no_waiting {
            self.send_group()?;
        }
        if self.packed.first_bad_line.is_none() {
            self.packed.first_bad_line = bad_lines.first().cloned();
        }
        // The parts of a line that is longer than a block are one line.
        for bad_line in bad_lines.iter().filter(|line| line.part.is_none_or(|(_, last)| last)) {
            let of_kind = self.packed.bad_lines.entry(bad_line.reason.name());
            of_kind.or_insert_with(|| BadLines { count: 0, first: bad_line.clone() }).count += 1;
        }
        match self.on_bad_line {
            _ if bad_lines.is_empty() => {}
            OnBadLine::Quarantine => self.output.send(ToWriter::BadLines(bad_lines, counts.bad, token.of_rest()))?,
            OnBadLine::Skip => {
                self.packed.skipped += counts.bad;
                self.progress.lines_filtered.add(counts.bad);
            }
            OnBadLine::Fail => {
                let errors = bad_lines.into_iter().map(|bad_line| Error::BadLine(Box::new(bad_line)));
                self.packed.errors.extend(errors);
            }
        }
        // A block that was left at a bad line is not done: it must not count as acknowledged.
        if !stopped {
            token.delivered();
        }
        Ok(())
    }

    /// Whether the open group has something that must not wait until it is full.
    fn cut(&mut self, block: &Arc<EncodedBlock>, token: &AckToken) -> bool {
        let mut emit = into_group(&mut self.group, &mut self.group_bytes);
        match &mut self.cutter {
            // A block without lines makes what is open older.
            Cutter::Partitions(packer) => return packer.add(block, token, &mut emit),
            _ if block.line_count() == 0 => {}
            Cutter::Aggregates(packer) => packer.add(block, token, &mut emit),
            Cutter::Lines(packer) => {
                if self.reorder {
                    // The block's lines are in the order that fills records from the first on.
                    packer.flush(&mut emit);
                }
                let record_size = self.record_size.min(self.record_limit.get());
                packer.set_limit(match &*self.container {
                    Container::CompressedLines(compressor) => {
                        compressor.lines_len(block.lines(0..block.line_count()), record_size)
                    }
                    Container::Lines | Container::Kpl => record_size,
                });
                match self.single_lines {
                    true => packer.add_each(block, token, &mut emit),
                    false => packer.add(block, token, &mut emit),
                }
            }
        }
        false
    }

    fn flush(&mut self) -> Result<(), Closed> {
        {
            let mut emit = into_group(&mut self.group, &mut self.group_bytes);
            match &mut self.cutter {
                Cutter::Aggregates(packer) => packer.flush(&mut emit),
                Cutter::Partitions(packer) => packer.flush(&mut emit),
                Cutter::Lines(packer) => packer.flush(&mut emit),
            }
        }
        self.send_full_groups()
    }

    fn send_full_groups(&mut self) -> Result<(), Closed> {
        match *self.container {
            Container::Lines => self.send_group(),
            Container::Kpl => {
                while self.group.len() >= GROUP_AGGREGATES {
                    let rest = self.group.split_off(GROUP_AGGREGATES);
                    self.send_group()?;
                    self.group_bytes = rest.iter().map(|packed| packed.lines.byte_len()).sum();
                    self.group = rest;
                }
                if self.group_bytes >= GROUP_BYTES { self.send_group() } else { Ok(()) }
            }
            Container::CompressedLines(_) if self.group_bytes >= GROUP_BYTES => self.send_group(),
            Container::CompressedLines(_) => Ok(()),
        }
    }

    fn send_group(&mut self) -> Result<(), Closed> {
        let group = std::mem::take(&mut self.group);
        self.group_bytes = 0;
        if group.is_empty() {
            return Ok(());
        }
        let container = Arc::clone(&self.container);
        let records = match *container {
            // Nothing to do for a worker.
            Container::Lines => ToWriter::Ready(group),
            _ => ToWriter::Pending(on_pool(self.pool, move || container.finish(group))),
        };
        Ok(self.output.send(records)?)
    }
}

/// Takes what a cutter emits into the open group.
fn into_group<'a>(group: &'a mut Vec<Packed>, bytes: &'a mut usize) -> impl FnMut(Packed) + 'a {
    |packed| {
        *bytes += packed.lines.byte_len();
        group.push(packed);
    }
}
