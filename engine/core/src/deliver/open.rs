//! Looks at a stream before the first record is sent.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ending::is_set;
use super::{Class, DeliverError, Failure, Options, Service};

/// How long a start may be kept waiting by an endpoint that does not answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Asks whether the stream takes records as the options say they are, and reads its map of shards.
/// Returns whether records go to the shards of their keys.
pub(super) async fn look<S: Service>(service: &S, options: &Options) -> Result<bool, DeliverError> {
    let mut keys_choose_shard = true;
    match patiently(options, async || service.describe().await).await {
        Ok(Some(description)) => {
            tracing::info!("{}: {description}", service.uri());
            description.verify(options.config.aggregates, options.config.record_size)?;
            keys_choose_shard = !description.ignores_keys;
        }
        Ok(None) => {}
        Err(failure) if may_go_on(service, options, &failure) => {
            tracing::warn!("{}: {failure}; going on, as there is a spool", service.uri());
            // It would not answer that either.
            return Ok(keys_choose_shard);
        }
        Err(failure) => return Err(DeliverError::Refused(failure)),
    }
    match patiently(options, async || service.refresh_shards().await).await {
        Ok(_) => {}
        Err(failure) if may_go_on(service, options, &failure) => {
            tracing::warn!("{}: {failure}; going on without a map of shards, as there is a spool", service.uri());
        }
        Err(failure) => return Err(DeliverError::Refused(failure)),
    }
    Ok(keys_choose_shard)
}

/// Whether records may be packed and kept for a service that does not answer. Without its map of
/// shards, an aggregate has a hash key anywhere in the whole range: it stays in one shard, whichever
/// that is, and aggregates are spread evenly. But lines that must be in the shard of their value
/// cannot be put together without knowing where the shards' borders are.
fn may_go_on<S: Service>(service: &S, options: &Options, failure: &Failure) -> bool {
    let needs_shards = service.shards().is_some() && options.config.in_order;
    options.spool.is_some() && failure.class() != Class::Permanent && !needs_shards
}

/// Asks again for a while what may work in a moment, unless the run is stopped.
async fn patiently<T>(options: &Options, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        answer = ask_again(options, ask) => answer,
        () = is_set(&options.stop) => Err(Failure::timeout("stopped before there was a reply")),
    }
}

async fn ask_again<T>(options: &Options, ask: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let until = Instant::now() + options.config.give_up_after.map_or(PATIENCE, |time| time.min(PATIENCE));
    let mut wait = FIRST_WAIT;
    loop {
        let failure = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let may_help = matches!(failure.class(), Class::Transient | Class::Throttled);
        if !may_help || Instant::now() + wait > until {
            return Err(failure);
        }
        sleep(wait).await;
        wait *= 2;
    }
}
