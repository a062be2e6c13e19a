//! Sums of money to the last digit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount in billionths: as exact as any price, and far from the end of 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Amount(i128);

const DECIMALS: usize = 9;
const ONE: i128 = 1_000_000_000;

impl Amount {
    /// A decimal number with a point, such as `12.90` or `-3`: of at most 15 digits before the point
    /// and 9 behind it, so that no sum of a log overflows. `None` for all else.
    pub(crate) fn read(text: &[u8]) -> Option<Amount> {
        const MAX_DIGITS: usize = 15;
        let (sign, text) = match text.strip_prefix(b"-") {
            Some(text) => (-1, text),
            None => (1, text),
        };
        let point = memchr::memchr(b'.', text);
        let (whole, fraction) = point.map_or((text, &b""[..]), |point| (&text[..point], &text[point + 1..]));
        let is_read = (1..=MAX_DIGITS).contains(&whole.len())
            && fraction.len() <= DECIMALS
            && whole.iter().chain(fraction).all(u8::is_ascii_digit);
        let digits =
            whole.iter().chain(fraction).chain(std::iter::repeat_n(&b'0', DECIMALS.checked_sub(fraction.len())?));
        is_read.then(|| Amount(sign * digits.fold(0, |number, digit| number * 10 + i128::from(digit - b'0'))))
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.0 += other.0;
    }
}

/// With two decimals, and more if they are not 0.
impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (self.0.abs() / ONE, format!("{:09}", self.0.abs() % ONE));
        let zeros = fraction.len() - fraction.trim_end_matches('0').len();
        write!(formatter, "{sign}{whole}.{}", &fraction[..DECIMALS - zeros.min(DECIMALS - 2)])
    }
}

/// Three letters, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Currency([u8; 3]);

impl Currency {
    /// That of amounts without one.
    pub(crate) const NONE: Currency = Currency(*b"---");

    /// Three letters, in upper case.
    pub(crate) fn read(text: &[u8]) -> Option<Currency> {
        let letters: [u8; 3] = text.try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Currency(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// Its letters; `None` if there are none.
    pub(crate) fn letters(&self) -> Option<&str> {
        if *self == Currency::NONE { None } else { std::str::from_utf8(&self.0).ok() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Option<String> {
        Amount::read(text.as_bytes()).map(|amount| amount.to_string())
    }

    #[test]
    fn amounts_are_decimal_numbers() {
        for (text, wanted) in [
            ("12.90", "12.90"),
            ("12.9", "12.90"),
            ("12", "12.00"),
            ("0.125", "0.125"),
            ("-3.5", "-3.50"),
            ("-0.01", "-0.01"),
            ("5.", "5.00"),
            ("999999999999999.999999999", "999999999999999.999999999"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(wanted), "{text}");
        }
        for text in
            ["", ".", ".5", "1,50", "1.2.3", "1e3", "EUR 5", "5 ", "--1", "+1", "0.1234567890", "1000000000000000"]
        {
            assert_eq!(shown(text), None, "{text}");
        }
    }

    #[test]
    fn currencies_have_three_letters() {
        let letters =
            |text: &str| Currency::read(text.as_bytes()).and_then(|currency| currency.letters().map(str::to_owned));
        assert_eq!(letters("eur").as_deref(), Some("EUR"));
        assert!(["", "EURO", "E1R", "---", "€"].iter().all(|text| letters(text).is_none()));
        assert_eq!(Currency::NONE.letters(), None);
    }

    proptest! {
        #[test]
        fn sums_are_exact(cents in prop::collection::vec(-1_000_000i64..1_000_000, 1..50)) {
            let mut sum = Amount::default();
            for cents in &cents {
                let sign = if *cents < 0 { "-" } else { "" };
                sum += Amount::read(format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100).as_bytes()).unwrap();
            }
            let all: i64 = cents.iter().sum();
            let sign = if all < 0 { "-" } else { "" };
            prop_assert_eq!(sum.to_string(), format!("{sign}{}.{:02}", all.abs() / 100, all.abs() % 100));
        }
    }
}
