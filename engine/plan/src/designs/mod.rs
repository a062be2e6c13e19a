//! The ways of carrying lines, side by side: what each needs at the peak, and what it costs in a
//! month.
//!
//! | design | way |
//! |---|---|
//! | 1 | lines > Kinesis > Firehose, a line a record |
//! | 2 | the same with a hop (this engine under Lambda or the KCL) that packs the lines into KPL aggregates in a second stream |
//! | 3 | this engine > Firehose Direct PUT, raw |
//! | 4 | the same, compressed |
//! | 5 | this engine > Kinesis, KPL aggregates |
//! | 6 | lines > on-demand Kinesis > a channel into S3, a line a record |
//!
//! CloudFront delivers real-time logs into a Kinesis stream, a line a record, whatever reads it.
//! With [`LinesFrom::CloudFront`] that stream and CloudFront's price for each line are part of
//! every design; with [`LinesFrom::Producers`] the engine runs where the lines are made, and
//! designs 3 to 5 have no such stream.
//!
//! `model` has what a design is and what it comes to, `draft` puts one together, `cost` adds up its
//! bill.

mod cost;
mod draft;
mod model;

pub use cost::BySize;
pub(crate) use cost::by_record_size;
pub(crate) use draft::compare;
pub use model::{
    Carries, Caveat, Channel, Charge, Delay, Design, Engine, Firehose, Flow, LinesFrom, Mode, Packer, Service, Setup,
    Shards, Stream, Wait, Way,
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prices::{Item, PriceFile};
    use crate::rate::{Load, Rate};
    use crate::workload::Workload;

    /// A GB on the bill.
    const GB: f64 = 1_073_741_824.0;
    /// Thirty days, in which AWS's examples reckon, as a share of a month of 730 hours.
    const THIRTY_DAYS: f64 = 720.0 / 730.0;

    fn setup_in(region: &str, rate: f64, peak: f64) -> Setup {
        Setup::new(
            Load::new(Rate::per_second(rate).unwrap(), peak).unwrap(),
            PriceFile::built_in().region(region).unwrap(),
        )
    }

    fn setup(rate: f64, peak: f64) -> Setup {
        setup_in("us-east-1", rate, peak)
    }

    fn design(id: &str, line: u32, setup: &Setup) -> Design {
        compare(&Workload::stated(line), setup).into_iter().find(|design| design.way.id() == id).unwrap()
    }

    #[track_caller]
    fn close(got: f64, wanted: f64) {
        assert!((got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{got} instead of {wanted}");
    }

    /// From the pricing page of Firehose: "1,000 records/s of 3 KB".
    #[test]
    fn firehose_costs_what_its_pricing_page_says() {
        let design = design("1a", 3_072, &setup(1_000.0, 1.0));
        let gb: f64 = design
            .charges
            .iter()
            .filter(|charge| charge.service == Service::Firehose)
            .map(|charge| charge.quantity)
            .sum();
        assert_eq!(format!("{:.2}", gb * THIRTY_DAYS), "12359.62");
        assert_eq!(format!("{:.0}", design.cost_of(Service::Firehose).0 * THIRTY_DAYS), "358");
        assert!(design.cost_of(Service::Firehose).1.is_empty(), "nothing about it is unsettled");
    }

    /// From the pricing page of Kinesis Data Streams: 100 records/s of 35 KB are 3.4 MB/s and two
    /// PUT payload units each.
    #[test]
    fn provisioned_kinesis_costs_what_its_pricing_page_says() {
        let design = design("1a", 35 * 1_024, &setup(100.0, 1.0));
        assert_eq!(design.streams[0].shards.needed(), 4.0);
        assert_eq!(format!("{:.0}", design.cost_of(Service::Kinesis).0), "51");
    }

    #[test]
    fn a_channel_takes_the_place_of_firehose_and_has_no_price() {
        let at = setup(1_000.0, 1.0);
        let design = design("6", 800, &at);
        let [stream] = &design.streams[..] else { panic!() };
        assert_eq!((stream.of, stream.mode), (Carries::Lines, Mode::OnDemand));
        assert!(design.ends_in_s3() && design.firehose.is_none() && design.engine.is_none());
        close(design.channel.unwrap().freshness_seconds, 300.0);
        let unpriced: Vec<_> = design.unpriced().map(|charge| (charge.item, charge.quantity)).collect();
        let [(Item::KinesisChannelGb, gb)] = unpriced[..] else { panic!("{unpriced:?}") };
        close(gb, 800_000.0 * 2_628_000.0 / GB);
        // The stream takes 1,024 B a line, and nobody reads it.
        close(design.cost_of(Service::Kinesis).0, 730.0 * 0.04 + 1_024_000.0 * 2_628_000.0 / GB * 0.08);
        let caveats = design.total().1;
        assert!(caveats.contains(&Caveat::NoPrice(Item::KinesisChannelGb)));
        assert!(caveats.contains(&Caveat::BytesPerGb(Service::Kinesis)), "which no source settles");
    }

    #[test]
    fn what_has_no_price_is_left_out_and_named() {
        // Frankfurt has the price of a shard, but not that of a GB of Firehose.
        let at = setup_in("eu-central-1", 1_000.0, 1.0);
        let design = design("1a", 800, &at);
        let (firehose, caveats) = design.cost_of(Service::Firehose);
        assert_eq!((firehose, caveats.contains(&Caveat::NoPrice(Item::FirehoseGbTier1))), (0.0, true));
        close(design.cost_of(Service::Kinesis).0, 730.0 * 0.018 + 1_000.0 * 2.628 * 0.0175);
        let words = Caveat::NoPrice(Item::FirehoseGbTier1).explain(&at.prices);
        assert!(words.contains("firehose-gb-tier-1") && words.contains("eu-central-1"), "{words}");
        let by_size = by_record_size(&Workload::stated(800), &at);
        assert!(by_size.iter().all(|size| size.firehose.is_none() && size.put_payload_units.is_some()));
    }

    #[test]
    fn a_line_a_record_by_hand() {
        // 10,000 lines/s of 800 B, 20,000 at the peak.
        let lines = 10_000.0 * 2_628_000.0;
        let design = design("1a", 800, &setup(10_000.0, 2.0));
        let [stream] = &design.streams[..] else { panic!() };
        close(stream.shards.by_bytes, 20_000.0 * 800.0 / 1_048_576.0);
        close(stream.shards.by_records, 20.0);
        close(stream.shards.by_readers, 20_000.0 * 800.0 / 2_097_152.0);
        assert_eq!(stream.shards.needed(), 20.0);
        assert_eq!(stream.calls, None, "CloudFront makes them");
        close(design.cost_of(Service::CloudFront).0, lines / 1e6 * 0.01);
        close(design.cost_of(Service::Kinesis).0, 20.0 * 730.0 * 0.015 + lines / 1e6 * 0.014);
        // 5,120 B a line: 125,312.8 GB, all in the first tier.
        close(design.cost_of(Service::Firehose).0, lines * 5_120.0 / GB * 0.029);
        // 8 MB/s over 20 shards: 5 MiB in 13.1 s each.
        let firehose = design.firehose.as_ref().unwrap();
        close(firehose.buffer_seconds, 5_242_880.0 / 400_000.0);
        close(design.cost_of(Service::S3).0, 8e6 / 5_242_880.0 * 2_628.0 * 0.005);
        let parts: f64 = Service::ALL.iter().map(|&service| design.cost_of(service).0).sum();
        close(design.total().0, parts);
        close(design.delay_seconds(), 0.2);
    }

    #[test]
    fn an_on_demand_stream_rounds_each_record_up_to_1_kib() {
        for (line, billed) in [(1, 1_024.0), (1_024, 1_024.0), (1_025, 2_048.0), (5_120, 5_120.0)] {
            let design = design("1b", line, &setup(1_000.0, 1.0));
            let seconds = 1_000.0 * 2_628_000.0 / GB;
            let (into, out) = (billed * seconds * 0.08, f64::from(line) * seconds * 0.04);
            close(design.cost_of(Service::Kinesis).0, 730.0 * 0.04 + into + out);
        }
    }

    #[test]
    fn tiers_are_charged_by_volume() {
        // 5,120 B a line at 1e6 lines/s are 12,531,280.5 GB a month; the tiers of 500 TB and 1.5 PB
        // have 1,024 GB a TB.
        let design = design("1a", 100, &setup(1e6, 1.0));
        let rest = 1e6 * 2_628_000.0 * 5_120.0 / GB - 2_048_000.0;
        let amount = 512_000.0 * 0.029 + 1_536_000.0 * 0.025 + rest * 0.02;
        let (firehose, caveats) = design.cost_of(Service::Firehose);
        close(firehose, amount);
        let unsettled = [Item::FirehoseGbTier2, Item::FirehoseGbTier3].map(Caveat::Price);
        assert_eq!(caveats.into_iter().collect::<Vec<_>>(), unsettled, "and the size of a GB is settled");
    }

    #[test]
    fn full_records_are_billed_as_they_are() {
        let at = setup(100_000.0, 1.0);
        let design = design("3", 800, &at);
        let firehose = design.firehose.as_ref().unwrap();
        // Records of 1,023,600 B are billed 1,024,000 B.
        close(firehose.billed_bytes_per_line, 800.0 * 1_024_000.0 / 1_023_600.0);
        close(firehose.peak.records, 80e6 / 1_023_600.0);
        // Three of them in base64 fit into a call.
        close(firehose.calls.unwrap(), 80e6 / 1_023_600.0 / 3.0);
        close(firehose.share_of_quota.unwrap(), 80e6 / 5_242_880.0);
    }

    #[test]
    fn at_low_rates_records_are_sent_before_they_are_full() {
        // 10 lines/s and a linger of 1 s: 8,000 B a record, billed 10,240 B.
        let mut at = setup(10.0, 1.0);
        let design_at = |at: &Setup| design("3", 800, at);
        let firehose = design_at(&at).firehose.unwrap();
        close(firehose.peak.record.data, 8_000.0);
        close(firehose.billed_bytes_per_line, 1_024.0);
        close(firehose.calls.unwrap(), 1.0);
        close(firehose.buffer_seconds, 300.0);
        // Shared by ten, it is a line a record.
        at.producers = 10;
        close(design_at(&at).firehose.unwrap().billed_bytes_per_line, 5_120.0);
        // And with more patience, full ones.
        (at.producers, at.linger) = (1, Duration::from_secs(600));
        close(design_at(&at).firehose.unwrap().peak.record.data, 1_023_600.0);
        close(design_at(&at).delay.iter().find(|delay| delay.part == Wait::Filling).unwrap().seconds, 127.95);
    }

    #[test]
    fn readers_need_shards_and_time() {
        let mut at = setup(20_000.0, 1.0);
        at.consumers = 4;
        let [.., stream] = &design("5a", 800, &at).streams[..] else { panic!() };
        close(stream.shards.by_readers, 2.0 * stream.shards.by_bytes);
        close(design("5a", 800, &at).delay_seconds(), 0.2 + fill(800.0, 20_000.0) + 0.8);
        // Enhanced fan-out costs money instead.
        let shared = design("5a", 800, &setup(20_000.0, 1.0)).cost_of(Service::Kinesis).0;
        let at = Setup { fan_out: 3, ..setup(20_000.0, 1.0) };
        let design = design("5a", 800, &at);
        let [.., stream] = &design.streams[..] else { panic!() };
        let bytes = stream.peak.bytes + stream.peak.records * 4.0;
        let more = 3.0 * (stream.shards.needed() * 730.0 * 0.015 + bytes * 2_628_000.0 / GB * 0.013);
        close(design.cost_of(Service::Kinesis).0, shared + more);
    }

    fn fill(line: f64, rate: f64) -> f64 {
        Workload::stated(line as u32).kpl.full().lines / (line * rate)
    }

    #[test]
    fn lines_of_ones_own_need_no_stream_before_the_engine() {
        let at = Setup { lines_from: LinesFrom::Producers, ..setup(1_000.0, 1.0) };
        for (id, streams) in [("1a", 1), ("2c", 2), ("3", 0), ("5b", 1)] {
            let design = design(id, 800, &at);
            assert_eq!(design.streams.len(), streams, "{id}");
            assert_eq!(design.cost_of(Service::CloudFront).0, 0.0);
        }
        // 1,000 records/s in calls of at most 500.
        close(design("1a", 800, &at).streams[0].calls.unwrap(), 2.0);
    }

    #[test]
    fn what_is_unsettled_stays_with_the_figure() {
        let at = setup(1_000.0, 1.0);
        let total = |id| design(id, 800, &at).total().1;
        assert!(total("2a").contains(&Caveat::AggregateMeteredAsOne) && total("2a").contains(&Caveat::LambdaSpeed));
        assert!(design("2c", 800, &at).cost_of(Service::Firehose).1.contains(&Caveat::AggregateMeteredAsOne));
        assert!(!total("1a").contains(&Caveat::AggregateMeteredAsOne));
        assert!(total("3").contains(&Caveat::SpeedUnknown), "nothing was measured");
        assert!(design("5a", 800, &at).cost_of(Service::Kinesis).1.is_empty(), "every price of it is confirmed");
        for caveat in total("2a").into_iter().chain(total("3")) {
            assert!(caveat.explain(&at.prices).len() > 20);
        }
    }

    #[test]
    fn the_cost_by_record_size_has_the_steps_of_the_rounding() {
        let sizes = by_record_size(&Workload::stated(1_024), &setup(1_000.0, 1.0));
        let lines = 1_000.0 * 2_628_000.0;
        assert_eq!((sizes[0].bytes, sizes[4].bytes, sizes[5].bytes), (1_024.0, 5_120.0, 6_144.0));
        let firehose = |place: usize| sizes[place].firehose.unwrap();
        close(firehose(0), lines * 5_120.0 / GB * 0.029);
        close(firehose(4), lines * 1_024.0 / GB * 0.029);
        close(firehose(5), lines / 6.0 * 10_240.0 / GB * 0.029);
        close(sizes[0].on_demand.unwrap(), sizes[5].on_demand.unwrap());
        close(sizes[0].put_payload_units.unwrap(), 5.0 * sizes[4].put_payload_units.unwrap());
        assert!(sizes.last().unwrap().bytes > 1_000_000.0);
    }

    #[test]
    fn the_region_sets_the_quota() {
        let share = |region: &str| {
            let mut at = setup(100_000.0, 1.0);
            at.prices.region = region.to_owned();
            design("3", 800, &at).firehose.unwrap().share_of_quota.unwrap()
        };
        close(share("eu-central-1"), 5.0 * share("us-east-1"));
    }
}
