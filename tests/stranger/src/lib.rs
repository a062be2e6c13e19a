//! A small program on top of the library, with a source, an observer and a sink of its own.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::{Receiver, Sender};

use pixel_engine::log::line::Line;
use pixel_engine::log::select::Selector;
use pixel_engine::observe::Observer;
use pixel_engine::record::{Delivered, Receipt, Record};
use pixel_engine::sink::{Sink, SinkError};
use pixel_engine::source::{Closed, Feed, Outcome, Source};

/// A batch of lines from somewhere, and who wants to know what became of it.
pub struct Batch {
    /// What it is called in messages.
    pub name: String,
    /// Lines.
    pub lines: Vec<u8>,
    /// Gets the outcome.
    pub answer: Sender<(String, Outcome)>,
}

/// Takes batches from a queue until the other end of it is gone, and answers for each.
pub struct Queue(pub Receiver<Batch>);

impl Source for Queue {
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
        let mut waiting = Vec::new();
        for Batch { name, lines, answer } in self.0 {
            let mut inlet = feed.open(&name);
            inlet.push(lines)?;
            waiting.push((name, inlet.end()?, answer));
        }
        for (name, completion, answer) in waiting {
            // Whoever asked may have gone.
            let _ = answer.send((name, completion.wait()));
        }
        Ok(())
    }
}

/// Counts lines by one of their values.
pub struct CountBy(pub Selector);

impl Observer for CountBy {
    type Tally = BTreeMap<Vec<u8>, u64>;

    fn observe(&self, line: &Line<'_>, _text: &[u8], tally: &mut Self::Tally) {
        let value = self.0.value(line).unwrap_or_default();
        match tally.get_mut(&*value) {
            Some(count) => *count += 1,
            None => drop(tally.insert(value.into_owned(), 1)),
        }
    }

    fn merge(&self, into: &mut Self::Tally, from: Self::Tally) {
        for (value, count) in from {
            *into.entry(value).or_default() += count;
        }
    }
}

/// Keeps records in memory: those of a request are acknowledged together.
#[derive(Default)]
pub struct Memory {
    /// The records of each request.
    pub requests: Vec<Vec<Vec<u8>>>,
    /// Requests that are refused, by number from 0: their records are lost.
    pub refused: Vec<usize>,
    open: Vec<(Vec<u8>, Receipt)>,
    delivered: Delivered,
}

impl Memory {
    fn send(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let is_refused = self.refused.contains(&self.requests.len());
        let mut records = Vec::new();
        for (data, receipt) in mem::take(&mut self.open) {
            if is_refused {
                drop(receipt);
            } else {
                records.push(data);
                self.delivered.settle(receipt);
            }
        }
        self.requests.push(records);
    }
}

impl Sink for Memory {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        let data = record.chunks().collect::<Vec<_>>().concat();
        self.open.push((data, record.into_receipt()));
        if self.open.len() == 3 {
            self.send();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.send();
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.send();
        Ok(())
    }

    fn delivered(&self) -> Delivered {
        self.delivered
    }

    fn requests(&self) -> u64 {
        self.requests.len() as u64
    }
}
