//! `pixel-engine man`.

use clap::{Args, Command, CommandFactory};

use crate::{Cli, Outcome, output, usage_error};

/// Print the manual page of the program or of a command, for `man -l -`
#[derive(Args)]
pub(crate) struct Man {
    /// A command, such as ingest
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self) -> Outcome {
        // The page is the same on every machine: without the scan paths.
        let mut program = Cli::command().version(env!("CARGO_PKG_VERSION"));
        program.build();
        let page = match &self.command {
            None => Some(&program),
            Some(name) => program.get_subcommands().find(|command| command.get_name() == name),
        };
        let Some(page) = page else {
            let names: Vec<&str> = program.get_subcommands().map(Command::get_name).collect();
            usage_error("man", &format!("no command of that name; there are {}", names.join(", ")));
        };
        let mut text = Vec::new();
        match clap_mangen::Man::new(page.clone()).render(&mut text) {
            Ok(()) => output::print(&text),
            Err(error) => output::finish(Err(error)),
        }
    }
}
