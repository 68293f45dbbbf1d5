//! `anec assemble`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::console::{Console, Failure, counted};
use crate::options::ByteSize;
use crate::output::parts;
use crate::output::staging::{Identity, Kind, Staging, Unfinished};

/// Arguments of `anec assemble`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec assemble part-1 part-2 part-3 -o out
  anec assemble parts/* -o out --force

The result is byte by byte that of `anec convert` on one machine. Parts are made by `anec convert --part I/N`, with the same
checkpoint, options and build; their order does not matter. docs/scale.md has more.")]
pub struct Arguments {
    /// The directories of all parts.
    #[arg(required = true, value_name = "PART")]
    parts: Vec<PathBuf>,

    /// Directory to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Replace an output that exists.
    #[arg(long)]
    force: bool,

    /// Print a summary as JSON when done.
    #[arg(long)]
    json: bool,
}

/// Puts parts together.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    Staging::check(Kind::Converted, &arguments.output, arguments.force)?;
    let identity = Identity::once();
    let staging = Staging::open(Kind::Converted, &arguments.output, arguments.force, Unfinished::Discard, &identity)?;
    let progress = console.byte_progress(0);
    let assembled = parts::assemble(&arguments.parts, &staging.path(), &progress)?;
    progress.finish_and_clear();
    staging.publish()?;
    console.status(&format!(
        "Wrote `{}`: {}, {} of weights. `anec verify` compares it with the checkpoint.",
        arguments.output.display(),
        counted(assembled.parts, "part"),
        ByteSize(assembled.bytes)
    ));
    if arguments.json {
        let report = json!({"output": arguments.output, "parts": assembled.parts, "weight_bytes": assembled.bytes});
        console.data(&format!("{report:#}\n")).map_err(|error| Failure { message: error.to_string(), hint: None })?;
    }
    Ok(())
}
