//! The `anec` command.

use std::process::ExitCode;

use anec_converter::cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    anec_converter::commands::run(Cli::parse())
}
