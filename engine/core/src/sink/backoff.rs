//! How long a sender waits that was refused: what delivery does, and what a simulation of it plays.

use std::time::Duration;

/// The longest wait when most of what was sent went through.
pub const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The longest wait after that many failures in a row without progress: twice as long with each of them. A random part
/// of it is taken, so that producers that failed together do not come back together ("full jitter").
pub fn longest_wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits = [0, 1, 2, 7, 8, 16, u32::MAX].map(|failures| longest_wait(failures).as_millis());
        assert_eq!(waits, [100, 200, 400, 12_800, 20_000, 20_000, 20_000]);
    }
}
