//! What is read like a file and is none: an object in a bucket.

use std::fmt::Debug;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An object that can be read from any byte, and stays as it is: with another content it is another
/// object.
pub trait Object: Debug + Send + Sync {
    /// What people call it: `s3://BUCKET/KEY`.
    fn name(&self) -> String;

    /// What tells this content from another of that name: the ETag.
    fn version(&self) -> &str;

    /// Bytes as it is stored.
    fn size(&self) -> u64;

    /// Reads it from that byte on. Reading fails when the object is gone or has another content,
    /// and soon after `stop` is set.
    fn read_from(&self, offset: u64, stop: Arc<AtomicBool>) -> Box<dyn Read + Send>;
}

/// Two numbers that tell the object from every other, in place of those of a file system.
pub(crate) fn numbers(object: &dyn Object) -> (u64, u64) {
    let hash = blake3::hash(format!("{}\0{}", object.name(), object.version()).as_bytes());
    let (numbers, _) = hash.as_bytes().as_chunks::<8>();
    (u64::from_le_bytes(numbers[0]), u64::from_le_bytes(numbers[1]))
}
