//! What a plan comes down to: the cheapest design, what it saves and what it needs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::designs::{Caveat, Design, Mode, Packer, Way};
use crate::prices::Item;

/// The design that AWS's tracking-pixel post builds: an on-demand stream, read by Firehose, with a
/// line a record.
pub const AWS_SAMPLE: Way = Way::Lines(Mode::OnDemand);

/// The answer to what someone who plans asks first. It compares the designs that end in S3, since
/// the others leave the way from the stream to their reader. A design without all of its prices is
/// never the cheapest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// The cheapest design; `None` when none has all of its prices.
    pub cheapest: Option<Cheapest>,
    /// Designs that lack a price, and whose other charges are less than the cheapest's: with that
    /// price, they might be cheaper.
    pub undecided: Vec<Undecided>,
}

/// The cheapest design.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Cheapest {
    /// Which it is.
    pub design: Way,
    /// What it costs a month.
    pub total: f64,
    /// What it saves.
    pub saving: Option<Saving>,
    /// What it needs at the peak.
    pub needs: Needs,
    /// What is unsettled about its total, and about the one that it is compared with.
    pub caveats: BTreeSet<Caveat>,
}

/// What the cheapest design saves against [`AWS_SAMPLE`]; there is none when that lacks a price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Saving {
    /// The design that it is compared with.
    pub against: Way,
    /// What that costs a month.
    pub total: f64,
    /// The difference as a share of it: 0 when the two are the same design.
    pub share: f64,
}

/// What a design needs at the peak.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Needs {
    /// Shards of its provisioned streams, in the order in which lines pass them.
    pub shards: Vec<f64>,
    /// Streams that are on-demand and keep their shards themselves.
    pub on_demand_streams: usize,
    /// Times the Direct PUT quota of a Firehose stream, if it has one.
    pub direct_put_quotas: Option<f64>,
    /// Instances of this engine.
    pub producers: u32,
    /// Whether a Lambda function packs.
    pub lambda: bool,
    /// Cores that packing keeps busy; `None` without this engine, or when its speed is unknown.
    pub cores: Option<f64>,
    /// Bytes of memory of all instances.
    pub memory: Option<f64>,
}

/// A design that lacks a price.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Undecided {
    /// Which it is.
    pub design: Way,
    /// What it costs a month without what has no price.
    pub at_least: f64,
    /// The prices that are missing.
    pub missing: Vec<Item>,
    /// The price below which it is the cheapest, if just one is missing and there is a cheapest.
    pub cheapest_below: Option<f64>,
}

impl Answer {
    pub(crate) fn new(designs: &[Design], producers: u32) -> Answer {
        let (priced, unpriced): (Vec<&Design>, Vec<&Design>) =
            designs.iter().filter(|design| design.ends_in_s3()).partition(|design| design.unpriced().next().is_none());
        let sample = priced.iter().copied().find(|design| design.way == AWS_SAMPLE);
        let cheapest = priced
            .into_iter()
            .min_by(|one, other| one.total().0.total_cmp(&other.total().0))
            .map(|design| Cheapest::new(design, sample, producers));
        let limit = cheapest.as_ref().map(|cheapest| cheapest.total);
        let undecided = unpriced.into_iter().map(|design| Undecided::new(design, limit));
        let undecided = undecided.filter(|design| limit.is_none_or(|limit| design.at_least < limit)).collect();
        Answer { cheapest, undecided }
    }
}

impl Cheapest {
    fn new(design: &Design, sample: Option<&Design>, producers: u32) -> Cheapest {
        let (total, mut caveats) = design.total();
        let saving = sample.map(|sample| {
            let (of_sample, unsettled) = sample.total();
            caveats.extend(unsettled);
            let share = if of_sample > 0.0 { 1.0 - total / of_sample } else { 0.0 };
            Saving { against: sample.way, total: of_sample, share }
        });
        Cheapest { design: design.way, total, saving, needs: Needs::of(design, producers), caveats }
    }
}

impl Needs {
    fn of(design: &Design, producers: u32) -> Needs {
        let (provisioned, on_demand): (Vec<_>, Vec<_>) =
            design.streams.iter().partition(|stream| stream.mode == Mode::Provisioned);
        Needs {
            shards: provisioned.iter().map(|stream| stream.shards.needed()).collect(),
            on_demand_streams: on_demand.len(),
            direct_put_quotas: design.firehose.as_ref().and_then(|firehose| firehose.share_of_quota),
            producers: if design.engine.is_some() { producers } else { 0 },
            lambda: matches!(design.way, Way::Repacked(Packer::Lambda, _)),
            cores: design.engine.and_then(|engine| engine.cores),
            memory: design.engine.map(|engine| engine.memory),
        }
    }
}

impl Undecided {
    fn new(design: &Design, limit: Option<f64>) -> Undecided {
        let at_least = design.total().0;
        let unpriced: Vec<_> = design.unpriced().collect();
        let cheapest_below = match (&unpriced[..], limit) {
            ([charge], Some(limit)) => Some((limit - at_least) / charge.quantity),
            _ => None,
        };
        Undecided {
            design: design.way,
            at_least,
            missing: unpriced.iter().map(|charge| charge.item).collect(),
            cheapest_below,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::Plan;
    use crate::designs::Setup;
    use crate::prices::{BUILT_IN, PriceFile};
    use crate::rate::{Load, Rate};
    use crate::workload::Workload;

    fn plan(rate: f64, peak: f64, change: impl FnOnce(&mut Value)) -> Plan {
        let mut file: Value = serde_json::from_str(BUILT_IN).unwrap();
        change(&mut file["regions"]["us-east-1"]);
        let prices = PriceFile::parse("mine.json", &file.to_string()).unwrap().region("us-east-1").unwrap();
        let load = Load::new(Rate::per_second(rate).unwrap(), peak).unwrap();
        Plan::new(Workload::stated(800), Setup::new(load, prices))
    }

    fn total(plan: &Plan, way: Way) -> f64 {
        plan.designs.iter().find(|design| design.way == way).unwrap().total().0
    }

    #[test]
    fn nothing_that_ends_in_s3_with_all_its_prices_costs_less() {
        for rate in [0.1, 10.0, 1_000.0, 1e5, 1e6] {
            let plan = plan(rate, 2.0, |_| {});
            let cheapest = plan.answer.cheapest.as_ref().unwrap();
            let candidates = plan.designs.iter().filter(|design| design.ends_in_s3() && design.unpriced().count() == 0);
            let least = candidates.map(|design| design.total().0).fold(f64::INFINITY, f64::min);
            assert_eq!(cheapest.total, least, "{rate}");
            assert_eq!(total(&plan, cheapest.design), least, "{rate}");
            let saving = cheapest.saving.unwrap();
            assert_eq!((saving.against.id(), saving.total), ("1b", total(&plan, AWS_SAMPLE)));
            assert!((saving.total * (1.0 - saving.share) - least).abs() < 1e-9 * least, "{rate}");
        }
    }

    proptest! {
        /// Whatever prices are missing, the cheapest has all of its own, no design with all of its
        /// prices costs less, and every other one is either left undecided or costs more already.
        #[test]
        fn no_missing_price_makes_a_design_cheap(
            rate in 0.01..1e6_f64,
            peak in 1.0..500.0_f64,
            missing in proptest::collection::btree_set(0..Item::ALL.len(), 0..6),
        ) {
            let plan = plan(rate, peak, |prices| {
                for place in missing {
                    prices.as_object_mut().unwrap().remove(&Item::ALL[place].to_string());
                }
            });
            let Answer { cheapest, undecided } = &plan.answer;
            let limit = cheapest.as_ref().map_or(f64::INFINITY, |cheapest| cheapest.total);
            prop_assert!(!limit.is_nan());
            for design in plan.designs.iter().filter(|design| design.ends_in_s3()) {
                let (total, is_priced) = (design.total().0, design.unpriced().count() == 0);
                let open = undecided.iter().find(|undecided| undecided.design == design.way);
                prop_assert_eq!(open.is_some(), !is_priced && total < limit);
                prop_assert!(!is_priced || total >= limit);
                prop_assert!(open.and_then(|open| open.cheapest_below).is_none_or(|price| price > 0.0));
                if cheapest.as_ref().is_some_and(|cheapest| cheapest.design == design.way) {
                    prop_assert!(is_priced && total == limit);
                }
            }
            let share = cheapest.as_ref().and_then(|cheapest| cheapest.saving).map(|saving| saving.share);
            prop_assert!(share.is_none_or(|share| (0.0..1.0).contains(&share)));
        }
    }

    #[test]
    fn it_needs_what_its_design_needs() {
        let plan = plan(10_000.0, 2.0, |_| {});
        let cheapest = plan.answer.cheapest.unwrap();
        assert_eq!(cheapest.design.id(), "3");
        // 20,000 lines/s at the peak come through 20 shards, and 16 MB/s are 3.05 times 5 MiB/s.
        assert_eq!(cheapest.needs.shards, [20.0]);
        assert!((cheapest.needs.direct_put_quotas.unwrap() - 16e6 / 5_242_880.0).abs() < 1e-9);
        assert_eq!((cheapest.needs.producers, cheapest.needs.lambda), (1, false));
        assert!(cheapest.caveats.contains(&Caveat::SpeedUnknown), "it says what its total leaves out");
    }

    #[test]
    fn a_design_without_a_price_is_never_the_cheapest_but_says_from_which_price_on() {
        // A peak that is high enough for shards to cost more than an on-demand stream.
        const PEAK: f64 = 50.0;
        let Undecided { design, at_least, missing, cheapest_below } = {
            let plan = plan(10_000.0, PEAK, |_| {});
            let [undecided] = &plan.answer.undecided[..] else { panic!("{:?}", plan.answer) };
            undecided.clone()
        };
        assert_eq!((design, &missing[..]), (Way::Channel, &[Item::KinesisChannelGb][..]));
        let below = cheapest_below.unwrap();
        assert!(at_least > 0.0 && below > 0.0);
        let cheapest_at = |value: f64| {
            let plan = plan(10_000.0, PEAK, |prices| {
                prices["kinesis-channel-gb"] = prices["kinesis-on-demand-in-gb"].clone();
                prices["kinesis-channel-gb"]["value"] = value.into();
                prices["kinesis-channel-gb"]["confirmed"] = false.into();
            });
            assert_eq!(plan.answer.undecided, []);
            plan.answer.cheapest.unwrap()
        };
        let cheapest = cheapest_at(below * 0.999);
        assert_eq!(cheapest.design, Way::Channel);
        assert!(cheapest.caveats.contains(&Caveat::Price(Item::KinesisChannelGb)), "it says that it is not settled");
        assert_ne!(cheapest_at(below * 1.001).design, Way::Channel);
    }

    #[test]
    fn without_the_price_of_firehose_nothing_is_the_cheapest() {
        let plan = plan(10_000.0, 2.0, |prices| {
            prices.as_object_mut().unwrap().remove("firehose-gb-tier-1");
        });
        assert_eq!(plan.answer.cheapest, None);
        let undecided = &plan.answer.undecided;
        assert!(undecided.iter().all(|design| design.cheapest_below.is_none()), "there is nothing to compare with");
        assert!(undecided.iter().all(|design| design.at_least.is_finite()), "the other tiers have prices");
        let in_s3 = plan.designs.iter().filter(|design| design.ends_in_s3()).count();
        assert_eq!(undecided.len(), in_s3);
        assert!(undecided.iter().any(|design| design.missing == [Item::FirehoseGbTier1]));
    }

    #[test]
    fn a_saving_needs_the_price_of_what_it_is_compared_with() {
        let plan = plan(10_000.0, 2.0, |prices| {
            prices.as_object_mut().unwrap().remove("kinesis-on-demand-in-gb");
        });
        let cheapest = plan.answer.cheapest.unwrap();
        assert_eq!((cheapest.design.id(), cheapest.saving), ("3", None));
    }
}
