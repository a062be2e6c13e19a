//! Holds `docs/errors.md` to what is done: each code of each row goes through a delivery, under a
//! paused clock, to a stream that fails with it.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;
use pixel_engine_core::deliver::backoff::max_wait;
use pixel_engine_core::deliver::{Answer, Delivery, Description, Options, RateLimit, Service, WhenFull};
use pixel_engine_core::record::{Delivered, Record};
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::sink::limits::{Api, Counted};
use pixel_engine_core::sink::statistics::Shipping;
use pixel_engine_core::spool::{Destination, Spool};

const PAGE: &str = include_str!("../../../../docs/errors.md");
const SECOND: Duration = Duration::from_secs(1);
/// Timers are rounded up to the next one.
const MILLISECOND: Duration = Duration::from_millis(1);

/// A row of one of the tables of codes.
struct Row {
    codes: &'static str,
    class: &'static str,
}

fn rows() -> Vec<Row> {
    let (_, rest) = PAGE.split_once("\n## Codes\n").expect("the tables of codes");
    let (tables, _) = rest.split_once("\n## Exit codes\n").expect("their end");
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, codes, class, ..] = cells[..] else { panic!("{line}") };
        Row { codes, class }
    };
    let lines = tables.lines().filter(|line| line.starts_with('|'));
    let rows: Vec<Row> = lines.map(row).filter(|row| !matches!(row.codes, "code" | "---")).collect();
    assert!(rows.len() > 20, "{} rows", rows.len());
    rows
}

/// The names between backticks.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

impl Row {
    /// Failures that the row is about, each with the class that the row gives them. A row about
    /// nothing that is known fails the test.
    fn cases(&self) -> Vec<(Failure, Class)> {
        let with_status = |code: &str, status| failure(code, "", Some(status));
        let statuses = |statuses: &[u16]| statuses.iter().map(|&status| with_status("SomethingNew", status)).collect();
        let failures: Vec<Failure> = match self.codes {
            "any other code, status 500 and above" => statuses(&[500, 502, 503, 504, 599]),
            "any other code, status 429" => statuses(&[429]),
            "any other code, status 408" => statuses(&[408]),
            "any other code, status 413" => statuses(&[413]),
            "any other code" => {
                let mut failures: Vec<Failure> = statuses(&[400, 403, 404, 409, 499]);
                failures.push(of_record("SomethingNew", Some("of a record")));
                failures
            }
            "`HTTP nnn`" => {
                assert_eq!(self.class, "by the status, as above");
                let classes = [
                    (500, Class::Transient),
                    (503, Class::Transient),
                    (429, Class::Throttled),
                    (408, Class::Transient),
                    (413, Class::TooLarge),
                    (404, Class::Permanent),
                ];
                return classes.map(|(status, class)| (with_status(&format!("HTTP {status}"), status), class)).into();
            }
            codes => {
                let (codes, that_say) = codes.split_once("; ").unwrap_or((codes, ""));
                let mut failures: Vec<Failure> = names(codes).flat_map(of_code).collect();
                assert!(!failures.is_empty(), "a row about {codes}");
                if let Some((codes, message)) = that_say.split_once(" that say ") {
                    let message = format!("Records {} 4 MB limit", message.trim_matches('"'));
                    failures.extend(names(codes).map(|code| failure(code, &*message, Some(400))));
                    // With another message they are codes like any other.
                    names(codes).for_each(|code| assert_eq!(with_status(code, 400).class(), Class::Permanent));
                }
                failures
            }
        };
        let class = match self.class {
            "throttled" => Class::Throttled,
            "transient" => Class::Transient,
            "too large" => Class::TooLarge,
            "permanent" => Class::Permanent,
            class => panic!("{}: no class: {class}", self.codes),
        };
        failures.into_iter().map(|failure| (failure, class)).collect()
    }
}

/// The ways in which a code comes: with a request and with a record, or, for one of our own, as it
/// is made.
fn of_code(code: &str) -> Vec<Failure> {
    match code {
        Failure::TIMEOUT => vec![Failure::timeout("no reply in time")],
        Failure::MALFORMED_REPLY => vec![Failure::malformed_reply("cut")],
        // The delivery itself makes it: see below.
        Failure::SPOOL_FULL => vec![Failure::new(Class::Transient, Failure::SPOOL_FULL, "")],
        CODE_CREDENTIALS => vec![no_credentials("none".to_owned())],
        CODE_CONNECTION | CODE_TLS | CODE_REQUEST => vec![failure(code, "", None)],
        code => {
            assert!(known().contains(code), "docs/errors.md has a row about `{code}`, and no table has that code");
            vec![failure(code, "of a request", Some(400)), of_record(code, Some("of a record"))]
        }
    }
}

/// Every code that means something of its own.
fn known() -> BTreeSet<&'static str> {
    let ours = [CODE_TLS, CODE_CREDENTIALS, CODE_REQUEST];
    let of_delivery = [Failure::TIMEOUT, Failure::MALFORMED_REPLY, Failure::SPOOL_FULL];
    let of_aws = CLASSES.iter().map(|(code, _)| *code).chain(ADVICE.iter().map(|(code, _)| *code));
    of_aws.chain(SIGNATURE_CODES.iter().copied()).chain(ours).chain(of_delivery).collect()
}

#[test]
fn every_code_has_a_row() {
    let documented: BTreeSet<&str> = rows().iter().flat_map(|row| names(row.codes)).collect();
    for code in known() {
        assert!(documented.contains(code), "{code} has no row in docs/errors.md");
    }
}

#[tokio::test(start_paused = true)]
async fn every_row_is_what_is_done() {
    let mut tested = 0;
    for row in rows() {
        for (failure, class) in row.cases() {
            assert_eq!(failure.class(), class, "{}: {failure}", row.codes);
            match class {
                Class::Throttled | Class::Transient => is_tried_again(&failure).await,
                Class::TooLarge => is_sent_in_halves(&failure).await,
                Class::Permanent => is_refused(&failure).await,
            }
            tested += 1;
        }
    }
    assert!(tested > 60, "{tested} failures");
}

#[tokio::test(start_paused = true)]
async fn records_without_room_in_the_spool_are_tried_until_there_is() {
    // `SpoolFull`: refused for good within a request, which itself went well.
    let refused = || Ok(vec![Some(of_record("AccessDeniedException", None)); 4]);
    let outcome = deliver(vec![refused(), refused(), refused()], 4, Some(10), |_| ()).await;
    assert_eq!((outcome.numbers(), outcome.delivered.records), (vec![vec![0, 1, 2, 3]; 4], 4));
    assert!(outcome.result.is_ok() && outcome.shipping.records_spooled == 0);
}

/// "the failed records are sent again after a wait", and for a throttle "the rate falls".
async fn is_tried_again(failure: &Failure) {
    // Alone.
    let outcome = deliver(vec![Ok(vec![None, Some(failure.clone()), None, None])], 4, None, |_| ()).await;
    assert_eq!(outcome.numbers(), [&[0, 1, 2, 3][..], &[1]], "{failure}");
    assert_eq!((outcome.delivered.records, outcome.shipping.records_failed[failure.code()]), (4, 1), "{failure}");
    outcome.result.expect("it went well");

    // All of them: "up to 0.2 s after the first failure, up to twice as long after each further
    // one, and never more than 20 s"; "without it, pixel-engine keeps trying forever".
    let outcome = deliver(vec![Err(failure.clone()); 60], 4, None, |_| ()).await;
    assert_eq!(outcome.numbers(), vec![vec![0, 1, 2, 3]; 61], "{failure}");
    assert_eq!((outcome.delivered.records, outcome.shipping.requests_failed[failure.code()]), (4, 60), "{failure}");
    outcome.result.expect("it went well");
    for (failures, [before, after]) in (1..).zip(outcome.requests.array_windows()) {
        let (wait, longest) = (after.at - before.at, max_wait(failures));
        assert_eq!(longest, (SECOND / 5 * 2_u32.pow(failures.min(8) - 1)).min(20 * SECOND));
        assert!(wait <= longest + MILLISECOND, "{failure}: {wait:?} after failure {failures}");
    }
    assert!(outcome.requests[60].at > 100 * SECOND, "{failure}");

    // "`--give-up-after` makes throttled and transient failures permanent after that time".
    let give_up = |options: &mut Options| options.config.give_up_after = Some(30 * SECOND);
    let outcome = deliver(vec![Err(failure.clone()); 999], 4, Some(u64::MAX), give_up).await;
    let last = outcome.requests.last().expect("requests").at;
    assert!((25 * SECOND..=30 * SECOND).contains(&last), "{failure}: {last:?}");
    assert_eq!((outcome.delivered.records, outcome.shipping.records_spooled), (0, 4), "{failure}");

    // "Where many fail, the rate falls", and where one of twenty does; otherwise it stays.
    let mut replies = vec![Ok(vec![None]); 10];
    replies.push(Ok(vec![Some(failure.clone())]));
    let paced = |options: &mut Options| {
        options.config.rate_limit = RateLimit::BytesPerSecond(1_000_000);
        one_by_one(options);
    };
    let outcome = deliver_large(replies, 60, 100_000, None, paced).await;
    let between = outcome.requests[16..].array_windows().map(|[before, after]| (after.at - before.at).as_millis());
    let slowest = between.max().expect("many requests");
    let milliseconds = if failure.class() == Class::Throttled { 130..=300 } else { 99..=101 };
    assert!(milliseconds.contains(&slowest), "{failure}: {slowest} ms");
    assert_eq!(outcome.shipping.throttles, u64::from(failure.class() == Class::Throttled), "{failure}");
}

/// "the request is sent in halves, and all later requests are a quarter smaller. A single record
/// that is too large is treated as permanent".
async fn is_sent_in_halves(failure: &Failure) {
    let outcome = deliver(vec![Err(failure.clone())], 8, None, |_| ()).await;
    let sizes: Vec<usize> = outcome.requests.iter().map(|request| request.numbers.len()).collect();
    assert_eq!((sizes, outcome.delivered.records), (vec![4, 2, 2, 3, 1], 8), "{failure}");
    assert_eq!(outcome.shipping.requests_failed[failure.code()], 1, "{failure}");
    outcome.result.expect("it went well");

    let outcome = deliver(vec![Err(failure.clone())], 2, None, one_by_one).await;
    assert!(outcome.error().contains(&failure.to_string()), "{failure}");
    let outcome = deliver(vec![Err(failure.clone())], 2, Some(u64::MAX), one_by_one).await;
    assert_eq!((outcome.delivered.records, outcome.shipping.records_spooled), (1, 1), "{failure}");
    outcome.result.expect("it went well");
}

/// "with `--spool`, the records go to the spool and the run continues; without it, the run ends".
async fn is_refused(failure: &Failure) {
    for (reply, refused) in [(Err(failure.clone()), 4), (Ok(vec![None, Some(failure.clone()), None, None]), 1)] {
        let outcome = deliver(vec![reply.clone()], 8, Some(u64::MAX), |_| ()).await;
        assert_eq!(outcome.numbers(), [[0, 1, 2, 3], [4, 5, 6, 7]], "{failure}");
        assert_eq!((outcome.shipping.records_spooled, outcome.delivered.records), (refused, 8 - refused), "{failure}");
        outcome.result.expect("it went well");

        let outcome = deliver(vec![reply], 8, None, |_| ()).await;
        assert_eq!((outcome.requests.len(), outcome.delivered.records), (1, 4 - refused), "{failure}");
        assert_eq!(outcome.error(), format!("test://beacons: {failure}"));
    }
}

/// What a request is answered, record by record or as a whole.
type Reply = Result<Vec<Option<Failure>>, Failure>;

/// A stream that answers by a script, and accepts what comes after.
#[derive(Clone)]
struct Scripted {
    began: Instant,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

struct Request {
    at: Duration,
    numbers: Vec<u8>,
}

impl Service for Scripted {
    fn uri(&self) -> String {
        "test://beacons".to_owned()
    }

    fn destination(&self) -> Destination {
        Destination { api: Api::PutRecordBatch, stream: "beacons".to_owned() }
    }

    async fn describe(&self) -> Result<Option<Description>, Failure> {
        Ok(None)
    }

    /// The number of each record.
    fn body(&self, records: &[Record]) -> Vec<u8> {
        records.iter().filter_map(|record| record.chunks().next()?.first().copied()).collect()
    }

    async fn put(&self, numbers: Vec<u8>) -> Result<Vec<Answer>, Failure> {
        let reply = self.replies.lock().unwrap().pop_front().unwrap_or_else(|| Ok(vec![None; numbers.len()]));
        self.requests.lock().unwrap().push(Request { at: self.began.elapsed(), numbers });
        Ok(reply?.into_iter().map(|failure| failure.map_or(Ok(None), Err)).collect())
    }
}

struct Outcome {
    requests: Vec<Request>,
    delivered: Delivered,
    shipping: Shipping,
    result: Result<(), SinkError>,
}

impl Outcome {
    fn numbers(&self) -> Vec<Vec<u8>> {
        self.requests.iter().map(|request| request.numbers.clone()).collect()
    }

    fn error(&self) -> String {
        self.result.as_ref().expect_err("it failed").to_string()
    }
}

/// Delivers so many small records: smaller than what even the lowest rate lets through at once.
async fn deliver(
    replies: Vec<Reply>,
    records: u8,
    spool_size: Option<u64>,
    change: impl FnOnce(&mut Options),
) -> Outcome {
    deliver_large(replies, records, 1_000, spool_size, change).await
}

/// Delivers so many records of that size, four in a request, one request after the other, with or
/// without a spool of so many bytes.
async fn deliver_large(
    replies: Vec<Reply>,
    records: u8,
    size: usize,
    spool_size: Option<u64>,
    change: impl FnOnce(&mut Options),
) -> Outcome {
    let service =
        Scripted { began: Instant::now(), replies: Arc::new(Mutex::new(replies.into())), requests: Arc::default() };
    let mut options = Options::new(Api::PutRecordBatch);
    (options.config.concurrency, options.config.counted) = (NonZeroUsize::MIN, Counted::Data);
    options.config.request_size = 4 * size;
    let folder = tempfile::tempdir().unwrap();
    options.spool = spool_size.map(|limit| (Spool::open(folder.path(), limit).unwrap(), WhenFull::Block));
    change(&mut options);
    let mut delivery = Delivery::open(service.clone(), options).await.unwrap();
    let result = async {
        for number in 0..records {
            if number == 4 {
                // What came of the first request is known before the second is filled.
                delivery.flush().await?;
                sleep(SECOND).await;
            }
            delivery.ship(Record::from_bytes(vec![number; size], 1, None, Vec::new())).await?;
        }
        delivery.close().await
    };
    let result = result.await;
    let requests = std::mem::take(&mut *service.requests.lock().unwrap());
    Outcome { requests, delivered: delivery.delivered(), shipping: delivery.shipping(), result }
}

fn one_by_one(options: &mut Options) {
    options.config.request_size = 1;
}
