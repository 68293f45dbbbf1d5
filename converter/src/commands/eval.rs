//! `anec eval`.

use std::path::PathBuf;

use anec_runtime::ModelDirectory;
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::session::Session;
use anec_runtime::verify::{Progress, VerifyError, perplexity};
use clap::Args;
use serde_json::json;

use super::token_arguments::TokenArguments;
use crate::console::{Console, Failure};

/// Arguments of `anec eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec eval out --text wiki.test.txt --window 512 --limit 4096
  anec eval out --tokens tokens.json --json")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    #[command(flatten)]
    tokens: TokenArguments,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the perplexity of a converted model.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let directory = ModelDirectory::open(&arguments.path)?;
    let context_length = directory.meta().model_info.parameters.context_length;
    let tokens = arguments.tokens.windows(&arguments.path, context_length)?;
    let numerics = arguments.tokens.numerics.into();
    let backend = ReferenceBackend::new(ReferenceOptions { numerics, statistics: false });
    let mut session = Session::open(&directory, &backend).map_err(VerifyError::from)?;
    let bar = console.count_progress();
    let result = perplexity(&mut session, &tokens, &mut |progress| {
        if let Progress::Compared(done, all) = progress {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    })?;
    bar.finish_and_clear();
    let text = if arguments.json {
        let value = json!({
            "perplexity": result.perplexity,
            "tokens": result.tokens,
            "windows": tokens.windows.len(),
            "source": tokens.source,
        });
        format!("{value}\n")
    } else {
        format!(
            "perplexity {:.4} over {} tokens of {} in {} windows\n",
            result.perplexity,
            result.tokens,
            tokens.source,
            tokens.windows.len()
        )
    };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })
}
