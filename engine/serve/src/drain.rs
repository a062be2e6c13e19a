//! Opens a stream for the batches of a spool.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pixel_engine_aws as aws;
use pixel_engine_core::config::{Config, Stream};
use pixel_engine_core::deliver::{DeliverError, DeliverySink, Drain, Options, Refusals};
use pixel_engine_core::progress::Progress;
use pixel_engine_core::sink::SinkError;
use pixel_engine_core::spool::{Contents, Outline};

/// Opens the stream for batches with these headers: they were packed for a stream of this service,
/// and the size of their records was checked then. A stream that does not go by keys is opened for
/// the lines among them. Requests are counted in `progress`.
///
/// # Errors
/// There is no way to the stream, or it takes none of the batches.
pub fn open(
    stream: &Stream,
    config: &Config,
    outlines: &[Outline],
    progress: &Arc<Progress>,
    stop: &Arc<AtomicBool>,
) -> Result<Drain<DeliverySink<aws::StreamClient>>, aws::Error> {
    let refusals = Refusals::default();
    let open = |aggregates: bool| {
        let mut options = Options::from(config.delivery().clone());
        options.config.aggregates = aggregates;
        options.refusals = Some(refusals.clone());
        options.progress = Arc::clone(progress);
        options.stop = Arc::clone(stop);
        aws::open(stream, config.connection(), options)
    };
    let has_lines = outlines.iter().any(|outline| outline.contents.is_some_and(|it| it != Contents::Aggregates));
    let (sink, takes_aggregates) = match open(config.delivery().aggregates) {
        Err(error) if has_lines && ignores_keys(&error) => (open(false)?, false),
        opened => (opened?, true),
    };
    let (api, progress, stop) = (config.api(), Arc::default(), Arc::clone(stop));
    Ok(Drain { sink, api, takes_aggregates, refusals, progress, stop })
}

/// Whether the stream takes lines, but no aggregates.
fn ignores_keys(error: &aws::Error) -> bool {
    let aws::Error::Sink(SinkError::Stream { error, .. }) = error else { return false };
    matches!(**error, DeliverError::IgnoresKeys)
}
