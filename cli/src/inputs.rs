//! The inputs that a command's arguments stand for.

use std::io::{self, IsTerminal};

use pixel_engine::aws::s3::Reader;
use pixel_engine::config::{Connection, S3Uri};
use pixel_engine::source::{Input, expand};

use crate::aws::of_aws;

/// The files, folders, globs and S3 URIs; standard input without any. Prints what cannot be found, and
/// whether that was anything is the second.
pub(crate) fn of_arguments(arguments: &[String], connection: &Connection) -> (Vec<Input>, bool) {
    if arguments.is_empty() {
        if io::stdin().is_terminal() {
            eprintln!("reading log lines from the terminal; Ctrl-D ends them");
        }
        return (vec![Input::Stdin], false);
    }
    expand_all(arguments, connection, "")
}

/// The files, folders, globs and S3 URIs; `context` stands before what is printed.
pub(crate) fn expand_all(arguments: &[String], connection: &Connection, context: &str) -> (Vec<Input>, bool) {
    let (mut inputs, mut failed) = (Vec::new(), false);
    for argument in arguments {
        let found = match argument.starts_with("s3://") {
            true => objects(argument, connection),
            false => expand(argument).map_err(|error| error.to_string()),
        };
        match found {
            Ok(found) => inputs.extend(found),
            Err(error) => {
                eprintln!("pixel-engine: {context}{error}");
                failed = true;
            }
        }
    }
    (inputs, failed)
}

fn objects(argument: &str, connection: &Connection) -> Result<Vec<Input>, String> {
    let uri: S3Uri = argument.parse().map_err(|error| format!("{argument}: {error}"))?;
    let found = Reader::connect(&uri, connection).and_then(|reader| reader.expand(&uri));
    found.map_err(|error| of_aws(&error))
}
