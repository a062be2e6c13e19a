//! How many lines come: on average, which bills go by, and at the peak, which limits go by.

use std::str::FromStr;

use serde::Serialize;

/// Hours of a month on AWS's bills and in its price calculator: 8,760 / 12.
pub(crate) const HOURS_PER_MONTH: f64 = 730.0;
/// The same in seconds.
pub(crate) const SECONDS_PER_MONTH: f64 = HOURS_PER_MONTH * 3_600.0;

/// Lines a second that no log has.
const MAX_RATE: f64 = 1e12;
/// The highest peak, in times the average.
const MAX_PEAK_FACTOR: f64 = 1_000.0;

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

/// Why something is not a rate, or not a peak.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// Not a number with a unit of time; usually the unit was forgotten.
    #[error("`{0}` is not a rate; write 20000/s, or the same by /min, /h, /day or /month")]
    Format(String),
    /// Not a number, where the unit is given; usually one was added.
    #[error("`{0}` is not a number of lines, such as 5e9")]
    Number(String),
    /// Zero, negative, or more lines than any log has.
    #[error("{0} lines/s: a rate is above 0 and at most {MAX_RATE:e} lines/s")]
    Range(f64),
    /// Not a number of times the average.
    #[error("`{0}` is not a factor, such as 4x")]
    PeakFormat(String),
    /// A peak below the average, or far above it.
    #[error("a peak of {0} times the average: it is from 1 to {MAX_PEAK_FACTOR}")]
    Peak(f64),
}

impl Rate {
    /// That many lines a second.
    ///
    /// # Errors
    /// [`RateError::Range`].
    pub fn per_second(lines: f64) -> Result<Rate, RateError> {
        if lines > 0.0 && lines <= MAX_RATE { Ok(Rate(lines)) } else { Err(RateError::Range(lines)) }
    }

    /// That many lines in a month of 730 hours.
    ///
    /// # Errors
    /// As for [`Rate::per_second`].
    pub fn per_month(lines: f64) -> Result<Rate, RateError> {
        Rate::per_second(lines / SECONDS_PER_MONTH)
    }

    /// Reads a rate whose unit may be missing: lines a second, then.
    ///
    /// ```
    /// use pixel_engine_plan::rate::Rate;
    /// assert_eq!(Rate::parse_or_per_second("20"), "1200/min".parse());
    /// assert_eq!(Rate::parse_or_per_second("1200/min"), "20/s".parse());
    /// ```
    ///
    /// # Errors
    /// As for [`str::parse`], which requires the unit.
    pub fn parse_or_per_second(text: &str) -> Result<Rate, RateError> {
        match number(text) {
            Some(lines) => Rate::per_second(lines),
            None => text.parse(),
        }
    }

    /// Reads a number of lines in a month of 730 hours, such as `5e9`.
    ///
    /// # Errors
    /// Not a number, or [`RateError::Range`].
    pub fn parse_per_month(text: &str) -> Result<Rate, RateError> {
        Rate::per_month(number(text).ok_or_else(|| RateError::Number(text.to_owned()))?)
    }

    /// Lines a second.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Lines in a month of 730 hours.
    pub fn monthly(self) -> f64 {
        self.0 * SECONDS_PER_MONTH
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let wrong = || RateError::Format(text.to_owned());
        let (lines, unit) = text.split_once('/').ok_or_else(wrong)?;
        let lines = number(lines).ok_or_else(wrong)?;
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

/// A number whose digits `_` may group.
fn number(text: &str) -> Option<f64> {
    text.replace('_', "").parse().ok()
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
    /// The factor or the peak is out of range.
    pub fn new(average: Rate, factor: f64) -> Result<Load, RateError> {
        Ok(Load { average, peak: Rate::per_second(average.get() * checked_factor(factor)?)? })
    }

    /// Reads a factor for [`Load::new`], such as `4x` or `4`.
    ///
    /// # Errors
    /// Not a number, or out of range.
    pub fn parse_factor(text: &str) -> Result<f64, RateError> {
        let factor = text.strip_suffix('x').unwrap_or(text).parse();
        checked_factor(factor.map_err(|_| RateError::PeakFormat(text.to_owned()))?)
    }
}

fn checked_factor(factor: f64) -> Result<f64, RateError> {
    if (1.0..=MAX_PEAK_FACTOR).contains(&factor) { Ok(factor) } else { Err(RateError::Peak(factor)) }
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
        assert_eq!(Rate::parse_per_month("5_256_000").unwrap().get(), 2.0);
        assert_eq!(["4x", "4", "1.5x"].map(|text| Load::parse_factor(text).unwrap()), [4.0, 4.0, 1.5]);
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
        for text in ["", "x", "1/week", "1/"] {
            assert!(matches!(Rate::parse_or_per_second(text), Err(RateError::Format(_))), "{text}");
            assert!(matches!(Rate::parse_per_month(text), Err(RateError::Number(_))), "{text}");
        }
        assert_eq!(
            Rate::parse_or_per_second("0").unwrap_err().to_string(),
            "0 lines/s: a rate is above 0 and at most 1e12 lines/s"
        );
        for text in ["", "x", "4y", "4xx"] {
            assert!(matches!(Load::parse_factor(text), Err(RateError::PeakFormat(_))), "{text}");
        }
        assert!(matches!(Load::parse_factor("0.5x"), Err(RateError::Peak(_))));
        let rate = Rate::per_second(1e12).unwrap();
        assert!(matches!(Load::new(rate, 2.0), Err(RateError::Range(_))));
        for factor in [0.0, 0.99, -1.0, f64::NAN, 1_001.0] {
            assert!(matches!(Load::new(rate, factor), Err(RateError::Peak(_))), "{factor}");
        }
    }
}
