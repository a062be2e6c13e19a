//! What is wrong in a configuration file, and where.

use std::fmt::{self, Display, Formatter};
use std::io;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileError {
    /// The file, or the variable of the environment.
    pub source_name: String,
    /// Line and column in the file, from 1; `None` for what has no place there.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors(pub Vec<FileError>);

impl FileErrors {
    pub(super) fn unreadable(name: &str, error: &io::Error) -> FileErrors {
        FileErrors(vec![FileError { source_name: name.to_owned(), place: None, message: error.to_string() }])
    }
}

impl Display for FileError {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let FileError { source_name, place, message } = self;
        match place {
            Some((line, column)) => write!(out, "{source_name}:{line}:{column}: {message}"),
            None => write!(out, "{source_name}: {message}"),
        }
    }
}

/// One a line.
impl Display for FileErrors {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for (place, error) in self.0.iter().enumerate() {
            if place > 0 {
                out.write_str("\n")?;
            }
            error.fmt(out)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}
