//! `anec diff`.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anec_mil::difference::{self, CompareError};
use anec_runtime::open_model;
use clap::Args;

use crate::console::{Console, Failure};
use crate::error::Hint;

/// Arguments of `anec diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec diff Model.mlpackage Model.mlmodelc        # is this compiled from that?
  anec diff old/lm_head_lut6.mlmodelc new/lm_head_lut6.mlmodelc --limit 100

Names of values inside a function, the order of constants and where weights are stored are no differences. Metadata is
not compared. The exit code is 1 if the models differ.")]
pub struct Arguments {
    /// A .mlpackage, .mlmodelc or .mlmodel.
    left: PathBuf,

    /// Another.
    right: PathBuf,

    /// Differences to print at most.
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
}

impl Hint for CompareError {}

/// Compares two models.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let (left, right) = (open_model(&arguments.left)?, open_model(&arguments.right)?);
    let differences = difference::compare(&left, &right, arguments.limit.get())?;
    if differences.is_empty() {
        console.status("The models are the same");
        return Ok(());
    }
    let mut text = String::new();
    for difference in &differences {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n  - {}\n  + {}", difference.place, difference.left, difference.right);
    }
    let failed = |message: String| Failure { message, hint: None };
    console.data(&text).map_err(|error| failed(error.to_string()))?;
    let more = if differences.len() == arguments.limit.get() { " or more" } else { "" };
    Err(failed(format!("The models differ in {}{more} places", differences.len())))
}
