//! Deliveries under a paused clock: what a service answers, when, and what follows from it.

mod property;
mod quota;
mod script;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep};

use script::{Reply, Script, Test, map, permanent, spool, spooled, throttled, too_large, transient};

use super::backoff::max_wait;
use super::*;
use crate::sink::Sink;
use crate::sink::limits::Counted;
use crate::spool::SpoolError;

const SECOND: Duration = Duration::from_secs(1);
/// Timers are rounded up to the next one.
const MILLISECOND: Duration = Duration::from_millis(1);

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

/// Records by themselves, one after the other.
fn one_by_one(script: &Script) -> Options {
    let mut options = script.options();
    options.config.concurrency = one();
    options.config.request_size = 1;
    options
}

#[track_caller]
fn reason(result: Result<(), SinkError>) -> DeliverError {
    match result {
        Err(SinkError::Stream { stream, error }) => {
            assert_eq!(stream, "test://stream");
            *error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_is_settled() {
    let mut test = Test::of(Script::firehose([])).await;
    test.ship(3).await.unwrap();
    assert_eq!(test.script.sent(), [[0; 0]; 0], "the request is not full");
    test.delivery.close().await.unwrap();
    assert_eq!(test.script.sent(), [[0, 1, 2]]);
    test.all_is_safe(3);
    assert_eq!(test.delivery.delivered().payload_bytes, 3_000);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.requests, shipping.requests_retried, shipping.bytes_sent), (1, 0, 96));
}

#[tokio::test(start_paused = true)]
async fn only_the_records_that_failed_are_sent_again() {
    let failure = || Some(transient().with_arrival_in_doubt(true));
    let replies =
        [Reply::Answers(vec![None, failure(), None, Some(throttled())]), Reply::Answers(vec![failure(), None])];
    let mut test = Test::of(Script::firehose(replies)).await;
    test.ship(4).await.unwrap();
    test.delivery.close().await.unwrap();
    assert_eq!(test.script.sent(), [&[0, 1, 2, 3][..], &[1, 3], &[1]]);
    test.all_is_safe(4);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.requests, shipping.requests_retried, shipping.throttles), (3, 2, 1));
    assert_eq!((shipping.records_failed["Transient"], shipping.records_failed["Throttled"]), (2, 1));
    assert_eq!((shipping.records_possibly_duplicated, shipping.requests_failed.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_is_sent_again_as_it_was() {
    for (failure, throttles) in [(transient(), 0), (throttled(), 1), (Failure::malformed_reply("{"), 0)] {
        let in_doubt = if failure.may_have_arrived() { 5 } else { 0 };
        let mut test = Test::of(Script::firehose([Reply::Fails(failure.clone())])).await;
        test.ship(5).await.unwrap();
        test.delivery.close().await.unwrap();
        assert_eq!(test.script.sent(), [[0, 1, 2, 3, 4]; 2]);
        test.all_is_safe(5);
        let shipping = test.delivery.shipping();
        assert_eq!((shipping.requests_failed[failure.code()], shipping.throttles), (1, throttles));
        assert_eq!((shipping.records_possibly_duplicated, shipping.records_failed.len()), (in_doubt, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_a_random_part_of_twice_as_much_after_each_failure() {
    const FAILURES: u32 = 12;
    let script = Script::firehose(vec![Reply::Fails(transient()); FAILURES as usize]);
    fastrand::seed(7);
    let mut random = fastrand::Rng::with_seed(7);
    let real = std::time::Instant::now();
    let mut test = Test::of(script).await;
    test.ship(1).await.unwrap();
    test.delivery.close().await.unwrap();
    let times = test.script.times();
    let waits: Vec<Duration> = times.array_windows().map(|[before, after]| *after - *before).collect();
    assert_eq!(waits.len(), FAILURES as usize);
    for (failures, wait) in (1..).zip(&waits) {
        let wanted = max_wait(failures).mul_f64(random.f64());
        assert!((wanted..=wanted + MILLISECOND).contains(wait), "{failures}: {wait:?}, not {wanted:?}");
    }
    assert!(times.last().unwrap() > &(20 * SECOND));
    assert!(real.elapsed() < 20 * SECOND / 10, "the time is simulated: {:?}", real.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waits_are_short_again_where_most_records_got_through() {
    let script = Script::firehose([]);
    let failures = vec![Reply::Fails(transient()); 8];
    let third = Reply::Answers(vec![Some(transient()), None, None]);
    script.state().replies = failures.into_iter().chain([third]).collect();
    let mut test = Test::of(script).await;
    test.ship(3).await.unwrap();
    test.delivery.close().await.unwrap();
    test.all_is_safe(3);
    let times = test.script.times();
    let [.., before, after] = times[..] else { panic!("{times:?}") };
    assert!(after - before <= max_wait(0) + MILLISECOND, "{:?}", after - before);
}

/// One worker, and requests of so many records of a thousand bytes.
fn requests_of(script: &Script, records: usize) -> Options {
    let mut options = script.options();
    (options.config.concurrency, options.config.counted) = (one(), Counted::Data);
    options.config.request_size = 1_000 * records;
    options
}

/// Of each request the first record fails.
fn first_of(records: usize) -> Reply {
    let mut failures = vec![None; records];
    failures[0] = Some(transient());
    Reply::After(SECOND / 20, Box::new(Reply::Answers(failures)))
}

#[tokio::test(start_paused = true)]
async fn records_that_fail_beside_others_go_together() {
    let script = Script::firehose(vec![first_of(10); 12]);
    script.state().then = Some(Reply::After(SECOND / 20, Box::new(Reply::Accepts)));
    let options = requests_of(&script, 10);
    let mut test = Test::open(script, options).await;
    test.ship(130).await.unwrap();
    test.delivery.close().await.unwrap();
    let requests = test.script.sent();
    let sizes: Vec<usize> = requests.iter().map(Vec::len).collect();
    // As soon as there are more than a request takes, before the requests that wait; and the rest
    // at the end.
    assert_eq!(sizes, [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 2]);
    assert_eq!(requests[11], [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    assert_eq!(requests[14], [100, 0]);
    test.all_is_safe(130);
    assert_eq!(test.delivery.shipping().requests_retried, 2);
}

#[tokio::test(start_paused = true)]
async fn a_fifth_that_fails_costs_little_more_than_a_fifth_of_the_time() {
    let mut took = Vec::new();
    for failures in [vec![None], vec![None, None, Some(transient()), None, None]] {
        let script = Script::firehose([]);
        script.state().then = Some(Reply::After(SECOND / 10, Box::new(Reply::Cycle(failures))));
        let mut options = requests_of(&script, 10);
        options.config.concurrency = NonZeroUsize::new(4).unwrap();
        let mut test = Test::open(script, options).await;
        test.ship(8_000).await.unwrap();
        test.delivery.close().await.unwrap();
        test.all_is_safe(8_000);
        took.push(test.script.times().last().unwrap().as_secs_f64());
    }
    let part = took[0] / took[1];
    assert!(part >= 0.75, "{part}: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_request_sends_what_failed_before_it_is_many() {
    let script = Script::firehose([first_of(10)]);
    let options = requests_of(&script, 10);
    let mut test = Test::open(script, options).await;
    test.ship(10).await.unwrap();
    test.delivery.flush().await.unwrap();
    sleep(SECOND / 20 + max_wait(0) + MILLISECOND).await;
    assert_eq!(test.script.sent()[1..], [[0]]);
    assert_eq!(test.acknowledged().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn busy_workers_hold_what_failed_for_a_second() {
    let script = Script::firehose([first_of(10)]);
    script.state().then = Some(Reply::After(SECOND / 20, Box::new(Reply::Accepts)));
    let options = requests_of(&script, 10);
    let mut test = Test::open(script, options).await;
    test.ship(400).await.unwrap();
    test.delivery.close().await.unwrap();
    let again = test.script.sent().iter().rposition(|numbers| *numbers == [0]).expect("it goes again");
    let at = test.script.times()[again];
    assert!((SECOND..=SECOND + SECOND / 5).contains(&at) && test.script.sent().len() > again + 1, "{at:?}");
    test.all_is_safe(400);
}

#[tokio::test(start_paused = true)]
async fn each_record_is_tried_for_its_own_time() {
    let fails_late = Reply::After(SECOND, Box::new(Reply::Fails(transient())));
    let first_fails = |records: usize| match first_of(records) {
        Reply::After(_, reply) => Reply::After(SECOND, reply),
        reply => reply,
    };
    let script = Script::firehose([first_fails(5), first_fails(5)]);
    script.state().then = Some(fails_late);
    let (folder, spool) = spool(u64::MAX);
    let mut options = requests_of(&script, 5);
    (options.spool, options.config.give_up_after) = (spool, Some(10 * SECOND));
    let mut test = Test::open(script, options).await;
    test.ship(10).await.unwrap();
    test.delivery.close().await.unwrap();
    // One was first tried at the start, the other a second later.
    assert_eq!(spooled(folder.path()), [0, 5]);
    let requests = test.script.state().requests.clone();
    assert!(requests[2..].iter().any(|request| request.numbers == [0, 5]), "{requests:?}");
    let last = |number: u64| requests.iter().rfind(|request| request.numbers.contains(&number)).unwrap().at;
    assert!(last(0) <= 10 * SECOND && last(5) <= 11 * SECOND && last(5) >= last(0), "{requests:?}");
    test.all_is_safe(8);
}

#[tokio::test(start_paused = true)]
async fn nothing_overtakes_what_failed_where_records_have_an_order() {
    let script = Script::kinesis(1, [Reply::Answers(vec![None, Some(transient()), None])]);
    let mut options = script.options();
    (options.config.in_order, options.config.concurrency) = (true, one());
    let mut test = Test::open(script, options).await;
    for number in 0..6 {
        let record = test.record(10, Some(1));
        test.delivery.ship(record).await.unwrap();
        if number == 2 {
            test.delivery.flush().await.unwrap();
        }
    }
    test.delivery.close().await.unwrap();
    assert_eq!(test.script.sent(), [&[0, 1, 2][..], &[1], &[3, 4, 5]]);
    test.all_is_safe(6);
}

/// Ships records of 100,000 B one by one at 1,000,000 B a second at most; the time between
/// requests.
async fn times_between(script: Script, count: usize) -> Vec<Duration> {
    let mut options = one_by_one(&script);
    options.config.rate_limit = RateLimit::BytesPerSecond(1_000_000);
    let mut test = Test::open(script, options).await;
    for _ in 0..count {
        let record = test.record(100_000, None);
        test.delivery.ship(record).await.unwrap();
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(count as u64);
    test.script.times().array_windows().map(|[before, after]| *after - *before).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_kept() {
    let between = times_between(Script::firehose([]), 50).await;
    let (burst, paced) = between.split_at(4);
    assert!(burst.iter().all(Duration::is_zero), "{burst:?}");
    let tenth = Duration::from_millis(100);
    assert!(paced[1..].iter().all(|time| (tenth - MILLISECOND..=tenth + MILLISECOND).contains(time)), "{paced:?}");
}

#[tokio::test(start_paused = true)]
async fn throttles_lower_the_rate_and_it_grows_back() {
    let throttles = |at: usize| Reply::Answers(vec![Some(throttled()); usize::from((20..40).contains(&at))]);
    let replies = (0..40).map(|at| if at < 20 { Reply::Accepts } else { throttles(at) });
    let between = times_between(Script::firehose(replies), 300).await;
    let milliseconds: Vec<u128> = between.iter().map(Duration::as_millis).collect();
    assert!(milliseconds[45] >= 130, "slower: {milliseconds:?}");
    assert!((99..=101).contains(milliseconds.last().unwrap()), "and as fast as before: {milliseconds:?}");
}

#[tokio::test(start_paused = true)]
async fn at_a_lowered_rate_little_goes_at_once_and_records_should_be_small() {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::Cycle(vec![None, None, None, Some(throttled())]));
    let mut options = script.options();
    options.config.rate_limit = RateLimit::BytesPerSecond(10_000_000);
    let mut test = Test::open(script, options).await;
    let limit = test.delivery.record_limit();
    assert_eq!(limit.get(), usize::MAX);
    for _ in 0..600 {
        let record = test.record(100_000, None);
        test.delivery.ship(record).await.unwrap();
        if limit.get() < usize::MAX {
            break;
        }
    }
    let lowered = limit.get();
    assert!((5_120..=500_000).contains(&lowered) && lowered.is_multiple_of(5_120), "{lowered}");
    let before = test.script.sent().len();
    sleep(SECOND).await;
    for _ in 0..60 {
        let record = test.record(100_000, None);
        test.delivery.ship(record).await.unwrap();
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(test.taken);
    let most = test.script.state().requests[before + 4..].iter().map(|request| request.sizes.len()).max().unwrap();
    assert!(most <= 10, "a tenth of a second at most: {most} records of 100,000 B");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_sent_in_halves_and_the_next_ones_are_smaller() {
    let script = Script::firehose([Reply::Fails(too_large()), Reply::Fails(too_large())]);
    let mut options = script.options();
    (options.config.concurrency, options.config.request_size, options.config.counted) = (one(), 8_000, Counted::Data);
    let mut test = Test::open(script, options).await;
    test.ship(8).await.unwrap();
    test.delivery.flush().await.unwrap();
    sleep(SECOND).await;
    assert_eq!(test.script.sent(), [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[0, 1, 2, 3], &[0, 1], &[2, 3], &[4, 5, 6, 7]]);
    assert_eq!(test.script.times(), [Duration::ZERO; 5], "nothing to wait for");
    // Three quarters of the smaller one of the two.
    test.ship(9).await.unwrap();
    test.delivery.close().await.unwrap();
    assert!(test.script.sent()[5..].iter().all(|numbers| numbers.len() == 3), "{:?}", test.script.sent());
    test.all_is_safe(17);
    assert_eq!(test.delivery.shipping().requests_failed["TooLarge"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_single_record_that_is_too_large_is_refused_for_good() {
    let record_alone = Reply::Answers(vec![Some(too_large()), Some(throttled()), None]);
    for (reply, count, sent) in [(Reply::Fails(too_large()), 1, vec![0]), (record_alone, 3, vec![0, 1, 2])] {
        let script = Script::firehose([reply]);
        let (folder, spool) = spool(u64::MAX);
        let mut options = script.options();
        options.spool = spool;
        let mut test = Test::open(script, options).await;
        test.ship(count).await.unwrap();
        test.delivery.close().await.unwrap();
        assert_eq!(test.script.sent()[0], sent);
        assert_eq!(spooled(folder.path()), [0], "and not those that failed beside it");
        test.all_is_safe(count as u64 - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_spool_ends_the_delivery() {
    for (reply, accepted) in
        [(Reply::Fails(permanent()), vec![]), (Reply::Answers(vec![None, Some(permanent()), None]), vec![0, 2])]
    {
        let script = Script::firehose([reply]);
        let mut options = script.options();
        options.config.concurrency = one();
        let mut test = Test::open(script, options).await;
        test.ship(3).await.unwrap();
        let error = reason(test.delivery.close().await);
        assert_eq!(error.to_string(), "Permanent: never");
        assert!(matches!(error, DeliverError::Refused(failure) if failure.code() == "Permanent"));
        assert_eq!(test.acknowledged(), accepted);
        test.adds_up();
        assert!(matches!(reason(test.ship(1).await), DeliverError::Ended), "nothing comes after it");
        assert_eq!(test.script.sent().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_to_whoever_ships_next() {
    let script = Script::firehose([Reply::Fails(permanent())]);
    let options = one_by_one(&script);
    let mut test = Test::open(script, options).await;
    let error = loop {
        if let Err(error) = test.ship(1).await {
            break reason(Err(error));
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(error, DeliverError::Refused(_)));
    assert!(test.taken < 6, "one on its way, one in the queue, one open: {}", test.taken);
    assert_eq!((test.acknowledged(), test.script.sent().len()), (vec![], 1));
    test.adds_up();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_a_spool_is_kept_and_the_rest_goes_on() {
    let replies = [Reply::Answers(vec![None, Some(permanent()), Some(transient())]), Reply::Fails(permanent())];
    let script = Script::firehose(replies);
    let (folder, spool) = spool(u64::MAX);
    let mut options = script.options();
    (options.spool, options.config.concurrency) = (spool, one());
    let mut test = Test::open(script, options).await;
    test.ship(3).await.unwrap();
    test.delivery.flush().await.unwrap();
    test.ship(2).await.unwrap();
    test.delivery.close().await.unwrap();
    assert_eq!(test.script.sent(), [&[0, 1, 2][..], &[3, 4], &[2]]);
    assert_eq!(spooled(folder.path()), [1, 3, 4]);
    test.all_is_safe(2);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.records_spooled, shipping.bytes_spooled), (3, 3_000));
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_holds_the_records_until_they_are_accepted() {
    let script = Script::firehose([]);
    let refusals = [Reply::Fails(permanent()), Reply::Answers(vec![Some(permanent()), None])];
    script.state().replies = refusals.into_iter().chain(vec![Reply::Fails(permanent()); 3]).collect();
    let (folder, spool) = spool(10);
    let mut options = script.options();
    (options.spool, options.config.give_up_after) = (spool, Some(SECOND / 10));
    let mut test = Test::open(script, options).await;
    test.ship(2).await.unwrap();
    test.delivery.close().await.unwrap();
    assert_eq!(test.script.sent(), [&[0, 1][..], &[0, 1], &[0], &[0], &[0], &[0]]);
    assert!(spooled(folder.path()).is_empty());
    test.all_is_safe(2);
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_gets_room_takes_the_records() {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::Fails(permanent()));
    let (folder, spool) = spool(2_500);
    let mut options = one_by_one(&script);
    options.spool = spool;
    let mut test = Test::open(script, options).await;
    // Two batches fit, with what stands before and after their data.
    test.ship(3).await.unwrap();
    let path = folder.path().to_owned();
    let makes_room = tokio::spawn(async move {
        sleep(60 * SECOND).await;
        assert_eq!(spooled(&path), [0, 1]);
        crate::spool::remove(&crate::spool::batches(&path).unwrap()[0]).unwrap();
    });
    test.delivery.close().await.unwrap();
    makes_room.await.unwrap();
    assert_eq!(spooled(folder.path()), [1, 2]);
    test.all_is_safe(0);
    assert!(*test.script.times().last().unwrap() >= 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_may_end_the_delivery() {
    let script = Script::firehose([Reply::Fails(permanent())]);
    let (_folder, spool) = spool(10);
    let mut options = script.options();
    options.spool = spool.map(|(spool, _)| (spool, WhenFull::Stop));
    let mut test = Test::open(script, options).await;
    test.ship(2).await.unwrap();
    let error = reason(test.delivery.close().await);
    assert!(error.to_string().starts_with("Permanent: never; and they cannot be kept: spool "), "{error}");
    assert!(matches!(error, DeliverError::NotKept { error: SpoolError::Full { .. }, .. }));
    assert_eq!(test.acknowledged(), [0; 0]);
    test.adds_up();
}

#[tokio::test(start_paused = true)]
async fn records_are_given_up_after_their_time() {
    for failure in [transient(), throttled()] {
        let script = Script::firehose([]);
        script.state().then = Some(Reply::Fails(failure));
        let mut options = script.options();
        options.config.give_up_after = Some(30 * SECOND);
        let mut test = Test::open(script.clone(), options).await;
        test.ship(2).await.unwrap();
        let error = reason(test.delivery.close().await);
        let DeliverError::GivenUp { tried, .. } = &error else { panic!("{error}") };
        // The last tenth of a second is too short for another try.
        assert!((*tried..=30 * SECOND).contains(&(30 * SECOND)) && *tried + SECOND / 10 >= 30 * SECOND, "{tried:?}");
        assert!(error.to_string().starts_with("given up after "), "{error}");
        assert!(script.times().len() > 6, "it was tried until then: {:?}", script.times());
        test.adds_up();

        let (folder, spool) = spool(u64::MAX);
        let mut options = script.options();
        (options.config.give_up_after, options.spool) = (Some(30 * SECOND), spool);
        let mut test = Test::open(script, options).await;
        test.ship(2).await.unwrap();
        test.script.state().requests.clear();
        let begun = Instant::now();
        test.delivery.close().await.unwrap();
        assert!(begun.elapsed() <= 31 * SECOND && begun.elapsed() >= 29 * SECOND, "{:?}", begun.elapsed());
        assert_eq!((spooled(folder.path()), test.acknowledged()), (vec![0, 1], vec![0, 1]));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_time_records_are_tried_for_ever() {
    let script = Script::firehose(vec![Reply::Fails(transient()); 400]);
    let mut test = Test::of(script).await;
    test.ship(1).await.unwrap();
    test.delivery.close().await.unwrap();
    test.all_is_safe(1);
    assert!(*test.script.times().last().unwrap() > 1_800 * SECOND);
}

/// A stop after a minute of an outage that ends after `outage`.
async fn stopped_in_an_outage(outage: Duration, options: impl FnOnce(&mut Options)) -> (Test, Result<(), SinkError>) {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::Fails(transient()));
    let mut with_stop = script.options();
    options(&mut with_stop);
    let stop = Arc::clone(&with_stop.stop);
    let mut test = Test::open(script.clone(), with_stop).await;
    test.ship(2).await.unwrap();
    tokio::spawn(async move {
        sleep(60 * SECOND).await;
        stop.store(true, Ordering::Relaxed);
        sleep(outage.saturating_sub(60 * SECOND)).await;
        script.state().then = None;
    });
    let closed = test.delivery.close().await;
    test.adds_up();
    (test, closed)
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_within_the_grace_of_a_stop_costs_nothing() {
    let (test, closed) = stopped_in_an_outage(65 * SECOND, |_| ()).await;
    closed.unwrap();
    test.all_is_safe(2);
    let last = *test.script.times().last().unwrap();
    assert!((65 * SECOND..70 * SECOND).contains(&last), "{last:?}");
    // The stop itself begins with a try, however long the wait was.
    let at_stop = 60 * SECOND..60 * SECOND + SECOND / 10;
    assert!(test.script.times().iter().any(|time| at_stop.contains(time)), "{:?}", test.script.times());
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_outlasts_the_grace_of_a_stop_does_not_hold_the_end() {
    let (test, closed) = stopped_in_an_outage(1_000 * SECOND, |_| ()).await;
    let error = reason(closed);
    assert!(matches!(&error, DeliverError::GivenUp { tried, .. } if tried.as_secs() >= 69), "{error}");
    assert!(*test.script.times().last().unwrap() <= 71 * SECOND);
    assert_eq!(test.acknowledged(), [0; 0]);

    let (folder, spool) = spool(u64::MAX);
    let (test, closed) = stopped_in_an_outage(1_000 * SECOND, |options| options.spool = spool).await;
    closed.unwrap();
    assert_eq!(spooled(folder.path()), [0, 1]);
    test.all_is_safe(0);

    // A spool that has no room is waited for until then as well, and no longer.
    let (_folder, spool) = script::spool(10);
    let (test, closed) = stopped_in_an_outage(1_000 * SECOND, |options| options.spool = spool).await;
    assert!(matches!(reason(closed), DeliverError::NotKept { error: SpoolError::Full { .. }, .. }));
    assert!(*test.script.times().last().unwrap() <= 71 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_never_comes_does_not_outlast_the_grace() {
    let script = Script::firehose([Reply::Never]);
    let (folder, spool) = spool(u64::MAX);
    let mut options = script.options();
    (options.spool, options.config.grace) = (spool, 3 * SECOND);
    let stop = Arc::clone(&options.stop);
    let mut test = Test::open(script, options).await;
    test.ship(2).await.unwrap();
    test.delivery.flush().await.unwrap();
    sleep(SECOND).await;
    stop.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    test.delivery.close().await.unwrap();
    assert!((3 * SECOND..=3 * SECOND + SECOND / 10).contains(&stopped.elapsed()), "{:?}", stopped.elapsed());
    assert_eq!(spooled(folder.path()), [0, 1]);
    test.all_is_safe(0);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.requests_failed["Timeout"], shipping.records_possibly_duplicated), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_low_rate_does_not_outlast_the_grace() {
    let script = Script::firehose([]);
    let (folder, spool) = spool(u64::MAX);
    let mut options = one_by_one(&script);
    (options.spool, options.config.rate_limit) = (spool, RateLimit::BytesPerSecond(100));
    let stop = Arc::clone(&options.stop);
    let mut test = Test::open(script, options).await;
    test.ship(3).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let stopped = Instant::now();
    test.delivery.close().await.unwrap();
    assert!(stopped.elapsed() <= 11 * SECOND, "{:?}", stopped.elapsed());
    // A thousand bytes at a hundred a second: one at once, one in ten seconds.
    let delivered = test.delivery.delivered().records;
    assert!((1..=2).contains(&delivered) && spooled(folder.path()).len() as u64 == 3 - delivered, "{delivered}");
    test.all_is_safe(delivered);
}

#[tokio::test(start_paused = true)]
async fn a_reply_with_another_number_of_results_is_malformed() {
    for results in [0, 1, 3] {
        let mut test = Test::of(Script::firehose([Reply::Results(results)])).await;
        test.ship(2).await.unwrap();
        test.delivery.close().await.unwrap();
        assert_eq!(test.script.sent(), [[0, 1]; 2]);
        test.all_is_safe(2);
        let shipping = test.delivery.shipping();
        assert_eq!((shipping.requests_failed["MalformedReply"], shipping.records_possibly_duplicated), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn records_in_another_shard_are_settled_and_the_map_is_read_again() {
    let script = Script::kinesis(2, []);
    let mut options = script.options();
    (options.config.aggregates, options.config.rate_limit) = (true, RateLimit::None);
    let mut test = Test::open(script, options).await;
    let shards = test.delivery.shards().unwrap();
    assert_eq!(shards.current().len(), 2);
    // Asking fails, then it was asked a moment ago, then it works.
    test.script.state().refreshes.extend([Err(transient()), Ok(false)]);
    test.script.state().map = map(3);
    for known in [2, 2, 3, 3] {
        let record = test.record(100, Some(0));
        test.delivery.ship(record).await.unwrap();
        test.delivery.flush().await.unwrap();
        sleep(SECOND).await;
        assert_eq!(shards.current().len(), known);
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(4);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.records_in_other_shard, shipping.shard_map_refreshes), (3, 1));
    assert_eq!(test.script.sent(), [[0], [1], [2], [3]], "none is sent again");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_to_ignore_keys_ends_a_delivery_of_aggregates() {
    for aggregates in [true, false] {
        let script = Script::kinesis(3, []);
        let mut options = script.options();
        options.config.aggregates = aggregates;
        let mut test = Test::open(script, options).await;
        let record = test.record(100, Some(0));
        test.delivery.ship(record).await.unwrap();
        test.delivery.flush().await.unwrap();
        sleep(SECOND).await;
        {
            let mut state = test.script.state();
            state.ignores_keys = true;
            let description = Description { ignores_keys: true, ..Description::default() };
            state.descriptions.push_back(Ok(Some(description)));
        }
        for hash_key in [0, u128::MAX] {
            let record = test.record(100, Some(hash_key));
            test.delivery.ship(record).await.unwrap();
        }
        let closed = test.delivery.close().await;
        test.adds_up();
        if aggregates {
            assert!(matches!(reason(closed), DeliverError::IgnoresKeys));
            assert_eq!(test.acknowledged(), [0], "consumers drop the others");
        } else {
            closed.unwrap();
            test.all_is_safe(3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ignored_keys_from_the_start_says_nothing_by_its_shards() {
    let script = Script::kinesis(3, []);
    script.state().ignores_keys = true;
    script.state().descriptions.push_back(Ok(Some(Description { ignores_keys: true, ..Description::default() })));
    let mut test = Test::of(script).await;
    // Without keys of their own: they get some.
    test.ship(6).await.unwrap();
    test.delivery.close().await.unwrap();
    test.all_is_safe(6);
    assert_eq!(test.delivery.shipping().records_in_other_shard, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_has_a_quarter_of_a_second_of_each_shard_at_most() {
    let script = Script::kinesis(2, []);
    let mut options = script.options();
    options.config.concurrency = one();
    let mut test = Test::open(script, options).await;
    for number in 0..12 {
        let record = test.record(100_000, Some(if number % 2 == 0 { 0 } else { u128::MAX }));
        test.delivery.ship(record).await.unwrap();
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(12);
    let sizes: Vec<usize> = test.script.sent().iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 4, 4], "two of each shard");
    let times = test.script.times();
    assert!(times[1] < SECOND / 2 && times[2] > times[1], "1 MiB a second for each: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn records_of_a_shard_stay_in_order() {
    const SHARDS: u128 = 5;
    let script = Script::kinesis(SHARDS, []);
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let reply = match random.u8(..4) {
            0 => Reply::Answers(vec![Some(transient())]),
            1 => Reply::Fails(transient()),
            _ => Reply::Accepts,
        };
        let time = Duration::from_millis(random.u64(..400));
        script.state().replies.push_back(Reply::After(time, Box::new(reply)));
    }
    let mut options = script.options();
    (options.config.in_order, options.config.request_size) = (true, 2);
    let mut test = Test::open(script, options).await;
    let mut wanted = vec![Vec::new(); SHARDS as usize];
    for _ in 0..100 {
        let shard = random.u128(..SHARDS);
        wanted[shard as usize].push(test.taken);
        let record = test.record(10, Some(map(SHARDS).shards()[shard as usize].start + 1));
        test.delivery.ship(record).await.unwrap();
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(100);
    let accepted = test.script.state().accepted.clone();
    for numbers in wanted {
        let of_shard: Vec<u64> = accepted.iter().copied().filter(|number| numbers.contains(number)).collect();
        assert_eq!(of_shard, numbers);
    }
    assert!(accepted != (0..100).collect::<Vec<u64>>(), "shards do not wait for each other");
}

#[tokio::test(start_paused = true)]
async fn a_flush_sends_what_is_open_in_every_lane_and_closes_nothing() {
    let script = Script::kinesis(3, []);
    let mut options = script.options();
    options.config.in_order = true;
    options.config.concurrency = NonZeroUsize::new(3).unwrap();
    let mut test = Test::open(script, options).await;
    let starts: Vec<u128> = map(3).shards().iter().map(|shard| shard.start).collect();
    for round in 1..=2 {
        for &start in &starts {
            let record = test.record(10, Some(start));
            test.delivery.ship(record).await.unwrap();
        }
        test.delivery.flush().await.unwrap();
        sleep(MILLISECOND).await;
        assert_eq!((test.delivery.requests(), test.delivery.delivered().records), (3 * round, 3 * round));
        test.delivery.flush().await.unwrap();
    }
    test.delivery.close().await.unwrap();
    assert_eq!(test.delivery.requests(), 6, "an empty request is none");
    test.all_is_safe(6);
    test.delivery.close().await.unwrap();
    assert!(matches!(reason(test.ship(1).await), DeliverError::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_slow_holds_whoever_ships() {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::After(SECOND, Box::new(Reply::Accepts)));
    let options = one_by_one(&script);
    let mut test = Test::open(script, options).await;
    let begun = Instant::now();
    test.ship(10).await.unwrap();
    assert!(begun.elapsed() >= 7 * SECOND, "one on its way, one in the queue, one open: {:?}", begun.elapsed());
    test.delivery.close().await.unwrap();
    test.all_is_safe(10);
}

#[tokio::test(start_paused = true)]
async fn a_ship_that_is_cancelled_loses_its_own_record_alone() {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::After(SECOND, Box::new(Reply::Accepts)));
    let options = one_by_one(&script);
    let mut test = Test::open(script, options).await;
    let mut cancelled = Vec::new();
    for _ in 0..20 {
        let record = test.record(10, None);
        tokio::select! {
            biased;
            shipped = test.delivery.ship(record) => shipped.unwrap(),
            () = sleep(SECOND / 3) => cancelled.push(test.taken - 1),
        }
    }
    test.delivery.close().await.unwrap();
    test.adds_up();
    assert!(cancelled.len() > 5, "{cancelled:?}");
    let rest: Vec<u64> = (0..20).filter(|number| !cancelled.contains(number)).collect();
    assert_eq!(test.acknowledged(), rest);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_worker_is_not_swallowed_and_ends_the_others() {
    let script = Script::firehose([Reply::Panics]);
    script.state().then = Some(Reply::Fails(transient()));
    let options = one_by_one(&script);
    let mut options = options;
    options.config.concurrency = NonZeroUsize::new(3).unwrap();
    options.config.rate_limit = RateLimit::None;
    let mut test = Test::open(script.clone(), options).await;
    let shipped = tokio::spawn(async move {
        loop {
            test.ship(1).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let panic = tokio::time::timeout(60 * SECOND, shipped).await.expect("it ends").unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the script says so"));
    assert!(script.sent().len() < 10, "{:?}", script.sent());
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_dropped_ends_what_it_does() {
    let script = Script::firehose([]);
    script.state().then = Some(Reply::Fails(transient()));
    let mut test = Test::of(script.clone()).await;
    test.ship(2).await.unwrap();
    test.delivery.flush().await.unwrap();
    sleep(SECOND).await;
    drop(test);
    let requests = script.sent().len();
    sleep(600 * SECOND).await;
    assert!(requests > 0 && script.sent().len() == requests, "{requests}");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

/// Opens a delivery whose stream is described like that, and how that went.
async fn opened(
    script: &Script,
    descriptions: impl IntoIterator<Item = Result<Option<Description>, Failure>>,
    options: impl FnOnce(&mut Options),
) -> Result<(), SinkError> {
    script.state().descriptions = descriptions.into_iter().collect();
    let mut with = script.options();
    options(&mut with);
    Delivery::open(script.clone(), with).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_would_not_take_the_records_is_refused_at_the_start() {
    let description = || Description { max_record_size: 1 << 20, ..Description::default() };
    let source = Description { has_other_source: true, kind: "KinesisStreamAsSource".to_owned(), ..description() };
    let creating = Description { takes_records: false, status: "CREATING".to_owned(), ..description() };
    let auto = Description { ignores_keys: true, ..description() };
    for (description, says) in [
        (source, "is a KinesisStreamAsSource: records go to its source"),
        (creating, "the stream is CREATING: wait until it is ACTIVE"),
        (auto, "record distribution is AUTO"),
        (description(), "the stream takes records of 1048576 B, record_size is 1048577"),
    ] {
        let script = Script::kinesis(2, []);
        let options =
            |options: &mut Options| (options.config.aggregates, options.config.record_size) = (true, (1 << 20) + 1);
        let error = reason(opened(&script, [Ok(Some(description))], options).await).to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert!(!error.contains("--"), "no flags: {error}");
    }
    let auto = Description { ignores_keys: true, ..description() };
    opened(&Script::kinesis(2, []), [Ok(Some(auto))], |options| options.config.record_size = 1 << 20).await.unwrap();
    opened(&Script::firehose([]), [Ok(None)], |options| options.config.record_size = usize::MAX).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_what_may_work_in_a_moment() {
    let script = Script::kinesis(2, []);
    script.state().refreshes = [Err(throttled()), Err(transient()), Ok(true)].into();
    opened(&script, [Err(transient()), Err(throttled())], |_| ()).await.unwrap();
    assert_eq!(script.state().described, 3);
    let refused = reason(opened(&script, [Err(permanent())], |_| ()).await);
    assert!(matches!(refused, DeliverError::Refused(failure) if failure == permanent()));
    assert_eq!(script.state().described, 4);
    script.state().refreshes = [Err(permanent())].into();
    reason(opened(&script, [], |_| ()).await);

    // For a while.
    for (give_up_after, seconds) in [(None, 15), (Some(4 * SECOND), 4), (Some(60 * SECOND), 15)] {
        let begun = Instant::now();
        let down = || vec![Err(transient().during("test:Describe")); 99];
        let error = reason(opened(&script, down(), |options| options.config.give_up_after = give_up_after).await);
        assert_eq!(error.to_string(), "test:Describe: Transient: in a moment");
        let took = begun.elapsed().as_secs();
        assert!((seconds / 3..=seconds).contains(&took), "{took} s");
    }

    // Until it is stopped.
    let begun = Instant::now();
    let error = reason(
        opened(&script, vec![Err(transient()); 99], |options| {
            let stop = Arc::clone(&options.stop);
            tokio::spawn(async move {
                sleep(SECOND).await;
                stop.store(true, Ordering::Relaxed);
            });
        })
        .await,
    );
    assert_eq!(error.to_string(), "Timeout: stopped before there was a reply");
    assert!(begun.elapsed() <= SECOND + SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_start_without_an_answer_goes_on_with_a_spool_unless_it_needs_the_shards() {
    let down = || vec![Err(transient()); 99];
    let (_folder, kept) = spool(1_000);
    opened(&Script::firehose([]), down(), |options| options.spool = kept).await.unwrap();
    let (_folder, kept) = spool(1_000);
    opened(&Script::kinesis(2, []), down(), |options| options.spool = kept).await.unwrap();
    let (_folder, kept) = spool(1_000);
    let in_order = |options: &mut Options| (options.spool, options.config.in_order) = (kept, true);
    reason(opened(&Script::kinesis(2, []), down(), in_order).await);
    let without_list = Script::kinesis(2, []);
    without_list.state().refreshes = vec![Err(throttled()); 99].into();
    let (_folder, kept) = spool(1_000);
    opened(&without_list, [], |options| options.spool = kept).await.unwrap();
    reason(opened(&without_list, [], |_| ()).await);
    let (_folder, kept) = spool(1_000);
    reason(opened(&Script::firehose([]), [Err(permanent())], |options| options.spool = kept).await);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_began_without_the_shards_reads_them_with_the_first_answer() {
    let script = Script::kinesis(3, []);
    script.state().descriptions = vec![Err(transient()); 99].into();
    let (_folder, kept) = spool(1_000_000);
    let mut options = script.options();
    (options.spool, options.config.aggregates) = (kept, true);
    let mut test = Test::open(script, options).await;
    let shards = test.delivery.shards().unwrap();
    assert_eq!(shards.current().len(), 1);
    test.script.state().descriptions.clear();
    for key in 0..6 {
        let record = test.record(1_000, Some(u128::MAX / 6 * key));
        test.delivery.ship(record).await.unwrap();
        test.delivery.flush().await.unwrap();
        sleep(SECOND).await;
        assert_eq!(shards.current().len(), 3);
    }
    test.delivery.close().await.unwrap();
    test.all_is_safe(6);
    let shipping = test.delivery.shipping();
    assert_eq!((shipping.records_in_other_shard, shipping.shard_map_refreshes), (0, 1));
}

#[test]
fn a_sink_has_a_runtime_of_its_own_or_the_caller_s() {
    let run = |sink: &mut DeliverySink<Script>| {
        for number in 0..700_u64 {
            sink.ship(Record::from_bytes(number.to_be_bytes().to_vec(), 1, None, Vec::new())).unwrap();
        }
        assert_eq!((sink.requests(), sink.shards().current().len() == 1), (sink.shipping().unwrap().requests, true));
        sink.flush().unwrap();
        sink.close().unwrap();
        assert_eq!((sink.delivered().records, sink.requests()), (700, 3));
    };
    // Of 500, of which one fails, and of 200 records.
    let script = || {
        let failures = [Some(transient())].into_iter().chain(vec![None; 499]).collect();
        Script::firehose([Reply::Answers(failures)])
    };
    let options = |script: &Script| {
        let mut options = script.options();
        options.config.concurrency = one();
        options
    };
    let own = script();
    let open = async { Delivery::open(own.clone(), options(&own)).await };
    let mut sink = DeliverySink::with_threads::<SinkError>(NonZeroUsize::new(2).unwrap(), open).unwrap();
    run(&mut sink);
    drop(sink);

    for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
        let runtime = builder.enable_time().build().unwrap();
        runtime.block_on(async {
            let script = script();
            let delivery = Delivery::open(script.clone(), options(&script)).await.unwrap();
            let mut sink = DeliverySink::new(delivery, Handle::current());
            // As a pipeline is run from there.
            tokio::task::spawn_blocking(move || run(&mut sink)).await.unwrap();
        });
    }
}

#[test]
fn a_runtime_that_ends_before_the_delivery_is_an_error() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let script = Script::firehose([Reply::Never]);
    let mut test = runtime.block_on(Test::of(script));
    runtime.block_on(async {
        test.ship(1).await.unwrap();
        test.delivery.flush().await.unwrap();
    });
    runtime.shutdown_background();
    let closed = Builder::new_current_thread().enable_time().build().unwrap().block_on(test.delivery.close());
    assert!(matches!(reason(closed), DeliverError::RuntimeGone));
    assert_eq!(test.acknowledged(), [0; 0]);
}
