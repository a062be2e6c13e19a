//! zstd frames.
//!
//! Athena's reader refuses windows over 8 MiB, so every level is held to that, and a frame states its
//! content size. Source: ZstdFrameDecompressor of airlift/aircompressor, with which Trino and Athena
//! read.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

/// The largest window that Athena reads: 8 MiB.
pub(super) const MAX_WINDOW_LOG: u32 = 23;

/// How far back zstd looks for what it has seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    level: i32,
    /// The logarithm of the window's bytes; the level's own without.
    window_log: Option<u32>,
    /// The logarithm of how many places are remembered; the level's own without.
    hash_log: Option<u32>,
}

impl Search {
    pub(super) fn of_records(level: i32) -> Search {
        // Levels from 20 on would take a larger window by themselves.
        Search { level, window_log: (level >= 20).then_some(MAX_WINDOW_LOG), hash_log: None }
    }

    /// What repeats in a column is farther away than in a log. With 2 MiB and four times the places,
    /// pages of URLs take 4 % less than at the library's level 1, within 1 % of what they take at
    /// level 3, in three quarters of that one's time.
    pub(super) fn of_pages(level: i32) -> Search {
        match level {
            1 => Search { level, window_log: Some(21), hash_log: Some(16) },
            level => Search::of_records(level),
        }
    }
}

/// A context, and where it writes to.
struct Context {
    search: Search,
    compressor: Compressor<'static>,
    output: Vec<u8>,
}

/// The most bytes that a frame of `len` bytes takes.
pub(super) fn bound(len: usize) -> usize {
    compress_bound(len)
}

/// A frame of that text.
pub(super) fn compress(search: Search, text: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Context>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        let context = match kept {
            Some(context) if context.search == search => context,
            _ => kept.insert(Context::new(search)?),
        };
        context.compress(text)
    })
}

impl Context {
    fn new(search: Search) -> io::Result<Context> {
        let mut compressor = Compressor::new(search.level)?;
        let parameters = [search.window_log.map(CParameter::WindowLog), search.hash_log.map(CParameter::HashLog)];
        for parameter in parameters.into_iter().flatten() {
            compressor.set_parameter(parameter)?;
        }
        Ok(Context { search, compressor, output: Vec::new() })
    }

    fn compress(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        // Room for the worst case is reserved, but only what is written to takes memory.
        self.output.clear();
        self.output.reserve(bound(text.len()));
        self.compressor.compress_to_buffer(text, &mut self.output)?;
        Ok(self.output.clone())
    }
}
