//! A model of a producer that crashes again and again: every line is read again or was delivered,
//! whatever a crash cuts off, and what was delivered and saved is never sent again.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use pixel_engine_kpl::{Decoded, SharedShardMap, decode};
use pixel_engine_log::encode::Encoding;
use pixel_engine_log::query::QueryEncoding;
use pixel_engine_log::schema::{LogKind, Schema, Schemas};
use pixel_engine_log::select::Matcher;
use proptest::prelude::*;

use super::{AckToken, Acknowledged, Acknowledgements};
use crate::block::{Block, BufferPool, Cut, Layout, Origin};
use crate::check::Checks;
use crate::compress::Codec;
use crate::encode::{Rules, Scratch};
use crate::finish::{Compressor, Container};
use crate::pack::aggregates::AggregatePacker;
use crate::pack::lines::LinesPacker;
use crate::pack::partitions::PartitionPacker;
use crate::pack::tests::map_cut_at;
use crate::record::{Receipt, Record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Shipped,
    /// Shipped without its carriage return.
    ShippedWithReturn,
    Filtered,
    Empty,
    Bad,
    /// Bad, and handed on in pieces.
    Long,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Lines,
    Reordered,
    Projected,
    Compressed,
    Aggregates,
    Partitions,
}

/// One run, until it crashes or is done.
#[derive(Clone, Debug)]
struct Life {
    shape: Shape,
    seed: u64,
    /// What part of the events there is time for.
    until: f64,
}

struct Log {
    text: Vec<u8>,
    fates: Vec<Fate>,
    /// Where each line begins, and where the last one ends.
    starts: Vec<usize>,
}

impl Log {
    fn new(lines: &[(Fate, usize)], has_last_newline: bool) -> Log {
        let (mut text, mut starts) = (Vec::new(), Vec::new());
        for (number, &(fate, len)) in lines.iter().enumerate() {
            starts.push(text.len());
            let pad = "x".repeat(len);
            let line = match fate {
                Fate::Shipped => format!("{number}\tk{pad}\n"),
                Fate::ShippedWithReturn => format!("{number}\tk{pad}\r\n"),
                Fate::Filtered => format!("{number}\tf{pad}\n"),
                Fate::Empty => "\n".to_owned(),
                Fate::Bad => format!("{number}{pad}\n"),
                Fate::Long => format!("{number}\tl{pad}{pad}{pad}\n"),
            };
            text.extend(line.into_bytes());
        }
        if !has_last_newline && text.len() > starts[starts.len() - 1] + 1 {
            text.pop();
        }
        starts.push(text.len());
        Log { text, fates: lines.iter().map(|(fate, _)| *fate).collect(), starts }
    }

    fn line(&self, number: usize) -> Range<usize> {
        self.starts[number]..self.starts[number + 1]
    }

    fn is_whole(&self, number: usize) -> bool {
        self.text[self.line(number)].ends_with(b"\n")
    }

    /// The blocks from that offset on.
    fn blocks(&self, from: u64, all: &Acknowledgements, random: &mut Rng) -> Vec<Block> {
        let origin = Arc::new(Origin::new(3, "a.log".to_owned()));
        let mut blocks = Vec::new();
        let mut push = |bytes: Range<usize>, cut, unended: usize| {
            let token = all.token(3, bytes.start as u64..bytes.end as u64);
            token.leave_unended(unended as u64);
            let mut text = self.text[bytes.clone()].to_vec();
            if text.last() != Some(&b'\n') {
                text.push(b'\n');
            }
            blocks.push(Block {
                bytes: text,
                origin: Arc::clone(&origin),
                offset: bytes.start as u64,
                source_bytes: bytes.len() as u64,
                read_at: Instant::now(),
                layout: Layout::RealTime,
                query_encoding: QueryEncoding::default(),
                is_treated: false,
                cut,
                token,
            });
        };
        let mut next = self.starts.iter().position(|&start| start as u64 == from).expect("a line begins there");
        while next < self.fates.len() {
            if self.fates[next] == Fate::Long {
                let line = self.line(next);
                let (mut at, mut part) = (line.start, 0);
                while at < line.end {
                    let end = line.end.min(at + random.usize(1..20));
                    part += 1;
                    let last = end == line.end;
                    let unended = if last && self.is_whole(next) { 0 } else { end - line.start };
                    push(at..end, Some(Cut::TooLong { part, last }), unended);
                    at = end;
                }
                next += 1;
                continue;
            }
            let most = next + random.usize(1..12);
            let long = self.fates[next..].iter().position(|fate| *fate == Fate::Long).map(|place| next + place);
            let end = most.min(self.fates.len()).min(long.unwrap_or(usize::MAX));
            let unended = if self.is_whole(end - 1) { 0 } else { self.line(end - 1).len() };
            push(self.starts[next]..self.starts[end], None, unended);
            next = end;
        }
        blocks
    }

    fn is_in(&self, number: usize, acknowledged: &Acknowledged) -> bool {
        let start = self.starts[number] as u64;
        start < acknowledged.position.offset || acknowledged.ahead.iter().any(|range| range.contains(&start))
    }
}

/// What is waited for.
enum Held {
    Record(Receipt, Vec<usize>),
    /// Lines, or a piece of one, on their way to the quarantine.
    Bad(AckToken, Vec<usize>),
    Rest(AckToken),
}

enum Cutter {
    Lines(LinesPacker),
    Aggregates(AggregatePacker),
    Partitions(PartitionPacker),
}

fn rules(shape: Shape) -> Rules {
    let is_projected = matches!(shape, Shape::Projected);
    Rules {
        checks: Checks {
            schemas: Schemas::new([Schema::parse(LogKind::RealTime, "timestamp c-ip").unwrap()]).unwrap(),
            matcher: Matcher::new(["c-ip=k*"]).unwrap(),
            stop_at_bad_line: false,
            withhold: false,
        },
        duplicates: None,
        treatment: None,
        encoding: if is_projected { Encoding::Projection("c-ip,timestamp".parse().unwrap()) } else { Encoding::Raw },
        max_line_len: 200,
        reorder_for: matches!(shape, Shape::Reordered).then_some(RECORD_SIZE),
        partition_by: matches!(shape, Shape::Partitions).then(|| "c-ip".parse().unwrap()),
        observers: Vec::new(),
        pool: BufferPool::new(2),
    }
}

const RECORD_SIZE: usize = 300;

fn packer(shape: Shape) -> (Cutter, Container) {
    match shape {
        Shape::Lines | Shape::Reordered | Shape::Projected => {
            (Cutter::Lines(LinesPacker::new(RECORD_SIZE, 1)), Container::Lines)
        }
        Shape::Compressed => {
            // The lines of each record shrink less than is thought at first, so that runs are
            // split.
            let compressor = Compressor::new(Codec::Zstd(1), 60, 1, 1 << 20);
            (Cutter::Lines(LinesPacker::new(2_000, 1)), Container::CompressedLines(compressor))
        }
        Shape::Aggregates => {
            (Cutter::Aggregates(AggregatePacker::new(RECORD_SIZE, SharedShardMap::default())), Container::Kpl)
        }
        Shape::Partitions => {
            let map = map_cut_at(&[1 << 126, 1 << 127]);
            (Cutter::Partitions(PartitionPacker::new(RECORD_SIZE, SharedShardMap::new(map))), Container::Kpl)
        }
    }
}

/// The numbers of the lines in a record.
fn numbers(shape: Shape, record: &Record) -> Vec<usize> {
    let bytes = record.chunks().collect::<Vec<_>>().concat();
    let bytes = if matches!(shape, Shape::Compressed) { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
    let lines: Vec<Vec<u8>> = match decode(&bytes) {
        Decoded::Aggregate(aggregate) => aggregate.records().map(|record| record.data.to_vec()).collect(),
        _ => bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect(),
    };
    let number = |line: &Vec<u8>| {
        let text = std::str::from_utf8(line).unwrap().strip_suffix('\n').unwrap();
        assert!(!text.contains('\r'));
        let place = usize::from(matches!(shape, Shape::Projected));
        text.split('\t').nth(place).unwrap().parse().unwrap()
    };
    lines.iter().map(number).collect()
}

/// What the world outside has of the lines, over all runs.
struct World<'a> {
    log: &'a Log,
    safe: BTreeSet<usize>,
}

impl World<'_> {
    /// A run that begins at `saved`; what the last save before its crash has.
    fn live(&mut self, life: &Life, saved: &Acknowledged) -> Acknowledged {
        let log = self.log;
        let mut random = Rng::with_seed(life.seed);
        let all = Acknowledgements::default();
        all.begin(3, saved.clone());
        let (mut cutter, container) = packer(life.shape);
        let (rules, mut scratch) = (rules(life.shape), Scratch::default());
        let mut held = Vec::new();
        let mut group = Vec::new();
        let mut newlines = saved.position.lines;
        let mut bad_pieces = vec![0_usize; log.fates.len()];
        for block in log.blocks(saved.position.offset, &all, &mut random) {
            let encoded = rules.encode(block, &mut scratch);
            let mut bad = Vec::new();
            for line in &encoded.bad_lines {
                let number = (newlines + line.line) as usize;
                assert_eq!(line.offset as usize, log.starts[number].max(line.offset as usize), "its true number");
                assert!(log.line(number).contains(&(line.offset as usize)) && !log.is_in(number, saved));
                bad_pieces[number] += 1;
                bad.push(number);
            }
            newlines += encoded.counts.newlines;
            let emit = &mut |packed| group.push(packed);
            match &mut cutter {
                Cutter::Aggregates(packer) => packer.add(&encoded.block, &encoded.token, emit),
                Cutter::Partitions(packer) => drop(packer.add(&encoded.block, &encoded.token, emit)),
                Cutter::Lines(packer) => packer.add(&encoded.block, &encoded.token, emit),
            }
            if !bad.is_empty() {
                held.push(Held::Bad(encoded.token.of_rest(), bad));
            }
            held.push(Held::Rest(encoded.token));
        }
        let emit = &mut |packed| group.push(packed);
        match &mut cutter {
            Cutter::Aggregates(packer) => packer.flush(emit),
            Cutter::Partitions(packer) => packer.flush(emit),
            Cutter::Lines(packer) => packer.flush(emit),
        }
        for record in container.finish(group).unwrap() {
            let numbers = numbers(life.shape, &record);
            assert_eq!(numbers.len(), record.lines());
            assert!(numbers.iter().all(|&number| !log.is_in(number, saved)), "sent again");
            held.push(Held::Record(record.into_receipt(), numbers));
        }
        random.shuffle(&mut held);

        let events = (held.len() as f64 * life.until).round() as usize;
        let is_done = life.until >= 1.0;
        let (mut last_save, mut told) = (saved.clone(), BTreeSet::new());
        for event in held.into_iter().take(events) {
            match event {
                // Cancelled, as by an error. Nobody has it.
                Held::Record(receipt, _) if !is_done && random.u8(..) < 20 => drop(receipt),
                Held::Bad(token, _) | Held::Rest(token) if !is_done && random.u8(..) < 10 => drop(token),
                Held::Record(receipt, numbers) => {
                    receipt.kept();
                    self.safe.extend(&numbers);
                    told.extend(numbers);
                }
                Held::Bad(token, numbers) => {
                    for number in numbers {
                        bad_pieces[number] -= 1;
                        if bad_pieces[number] == 0 {
                            self.safe.insert(number);
                        }
                    }
                    token.delivered();
                }
                Held::Rest(token) => token.delivered(),
            }
            if random.u8(..) < 100 {
                last_save = self.save(&all, &last_save, &told);
            }
        }
        if is_done {
            last_save = self.save(&all, &last_save, &told);
            assert_eq!((last_save.ahead.len(), all.position(3).offset), (0, log.text.len() as u64));
        }
        last_save
    }

    /// What is acknowledged; checks that the world outside has it, and that nothing of what the run
    /// was `told` is missing.
    fn save(&self, all: &Acknowledgements, before: &Acknowledged, told: &BTreeSet<usize>) -> Acknowledged {
        let (log, saved) = (self.log, all.acknowledged(3));
        let newlines = log.text[..saved.position.offset as usize].iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(saved.position.lines, newlines as u64);
        assert_eq!(saved.position, all.line_start(3));
        let begins_line = |offset: u64| log.starts.contains(&(offset as usize));
        assert!(begins_line(saved.position.offset));
        let mut end = saved.position.offset;
        for (place, range) in saved.ahead.iter().enumerate() {
            assert!(range.start < range.end && (range.start > end || (place == 0 && range.start == end)), "{saved:?}");
            assert!(begins_line(range.start) && begins_line(range.end), "{saved:?}");
            assert_eq!(log.text[range.end as usize - 1], b'\n', "a whole line");
            end = range.end;
        }
        for (number, &fate) in log.fates.iter().enumerate() {
            let is_in = log.is_in(number, &saved);
            if is_in && !matches!(fate, Fate::Filtered | Fate::Empty) {
                assert!(self.safe.contains(&number), "line {number} is lost");
            }
            assert!(is_in || !log.is_in(number, before), "line {number} was acknowledged before");
            if told.contains(&number) && log.is_whole(number) {
                assert!(is_in, "line {number} was delivered, and would be sent again");
            }
        }
        saved
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Shipped),
        2 => Just(Fate::ShippedWithReturn),
        2 => Just(Fate::Filtered),
        1 => Just(Fate::Empty),
        2 => Just(Fate::Bad),
        1 => Just(Fate::Long),
    ]
}

fn any_life() -> impl Strategy<Value = Life> {
    use Shape::*;
    let shape = prop::sample::select(vec![Lines, Reordered, Projected, Compressed, Aggregates, Partitions]);
    (shape, any::<u64>(), 0.0..1.0_f64).prop_map(|(shape, seed, until)| Life { shape, seed, until })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_line_is_delivered_whenever_the_producer_crashes_and_what_was_saved_is_not_sent_again(
        lines in prop::collection::vec((any_fate(), 0..60_usize), 1..90),
        has_last_newline in any::<bool>(),
        lives in prop::collection::vec(any_life(), 0..6),
        last in any_life(),
    ) {
        let log = Log::new(&lines, has_last_newline);
        let mut world = World { log: &log, safe: BTreeSet::new() };
        let mut saved = Acknowledged::default();
        for life in &lives {
            saved = world.live(life, &saved);
        }
        world.live(&Life { until: 1.0, ..last }, &saved);
        for (number, fate) in log.fates.iter().enumerate() {
            let is_delivered = matches!(fate, Fate::Filtered | Fate::Empty) || world.safe.contains(&number);
            prop_assert!(is_delivered, "line {} is lost", number);
        }
    }
}
