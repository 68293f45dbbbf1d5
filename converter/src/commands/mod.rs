//! The commands, one file each.

mod allocation;
pub mod assemble;
pub mod backend_arguments;
pub mod bench;
mod calibration;
pub mod card;
pub mod check;
pub mod compare;
pub mod compile;
pub mod completions;
pub mod convert;
mod convert_part;
pub mod diff;
pub mod eval;
pub mod given_options;
pub mod inspect;
pub mod layouts;
pub mod lint;
mod locate;
pub mod man;
pub mod model_arguments;
mod model_files;
pub mod numerics_argument;
pub mod ops;
pub mod package;
pub mod plan;
mod plan_layouts;
mod plan_report;
pub mod predict;
pub mod publish;
mod rewrite;
pub mod rules;
pub mod run;
pub mod self_check;
mod storage_arguments;
mod table;
mod target_system;
pub mod token_arguments;
pub mod tokenize;
mod tokenizer_check;
pub mod train;
pub mod training;
mod verification;
pub mod verify;

use std::io;
use std::process::ExitCode;

use anec_runtime::chat;

use crate::cli::{Cli, Command};
use crate::console::{Console, Failure};

/// The argument that makes `anec` the process in which chat templates are rendered. It is no command for people.
pub const RENDER_CHAT_TEMPLATE: &str = "render-chat-template";

/// Renders one chat template from standard input to standard output, with the memory that `limit` sets.
pub fn render_chat_template(limit: impl FnOnce(usize) -> bool) -> ExitCode {
    let served = limit(chat::MEMORY_LIMIT) && chat::serve(io::stdin().lock(), io::stdout().lock()).is_ok();
    if served { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a command; failures are printed and become exit code 1.
pub fn run(cli: Cli) -> ExitCode {
    let console = Console { quiet: cli.quiet };
    let done = |()| ExitCode::SUCCESS;
    let result = match cli.command {
        Command::Convert(arguments) => convert::run(&arguments, console),
        Command::Assemble(arguments) => assemble::run(&arguments, console).map(done),
        Command::Plan(arguments) => plan::run(&arguments, console).map(done),
        Command::Compile(arguments) => compile::run(&arguments, console),
        Command::Package(arguments) => package::run(&arguments, console),
        Command::Predict(arguments) => predict::run(&arguments, console),
        Command::Card(arguments) => card::run(&arguments, console).map(done),
        Command::Publish(arguments) => publish::run(&arguments, console).map(done),
        Command::Check(arguments) => check::run(&arguments, console).map(done),
        Command::Compare(arguments) => compare::run(&arguments, console).map(done),
        Command::Diff(arguments) => diff::run(&arguments, console).map(done),
        Command::Inspect(arguments) => inspect::run(&arguments, console).map(done),
        Command::Verify(arguments) => verify::run(&arguments, console).map(done),
        Command::Eval(arguments) => eval::run(&arguments, console).map(done),
        Command::Layouts(arguments) => layouts::run(&arguments, console).map(done),
        Command::Lint(arguments) => lint::run(&arguments, console).map(done),
        Command::Ops(arguments) => ops::run(&arguments, console).map(done),
        Command::Rules(arguments) => rules::run(&arguments, console).map(done),
        Command::Run(arguments) => run::run(&arguments, console).map(done),
        Command::Bench(arguments) => bench::run(&arguments, console).map(done),
        Command::Train(arguments) => train::run(&arguments, console),
        Command::Tokenize(arguments) => tokenize::run(&arguments, console).map(done),
        Command::Man(arguments) => man::run(&arguments, console).map(done),
        Command::Completions(arguments) => completions::run(&arguments, console).map(done),
    };
    match result {
        Ok(code) => code,
        Err(Failure { message, hint }) => {
            console.error(&message, hint.as_deref());
            ExitCode::FAILURE
        }
    }
}
