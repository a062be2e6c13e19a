//! Capacity and cost, before anyone buys a shard.
//!
//! ```text
//! prices ─────────────────────────┐
//! sample ──► measure ──► workload ─┼──► designs ──► simulate
//! rate ───────────────────────────┘
//! ```
//! [`measure`] packs a sample of the user's own log, [`designs`] says what each way of carrying
//! such lines at such a rate needs and costs, [`answer`] which of them is the cheapest, and
//! [`simulate`] plays a day of it against the limits. Amounts are bytes, seconds, and lines or records a second. `docs/capacity.md` has the
//! formulas and the source of each limit.
//!
//! ```
//! use pixel_engine_plan::Plan;
//! use pixel_engine_plan::designs::Setup;
//! use pixel_engine_plan::prices::PriceFile;
//! use pixel_engine_plan::rate::Load;
//! use pixel_engine_plan::workload::Workload;
//!
//! let load = Load::new("20000/s".parse()?, 2.0)?;
//! let plan = Plan::new(Workload::stated(800), Setup::new(load, PriceFile::built_in().region("us-east-1")?));
//! let cheapest = plan.answer.cheapest.expect("us-east-1 has the prices");
//! assert_eq!(cheapest.design.id(), "3");
//! assert!(cheapest.saving.unwrap().share > 0.5, "packed lines cost less");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod answer;
pub mod designs;
pub mod measure;
pub mod prices;
pub mod rate;
pub mod simulate;
pub mod template;
pub mod workload;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Serialize, Serializer};

use answer::Answer;
use designs::{BySize, Caveat, Design, Setup};
use simulate::{Scenario, Simulation, TooManyLanes};
use workload::Workload;

/// A plan: every design for some lines at some rate.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What it comes down to.
    pub answer: Answer,
    /// The lines.
    pub workload: Workload,
    /// The rate, the prices, and the rest that was asked for.
    pub setup: Setup,
    /// The designs, in the order of their numbers.
    pub designs: Vec<Design>,
    /// What records of each size cost.
    pub by_record_size: Vec<BySize>,
    /// Everything unsettled that a figure depends on, each once.
    pub caveats: Vec<Explained>,
    /// A day of it, when one was simulated.
    pub simulation: Option<Simulation>,
}

/// Something unsettled, in words.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Explained {
    /// What it is.
    pub caveat: Caveat,
    /// What is unsettled, and what was assumed.
    pub explanation: String,
}

impl Plan {
    /// Compares the designs.
    pub fn new(workload: Workload, setup: Setup) -> Plan {
        let designs = designs::compare(&workload, &setup);
        let caveats: BTreeSet<Caveat> = designs.iter().flat_map(|design| design.total().1).collect();
        let explained = |caveat: Caveat| Explained { caveat, explanation: caveat.explain(&setup.prices) };
        let caveats = caveats.into_iter().map(explained).collect();
        let by_record_size = designs::by_record_size(&workload, &setup);
        let answer = Answer::new(&designs, setup.producers);
        Plan { answer, caveats, workload, setup, designs, by_record_size, simulation: None }
    }

    /// Plays a scenario against the streams of the designs, into [`Plan::simulation`].
    ///
    /// # Errors
    /// The plan has more shards or quotas than a simulation takes.
    pub fn simulate(&mut self, scenario: Scenario) -> Result<(), TooManyLanes> {
        self.simulation = Some(simulate::simulate(self, scenario)?);
        Ok(())
    }
}

/// A time as JSON has it: a number of seconds.
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
