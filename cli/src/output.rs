//! Standard output of the commands that print.

use std::io::{self, Write};

use crate::Outcome;

/// Prints it all; a reader that has gone is no error.
pub(crate) fn print(bytes: &[u8]) -> Outcome {
    let mut stdout = io::stdout().lock();
    finish(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// What a command that writes to standard output comes to.
pub(crate) fn finish(written: io::Result<()>) -> Outcome {
    match written {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Done,
        Err(error) => {
            eprintln!("pixel-engine: stdout: {error}");
            Outcome::Failed
        }
    }
}
