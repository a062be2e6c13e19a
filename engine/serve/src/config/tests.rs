use super::*;

const BEACONS: &str = r#"
region = "eu-west-1"
record_size = "100KiB"

[pipeline.beacons]
to = "firehose://beacons"
match = ["cs-uri-stem=/1x1.gif*"]
resume = "/var/lib/pixel-engine/beacons.checkpoint"

[[pipeline.beacons.source]]
type = "follow"
files = ["/var/log/pixel/*.log"]
start = "end"

[pipeline.hits]
to = "kinesis://hits"
linger = "250ms"
record_size = 51200
source = { type = "stdin" }
"#;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<FileConfig, FileErrors> {
    FileConfig::parse("run.toml", text, variables.iter().map(|(name, value)| (name.to_string(), value.to_string())))
}

#[test]
fn pipelines_have_their_own_settings_and_those_of_all() {
    let file =
        read(BEACONS, &[("PIXEL_ENGINE_GRACE", "3s"), ("PIXEL_ENGINE_SIMD", "avx2"), ("HOME", "/root")]).unwrap();
    let [beacons, hits] = &file.pipelines[..] else { panic!("two") };
    assert_eq!((beacons.name.as_str(), hits.name.as_str()), ("beacons", "hits"));
    let follow = SourceConfig::Follow { files: vec!["/var/log/pixel/*.log".to_owned()], start: Start::End };
    assert_eq!((&beacons.sources[..], &hits.sources[..]), (&[follow][..], &[SourceConfig::Stdin][..]));
    assert_eq!((beacons.config.container().record_size(), hits.config.container().record_size()), (102_400, 51_200));
    assert_eq!(beacons.config.linger(), Linger::After(LINGER_FOR_FIREHOSE));
    assert_eq!(hits.config.linger(), Linger::After(Duration::from_millis(250)));
    for pipeline in [beacons, hits] {
        assert_eq!(pipeline.config.connection().region.as_deref(), Some("eu-west-1"));
        assert_eq!(pipeline.config.delivery().grace, Duration::from_secs(3));
        assert_eq!(pipeline.given[&Key::Region], Given { value: "\"eu-west-1\"".to_owned(), from: From::Line(2) });
        assert_eq!(pipeline.given[&Key::Grace].from, From::Variable("PIXEL_ENGINE_GRACE".to_owned()));
    }
    assert_eq!(beacons.given[&Key::RecordSize].from, From::Line(3));
    assert_eq!(hits.given[&Key::RecordSize].from, From::Line(18));
    assert_ne!(beacons.config.quarantine(), hits.config.quarantine());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("x = ", "run.toml:1:"),
        ("", "run.toml: no pipeline: add a table [pipeline.NAME]"),
        ("pipeline = 3", "run.toml:1:12: pipelines are tables"),
        (
            "recordsize = 5\n[pipeline.a]\nsource = { type = \"stdin\" }",
            "run.toml:1:1: unknown key `recordsize`; did you mean `record_size`?",
        ),
        (
            "[pipeline.a]\n  record_size = \"much\"\n  source = { type = \"stdin\" }",
            "run.toml:2:17: record_size: invalid value: string \"much\", expected bytes",
        ),
        (
            "[pipeline.a]\nrecord_size = 10\nsource = { type = \"stdin\" }",
            "run.toml:2:15: pipeline a: record_size = 10: must be from 1024",
        ),
        (
            "spool_full = \"stop\"\n[pipeline.a]\nsource = { type = \"stdin\" }",
            "run.toml:1:14: pipeline a: spool_full needs spool",
        ),
        ("[pipeline.a]\nto = \"null:\"", "run.toml:1:11: pipeline a has no source"),
        ("[pipeline.a]\nsource = 1", "run.toml:2:10: a source is a table"),
        ("[pipeline.a]\nsource = { files = [] }", "run.toml:2:10: the source has no type"),
        (
            "[pipeline.a]\nsource = { type = \"tail\" }",
            "run.toml:2:19: not a type of source: one of follow, http, journal, s3, stdin, tcp, unix",
        ),
        ("[pipeline.a]\nsource = { type = \"follow\" }", "run.toml:2:10: the source follows no files"),
        (
            "[pipeline.a]\nsource = { type = \"follow\", file = \"a\" }",
            "unknown key `file` of a source; did you mean `files`?",
        ),
        ("[pipeline.a]\nsource = { type = \"follow\", files = \"a***\" }", "files: a***: not a glob"),
        ("[pipeline.a]\nsource = { type = \"follow\", files = [] }", "files: a glob, or a list of them"),
        ("[pipeline.a]\nsource = { type = \"follow\", files = \"a\", start = \"now\" }", "run.toml:2:50: start:"),
        (
            "[pipeline.a]\nsource = { type = \"follow\", files = \"a\" }",
            "run.toml:1:11: pipeline a follows files: add resume",
        ),
        (
            "resume = \"at\"\n[pipeline.a]\nsource = { type = \"stdin\" }\n[pipeline.b]\nsource = { type = \"stdin\" }",
            "run.toml:4:11: pipeline b: resume is at, which is resume of pipeline a: name another",
        ),
    ] {
        let errors = read(text, &[]).expect_err(text).to_string();
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
    let errors = read(BEACONS, &[("PIXEL_ENGINE_THREADS", "many")]).unwrap_err().to_string();
    assert_eq!(errors, "PIXEL_ENGINE_THREADS: threads: invalid value: string \"many\", expected a number");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let text = "grace = 1\nregions = \"x\"\n[pipeline.a]\nalign = true\nsource = { type = \"stdin\" }\n[pipeline.b]\n";
    let places: Vec<_> = read(text, &[]).unwrap_err().0.iter().map(|error| error.place.unwrap().0).collect();
    assert_eq!(places, [1, 2, 4, 6]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = FileConfig::read(Path::new("/no/such.toml"), []).unwrap_err().to_string();
    assert!(error.starts_with("/no/such.toml: No such file"), "{error}");
}

const SITE: &str = r#"
[pipeline.site]
to = "firehose://beacons"
resume = "site.checkpoint"
journal = "site.journal"
journal_size = "2GiB"

[[pipeline.site.source]]
type = "http"
listen = "127.0.0.1:8080"
access_key = "secret"
trusted_proxies = ["10.0.0.0/8", "192.0.2.1"]
client_address_header = "CloudFront-Viewer-Address"
max_body = "1MiB"

[[pipeline.site.source]]
type = "unix"
path = "lines.sock"

[pipeline.copy]
to = "kinesis://copy"
resume = "copy.checkpoint"
source = { type = "journal", folder = "site.journal" }
"#;

#[test]
fn services_have_a_journal_that_others_may_read() {
    let file = read(SITE, &[("PIXEL_ENGINE_JOURNAL_GATHER", "2ms"), ("PIXEL_ENGINE_ACCESS_KEY", "other")]).unwrap();
    let [copy, site] = &file.pipelines[..] else { panic!("two") };
    let journal = site.journal.as_ref().expect("a journal");
    assert_eq!((journal.size, journal.gather), (2 << 30, Duration::from_millis(2)));
    let services: Vec<&ListenConfig> = site.services().collect();
    let Service::Http(http) = &services[0].service else { panic!("HTTP") };
    assert_eq!(http.access_key.as_ref().map(pixel_engine_core::config::Secret::as_bytes), Some(&b"other"[..]));
    assert_eq!((http.max_body, http.proxies.trusted.len(), http.proxies.trusted[1].prefix_len()), (1 << 20, 2, 32));
    assert_eq!(http.proxies.header.as_str(), "cloudfront-viewer-address");
    assert_eq!(http.pixel_fields.columns().len(), 40);
    assert_eq!(services[1].address, Address::Unix("lines.sock".into()));
    assert!(!format!("{file:?}").contains("other\""), "a secret is shown to nobody");
    assert!(copy.journals().eq(site.journals()) && copy.services().next().is_none());
    let changed = read(&SITE.replace("1MiB", "2MiB"), &[]).unwrap();
    let same = read(SITE, &[]).unwrap();
    assert_eq!((same.pipelines[0].is_same(copy), changed.pipelines[1].is_same(&same.pipelines[1])), (true, false));
}

#[test]
fn what_is_wrong_with_a_service_is_said_with_its_place() {
    for (from, to, expected) in [
        ("journal = \"site.journal\"\njournal_size", "size", "unknown key `size`"),
        ("2GiB", "2KiB", "run.toml:2:11: pipeline site: journal_size: 2048 bytes are too few"),
        (
            "2GiB",
            "2 apples",
            "journal_size: invalid value: string \"2 apples\", expected bytes, as a number or with a unit",
        ),
        ("127.0.0.1:8080", "localhost", "run.toml:10:10: listen: \"localhost\": invalid socket address"),
        ("access_key", "acces_key", "run.toml:11:1: unknown key `acces_key` of a source; did you mean `access_key`?"),
        ("\"192.0.2.1\"", "\"here\"", "\"here\" is no network"),
        ("CloudFront-", "Cloud Front", "client_address_header:"),
        ("max_body = \"1MiB\"", "tls_key = \"key\"", "tls_certificate and tls_key: give both"),
        ("max_body = \"1MiB\"", "pixel_fields = \"timestamp c-ipp\"", "did you mean `c-ip`?"),
        ("max_body = \"1MiB\"", "pixel_fields = \"timestamp c-ip\"", "does not take these 2 columns"),
        ("max_body = \"1MiB\"", "max_connections = 0", "max_connections: 1 or more"),
        ("path = \"lines.sock\"", "", "add path = "),
        ("folder = \"site.journal\"", "folder = \"other\"", "other is the journal of no other pipeline"),
        ("folder = \"site.journal\"", "", "the source reads no journal"),
        ("resume = \"copy.checkpoint\"", "", "pipeline copy reads a journal: add resume"),
        (
            "type = \"unix\"\npath = \"lines.sock\"",
            "type = \"tcp\"\nlisten = \"127.0.0.1:8080\"",
            "is an address of pipeline site too",
        ),
    ] {
        assert!(SITE.contains(from), "{from}");
        let errors = read(&SITE.replacen(from, to, 1), &[]).unwrap_err().to_string();
        assert!(errors.contains(expected), "{to}: {errors}");
    }
    let without = SITE.replace("journal = \"site.journal\"\njournal_size = \"2GiB\"\n", "");
    let errors = read(&without, &[]).unwrap_err().to_string();
    assert!(errors.contains("pipeline site listens on the network: add journal"), "{errors}");
}

const LOGS: &str = r#"
region = "us-east-1"

[pipeline.logs]
to = "firehose://beacons"

[[pipeline.logs.source]]
type = "s3"
queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/logs"
keys = ["cdn/E1.*.gz", "**/*.log"]
objects = 8
"#;

#[test]
fn a_queue_needs_no_checkpoint_and_is_where_its_url_says() {
    let file = read(LOGS, &[]).unwrap();
    let [queue] = file.pipelines[0].queues().collect::<Vec<_>>()[..] else { panic!("one") };
    assert_eq!((queue.keys.len(), queue.objects, queue.messages), (2, 8, 1_000));
    let region = |text: &str| {
        let pipeline = read(text, &[]).unwrap().pipelines.remove(0);
        let queue = pipeline.queues().next().unwrap();
        queue.connection(pipeline.config.connection()).region
    };
    assert_eq!(region(LOGS).as_deref(), Some("eu-west-1"));
    assert_eq!(region(&LOGS.replace("objects", "region = \"eu-west-2\"\nobjects")).as_deref(), Some("eu-west-2"));
    let elsewhere = LOGS.replace("https://sqs.eu-west-1.amazonaws.com", "http://127.0.0.1:5000");
    assert_eq!(region(&elsewhere).as_deref(), Some("us-east-1"));
    for (from, to, expected) in [
        ("queue = \"https:", "queue = \"arn:", "is not the URL of a queue: https://sqs.REGION"),
        ("queue =", "queues =", "unknown key `queues` of a source; did you mean `queue`?"),
        (
            "queue = \"https://sqs.eu-west-1.amazonaws.com/123456789012/logs\"",
            "",
            "run.toml:7:1: the source has no queue",
        ),
        ("**/*.log", "a***", "keys: a***: not a glob"),
        ("objects = 8", "objects = 0", "objects: from 1 to 256"),
        ("objects = 8", "messages = 0", "messages: from 1 to 120000"),
    ] {
        assert!(LOGS.contains(from), "{from}");
        let errors = read(&LOGS.replacen(from, to, 1), &[]).unwrap_err().to_string();
        assert!(errors.contains(expected), "{to}: {errors}");
    }
}

#[test]
fn every_key_of_a_source_is_documented() {
    let page = include_str!("../../../../docs/sidecar.md");
    for keys in [FOLLOW_KEYS, JOURNAL_KEYS, HTTP_KEYS, TCP_KEYS, UNIX_KEYS, READ_JOURNAL_KEYS, S3_KEYS, REPORT_KEYS] {
        for SourceKey { name, default, about } in keys {
            let row = format!("| `{name}` | {default} | {about} |\n");
            assert!(page.contains(&row), "docs/sidecar.md has no row {row}");
        }
    }
}
