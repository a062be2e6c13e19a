//! A buffered reader whose next bytes can be looked at before they are read.

use std::io::{self, BufRead, Read};
use std::ops::Range;

/// Bytes of the buffer, unless room is made for more: what a decompressor is given at a time.
const BUFFER_SIZE: usize = 128 << 10;

/// Reads through a buffer, counts what was consumed, and shows what comes next.
pub(super) struct PeekReader {
    input: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    /// What went wrong behind the bytes in the buffer.
    failure: Option<io::Error>,
}

impl PeekReader {
    pub(super) fn new(input: impl Read + Send + 'static) -> PeekReader {
        let buffer = vec![0; BUFFER_SIZE];
        PeekReader { input: Box::new(input), buffer, start: 0, end: 0, position: 0, failure: None }
    }

    /// Bytes that were consumed.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What is in the buffer.
    pub(super) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// At least the next `len` bytes, or all that are left.
    ///
    /// # Errors
    /// The input fails, perhaps only for the moment: what was read stays in the buffer.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.buffered().len() < len && self.read_more()? {}
        Ok(self.buffered())
    }

    /// Makes room for `len` bytes to be seen at once.
    pub(super) fn make_room(&mut self, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
    }

    /// Reads on until `is_enough` or the input ends, however long it pauses. An error is kept until
    /// what stands before it was read.
    pub(super) fn fill_until(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> &[u8] {
        while !is_enough(self.buffered()) {
            match self.read_more() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
        }
        self.buffered()
    }

    /// Reads once into what is free of the buffer; `false` at the end of the input.
    fn read_more(&mut self) -> io::Result<bool> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let count = self.read_input(self.end..self.buffer.len())?;
        self.end += count;
        Ok(count > 0)
    }

    fn read_input(&mut self, free: Range<usize>) -> io::Result<usize> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.input.read(&mut self.buffer[free]),
        }
    }
}

/// Whether reading may succeed if it is tried again.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl BufRead for PeekReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.read_input(0..BUFFER_SIZE)?;
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }
}

impl Read for PeekReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && self.failure.is_none() {
            let count = self.input.read(output)?;
            self.position += count as u64;
            return Ok(count);
        }
        let count = self.fill_buf()?.read(output)?;
        self.consume(count);
        Ok(count)
    }
}
