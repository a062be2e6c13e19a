//! How much of a quota a producer uses, and what is turned away for it, by control law: in
//! simulated time, so that the figures are the same on any machine.

use std::error::Error;

use pixel_engine_benches::goodput::{Adaptive, Aimd, Counts, Law, MIB, Ours, Scenario, Throttle};
use pixel_engine_benches::{EVERY_PATH, Row, Stage, Target, is_quick};

/// A law, and how it begins.
type Begin = fn(Option<f64>) -> Box<dyn Law>;

const RIVALS: [(&str, Begin); 2] = [("AIMD", Aimd::begin), ("the SDKs' CUBIC", Adaptive::begin)];

fn main() -> Result<(), Box<dyn Error>> {
    let mut stage = Stage::new(
        "goodput",
        "Two minutes of simulated delivery, from 10 s after the start; means of 40 seeds. The stream is a token bucket of \
         a second; a request takes 20 to 200 ms; 4 requests at a time; records of 1,024,000 B until a law wants smaller \
         ones, and of 51,200 B for a shard. AIMD is what this engine had before. CUBIC is the client rate limiter of \
         AWS's SDKs (retry mode `adaptive`) on full requests, told of each record.",
    );
    if stage.is_measuring() {
        for (what, scenario) in scenarios() {
            rows(&mut stage, &what, &scenario);
        }
    }
    stage.finish()
}

fn scenarios() -> Vec<(String, Scenario)> {
    let mut all = Vec::new();
    for (throttle, by) in [(Throttle::Records, "by record"), (Throttle::Requests, "by request")] {
        let five = Scenario::firehose(5.0 * MIB, throttle);
        let changes = |then| Scenario { then: Some(then * MIB), count_from: 80.0, ..five.clone() };
        all.extend([
            (format!("5 MiB/s, {by}"), five.clone()),
            (format!("1 MiB/s, {by}"), Scenario::firehose(MIB, throttle)),
            (format!("5 MiB/s, {by}, half of it taken"), Scenario { other: 2.5 * MIB, ..five.clone() }),
            (format!("5 MiB/s, {by}, two producers"), Scenario { producers: 2, ..five.clone() }),
            (format!("5 to 10 MiB/s, {by}, after 15 s"), changes(10.0)),
            (format!("5 to 2.5 MiB/s, {by}, after 15 s"), changes(2.5)),
        ]);
    }
    let five = Scenario::firehose(5.0 * MIB, Throttle::Records);
    let shard = Scenario { max: Some(MIB), record_size: 51_200.0, ..Scenario::firehose(MIB, Throttle::Records) };
    all.extend([
        ("5 MiB/s, 20 % fail anyway".to_owned(), Scenario { noise: 0.2, ..five.clone() }),
        ("a shard".to_owned(), shard.clone()),
        ("a shard, two producers".to_owned(), Scenario { producers: 2, ..shard.clone() }),
        ("a shard, 20 % fail anyway".to_owned(), Scenario { noise: 0.2, ..shard }),
        ("no quota, 20 % fail anyway".to_owned(), Scenario { noise: 0.2, quota: None, ..five.clone() }),
        (
            "no quota, records of 200,000 B, 20 % fail anyway".to_owned(),
            Scenario { noise: 0.2, quota: None, record_size: 200_000.0, ..five },
        ),
    ]);
    all
}

fn rows(stage: &mut Stage, what: &str, scenario: &Scenario) {
    let ours = measured(scenario, Ours::begin);
    let of_what = if scenario.quota.is_some() { "of the quota" } else { "of that without failures" };
    for (rival, law) in RIVALS {
        let his = measured(scenario, law);
        let rejected = (scenario.noise == 0.0).then_some(Target::AtMost(0.05));
        let goodput = Target::AtLeast(if scenario.noise == 0.0 { 0.95 } else { 0.75 });
        for (unit, ours, his, target) in [
            (of_what, ours.goodput, his.goodput, Some(goodput)),
            ("of tries rejected", ours.rejected, his.rejected, rejected),
        ] {
            stage.row(Row {
                what: what.to_owned(),
                path: EVERY_PATH.to_owned(),
                unit: unit.to_owned(),
                ours,
                rival: Some(rival.to_owned()),
                rival_value: Some(his),
                ratio: None,
                median_ratio: None,
                target,
                correct: true,
                checked: String::new(),
            });
        }
    }
    if scenario.other > 0.0 {
        stage.note(format!("{what}: the other producer loses {:.2} % of its records.", 100.0 * ours.lost_by_other));
    }
    if scenario.producers == 2 {
        stage.note(format!("{what}: the slower of the two has {:.2} of it in the median seed.", ours.slower));
    }
}

struct Measured {
    /// Of what there was for producers under the law: without a quota, of what gets through when
    /// nothing fails.
    goodput: f64,
    rejected: f64,
    lost_by_other: f64,
    slower: f64,
}

fn measured(scenario: &Scenario, law: Begin) -> Measured {
    let seeds: Vec<Vec<Counts>> = (1..=if is_quick() { 2 } else { 40 }).map(|seed| scenario.play(seed, law)).collect();
    let seconds = (scenario.seconds - scenario.count_from) * seeds.len() as f64;
    let share = |counts: &[&Counts]| {
        let (accepted, rejected) =
            counts.iter().fold((0.0, 0.0), |sum, counts| (sum.0 + counts.accepted, sum.1 + counts.rejected));
        rejected / (accepted + rejected)
    };
    let ours: Vec<&Counts> = seeds.iter().flat_map(|seed| &seed[..scenario.producers]).collect();
    let others: Vec<&Counts> = seeds.iter().filter_map(|seed| seed.last()).collect();
    let bytes = |counts: &[&Counts]| counts.iter().map(|counts| counts.bytes).sum::<f64>();
    let available = match scenario.then.or(scenario.quota) {
        Some(quota) => quota - scenario.other,
        None => {
            let calm = Scenario { noise: 0.0, ..scenario.clone() };
            let seeds: Vec<Vec<Counts>> = (1..=seeds.len() as u64).map(|seed| calm.play(seed, law)).collect();
            bytes(&seeds.iter().flat_map(|seed| &seed[..scenario.producers]).collect::<Vec<_>>()) / seconds
        }
    };
    let mut slower: Vec<f64> =
        seeds.iter().map(|seed| seed[0].bytes.min(seed[1].bytes) / (seed[0].bytes + seed[1].bytes)).collect();
    slower.sort_unstable_by(f64::total_cmp);
    Measured {
        goodput: bytes(&ours) / seconds / available,
        rejected: share(&ours),
        lost_by_other: share(&others),
        slower: slower[slower.len() / 2],
    }
}
