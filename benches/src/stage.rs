//! One benchmark file: its contests under criterion and in turns, its table, its record.

use std::time::Duration;

use criterion::{Criterion, Throughput};

use crate::contest::{Contest, Effort};
use crate::results::{self, Row, StageResults};
use crate::{Mode, RECORD, is_quick, is_set};

/// One benchmark file.
pub struct Stage {
    name: &'static str,
    mode: Mode,
    criterion: Criterion,
    results: StageResults,
}

impl Stage {
    /// The stage of that name; `about` says what the data is, and what "ours" and the rivals do.
    pub fn new(name: &'static str, about: &str) -> Stage {
        let (warm_up, measurement) = if is_quick() { (20, 50) } else { (300, 1000) };
        let criterion = Criterion::default()
            .without_plots()
            .sample_size(if is_quick() { 10 } else { 20 })
            .warm_up_time(Duration::from_millis(warm_up))
            .measurement_time(Duration::from_millis(measurement))
            .configure_from_args();
        Stage { name, mode: Mode::of_arguments(), criterion, results: StageResults::new(about) }
    }

    /// Fewer samples for criterion, where each takes long.
    pub fn with_samples(mut self, samples: usize) -> Stage {
        self.criterion = self.criterion.sample_size(samples);
        self
    }

    /// Whether the figures are wanted; else it is enough that everything runs.
    pub fn is_measuring(&self) -> bool {
        self.mode == Mode::Measure
    }

    /// Runs the contest: every contestant by itself under criterion, then all of them in turns.
    pub fn contest(&mut self, mut contest: Contest<'_>) {
        if self.mode == Mode::Test {
            contest.run_once();
            return;
        }
        let mut group = self.criterion.benchmark_group(format!("{}/{}", self.name, contest.what));
        group.throughput(Throughput::Bytes(contest.bytes() as u64));
        for (side, contestants) in [("ours", &mut contest.ours), ("rival", &mut contest.rivals)] {
            for contestant in contestants {
                group.bench_function(format!("{side} {}", contestant.name), |bencher| {
                    bencher.iter(|| (contestant.work)());
                });
            }
        }
        group.finish();
        if self.mode == Mode::Measure {
            self.results.rows.extend(contest.run(effort()));
        }
    }

    /// Adds a figure that is not a speed.
    pub fn row(&mut self, row: Row) {
        self.results.rows.push(row);
    }

    /// Adds a sentence below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.results.notes.push(text.into());
    }

    /// Prints the table, and records it when that is wanted.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn finish(self) -> Result<(), Box<dyn std::error::Error>> {
        if self.mode != Mode::Measure {
            return Ok(());
        }
        println!("\n{}\n", self.results.to_text(self.name));
        if is_set(RECORD) {
            let path = results::record(self.name, self.results)?;
            println!("added to {}\n", path.display());
        }
        Ok(())
    }
}

fn effort() -> Effort {
    if is_quick() {
        Effort { round: Duration::from_millis(1), total: Duration::from_millis(50), rounds: (3, 5) }
    } else {
        Effort { round: Duration::from_millis(10), total: Duration::from_secs(3), rounds: (7, 41) }
    }
}
