//! How long to wait before records that failed are sent again. Simulations of a delivery play the
//! same waits.

use std::time::Duration;

/// The wait is shorter than this when most of what was sent got through.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(20);

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
    fn waits_double_up_to_the_maximum() {
        let waits = [0, 1, 2, 7, 8, 16, u32::MAX].map(|failures| max_wait(failures).as_millis());
        assert_eq!(waits, [100, 200, 400, 12_800, 20_000, 20_000, 20_000]);
    }
}
