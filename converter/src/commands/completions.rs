//! `anec completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::console::{Console, Failure};

/// Arguments of `anec completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  anec completions zsh > ~/.zfunc/_anec")]
pub struct Arguments {
    /// Which shell.
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "anec", &mut script);
    console.data(&String::from_utf8_lossy(&script)).map_err(|error| Failure { message: error.to_string(), hint: None })
}
