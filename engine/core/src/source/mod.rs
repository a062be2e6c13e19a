//! Where lines come from.
//!
//! A [`Source`] reads something and pushes what it reads into the [`Feed`] of a run, which makes
//! blocks of whole lines of it. A run has any number of sources at a time, each on a thread of its
//! own, and a source any number of inlets: one for each file, connection or batch.
//!
//! `input` finds and opens what the user named, `object` is what of it is in a bucket; `content` tells from the first bytes what it holds,
//! `decompress` and `text` make text in UTF-8 of it (`member` is the quick way for gzip), and `json`
//! brings JSON of any shape into lines; `files` reads such inputs one after the other, and `ahead`
//! decompresses those to come; `follow` reads files as they grow, `followed` is one of them;
//! `reader` cuts bytes into blocks.

mod ahead;
mod content;
mod decompress;
mod evidence;
mod feed;
mod files;
mod follow;
mod followed;
mod input;
mod json;
mod member;
mod object;
mod peek;
mod reader;
mod text;

pub use crate::ack::{Completion, Outcome};
pub use content::{Compression, Unsupported, is_plain};
pub use evidence::QueryEncodings;
pub(crate) use evidence::{Evidence, QueryEncodingDetector};
pub use feed::{Closed, Feed, Inlet, Reached};
pub(crate) use feed::{Feeds, InputFailure, Origins, Output, Reading};
pub use files::Files;
pub use follow::{Follow, Start};
pub(crate) use input::text_of;
pub use input::{Input, InputError, OpenFile, expand};
pub(crate) use json::JsonLines;
pub use object::Object;
pub(crate) use object::numbers;
pub(crate) use reader::fields_header;
pub use reader::{BlockReader, Format, ReadError};
pub use text::BYTE_ORDER_MARK;
pub(crate) use text::{byte_order_marks_len, without_margin};

/// Something that lines come from.
///
/// ```
/// use pixel_engine_core::source::{Closed, Feed, Source};
///
/// struct Greeting;
///
/// impl Source for Greeting {
///     fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed> {
///         let mut inlet = feed.open("greeting");
///         inlet.push("1.5\t203.0.113.9\tcurl/8.0\te=hello\n")?;
///         inlet.end()?;
///         Ok(())
///     }
/// }
/// ```
pub trait Source: Send {
    /// Reads until there is no more or [`Feed::is_stopping`]; may return while other sources go on.
    /// It runs on a thread of its own, and may block.
    ///
    /// # Errors
    /// The run takes no more lines. What is wrong with an input goes into the run's report, not
    /// here.
    fn read(self: Box<Self>, feed: Feed<'_>) -> Result<(), Closed>;

    /// Whether it may pause in the middle, as a pipe or a socket does and a file does not. Lines
    /// that are there should not wait for those that come after the pause: see
    /// [`Linger`](crate::config::Linger).
    fn may_pause(&self) -> bool {
        true
    }
}
