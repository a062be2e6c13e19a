//! `kinesis://` against the strict fake: shards, quotas, resharding, limits, faults, errors.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fake_aws::{Action, Delivered, Distribution, FakeAws, Fault, RecordFailure, Shard, ShardQuota, Stream};
use pixel_engine::kpl::{Decoded, decode};
use serde_json::json;

use crate::support::{RequestFault, Run, Seen, Workspace, id_in, lines, log, request_faults, run};

const LINES: u64 = 4_000;

/// `ingest a.log --to kinesis://hits` with a log of so many lines.
fn command(aws: &FakeAws, workspace: &Workspace, count: u64, arguments: &[&str]) -> std::process::Command {
    workspace.write("a.log", &log("realtime-46", count));
    let mut command = workspace.ingest_command(&["a.log", "--to", "kinesis://hits"]);
    command.args(arguments).envs(aws.environment()).env_remove("AWS_PROFILE");
    command
}

fn ingest_lines(aws: &FakeAws, count: u64, arguments: &[&str]) -> Run {
    let workspace = Workspace::new();
    workspace.ingest_with(&mut command(aws, &workspace, count, arguments), b"")
}

fn ingest(aws: &FakeAws, arguments: &[&str]) -> Run {
    ingest_lines(aws, LINES, arguments)
}

fn spawn(aws: &FakeAws, workspace: &Workspace, count: u64, arguments: &[&str]) -> Child {
    command(aws, workspace, count, arguments).spawn().expect("it starts")
}

#[track_caller]
fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of a record that is an aggregate or a line by itself. A consumer of the shard gets all
/// of them.
#[track_caller]
fn unpacked(record: &Delivered, shards: &[Shard]) -> Vec<u8> {
    let Decoded::Aggregate(aggregate) = decode(&record.data) else { return record.data.to_vec() };
    let id = record.shard_id.as_ref().expect("a shard took it");
    let shard = shards.iter().find(|shard| shard.id == *id).expect("it is of the stream");
    assert!(aggregate.delivered_within(&shard.hash_keys), "{id} does not have the hash keys of what it got");
    aggregate.records().flat_map(|record| record.data.to_vec()).collect()
}

/// The lines of all records.
#[track_caller]
pub(crate) fn delivered_lines(stream: &Stream) -> Vec<u8> {
    let shards = stream.shards();
    stream.delivered().iter().flat_map(|record| unpacked(record, &shards)).collect()
}

#[track_caller]
fn everything_once(aws: &FakeAws, stream: &Stream, count: u64) {
    let mut seen = Seen::new(count);
    seen.ids_in(&delivered_lines(stream));
    seen.all();
    no_violations(aws);
}

#[track_caller]
fn no_violations(aws: &FakeAws) {
    assert_eq!(aws.counters().violations, Vec::<String>::new());
}

/// Bytes that each shard took, keys included.
fn by_shard(stream: &Stream) -> BTreeMap<Arc<str>, usize> {
    let mut shards = BTreeMap::new();
    for record in stream.delivered() {
        *shards.entry(record.shard_id.clone().expect("a shard took it")).or_default() += size(&record);
    }
    shards
}

fn size(record: &Delivered) -> usize {
    record.data.len() + record.partition_key.as_ref().map_or(0, |key| key.len())
}

/// The records of each request.
fn requests(stream: &Stream) -> Vec<Vec<Delivered>> {
    let mut requests: BTreeMap<u64, Vec<Delivered>> = BTreeMap::new();
    for record in stream.delivered() {
        requests.entry(record.request).or_default().push(record);
    }
    requests.into_values().collect()
}

#[test]
fn every_line_arrives_once_in_aggregates_spread_evenly_over_the_shards() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 7);
    let run = ingest(&aws, &[]).ok();
    everything_once(&aws, &hits, LINES);
    let delivered = hits.delivered();
    assert!(delivered.iter().all(|record| matches!(decode(&record.data), Decoded::Aggregate(_))));
    assert!(delivered.iter().all(|record| size(record) <= 51_200));
    let mut counts = BTreeMap::new();
    delivered.iter().for_each(|record| *counts.entry(record.shard_id.clone()).or_insert(0) += 1);
    let (least, most) = (counts.values().min(), counts.values().max());
    assert!(counts.len() == 7 && most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
    let summary = run.summary();
    assert_eq!((summary.lines_shipped, summary.records), (LINES, delivered.len() as u64));
    let shipping = summary.shipping.expect("it was shipped");
    assert_eq!((shipping.requests_retried, shipping.throttles), (0, 0));
    assert_eq!((shipping.records_in_other_shard, shipping.shard_map_refreshes), (0, 0));
}

#[test]
fn requests_have_at_most_500_records_and_the_bytes_that_were_allowed() {
    const MIB: usize = 1 << 20;
    let cases: [(&[&str], usize, usize); 4] = [
        // Some four lines each: 500 of them are far from 5 MiB.
        (&["--record-size", "4096"], 500, 5 * MIB),
        (&["--record-size", "256KiB"], 500, 5 * MIB),
        (&["--record-size", "256KiB", "--request-size", "10MiB"], 500, 10 * MIB),
        (&["--record-size", "256KiB", "--request-size", "2MiB"], 500, 2 * MIB),
    ];
    for (arguments, most_records, most_bytes) in cases {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 3);
        hits.quota(ShardQuota::UNLIMITED).request_limit_mib(most_bytes.div_ceil(MIB));
        ingest_lines(&aws, 30_000, &[arguments, &["--rate-limit", "none"]].concat()).ok();
        everything_once(&aws, &hits, 30_000);
        let requests = requests(&hits);
        let bytes = |records: &Vec<Delivered>| records.iter().map(size).sum::<usize>();
        let (records, bytes) = (requests.iter().map(Vec::len).max(), requests.iter().map(bytes).max());
        let (records, bytes) = (records.expect("requests"), bytes.expect("requests"));
        assert!(records <= most_records && bytes <= most_bytes, "{arguments:?}: {records} records, {bytes} bytes");
        // And they are filled.
        assert!(records == most_records || bytes > most_bytes - (256 << 10), "{arguments:?}: {records}, {bytes}");
    }
    let error = ingest(&FakeAws::start(), &["--request-size", "11MiB"]).exits(2);
    error.says(&["--request-size", "PutRecords"]);
}

#[test]
fn only_the_records_that_failed_are_sent_again() {
    for (failure, code, in_doubt) in [
        (RecordFailure::Throttled, "ProvisionedThroughputExceededException", 0),
        (RecordFailure::Internal, "InternalFailure", 3),
    ] {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 4);
        hits.fault(Fault::FailRecords { indices: vec![0, 3, 5], failure });
        let run = ingest(&aws, &["--concurrency", "1"]).ok();
        everything_once(&aws, &hits, LINES);
        let shipping = run.summary().shipping.expect("it was shipped");
        assert_eq!(shipping.records_failed, BTreeMap::from([(code.to_owned(), 3)]));
        assert_eq!((shipping.requests_retried, shipping.records_possibly_duplicated), (1, in_doubt));
        assert!(requests(&hits).iter().any(|records| records.len() == 3), "{failure:?}: three alone");
    }
}

#[test]
fn what_may_have_arrived_is_counted_by_record() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 4);
    hits.quota(ShardQuota::UNLIMITED).fail_records(0.3, 7);
    let run = ingest(&aws, &["--record-size", "8KiB"]).ok();
    everything_once(&aws, &hits, LINES);
    let shipping = run.summary().shipping.expect("it was shipped");
    let internal = shipping.records_failed["InternalFailure"];
    assert!(internal > 20 && shipping.records_failed["ProvisionedThroughputExceededException"] > 20);
    assert_eq!(shipping.records_possibly_duplicated, internal);
    assert_eq!(aws.counters().records_failed, shipping.records_failed.values().sum::<u64>());
}

#[test]
fn whatever_the_network_does_nothing_is_lost() {
    for RequestFault { fault, counted_as, stored } in request_faults() {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 4);
        hits.quota(ShardQuota::UNLIMITED).fault(fault.clone());
        let run = ingest(&aws, &["--request-timeout", "1s"]).ok();
        let shipping = run.summary().shipping.expect("it was shipped");
        let failed = shipping.requests_failed.keys().next().unwrap_or_else(|| panic!("{fault:?}: {}", run.stderr));
        assert!(failed.contains(counted_as), "{fault:?}: {failed}");
        if stored {
            // It arrived twice, and that is said.
            assert!(shipping.records_possibly_duplicated > 0, "{fault:?}");
            let records = hits.delivered().len() as u64;
            assert_eq!(records, run.summary().records + shipping.records_possibly_duplicated, "{fault:?}");
            let mut once: Vec<Vec<u8>> = hits.delivered().iter().map(|record| record.data.to_vec()).collect();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len() as u64, run.summary().records, "{fault:?}");
            no_violations(&aws);
        } else {
            everything_once(&aws, &hits, LINES);
        }
    }
}

#[test]
fn a_fault_while_the_stream_is_looked_at_is_waited_out() {
    for action in [Action::DescribeStreamSummary, Action::ListShards] {
        for fault in [
            Fault::limit_exceeded(),
            Fault::internal_failure(),
            Fault::Malformed,
            Fault::Truncated,
            Fault::ResetAfterBody { stored: false },
        ] {
            let aws = FakeAws::start();
            let hits = aws.stream("hits", 4);
            hits.fault_on(action, fault.clone()).fault_on(action, fault);
            ingest(&aws, &[]).ok();
            everything_once(&aws, &hits, LINES);
        }
    }
}

#[test]
fn a_stream_that_is_dead_from_the_start_is_kept_for_in_the_spool() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 4);
    aws.down();
    let kept = ["--spool", "spool", "--give-up-after", "1s", "--record-size", "8KiB"];
    let kept_run = workspace.ingest_with(&mut command(&aws, &workspace, LINES, &kept), b"").exits(3);
    kept_run.says(&["kinesis://hits", "going on, as there is a spool"]);
    assert_eq!((kept_run.summary().lines_spooled, kept_run.summary().lines_undelivered), (LINES, 0));

    // What keeps lines of a value in one shard has to know the shards.
    let by_value = [&kept[..], &["--partition-by", "c-ip"]].concat();
    let failed = workspace.ingest_with(&mut command(&aws, &workspace, LINES, &by_value), b"").exits(1);
    failed.says(&["kinesis://hits", "ConnectionFailed"]);

    aws.up();
    let mut ship = workspace.command(&["ship", "spool", "--to", "kinesis://hits"]);
    run(ship.envs(aws.environment()).env_remove("AWS_PROFILE"), b"").ok();
    // Each aggregate is whole in its shard, which `everything_once` looks at, and all shards get
    // their share.
    everything_once(&aws, &hits, LINES);
    let shares = by_shard(&hits);
    let (least, most) = (shares.values().min(), shares.values().max());
    assert!(shares.len() == 4 && most.zip(least).is_some_and(|(most, least)| *most < 2 * least), "{shares:?}");
}

#[test]
fn a_stream_may_be_split_and_merged_in_the_middle() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 3);
    let count = 24_000;
    let child = spawn(&aws, &workspace, count, &[]);
    wait_for("records", || hits.counts().records > 40);
    hits.split_shard("shardId-000000000001");
    wait_for("the new map", || aws.counters().requests_of(Action::ListShards) > 1);
    // Seconds later at the rate of three shards: the map is read once a second at most.
    wait_for("records of the new shards", || hits.counts().records > 250);
    hits.merge_shards("shardId-000000000003", "shardId-000000000000");
    let run = workspace.wait(child).ok();
    everything_once(&aws, &hits, count);
    let shipping = run.summary().shipping.expect("it was shipped");
    assert!(shipping.records_in_other_shard >= 2, "{shipping:?}");
    assert!(shipping.shard_map_refreshes >= 2, "{shipping:?}");
    // Read at the start and when the shards were others, not with every record.
    let listed = aws.counters().requests_of(Action::ListShards);
    assert!(listed == 1 + shipping.shard_map_refreshes && listed <= 6, "{listed}");
    for shard in hits.shards().iter().filter(|shard| shard.open) {
        assert!(by_shard(&hits).contains_key(&shard.id), "nothing came to {}", shard.id);
    }
}

#[test]
fn a_map_that_cannot_be_read_is_not_asked_for_with_every_request() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 3);
    let child = spawn(&aws, &workspace, LINES * 2, &["--record-size", "8KiB"]);
    wait_for("records", || hits.counts().records > 40);
    aws.deny(&aws.credentials().access_key, Action::ListShards);
    hits.split_shard("shardId-000000000001");
    let run = workspace.wait(child).ok();
    everything_once(&aws, &hits, LINES * 2);
    let shipping = run.summary().shipping.expect("it was shipped");
    assert!(shipping.records_in_other_shard > 10 && shipping.shard_map_refreshes == 0, "{shipping:?}");
    assert!(aws.counters().requests_of(Action::ListShards) <= 6, "{:?}", aws.counters());
    run.says(&["map of shards is out of date", "kinesis:ListShards"]);
}

#[test]
fn a_stream_that_begins_to_ignore_keys_ends_a_run_of_aggregates() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 4);
    let child = spawn(&aws, &workspace, 20_000, &[]);
    wait_for("records", || hits.counts().records > 40);
    hits.distribution(Distribution::Auto);
    let run = workspace.wait(child).exits(1);
    run.says(&["AUTO", "--container lines"]);
    assert!(run.summary().lines_undelivered > 0);
    // What a consumer would have dropped does not count as shipped.
    let shards = hits.shards();
    let is_whole = |record: &&Delivered| match decode(&record.data) {
        Decoded::Aggregate(aggregate) => {
            let shard = shards.iter().find(|shard| Some(&shard.id) == record.shard_id.as_ref()).expect("a shard");
            aggregate.delivered_within(&shard.hash_keys)
        }
        _ => true,
    };
    assert!(run.summary().records <= hits.delivered().iter().filter(is_whole).count() as u64);
    no_violations(&aws);
}

#[test]
fn a_stream_that_ignores_keys_takes_lines_and_no_aggregates() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 4);
    hits.distribution(Distribution::Auto);
    ingest(&aws, &[]).exits(1).says(&["kinesis://hits", "AUTO", "--container lines", "USER_PARTITION_KEY"]);
    let run = ingest(&aws, &["--container", "lines", "--record-size", "50KiB"]).ok();
    everything_once(&aws, &hits, LINES);
    // The shards that it chose say nothing about the map.
    let shipping = run.summary().shipping.expect("it was shipped");
    assert_eq!((shipping.records_in_other_shard, shipping.shard_map_refreshes), (0, 0));
    assert_eq!(aws.counters().requests_of(Action::ListShards), 1);
}

/// Bytes a second from the first record on, and what was turned away.
fn at_full_speed(aws: &FakeAws, count: u64, arguments: &[&str]) -> (f64, u64) {
    let begun = Instant::now();
    let run = ingest_lines(aws, count, arguments).ok();
    let summary = run.summary();
    let shipping = summary.shipping.expect("it was shipped");
    (summary.payload_bytes as f64 / begun.elapsed().as_secs_f64(), shipping.throttles)
}

#[test]
fn two_shards_are_used_to_their_quota_and_hardly_past_it() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 2);
    let (rate, throttles) = at_full_speed(&aws, 12_000, &[]);
    everything_once(&aws, &hits, 12_000);
    let rate = rate / f64::from(1 << 20);
    assert!((1.7..2.6).contains(&rate), "{rate} MiB/s");
    assert!(throttles <= 4, "{throttles} of {} records", hits.delivered().len());
}

#[test]
fn a_thousand_small_records_a_second_are_a_shard_s_quota_too() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 2);
    let begun = Instant::now();
    // A line each.
    let run = ingest(&aws, &["--container", "lines", "--record-size", "1024", "--on-bad-line", "skip"]).ok();
    let seconds = begun.elapsed().as_secs_f64();
    let rate = hits.delivered().len() as f64 / seconds;
    assert!((1_000.0..3_100.0).contains(&rate), "{rate} records/s");
    let throttles = run.summary().shipping.expect("it was shipped").throttles;
    assert!(throttles < hits.delivered().len() as u64 / 50, "{throttles}");
    no_violations(&aws);
}

#[test]
fn a_hot_shard_gets_its_quota_and_no_more() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 4);
    // Most lines have the status 200.
    let run = ingest(&aws, &["--partition-by", "sc-status"]).ok();
    everything_once(&aws, &hits, LINES);
    let shards = by_shard(&hits);
    let (most, all) = (*shards.values().max().expect("shards"), shards.values().sum::<usize>());
    assert!(most * 10 > all * 8, "{shards:?}");
    let throttles = run.summary().shipping.expect("it was shipped").throttles;
    assert!(throttles <= 4, "{throttles} of {} records", hits.delivered().len());
}

#[test]
fn a_shard_that_takes_less_than_its_quota_is_found_out() {
    // Another producer has three quarters of it; without a limit of its own, ours begins far too
    // fast.
    for limit in [&[][..], &["--rate-limit", "none"]] {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 4);
        hits.quota(ShardQuota { bytes: Some(256 << 10), records: Some(1_000) });
        let (rate, throttles) = at_full_speed(&aws, 6_000, limit);
        everything_once(&aws, &hits, 6_000);
        let accepted = hits.delivered().len() as u64;
        // Most of them in the first second, when there was nothing to go by.
        assert!(throttles > 0 && throttles * 2 < accepted * 5, "{limit:?}: {throttles} throttles, {accepted} records");
        assert!(rate > f64::from(1 << 19), "{limit:?}: {rate} of 1 MiB/s");
    }
}

#[test]
fn the_list_of_shards_may_have_many_pages() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 23);
    hits.shards_per_page(5);
    hits.split_shard("shardId-000000000004");
    let run = ingest(&aws, &["--record-size", "16KiB"]).ok();
    everything_once(&aws, &hits, LINES);
    assert_eq!(aws.counters().requests_of(Action::ListShards), 5);
    assert_eq!(run.summary().shipping.expect("it was shipped").records_in_other_shard, 0);
    assert_eq!(by_shard(&hits).len(), 24);
    let checked = check(&aws, "kinesis://hits", &[]).ok();
    assert!(text(&checked).contains("24 open"), "{}", text(&checked));
}

#[test]
fn records_are_no_larger_than_the_stream_takes() {
    let aws = FakeAws::start();
    let hits = aws.stream("hits", 2);
    hits.quota(ShardQuota::UNLIMITED);
    let arguments = ["--record-size", "2MiB", "--rate-limit", "none"];
    ingest(&aws, &arguments).exits(1).says(&["1048576 B", "--record-size is 2097152", "MaxRecordSizeInKiB"]);
    hits.record_limit_kib(2_048);
    ingest(&aws, &arguments).ok();
    everything_once(&aws, &hits, LINES);
    assert!(hits.delivered().iter().any(|record| size(record) > 2_000_000));
    // A record larger than a request is meant to be goes alone.
    let large = FakeAws::start();
    let hits = large.stream("hits", 2);
    hits.quota(ShardQuota::UNLIMITED).record_limit_kib(10_240);
    let arguments = ["--record-size", "10MiB", "--request-size", "5MiB", "--rate-limit", "none"];
    ingest_lines(&large, 30_000, &arguments).ok();
    everything_once(&large, &hits, 30_000);
    assert!(hits.delivered().iter().any(|record| size(record) > 10_000_000));
}

#[test]
fn lines_go_to_kinesis_with_keys_compressed_or_not() {
    for compress in ["none", "zstd", "gzip"] {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 3);
        let arguments = ["--container", "lines", "--record-size", "100KiB", "--compress", compress];
        let run = ingest(&aws, &arguments).ok();
        let mut seen = Seen::new(LINES);
        for record in hits.delivered() {
            assert!(record.partition_key.is_some() && record.explicit_hash_key.is_some());
            let text = match compress {
                "zstd" => zstd::decode_all(&record.data[..]).expect("a zstd frame"),
                "gzip" => crate::support::gunzip(&record.data),
                _ => record.data.to_vec(),
            };
            seen.ids_in(&text);
        }
        seen.all();
        no_violations(&aws);
        assert!(by_shard(&hits).len() == 3, "{:?}", by_shard(&hits));
        assert_eq!(run.summary().shipping.expect("it was shipped").records_in_other_shard, 0);
    }
}

/// The value that a line is partitioned by.
fn value_in<'a>(line: &'a [u8], selector: &str) -> Option<&'a [u8]> {
    let column = |number| line.split(|&byte| byte == b'\t').nth(number).filter(|value| *value != b"-");
    match selector {
        "c-ip" => column(1),
        "cs-uri-query" => column(20),
        "query.e" => column(20)?.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"e=")),
        _ => panic!("{selector}"),
    }
}

#[test]
fn lines_of_a_key_are_in_one_shard_and_in_order() {
    let text = log("realtime-46", LINES);
    let place: BTreeMap<&[u8], usize> =
        lines(&text).enumerate().map(|(place, line)| (id_in(line).expect("an id"), place)).collect();
    for selector in ["cs-uri-query", "query.e", "c-ip"] {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 6);
        aws.latency(Duration::from_millis(20));
        let arguments = ["--partition-by", selector, "--record-size", "8KiB", "--concurrency", "4", "--threads", "2"];
        ingest(&aws, &arguments).ok();
        everything_once(&aws, &hits, LINES);
        let shards = hits.shards();
        let mut keys: BTreeMap<Vec<u8>, (Arc<str>, usize)> = BTreeMap::new();
        let mut with_key = 0;
        for record in hits.delivered() {
            let shard = record.shard_id.clone().expect("a shard took it");
            for line in lines(&unpacked(&record, &shards)) {
                let Some(key) = value_in(line, selector) else { continue };
                with_key += 1;
                let place = place[id_in(line).expect("an id")];
                if let Some((before, last)) = keys.insert(key.to_vec(), (shard.clone(), place)) {
                    assert_eq!(before, shard, "{selector}: {} is in two shards", String::from_utf8_lossy(key));
                    assert!(last < place, "{selector}: line {place} came after line {last}");
                }
            }
        }
        assert!(with_key > LINES / 2 && keys.len() > 2, "{selector}: {with_key} lines, {} keys", keys.len());
        assert!(requests(&hits).len() > 8, "{selector}: {} requests", requests(&hits).len());
    }
    let run = ingest(&FakeAws::start(), &["--partition-by", "c-ip", "--container", "lines"]).exits(2);
    run.says(&["--partition-by", "--container kpl"]);
}

#[test]
fn streams_of_every_kind_take_records() {
    type Prepare = fn(&Stream) -> &Stream;
    let kinds: [(&str, Prepare); 3] = [
        ("on-demand", |stream| stream.on_demand(true)),
        ("encrypted (alias/aws/kinesis)", |stream| stream.encrypted(true)),
        ("UPDATING", |stream| stream.status("UPDATING")),
    ];
    for (what, prepare) in kinds {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 4);
        prepare(&hits);
        let checked = check(&aws, "kinesis://hits", &[]).ok();
        assert!(text(&checked).contains(what), "{what}: {}", text(&checked));
        ingest(&aws, &[]).ok();
        everything_once(&aws, &hits, LINES);
    }
}

#[test]
fn an_arn_names_the_stream_and_its_region() {
    let aws = FakeAws::builder().region("eu-west-1").start();
    let hits = aws.stream("hits", 5);
    hits.shards_per_page(2);
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", LINES));
    let arn = "kinesis://arn:aws:kinesis:eu-west-1:123456789012:stream/hits";
    let mut command = workspace.ingest_command(&["a.log", "--to", arn]);
    command.envs(aws.environment()).env("AWS_REGION", "us-east-1");
    workspace.ingest_with(&mut command, b"").ok();
    everything_once(&aws, &hits, LINES);
}

fn check(aws: &FakeAws, stream: &str, arguments: &[&str]) -> Run {
    let mut command = Workspace::new().command(&["check", "--to", stream]);
    command.args(arguments).envs(aws.environment()).env_remove("AWS_PROFILE");
    // Its folder is gone by now, and it needs none.
    run(command.current_dir("/"), b"")
}

fn text(run: &Run) -> String {
    String::from_utf8(run.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_check_says_what_there_is() {
    let aws = FakeAws::start();
    aws.stream("hits", 4);
    aws.delivery_stream("beacons");
    let kinesis = text(&check(&aws, "kinesis://hits", &[]).ok());
    for part in [
        "us-east-1",
        "user/pixel-engine",
        "ACTIVE, provisioned, not encrypted",
        "1048576 B",
        "10 MiB",
        "4 open, together 4 MiB/s and 4,000 records/s",
        "kinesis://hits takes records",
    ] {
        assert!(kinesis.contains(part), "{part} in:\n{kinesis}");
    }
    let firehose = text(&check(&aws, "firehose://beacons", &[]).ok());
    for part in
        ["ACTIVE, DirectPut, not encrypted", "1024000 B a record, 500 records and 4 MiB", "beacons takes records"]
    {
        assert!(firehose.contains(part), "{part} in:\n{firehose}");
    }
    no_violations(&aws);
    assert_eq!(aws.counters().requests_of(Action::PutRecords) + aws.counters().requests_of(Action::PutRecordBatch), 0);
    aws.stream("hits", 2).distribution(Distribution::Auto);
    let auto = text(&check(&aws, "kinesis://hits", &[]).ok());
    assert!(auto.contains("AUTO") && auto.contains("--container lines"), "{auto}");
}

const ROLE: &str = "arn:aws:iam::123456789012:role/writer";

/// What is wrong is said in one line, by a check and by a run, of either service; the line has
/// these parts.
#[track_caller]
fn refused(prepare: fn(&FakeAws), environment: &[(&str, &str)], arguments: &[&str], parts: &[&str]) {
    for stream in ["kinesis://hits", "firehose://beacons"] {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        prepare(&aws);
        workspace.write("a.log", &log("pixel-4", 10));
        let checked = [&["check", "--to", stream], arguments].concat();
        let sent = [&["ingest", "a.log", "--quiet", "--give-up-after", "1s", "--to", stream], arguments].concat();
        for command in [checked, sent] {
            let mut command = workspace.command(&command);
            command.envs(aws.environment()).env_remove("AWS_PROFILE");
            let run = run(command.envs(environment.iter().copied()), b"").exits(1);
            let start = format!("pixel-engine: {stream}: ");
            let said: Vec<&str> = run.stderr.lines().filter(|line| line.contains(&start)).collect();
            let [said] = said[..] else { panic!("{}", run.stderr) };
            assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
            assert!(!run.stderr.contains("wJalrXUtnFEMI") && !run.stderr.contains("panicked"), "{}", run.stderr);
        }
    }
}

#[test]
fn credentials_that_are_wrong_are_told_from_each_other() {
    refused(present, &[("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")], &[], &["the access key is unknown to AWS"]);
    refused(present, &[("AWS_SECRET_ACCESS_KEY", "wrong")], &[], &["the secret key is wrong"]);
    refused(present, &[("AWS_SESSION_TOKEN", "a-token-of-yesterday")], &[], &["security token"]);
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    refused(present, &none, &[], &["NoCredentials", "set AWS_PROFILE"]);
}

#[test]
fn a_clock_that_is_wrong_is_named() {
    let ahead = |aws: &FakeAws| {
        present(aws);
        aws.clock_offset(3_600);
    };
    let behind = |aws: &FakeAws| {
        present(aws);
        aws.clock_offset(-3_600);
    };
    refused(ahead, &[], &[], &["expired", "clock is wrong"]);
    refused(behind, &[], &[], &["not yet current", "clock is wrong"]);
}

#[test]
fn a_stream_that_is_not_there_or_elsewhere_or_not_ready_is_refused() {
    let creating = |aws: &FakeAws| {
        aws.stream("hits", 2).status("CREATING");
        aws.delivery_stream("beacons").status("CREATING");
    };
    refused(|_| {}, &[], &[], &["ResourceNotFoundException", "check the stream's name"]);
    refused(present, &[], &["--region", "eu-north-1"], &["'eu-north-1'", "the region is not the endpoint's"]);
    refused(creating, &[], &[], &["the stream is CREATING", "wait until it is ACTIVE"]);
    refused(present, &[], &["--endpoint-url", "127.0.0.1:1"], &["must begin with http://"]);
    refused(FakeAws::down, &[], &[], &["ConnectionFailed", "check the endpoint"]);
}

#[test]
fn what_the_sdk_does_not_know_is_told_as_aws_answers_it() {
    let aws = FakeAws::start();
    let (hits, beacons) = (aws.stream("hits", 2), aws.delivery_stream("beacons"));
    hits.described("StreamModeDetails", json!({ "StreamMode": "SERVERLESS" }))
        .described("EncryptionType", json!("POST_KMS"));
    hits.described("RecordDistributionStrategy", json!("BY_SIZE"));
    beacons.described("DeliveryStreamEncryptionConfiguration", json!({ "Status": "ENABLED", "KeyType": "POST_CMK" }));
    let kinesis = text(&check(&aws, "kinesis://hits", &[]).ok());
    assert!(kinesis.contains("ACTIVE, SERVERLESS, record distribution BY_SIZE, encryption POST_KMS\n"), "{kinesis}");
    let firehose = text(&check(&aws, "firehose://beacons", &[]).ok());
    assert!(firehose.contains("ACTIVE, DirectPut, encrypted (POST_CMK)\n"), "{firehose}");
    // States in between, one of them known.
    for status in ["ENABLING", "ENABLING_FOO"] {
        beacons.described("DeliveryStreamEncryptionConfiguration", json!({ "Status": status }));
        let firehose = text(&check(&aws, "firehose://beacons", &[]).ok());
        assert!(firehose.contains(&format!("ACTIVE, DirectPut, encryption {status}\n")), "{firehose}");
    }
    hits.status("UPDATING_FOO");
    beacons.status("UPDATING_FOO").described("DeliveryStreamType", json!("QueueAsSource"));
    for to in ["kinesis://hits", "firehose://beacons"] {
        let run = check(&aws, to, &[]).exits(1);
        assert!(text(&run).contains("UPDATING_FOO") && !text(&run).contains("no value"), "{}", text(&run));
        assert!(!run.stderr.contains("no value"), "{}", run.stderr);
    }
    check(&aws, "kinesis://hits", &[]).exits(1).says(&["the stream is UPDATING_FOO: wait until it is ACTIVE"]);
    check(&aws, "firehose://beacons", &[]).exits(1).says(&["is a QueueAsSource: records go to its source"]);
}

#[test]
fn a_role_that_cannot_be_assumed_is_refused() {
    let forbidden = |aws: &FakeAws| {
        present(aws);
        aws.forbid_role(ROLE);
    };
    refused(forbidden, &[], &["--role-arn", ROLE], &["NoCredentials", "sts:AssumeRole", "AccessDenied"]);
    refused(present, &[], &["--role-arn", "writer"], &["NoCredentials", "writer is invalid"]);
}

/// Both streams are there.
fn present(aws: &FakeAws) {
    aws.stream("hits", 2);
    aws.delivery_stream("beacons");
}

#[test]
fn a_permission_that_is_missing_is_named() {
    for (action, permission) in [
        (Action::DescribeStreamSummary, "kinesis:DescribeStreamSummary"),
        (Action::ListShards, "kinesis:ListShards"),
        (Action::PutRecords, "kinesis:PutRecords"),
    ] {
        let aws = FakeAws::start();
        let hits = aws.stream("hits", 2);
        aws.deny(&aws.credentials().access_key, action);
        ingest(&aws, &[]).exits(1).says(&["kinesis://hits", permission, "AccessDeniedException"]);
        assert_eq!(hits.counts().records, 0);
        if action != Action::PutRecords {
            check(&aws, "kinesis://hits", &[]).exits(1).says(&[permission]);
        }
    }
    let neither = |aws: &FakeAws| {
        present(aws);
        for action in [Action::DescribeStreamSummary, Action::DescribeDeliveryStream, Action::PutRecordBatch] {
            aws.deny(&aws.credentials().access_key, action);
        }
    };
    refused(neither, &[], &[], &["AccessDeniedException", "is not authorized to perform", "needs that permission"]);
    let aws = FakeAws::start();
    aws.stream("hits", 2).encrypted(true).fault(Fault::error(400, "KMSAccessDeniedException", "not authorized"));
    ingest(&aws, &[]).exits(1).says(&["KMSAccessDeniedException", "kms:GenerateDataKey"]);
}

#[test]
fn a_role_is_assumed_for_both_services() {
    let aws = FakeAws::start();
    let (hits, beacons) = (aws.stream("hits", 4), aws.delivery_stream("beacons"));
    // The user may not; the role may.
    for action in [Action::PutRecords, Action::ListShards, Action::DescribeStreamSummary, Action::PutRecordBatch] {
        aws.deny(&aws.credentials().access_key, action);
    }
    let checked = text(&check(&aws, "kinesis://hits", &["--role-arn", ROLE]).ok());
    assert!(checked.contains("assumed-role/writer/pixel-engine"), "{checked}");
    ingest(&aws, &[]).exits(1);
    ingest(&aws, &["--role-arn", ROLE]).ok();
    everything_once(&aws, &hits, LINES);
    let workspace = Workspace::new();
    workspace.write("a.log", &log("realtime-46", LINES));
    let mut command = workspace.ingest_command(&["a.log", "--to", "firehose://beacons", "--role-arn", ROLE]);
    workspace.ingest_with(command.envs(aws.environment()), b"").ok();
    let mut seen = Seen::new(LINES);
    beacons.delivered().iter().for_each(|record| seen.ids_in(&record.data));
    seen.all();
}

#[test]
fn a_session_that_ends_in_the_middle_ends_the_run_with_advice() {
    let (aws, workspace) = (FakeAws::start(), Workspace::new());
    let hits = aws.stream("hits", 2);
    let child = spawn(&aws, &workspace, 12_000, &["--role-arn", ROLE]);
    wait_for("records", || hits.counts().records > 20);
    aws.expire_sessions();
    let run = workspace.wait(child).exits(1);
    run.says(&["ExpiredTokenException", "get new credentials"]);
    // What is said to be undelivered is what did not arrive.
    let mut seen = Seen::new(12_000);
    seen.ids_in(&delivered_lines(&hits));
    let summary = run.summary();
    assert_eq!(summary.lines_shipped, seen.count() as u64);
    assert!(summary.lines_undelivered > 0);
}
