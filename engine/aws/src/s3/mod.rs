//! S3: objects below `s3://BUCKET/PREFIX/`, written and read.
//!
//! `bucket` makes the calls, each once. [`Store`] writes objects with them, of which `upload` is one;
//! [`Reader`] lists objects, which `read` reads; [`Inventory`] does both, and removes objects. What is repeated and when it ends is `pixel_engine_core::deliver`'s to say.

mod bucket;
mod inventory;
mod list;
mod read;
mod store;
mod upload;

pub(crate) use bucket::Bucket;
pub use inventory::Inventory;
pub use list::Reader;
pub use store::Store;
