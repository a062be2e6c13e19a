use std::collections::BTreeSet;
use std::fs;
use std::io::Read;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::quarantine::Quarantine;
use crate::record::{Delivered, Record};
use crate::run::{Error, Run};
use crate::sink::null::Null;
use crate::sink::{Sink, SinkError};
use crate::source::{Files, Input};
use pixel_engine_kpl as kpl;
use pixel_engine_log::encode::row::Row;

fn error_of(settings: &Settings) -> ConfigError {
    settings.validate().expect_err("these settings do not go together")
}

#[track_caller]
fn refused(key: Key, says: &str, settings: Settings) {
    let error = error_of(&settings);
    assert_eq!((error.key(), error.to_string()), (key, says.to_owned()));
}

fn settings() -> Settings {
    Settings::default()
}

fn kpl() -> Settings {
    Settings { container: Some(ContainerKind::Kpl), ..settings() }
}

fn parquet() -> Settings {
    Settings { encode: Some(EncodingKind::Parquet), ..settings() }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn defaults() {
    let config = settings().validate().unwrap();
    assert_eq!(config.target(), &Target::Dir("pixel-engine-out".into()));
    assert_eq!(
        config.container(),
        &Container::Lines {
            record_size: 1_024_000,
            align: NonZeroUsize::new(5_120).unwrap(),
            reorder: false,
            single: false,
            codec: Codec::None,
        }
    );
    assert_eq!((config.format(), config.encoding()), (Format::Auto, &Encoding::Raw));
    assert_eq!(config.query_encoding(), QueryEncodingKind::Twice);
    assert_eq!((config.linger().limit(false), config.linger().limit(true)), (None, Some(Duration::from_secs(1))));
    assert_eq!(config.quarantine().file(), Some(Path::new("pixel-engine-quarantine.jsonl")));
    assert_eq!(config.checkpoint(), None);
    assert_eq!((config.spool(), config.on_bad_line()), (None, OnBadLine::Quarantine));
    assert_eq!(config.schemas().iter().count(), Schemas::all_presets().iter().count());
}

#[test]
fn defaults_follow_the_target() {
    let of = |target| Settings { to: text(target), ..settings() }.validate().unwrap();
    let kinesis = of("kinesis://hits");
    assert_eq!(kinesis.container(), &Container::Kpl { record_size: 51_200, partition_by: None });
    let delivery = kinesis.delivery();
    assert_eq!((delivery.request_size, delivery.counted, delivery.record_size), (5 << 20, Counted::Data, 51_200));
    assert!(delivery.aggregates && !delivery.in_order);
    let firehose = of("firehose://hits");
    assert_eq!((firehose.api(), firehose.container().api()), (Api::PutRecordBatch, Api::PutRecordBatch));
    let delivery = firehose.delivery();
    assert_eq!((delivery.request_size, delivery.counted, delivery.record_size), (4 << 20, Counted::Base64, 1_024_000));
    assert_eq!((delivery.concurrency.get(), delivery.grace), (4, Duration::from_secs(10)));
    let lines = Settings { container: Some(ContainerKind::Lines), to: text("kinesis://hits"), ..settings() };
    let lines = lines.validate().unwrap();
    // Kinesis counts the partition key that a record of lines is given.
    assert_eq!((lines.api(), lines.delivery().record_size), (Api::PutRecords, 1_024_004));
    let spool = Settings { to: text("firehose://hits"), spool: Some("kept".into()), ..settings() };
    assert_eq!(
        spool.validate().unwrap().spool(),
        Some(&SpoolConfig { folder: "kept".into(), size: 10_000_000_000, when_full: WhenFull::Block })
    );
}

#[test]
fn what_a_record_can_hold_is_known() {
    for size in [1_024, 1_025, 51_200, 1_024_000] {
        for codec in ["none", "gzip:0", "gzip", "zstd", "zstd:-7"] {
            let settings = Settings { record_size: Some(size), compress: text(codec), ..settings() };
            let len = settings.validate().unwrap().container().max_line_len();
            assert!((512..=size as usize).contains(&len), "{size} {codec}: {len}");
        }
    }
    let smallest = Settings { record_size: Some(64), ..kpl() }.validate().unwrap();
    assert_eq!(smallest.container().max_line_len(), 60);
}

#[test]
fn sizes_have_bounds() {
    let record_size = |size| Settings { record_size: Some(size), ..settings() };
    let lines = "must be from 1024 to 1024000 bytes for a record of lines";
    refused(Key::RecordSize, &format!("record_size = 1023: {lines}"), record_size(1_023));
    refused(Key::RecordSize, &format!("record_size = 0: {lines}"), record_size(0));
    refused(Key::RecordSize, &format!("record_size = 1024001: {lines}"), record_size(1_024_001));
    refused(Key::RecordSize, &format!("record_size = {}: {lines}", u64::MAX), record_size(u64::MAX));
    let aggregate = "must be from 64 to 10485760 bytes for an aggregate";
    for size in [0, 3, 4, 63, 10_485_761] {
        let settings = Settings { record_size: Some(size), ..kpl() };
        refused(Key::RecordSize, &format!("record_size = {size}: {aggregate}"), settings);
    }

    let align = |align| Settings { align: Some(align), record_size: Some(20_000), ..settings() };
    refused(Key::Align, "align = 0: must be from 1 to 20000 bytes for this record size", align(0));
    refused(Key::Align, "align = 20001: must be from 1 to 20000 bytes for this record size", align(20_001));
    // What Firehose bills in may always be the step.
    Settings { align: Some(5_120), record_size: Some(1_024), ..settings() }.validate().unwrap();

    let request = |to, size| Settings { to: text(to), request_size: Some(size), ..settings() };
    let least = "must be from 1048576 to";
    for (to, size, says) in [
        ("firehose://a", 1_000, format!("{least} 4194304 bytes for PutRecordBatch")),
        ("firehose://a", 5 << 20, format!("{least} 4194304 bytes for PutRecordBatch")),
        ("kinesis://a", 11 << 20, format!("{least} 10485760 bytes for PutRecords")),
        ("null:", 11 << 20, format!("{least} 10485760 bytes for a request")),
    ] {
        refused(Key::RequestSize, &format!("request_size = {size}: {says}"), request(to, size));
    }
    request("kinesis://a", 10 << 20).validate().unwrap();
}

#[test]
fn counts_and_times_have_bounds() {
    for count in [0, 1_025, u64::MAX] {
        let threads = Settings { threads: Some(count), ..settings() };
        refused(Key::Threads, &format!("threads = {count}: must be from 1 to 1024"), threads);
        let concurrency = Settings { concurrency: Some(count), ..settings() };
        refused(Key::Concurrency, &format!("concurrency = {count}: must be from 1 to 1024"), concurrency);
    }
    for count in [0, 100_000_001] {
        let window = Settings { dedup_window: Some(count), ..settings() };
        refused(Key::DedupWindow, &format!("dedup_window = {count}: must be from 1 to 100000000"), window);
    }
    let long = Settings { grace: Some(Duration::from_secs(30 * 86_400 + 3_600)), ..settings() };
    refused(Key::Grace, "grace = 30d 1h: must be from 0s to 30d", long);
    let long = Settings { give_up_after: Some(Duration::MAX), ..settings() };
    assert_eq!(error_of(&long).key(), Key::GiveUpAfter);
    let linger = |linger: &str| Settings { linger: Some(linger.parse().unwrap()), ..settings() };
    refused(Key::Linger, "linger = 999us: must be from 1ms to 1h", linger("999us"));
    refused(Key::Linger, "linger = 1h 1ms: must be from 1ms to 1h", linger("1h 1ms"));
    for (given, expected) in [
        ("none", Linger::Never),
        ("0", Linger::Never),
        ("0s", Linger::Never),
        ("1ms", Linger::After(Duration::from_millis(1))),
        ("1h", Linger::After(Duration::from_secs(3_600))),
    ] {
        assert_eq!(linger(given).validate().unwrap().linger(), expected, "{given}");
    }
    let zero = Settings { linger: Some(Linger::After(Duration::ZERO)), ..settings() };
    assert_eq!(zero.validate().unwrap().linger().limit(true), None);
    let nothing = Settings { rate_limit: Some(RateLimit::BytesPerSecond(0)), ..settings() };
    refused(Key::RateLimit, "rate_limit = 0: nothing would ever be sent", nothing);
}

#[test]
fn containers_exclude_what_they_cannot_do() {
    let full = "does not go with container = kpl: aggregates are filled to the last line that fits";
    refused(Key::Align, &format!("align {full}"), Settings { align: Some(1), ..kpl() });
    refused(Key::Reorder, &format!("reorder {full}"), Settings { reorder: Some(true), ..kpl() });
    let compress = "compress does not go with container = kpl: consumers could not unpack a compressed aggregate";
    refused(Key::Compress, compress, Settings { compress: text("zstd"), ..kpl() });
    // The container may follow from the target as well.
    let kinesis = Settings { to: text("kinesis://hits"), compress: text("gzip:1"), ..settings() };
    refused(Key::Compress, compress, kinesis);
    Settings { reorder: Some(false), compress: text("none"), ..kpl() }.validate().unwrap();
    refused(
        Key::PartitionBy,
        "partition_by needs container = kpl: records of lines have no key, and Firehose has no shards",
        Settings { partition_by: text("c-ip"), ..settings() },
    );
    refused(
        Key::Container,
        "container = kpl does not go with to = firehose://: Firehose takes aggregates apart only when they come from a \
         Kinesis stream",
        Settings { to: text("firehose://hits"), ..kpl() },
    );
    let line = || Settings { container: Some(ContainerKind::Line), to: text("kinesis://hits"), ..settings() };
    let one = "does not go with container = line: a record is one line, as it is";
    refused(Key::Align, &format!("align {one}"), Settings { align: Some(1), ..line() });
    refused(Key::Reorder, &format!("reorder {one}"), Settings { reorder: Some(true), ..line() });
    refused(Key::Compress, &format!("compress {one}"), Settings { compress: text("zstd"), ..line() });
    let config = Settings { reorder: Some(false), ..line() }.validate().unwrap();
    assert_eq!(config.in_force(Key::Container).as_deref(), Some("\"line\""));
    assert_eq!((config.in_force(Key::Align), config.in_force(Key::Reorder)), (None, None));
    assert!(!config.delivery().aggregates);
}

#[test]
fn objects_have_an_interval_and_s3_encrypts_them() {
    let to_s3 = Settings { to: text("s3://logs/hits"), ..settings() };
    let config = to_s3.validate().unwrap();
    assert_eq!(config.target(), &Target::S3(S3Uri::new("logs", "hits/")));
    assert_eq!((config.objects(), config.api()), (&ObjectsConfig::default(), Api::PutRecordBatch));
    let kms = Settings {
        sse: Some(ServerSideEncryption::AwsKms),
        sse_kms_key_id: text("alias/logs"),
        buffering_interval: Some(Duration::from_secs(60)),
        ..to_s3.clone()
    };
    let config = kms.validate().unwrap();
    assert_eq!((config.objects().sse_kms_key_id.as_deref(), config.objects().sse), (Some("alias/logs"), kms.sse));
    assert_eq!(config.in_force(Key::BufferingInterval).as_deref(), Some("\"1m\""));
    refused(Key::Sse, "sse needs to = s3://: it is S3 that encrypts", Settings { to: text("dir:out"), ..kms.clone() });
    refused(
        Key::SseKmsKeyId,
        "sse_kms_key_id needs sse = aws:kms: nothing else has such a key",
        Settings { sse: Some(ServerSideEncryption::Aes256), ..kms },
    );
    refused(
        Key::BufferingInterval,
        "buffering_interval = 0s: must be from 1s to 30d",
        Settings { buffering_interval: Some(Duration::ZERO), ..settings() },
    );
    refused(
        Key::To,
        "to = s3://Logs/x: `Logs` cannot be the name of a bucket: 3 to 63 small letters, digits, `.` and `-`",
        Settings { to: text("s3://Logs/x"), ..settings() },
    );
}

#[test]
fn a_spool_is_for_streams() {
    let spool = Settings { spool: Some("kept".into()), ..settings() };
    refused(
        Key::Spool,
        "spool needs to = firehose:// or kinesis://: what other targets have not taken stays in the input",
        spool.clone(),
    );
    let without = "needs spool: there is no spool without it";
    refused(Key::SpoolSize, &format!("spool_size {without}"), Settings { spool_size: Some(1), ..settings() });
    let full = Settings { spool_full: Some(WhenFull::Stop), ..settings() };
    refused(Key::SpoolFull, &format!("spool_full {without}"), full);
    let to = text("firehose://hits");
    let nothing = Settings { spool_size: Some(0), to, ..spool };
    refused(Key::SpoolSize, "spool_size = 0: no record would fit into the spool", nothing);
}

#[test]
fn a_hash_needs_a_key_that_cannot_be_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let hash = || Settings { hash: text("c-ip"), ..settings() };
    let of_file = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Settings { hash_key_file: Some(path.clone()), ..hash() }
    };
    let why = "who does not know the key of a hash must not be able to guess the value";
    refused(Key::Hash, &format!("hash needs hash_key_file: {why}"), hash());
    let short = "a key of 15 bytes; it needs 16 or more";
    refused(
        Key::HashKey,
        &format!("hash_key: {short}"),
        Settings { hash_key: Some(Secret::new("0123456789abcde")), ..hash() },
    );
    for ending in ["", "\n", "\r\n"] {
        let key = format!("0123456789abcde{ending}");
        refused(Key::HashKeyFile, &format!("hash_key_file: {short}"), of_file(key.as_bytes()));
        of_file(format!("0123456789abcdef{ending}").as_bytes()).validate().unwrap();
    }
    of_file(&[0xff; 16]).validate().unwrap();
    let none = Settings { hash_key_file: Some("/no/such/key".into()), ..hash() };
    assert!(error_of(&none).to_string().starts_with("hash_key_file = /no/such/key: No such file"));
    let both = Settings { hash_key: Some(Secret::new("0123456789abcdef")), ..of_file(b"0123456789abcdef") };
    refused(Key::HashKey, "hash_key does not go with hash_key_file: only one of them can be the key", both);
    // For all pipelines, of which one has nothing to hash.
    Settings { hash: None, ..none }.validate().unwrap();
}

#[test]
fn no_setting_shows_the_key() {
    let key = "0123456789abcdef";
    let settings = Settings { hash: text("c-ip"), hash_key: Some(Secret::new(key)), ..settings() };
    let config = settings.validate().unwrap();
    for shown in [format!("{settings:?}"), format!("{config:?}")] {
        assert!(!shown.contains(key) && !shown.contains(&format!("{:?}", key.as_bytes())), "{shown}");
    }
    for value in [json!(1_234_567_890), json!(["0123456789"]), json!({ "0123456789": 1 })] {
        let error = serde_json::from_value::<Settings>(json!({ "hash_key": value })).unwrap_err().to_string();
        assert_eq!(error, "not text");
    }
}

#[test]
fn one_thing_becomes_of_a_value() {
    let treat = |hash: &str, drop: &str, replace: &[&str]| Settings {
        hash: Some(hash.to_owned()).filter(|list| !list.is_empty()),
        hash_key: Some(Secret::new("0123456789abcdef")),
        drop: Some(drop.to_owned()).filter(|list| !list.is_empty()),
        replace: replace.iter().map(|&text| text.into()).collect(),
        ..settings()
    };
    refused(Key::Hash, "hash: `query.u` is selected twice", treat("query.u", "c-ip,query.u", &[]));
    refused(Key::Replace, "replace: `c-ip` is selected twice", treat("", "c-ip", &["c-ip=x"]));
    refused(Key::Replace, "replace = c-ip: not of the form SELECTOR=VALUE", treat("", "", &["c-ip"]));
    refused(
        Key::Drop,
        "drop: `query.` needs the name of a parameter, such as `query.utm_source`",
        treat("", "query.", &[]),
    );
    let needed = "lines are read by their time; it can only be dropped";
    refused(Key::Hash, &format!("hash: not `date`: {needed}"), treat("c-ip,date", "", &[]));
    refused(Key::Replace, &format!("replace: not `timestamp`: {needed}"), treat("", "", &["timestamp=1"]));
    let config = treat("c-ip", "timestamp", &["query.a=b=c", "cs-cookie="]).validate().unwrap();
    assert_eq!(config.treatment().unwrap().actions.len(), 4);
    let nothing = Settings { mask_ip: Some(false), ..settings() };
    assert!(nothing.validate().unwrap().treatment().is_none());
}

#[test]
fn paths_must_be_there_and_differ() {
    for (key, settings) in [
        (Key::Quarantine, Settings { quarantine: Some("".into()), ..settings() }),
        (Key::Resume, Settings { resume: Some("".into()), ..settings() }),
        (Key::Spool, Settings { spool: Some("".into()), to: text("firehose://hits"), ..settings() }),
    ] {
        refused(key, &format!("{key}: the path is empty"), settings);
    }
    refused(
        Key::Resume,
        "resume = state is also the file of quarantine: name another",
        Settings { resume: Some("state".into()), quarantine: Some("state".into()), ..settings() },
    );
}

#[test]
fn names_must_exist() {
    for (key, part, settings) in [
        (Key::To, "to = s3:bucket: not one of firehose://STREAM", Settings { to: text("s3:bucket"), ..settings() }),
        (Key::To, "to = ftp://a: not one of firehose://STREAM", Settings { to: text("ftp://a"), ..settings() }),
        (Key::To, "to = dir:: not one of", Settings { to: text("dir:"), ..settings() }),
        (Key::To, "to = null:x: not one of", Settings { to: text("null:x"), ..settings() }),
        (Key::To, "to = kinesis://a/b: `a/b` cannot be", Settings { to: text("kinesis://a/b"), ..settings() }),
        (Key::Compress, "compress: `lz4` is not one of none", Settings { compress: text("lz4"), ..settings() }),
        (Key::Compress, "compress: `zstd:99` is not", Settings { compress: text("zstd:99"), ..settings() }),
        (Key::Select, "select: unknown field `c-ipp`", Settings { select: text("c-ipp"), ..settings() }),
        (Key::Select, "select: the selection is empty", Settings { select: text(""), ..settings() }),
        (Key::Column, "column: unknown field `c-ipp`", Settings { column: vec!["c-ipp".into()], ..parquet() }),
        (Key::PartitionBy, "partition_by: `c-ip` is selected twice", {
            Settings { partition_by: text("c-ip,c-ip"), ..parquet() }
        }),
        (Key::Match, "match: `c-ip` is not of the form", Settings { matches: vec!["c-ip".into()], ..settings() }),
        (Key::PartitionBy, "partition_by: `query.` needs", Settings { partition_by: text("query."), ..kpl() }),
    ] {
        let error = error_of(&settings);
        assert_eq!(error.key(), key, "{error}");
        assert!(error.to_string().starts_with(part), "{error}");
    }
    let of_service = Settings { to: text("stdout:"), ..settings() }.validate().unwrap();
    assert_eq!(of_service.target(), &Target::Stdout(None));
    let of_stream = Settings { to: text("stdout:hits"), ..settings() }.validate().unwrap();
    assert_eq!(of_stream.target(), &Target::Stdout(text("hits")));
}

#[test]
fn files_of_columns_go_to_a_folder_and_are_no_records() {
    let config = parquet().validate().unwrap();
    let Container::Parquet { table, codec, .. } = config.container() else { panic!("{:?}", config.container()) };
    // Those of the fields that logs usually have, the query's parameters, and what is left.
    assert_eq!((table.columns().len(), *codec), (48, Codec::Zstd(1)));
    assert_eq!(config.in_force(Key::Encode).as_deref(), Some("\"parquet\""));
    assert_eq!(config.in_force(Key::RecordSize), None);
    let with_folders = Settings { column: vec!["query.u".into()], partition_by: text("cs-protocol"), ..parquet() };
    let Container::Parquet { table, .. } = with_folders.validate().unwrap().container().clone() else { panic!() };
    let folders = table.columns().iter().filter(|column| column.is_folder()).map(|column| column.name());
    assert_eq!((table.columns().len(), folders.collect::<Vec<_>>()), (49, vec!["cs_protocol"]));
    for (key, part, settings) in [
        (Key::Encode, "encode = parquet does not go with to:", Settings { to: text("firehose://hits"), ..parquet() }),
        (Key::Encode, "encode = parquet does not go with to:", Settings { to: text("null:"), ..parquet() }),
        (Key::Container, "container does not go with encode = parquet:", {
            Settings { container: Some(ContainerKind::Lines), ..parquet() }
        }),
        (Key::RecordSize, "record_size does not", Settings { record_size: Some(100_000), ..parquet() }),
        (Key::Column, "column needs encode = parquet:", Settings { column: vec!["query.u".into()], ..settings() }),
        (Key::Column, "column does not go with select:", {
            Settings { column: vec!["query.u".into()], select: text("c-ip"), ..parquet() }
        }),
        (Key::SortBy, "sort_by needs encode = parquet:", Settings { sort_by: text("c-ip"), ..settings() }),
        (Key::SortBy, "sort_by = query.u needs column:", Settings { sort_by: text("query.u"), ..parquet() }),
        (Key::SortBy, "sort_by = c-ip needs column:", {
            Settings { sort_by: text("c-ip"), partition_by: text("c-ip"), ..parquet() }
        }),
    ] {
        let error = error_of(&settings);
        assert_eq!(error.key(), key, "{error}");
        assert!(error.to_string().starts_with(part), "{error}");
    }
}

#[test]
fn fields_must_be_lists_that_can_be_told_apart() {
    let fields = |fields: &[&str]| Settings { fields: fields.iter().map(|&list| list.into()).collect(), ..settings() };
    for (list, part) in [
        (&[""][..], "fields = : the field list is empty"),
        (&["timestamp,cs-uri-qeury"], "fields = timestamp,cs-uri-qeury: unknown field `cs-uri-qeury`, did you mean"),
        (&["qqq"], "fields = qqq: unknown field `qqq`; write `+qqq` to accept it"),
        (&["timestamp,timestamp"], "fields = timestamp,timestamp: field `timestamp` is listed twice"),
        (&["timestamp", "c-ip"], "fields: two schemas have 1 columns"),
        (&["@no/such/file"], "fields = @no/such/file: No such file"),
    ] {
        let error = error_of(&fields(list));
        assert_eq!(error.key(), Key::Fields);
        assert!(error.to_string().starts_with(part), "{error}");
    }
    assert!(error_of(&fields(&["qqq"])).to_string().contains("; presets are pixel-4, realtime-40"));
    let standard = |list| Settings { format: Some(Format::Standard), ..fields(list) };
    refused(Key::Fields, "fields: standard logs without a header take one list", standard(&["date", "time"]));
    let config = standard(&["date,time"]).validate().unwrap();
    assert_eq!((config.standard_schema().unwrap().columns().len(), config.schemas().iter().count()), (2, 0));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fields");
    fs::write(&path, "timestamp\nc-ip\n").unwrap();
    let config = fields(&[&format!("@{}", path.display()), "pixel-4"]).validate().unwrap();
    assert_eq!(config.schemas().iter().map(|schema| schema.columns().len()).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn a_message_can_be_spelled_in_flags() {
    let flag = |key: Key, value: Option<&str>| {
        format!("--{}{}", key.name(), value.map_or(String::new(), |value| format!("={value}")))
    };
    let error = error_of(&Settings { align: Some(1), ..kpl() });
    let why = "aggregates are filled to the last line that fits";
    assert_eq!(error.spelled(flag), format!("--align does not go with --container=kpl: {why}"));
    assert_eq!(
        error_of(&Settings { threads: Some(0), ..settings() }).spelled(flag),
        "--threads=0: must be from 1 to 1024"
    );
}

#[test]
fn settings_are_read_from_numbers_and_from_text() {
    let typed = json!({
        "format": "standard", "fields": ["date,time"], "query_encoding": "auto", "match": ["c-ip=1*", "sc-status=2*"],
        "dedup_window": 1_000, "mask_ip": true, "hash": "query.u", "hash_with": "hmac-sha256", "hash_key": "0123456789abcdef", "drop": "cs-cookie",
        "replace": ["query.v=x"], "on_bad_line": "skip",
        "quarantine": "bad.jsonl", "encode": "jsonl", "select": "c-ip", "to": "firehose://hits", "container": "lines",
        "record_size": 20_480, "align": 512, "reorder": true, "compress": "zstd:1", "linger": "250ms", "threads": 2,
        "resume": "state", "buffering_interval": "1m", "concurrency": 8, "request_size": 2_097_152, "count_request_size": "data",
        "rate_limit": 5_242_880, "give_up_after": "5m", "grace": "1s", "spool": "kept", "spool_size": 1_000_000_000,
        "spool_full": "stop", "region": "eu-west-1", "profile": "beacons", "endpoint_url": "http://127.0.0.1:4567",
        "role_arn": "arn:aws:iam::123456789012:role/beacons", "request_timeout": "5s",
    });
    let mut as_text = typed.clone();
    for (key, value) in [
        ("record_size", "20KiB"),
        ("align", "512"),
        ("reorder", "true"),
        ("dedup_window", "1000"),
        ("mask_ip", "true"),
        ("threads", "2"),
        ("concurrency", "8"),
        ("request_size", "2MiB"),
        ("rate_limit", "5MiB"),
        ("spool_size", "1GB"),
    ] {
        as_text[key] = value.into();
    }
    let typed: Settings = serde_json::from_value(typed).unwrap();
    let as_text: Settings = serde_json::from_value(as_text).unwrap();
    assert_eq!(typed, as_text);
    typed.validate().unwrap();
    let given: BTreeSet<Key> = Key::ALL.iter().copied().filter(|&key| typed.clone().unset(key)).collect();
    let others = "partition_by does not go with lines, hash_key_file not with hash_key, column and sort_by not with jsonl, sse and \
                  its key not with firehose";
    assert_eq!(given.len(), Key::ALL.len() - 6, "{others}");

    let one: Settings =
        serde_json::from_value(json!({ "match": "c-ip=1*", "linger": 0, "rate_limit": "none" })).unwrap();
    assert_eq!((one.matches.len(), one.linger, one.rate_limit), (1, Some(Linger::Never), Some(RateLimit::None)));
}

#[test]
fn settings_that_cannot_be_read_are_refused() {
    for (settings, part) in [
        (json!({ "recordsize": 1 }), "unknown field `recordsize`, expected one of `format`"),
        (json!({ "encode": "xml" }), "invalid value: string \"xml\", expected one of raw, jsonl"),
        (json!({ "record_size": "much" }), "expected bytes, as a number or with a unit"),
        (json!({ "record_size": -1 }), "invalid value: integer `-1`, expected bytes"),
        (json!({ "grace": 10 }), "invalid value: integer `10`, expected a duration with its unit"),
        (json!({ "linger": 1 }), "expected `none`, or a duration"),
        (json!({ "reorder": "yes" }), "expected true or false"),
        (json!({ "threads": true }), "invalid value: boolean `true`, expected a number"),
        (json!({ "rate_limit": "1/s" }), "expected `none`, or bytes a second"),
        (json!({ "fields": 4 }), "expected text, or a list of it"),
    ] {
        let error = serde_json::from_value::<Settings>(settings.clone()).expect_err("it is refused").to_string();
        assert!(error.contains(part), "{settings}: {error}");
    }
}

#[test]
fn keys_are_the_fields_of_settings() {
    let error = serde_json::from_value::<Settings>(json!({ "nothing": 1 })).unwrap_err().to_string();
    let expected = error.split("expected one of ").nth(1).expect("the fields are listed");
    let fields: Vec<&str> = expected.split(", ").map(|field| field.trim_matches('`')).collect();
    assert_eq!(fields, Key::ALL.iter().map(|key| key.name()).collect::<Vec<_>>());
}

impl Settings {
    /// Takes a setting back; whether it was set.
    fn unset(&mut self, key: Key) -> bool {
        fn was_given<T>(setting: &mut Option<T>) -> bool {
            setting.take().is_some()
        }
        match key {
            Key::Format => was_given(&mut self.format),
            Key::Fields => !std::mem::take(&mut self.fields).is_empty(),
            Key::QueryEncoding => was_given(&mut self.query_encoding),
            Key::Match => !std::mem::take(&mut self.matches).is_empty(),
            Key::DedupWindow => was_given(&mut self.dedup_window),
            Key::MaskIp => was_given(&mut self.mask_ip),
            Key::Hash => was_given(&mut self.hash),
            Key::HashWith => was_given(&mut self.hash_with),
            Key::HashKey => was_given(&mut self.hash_key),
            Key::HashKeyFile => was_given(&mut self.hash_key_file),
            Key::Drop => was_given(&mut self.drop),
            Key::Replace => !std::mem::take(&mut self.replace).is_empty(),
            Key::OnBadLine => was_given(&mut self.on_bad_line),
            Key::Quarantine => was_given(&mut self.quarantine),
            Key::Encode => was_given(&mut self.encode),
            Key::Select => was_given(&mut self.select),
            Key::Column => !std::mem::take(&mut self.column).is_empty(),
            Key::SortBy => was_given(&mut self.sort_by),
            Key::To => was_given(&mut self.to),
            Key::Container => was_given(&mut self.container),
            Key::PartitionBy => was_given(&mut self.partition_by),
            Key::RecordSize => was_given(&mut self.record_size),
            Key::Align => was_given(&mut self.align),
            Key::Reorder => was_given(&mut self.reorder),
            Key::Compress => was_given(&mut self.compress),
            Key::Linger => was_given(&mut self.linger),
            Key::Threads => was_given(&mut self.threads),
            Key::Resume => was_given(&mut self.resume),
            Key::BufferingInterval => was_given(&mut self.buffering_interval),
            Key::Sse => was_given(&mut self.sse),
            Key::SseKmsKeyId => was_given(&mut self.sse_kms_key_id),
            Key::Concurrency => was_given(&mut self.concurrency),
            Key::RequestSize => was_given(&mut self.request_size),
            Key::CountRequestSize => was_given(&mut self.count_request_size),
            Key::RateLimit => was_given(&mut self.rate_limit),
            Key::GiveUpAfter => was_given(&mut self.give_up_after),
            Key::Grace => was_given(&mut self.grace),
            Key::Spool => was_given(&mut self.spool),
            Key::SpoolSize => was_given(&mut self.spool_size),
            Key::SpoolFull => was_given(&mut self.spool_full),
            Key::Region => was_given(&mut self.region),
            Key::Profile => was_given(&mut self.profile),
            Key::EndpointUrl => was_given(&mut self.endpoint_url),
            Key::RoleArn => was_given(&mut self.role_arn),
            Key::RequestTimeout => was_given(&mut self.request_timeout),
        }
    }
}

const LINES: u64 = 400;
/// Every seventh line of the log has one column, every eleventh is longer than small records.
const BAD: u64 = 7;
const LONG: u64 = 11;

/// Lines of `pixel-4`, of which some are bad and some are long.
fn log() -> Vec<u8> {
    let line = |number: u64| {
        if number.is_multiple_of(BAD) {
            return format!("broken {number}\n");
        }
        let (millisecond, viewer) = (number % 1_000, number % 5);
        let padding = "x".repeat(if number.is_multiple_of(LONG) { 3_000 } else { 20 + (number % 60) as usize });
        format!("1767600000.{millisecond:03}\t203.0.113.{viewer}\tMozilla/5.0\te=pv&n={number}&p={padding}\n")
    };
    (0..LINES).map(line).collect::<String>().into_bytes()
}

/// Keeps the data of every record, and counts as [`Null`] does.
struct Memory {
    null: Null,
    records: Vec<Vec<u8>>,
}

impl Sink for Memory {
    fn ship(&mut self, record: Record) -> Result<(), SinkError> {
        self.records.push(record.chunks().collect::<Vec<_>>().concat());
        self.null.ship(record)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.null.flush()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        self.null.close()
    }

    fn delivered(&self) -> Delivered {
        self.null.delivered()
    }

    fn requests(&self) -> u64 {
        self.null.requests()
    }
}

/// The bytes of each row.
fn rows(mut bytes: &[u8], columns: usize) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    while let Some((_, rest)) = Row::split_first(bytes, columns) {
        rows.push(bytes[..bytes.len() - rest.len()].to_vec());
        bytes = rest;
    }
    rows
}

impl Memory {
    /// The lines that a consumer would find, sorted.
    fn lines(&self, container: &Container) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for record in &self.records {
            assert!(record.len() <= container.record_size(), "{} B in {container:?}", record.len());
            let text = match container.codec() {
                Codec::None => record.clone(),
                Codec::Gzip(_) => {
                    let mut text = Vec::new();
                    flate2::read::GzDecoder::new(&record[..]).read_to_end(&mut text).unwrap();
                    text
                }
                Codec::Zstd(_) => zstd::decode_all(&record[..]).unwrap(),
            };
            let text = match kpl::decode(&text) {
                kpl::Decoded::Aggregate(aggregate) => {
                    aggregate.records().flat_map(|record| record.data.to_vec()).collect()
                }
                _ => text,
            };
            match container {
                Container::Parquet { table, .. } => lines.extend(rows(&text, table.columns().len())),
                _ => lines.extend(text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec)),
            }
        }
        lines.sort();
        lines
    }
}

/// Mostly settings that exist, each of them seldom, so that many combinations are valid.
fn any_settings() -> impl Strategy<Value = Settings> {
    fn seldom<T: Clone + std::fmt::Debug + 'static>(
        strategy: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = Option<T>> {
        prop::option::weighted(0.3, strategy)
    }
    fn one_of<T: Clone + std::fmt::Debug + 'static>(values: impl Into<Vec<T>>) -> impl Strategy<Value = T> {
        prop::sample::select(values.into())
    }
    fn names<T: Choice + std::fmt::Debug>() -> impl Strategy<Value = T> {
        one_of(T::CHOICES.iter().map(|&(value, ..)| value).collect::<Vec<_>>())
    }
    fn texts(values: &[&str]) -> impl Strategy<Value = String> + use<> {
        one_of(values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
    }
    fn size() -> impl Strategy<Value = u64> {
        let usual = prop_oneof![1_024..8_192_u64, 8_192..1_024_001_u64];
        prop_oneof![8 => usual, 1 => 0..2_048_u64, 1 => any::<u64>()]
    }
    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![8 => (0..4_000_000_u64).prop_map(Duration::from_millis), 1 => any::<Duration>()]
    }
    let what = (
        seldom(names::<Format>()),
        prop::option::weighted(
            0.3,
            texts(&["pixel-4", "realtime-46", "timestamp,c-ip,+agent,cs-uri-query", "no-field", "@/none"]),
        ),
        prop::option::weighted(0.3, texts(&["c-ip=203.0.113.1", "query.n=*3*", "timestamp=*", "c-ip", "c-ip=["])),
        seldom(names::<OnBadLine>()),
        seldom(names::<EncodingKind>()),
        seldom(texts(&["timestamp,query.n", "c-ip uri-path", "timestamp,timestamp", "c-ipp"])),
        seldom(names::<QueryEncodingKind>()),
        seldom(prop_oneof![6 => 1..1_000_u64, 1 => Just(0), 1 => 100_000_001..u64::MAX]),
        seldom(texts(&["query.n", "uri-path", "query.", "c-ipp"])),
        seldom(texts(&["timestamp", "query.n", "query.", "c-ipp"])),
    );
    let records = (
        seldom(texts(&[
            "null:",
            "stdout:",
            "dir:out",
            "firehose://hits",
            "kinesis://hits",
            "s3://hits/a",
            "kinesis://",
        ])),
        seldom(names::<ContainerKind>()),
        seldom(texts(&["c-ip", "query.n", "query.", "cookie"])),
        prop::option::of(size()),
        seldom(prop_oneof![4 => 1..6_000_u64, 1 => any::<u64>(), 1 => Just(0)]),
        seldom(any::<bool>()),
        seldom(texts(&["none", "gzip:1", "gzip:0", "zstd:-7", "zstd:1", "zstd:99", "lz4"])),
        seldom(one_of([
            Linger::BySource,
            Linger::Never,
            Linger::After(Duration::ZERO),
            Linger::After(Duration::from_secs(2)),
        ])),
        seldom(prop_oneof![6 => 1..4_u64, 1 => Just(0), 1 => 1_025..u64::MAX]),
    );
    let delivery = (
        seldom(prop_oneof![6 => 1..9_u64, 1 => Just(0), 1 => any::<u64>()]),
        seldom(prop_oneof![6 => 1_048_576..10_485_760_u64, 1 => any::<u64>()]),
        seldom(names::<Counted>()),
        seldom(one_of([
            RateLimit::Auto,
            RateLimit::None,
            RateLimit::BytesPerSecond(1 << 20),
            RateLimit::BytesPerSecond(0),
        ])),
        seldom(duration()),
        seldom(duration()),
        seldom(one_of(["kept", ""])),
        seldom(one_of([0, 1, 1 << 30, u64::MAX])),
        seldom(names::<WhenFull>()),
        seldom(one_of(["state", "bad.jsonl", ""])),
        seldom(one_of(["bad.jsonl", ""])),
    );
    let reach = (
        seldom(texts(&["eu-west-1", "us-east-1", "ap-northeast-1", ""])),
        seldom(texts(&["beacons", "hits", "default", ""])),
        seldom(texts(&["http://127.0.0.1:4567", "http://localhost", ""])),
        seldom(texts(&["arn:aws:iam::123456789012:role/beacons", ""])),
        seldom(duration()),
    );
    let privacy = (
        seldom(any::<bool>()),
        seldom(texts(&["c-ip", "query.n,cs-user-agent", "timestamp", "c-ip,c-ip", "query."])),
        seldom(names::<HashFunction>()),
        prop::option::weighted(0.7, one_of([Secret::new("0123456789abcdef"), Secret::new("short")])),
        prop::option::weighted(0.1, one_of(["/none", ""])),
        seldom(texts(&["c-ip", "query.p,timestamp", "c-ipp", ""])),
        seldom(texts(&["query.e=x y", "c-ip=-", "timestamp=1", "c-ip"])),
    );
    let objects = (
        seldom(duration()),
        prop::option::weighted(0.1, names::<ServerSideEncryption>()),
        prop::option::weighted(0.1, texts(&["alias/logs", ""])),
    );
    let all = (what, records, delivery, reach, privacy, objects);
    all.prop_map(|(what, records, delivery, reach, privacy, objects)| Settings {
        format: what.0,
        fields: what.1.into_iter().collect(),
        query_encoding: what.6,
        matches: what.2.into_iter().collect(),
        dedup_window: what.7,
        mask_ip: privacy.0,
        hash: privacy.1,
        hash_with: privacy.2,
        hash_key: privacy.3,
        hash_key_file: privacy.4.map(PathBuf::from),
        drop: privacy.5,
        replace: privacy.6.into_iter().collect(),
        on_bad_line: what.3,
        encode: what.4,
        select: what.5,
        column: what.8.into_iter().collect(),
        sort_by: what.9,
        to: records.0,
        container: records.1,
        partition_by: records.2,
        record_size: records.3,
        align: records.4,
        reorder: records.5,
        compress: records.6,
        linger: records.7,
        threads: records.8,
        concurrency: delivery.0,
        request_size: delivery.1,
        count_request_size: delivery.2,
        rate_limit: delivery.3,
        give_up_after: delivery.4,
        grace: delivery.5,
        spool: delivery.6.map(PathBuf::from),
        spool_size: delivery.7,
        spool_full: delivery.8,
        resume: delivery.9.map(PathBuf::from),
        quarantine: delivery.10.map(PathBuf::from),
        region: reach.0,
        profile: reach.1,
        endpoint_url: reach.2,
        role_arn: reach.3,
        request_timeout: reach.4,
        buffering_interval: objects.0,
        sse: objects.1,
        sse_kms_key_id: objects.2,
    })
}

/// Runs the log through the pipeline; every line is accounted for, and what was shipped is in the
/// records.
fn run_through(config: &Config, input: Input, quarantine: &Path) -> Result<(), TestCaseError> {
    let mut sink = Memory { null: Null::new(config.api()), records: Vec::new() };
    let mut quarantine = Quarantine::new(quarantine);
    let report = Run::new(config).source(Files::new([input])).to(&mut sink, &mut quarantine);
    let summary = &report.summary;
    let accounted = summary.lines_shipped + summary.lines_spooled + summary.lines_quarantined + summary.lines_filtered;
    if config.on_bad_line() == OnBadLine::Fail && !report.errors.is_empty() {
        prop_assert!(report.errors.iter().all(|error| matches!(error, Error::BadLine(_))), "{:?}", report.errors);
        prop_assert_eq!(summary.lines_in, accounted + summary.lines_undelivered);
        prop_assert_eq!(summary.lines_undelivered, 1);
    } else {
        prop_assert!(report.errors.is_empty(), "{:?}", report.errors);
        prop_assert_eq!((summary.lines_in, accounted, summary.lines_undelivered), (LINES, LINES, 0));
    }
    let lines = sink.lines(config.container());
    prop_assert_eq!(lines.len() as u64, summary.lines_shipped);
    prop_assert_eq!(lines.iter().map(|line| line.len() as u64).sum::<u64>() > 0, summary.lines_shipped > 0);
    let is_pixel_4 = matches!(config.format(), Format::Auto | Format::RealTime)
        && config.schemas().iter().any(|schema| schema.columns().len() == 4);
    let is_as_it_came = *config.encoding() == Encoding::Raw && config.treatment().is_none();
    if is_pixel_4 && is_as_it_came && config.matcher().is_empty() {
        let text = log();
        let is_good = |(number, line): &(usize, &[u8])| {
            !(*number as u64).is_multiple_of(BAD) && line.len() <= config.container().max_line_len()
        };
        let good = text.split_inclusive(|&byte| byte == b'\n').enumerate().filter(is_good);
        let mut good: Vec<Vec<u8>> = good.map(|(_, line)| line.to_vec()).collect();
        good.sort();
        if config.on_bad_line() == OnBadLine::Fail {
            prop_assert!(lines.is_empty(), "the first line is bad");
        } else {
            prop_assert_eq!(lines, good);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn settings_are_refused_by_key_or_lose_nothing(settings in any_settings()) {
        let mut settings = settings;
        let config = loop {
            let error = match settings.validate() {
                Ok(config) => break config,
                Err(error) => error,
            };
            // The key is what is wrong: without it, everything is right or something else is wrong.
            let key = error.key();
            prop_assert!(error.to_string().starts_with(key.name()), "{error}");
            prop_assert!(settings.unset(key), "{error}: {key} was not set");
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.log");
        fs::write(&path, log()).unwrap();
        run_through(&config, Input::File(path), &folder.path().join("bad.jsonl"))?;
    }
}
