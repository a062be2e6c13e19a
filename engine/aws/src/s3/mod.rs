//! S3: objects below `s3://BUCKET/PREFIX/`, written and read.
//!
//! `bucket` makes the calls, each once. [`Store`] writes objects with them, of which `upload` is one;
//! [`Reader`] lists objects, which `read` reads; [`Buckets`] has those of any bucket; [`Inventory`] lists,
//! reads and removes. What is repeated and when it ends is `pixel_engine_core::deliver`'s to say.

mod bucket;
mod buckets;
mod inventory;
mod list;
mod read;
mod store;
mod upload;

pub(crate) use bucket::Bucket;
pub use buckets::Buckets;
pub use inventory::Inventory;
pub use list::{GLOB, Reader};
pub use store::Store;
