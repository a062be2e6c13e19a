//! The inputs that a command's arguments stand for.

use std::io::{self, IsTerminal};

use pixel_engine::source::{Input, expand};

/// The files, folders and globs; standard input without any. Prints what cannot be found, and whether
/// that was anything is the second.
pub(crate) fn of_arguments(arguments: &[String]) -> (Vec<Input>, bool) {
    if arguments.is_empty() {
        if io::stdin().is_terminal() {
            eprintln!("reading log lines from the terminal; Ctrl-D ends them");
        }
        return (vec![Input::Stdin], false);
    }
    expand_all(arguments, "")
}

/// The files, folders and globs; `context` stands before what is printed.
pub(crate) fn expand_all(arguments: &[String], context: &str) -> (Vec<Input>, bool) {
    let (mut inputs, mut failed) = (Vec::new(), false);
    for argument in arguments {
        match expand(argument) {
            Ok(found) => inputs.extend(found),
            Err(error) => {
                eprintln!("pixel-engine: {context}{error}");
                failed = true;
            }
        }
    }
    (inputs, failed)
}
