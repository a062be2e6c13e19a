//! How many lines come: on average, which is what bills count, and at the peak, which is what limits are for.

use std::str::FromStr;

use serde::Serialize;

use super::limits::SECONDS_PER_MONTH;

/// No log on earth has as many lines a second.
const MOST: f64 = 1e12;

/// Lines in a second.
///
/// ```
/// use pixel_engine_plan::rate::Rate;
/// assert_eq!("1_200/min".parse(), Ok(Rate::per_second(20.0).unwrap()));
/// assert!("20000".parse::<Rate>().is_err(), "a second, or a day?");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Rate(f64);

/// Why that is no rate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// Not a number with a unit of time.
    #[error("`{0}` is not a rate; write 20000/s, or the same by /min, /h, /day or /month")]
    Format(String),
    /// Zero, negative, or more than there can be.
    #[error("{0} lines/s: a rate is above 0 and at most 1e12 lines/s")]
    Range(f64),
    /// A peak below the average.
    #[error("a peak of {0} times the average: it is from 1 to 1000")]
    Peak(f64),
}

impl Rate {
    /// That many lines a second.
    ///
    /// # Errors
    /// Not above 0, or absurdly many.
    pub fn per_second(lines: f64) -> Result<Rate, RateError> {
        if lines > 0.0 && lines <= MOST { Ok(Rate(lines)) } else { Err(RateError::Range(lines)) }
    }

    /// That many lines in a month of 730 hours.
    ///
    /// # Errors
    /// As for [`Rate::per_second`].
    pub fn per_month(lines: f64) -> Result<Rate, RateError> {
        Rate::per_second(lines / SECONDS_PER_MONTH)
    }

    /// Lines a second.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Lines a month of 730 hours.
    pub fn monthly(self) -> f64 {
        self.0 * SECONDS_PER_MONTH
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let wrong = || RateError::Format(text.to_owned());
        let (lines, unit) = text.split_once('/').ok_or_else(wrong)?;
        let lines: f64 = lines.replace('_', "").parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3_600.0,
            "day" => 86_400.0,
            "month" => SECONDS_PER_MONTH,
            _ => return Err(wrong()),
        };
        Rate::per_second(lines / seconds)
    }
}

/// The lines to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Over the month.
    pub average: Rate,
    /// In the worst second.
    pub peak: Rate,
}

impl Load {
    /// A peak of `factor` times the average.
    ///
    /// # Errors
    /// The factor is below 1 or absurd, or the peak is.
    pub fn new(average: Rate, factor: f64) -> Result<Load, RateError> {
        if !(1.0..=1_000.0).contains(&factor) {
            return Err(RateError::Peak(factor));
        }
        Ok(Load { average, peak: Rate::per_second(average.get() * factor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_time() {
        let lines = |text: &str| text.parse::<Rate>().unwrap().get();
        assert_eq!(lines("20000/s"), 20_000.0);
        assert_eq!(lines("6e4/min"), 1_000.0);
        assert_eq!(lines("3600/h"), 1.0);
        assert_eq!(lines("86400/day"), 1.0);
        assert_eq!(lines("2628000/month"), 1.0);
        assert_eq!(Rate::per_month(5_256_000.0).unwrap().get(), 2.0);
        assert_eq!(Rate::per_second(2.0).unwrap().monthly(), 5_256_000.0);
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "s", "/s", "20000", "x/s", "1/ s", "1/week", "1//s"] {
            assert!(matches!(text.parse::<Rate>(), Err(RateError::Format(_))), "{text}");
        }
        for text in ["0/s", "-1/s", "nan/s", "inf/s", "2e12/s"] {
            assert!(matches!(text.parse::<Rate>(), Err(RateError::Range(_))), "{text}");
        }
        let rate = Rate::per_second(1e12).unwrap();
        assert!(matches!(Load::new(rate, 2.0), Err(RateError::Range(_))));
        for factor in [0.0, 0.99, -1.0, f64::NAN, 1_001.0] {
            assert!(matches!(Load::new(rate, factor), Err(RateError::Peak(_))), "{factor}");
        }
    }
}
