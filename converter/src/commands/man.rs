//! `anec man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use fs_err as fs;

use crate::cli::Cli;
use crate::console::{Console, Failure};

/// Arguments of `anec man`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anec man ~/.local/share/man/man1")]
pub struct Arguments {
    /// Directory for the pages; made where it is missing. Pages that are there are replaced.
    pub directory: PathBuf,
}

/// Writes the pages.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    written.map_err(|error| Failure { message: format!("Cannot write the manual pages: {error}"), hint: None })?;
    console.status(&format!("Wrote the manual pages to `{}`", directory.display()));
    Ok(())
}
