//! A stream with a quota and the producers that share it, in simulated time: the same on any
//! machine.
//!
//! A producer has workers with one request each, as a delivery has: a worker takes as many records
//! as its law lets go at once, waits for its turn and sends. What was turned away goes again with
//! what other requests have left over, as soon as that fills one or has been held for long; where
//! most was turned away, after a wait. Requests and replies are on their way for as long as chance decides. Tests of `deliver`
//! play such scenarios with a real delivery and the law that it has.

mod laws;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use fastrand::Rng;
use pixel_engine_core::deliver::backoff::{MAX_HELD, gets_on, max_wait};

pub use laws::{Adaptive, Aimd, Law, Ours};

/// Bytes.
pub const MIB: f64 = 1_048_576.0;

/// Seconds from sending a request to its reply.
const LATENCY: Range<f64> = 0.02..0.2;
/// What `--concurrency` is unless told otherwise.
const WORKERS: usize = 4;
/// Bytes of a request: 4 MiB of base64.
pub(crate) const REQUEST: f64 = 3.0 * MIB;
const MAX_RECORDS: usize = 500;
/// What the other producer sends in a second: requests, and records in each.
const OTHER_REQUESTS: f64 = 20.0;
const OTHER_RECORDS: usize = 4;
/// Clock ticks a second.
const TICKS: f64 = 1e6;

/// What is turned away when the quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// The records that do not fit.
    Records,
    /// The request.
    Requests,
}

/// What is played. Rates are bytes a second, times are seconds.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What the stream takes; a second of it at once. `None` for everything.
    pub quota: Option<f64>,
    /// The quota from the middle on.
    pub then: Option<f64>,
    /// What is turned away.
    pub throttle: Throttle,
    /// The share of records that fails whatever the rate.
    pub noise: f64,
    /// Producers under the law.
    pub producers: usize,
    /// The rate that they know from the start.
    pub max: Option<f64>,
    /// The most bytes of a record.
    pub record_size: f64,
    /// What a producer without a law sends.
    pub other: f64,
    /// From when on things are counted.
    pub count_from: f64,
    /// How long it is played.
    pub seconds: f64,
}

impl Scenario {
    /// One producer of full records, which begins without a limit; counted from 10 s on for two
    /// minutes.
    pub fn firehose(quota: f64, throttle: Throttle) -> Scenario {
        Scenario {
            quota: Some(quota),
            then: None,
            throttle,
            noise: 0.0,
            producers: 1,
            max: None,
            record_size: 1_024_000.0,
            other: 0.0,
            count_from: 10.0,
            seconds: 130.0,
        }
    }

    /// Plays it; what became of each producer's records, those of the one without a law last.
    pub fn play(&self, seed: u64, law: fn(Option<f64>) -> Box<dyn Law>) -> Vec<Counts> {
        let worker = || Worker { waiting: Vec::new(), going: Vec::new(), sent_at: 0.0, failures: 0 };
        let producer = || Producer {
            law: law(self.max),
            paid_at: -1.0,
            leftovers: Vec::new(),
            workers: (0..WORKERS).map(|_| worker()).collect(),
        };
        let mut play = Play {
            scenario: self,
            random: Rng::with_seed(seed),
            events: BinaryHeap::new(),
            serial: 0,
            quota: self.quota.map(|rate| Bucket { rate, level: rate, filled_at: 0.0 }),
            producers: (0..self.producers).map(|_| producer()).collect(),
            counts: vec![Counts::default(); self.producers + 1],
        };
        play.run();
        play.counts
    }
}

/// What became of the records of a producer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Bytes that were accepted.
    pub bytes: f64,
    /// Records that were accepted.
    pub accepted: f64,
    /// Tries of a record that were turned away.
    pub rejected: f64,
}

impl Counts {
    fn add(&mut self, bytes: f64, is_accepted: bool) {
        if is_accepted {
            self.bytes += bytes;
            self.accepted += 1.0;
        } else {
            self.rejected += 1.0;
        }
    }
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Its bytes.
    pub bytes: f64,
    /// Whether it was accepted.
    pub is_accepted: bool,
}

/// The quota: fills at its rate up to a second's worth.
struct Bucket {
    rate: f64,
    level: f64,
    filled_at: f64,
}

impl Bucket {
    fn takes(&mut self, bytes: f64, now: f64) -> bool {
        self.level = (self.level + (now - self.filled_at) * self.rate).min(self.rate);
        self.filled_at = now;
        // What is more than a second's worth passes a full bucket and leaves a debt.
        let passes = self.level >= bytes.min(self.rate);
        self.level -= if passes { bytes } else { 0.0 };
        passes
    }
}

struct Producer {
    law: Box<dyn Law>,
    /// Everything sent so far is paid for then.
    paid_at: f64,
    /// Bytes of the records that were turned away beside others, and when they go before what is
    /// new although they do not fill a request.
    leftovers: Vec<(f64, f64)>,
    workers: Vec<Worker>,
}

struct Worker {
    /// Bytes of each record of the open request.
    waiting: Vec<f64>,
    /// The records that are on their way.
    going: Vec<Outcome>,
    sent_at: f64,
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin { producer: usize, worker: usize },
    Send { producer: usize, worker: usize },
    Arrive { producer: usize, worker: usize },
    Reply { producer: usize, worker: usize },
    Other,
    Change,
}

struct Play<'a> {
    scenario: &'a Scenario,
    random: Rng,
    /// By tick, then in the order in which they were scheduled.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    quota: Option<Bucket>,
    producers: Vec<Producer>,
    counts: Vec<Counts>,
}

impl Play<'_> {
    fn run(&mut self) {
        for producer in 0..self.producers.len() {
            (0..WORKERS).for_each(|worker| self.schedule(0.0, Event::Begin { producer, worker }));
        }
        if self.scenario.other > 0.0 {
            self.schedule(0.0, Event::Other);
        }
        if self.scenario.then.is_some() {
            self.schedule(self.scenario.seconds / 2.0, Event::Change);
        }
        while let Some(Reverse((tick, _, event))) = self.events.pop() {
            let now = tick as f64 / TICKS;
            if now > self.scenario.seconds {
                return;
            }
            match event {
                Event::Begin { producer, worker } => self.begin(producer, worker, now),
                Event::Send { producer, worker } => {
                    let Producer { law, workers, .. } = &mut self.producers[producer];
                    workers[worker].sent_at = now;
                    law.sent(workers[worker].going.iter().map(|record| record.bytes).sum(), now);
                    self.travel(now, Event::Arrive { producer, worker });
                }
                Event::Arrive { producer, worker } => {
                    let mut going = std::mem::take(&mut self.producers[producer].workers[worker].going);
                    self.judge(producer, &mut going, now);
                    self.producers[producer].workers[worker].going = going;
                    self.travel(now, Event::Reply { producer, worker });
                }
                Event::Reply { producer, worker } => self.reply(producer, worker, now),
                Event::Other => {
                    let bytes = self.scenario.other / OTHER_REQUESTS / OTHER_RECORDS as f64;
                    let mut records = [Outcome { bytes, is_accepted: false }; OTHER_RECORDS];
                    self.judge(self.producers.len(), &mut records, now);
                    self.schedule(now + 1.0 / OTHER_REQUESTS, Event::Other);
                }
                Event::Change => {
                    if let (Some(quota), Some(then)) = (&mut self.quota, self.scenario.then) {
                        quota.level = (quota.level / quota.rate * then).min(then);
                        quota.rate = then;
                    }
                }
            }
        }
    }

    fn schedule(&mut self, time: f64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse(((time * TICKS) as u64, self.serial, event)));
    }

    /// One way takes half of the latency.
    fn travel(&mut self, now: f64, event: Event) {
        let latency = LATENCY.start + self.random.f64() * (LATENCY.end - LATENCY.start);
        self.schedule(now + latency / 2.0, event);
    }

    /// Takes as many records as may go at once, and waits for their turn.
    fn begin(&mut self, producer: usize, worker: usize, now: f64) {
        let Producer { law, paid_at, leftovers, workers } = &mut self.producers[producer];
        let waiting = &mut workers[worker].waiting;
        let fitting = fitting(leftovers);
        let is_due = leftovers.first().is_some_and(|&(_, due)| due <= now);
        if waiting.is_empty() && (is_due || fitting < leftovers.len()) {
            waiting.extend(leftovers.drain(..fitting).map(|(bytes, _)| bytes));
        } else if waiting.is_empty() {
            let size = law.max_record().min(self.scenario.record_size);
            *waiting = vec![size; ((REQUEST / size) as usize).clamp(1, MAX_RECORDS)];
        }
        let (mut count, mut wait) = (waiting.len(), 0.0);
        if let Some(rate) = law.rate() {
            let burst = law.burst();
            let mut sum = 0.0;
            let fits = |&&bytes: &&f64| {
                let is_first = sum == 0.0;
                sum += bytes;
                is_first || sum <= rate * burst
            };
            count = waiting.iter().take_while(fits).count();
            let seconds = waiting[..count].iter().sum::<f64>() / rate;
            *paid_at = paid_at.max(now - burst);
            let before = if law.pays_before() { seconds } else { seconds.min(burst) };
            wait = (*paid_at + before - now).max(0.0);
            *paid_at += seconds;
        }
        let going = waiting.drain(..count).map(|bytes| Outcome { bytes, is_accepted: false });
        workers[worker].going = going.collect();
        self.schedule(now + wait, Event::Send { producer, worker });
    }

    /// What the stream does with the records of a request.
    fn judge(&mut self, producer: usize, records: &mut [Outcome], now: f64) {
        let Play { scenario, random, quota, counts, .. } = self;
        let mut takes = |bytes| quota.as_mut().is_none_or(|quota| quota.takes(bytes, now));
        match scenario.throttle {
            Throttle::Records => {
                for record in records.iter_mut() {
                    record.is_accepted = random.f64() >= scenario.noise && takes(record.bytes);
                }
            }
            Throttle::Requests => {
                let is_accepted = takes(records.iter().map(|record| record.bytes).sum());
                records.iter_mut().for_each(|record| record.is_accepted = is_accepted);
            }
        }
        if now >= scenario.count_from {
            records.iter().for_each(|record| counts[producer].add(record.bytes, record.is_accepted));
        }
    }

    /// Goes on with what was turned away, or leaves that to another request.
    fn reply(&mut self, producer: usize, worker: usize, now: f64) {
        let Producer { law, leftovers, workers, .. } = &mut self.producers[producer];
        let Worker { waiting, going, sent_at, failures } = &mut workers[worker];
        let outcomes = std::mem::take(going);
        law.replied(*sent_at, now, &outcomes);
        let refused = || outcomes.iter().filter(|record| !record.is_accepted).map(|record| record.bytes);
        let (refused_count, count) = (refused().count(), outcomes.len());
        *failures = if gets_on(count, count - refused_count) { 0 } else { *failures + 1 };
        let mut wait = 0.0;
        if *failures == 0 {
            leftovers.extend(refused().map(|bytes| (bytes, now + MAX_HELD.as_secs_f64())));
        } else {
            waiting.splice(0..0, refused());
            wait = max_wait(*failures).as_secs_f64() * self.random.f64();
        }
        self.schedule(now + wait, Event::Begin { producer, worker });
    }
}

/// How many of these records fit into a request.
fn fitting(records: &[(f64, f64)]) -> usize {
    let mut sum = 0.0;
    let fits = |&&(bytes, _): &&(f64, f64)| {
        sum += bytes;
        sum <= REQUEST
    };
    records.iter().take(MAX_RECORDS).take_while(fits).count()
}
