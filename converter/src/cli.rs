//! The command line: one struct of arguments per command, kept beside the command.

use clap::{Parser, Subcommand};

use crate::commands::{
    assemble, bench, card, check, compare, compile, completions, convert, diff, eval, inspect, layouts, lint, man, ops,
    package, plan, predict, publish, rules, run, tokenize, train, verify,
};

/// Converts checkpoints of language models into Core ML models for Apple's Neural Engine. Needs no Mac.
#[derive(Debug, Parser)]
#[command(name = "anec", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Print only results and errors: no progress, notes or warnings.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Convert a checkpoint into Core ML models.
    Convert(convert::Arguments),
    /// Put together the parts of a conversion that several machines made.
    Assemble(assemble::Arguments),
    /// Show what a conversion would write, and stop.
    Plan(plan::Arguments),
    /// Compile a package into the form that apps load, without a Mac.
    Compile(compile::Arguments),
    /// Make a package of a compiled model, to edit, lint and compile it again.
    Package(package::Arguments),
    /// Run any ML Program on the CPU, on inputs from files.
    Predict(predict::Arguments),
    /// Show what a model or a converted directory holds.
    Inspect(inspect::Arguments),
    /// Check a converted directory before you ship it: files, contract, forms, rules.
    Check(check::Arguments),
    /// Print a model card of a converted directory.
    Card(card::Arguments),
    /// Publish a converted directory on the Hugging Face hub.
    Publish(publish::Arguments),
    /// Show what two conversions, or one and its checkpoint, answer to the same prompts, and how far apart they are.
    Compare(compare::Arguments),
    /// Compare two models or converted directories by meaning; exit code 1 if they differ.
    Diff(diff::Arguments),
    /// Compare a converted directory with its checkpoint, and write a report.
    Verify(verify::Arguments),
    /// Compute the perplexity of a converted directory.
    Eval(eval::Arguments),
    /// Tell why a program will not load, leaves the Neural Engine, or is slow on it.
    Lint(lint::Arguments),
    /// Print the rules that `lint` checks.
    Rules(rules::Arguments),
    /// Print the known ops of ML Programs, and the evidence for their compiled form.
    Ops(ops::Arguments),
    /// Print the layouts of converted directories, and what their clients rely on.
    Layouts(layouts::Arguments),
    /// Generate text with a converted directory.
    Run(run::Arguments),
    /// Measure loading, prefill and decoding of a converted directory.
    Bench(bench::Arguments),
    /// Train a small model with the programs of a training step.
    Train(train::Arguments),
    /// Write the tokens of a text, to train on.
    Tokenize(tokenize::Arguments),
    /// Write a manual page for each command.
    Man(man::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
}
