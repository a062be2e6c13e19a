//! Opens the sink and the quarantine that a configuration names.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pixel_engine_aws as aws;
use pixel_engine_core::checkpoint::Checkpoint;
use pixel_engine_core::config::{
    Config, Container, DeliveryConfig, OnBadLine, QuarantinePlace, SpoolConfig, Stream, Target,
};
use pixel_engine_core::deliver::{DeliverySink, Options};
use pixel_engine_core::progress::Progress;
use pixel_engine_core::quarantine::Quarantine;
use pixel_engine_core::sink::folder::Folder;
use pixel_engine_core::sink::null::Null;
use pixel_engine_core::sink::objects::{ObjectFormat, Objects};
use pixel_engine_core::sink::publish::Publisher;
use pixel_engine_core::sink::requests::Requests;
use pixel_engine_core::sink::store::Store;
use pixel_engine_core::sink::{Sink, SinkError};
use pixel_engine_core::source::Format;
use pixel_engine_core::spool::{Spool, SpoolError};
use pixel_engine_lake::{self as lake, Parquet};
use pixel_engine_log::encode::Encoding;

/// A sink cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// There is no way to the stream or bucket, or it does not take such records.
    #[error(transparent)]
    Aws(#[from] aws::Error),
}

/// Opens the target of the configuration. `is_json` says whether lines that are left as they came
/// are JSON, where the configuration leaves that open. Requests are counted in
/// `progress`, and objects are published so that the checkpoint knows of each. The sink ends what it is doing soon after `stop` is set.
///
/// # Errors
/// The folder, the spool, the stream or the bucket cannot be used.
pub fn open(
    config: &Config,
    is_json: bool,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    checkpoint: Option<&Arc<Checkpoint>>,
) -> Result<Box<dyn Sink>, OpenError> {
    Ok(match config.target() {
        Target::Null => Box::new(Null::new(config.api())),
        Target::Stdout(stream) => Box::new(Requests::new(io::stdout(), config.api(), stream.clone())),
        Target::Dir(folder) => objects(Arc::new(Folder::new(folder)?), config, is_json, checkpoint)?,
        Target::S3(uri) => {
            let mut options = Options::from(config.delivery().clone());
            (options.progress, options.stop) = (progress, stop);
            let store = aws::s3::Store::open(uri, config.connection(), config.objects(), options)?;
            objects(Arc::new(store), config, is_json, checkpoint)?
        }
        Target::Stream(stream) => Box::new(deliver(stream, config, progress, stop)?),
    })
}

/// Records as objects of that store, or rows as files.
fn objects(
    store: Arc<dyn Store>,
    config: &Config,
    is_json: bool,
    checkpoint: Option<&Arc<Checkpoint>>,
) -> Result<Box<dyn Sink>, SinkError> {
    let interval = config.objects().buffering_interval;
    let publisher = Publisher::new(store, checkpoint.cloned())?;
    let (is_json, format) = match config.container() {
        Container::Parquet { table, codec, .. } => {
            let (codec, threads) = (*codec, config.threads().get());
            let options = lake::Options { codec, threads, file_age: Some(interval), ..lake::Options::default() };
            return Ok(Box::new(Parquet::new(publisher, table, options)?));
        }
        Container::Kpl { .. } => (true, ObjectFormat::PutRecordsEntries),
        Container::Lines { .. } => (has_json_lines(config).unwrap_or(is_json), ObjectFormat::Data),
    };
    let extension = if is_json { ".jsonl" } else { ".tsv" };
    let extension = format!("{extension}{}", config.container().codec().extension());
    Ok(Box::new(Objects::new(publisher, extension, format, interval)))
}

/// Opens the quarantine of the configuration: a file only when the first bad line comes, a stream at
/// once.
///
/// # Errors
/// There is no way to the stream, or it does not take records.
pub fn open_quarantine(config: &Config, stop: Arc<AtomicBool>) -> Result<Quarantine, OpenError> {
    Ok(match config.quarantine() {
        QuarantinePlace::Stream(stream) if config.on_bad_line() == OnBadLine::Quarantine => {
            let mut options = Options::new(stream.api());
            let DeliveryConfig { give_up_after, grace, .. } = *config.delivery();
            (options.config.give_up_after, options.config.grace) = (give_up_after, grace);
            options.stop = stop;
            Quarantine::sink(Box::new(aws::open(stream, config.connection(), options)?))
        }
        // Nothing will come.
        QuarantinePlace::Stream(_) | QuarantinePlace::Log => Quarantine::log(io::stderr()),
        QuarantinePlace::File(path) => Quarantine::new(path),
    })
}

/// Whether the lines of records are JSON; `None` when the lines that come decide that.
fn has_json_lines(config: &Config) -> Option<bool> {
    match (config.encoding(), config.format()) {
        (Encoding::Json(_), _) | (Encoding::Raw, Format::Json) => Some(true),
        (Encoding::Raw, Format::Auto) => None,
        _ => Some(false),
    }
}

/// Opens the spool, connects, and looks at the stream.
fn deliver(
    stream: &Stream,
    config: &Config,
    progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
) -> Result<DeliverySink<aws::StreamClient>, OpenError> {
    let mut options = Options::from(config.delivery().clone());
    if let Some(SpoolConfig { folder, size, when_full, .. }) = config.spool() {
        options.spool = Some((Spool::open(folder, *size)?, *when_full));
    }
    options.progress = progress;
    options.stop = stop;
    Ok(aws::open(stream, config.connection(), options)?)
}
