//! What an axis shows.

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// An axis: what it is called, how it counts, and how its ticks are written.
pub struct Axis {
    /// Its name; may be empty.
    pub name: &'static str,
    /// How it counts.
    pub scale: Scale,
    /// Writes a value.
    pub text: fn(f64) -> String,
}

/// From where to where an axis goes.
pub(super) struct Span {
    scale: Scale,
    pub(super) least: f64,
    most: f64,
}

impl Span {
    /// Around the values. Vertical axes begin at 0 if they are linear, and go by whole powers of
    /// ten if they are logarithmic.
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>, vertical: bool) -> Span {
        let (least, most) = values
            .filter(|&value| scale == Scale::Linear || value > 0.0)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Span { scale, least: 0.1, most: 1.0 };
        }
        match (scale, vertical) {
            (Scale::Linear, true) => Span { scale, least: 0.0, most: (most * 1.05).max(1e-9) },
            (Scale::Logarithmic, true) => {
                let (least, most) = (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil()));
                Span { scale, least, most: most.max(least * 10.0) }
            }
            (_, false) => Span { scale, least, most: if most > least { most } else { least + 1.0 } },
        }
    }

    /// Where a value lies, from 0 to 1.
    pub(super) fn part(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Logarithmic => (value.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
        };
        part.clamp(0.0, 1.0)
    }

    /// Round values, about six.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Logarithmic => {
                let powers = self.least.log10().ceil() as i32..=self.most.log10().floor() as i32;
                powers.map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Linear => {
                let rough = (self.most - self.least) / 6.0;
                let power = 10_f64.powf(rough.log10().floor());
                let step =
                    [1.0, 2.0, 4.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|&step| step >= rough);
                let step = step.unwrap_or(10.0 * power);
                let first = (self.least / step).ceil() as i64;
                (first..).map(|tick| tick as f64 * step).take_while(|&tick| tick <= self.most).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let of = |scale, values: &[f64], vertical| Span::of(scale, values.iter().copied(), vertical);
        assert_eq!(of(Scale::Linear, &[1.0, 9.0], true).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(of(Scale::Linear, &[0.0, 24.0], false).ticks(), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]);
        assert_eq!(of(Scale::Logarithmic, &[30.0, 7_000.0], true).ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[1e-9, 1e12]] {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let span = of(scale, values, true);
                assert!(span.ticks().len() < 30 && span.ticks().iter().all(|tick| tick.is_finite()), "{values:?}");
                assert!(values.iter().all(|&value| (0.0..=1.0).contains(&span.part(value))));
            }
        }
    }
}
