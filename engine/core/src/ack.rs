//! Which lines of the input are delivered, so that a checkpoint may move on.
//!
//! Every block carries an [`AckToken`] that stands for *the rest* of it: all that is in no record,
//! which are headers, empty, filtered and bad lines. Whoever puts lines of the block into a record
//! takes a token of its own for just those lines ([`AckToken::of_lines`]). The holder of a token
//! says [`AckToken::delivered`] once what it stands for is safe. A token that is dropped without
//! that word (an error, a panic, a cancelled record) spoils the block: its other lines still count,
//! but the block as a whole never does.
//!
//! Two things follow from that. The *position* of a source moves over every block that is delivered
//! as a whole, as far as there is no gap. *Ahead* of it are the whole lines that were delivered
//! beyond the gap, as ranges of bytes. A run that is killed and begins again at the position leaves
//! those out, so that only what was in flight is sent twice.
//!
//! A line is noted with its block, under the block's own lock; the state that is shared by all
//! blocks is touched once when a block is begun and once when it is done. Whoever saves a
//! checkpoint gathers what the blocks in between have noted.

mod completion;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

pub use completion::{Completion, Outcome};

/// Ranges that are kept ahead of the position of one source, at most. Where there are more the
/// shortest are given up: their lines are delivered again after a crash.
///
/// Ranges are many where lines of one block go to many places, such as the shards of
/// `partition_by`. At this bound a source takes some 2 MiB of memory and 600 KiB of its checkpoint.
pub const MAX_RANGES: usize = 65_536;

/// How far a source is acknowledged without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the start of the source, after decompression.
    pub offset: u64,
    /// Newlines before that offset.
    pub lines: u64,
}

/// What of a source is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledged {
    /// Everything before this is. A line begins here.
    pub position: Position,
    /// The whole lines beyond it that are, as bytes of the source. In order, with a gap between
    /// each two.
    pub ahead: Vec<Range<u64>>,
}

impl From<Position> for Acknowledged {
    fn from(position: Position) -> Acknowledged {
        Acknowledged { position, ahead: Vec::new() }
    }
}

impl Acknowledged {
    /// Everything that is acknowledged is before this offset.
    pub fn end(&self) -> u64 {
        self.ahead.last().map_or(self.position.offset, |last| last.end)
    }

    /// The first byte that is not acknowledged.
    pub fn gap(&self) -> u64 {
        match self.ahead.first() {
            Some(first) if first.start == self.position.offset => first.end,
            _ => self.position.offset,
        }
    }

    /// Bytes of the lines ahead.
    pub fn bytes_ahead(&self) -> u64 {
        self.ahead.iter().map(|range| range.end - range.start).sum()
    }
}

/// What would be acknowledged of a source if some more lines were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) source: usize,
    pub(crate) acknowledged: Acknowledged,
    /// Everything before this would be, a last line without a newline too.
    pub(crate) whole_up_to: u64,
}

/// What would be acknowledged if the lines were that these tokens stand for, for each of their
/// sources.
pub(crate) fn expected<'a>(tokens: impl IntoIterator<Item = &'a AckToken>) -> Vec<Expected> {
    let mut sources: BTreeMap<usize, Vec<&AckToken>> = BTreeMap::new();
    tokens.into_iter().for_each(|token| sources.entry(token.source()).or_default().push(token));
    sources.into_iter().map(|(source, tokens)| expected_of(source, &tokens)).collect()
}

fn expected_of(source: usize, tokens: &[&AckToken]) -> Expected {
    let all = &tokens[0].block.all;
    let (Acknowledged { position, ahead }, read_to) = (all.acknowledged(source), all.position(source).offset);
    let (mut lines, mut whole_lines) = (ahead.clone(), ahead);
    lines.push(0..read_to);
    for token in tokens {
        let end = token.block.range.end.saturating_sub(token.block.unended.load(Ordering::Acquire));
        whole_lines.extend(token.lines().map(|line| line.start.min(end)..line.end.min(end)));
        lines.extend(token.lines());
    }
    merge(&mut lines);
    merge(&mut whole_lines);
    whole_lines.retain(|range| range.end > read_to);
    if let Some(first) = whole_lines.first_mut() {
        first.start = first.start.max(read_to);
    }
    let whole_up_to = lines.first().filter(|first| first.start == 0).map_or(0, |first| first.end);
    Expected { source, acknowledged: Acknowledged { position, ahead: whole_lines }, whole_up_to }
}

/// The acknowledged part of every source of a run. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Acknowledgements {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sources: Mutex<BTreeMap<usize, Progress>>,
    /// Holds one message when something was acknowledged that nobody has gathered yet.
    changed: (Sender<()>, Receiver<()>),
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { sources: Mutex::default(), changed: bounded(1) }
    }
}

impl Acknowledgements {
    /// Begins a source there, and not at its start: everything before was acknowledged in an
    /// earlier run, and so were the lines ahead.
    pub fn begin(&self, source: usize, at: impl Into<Acknowledged>) {
        let Acknowledged { position, ahead } = at.into();
        let mut progress = Progress { position, ..Progress::default() };
        ahead.into_iter().for_each(|range| progress.lines.add(range));
        self.lock().insert(source, progress);
        self.notify();
    }

    /// The token for the rest of a block of source number `source` with that byte range.
    pub fn token(&self, source: usize, range: Range<u64>) -> AckToken {
        let mut sources = self.lock();
        let progress = sources.entry(source).or_default();
        let in_block =
            |at: u64| at.clamp(range.start, range.end).saturating_sub(range.start).min(u32::MAX.into()) as u32;
        let before = progress.lines.overlapping(&range).map(|lines| in_block(lines.start)..in_block(lines.end));
        let acknowledged_before = before.collect();
        let block = Arc::new(Block {
            all: self.clone(),
            source,
            acknowledged_before,
            newlines: AtomicU64::new(0),
            unended: AtomicU64::new(0),
            spoiled: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            rest: Rest { bytes: OnceLock::new(), holders: AtomicUsize::new(1), spoiled: AtomicBool::new(false) },
            delivered: Mutex::default(),
            range: range.clone(),
        });
        progress.live.insert(range.start, Arc::downgrade(&block));
        AckToken { block, share: Share::Rest, delivered: false }
    }

    /// Says that a source has ended at that offset; what becomes of it is told by the completion.
    pub(crate) fn end(&self, source: usize, offset: u64) -> Completion {
        let (sender, completion) = Completion::new();
        let mut sources = self.lock();
        let progress = sources.entry(source).or_default();
        progress.end = Some((offset, sender));
        progress.settle();
        drop(sources);
        // All of it may have been acknowledged before, and only now is that all that there is.
        self.notify();
        completion
    }

    /// Forgets a source that has ended and is acknowledged up to `end`; whether it is gone. A block
    /// without bytes, the end of a long line, may still be on the way: then it has to be asked
    /// again.
    pub(crate) fn forget(&self, source: usize, end: u64) -> bool {
        let mut sources = self.lock();
        let is_done = |progress: &Progress| progress.position.offset >= end && progress.live.is_empty();
        let is_gone = sources.get(&source).map_or(end == 0, is_done);
        if is_gone {
            sources.remove(&source);
        }
        is_gone
    }

    /// How far the source is acknowledged.
    pub fn position(&self, source: usize) -> Position {
        self.lock().get(&source).map_or_else(Position::default, |progress| progress.position)
    }

    /// The same, but moved back to the start of the line that does not end there: a piece of a line
    /// longer than a block, or a last line without a newline. What is read from here on is read as
    /// lines again.
    pub fn line_start(&self, source: usize) -> Position {
        self.lock().get(&source).map_or_else(Position::default, Progress::line_start)
    }

    /// Everything of the source that is acknowledged at this moment. The position is that of
    /// [`line_start`](Self::line_start).
    pub fn acknowledged(&self, source: usize) -> Acknowledged {
        let (position, end, mut ahead, live) = {
            let sources = self.lock();
            let Some(progress) = sources.get(&source) else { return Acknowledged::default() };
            let live: Vec<Arc<Block>> = progress.live.values().filter_map(Weak::upgrade).collect();
            (progress.line_start(), progress.position.offset, progress.lines.to_vec(), live)
        };
        for block in &live {
            block.each_delivered(|range| ahead.push(range));
        }
        // This may be the last that holds a block, which takes the lock when it goes: so it goes
        // here.
        drop(live);
        merge(&mut ahead);
        ahead.retain(|range| range.end > end);
        if let Some(first) = ahead.first_mut() {
            first.start = first.start.max(end);
        }
        if ahead.len() > MAX_RANGES {
            let mut is_long = longest(ahead.iter().map(|range| range.end - range.start).collect(), MAX_RANGES);
            ahead.retain(|range| is_long(range.end - range.start));
        }
        Acknowledged { position, ahead }
    }

    /// Has a message when something may have been acknowledged since the last one was taken.
    pub(crate) fn changes(&self) -> &Receiver<()> {
        &self.shared.changed.1
    }

    fn notify(&self) {
        // Full: a message waits already. It cannot be disconnected, as the other end is here too.
        let _ = self.shared.changed.0.try_send(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Progress>> {
        // Every change under the lock is complete before anything can panic.
        self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Progress {
    position: Position,
    /// Bytes before the position that belong to a line which does not end there.
    unended: u64,
    /// Blocks that are complete, beyond the first gap, by their start. Neighbours are merged.
    complete: BTreeMap<u64, Complete>,
    /// The position cannot pass this: the start of the first block that is spoiled.
    spoiled_at: Option<u64>,
    /// Whole lines that are acknowledged beyond the position, of blocks that are done and of
    /// earlier runs.
    lines: Ranges,
    /// Blocks that are being worked on, by their start.
    live: BTreeMap<u64, Weak<Block>>,
    /// Whether some of it did not arrive, but is kept elsewhere.
    kept: bool,
    /// Where it ends, and who wants to know what became of it.
    end: Option<(u64, oneshot::Sender<Outcome>)>,
}

#[derive(Debug)]
struct Complete {
    end: u64,
    lines: u64,
    unended: u64,
}

impl Complete {
    fn followed_by(&self, next: &Complete) -> Complete {
        Complete { end: next.end, lines: self.lines + next.lines, unended: next.unended }
    }
}

impl Progress {
    fn line_start(&self) -> Position {
        Position { offset: self.position.offset - self.unended, lines: self.position.lines }
    }

    /// Tells whoever waits for it what became of the source, once that is known.
    fn settle(&mut self) {
        if self.live.is_empty()
            && let Some((end, waiting)) = self.end.take()
        {
            let outcome = match self.position {
                position if position.offset < end => {
                    Outcome::Failed(Acknowledged { position: self.line_start(), ahead: self.lines.to_vec() })
                }
                _ if self.kept => Outcome::Kept,
                _ => Outcome::Delivered,
            };
            // Nobody has to wait.
            let _ = waiting.send(outcome);
        }
    }

    /// Takes over a block of which everything is delivered.
    fn complete(&mut self, start: u64, mut block: Complete) {
        if self.spoiled_at.is_some_and(|spoiled| spoiled <= start) {
            return;
        }
        if let Some(next) = self.complete.remove(&block.end) {
            block = block.followed_by(&next);
        }
        match self.complete.range_mut(..start).next_back() {
            Some((_, before)) if before.end == start => *before = before.followed_by(&block),
            _ => drop(self.complete.insert(start, block)),
        }
        while let Some(Complete { end, lines, unended }) = self.complete.remove(&self.position.offset) {
            self.position.offset = end;
            self.position.lines += lines;
            self.unended = unended;
            self.lines.forget_before(end);
        }
    }

    /// Takes over that a block will never be complete, so that no block behind it need be kept.
    fn spoil(&mut self, start: u64) {
        if start >= self.position.offset {
            self.spoiled_at = Some(self.spoiled_at.map_or(start, |spoiled| spoiled.min(start)));
            drop(self.complete.split_off(&start));
        }
    }
}

/// Ranges of bytes, none of which touch.
#[derive(Debug, Default)]
struct Ranges {
    /// Their ends, by their starts.
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&before, &end_before)) = self.ends.range(..start).next_back()
            && end_before >= start
        {
            start = before;
            end = end.max(end_before);
        }
        while let Some((&next, &end_of_next)) = self.ends.range(start..=end).next() {
            end = end.max(end_of_next);
            self.ends.remove(&next);
        }
        self.ends.insert(start, end);
        if self.ends.len() > MAX_RANGES {
            // Some more than one go, so that not each of the next has to look at all of them.
            let lens = self.ends.iter().map(|(start, end)| end - start).collect();
            let mut is_long = longest(lens, MAX_RANGES / 8 * 7);
            self.ends.retain(|start, end| is_long(*end - *start));
        }
    }

    fn forget_before(&mut self, offset: u64) {
        while let Some(first) = self.ends.first_entry()
            && *first.key() < offset
        {
            let end = first.remove();
            if end > offset {
                self.ends.insert(offset, end);
            }
        }
    }

    fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.ends.range(..range.start).next_back().filter(|(_, end)| **end > range.start);
        let others = self.ends.range(range.clone());
        first.into_iter().chain(others).map(|(start, end)| *start..*end)
    }

    fn to_vec(&self) -> Vec<Range<u64>> {
        self.ends.iter().map(|(start, end)| *start..*end).collect()
    }
}

/// Puts ranges into order and joins those that touch or overlap.
pub(crate) fn merge<T: Copy + Ord>(ranges: &mut Vec<Range<T>>) {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, before| {
        let is_joined = next.start <= before.end;
        if is_joined {
            before.end = before.end.max(next.end);
        }
        is_joined
    });
}

/// Tells the longest `count` of more than `count` lengths, when it is asked for each of them once.
fn longest(mut lens: Vec<u64>, count: usize) -> impl FnMut(u64) -> bool {
    let (longer, &mut min_len, _) = lens.select_nth_unstable_by_key(count - 1, |len| std::cmp::Reverse(*len));
    let mut of_min_len = count - longer.iter().filter(|len| **len > min_len).count();
    move |len| {
        let is_kept = len > min_len || (len == min_len && of_min_len > 0);
        of_min_len -= usize::from(is_kept && len == min_len);
        is_kept
    }
}

#[derive(Debug)]
struct Block {
    all: Acknowledgements,
    source: usize,
    range: Range<u64>,
    /// Lines that an earlier run delivered, as bytes of the block.
    acknowledged_before: Box<[Range<u32>]>,
    newlines: AtomicU64,
    unended: AtomicU64,
    spoiled: AtomicBool,
    /// Whether a record with lines of it is kept elsewhere in place of having arrived.
    kept: AtomicBool,
    rest: Rest,
    delivered: Mutex<Noted>,
}

/// What is in no record.
#[derive(Debug)]
struct Rest {
    /// Which bytes of the block that is. Until it is known, and for a piece of a line, only the
    /// block as a whole counts.
    bytes: OnceLock<Box<[Range<u32>]>>,
    /// How many tokens stand for it.
    holders: AtomicUsize,
    /// Whether one of them was dropped.
    spoiled: AtomicBool,
}

/// Bytes of a block that were delivered, in any order; put into order every now and then.
#[derive(Debug, Default)]
struct Noted {
    ranges: Vec<Range<u32>>,
    /// How many there were when they were in order.
    merged: usize,
}

impl Noted {
    fn add(&mut self, range: Range<u32>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
        if self.ranges.len() > 2 * self.merged + 64 {
            self.merge();
        }
    }

    fn merge(&mut self) {
        merge(&mut self.ranges);
        self.merged = self.ranges.len();
    }
}

impl Block {
    fn note(&self, ranges: impl IntoIterator<Item = Range<u32>>) {
        {
            let mut delivered = self.lock();
            ranges.into_iter().for_each(|range| delivered.add(range));
        }
        self.all.notify();
    }

    /// The whole lines that are delivered, as bytes of the source. A line that does not end in the
    /// block is none.
    fn each_delivered(&self, mut each: impl FnMut(Range<u64>)) {
        let unended = self.unended.load(Ordering::Acquire);
        let end = self.range.end.saturating_sub(unended);
        let mut delivered = self.lock();
        delivered.merge();
        for range in &delivered.ranges {
            let in_source = |at: u32| (self.range.start + u64::from(at)).min(end);
            if in_source(range.start) < in_source(range.end) {
                each(in_source(range.start)..in_source(range.end));
            }
        }
    }

    fn release_rest(&self, is_delivered: bool) {
        if !is_delivered {
            self.rest.spoiled.store(true, Ordering::Relaxed);
        }
        // Release and acquire: whoever is last sees what all the others have said.
        let is_last = self.rest.holders.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last
            && !self.rest.spoiled.load(Ordering::Relaxed)
            && let Some(bytes) = self.rest.bytes.get()
        {
            self.note(bytes.iter().cloned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Range { start, end } = self.range;
        let block = Complete { end, lines: *self.newlines.get_mut(), unended: *self.unended.get_mut() };
        {
            let mut sources = self.all.lock();
            let progress = sources.entry(self.source).or_default();
            // Where a source is read twice, another block may be at that place.
            if progress.live.get(&start).is_some_and(|block| block.strong_count() == 0) {
                progress.live.remove(&start);
            }
            if *self.spoiled.get_mut() {
                progress.spoil(start)
            } else {
                progress.complete(start, block)
            }
            if end > progress.position.offset {
                self.each_delivered(|range| progress.lines.add(range));
            }
            progress.kept |= *self.kept.get_mut();
            progress.settle();
        }
        self.all.notify();
    }
}

/// One holder's part in the acknowledgement of a block.
///
/// ```
/// let all = pixel_engine_core::ack::Acknowledgements::default();
/// let token = all.token(0, 0..100);
/// let mut record = token.of_lines();
/// record.add_lines(0..100);
/// token.delivered();
/// assert_eq!(all.position(0).offset, 0);
/// record.delivered();
/// assert_eq!(all.position(0).offset, 100);
/// ```
#[derive(Debug)]
#[must_use = "a token dropped without `delivered` spoils its block"]
pub struct AckToken {
    block: Arc<Block>,
    share: Share,
    delivered: bool,
}

#[derive(Debug)]
enum Share {
    /// Everything in the block that is in no record.
    Rest,
    /// Lines, as bytes of the block: the last run, and those before it.
    Lines { last: Range<u32>, before: Vec<Range<u32>> },
}

impl AckToken {
    /// The number of the source that it was made with.
    pub(crate) fn source(&self) -> usize {
        self.block.source
    }

    /// What is acknowledged of its source and of the others.
    pub(crate) fn all(&self) -> &Acknowledgements {
        &self.block.all
    }

    /// The lines that it stands for, as bytes of the source.
    fn lines(&self) -> impl Iterator<Item = Range<u64>> {
        let (last, before) = match &self.share {
            Share::Rest => (0..0, &[][..]),
            Share::Lines { last, before } => (last.clone(), before.as_slice()),
        };
        let Range { start, end } = self.block.range;
        // A last line without a newline was given one.
        let in_source = move |at: u32| (start + u64::from(at)).min(end);
        let lines = before.iter().cloned().chain([last]);
        lines.map(move |bytes| in_source(bytes.start)..in_source(bytes.end))
    }

    /// Says how many newlines the block has, once they are counted, and which of its bytes belong
    /// to no line that will be in a record.
    pub fn describe(&self, newlines: u64, rest: Box<[Range<u32>]>) {
        self.block.newlines.store(newlines, Ordering::Release);
        // It is said once for each block.
        let _ = self.block.rest.bytes.set(rest);
    }

    /// Says how many newlines the block has, once they are counted.
    pub fn count_lines(&self, newlines: u64) {
        self.block.newlines.store(newlines, Ordering::Release);
    }

    /// Says that the last line does not end with the block, and how many bytes of it, in this block
    /// and in those before, there were.
    pub fn leave_unended(&self, bytes: u64) {
        self.block.unended.store(bytes, Ordering::Release);
    }

    /// Lines that an earlier run delivered, as bytes of the block: a line that begins in one of
    /// these is not to be delivered again. In order; none in nearly all blocks.
    pub fn acknowledged_before(&self) -> &[Range<u32>] {
        &self.block.acknowledged_before
    }

    /// Another token for the rest of the block. The rest counts when all of them are delivered.
    pub fn of_rest(&self) -> AckToken {
        self.block.rest.holders.fetch_add(1, Ordering::Relaxed);
        AckToken { block: Arc::clone(&self.block), share: Share::Rest, delivered: false }
    }

    /// A token for lines of the block, none at first. The rest must not have been delivered yet, or
    /// the lines be those of a token that is [handed on](Self::handed_on) afterwards.
    #[inline]
    pub fn of_lines(&self) -> AckToken {
        let share = Share::Lines { last: 0..0, before: Vec::new() };
        AckToken { block: Arc::clone(&self.block), share, delivered: false }
    }

    /// Makes a token [of lines](Self::of_lines) stand for more of them: those at these bytes of the
    /// block.
    ///
    /// # Panics
    /// The token is one for the rest.
    #[inline]
    pub fn add_lines(&mut self, bytes: Range<u32>) {
        let Share::Lines { last, before } = &mut self.share else { panic!("the rest of a block has no lines to name") };
        if last.end == bytes.start {
            last.end = bytes.end;
        } else {
            if last.start < last.end {
                before.push(last.clone());
            }
            *last = bytes;
        }
    }

    /// What this token stands for is safe.
    pub fn delivered(mut self) {
        self.delivered = true;
    }

    /// What this token stands for has not arrived, but is safe elsewhere.
    pub fn kept(self) {
        // As above: the last drop of the Arc sees it.
        self.block.kept.store(true, Ordering::Release);
        self.delivered();
    }

    /// Other tokens stand for the lines of this one now.
    pub(crate) fn handed_on(mut self) {
        self.share = Share::Lines { last: 0..0, before: Vec::new() };
        self.delivered = true;
    }
}

impl Drop for AckToken {
    #[inline]
    fn drop(&mut self) {
        if !self.delivered {
            // Release: the last drop of the Arc synchronises with it before it reads the flag.
            self.block.spoiled.store(true, Ordering::Release);
        }
        match &mut self.share {
            Share::Rest => self.block.release_rest(self.delivered),
            Share::Lines { last, before } if self.delivered && last.start < last.end => {
                self.block.note(before.drain(..).chain([last.clone()]));
            }
            Share::Lines { .. } => {}
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A token for these lines of the block that `token` is of.
    fn lines(token: &AckToken, bytes: Range<u32>) -> AckToken {
        let mut lines = token.of_lines();
        lines.add_lines(bytes);
        lines
    }

    fn ahead(all: &Acknowledgements) -> Vec<(u64, u64)> {
        all.acknowledged(0).ahead.into_iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn lines_count_beyond_a_gap_and_neither_their_neighbours_nor_one_that_does_not_end() {
        let all = Acknowledgements::default();
        let (first, second) = (all.token(0, 0..100), all.token(0, 100..200));
        second.leave_unended(15);
        second.describe(4, [20..30].into());
        let record = lines(&second, 0..20);
        let mut other = lines(&second, 30..50);
        other.add_lines(50..60);
        other.add_lines(80..100);
        other.delivered();
        assert_eq!(ahead(&all), [(130, 160), (180, 185)]);
        record.delivered();
        assert_eq!(ahead(&all), [(100, 120), (130, 160), (180, 185)]);
        // What is between them was bad, and is in the quarantine when both say so.
        let quarantine = second.of_rest();
        second.delivered();
        assert_eq!(ahead(&all), [(100, 120), (130, 160), (180, 185)]);
        quarantine.delivered();
        assert_eq!(ahead(&all), [(100, 160), (180, 185)]);
        assert_eq!(all.position(0), Position::default());
        first.delivered();
        assert_eq!((all.position(0).offset, all.line_start(0).offset), (200, 185));
        assert_eq!(all.acknowledged(0), all.line_start(0).into());
    }

    #[test]
    fn what_is_expected_of_tokens_is_what_comes_of_them() {
        let all = Acknowledgements::default();
        all.begin(0, Acknowledged { position: Position::default(), ahead: vec![150..160] });
        let (first, second) = (all.token(0, 0..100), all.token(0, 100..200));
        second.leave_unended(15);
        second.describe(4, [20..30].into());
        let records = [lines(&first, 0..100), lines(&second, 0..20), lines(&second, 30..101)];
        [first, second].into_iter().for_each(AckToken::delivered);
        let wanted = Expected {
            source: 0,
            acknowledged: Acknowledged { position: Position::default(), ahead: vec![0..185] },
            whole_up_to: 200,
        };
        assert_eq!(expected(&records), [wanted]);
        assert_eq!(expected(&records[1..])[0].whole_up_to, 0);
        assert_eq!(expected(&records[..1])[0].acknowledged.ahead, [0..100, 120..130, 150..160]);
        records.into_iter().for_each(AckToken::delivered);
        assert_eq!((all.position(0).offset, all.line_start(0).offset), (200, 185));
    }

    #[test]
    fn what_a_spoiled_block_has_delivered_still_counts() {
        let all = Acknowledgements::default();
        let (first, second, third) = (all.token(0, 0..10), all.token(0, 10..20), all.token(0, 20..30));
        for token in [&first, &second, &third] {
            token.describe(1, Box::default());
        }
        let (delivered, dropped) = (lines(&first, 5..10), lines(&first, 0..5));
        lines(&second, 0..10).delivered();
        lines(&third, 0..4).delivered();
        [first, second, delivered].into_iter().for_each(AckToken::delivered);
        drop(dropped);
        drop(third);
        assert_eq!((ahead(&all), all.position(0).offset), (vec![(5, 24)], 0));
    }

    #[test]
    fn blocks_are_told_which_of_their_lines_were_acknowledged_before() {
        let all = Acknowledgements::default();
        let position = Position { offset: 100, lines: 3 };
        all.begin(0, Acknowledged { position, ahead: vec![150..160, 190..250, 300..310] });
        let blocks = [100..200, 200..240, 240..300, 300..400];
        let tokens = blocks.map(|range| all.token(0, range));
        let of = |place: usize| tokens[place].acknowledged_before();
        assert_eq!((of(0), of(1)), (&[50..60, 90..100][..], &[0..40][..]));
        assert_eq!((of(2), of(3)), (&[0..10][..], &[0..10][..]));
        assert_eq!(all.acknowledged(0).bytes_ahead(), 80);
        let [first, second, third, fourth] = tokens;
        [first, second].into_iter().for_each(AckToken::delivered);
        assert_eq!(ahead(&all), [(240, 250), (300, 310)], "kept until the position has passed them");
        third.delivered();
        assert_eq!(ahead(&all), [(300, 310)]);
        fourth.delivered();
        assert_eq!((ahead(&all), all.position(0).offset), (vec![], 400));
    }

    #[test]
    fn the_shortest_ranges_are_given_up_when_there_are_too_many() {
        let all = Acknowledgements::default();
        let _gap = all.token(0, 0..1);
        // All but every eighth are 3 bytes long, and one block has them all.
        let count = 3 * MAX_RANGES as u32 / 2;
        let range = |place: u32| 10 * place + 1..10 * place + if place.is_multiple_of(8) { 7 } else { 4 };
        let token = all.token(0, 1..10 * u64::from(count) + 1);
        (0..count).for_each(|place| lines(&token, range(place)).delivered());
        let check = |all: &Acknowledgements, min: usize| {
            let found = all.acknowledged(0).ahead;
            assert!((min..=MAX_RANGES).contains(&found.len()), "{}", found.len());
            let long = found.iter().filter(|range| range.end - range.start == 6).count();
            assert_eq!(long, count.div_ceil(8) as usize, "every long one is kept");
        };
        check(&all, MAX_RANGES);
        drop(token);
        check(&all, MAX_RANGES / 4 * 3);
    }

    proptest! {
        #[test]
        fn ranges_are_the_bytes_that_were_added_to_them(
            added in prop::collection::vec((0..200_u64, 0..30_u64), 0..40),
            forgotten in 0..200_u64,
            asked in (0..200_u64, 0..60_u64),
        ) {
            let mut ranges = Ranges::default();
            let mut bytes = [false; 300];
            for &(start, len) in &added {
                ranges.add(start..start + len);
                bytes[start as usize..(start + len) as usize].fill(true);
            }
            ranges.forget_before(forgotten);
            bytes[..forgotten as usize].fill(false);
            let found = ranges.to_vec();
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            let is_found = |at: u64| found.iter().any(|range| range.contains(&at));
            prop_assert!((0..300).all(|at| is_found(at) == bytes[at as usize]), "{found:?}");
            let asked = asked.0..asked.0 + asked.1;
            let overlaps = |range: &&Range<u64>| asked.start < range.end && range.start < asked.end;
            let wanted: Vec<_> = if asked.is_empty() { Vec::new() } else { found.iter().filter(overlaps).cloned().collect() };
            let overlapping: Vec<_> = ranges.overlapping(&asked).collect();
            prop_assert!(overlapping == wanted || asked.is_empty());

            let mut merged: Vec<Range<u64>> = added.iter().map(|&(start, len)| start..start + len).collect();
            merge(&mut merged);
            merged.retain(|range| range.end > forgotten);
            if let Some(first) = merged.first_mut() {
                first.start = first.start.max(forgotten);
            }
            prop_assert_eq!(merged, found);
        }
    }

    #[test]
    fn a_gap_holds_the_position_back() {
        let all = Acknowledgements::default();
        let (first, second) = (all.token(7, 0..10), all.token(7, 10..30));
        first.count_lines(1);
        second.count_lines(2);
        second.delivered();
        assert_eq!(all.position(7), Position::default());
        first.delivered();
        assert_eq!(all.position(7), Position { offset: 30, lines: 3 });
        assert_eq!(all.position(8), Position::default());
    }

    #[test]
    fn a_source_goes_on_where_it_was_left_and_a_line_at_its_start() {
        let all = Acknowledgements::default();
        all.begin(1, Position { offset: 100, lines: 5 });
        let position = |offset, lines| Position { offset, lines };
        for (range, lines, unended, wanted) in [
            (100..140, 2, 10, position(130, 7)),
            (140..150, 0, 20, position(130, 7)),
            (150..155, 1, 0, position(155, 8)),
        ] {
            let token = all.token(1, range.clone());
            token.count_lines(lines);
            token.leave_unended(unended);
            token.delivered();
            assert_eq!((all.position(1).offset, all.line_start(1)), (range.end, wanted));
        }
        assert_eq!(all.line_start(2), Position::default());
    }

    #[test]
    fn one_dropped_share_spoils_the_block() {
        let all = Acknowledgements::default();
        let token = all.token(0, 0..10);
        drop(token.of_rest());
        token.delivered();
        assert_eq!(all.position(0).offset, 0);
    }

    proptest! {
        #[test]
        fn the_position_is_the_run_of_blocks_that_every_holder_delivered(
            shares in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.9), 1..4), 1..12),
            order in any::<prop::sample::Index>(),
        ) {
            let all = Acknowledgements::default();
            let mut held = Vec::new();
            for (index, block) in shares.iter().enumerate() {
                let start = index as u64 * 10;
                let token = all.token(0, start..start + 10);
                token.count_lines(1);
                held.extend(block.iter().map(|&delivered| (token.of_rest(), delivered)));
                token.delivered();
            }
            let turn = order.index(held.len());
            held.rotate_left(turn);
            for (token, delivered) in held {
                if delivered { token.delivered() } else { drop(token) }
            }
            let run = shares.iter().take_while(|block| block.iter().all(|&delivered| delivered)).count() as u64;
            prop_assert_eq!(all.position(0), Position { offset: run * 10, lines: run });
        }
    }
}
