//! When visitors come for the first time: in the order of their numbers, by the hour of the day.
//!
//! Visitor `n` of `N` stands somewhere between the shares `n / N` and `(n + 1) / N` of all that
//! come, and the traffic of the hours says at which time so many have come. Nothing is sorted and
//! nothing kept, whatever the number of visitors.

use crate::random::Draw;
use crate::visits::Options;

pub(super) const HOUR_MILLIS: u64 = 3_600_000;

/// How many visitors come in each hour of the day, UTC, relative to each other.
const TRAFFIC: [u64; 24] = [4, 3, 2, 1, 1, 2, 4, 8, 11, 13, 14, 14, 13, 13, 14, 14, 13, 13, 14, 16, 17, 14, 10, 6];

/// How many times its usual visitors the hour of a surge has.
const SURGE_FACTOR: u64 = 10;

pub(super) struct Arrivals {
    seed: u64,
    start_millis: u64,
    visitors: u64,
    /// The traffic of each hour of the log.
    hours: Vec<u64>,
    total: u64,
    /// The visitor who comes next.
    number: u64,
    /// Its hour, and the traffic of all hours before that.
    hour: usize,
    before: u64,
}

impl Arrivals {
    pub(super) fn new(options: &Options) -> Arrivals {
        let surge = options.surge_hour();
        let hours = (0..options.hours()).map(|hour| {
            let of_day = (options.start_millis / HOUR_MILLIS + hour) % 24;
            TRAFFIC[of_day as usize] * if surge == Some(hour) { SURGE_FACTOR } else { 1 }
        });
        let hours: Vec<u64> = hours.collect();
        Arrivals {
            seed: options.seed,
            start_millis: options.start_millis,
            visitors: options.visitors,
            total: hours.iter().sum(),
            hours,
            number: 0,
            hour: 0,
            before: 0,
        }
    }
}

impl Iterator for Arrivals {
    /// The number of a visitor, and the time in milliseconds since 1970.
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        /// Steps between one visitor's share and the next one's.
        const STEPS: u64 = 1 << 20;
        if self.number == self.visitors {
            return None;
        }
        let number = self.number;
        self.number += 1;
        let step = Draw::new(self.seed.rotate_left(17), number).below(STEPS);
        let position = (u128::from(number) * u128::from(STEPS) + u128::from(step)) * u128::from(self.total)
            / u128::from(self.visitors);
        let steps = |traffic: u64| u128::from(traffic) * u128::from(STEPS);
        while position >= steps(self.before + self.hours[self.hour]) {
            self.before += self.hours[self.hour];
            self.hour += 1;
        }
        let within = (position - steps(self.before)) * u128::from(HOUR_MILLIS) / steps(self.hours[self.hour]);
        Some((number, self.start_millis + self.hour as u64 * HOUR_MILLIS + within as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_come_in_order_and_more_of_them_in_busy_hours() {
        let options = Options { visitors: 50_000, days: 2, ..Options::new("pixel-4".parse().unwrap(), 3) };
        let arrivals: Vec<(u64, u64)> = Arrivals::new(&options).collect();
        assert_eq!(arrivals.len(), 50_000);
        assert!(arrivals.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].1 <= pair[1].1));
        let hour = |arrival: &(u64, u64)| (arrival.1 - options.start_millis) / HOUR_MILLIS;
        assert!(arrivals.iter().all(|arrival| hour(arrival) < 48));
        let count = |wanted| arrivals.iter().filter(|arrival| hour(arrival) == wanted).count();
        let share = 50_000 / 2 / TRAFFIC.iter().sum::<u64>() as usize;
        for wanted in 0..48 {
            let expected = share * TRAFFIC[wanted as usize % 24] as usize;
            assert!(count(wanted).abs_diff(expected) < 30, "{wanted}: {} {expected}", count(wanted));
        }
    }

    #[test]
    fn a_surge_is_one_hour_of_many_visitors() {
        let quiet = Options { visitors: 20_000, days: 5, ..Options::new("pixel-4".parse().unwrap(), 3) };
        let surge = Options { surge: true, ..quiet.clone() };
        let hour = surge.surge_hour().unwrap();
        let count = |options: &Options| {
            let start = options.start_millis + hour * HOUR_MILLIS;
            Arrivals::new(options).filter(|(_, millis)| (start..start + HOUR_MILLIS).contains(millis)).count()
        };
        assert!(count(&surge) > 7 * count(&quiet));
    }

    #[test]
    fn a_single_visitor_comes() {
        let options = Options { visitors: 1, ..Options::new("pixel-4".parse().unwrap(), 3) };
        assert_eq!(Arrivals::new(&options).count(), 1);
        assert_eq!(Arrivals::new(&Options { visitors: 0, ..options }).count(), 0);
    }
}
