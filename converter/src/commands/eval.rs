//! `anec eval`.

use std::path::{Path, PathBuf};

use anec_runtime::ModelDirectory;
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::verify::{Progress, VerifyError, WindowOutput, perplexity};
use clap::Args;
use fs_err as fs;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::json;

use super::numerics_argument::NumericsArgument;
use super::token_arguments::TokenArguments;
use crate::console::{Console, Failure, counted};

/// Arguments of `anec eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec eval out --text wiki.test.txt --window 512 --limit 4096
  anec eval out --tokens tokens.json --json
  anec eval out --tokens tokens.json --limit 128 --save logits.safetensors

--save writes, for window N from 0 on, `window{N}.logits` [tokens, vocab_size] and `window{N}.state.{name}`, all fp32;
they are kept in memory until the end.")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    #[command(flatten)]
    tokens: TokenArguments,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Write the logits of every token and the states after each window into a safetensors file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the perplexity of a converted model.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let directory = ModelDirectory::open(&arguments.path)?;
    let context_length = directory.meta().model_info.parameters.context_length;
    let tokens = arguments.tokens.windows(&arguments.path, context_length)?;
    let numerics = arguments.numerics.numerics();
    let backend = ReferenceBackend::new(ReferenceOptions { numerics, statistics: false });
    let mut session = directory.session(&backend).map_err(VerifyError::from)?;
    let bar = console.count_progress();
    let mut outputs = Vec::new();
    let keep = arguments.save.is_some().then_some(&mut outputs);
    let result = perplexity(&mut *session, &tokens, keep, &mut |progress| {
        if let Progress::Compared(done, all) = progress {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
        }
    })?;
    bar.finish_and_clear();
    if let Some(path) = &arguments.save {
        save(path, &outputs)?;
    }
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
            "perplexity {:.4} over {} tokens of {} in {}\n",
            result.perplexity,
            result.tokens,
            tokens.source,
            counted(tokens.windows.len(), "window")
        )
    };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })
}

/// Writes what the model gave, whole or not at all.
fn save(path: &Path, outputs: &[WindowOutput]) -> Result<(), Failure> {
    let failed = |message: String| Failure { message, hint: None };
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (window, output) in outputs.iter().enumerate() {
        let shape = vec![output.logits.len(), output.logits.first().map_or(0, Vec::len)];
        tensors.push((format!("window{window}.logits"), shape, bytes(output.logits.iter().flatten())));
        for (name, state) in &output.state {
            let values = state.as_floats().map_err(|error| failed(error.to_string()))?;
            tensors.push((format!("window{window}.state.{name}"), state.shape().to_vec(), bytes(values.iter())));
        }
    }
    let views =
        tensors.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views = views.collect::<Result<Vec<_>, _>>();
    let file = views.and_then(|views| serialize(views, None)).map_err(|error| failed(error.to_string()))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, file).and_then(|()| fs::rename(&partial, path)).map_err(|error| failed(error.to_string()))
}

fn bytes<'a>(values: impl Iterator<Item = &'a f32>) -> Vec<u8> {
    values.flat_map(|value| value.to_le_bytes()).collect()
}
