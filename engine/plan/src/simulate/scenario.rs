//! A scenario, and what the streams of a plan come to in it.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::demand::Demand;
use super::spread::Spread;
use super::{Limits, Model, Outcome};
use crate::Plan;
use crate::designs::{Carries, Mode, Packer, Way};
use crate::workload::{PackedLines, RecordKind};
use pixel_engine_core::compress::Codec;

/// A simulation of more lanes takes too long and too much memory.
const MAX_LANES: usize = 100_000;

/// What to play a plan's designs against.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Scenario {
    /// Lines by the second.
    pub demand: Demand,
    /// Which shard a line goes to in streams with a line a record; this engine spreads its own
    /// records evenly.
    pub keys: Spread,
    /// How much a lane's bucket holds, as the time in which it fills.
    #[serde(serialize_with = "crate::seconds")]
    pub burst: Duration,
    /// Bytes of lines that may wait in each stream; `None` for any number.
    #[serde(rename = "spool")]
    pub max_backlog: Option<f64>,
    /// How long a line may wait, for the search of the fewest lanes.
    #[serde(serialize_with = "crate::seconds")]
    pub max_delay: Duration,
    /// Shards, in place of those of the plan.
    pub shards: Option<u32>,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Scenario {
    /// The shards of the plan, which forgive a second of their limits, random keys, and a delay of
    /// at most a second.
    pub fn new(demand: Demand) -> Scenario {
        Scenario {
            demand,
            keys: Spread::Random,
            burst: Duration::from_secs(1),
            max_backlog: None,
            max_delay: Duration::from_secs(1),
            shards: None,
            seed: 1,
        }
    }
}

/// What is played: something with a limit, which several designs may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A provisioned Kinesis stream.
    Stream(Carries),
    /// Direct PUT to Firehose, in records of lines.
    DirectPut(Codec),
}

impl Target {
    /// What its lanes are.
    pub fn lanes(self) -> Lanes {
        match self {
            Target::Stream(_) => Lanes::Shards,
            Target::DirectPut(_) => Lanes::Quotas,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Target::Stream(carries) => write!(formatter, "Kinesis, {carries}"),
            Target::DirectPut(codec) => write!(formatter, "Direct PUT, {}", RecordKind::Lines(codec)),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What lanes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lanes {
    /// Shards of a stream.
    Shards,
    /// Times the Direct PUT quota.
    Quotas,
}

impl fmt::Display for Lanes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Lanes::Shards => "shards",
            Lanes::Quotas => "quotas",
        })
    }
}

/// How one target fared.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Simulated {
    /// What took the lines.
    pub what: Target,
    /// The designs that have it.
    #[serde(serialize_with = "ids")]
    pub designs: Vec<Way>,
    /// What its lanes are.
    pub lanes_are: Lanes,
    /// With the lanes of the plan, or those of the scenario.
    pub planned: Outcome,
    /// With the fewest lanes that keep the delay; `None` when no number does.
    pub smallest: Option<Outcome>,
}

fn ids<S: Serializer>(ways: &[Way], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ways.iter().map(|way| way.id()))
}

/// A scenario and how it went.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Simulation {
    /// What was played.
    pub scenario: Scenario,
    /// Everything that can refuse lines.
    pub streams: Vec<Simulated>,
}

/// The plan is too large to be simulated: usually its rate is beyond all logs, or its keys are few.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{target}: {lanes} {} are more than a simulation takes, {MAX_LANES}", target.lanes())]
#[non_exhaustive]
pub struct TooManyLanes {
    /// What has too many.
    pub target: Target,
    /// How many the plan has.
    pub lanes: f64,
}

/// Plays every target of a plan that has a limit of its own: provisioned streams and Direct PUT.
/// On-demand streams grow by rules that AWS does not state to the second, and are left out.
pub(crate) fn simulate(plan: &Plan, scenario: Scenario) -> Result<Simulation, TooManyLanes> {
    let mut streams = Vec::new();
    for carries in [Carries::Lines, Carries::Aggregates] {
        streams.extend(stream(plan, &scenario, carries)?);
    }
    for packed in plan.workload.packed() {
        if let RecordKind::Lines(codec) = packed.kind {
            streams.extend(direct_put(plan, &scenario, codec, packed)?);
        }
    }
    Ok(Simulation { streams, scenario })
}

/// The provisioned stream with such records that needs the most shards, for all designs that have
/// one.
fn stream(plan: &Plan, scenario: &Scenario, carries: Carries) -> Result<Option<Simulated>, TooManyLanes> {
    // How a Lambda function fills aggregates is not known by the second.
    let is_known = |way: Way| carries == Carries::Lines || !matches!(way, Way::Repacked(Packer::Lambda, _));
    let (ways, shards): (Vec<Way>, Vec<f64>) = plan
        .designs
        .iter()
        .filter(|design| is_known(design.way))
        .filter_map(|design| {
            let stream = design.streams.iter().find(|stream| stream.of == carries)?;
            (stream.mode == Mode::Provisioned).then_some((design.way, stream.shards.needed()))
        })
        .unzip();
    let Some(shards) = shards.into_iter().reduce(f64::max) else { return Ok(None) };
    let unpacked = PackedLines::unpacked(plan.workload.line_bytes, 0.0);
    let (packed, spread) = match carries {
        Carries::Lines => (&unpacked, scenario.keys),
        Carries::Aggregates => (&plan.workload.kpl, Spread::Even),
    };
    let model = Model { spread, ..model(plan, scenario, packed) };
    let lanes = scenario.shards.map_or(shards, f64::from);
    play(Target::Stream(carries), ways, &model, scenario.max_delay, shards, lanes).map(Some)
}

/// Direct PUT in records of lines under a codec.
fn direct_put(
    plan: &Plan,
    scenario: &Scenario,
    codec: Codec,
    packed: &PackedLines,
) -> Result<Option<Simulated>, TooManyLanes> {
    let way = Way::DirectPut(codec);
    let firehose = plan.designs.iter().find(|design| design.way == way).and_then(|design| design.firehose.as_ref());
    let Some(share) = firehose.and_then(|firehose| firehose.share_of_quota) else { return Ok(None) };
    let model = Model { limits: Limits::direct_put(&plan.setup.prices.region), ..model(plan, scenario, packed) };
    let quotas = share.ceil().max(1.0);
    play(Target::DirectPut(codec), vec![way], &model, scenario.max_delay, quotas, quotas).map(Some)
}

fn model<'a>(plan: &'a Plan, scenario: &'a Scenario, packed: &'a PackedLines) -> Model<'a> {
    Model {
        producers: plan.setup.producers,
        linger: plan.setup.linger,
        burst: scenario.burst,
        max_backlog: scenario.max_backlog,
        seed: scenario.seed,
        ..Model::new(&scenario.demand, packed, plan.workload.line_bytes)
    }
}

fn play(
    target: Target,
    designs: Vec<Way>,
    model: &Model<'_>,
    max_delay: Duration,
    planned: f64,
    lanes: f64,
) -> Result<Simulated, TooManyLanes> {
    if planned > MAX_LANES as f64 {
        return Err(TooManyLanes { target, lanes: planned });
    }
    // Sixteen times what the plan has is more than any chance asks for.
    let most = (16 * (planned as usize).max(64)).min(MAX_LANES);
    let smallest = model.smallest(max_delay, most);
    let planned = model.run(lanes as usize);
    Ok(Simulated { what: target, designs, lanes_are: target.lanes(), planned, smallest })
}
