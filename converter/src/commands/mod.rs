//! The commands, one file each.

pub mod backend_arguments;
pub mod bench;
pub mod compile;
pub mod completions;
pub mod convert;
pub mod diff;
pub mod eval;
pub mod inspect;
pub mod lint;
pub mod model_arguments;
pub mod plan;
mod plan_report;
pub mod rules;
pub mod run;
pub mod token_arguments;
pub mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::console::{Console, Failure};

/// Runs a command; failures are printed and become exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    let quiet = match &cli.command {
        Command::Convert(arguments) => arguments.quiet,
        Command::Compile(arguments) => arguments.quiet,
        Command::Verify(arguments) => arguments.quiet,
        Command::Run(arguments) => arguments.quiet,
        _ => false,
    };
    let console = Console { quiet };
    let result = match cli.command {
        Command::Convert(arguments) => convert::run(&arguments, console),
        Command::Plan(arguments) => plan::run(&arguments, console),
        Command::Compile(arguments) => compile::run(&arguments, console),
        Command::Diff(arguments) => diff::run(&arguments, console),
        Command::Inspect(arguments) => inspect::run(&arguments, console),
        Command::Verify(arguments) => verify::run(&arguments, console),
        Command::Eval(arguments) => eval::run(&arguments, console),
        Command::Lint(arguments) => lint::run(&arguments, console),
        Command::Rules(arguments) => rules::run(&arguments, console),
        Command::Run(arguments) => run::run(&arguments, console),
        Command::Bench(arguments) => bench::run(&arguments, console),
        Command::Completions(arguments) => completions::run(&arguments, console),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, hint }) => {
            console.error(&message, hint.as_deref());
            ExitCode::FAILURE
        }
    }
}
