use crate::support::*;

const STEP: u64 = 5_120;
const UNIT: u64 = 25 * 1_024;
const FULL: usize = 1_024_000;

/// The summary's numbers again, from the requests alone.
#[track_caller]
pub(crate) fn billed_as_summarised(requests: &[Request], summary: &Summary) {
    let entries = || requests.iter().flat_map(|request| &request.entries);
    let with_key = |entry: &Entry| (entry.data.len() + entry.partition_key.as_ref().map_or(0, String::len)) as u64;
    assert_eq!(summary.requests, requests.len() as u64);
    assert_eq!(summary.records, entries().count() as u64);
    assert_eq!(summary.payload_bytes, entries().map(|entry| entry.data.len() as u64).sum::<u64>());
    assert_eq!(
        summary.billed_bytes_firehose,
        entries().map(|entry| (entry.data.len() as u64).div_ceil(STEP) * STEP).sum::<u64>()
    );
    assert_eq!(
        summary.billed_bytes_kinesis_provisioned,
        entries().map(|entry| with_key(entry).div_ceil(UNIT) * UNIT).sum::<u64>()
    );
    assert_eq!(
        summary.billed_bytes_kinesis_on_demand,
        entries().map(|entry| with_key(entry).div_ceil(1_024) * 1_024).sum::<u64>()
    );
}

/// PutRecordBatch takes each of the requests.
#[track_caller]
fn firehose_takes(requests: &[Request], record_size: usize) {
    for request in requests {
        assert!((1..=500).contains(&request.entries.len()));
        assert!(request.len <= 4 << 20, "{} bytes of JSON", request.len);
        for entry in &request.entries {
            assert!(entry.data.len() <= record_size, "{} bytes", entry.data.len());
            assert_eq!(entry.data.last(), Some(&b'\n'));
            assert_eq!((&entry.partition_key, entry.explicit_hash_key), (&None, None));
        }
    }
}

fn joined(requests: &[Request]) -> Vec<u8> {
    requests.iter().flat_map(|request| &request.entries).flat_map(|entry| entry.data.iter().copied()).collect()
}

#[test]
fn full_records_are_billed_almost_nothing_for_rounding() {
    let text = log("realtime-46", 40_000);
    let run = Workspace::new().ingest_from(&["--to", "stdout:"], &text).ok();
    let (requests, summary) = (requests(&run.stdout), run.summary());
    firehose_takes(&requests, FULL);
    billed_as_summarised(&requests, &summary);
    assert!(joined(&requests) == text, "the lines come in their order");
    assert_eq!((summary.lines_shipped, summary.payload_bytes), (40_000, text.len() as u64));
    let ratio = summary.billed_bytes_firehose as f64 / summary.payload_bytes as f64;
    assert!(ratio <= 1.002, "{ratio}");
    // All but the last are full, give or take what alignment took.
    let entries: Vec<&Entry> = requests.iter().flat_map(|request| &request.entries).collect();
    assert!(entries[..entries.len() - 1].iter().all(|entry| entry.data.len() > FULL - FULL / 16));
}

#[test]
fn unpacked_is_one_record_a_line() {
    let text = log("realtime-45", 2_000);
    let summary = Workspace::new().ingest_from(&["--to", "null:"], &text).ok().summary();
    let sum = |step: u64| lines(&text).map(|line| (line.len() as u64).div_ceil(step) * step).sum::<u64>();
    assert_eq!(summary.billed_bytes_unpacked, sum(STEP));
    assert_eq!(summary.billed_bytes_kinesis_provisioned_unpacked, sum(UNIT));
    assert_eq!(summary.billed_bytes_kinesis_on_demand_unpacked, sum(1_024));
}

#[test]
fn small_records_waste_less_when_lines_may_change_places() {
    // The lines that the promise is made for.
    let usual = |line: &&[u8]| (600..=900).contains(&line.len());
    let text: Vec<u8> = lines(&log("realtime-46", 40_000)).filter(usual).flatten().copied().collect();
    let ratio = |arguments: &[&str]| {
        let arguments = [&["--to", "stdout:", "--record-size", "5120"], arguments].concat();
        let run = Workspace::new().ingest_from(&arguments, &text).ok();
        let (requests, summary) = (requests(&run.stdout), run.summary());
        firehose_takes(&requests, 5_120);
        billed_as_summarised(&requests, &summary);
        let delivered = joined(&requests);
        if arguments.contains(&"--reorder") {
            assert!(sorted(&delivered) == sorted(&text), "the same lines");
        } else {
            assert!(delivered == text, "the same lines in the same order");
        }
        summary.billed_bytes_firehose as f64 / summary.payload_bytes as f64
    };
    let in_order = ratio(&[]);
    let reordered = ratio(&["--reorder"]);
    assert!(in_order <= 1.10, "{in_order}");
    assert!(reordered < in_order, "{reordered} and {in_order}");
}

#[test]
fn records_of_one_billing_step_are_as_few_as_can_be() {
    // Every record is billed the same, and lines keep their order: nothing beats filling each as
    // far as it goes.
    let text = log("realtime-46", 10_000);
    let (mut fewest, mut room) = (0, 0);
    for line in lines(&text) {
        if line.len() > room {
            fewest += 1;
            room = 5_120;
        }
        room -= line.len();
    }
    let summary = Workspace::new().ingest_from(&["--to", "null:", "--record-size", "5120"], &text).ok().summary();
    assert_eq!(summary.records, fewest);
}

#[test]
fn a_request_holds_at_most_500_records() {
    let text = log("pixel-4", 20_000);
    let run = Workspace::new().ingest_from(&["--to", "stdout:", "--record-size", "1024"], &text).ok();
    let requests = requests(&run.stdout);
    firehose_takes(&requests, 1_024);
    assert!(requests.len() > 2);
    assert!(requests[..requests.len() - 1].iter().all(|request| request.entries.len() == 500));
    assert!(joined(&requests) == text);
}

#[test]
fn every_size_and_alignment_is_kept_to_the_byte() {
    let text = log("realtime-46", 3_000);
    for (size, align) in [("4096", "1"), ("7777", "1000"), ("10240", "5120"), ("100KB", "777"), ("1000KiB", "1024000")]
    {
        let run =
            Workspace::new().ingest_from(&["--to", "stdout:", "--record-size", size, "--align", align], &text).ok();
        let requests = requests(&run.stdout);
        let limit = match size {
            "100KB" => 100_000,
            "1000KiB" => FULL,
            size => size.parse().expect("a number"),
        };
        firehose_takes(&requests, limit);
        billed_as_summarised(&requests, &run.summary());
        assert!(joined(&requests) == text, "{size} {align}");
    }
}

#[test]
fn the_stream_is_named_in_every_request() {
    let text = log("pixel-4", 3_000);
    for (container, key) in [("lines", "DeliveryStreamName"), ("kpl", "StreamName")] {
        let arguments = ["--to", "stdout:my-stream", "--container", container, "--record-size", "1024"];
        let run = Workspace::new().ingest_from(&arguments, &text).ok();
        for line in lines(&run.stdout) {
            let request: serde_json::Value = serde_json::from_slice(line).expect("JSON");
            assert_eq!(request[key], "my-stream");
            assert_eq!(request.as_object().map(serde_json::Map::len), Some(2));
        }
    }
}

#[test]
fn any_number_of_threads_delivers_the_same_bytes() {
    let text = log("realtime-46", 12_000);
    for arguments in [&["--record-size", "20480"][..], &["--container", "kpl"], &["--encode", "jsonl"]] {
        let outputs = ["1", "2", "7"].map(|threads| {
            let arguments = [arguments, &["--to", "stdout:", "--threads", threads]].concat();
            let run = Workspace::new().ingest_from(&arguments, &text).ok();
            assert_eq!(run.summary().threads.to_string(), threads);
            run.stdout
        });
        assert!(outputs[0] == outputs[1] && outputs[1] == outputs[2], "{arguments:?}");
    }
}

#[test]
fn objects_roll_at_128_mib() {
    let workspace = Workspace::new();
    let text = log("realtime-46", 60_000);
    workspace.write("in.log", &text);
    let summary = workspace.ingest(&["in.log", "in.log", "in.log", "in.log"]).ok().summary();
    let objects = workspace.objects(OUT);
    let sizes: Vec<usize> = objects.iter().map(|object| object.bytes.len()).collect();
    let (last, full) = sizes.split_last().expect("an object");
    assert!(!full.is_empty() && *last > 0);
    assert!(full.iter().all(|&size| (127 << 20..=128 << 20).contains(&size)), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>() as u64, summary.payload_bytes);
    assert!(workspace.delivered(OUT) == text.repeat(4));
}
