//! The counts of a simulation: lines by how long they waited, and refusals.

use super::Point;

/// Delays that differ by less than this factor are counted together.
const STEP: f64 = 1.05;
/// Delays up to this one are counted together, in seconds.
const MIN_DELAY: f64 = 0.001;

/// What a lane counts while it works.
#[derive(Debug)]
pub(super) struct Tally {
    /// How many lanes the one that is computed stands for.
    alike: u64,
    /// Lines by delay: none, then by powers of [`STEP`].
    delays: Vec<u64>,
    worst: f64,
    throttled: u64,
    /// The age of the oldest line that waits, in this tick.
    pub(super) oldest: f64,
    /// These two since the last point of the curve.
    worst_since: f64,
    throttled_since: u64,
}

impl Tally {
    /// Nothing yet, for a lane that stands for `alike` lanes.
    pub(super) fn new(alike: u64) -> Tally {
        Tally {
            alike,
            delays: vec![0; 512],
            worst: 0.0,
            throttled: 0,
            oldest: 0.0,
            worst_since: 0.0,
            throttled_since: 0,
        }
    }

    pub(super) fn delivered(&mut self, lines: u64, delay: f64) {
        let place = if delay <= 0.0 { 0 } else { 1 + ((delay / MIN_DELAY).max(1.0).ln() / STEP.ln()) as usize };
        let last = self.delays.len() - 1;
        self.delays[place.min(last)] += lines * self.alike;
    }

    pub(super) fn worst(&mut self, delay: f64) {
        self.worst = self.worst.max(delay);
        self.worst_since = self.worst_since.max(delay);
    }

    pub(super) fn throttled(&mut self, tries: u64) {
        self.throttled += tries * self.alike;
        self.throttled_since += tries * self.alike;
    }

    pub(super) fn move_to(&mut self, point: &mut Point) {
        point.delay = point.delay.max(std::mem::take(&mut self.worst_since));
        point.throttled += std::mem::take(&mut self.throttled_since);
    }

    pub(super) fn delivered_lines(&self) -> u64 {
        self.delays.iter().sum()
    }

    pub(super) fn throttles(&self) -> u64 {
        self.throttled
    }

    #[cfg(test)]
    pub(super) fn worst_delay(&self) -> f64 {
        self.worst
    }

    pub(super) fn quantile(&self, share: f64) -> f64 {
        let wanted = (share * self.delivered_lines() as f64).ceil() as u64;
        let mut seen = 0;
        let place = self.delays.iter().position(|&lines| {
            seen += lines;
            seen >= wanted
        });
        match place {
            None | Some(0) => 0.0,
            Some(place) => (MIN_DELAY * STEP.powi(place as i32)).min(self.worst),
        }
    }
}
