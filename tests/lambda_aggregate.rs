//! The function `aggregate`: records of a Kinesis stream, as Lambda's event source mapping brings
//! them, into the strict fake of Kinesis and Firehose.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fake_aws::{Action, Delivered, FakeAws, Fault, Stream};
use pixel_engine::kpl::{Decoded, PartitionKey, decode, seal, write_aggregate};
use serde_json::{Value, json};

use crate::fake_lambda::{Answer, FakeLambda};
use crate::kinesis::delivered_lines;
use crate::support::{BadLine, Guarded, Seen, Workspace, gzip, id_in, lines, log, number_of, request_faults};

const LINES: u64 = 2_000;
/// For several requests of 1 MiB, the smallest that they can be.
const MANY_LINES: u64 = 6_000;

/// The sequence number of a record.
fn sequence_number(index: usize) -> String {
    format!("49590338271490256608559692538361571095921575989136{index:06}")
}

/// The event with these records of the shard, which begin with that one.
fn event<T: AsRef<[u8]>>(shard: &str, first: usize, records: &[T]) -> Vec<u8> {
    let numbered = |(index, data): (usize, &T)| (sequence_number(first + index), BASE64.encode(data));
    event_of(shard, &records.iter().enumerate().map(numbered).collect::<Vec<_>>())
}

/// The event with these records of the shard: sequence numbers, and data in base64.
pub(crate) fn event_of(shard: &str, records: &[(String, String)]) -> Vec<u8> {
    let record = |(sequence_number, data): &(String, String)| {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "4d1ad2b9",
                "sequenceNumber": sequence_number,
                "data": data,
                "approximateArrivalTimestamp": 1_545_084_650.987_f64,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("{shard}:{sequence_number}"),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::123456789012:role/aggregate",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:123456789012:stream/hits",
        })
    };
    let records: Vec<Value> = records.iter().map(record).collect();
    json!({ "Records": records }).to_string().into_bytes()
}

/// The event of a shard with these records, all of it.
fn whole<T: AsRef<[u8]>>(records: &[T]) -> Vec<u8> {
    event("shardId-000000000000", 0, records)
}

/// The sequence number that the reply names, if it names one.
pub(crate) fn named_sequence_number(reply: &Value) -> Option<&str> {
    let failures = reply["batchItemFailures"].as_array().unwrap_or_else(|| panic!("no reply of a mapping: {reply}"));
    assert!(failures.len() <= 1, "{reply}");
    Some(failures.first()?["itemIdentifier"].as_str().expect("a sequence number"))
}

/// The record that the reply names, if it names one.
fn named(reply: &Value) -> Option<usize> {
    let name = named_sequence_number(reply)?;
    let (prefix, index) = name.split_at(name.len() - 6);
    assert!(sequence_number(0).starts_with(prefix), "{name}");
    Some(index.parse().expect("a number"))
}

/// The function into this target, with more variables.
fn function(lambda: &FakeLambda, aws: &FakeAws, workspace: &Workspace, to: &str, more: &[(&str, &str)]) -> Command {
    let mut command = lambda.function(workspace, &[("PIXEL_ENGINE_LAMBDA", "aggregate"), ("PIXEL_ENGINE_TO", to)]);
    command.envs(aws.environment()).env_remove("AWS_PROFILE").envs(more.iter().copied());
    let log = fs::File::create(workspace.path("stderr")).expect("it can be written");
    command.stdout(Stdio::null()).stderr(log);
    command
}

fn start(command: &mut Command) -> Guarded {
    Guarded::start(command)
}

fn stderr(workspace: &Workspace) -> String {
    fs::read_to_string(workspace.path("stderr")).expect("it can be read")
}

/// One line a record, with and without a newline.
fn a_line_a_record(log: &[u8]) -> Vec<Vec<u8>> {
    let line = |(index, line): (usize, &[u8])| {
        line.iter().copied().chain((index % 2 == 0).then_some(b'\n')).collect::<Vec<u8>>()
    };
    lines(log).enumerate().map(line).collect()
}

/// The lines of all records, which are aggregates, each of which a consumer of its shard gets.
#[track_caller]
fn unpacked(stream: &Stream) -> Vec<u8> {
    let is_aggregate = |record: &Delivered| matches!(decode(&record.data), Decoded::Aggregate(_));
    assert!(stream.delivered().iter().all(is_aggregate), "no aggregate");
    delivered_lines(stream)
}

#[test]
fn every_line_of_records_of_any_shape_arrives_in_aggregates() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 3);
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &[]));
    let log = log("realtime-46", LINES);
    let all: Vec<&[u8]> = lines(&log).collect();
    let (single, rest) = all.split_at(500);
    let mut records: Vec<Vec<u8>> = a_line_a_record(&single.concat());
    let several = rest.chunks(7).map(|lines| lines.concat());
    for (index, lines) in several.enumerate() {
        records.push(match index % 3 {
            0 => lines,
            1 => gzip(&lines),
            _ => {
                let mut aggregate = Vec::new();
                write_aggregate(
                    &mut aggregate,
                    &PartitionKey::of_hash_key(9),
                    lines.split_inclusive(|it| *it == b'\n'),
                );
                seal(&mut [&mut aggregate]);
                aggregate
            }
        });
    }
    for batch in records.chunks(300) {
        assert_eq!(lambda.reply(whole(batch)), json!({ "batchItemFailures": [] }));
    }
    let mut seen = Seen::new(LINES);
    seen.ids_in(&unpacked(&packed));
    seen.all();
    assert_eq!((aws.counters().violations, lambda.violations()), (vec![], vec![]));
    // Nothing else stands in the aggregates, and the stream is looked at once.
    assert_eq!(unpacked(&packed).len(), log.len());
    assert_eq!(aws.counters().requests[&Action::DescribeStreamSummary], 1);
}

#[test]
fn a_batch_fills_records_of_the_size_that_is_set() {
    for (to, size, most) in [
        ("firehose://beacons", None, 1_024_000),
        ("firehose://beacons", Some("5120"), 5_120),
        ("kinesis://packed", Some("5120"), 5_120),
    ] {
        let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
        let (beacons, packed) = (aws.delivery_stream("beacons"), aws.stream("packed", 1));
        let more: Vec<(&str, &str)> = size.map(|size| ("PIXEL_ENGINE_RECORD_SIZE", size)).into_iter().collect();
        let _child = start(&mut function(&lambda, &aws, &workspace, to, &more));
        let log = log("realtime-46", LINES);
        assert_eq!(named(&lambda.reply(whole(&a_line_a_record(&log)))), None);
        let delivered = if to.starts_with("firehose") { beacons.delivered() } else { packed.delivered() };
        assert!(delivered.iter().all(|record| record.data.len() <= most), "{to} {size:?}");
        // Whole lines of some 800 B leave a tenth of 5 KB free.
        let least = log.len().div_ceil(most);
        let count = delivered.len();
        assert!((least..=least * 6 / 5 + 1).contains(&count), "{to} {size:?}: {count} records, {least} at least");
        let text = match to {
            "kinesis://packed" => unpacked(&packed),
            _ => delivered.iter().flat_map(|record| record.data.to_vec()).collect(),
        };
        let mut seen = Seen::new(LINES);
        seen.ids_in(&text);
        seen.all();
    }
}

#[test]
fn lines_are_selected_matched_and_treated_as_by_ingest() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let beacons = aws.delivery_stream("beacons");
    let variables = [
        ("PIXEL_ENGINE_ENCODE", "jsonl"),
        ("PIXEL_ENGINE_SELECT", "timestamp,c-ip,x-edge-request-id,query.e"),
        ("PIXEL_ENGINE_MATCH", "sc-status=200"),
        ("PIXEL_ENGINE_MASK_IP", "true"),
    ];
    let _child = start(&mut function(&lambda, &aws, &workspace, "firehose://beacons", &variables));
    let log = log("realtime-46", LINES);
    assert_eq!(named(&lambda.reply(whole(&a_line_a_record(&log)))), None);
    workspace.write("a.log", &log);
    workspace
        .ingest(&[
            "a.log",
            "--encode",
            "jsonl",
            "--select",
            "timestamp,c-ip,x-edge-request-id,query.e",
            "--match",
            "sc-status=200",
            "--mask-ip",
        ])
        .ok();
    let delivered: Vec<u8> = beacons.delivered().iter().flat_map(|record| record.data.to_vec()).collect();
    assert!(!delivered.is_empty() && delivered == workspace.delivered("pixel-engine-out"));
}

#[test]
fn faults_that_pass_cost_nothing_but_time() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 2);
    packed.fail_records(0.1, 5).fail_requests(
        0.3,
        3,
        &request_faults().into_iter().map(|it| it.fault).collect::<Vec<_>>(),
    );
    let more = [("PIXEL_ENGINE_REQUEST_TIMEOUT", "1s"), ("PIXEL_ENGINE_REQUEST_SIZE", "1MiB")];
    let mut command = function(&lambda, &aws, &workspace, "kinesis://packed", &more);
    let _child = start(&mut command);
    let records = a_line_a_record(&log("realtime-46", LINES));
    for (number, batch) in records.chunks(500).enumerate() {
        let reply = lambda.reply(event("shardId-000000000000", number * 500, batch));
        assert_eq!(named(&reply), None, "{}", stderr(&workspace));
    }
    assert_eq!(different(&unpacked(&packed)), LINES as usize);
}

/// Invokes the function with what is left of the batch until all of it is done, as the mapping does
/// with `ReportBatchItemFailures`. Returns the first records of the batches.
fn retried(lambda: &FakeLambda, records: &[Vec<u8>], mut between: impl FnMut(usize)) -> Vec<usize> {
    let (mut begun, mut at) = (Vec::new(), 0);
    loop {
        begun.push(at);
        let reply = lambda.reply(event("shardId-000000000000", at, &records[at..]));
        let Some(first) = named(&reply) else { return begun };
        assert!((at..records.len()).contains(&first), "{first} after {begun:?}");
        between(first);
        at = first;
    }
}

/// How many ids there are.
pub(crate) fn different(text: &[u8]) -> usize {
    lines(text).filter_map(id_in).filter_map(number_of).collect::<BTreeSet<u64>>().len()
}

/// Lines that came before, counted each time.
pub(crate) fn duplicates(text: &[u8]) -> usize {
    lines(text).count() - different(text)
}

#[test]
fn what_the_deadline_leaves_is_named_by_its_first_record_and_nothing_before_it_comes_again() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 16);
    let more = [("PIXEL_ENGINE_REQUEST_SIZE", "1MiB"), ("PIXEL_ENGINE_CONCURRENCY", "1")];
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &more));
    lambda.timeout(Duration::from_secs(3));
    let records = a_line_a_record(&log("realtime-46", MANY_LINES));
    lambda.wait_until_asked();
    // The third request is never answered: the ones before it are.
    for _ in 0..2 {
        packed.fault(Fault::Delay(Duration::from_millis(1)));
    }
    packed.fault(Fault::NeverReply { stored: false });
    let begun_at = Instant::now();
    let begun = retried(&lambda, &records, |first| {
        let delivered = unpacked(&packed);
        let delivered: BTreeSet<&[u8]> = lines(&delivered).filter_map(id_in).collect();
        let missing = records[..first].iter().filter_map(|record| id_in(record)).find(|id| !delivered.contains(id));
        assert!(first > 0 && missing.is_none(), "everything before record {first} is delivered");
    });
    assert_eq!(begun.len(), 2, "{begun:?}");
    assert!(begun_at.elapsed() > Duration::from_secs(2), "it was tried as long as there was time");
    let text = unpacked(&packed);
    let mut seen = Seen::new(MANY_LINES);
    seen.ids_in(&text);
    seen.all();
    assert_eq!(duplicates(&text), 0, "requests were sent one after the other");
    assert!(stderr(&workspace).contains(&sequence_number(begun[1])), "{}", stderr(&workspace));
}

#[test]
fn what_arrived_behind_a_gap_comes_twice_and_is_told() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 16);
    let more = [("PIXEL_ENGINE_REQUEST_SIZE", "1MiB")];
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &more));
    lambda.timeout(Duration::from_secs(3));
    let records = a_line_a_record(&log("realtime-46", MANY_LINES));
    lambda.wait_until_asked();
    packed.fault(Fault::NeverReply { stored: false });
    let begun = retried(&lambda, &records, |_| {});
    assert!(begun.len() == 2, "{begun:?}");
    let text = unpacked(&packed);
    assert!(duplicates(&text) > 0);
    assert_eq!(different(&text), MANY_LINES as usize);
    assert!(stderr(&workspace).contains("have arrived too and will come twice"), "{}", stderr(&workspace));
}

#[test]
fn a_stream_that_is_down_or_refuses_is_tried_again_by_the_same_process() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 1);
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &[]));
    lambda.timeout(Duration::from_secs(2));
    let records = a_line_a_record(&log("realtime-46", LINES));
    lambda.wait_until_asked();
    aws.down();
    assert_eq!(named(&lambda.reply(whole(&records))), Some(0));
    // The run that failed is no more: a new one has to look at the stream first.
    assert!(matches!(lambda.invoke(whole(&records)), Answer::Error(error) if error.kind == "Function.NotDelivered"));
    aws.up();
    lambda.timeout(Duration::from_secs(60));
    let refused = Fault::error(400, "AccessDeniedException", "not authorized to perform kinesis:PutRecords");
    packed.fault(refused);
    let begun = Instant::now();
    let first = named(&lambda.reply(whole(&records)));
    assert!(first.is_some(), "one of its requests is refused");
    assert!(begun.elapsed() < Duration::from_secs(20), "what will not pass is not waited for");
    assert!(stderr(&workspace).contains("AccessDeniedException"), "{}", stderr(&workspace));
    assert_eq!(named(&lambda.reply(whole(&records))), None);
    assert_eq!(different(&unpacked(&packed)), LINES as usize);
}

#[test]
fn without_item_failures_an_invocation_fails_as_a_whole() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 1);
    let more = [("PIXEL_ENGINE_REPORT_BATCH_ITEM_FAILURES", "false"), ("PIXEL_ENGINE_GIVE_UP_AFTER", "1s")];
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &more));
    packed.fault(Fault::error(400, "AccessDeniedException", "no"));
    let Answer::Error(error) = lambda.invoke(whole(&[b"1.5\t203.0.113.9\tcurl/8.0\te=a"])) else { panic!("no error") };
    assert_eq!(error.kind, "Function.NotDelivered");
    assert!(
        error.message.contains("hits/shardId-000000000000 from") && error.message.contains("AccessDenied"),
        "{error:?}"
    );
}

/// Records with bad lines and without any lines, among good ones.
fn bad_records() -> (Vec<Vec<u8>>, u64) {
    let good = a_line_a_record(&log("realtime-46", 100));
    let mut aggregate = Vec::new();
    write_aggregate(&mut aggregate, &PartitionKey::of_hash_key(9), good[..5].iter().map(Vec::as_slice));
    seal(&mut [&mut aggregate]);
    aggregate[20] ^= 1;
    let bad: [Vec<u8>; 4] = [b"no line".to_vec(), aggregate, gzip(b"1\t2")[..12].to_vec(), vec![0xff; 50]];
    let records = good[..50].iter().cloned().chain(bad).chain(good[50..].iter().cloned()).collect();
    (records, 4)
}

#[test]
fn bad_records_go_where_they_are_named_to_and_hold_up_nothing() {
    let (records, bad) = bad_records();
    for place in ["log:", "firehose://bad", "kinesis://bad"] {
        let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
        let packed = aws.stream("packed", 1);
        let (bad_beacons, bad_hits) = (aws.delivery_stream("bad"), aws.stream("bad", 1));
        let more = [("PIXEL_ENGINE_QUARANTINE", place)];
        let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &more));
        assert_eq!(named(&lambda.reply(whole(&records))), None, "{place}: {}", stderr(&workspace));
        let mut seen = Seen::new(100);
        seen.ids_in(&unpacked(&packed));
        seen.all();
        let entries: Vec<u8> = match place {
            "log:" => {
                let log = stderr(&workspace);
                log.split_inclusive('\n').filter(|line| line.starts_with('{')).collect::<String>().into_bytes()
            }
            "firehose://bad" => bad_beacons.delivered().iter().flat_map(|record| record.data.to_vec()).collect(),
            _ => bad_hits.delivered().iter().flat_map(|record| record.data.to_vec()).collect(),
        };
        let entries: Vec<BadLine> = lines(&entries).map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        assert_eq!(entries.len() as u64, bad, "{place}");
        let kept: Vec<Vec<u8>> = entries.iter().map(BadLine::bytes).collect();
        assert!(kept.iter().zip(&records[50..54]).all(|(kept, came)| kept == came), "{place}: to the byte");
        assert!(entries.iter().all(|entry| entry.source.starts_with("hits/shardId-000000000000 from 4959")));
    }
}

#[test]
fn a_quarantine_that_takes_nothing_leaves_the_records_in_the_stream() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let (_packed, bad) = (aws.stream("packed", 1), aws.delivery_stream("bad"));
    let more = [("PIXEL_ENGINE_QUARANTINE", "firehose://bad")];
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &more));
    bad.fault(Fault::error(400, "AccessDeniedException", "no"));
    let (records, _) = bad_records();
    let first = named(&lambda.reply(whole(&records)));
    assert!(first.is_some_and(|first| first <= 50), "{first:?}");
    assert!(stderr(&workspace).contains("quarantine firehose://bad"), "{}", stderr(&workspace));
    assert_eq!(named(&lambda.reply(whole(&records))), None);
    assert!(!bad.delivered().is_empty());
}

#[test]
fn events_of_others_are_refused_and_large_and_empty_ones_are_not() {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    let packed = aws.stream("packed", 8);
    let _child = start(&mut function(&lambda, &aws, &workspace, "kinesis://packed", &[]));
    for (event, said) in [
        (r#"{"Records":[{"eventSource":"aws:sqs","body":"x"}]}"#, "an event of aws:sqs"),
        ("[]", "and not an event of a Kinesis stream"),
    ] {
        let Answer::Error(error) = lambda.invoke(event) else { panic!("{event}") };
        assert!(error.kind == "Function.UnexpectedEvent" && error.message.contains(said), "{error:?}");
    }
    assert_eq!(named(&lambda.reply(whole::<Vec<u8>>(&[]))), None);
    assert_eq!(named(&lambda.reply(whole(&[&b""[..], b"\n"]))), None);
    // Base64 that is none.
    let damaged = String::from_utf8(whole(&[b"1.5\t203.0.113.9\tcurl/8.0\te=a"])).unwrap().replacen("MS41", "MS4*", 1);
    assert_eq!(named(&lambda.reply(damaged)), None);
    assert!(stderr(&workspace).contains("no lines can be read: not base64"), "{}", stderr(&workspace));
    // As large as an invocation can be.
    let count = 5_000;
    let log = log("realtime-46", count);
    let (records, mut len) = (a_line_a_record(&log), 0);
    let fits = |record: &Vec<u8>| {
        len += record.len() * 4 / 3 + 560;
        len < 6 << 20
    };
    let records: Vec<Vec<u8>> = records.into_iter().take_while(fits).collect();
    assert!(whole(&records).len() > 5 << 20);
    assert_eq!(named(&lambda.reply(whole(&records))), None);
    let mut seen = Seen::new(count);
    seen.ids_in(&unpacked(&packed));
    assert_eq!(seen.count(), records.len());
}

/// What the function says of itself when it does not start.
fn init_error(variables: &[(&str, &str)]) -> (String, Child) {
    let (aws, lambda, workspace) = (FakeAws::start(), FakeLambda::start(), Workspace::new());
    aws.stream("packed", 1);
    let mut command = lambda.function(&workspace, &[("PIXEL_ENGINE_LAMBDA", "aggregate")]);
    command.envs(aws.environment()).env_remove("AWS_PROFILE").envs(variables.iter().copied());
    let child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let Answer::InitError(error) = lambda.answer() else { panic!("it starts: {variables:?}") };
    (error.message, child)
}

#[test]
fn a_function_that_cannot_work_does_not_start() {
    for (variables, said) in [
        (vec![], "PIXEL_ENGINE_TO: where do records go?"),
        (vec![("PIXEL_ENGINE_TO", "dir:out")], "no file of a function is"),
        (
            vec![("PIXEL_ENGINE_TO", "kinesis://packed"), ("PIXEL_ENGINE_SPOOL", "/tmp")],
            "PIXEL_ENGINE_SPOOL: `aggregate`",
        ),
        (
            vec![("PIXEL_ENGINE_TO", "kinesis://packed"), ("PIXEL_ENGINE_GRACE", "1s")],
            "PIXEL_ENGINE_GRACE: `aggregate`",
        ),
        (vec![("PIXEL_ENGINE_TO", "kinesis://packed"), ("PIXEL_ENGINE_RECORD_SIZ", "5120")], "did you mean"),
        (vec![("PIXEL_ENGINE_TO", "kinesis://other")], "kinesis://other: "),
        (
            vec![("PIXEL_ENGINE_TO", "kinesis://packed"), ("PIXEL_ENGINE_REPORT_BATCH_ITEM_FAILURES", "yes")],
            "true or false",
        ),
        (
            vec![("PIXEL_ENGINE_TO", "kinesis://packed"), ("PIXEL_ENGINE_QUARANTINE", "kinesis://packed")],
            "is also the stream of",
        ),
    ] {
        let (message, mut child) = init_error(&variables);
        assert!(message.contains(said), "{variables:?}: {message}");
        assert_eq!(child.wait().expect("it ends").code(), Some(1));
    }
}
