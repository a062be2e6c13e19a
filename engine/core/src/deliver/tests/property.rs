use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::script::{Reply, Script, Test, permanent, spool, spooled, throttled, too_large, transient};
use crate::deliver::{DeliverError, Failure, RateLimit, WhenFull};
use crate::sink::SinkError;
use crate::sink::limits::Counted;

/// How a request, or a record within it, fares.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Accepted,
    Throttled,
    Transient,
    TooLarge,
    Permanent,
}

impl Fate {
    fn failure(self) -> Option<Failure> {
        match self {
            Fate::Accepted => None,
            Fate::Throttled => Some(throttled()),
            Fate::Transient => Some(transient().with_arrival_in_doubt(true)),
            Fate::TooLarge => Some(too_large()),
            Fate::Permanent => Some(permanent()),
        }
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Accepted),
        2 => Just(Fate::Throttled),
        3 => Just(Fate::Transient),
        1 => Just(Fate::TooLarge),
        1 => Just(Fate::Permanent),
    ]
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let reply = prop_oneof![
        2 => Just(Reply::Accepts),
        2 => any_fate().prop_map(|fate| fate.failure().map_or(Reply::Accepts, Reply::Fails)),
        5 => prop::collection::vec(any_fate(), 1..9)
            .prop_map(|fates| Reply::Cycle(fates.into_iter().map(Fate::failure).collect())),
    ];
    (reply, prop_oneof![2 => Just(0), 1 => 1..3_000_u64]).prop_map(|(reply, milliseconds)| match milliseconds {
        0 => reply,
        _ => Reply::After(Duration::from_millis(milliseconds), Box::new(reply)),
    })
}

/// What is done to a delivery.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ship { size: usize, hash_key: u128 },
    Flush,
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (8..3_000_usize, any::<u128>()).prop_map(|(size, hash_key)| Step::Ship { size, hash_key }),
        1 => Just(Step::Flush),
        1 => (1..2_000_u64).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Conditions {
    shards: Option<u128>,
    concurrency: usize,
    request_size: usize,
    in_order: bool,
    rate: Option<u64>,
    give_up_after: Option<u64>,
    stop_after: Option<u64>,
    /// Bytes, and what to do when they are used up.
    spool: Option<(u64, WhenFull)>,
    never_accepts: bool,
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let when_full = prop_oneof![Just(WhenFull::Block), Just(WhenFull::Stop)];
    let size = prop_oneof![Just(u64::MAX), 500..20_000_u64];
    let sender = (prop::option::of(1..5_u128), 1..4_usize, 1..12_000_usize, any::<bool>());
    let limits = (
        prop::option::of(1_000..100_000_u64),
        prop::option::of(200..20_000_u64),
        prop::option::of(0..20_000_u64),
        prop::option::of((size, when_full)),
        prop::bool::weighted(0.2),
    );
    (sender, limits).prop_map(|((shards, concurrency, request_size, in_order), limits)| {
        let (rate, give_up_after, stop_after, spool, never_accepts) = limits;
        // Without an end it would be tried for ever.
        let never_accepts = never_accepts && stop_after.is_some();
        Conditions {
            shards,
            concurrency,
            request_size,
            in_order: in_order && shards.is_some(),
            rate,
            give_up_after,
            stop_after,
            spool,
            never_accepts,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a service answers, every record is delivered and settled, or in the spool once, or
    /// not acknowledged; a delivery that went well leaves none of the last; and nothing that was
    /// accepted is sent again or kept.
    #[test]
    fn every_record_is_settled_spooled_or_unacknowledged(
        steps in prop::collection::vec(any_step(), 1..60),
        replies in prop::collection::vec(any_reply(), 0..40),
        conditions in any_conditions(),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(steps, replies, conditions))?;
    }

    /// However many records fail beside others, each is accepted once, and no more are in memory
    /// than workers have, than are open and waiting, and a request of those that failed.
    #[test]
    fn records_that_fail_beside_others_are_accepted_once_and_stay_few(
        fails in prop::collection::vec(prop::bool::weighted(0.2), 100..400),
        latencies in prop::collection::vec(1..200_u64, 1..60),
        (concurrency, of_request, records) in (1..6_usize, 2..40_usize, 100..1_000_u64),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // The first record gets through, so that every request gets on.
            let failures = [false].iter().chain(&fails).map(|&fails| fails.then(transient)).collect();
            let reply = Reply::Cycle(failures);
            let after = |&latency| Reply::After(Duration::from_millis(latency), Box::new(reply.clone()));
            let script = Script::firehose(latencies.iter().map(after));
            script.state().then = Some(Reply::After(Duration::from_millis(50), Box::new(reply.clone())));
            let mut options = script.options();
            options.config.concurrency = NonZeroUsize::new(concurrency).unwrap();
            (options.config.request_size, options.config.counted) = (1_000 * of_request, Counted::Data);
            let mut test = Test::open(script, options).await;
            for _ in 0..records {
                test.ship(1).await.unwrap();
                let on_the_way = test.taken as usize - test.script.state().accepted.len();
                prop_assert!(on_the_way <= (3 + concurrency) * of_request, "{}", on_the_way);
            }
            test.delivery.close().await.unwrap();
            let mut accepted = test.script.state().accepted.clone();
            accepted.sort_unstable();
            prop_assert_eq!(accepted, (0..records).collect::<Vec<u64>>());
            test.all_is_safe(records);
            Ok(())
        })?;
    }
}

async fn check(steps: Vec<Step>, replies: Vec<Reply>, conditions: Conditions) -> Result<(), TestCaseError> {
    let script = match conditions.shards {
        Some(shards) => Script::kinesis(shards, replies),
        None => Script::firehose(replies),
    };
    script.state().then = conditions.never_accepts.then(|| Reply::Fails(transient()));
    let mut options = script.options();
    options.config.concurrency = NonZeroUsize::new(conditions.concurrency).unwrap();
    options.config.request_size = conditions.request_size;
    options.config.in_order = conditions.in_order;
    options.config.rate_limit = conditions.rate.map_or(RateLimit::Auto, RateLimit::BytesPerSecond);
    options.config.give_up_after = conditions.give_up_after.map(Duration::from_millis);
    let mut folder = None;
    if let Some((size, when_full)) = conditions.spool {
        let (of_spool, spool) = spool(size);
        options.spool = spool.map(|(spool, _)| (spool, when_full));
        folder = Some(of_spool);
    }
    let stop = Arc::clone(&options.stop);
    let mut test = Test::open(script.clone(), options).await;
    if let Some(milliseconds) = conditions.stop_after {
        tokio::spawn(async move {
            sleep(Duration::from_millis(milliseconds)).await;
            stop.store(true, Ordering::Relaxed);
        });
    }
    let mut result = Ok(());
    for step in steps {
        result = match step {
            Step::Ship { size, hash_key } => {
                let record = test.record(size, conditions.shards.map(|_| hash_key));
                test.delivery.ship(record).await
            }
            Step::Flush => test.delivery.flush().await,
            Step::Wait(milliseconds) => {
                sleep(Duration::from_millis(milliseconds)).await;
                Ok(())
            }
        };
        if result.is_err() {
            break;
        }
    }
    let closed = test.delivery.close().await;
    let result = result.and(closed);

    let (delivered, shipping) = (test.delivery.delivered(), test.delivery.shipping());
    let set = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
    let accepted = script.state().accepted.clone();
    let spooled = folder.as_ref().map_or_else(Vec::new, |folder| spooled(folder.path()));
    let acknowledged = set(&test.acknowledged());
    prop_assert_eq!(set(&accepted).len(), accepted.len(), "none is accepted twice");
    prop_assert_eq!(set(&spooled).len(), spooled.len(), "none is kept twice");
    prop_assert!(set(&accepted).is_disjoint(&set(&spooled)));
    prop_assert_eq!(&(&set(&accepted) | &set(&spooled)), &acknowledged);
    prop_assert_eq!(delivered.records, accepted.len() as u64);
    prop_assert_eq!(shipping.records_spooled, spooled.len() as u64);
    prop_assert_eq!(shipping.requests, script.sent().len() as u64);
    prop_assert!(test.taken >= acknowledged.len() as u64);
    match result {
        Ok(()) => prop_assert_eq!(acknowledged.len() as u64, test.taken),
        Err(SinkError::Stream { error, .. }) => {
            let is_allowed = match *error {
                DeliverError::Refused(_) | DeliverError::GivenUp { .. } => conditions.spool.is_none(),
                DeliverError::NotKept { .. } => conditions.spool.is_some(),
                _ => false,
            };
            prop_assert!(is_allowed, "{}", error);
        }
        Err(error) => prop_assert!(false, "{}", error),
    }
    Ok(())
}
