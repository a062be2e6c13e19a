//! Which part of the input is delivered, so that a checkpoint may move on.
//!
//! Every block carries an [`AckToken`]. Whoever takes over some of its lines takes a clone of the token, and
//! says [`AckToken::delivered`] once they are safe. A clone that is dropped without that word (an error, a
//! panic, a cancelled record) spoils the block for good: it can never count as acknowledged. When the last
//! clone is gone and none was spoiled, the block's byte range is acknowledged, and
//! [`Acknowledgements::position`] moves over every range without a gap.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How far a source is acknowledged without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the start of the source, after decompression.
    pub offset: u64,
    /// Newlines before that offset.
    pub lines: u64,
}

#[derive(Debug, Default)]
struct Progress {
    position: Position,
    /// Bytes before the position that belong to a line which does not end there.
    unended: u64,
    /// Acknowledged ranges beyond the first gap, by their start.
    ahead: BTreeMap<u64, Ahead>,
}

#[derive(Debug)]
struct Ahead {
    end: u64,
    lines: u64,
    unended: u64,
}

/// The acknowledged part of every source of a run. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Acknowledgements {
    sources: Arc<Mutex<BTreeMap<usize, Progress>>>,
}

impl Acknowledgements {
    /// Begins a source there, and not at its start: everything before was acknowledged in an earlier run.
    pub fn begin(&self, source: usize, position: Position) {
        self.lock().insert(source, Progress { position, ..Progress::default() });
    }

    /// A token for a block of source number `source` with that byte range.
    pub fn token(&self, source: usize, range: Range<u64>) -> AckToken {
        let block = Block {
            all: self.clone(),
            source,
            range,
            lines: AtomicU64::new(0),
            unended: AtomicU64::new(0),
            spoiled: AtomicBool::new(false),
        };
        AckToken { block: Arc::new(block), delivered: false }
    }

    /// Forgets a source that has ended and is wholly acknowledged.
    pub(crate) fn forget(&self, source: usize) {
        self.lock().remove(&source);
    }

    /// How far the source is acknowledged.
    pub fn position(&self, source: usize) -> Position {
        self.lock().get(&source).map_or_else(Position::default, |progress| progress.position)
    }

    /// The same, but moved back to the start of the line that does not end there: a piece of a line longer than a
    /// block, or a last line without a newline. What is read from here on is read as lines again.
    pub fn line_start(&self, source: usize) -> Position {
        self.lock().get(&source).map_or_else(Position::default, |progress| Position {
            offset: progress.position.offset - progress.unended,
            lines: progress.position.lines,
        })
    }

    fn acknowledge(&self, source: usize, start: u64, ahead: Ahead) {
        let mut sources = self.lock();
        let progress = sources.entry(source).or_default();
        progress.ahead.insert(start, ahead);
        while let Some(Ahead { end, lines, unended }) = progress.ahead.remove(&progress.position.offset) {
            progress.position.offset = end;
            progress.position.lines += lines;
            progress.unended = unended;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Progress>> {
        // Every change under the lock is complete before anything can panic.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Block {
    all: Acknowledgements,
    source: usize,
    range: Range<u64>,
    lines: AtomicU64,
    unended: AtomicU64,
    spoiled: AtomicBool,
}

impl Drop for Block {
    fn drop(&mut self) {
        if !*self.spoiled.get_mut() {
            let ahead = Ahead { end: self.range.end, lines: *self.lines.get_mut(), unended: *self.unended.get_mut() };
            self.all.acknowledge(self.source, self.range.start, ahead);
        }
    }
}

/// One holder's share in the acknowledgement of a block.
///
/// ```
/// let all = pixel_engine_core::ack::Acknowledgements::default();
/// let token = all.token(0, 0..100);
/// let record = token.clone();
/// token.delivered();
/// assert_eq!(all.position(0).offset, 0);
/// record.delivered();
/// assert_eq!(all.position(0).offset, 100);
/// ```
#[derive(Debug)]
#[must_use = "a token dropped without `delivered` spoils its block"]
pub struct AckToken {
    block: Arc<Block>,
    delivered: bool,
}

impl AckToken {
    /// Says how many newlines the block has, once they are counted.
    pub fn count_lines(&self, lines: u64) {
        self.block.lines.store(lines, Ordering::Release);
    }

    /// Says that the last line does not end with the block, and how many bytes of it, in this block and in those
    /// before, there were.
    pub fn leave_unended(&self, bytes: u64) {
        self.block.unended.store(bytes, Ordering::Release);
    }

    /// This holder's lines are safe.
    pub fn delivered(mut self) {
        self.delivered = true;
    }
}

impl Clone for AckToken {
    fn clone(&self) -> AckToken {
        AckToken { block: Arc::clone(&self.block), delivered: false }
    }
}

impl Drop for AckToken {
    fn drop(&mut self) {
        if !self.delivered {
            // Release: the last drop of the Arc synchronises with it before it reads the flag.
            self.block.spoiled.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        drop(token.clone());
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
                held.extend(block.iter().map(|&delivered| (token.clone(), delivered)));
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
