//! Lines, counted so that one which is lost and another one that comes twice do not make up for each
//! other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use pixel_engine::log::field::Field;
use pixel_engine::log::schema::Schema;

/// The columns of the pixel's lines.
pub(super) const FIELDS: &str = "realtime-46";

/// Counts lines by their request ids, in memory that does not grow.
pub(super) struct Tally {
    id: usize,
    viewer: usize,
    sum: Mutex<Sum>,
}

/// How many lines there were, and a number that follows from which ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) lines: u64,
    /// Those whose viewer is not on this machine.
    pub(super) of_visits: u64,
    ids: u64,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let schema = Schema::preset(FIELDS).expect("a preset");
        let place = |field| schema.position(field).expect("it is in the preset");
        Tally { id: place(Field::XEdgeRequestId), viewer: place(Field::CIp), sum: Mutex::default() }
    }

    /// Counts each line of a record.
    pub(super) fn add(&self, record: &[u8]) {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        for line in record.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let column = |place| line.split(|&byte| byte == b'\t').nth(place).unwrap_or_default();
            let mut hasher = DefaultHasher::new();
            column(self.id).hash(&mut hasher);
            sum.ids = sum.ids.wrapping_add(hasher.finish());
            sum.lines += 1;
            let viewer = std::str::from_utf8(column(self.viewer)).ok().and_then(|text| text.parse::<IpAddr>().ok());
            sum.of_visits += u64::from(viewer.is_some_and(|viewer| !viewer.is_loopback()));
        }
    }

    pub(super) fn sum(&self) -> Sum {
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pixel_engine_bench_data::{Generator, Options};

    use super::*;

    #[test]
    fn another_line_in_the_place_of_one_is_noticed() {
        let lines = |first_line, count| {
            let options = Options { first_line, ..Options::new(FIELDS.parse().unwrap(), 7) };
            let mut text = Vec::new();
            Generator::new(options).append_lines(&mut text, count);
            text
        };
        let of = |texts: &[Vec<u8>]| {
            let tally = Tally::new();
            texts.iter().for_each(|text| tally.add(text));
            tally.sum()
        };
        let whole = of(&[lines(0, 20)]);
        assert_eq!((whole.lines, whole.of_visits), (20, 20));
        assert_eq!(of(&[lines(10, 10), lines(0, 10)]), whole, "in any order");
        assert_ne!(of(&[lines(0, 19)]), whole);
        assert_ne!(of(&[lines(0, 19), lines(18, 1)]), whole, "one is missing, another one is there twice");
    }
}
