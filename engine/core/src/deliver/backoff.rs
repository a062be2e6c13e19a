//! How long to wait before records that failed are sent again. Simulations of a delivery play the
//! same waits.

use std::time::Duration;

/// The wait is shorter than this after a try that got on.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
/// While all workers are busy, a record that failed beside others is held no longer than this.
pub const MAX_HELD: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Of fewer records than this, it may be chance that most fail.
const MIN_JUDGED: usize = 8;

/// Whether a try of so many records, of which so many got through, shows that the service is there:
/// most of them did, or at least one of a few.
pub fn gets_on(records: usize, through: usize) -> bool {
    through > if records < MIN_JUDGED { 0 } else { records / 2 }
}

/// The upper bound of the wait after that many failures in a row without progress: it doubles with
/// each of them. The wait itself is a random part of it, so that producers that failed together do
/// not come back together ("full jitter").
pub fn max_wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_get_through_or_one_of_a_few() {
        let least = |records| (0..=records).find(|&through| gets_on(records, through));
        assert_eq!([0, 1, 2, 7, 8, 9, 500].map(least), [None, Some(1), Some(1), Some(1), Some(5), Some(5), Some(251)]);
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        let waits = [0, 1, 2, 7, 8, 16, u32::MAX].map(|failures| max_wait(failures).as_millis());
        assert_eq!(waits, [100, 200, 400, 12_800, 20_000, 20_000, 20_000]);
    }
}
