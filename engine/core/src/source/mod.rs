//! Turns files, folders, globs and standard input into blocks of whole lines.
//!
//! `input` finds and opens what the user named, and decompresses it by its first bytes; `reader` cuts the
//! bytes into blocks.

mod input;
mod reader;

pub use input::{Input, InputError, OpenFile, expand};
pub(crate) use reader::fields_header;
pub use reader::{BlockReader, Format, ReadError};
