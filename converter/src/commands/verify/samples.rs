//! What a model and its checkpoint say to the same prompts, for the people who read the report.

use std::path::Path;

use anec_mil::evaluate::Numerics;
use anec_runtime::ModelDirectory;
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::generate::GenerationConfig;
use anec_runtime::oracle::Oracle;
use anec_runtime::session::Gives;
use anec_runtime::tokenizer::TextTokenizer;
use anec_runtime::verify::continuations;
use anec_schemas::report::Sample;

use crate::commands::run::{RunError, Texts, Turns};
use crate::console::Failure;

/// What chat models are asked.
const QUESTIONS: [&str; 8] = [
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about a river.",
    "Give me three tips for sleeping better.",
    "Translate to French: Good morning, how are you?",
    "Write a Python function that adds two numbers.",
    "Who wrote Hamlet, and what is it about?",
    "If a train travels 60 km in 45 minutes, how fast is it?",
];

/// What models without a chat template go on with.
const OPENINGS: [&str; 8] = [
    "The first thing that he saw was",
    "Water boils at a temperature of",
    "In the beginning there was",
    "The function returns an error if",
    "Dear Sir, I am writing to you because",
    "The history of the town begins with",
    "To bake bread, you need",
    "She opened the door and",
];

/// Tokens of a sample.
const LENGTH: usize = 48;

/// The samples; none where the directory has no tokenizer, or the model has no head.
pub(super) fn of(
    path: &Path,
    directory: &ModelDirectory,
    oracle: &mut Oracle,
    count: usize,
    numerics: Numerics,
) -> Result<Vec<Sample>, Failure> {
    let Ok(tokenizer) = TextTokenizer::open(path) else { return Ok(Vec::new()) };
    let engine = ReferenceBackend::new(ReferenceOptions { numerics, statistics: false });
    let mut session = directory.session(&engine)?;
    if count == 0 || session.capabilities().gives == Gives::HiddenState {
        return Ok(Vec::new());
    }
    // A template that does not render tells nothing about the model.
    let texts = Texts::open(path, &[], None)?;
    let prompts = if texts.has_template() { QUESTIONS } else { OPENINGS };
    let room = session.capabilities().context_length.saturating_sub(LENGTH);
    let mut asked = Vec::new();
    for prompt in prompts {
        let Ok(encoded) = texts.encode(&Turns::default().with_user(prompt), &tokenizer) else { continue };
        if (1..=room).contains(&encoded.tokens.len()) {
            asked.push((prompt, encoded.tokens));
        }
        if asked.len() == count {
            break;
        }
    }
    let tokens: Vec<Vec<u32>> = asked.iter().map(|(_, tokens)| tokens.clone()).collect();
    let stops = GenerationConfig::open(path).map_err(RunError::from)?.stop_tokens(texts.config(), &tokenizer);
    let said = continuations(&mut *session, oracle, &tokens, &stops, LENGTH)?;
    let text = |tokens: &[u32]| tokenizer.decode(tokens).map_err(RunError::from);
    asked
        .iter()
        .zip(said)
        .map(|((prompt, _), said)| {
            Ok(Sample { prompt: (*prompt).to_owned(), model: text(&said.model)?, reference: text(&said.reference)? })
        })
        .collect()
}
