//! How fast to send: the law of this engine, and its rivals.

use super::{MIB, Outcome, REQUEST};
use pixel_engine_core::deliver::rate::Rate;

/// A control law for the rate of a producer.
pub trait Law {
    /// Bytes a second; `None` for no limit.
    fn rate(&self) -> Option<f64>;

    /// Seconds of the rate that may go at once.
    fn burst(&self) -> f64 {
        0.5
    }

    /// Whether a request waits until it is paid for, rather than paying for it after a burst.
    fn pays_before(&self) -> bool {
        false
    }

    /// The most bytes of a record.
    fn max_record(&self) -> f64 {
        f64::INFINITY
    }

    /// A request of that many bytes is sent.
    fn sent(&mut self, bytes: f64, now: f64);

    /// What became of a request.
    fn replied(&mut self, sent_at: f64, now: f64, records: &[Outcome]);
}

/// What `deliver` does. See `deliver/pace.rs` for burst and record size.
pub struct Ours(Rate);

impl Ours {
    /// With the rate that is known from the start.
    pub fn begin(max: Option<f64>) -> Box<dyn Law> {
        Box::new(Ours(Rate::new(max, 0.0)))
    }
}

impl Law for Ours {
    fn rate(&self) -> Option<f64> {
        self.0.per_second()
    }

    fn burst(&self) -> f64 {
        if self.0.is_lowered() { 0.1 } else { 0.5 }
    }

    fn pays_before(&self) -> bool {
        self.0.is_lowered()
    }

    fn max_record(&self) -> f64 {
        self.0.per_second().filter(|_| self.0.is_lowered()).map_or(f64::INFINITY, |rate| rate / 20.0)
    }

    fn sent(&mut self, bytes: f64, now: f64) {
        self.0.sent(bytes, now);
    }

    fn replied(&mut self, sent_at: f64, _now: f64, records: &[Outcome]) {
        let sum = |wanted: bool| {
            let those = records.iter().filter(|record| record.is_accepted == wanted);
            those.map(|record| record.bytes).sum()
        };
        self.0.replied(sent_at, records.len() as f64, sum(true), sum(false));
    }
}

/// Additive increase, multiplicative decrease, as TCP has it and this engine had it before: a
/// throttle halves the rate, at most once in half a second, and it grows by 256 KiB/s a second, or
/// by a twentieth of a rate that is known.
pub struct Aimd {
    rate: Option<f64>,
    max: Option<f64>,
    cut_at: f64,
    grown_at: f64,
    /// Bytes since `counted_from`, for the rate of the first cut.
    accepted: f64,
    counted_from: f64,
}

impl Aimd {
    /// With the rate that is known from the start.
    pub fn begin(max: Option<f64>) -> Box<dyn Law> {
        Box::new(Aimd { rate: max, max, cut_at: -1.0, grown_at: 0.0, accepted: 0.0, counted_from: 0.0 })
    }
}

impl Law for Aimd {
    fn rate(&self) -> Option<f64> {
        self.rate
    }

    fn sent(&mut self, _bytes: f64, _now: f64) {}

    fn replied(&mut self, _sent_at: f64, now: f64, records: &[Outcome]) {
        let step = self.max.map_or(MIB / 4.0, |max| max / 20.0);
        for record in records {
            if record.is_accepted {
                self.accepted += record.bytes;
                if let Some(rate) = &mut self.rate {
                    let grown = *rate + step * (now - self.grown_at).clamp(0.0, 1.0);
                    *rate = grown.min(self.max.unwrap_or(f64::INFINITY));
                } else if now - self.counted_from > 2.0 {
                    self.accepted /= 2.0;
                    self.counted_from = f64::midpoint(now, self.counted_from);
                }
                self.grown_at = now;
            } else if now - self.cut_at >= 0.5 {
                let rate = self.rate.unwrap_or_else(|| self.accepted / (now - self.counted_from).max(0.1));
                self.rate = Some((rate / 2.0).max(MIB / 4.0));
                (self.cut_at, self.grown_at) = (now, now);
            }
        }
    }
}

/// The client rate limiter of AWS's SDKs in their adaptive retry mode: CUBIC around the measured
/// rate. It counts requests there and full requests here, and learns of single records, of which
/// the SDKs learn nothing.
pub struct Adaptive {
    /// Full requests a second, as are the others.
    rate: Option<f64>,
    measured: f64,
    /// What was sent since `measured_at`.
    sent: f64,
    measured_at: f64,
    last_max: f64,
    throttled_at: f64,
    window: f64,
}

impl Adaptive {
    const BETA: f64 = 0.7;
    const SCALE: f64 = 0.4;
    const SMOOTH: f64 = 0.8;
    const MIN_RATE: f64 = 0.5;

    /// With the rate that is known from the start.
    pub fn begin(max: Option<f64>) -> Box<dyn Law> {
        Box::new(Adaptive {
            rate: max.map(|max| max / REQUEST),
            measured: 0.0,
            sent: 0.0,
            measured_at: 0.0,
            last_max: 0.0,
            throttled_at: 0.0,
            window: 0.0,
        })
    }
}

impl Law for Adaptive {
    fn rate(&self) -> Option<f64> {
        self.rate.map(|rate| rate * REQUEST)
    }

    fn sent(&mut self, _bytes: f64, _now: f64) {}

    fn replied(&mut self, _sent_at: f64, now: f64, records: &[Outcome]) {
        self.sent += records.iter().map(|record| record.bytes).sum::<f64>() / REQUEST;
        let half_second = (2.0 * now).floor() / 2.0;
        if half_second > self.measured_at {
            let latest = self.sent / (half_second - self.measured_at);
            self.measured += Self::SMOOTH * (latest - self.measured);
            (self.sent, self.measured_at) = (0.0, half_second);
        }
        let rate = if records.iter().any(|record| !record.is_accepted) {
            let rate = self.rate.map_or(self.measured, |rate| rate.min(self.measured));
            self.last_max = rate;
            self.window = (rate * (1.0 - Self::BETA) / Self::SCALE).cbrt();
            self.throttled_at = now;
            rate * Self::BETA
        } else if self.rate.is_some() {
            Self::SCALE * (now - self.throttled_at - self.window).powi(3) + self.last_max
        } else {
            return;
        };
        self.rate = Some(rate.min(2.0 * self.measured).max(Self::MIN_RATE));
    }
}
