//! The `anec` command.

use std::alloc::System;
use std::process::ExitCode;

use anec_converter::cli::Cli;
use anec_converter::commands::{self, RENDER_CHAT_TEMPLATE};
use cap::Cap;
use clap::Parser as _;

/// Counts what is allocated, so that a process that renders a stranger's template can be given little.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == RENDER_CHAT_TEMPLATE) {
        return commands::render_chat_template(|bytes| ALLOCATOR.set_limit(bytes).is_ok());
    }
    commands::run(Cli::parse())
}
