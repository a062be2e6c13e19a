//! The source `s3` of `run`: objects that a queue tells of, against the tests' own strict queue and
//! against moto.

use std::thread;
use std::time::{Duration, Instant};

use fake_aws::{Action, Bucket, FakeAws, Fault, Queue};
use serde_json::{Value, json};

use crate::peers::{Emulator, moto};
use crate::support::*;

struct Test {
    aws: FakeAws,
    bucket: Bucket,
    queue: Queue,
    workspace: Workspace,
}

impl Test {
    fn new() -> Test {
        Test::with("", "")
    }

    /// With more settings of the pipeline and of the source.
    fn with(settings: &str, of_source: &str) -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        aws.delivery_stream("beacons");
        let (bucket, queue) = (aws.bucket("logs"), aws.queue("notifications"));
        let file = format!(
            "[pipeline.logs]\nto = \"firehose://beacons\"\nlinger = \"200ms\"\n{settings}\n\
             [[pipeline.logs.source]]\ntype = \"s3\"\nqueue = \"{}\"\n{of_source}\n",
            queue.url()
        );
        workspace.write("pixel-engine.toml", file.as_bytes());
        Test { aws, bucket, queue, workspace }
    }

    fn start(&self) -> Guarded {
        let mut command = self.workspace.command(&["run"]);
        Guarded::start(command.envs(self.aws.environment()).env_remove("AWS_PROFILE"))
    }

    fn stop(&self, child: Guarded) -> Run {
        signal(&child, "TERM");
        self.workspace.wait(child.take())
    }

    /// Stores lines with these numbers, and has the queue told of it.
    fn put(&self, key: &str, first: u64, lines: u64) {
        self.bucket.put(key, gzip(&log_from("realtime-46", first, lines)));
        self.queue.send(records([self.bucket.created(key)]));
    }

    fn arrivals(&self, lines: u64) -> Arrivals {
        Arrivals::at(&self.aws.delivery_stream("beacons"), lines)
    }

    fn reads(&self) -> u64 {
        self.aws.counters().requests_of(Action::GetObject)
    }

    #[track_caller]
    fn is_empty(&self) {
        wait_until("every message is deleted", || self.queue.messages().is_empty());
        assert_eq!(self.aws.counters().violations, Vec::<String>::new());
    }
}

fn records(records: impl IntoIterator<Item = Value>) -> String {
    json!({ "Records": records.into_iter().collect::<Vec<_>>() }).to_string()
}

#[test]
fn every_form_of_notification_is_read_and_deleted() {
    let test = Test::with("", "keys = [\"cdn/*\", \"**/*.gz\"]");
    let arrivals = test.arrivals(600);
    let put = |key: &str, first| {
        test.bucket.put(key, gzip(&log_from("realtime-46", first, 100)));
        test.bucket.created(key)
    };
    let test_event = json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "logs" });
    test.queue.send(test_event.to_string());
    test.queue.send(records([put("cdn/a b+c%20.gz", 0), put("cdn/ü&=?.gz", 100)]));
    let sns = json!({ "Type": "Notification", "MessageId": "1", "Message": records([put("x/sns.gz", 200)]) });
    test.queue.send(sns.to_string());
    put("x/y/event bridge+.gz", 300);
    let object = |key: &str| json!({ "bucket": { "name": "logs" }, "object": { "key": key } });
    let event = |kind: &str, key: &str| json!({ "detail-type": kind, "source": "aws.s3", "detail": object(key) });
    test.queue.send(event("Object Created", "x/y/event bridge+.gz").to_string());
    test.queue.send(event("Object Deleted", "x/y/event bridge+.gz").to_string());
    let mut removed = put("cdn/removed.gz", 0);
    removed["eventName"] = "ObjectRemoved:Delete".into();
    test.queue.send(records([removed]));
    test.queue.send(records([put("elsewhere/a.txt", 0), put("cdn/below/a", 0)]));
    // Of an object that S3 notifies of twice, in other messages.
    let twice = put("cdn/twice", 400);
    test.queue.send(records([twice.clone(), put("cdn/plain", 500)])).send(records([twice.clone()]));
    let child = test.start();
    arrivals.wait_for(0..600);
    test.is_empty();
    test.queue.send(records([twice]));
    test.is_empty();
    let run = test.stop(child).ok();
    assert_eq!(arrivals.duplicates(), 0);
    run.says(&["pipeline logs: objects that http://127.0.0.1:"]);
}

/// Whatever is killed is received again, here at once and not after its visibility timeout.
#[test]
fn killed_at_any_moment_it_loses_nothing() {
    let (objects, lines) = (soak(60, 600), 500);
    let test = Test::new();
    let arrivals = test.arrivals(objects * lines);
    for object in 0..objects {
        test.put(&format!("{object}.gz"), object * lines, lines);
    }
    for kill in 1..=6 {
        let mut child = test.start();
        let moment = kill * objects * lines / 8;
        wait_until("it is time", || arrivals.count() >= moment);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        test.queue.make_visible();
    }
    let child = test.start();
    arrivals.wait_for(0..objects * lines);
    test.is_empty();
    test.stop(child).ok();
    assert_eq!(test.queue.deleted(), objects);
}

/// Objects that were begun are read to their ends, and the others are left to the next process.
#[test]
fn a_stop_makes_messages_visible_and_nothing_comes_twice() {
    let (objects, lines) = (60, 2_000);
    let test = Test::with("", "objects = 2");
    let arrivals = test.arrivals(objects * lines);
    for object in 0..objects {
        test.put(&format!("{object}.gz"), object * lines, lines);
    }
    // So that there is a middle to stop it in.
    test.aws.latency(Duration::from_millis(20));
    let mut stops = 0;
    while arrivals.count() < objects * lines && stops < 5 {
        let before = arrivals.count();
        let child = test.start();
        wait_until("it is time", || arrivals.count() > before);
        test.stop(child).ok();
        let left = test.queue.messages();
        stops += u64::from(!left.is_empty());
        let hidden: Vec<_> = left.iter().filter(|message| !message.hidden_for.is_zero()).collect();
        assert_eq!(hidden, Vec::<&fake_aws::QueuedMessage>::new());
    }
    assert!(stops > 1, "it was never stopped in the middle");
    let child = test.start();
    arrivals.wait_for(0..objects * lines);
    test.is_empty();
    test.stop(child).ok();
    assert_eq!(arrivals.duplicates(), 0);
}

#[test]
fn messages_of_lines_that_are_not_delivered_are_made_visible() {
    let test = Test::with("grace = \"1s\"", "");
    test.put("a.gz", 0, 100);
    let stream = test.aws.delivery_stream("beacons");
    stream.fail_requests(1.0, 1, &[Fault::service_unavailable()]);
    let child = test.start();
    wait_until("a request was made", || test.aws.counters().requests_of(Action::PutRecordBatch) > 0);
    assert_eq!(test.stop(child).code, Some(1));
    let [message] = &test.queue.messages()[..] else { panic!("one") };
    assert_eq!((message.receives, message.hidden_for), (1, Duration::ZERO));
    stream.fail_requests(0.0, 1, &[Fault::service_unavailable()]);
    let arrivals = test.arrivals(100);
    let child = test.start();
    arrivals.wait_for(0..100);
    test.is_empty();
    test.stop(child).ok();
}

#[test]
fn a_message_is_kept_from_others_while_the_sink_hangs() {
    let test = Test::new();
    test.queue.visibility_timeout(Duration::from_secs(2));
    let arrivals = test.arrivals(100);
    let stream = test.aws.delivery_stream("beacons");
    stream.fault_on(Action::PutRecordBatch, Fault::Delay(Duration::from_secs(12)));
    test.put("a.gz", 0, 100);
    let child = test.start();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(11) {
        assert!(test.queue.messages().iter().all(|message| message.receives <= 1), "it was received twice");
        thread::sleep(Duration::from_millis(100));
    }
    arrivals.wait_for(0..100);
    test.is_empty();
    // At once, as its own timeout is short, and after 10 s.
    assert!(test.queue.extensions() >= 2, "{}", test.queue.extensions());
    test.stop(child).ok();
    assert_eq!((arrivals.duplicates(), test.queue.stale_deletes()), (0, 0));
}

/// As when every request that would keep it from others has failed.
#[test]
fn a_message_that_comes_again_meanwhile_is_deleted_by_its_last_receipt() {
    let test = Test::new();
    let arrivals = test.arrivals(100);
    let stream = test.aws.delivery_stream("beacons");
    stream.fault_on(Action::PutRecordBatch, Fault::Delay(Duration::from_secs(3)));
    test.put("a.gz", 0, 100);
    let child = test.start();
    wait_until("it is read", || test.reads() > 0);
    test.queue.make_visible();
    wait_until("it came again", || test.queue.messages().iter().all(|message| message.receives == 2));
    arrivals.wait_for(0..100);
    test.is_empty();
    test.stop(child).ok();
    assert_eq!((arrivals.duplicates(), test.queue.stale_deletes(), test.queue.deleted()), (0, 0, 1));
}

#[test]
fn a_delete_that_fails_is_repeated() {
    let test = Test::new();
    let arrivals = test.arrivals(100);
    test.put("a.gz", 0, 100);
    let refused = Fault::error(403, "AccessDenied", "not authorized to perform: sqs:deletemessage");
    for fault in [Fault::internal_failure(), Fault::ResetAfterBody { stored: false }, Fault::ProxyUnavailable, refused]
    {
        test.queue.fault_on(Action::DeleteMessage, fault);
    }
    let child = test.start();
    arrivals.wait_for(0..100);
    wait_until("it was tried", || test.aws.counters().requests_of(Action::DeleteMessage) == 4);
    let reads = test.reads();
    assert_eq!(test.queue.messages().len(), 1);
    test.queue.make_visible();
    test.is_empty();
    test.stop(child).ok().says(&["it is deleted when it comes again"]);
    assert_eq!((arrivals.duplicates(), test.reads()), (0, reads));
}

#[test]
fn what_cannot_be_read_neither_blocks_the_queue_nor_is_lost() {
    let test = Test::with("", "objects = 1");
    let dead = test.aws.queue("dead");
    test.queue.redrive(&dead, 2);
    let arrivals = test.arrivals(1_000);
    let tell = |key: &str| test.queue.send(records([test.bucket.created(key)]));
    test.put("good/1.gz", 0, 100);
    // Gone, and replaced: what replaced it has a notification of its own.
    test.put("gone.gz", 900, 100);
    test.bucket.delete("gone.gz");
    test.put("replaced.gz", 900, 100);
    test.put("replaced.gz", 100, 100);
    // Damaged, in the second half; no log at all; and lines that are none.
    let whole = gzip(&log_from("realtime-46", 200, 100));
    test.bucket.put("cut.gz", &whole[..whole.len() / 2]).put("a.zip", "PK\x03\x04and so on").put("a.txt", "no log\n");
    tell("cut.gz");
    tell("a.zip");
    tell("a.txt");
    // Messages that are no notifications.
    test.queue.send("hello").send("{\"Records\":[{\"s3\":{}}]}");
    test.put("good/2.gz", 300, 100);
    let child = test.start();
    arrivals.wait_for((0..200).chain(300..400));
    wait_until("only what is no notification is left", || test.queue.messages().len() == 2);
    let left = test.queue.messages();
    assert!(left.iter().all(|message| message.hidden_for > Duration::from_secs(25)), "{left:?}");
    test.queue.make_visible();
    wait_until("they were received twice", || test.queue.messages().iter().all(|message| message.receives == 2));
    test.queue.make_visible();
    wait_until("they are dead letters", || dead.messages().len() == 2);
    // Denied: it comes again, and is read once that is allowed. It may come while it is still being
    // refused, and is then left a second time.
    test.queue.redrive(&dead, 1_000);
    let before = arrivals.count();
    let denied = Fault::error(403, "AccessDenied", "Access Denied");
    test.bucket.fault_on(Action::GetObject, denied);
    test.put("denied.gz", 400, 100);
    wait_until("it is read", || {
        test.queue.make_visible();
        arrivals.count() >= before + 100
    });
    arrivals.wait_for(400..500);
    test.is_empty();
    let run = test.stop(child).ok();
    for part in [
        "s3://logs/gone.gz: s3:GetObject: NoSuchKey",
        "s3://logs/replaced.gz: s3:GetObject: PreconditionFailed",
        "s3://logs/denied.gz: s3:GetObject: AccessDenied",
        "s3://logs/cut.gz: reading stopped at byte",
        "received 1 times: not a notification of S3: expected value at line 1 column 1; it is left to the queue",
    ] {
        run.says(&[part]);
    }
    assert_eq!(arrivals.duplicates(), 0);
    let quarantine = test.workspace.quarantine();
    let of = |key: &str| quarantine.iter().filter(|line| line.source == format!("s3://logs/{key}")).collect::<Vec<_>>();
    let [cut_line, object] = of("cut.gz")[..] else { panic!("{quarantine:?}") };
    assert!(cut_line.reason.contains("ends in the middle"), "{cut_line:?}");
    assert!(object.reason.contains("the gzip data ends in the middle"), "{object:?}");
    let event: Value = serde_json::from_slice(&object.bytes()).expect("the notification");
    assert_eq!(event["s3"]["object"]["key"], "cut.gz");
    assert!(of("a.zip")[0].reason.contains("a zip archive"), "{quarantine:?}");
    assert_eq!((of("a.zip").len(), of("a.txt").len(), quarantine.len()), (1, 1, 4));
    // Whole lines before the damage were delivered.
    assert!((410..500).contains(&arrivals.count()), "{}", arrivals.count());
}

#[test]
fn a_queue_that_fails_is_asked_again() {
    let test = Test::new();
    let arrivals = test.arrivals(100);
    test.put("a.gz", 0, 100);
    for fault in [Fault::internal_failure(), Fault::Truncated] {
        test.queue.fault_on(Action::ReceiveMessage, fault);
    }
    let child = test.start();
    // What was received in the reply that broke off is not known to anybody.
    wait_until("it was received", || test.queue.messages()[0].receives == 1);
    test.queue.make_visible();
    arrivals.wait_for(0..100);
    test.is_empty();
    test.stop(child).ok().says(&["InternalFailure", "it is asked again in 1 s"]);
}

/// A message and an object each for few lines, as CloudFront delivers for little traffic.
#[test]
fn many_small_objects_are_read_at_a_good_rate() {
    let objects = soak(1_500, 20_000);
    let test = Test::with("", "objects = 8");
    let arrivals = test.arrivals(objects * 4);
    for object in 0..objects {
        test.put(&format!("{object}.gz"), object * 4, 4);
    }
    let begun = Instant::now();
    let child = test.start();
    arrivals.wait_for(0..objects * 4);
    test.is_empty();
    let rate = objects as f64 / begun.elapsed().as_secs_f64();
    test.stop(child).ok();
    assert_eq!(arrivals.duplicates(), 0);
    eprintln!("{rate:.0} objects a second");
    assert!(rate > 50.0, "{rate:.0} objects a second");
}

#[test]
fn no_more_messages_are_taken_than_are_worked_on() {
    let test = Test::with("grace = \"1s\"", "messages = 7");
    for object in 0..40 {
        test.put(&format!("{object}.gz"), object * 10, 10);
    }
    let stream = test.aws.delivery_stream("beacons");
    stream.fail_requests(1.0, 1, &[Fault::service_unavailable()]);
    let child = test.start();
    wait_until("a request was made", || test.aws.counters().requests_of(Action::PutRecordBatch) > 2);
    let received = test.queue.messages().iter().filter(|message| message.receives > 0).count();
    assert_eq!(received, 7);
    test.stop(child);
}

#[test]
fn check_asks_the_queue_and_warns() {
    let test = Test::new();
    let check = || {
        let mut command = test.workspace.command(&["run", "--check"]);
        run(command.envs(test.aws.environment()).env_remove("AWS_PROFILE"), b"")
    };
    test.put("a.gz", 0, 1);
    let checked = check().ok();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(said.contains("1 messages wait, 0 in flight; visibility timeout 30 s"), "{said}");
    checked.says(&["its visibility timeout is 30 s"]);
    checked.says(&["it has no redrive policy"]);
    test.queue.visibility_timeout(Duration::from_secs(300)).redrive(&test.aws.queue("dead"), 5);
    assert_eq!(check().ok().stderr, "");
    test.queue.redrive(&test.aws.queue("dead"), 1);
    check().ok().says(&["gives a message up after 1 receives"]);
    test.aws.deny(&test.aws.credentials().access_key, Action::GetQueueAttributes);
    check().exits(1).says(&["sqs:GetQueueAttributes: AccessDenied"]);
    let elsewhere = Test::new();
    let file = format!("[pipeline.logs]\nsource = {{ type = \"s3\", queue = \"{}x\" }}\n", elsewhere.queue.url());
    elsewhere.workspace.write("pixel-engine.toml", file.as_bytes());
    let mut command = elsewhere.workspace.command(&["run", "--check"]);
    let missing = run(command.envs(elsewhere.aws.environment()).env_remove("AWS_PROFILE"), b"").exits(1);
    missing.says(&["sqs:GetQueueAttributes: AWS.SimpleQueueService.NonExistentQueue", "check the queue's URL"]);
}

/// As it is shipped, but for the queue, where its files are, and the clock.
#[test]
fn the_example_ships_what_is_stored() {
    let test = Test::new();
    let folder = test.workspace.path(".").display().to_string();
    let example = include_str!("../deploy/example-s3.toml")
        .replace("https://sqs.eu-west-1.amazonaws.com/123456789012/pixel-logs", test.queue.url())
        .replace("/var/", &format!("{folder}/var/"))
        .replace("127.0.0.1:9464", "127.0.0.1:0");
    assert!(example.contains(test.queue.url()));
    test.workspace.write("pixel-engine.toml", example.as_bytes());
    let log = "#Version: 1.0\n#Fields: date time c-ip cs-uri-stem cs-uri-query x-edge-request-id\n\
               2026-11-30\t08:00:00\t192.0.2.1\t/pixel.gif\te=view\tone\n\
               2026-11-30\t08:00:01\t192.0.2.1\t/favicon.ico\t-\ttwo\n";
    for key in ["cdn/E2EXAMPLE1234.2026-11-30-08.0a1b2c3d.gz", "cdn/EOTHER.2026-11-30-08.0a1b2c3d.gz"] {
        test.bucket.put(key, gzip(log.as_bytes()));
        test.queue.send(records([test.bucket.created(key)]));
    }
    let mut command = test.workspace.command(&["run"]);
    command.envs(test.aws.environment()).env_remove("AWS_PROFILE");
    command.env("PIXEL_ENGINE_REGION", test.aws.region()).env("PIXEL_ENGINE_LINGER", "100ms");
    let child = Guarded::start(&mut command);
    test.is_empty();
    test.stop(child).ok().says(&["2 in = 1 shipped + 0 quarantined + 1 filtered"]);
    let delivered = test.aws.delivery_stream("beacons").delivered();
    let text: Vec<u8> = delivered.iter().flat_map(|it| ::zstd::decode_all(&it.data[..]).expect("zstd")).collect();
    assert!(String::from_utf8_lossy(&text).contains("e=view\tone\n"));
}

fn attribute(moto: &Emulator, url: &str, name: &str) -> String {
    let parameters = json!({ "QueueUrl": url, "AttributeNames": [name] });
    let reply = &moto.call("sqs", &[("get_queue_attributes", parameters)])[0];
    reply["Attributes"][name].as_str().unwrap_or_default().to_owned()
}

/// moto's S3 notifies moto's SQS, and boto3 looks at what is left.
#[test]
fn what_is_put_into_motos_s3_arrives() {
    let moto = moto();
    let workspace = Workspace::new();
    let call =
        |service: &str, operation: &str, parameters: Value| moto.call(service, &[(operation, parameters)]).remove(0);
    call("s3", "create_bucket", json!({ "Bucket": "logs" }));
    call("s3", "create_bucket", json!({ "Bucket": "delivered" }));
    let url = call("sqs", "create_queue", json!({ "QueueName": "notifications" }))["QueueUrl"].clone();
    let url = url.as_str().expect("a URL");
    let queue = json!({ "QueueArn": attribute(&moto, url, "QueueArn"), "Events": ["s3:ObjectCreated:*"] });
    let configuration = json!({ "QueueConfigurations": [queue] });
    call(
        "s3",
        "put_bucket_notification_configuration",
        json!({ "Bucket": "logs", "NotificationConfiguration": configuration }),
    );
    let file = format!(
        "[pipeline.logs]\nto = \"dir:out\"\n[[pipeline.logs.source]]\ntype = \"s3\"\nqueue = \"{url}\"\n\
         endpoint_url = \"{}\"\nregion = \"us-east-1\"\n",
        moto.url()
    );
    workspace.write("pixel-engine.toml", file.as_bytes());
    let mut command = workspace.command(&["run"]);
    let child = Guarded::start(command.envs(moto.environment()).env_remove("AWS_PROFILE"));
    // Plain, by boto3, and compressed, by ourselves.
    let text = String::from_utf8(log_from("realtime-46", 0, 500)).expect("it is ASCII");
    call("s3", "put_object", json!({ "Bucket": "logs", "Key": "a b+c/plain ü.log", "Body": text }));
    workspace.write("a.log", &log_from("realtime-46", 500, 1_500));
    let arguments = ["a.log", "--to", "s3://logs/E1/", "--compress", "gzip", "--record-size", "100KiB"];
    let mut ingest = workspace.ingest_command(&arguments);
    workspace.ingest_with(ingest.envs(moto.environment()).env_remove("AWS_PROFILE"), b"").ok();
    let left =
        || ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"].map(|it| attribute(&moto, url, it));
    wait_until("objects are read", || left()[1] != "0");
    signal(&child, "TERM");
    workspace.wait(child.take()).ok();
    assert_eq!(left()[1], "0", "every message is deleted or visible");
    let mut command = workspace.command(&["run"]);
    let child = Guarded::start(command.envs(moto.environment()).env_remove("AWS_PROFILE"));
    let mut parts = 0;
    while left()[0] != "0" && parts < 300 {
        parts += 1;
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_millis(500));
    signal(&child, "TERM");
    workspace.wait(child.take()).ok();
    assert_eq!(left(), ["0", "0"]);
    let mut seen = Seen::new(2_000);
    seen.ids_in(&workspace.delivered("out"));
    seen.all();
}
