//! Places for objects: a folder, a bucket. What an object holds is for others to know.

use std::io::Write;

use jiff::Timestamp;

use super::SinkError;
use super::statistics::Shipping;

/// A place for objects, which can be seen once they are complete and not before.
pub trait Store: Send + Sync {
    /// Begins the object of that name, a relative path with `/` between its parts. Nothing can be
    /// seen of it until it is published. Several may be open at a time.
    ///
    /// # Errors
    /// The place cannot be written to.
    fn create(&self, name: &str) -> Result<Box<dyn Object>, SinkError>;

    /// Whether the object of that name, which an earlier process had [made
    /// ready](Object::make_ready), was published. If it was not, it never will be, and nothing of it
    /// is left.
    ///
    /// # Errors
    /// That cannot be found out now.
    fn was_published(&self, name: &str, ready: &str) -> Result<bool, SinkError>;

    /// What tells it from other places: a path, or `s3://BUCKET/PREFIX/`.
    fn target(&self) -> String;

    /// How requests went; `None` for a place that is not behind a network.
    fn shipping(&self) -> Option<Shipping> {
        None
    }
}

/// An object that is being written. Dropped before it is published, nothing is left of it.
///
/// A write may wait until the bytes before it are on disk or with the service, so that little
/// memory is held; [`Write::flush`] hands on what can be handed on, and publishes nothing.
pub trait Object: Write + Send {
    /// What messages call it while it is written.
    fn target(&self) -> String;

    /// Makes all of it safe, so that publishing it is a single step. What is returned lets another
    /// process find out whether that step was made: see [`Store::was_published`].
    ///
    /// # Errors
    /// Not all of it is safe.
    fn make_ready(&mut self) -> Result<String, SinkError>;

    /// Makes it complete, durable and visible.
    ///
    /// # Errors
    /// Not all of it is safe; nothing of it can be seen.
    fn publish(self: Box<Self>) -> Result<(), SinkError>;
}

/// A name for an object in the form of Firehose's own: stream, version, time, and something random.
/// `number` tells apart those of one run.
pub fn object_name(now: Timestamp, number: u64, extension: &str) -> String {
    let time = now.strftime("%Y-%m-%d-%H-%M-%S");
    format!("pixel-engine-1-{time}-{number:06}-{:016x}{extension}", fastrand::u64(..))
}
