//! How lines fall on shards.

use std::fmt;
use std::str::FromStr;

use fastrand::Rng;
use serde::Serialize;

/// Which shard a line goes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Spread {
    /// Each in turn, as this engine's explicit hash keys do: every shard has the same share at
    /// every moment.
    Even,
    /// A key for each line: the same share in the long run, and chance in every second.
    Random,
    /// Some keys come more often than others, by Zipf's law; each key stays on its shard.
    Zipf {
        /// The key of rank `r` has the weight `1 / r^exponent`.
        exponent: f64,
        /// How many keys there are.
        keys: u32,
    },
}

impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spread::Even => formatter.write_str("even"),
            Spread::Random => formatter.write_str("random"),
            Spread::Zipf { exponent, keys } => write!(formatter, "zipf:{exponent}:{keys}"),
        }
    }
}

/// Text that is not a spread; usually a number is out of range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{0}` is not even, random, zipf:EXPONENT or zipf:EXPONENT:KEYS, as in zipf:1.1:10000")]
pub struct UnknownSpread(String);

impl FromStr for Spread {
    type Err = UnknownSpread;

    fn from_str(text: &str) -> Result<Spread, UnknownSpread> {
        let unknown = || UnknownSpread(text.to_owned());
        match text.split(':').collect::<Vec<_>>()[..] {
            ["even"] => Ok(Spread::Even),
            ["random"] => Ok(Spread::Random),
            ["zipf", exponent, ref keys @ ..] if keys.len() <= 1 => {
                let exponent = exponent.parse().map_err(|_| unknown())?;
                let keys = keys.first().map_or(Ok(10_000), |keys| keys.parse()).map_err(|_| unknown())?;
                let known = (0.0..=10.0).contains(&exponent) && (1..=10_000_000).contains(&keys);
                if known { Ok(Spread::Zipf { exponent, keys }) } else { Err(unknown()) }
            }
            _ => Err(unknown()),
        }
    }
}

impl Spread {
    /// The shares of that many shards, the largest first.
    pub(super) fn shares(self, shards: usize, seed: u64) -> Vec<f64> {
        let mut shares = vec![1.0 / shards as f64; shards];
        if let Spread::Zipf { exponent, keys } = self {
            let weight = |rank: u32| f64::from(rank).powf(-exponent);
            let total: f64 = (1..=keys).map(weight).sum();
            shares.fill(0.0);
            // A key's place in the hash space does not depend on how many shards divide it.
            let mut random = Rng::with_seed(seed);
            for rank in 1..=keys {
                shares[(random.f64() * shards as f64) as usize] += weight(rank) / total;
            }
            shares.sort_unstable_by(|less, more| more.total_cmp(less));
        }
        shares
    }
}

/// How many of many come within a time in which `mean` do on average.
pub(super) fn poisson(mean: f64, random: &mut Rng) -> u64 {
    /// From here on, the normal distribution is as good.
    const MANY: f64 = 40.0;
    if mean < MANY {
        // Knuth: as long as the product of random numbers stays above e^-mean.
        let (limit, mut product, mut count) = ((-mean).exp(), random.f64(), 0);
        while product > limit {
            product *= random.f64();
            count += 1;
        }
        return count;
    }
    // Box and Muller; 1 - [0, 1) keeps 0 out of the logarithm.
    let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
    (mean + normal * mean.sqrt()).round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_read_and_nonsense_is_refused() {
        assert_eq!("zipf:1.1".parse(), Ok(Spread::Zipf { exponent: 1.1, keys: 10_000 }));
        assert_eq!("zipf:0.8:500".parse(), Ok(Spread::Zipf { exponent: 0.8, keys: 500 }));
        assert_eq!("random".parse(), Ok(Spread::Random));
        for text in ["even", "random", "zipf:1.1:10000"] {
            assert_eq!(text.parse::<Spread>().unwrap().to_string(), text);
        }
        for text in ["", "zipf", "zipf:", "zipf:x", "zipf:-1", "zipf:nan", "zipf:1:0", "zipf:1:2:3", "Even"] {
            assert!(text.parse::<Spread>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_add_up_and_the_first_key_is_hot() {
        for spread in [Spread::Even, Spread::Random, Spread::Zipf { exponent: 1.2, keys: 5_000 }] {
            let shares = spread.shares(100, 7);
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(shares.is_sorted_by(|less, more| less >= more));
            assert_eq!(shares, spread.shares(100, 7));
        }
        let hot = Spread::Zipf { exponent: 1.2, keys: 5_000 };
        assert!(hot.shares(100, 7)[0] > 10.0 / 100.0);
        assert!(hot.shares(1_000, 7)[0] > 0.2, "no number of shards divides one key");
    }

    #[test]
    fn chance_has_the_mean_and_the_variance_of_poisson() {
        let mut random = Rng::with_seed(3);
        for mean in [0.3, 7.0, 39.0, 41.0, 900.0] {
            let draws: Vec<f64> = (0..200_000).map(|_| poisson(mean, &mut random) as f64).collect();
            let got = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|draw| (draw - got).powi(2)).sum::<f64>() / draws.len() as f64;
            assert!((got / mean - 1.0).abs() < 0.01, "{mean}: {got}");
            assert!((variance / mean - 1.0).abs() < 0.03, "{mean}: {variance}");
        }
    }
}
