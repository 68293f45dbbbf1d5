//! The names that coreml-llm-cli looks for, in a directory of compiled models.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_mil::{DataType, NamedValueType, TensorType};
use anec_schemas::contract::ElementType;
use anec_schemas::contract::coreml_llm_cli::buffers::{self, Feature, Interface};
use anec_schemas::contract::coreml_llm_cli::discovery::{self, Program};
use anec_schemas::contract::coreml_llm_cli::{
    BLOCK, CACHE_PROCESSOR, CHUNK, CHUNK_SUFFIX, EMBEDDINGS, LOGIT_PROCESSOR, LOGIT_PROCESSOR_NAME, PROGRAM,
};

use super::{Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, coreml_llm_cli};
use crate::graph::layers::mask;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, KvWrite, Options};
use crate::plan::{ConversionPlan, FilePlan, PlanError};

/// The layout.
pub(super) struct CoremlLlmCli;

/// The shortest context: a block, and one block before it.
const SHORTEST_CONTEXT: u64 = 2 * BLOCK;

/// Names by which the program knows the tokenizer of a model, with the model's hidden size, layers and vocabulary.
///
/// # Source
/// The program's list of tokenizers, which it looks up in the names of models.
const KNOWN: [(&str, [usize; 3]); 3] =
    [("Llama-2-7b", [4096, 32, 32_000]), ("Llama-3.2-1B", [2048, 16, 128_256]), ("Llama-3.2-3B", [3072, 28, 128_256])];

/// What names of models start with. The program downloads models whose names start with `Llama`.
fn prefix(decoder: &DecoderPlan, program: Program) -> String {
    let sizes = [decoder.hidden_size, decoder.num_hidden_layers, decoder.vocab_size];
    let is_llama = decoder.model_type == "llama";
    if let Some((name, _)) = KNOWN.iter().find(|(_, known)| is_llama && *known == sizes) {
        return if program.cuts_at_dots { name.replace('.', "-") } else { (*name).to_owned() };
    }
    // An underscore would end the name.
    let mut letters =
        decoder.model_type.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' });
    letters.next().into_iter().map(|first| first.to_ascii_uppercase()).chain(letters).collect()
}

impl Layout for CoremlLlmCli {
    fn name(&self) -> &'static str {
        "coreml-llm-cli"
    }

    fn summary(&self) -> &'static str {
        "smpanaro's coreml-llm-cli on macOS 14 and later"
    }

    fn family(&self) -> &'static dyn Family {
        &coreml_llm_cli::CoremlLlmCli
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let client = Client("coreml-llm-cli");
        let refusal = |option, value, expected: &str| Some(client.refusal(option, value, expected));
        let context = u64::from(options.context_length);
        if options.functions != Functions::InferPrefill {
            return refusal("--functions", options.functions.to_string(), "calls one function of 64 tokens as it is");
        }
        if let Some(refusal) = client.head_or_cache(options) {
            return Some(refusal);
        }
        if context < SHORTEST_CONTEXT || !context.is_multiple_of(BLOCK) {
            let expected = "takes contexts that are multiples of 64 tokens, from 128 on";
            return refusal("--context-length", context.to_string(), expected);
        }
        if u64::from(options.batch_size) != BLOCK {
            return refusal("--batch-size", options.batch_size.to_string(), "feeds blocks of 64 tokens");
        }
        client.form(options)
    }

    fn misfit(&self, decoder: &DecoderPlan, options: &Options) -> Option<String> {
        misfit(decoder, options)
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, decoder: &DecoderPlan, _options: &Options, label: &Label, index: usize) -> String {
        stem(decoder, label, index, PROGRAM)
    }

    fn check(&self, files: &[FilePlan]) -> Result<(), PlanError> {
        discovery::pipeline(files.iter().map(|file| file.stem.as_str()), PROGRAM)?;
        let interfaces: Vec<Interface> = files.iter().filter_map(interface).collect();
        Ok(buffers::check(&interfaces)?)
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        own_metadata(plan, file)
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        side_files(plan, checkpoint, "main", PROGRAM)
    }
}

/// A program of the two, by its name in messages: what both cannot be given.
pub(super) struct Client(pub(super) &'static str);

impl Client {
    /// The refusal of an option; `expected` goes on with what the program does.
    pub(super) fn refusal(&self, option: &'static str, value: String, expected: &str) -> Refusal {
        Refusal { option, value, expected: format!("{} {expected}", self.0) }
    }

    /// Heads and caches that it does not know.
    pub(super) fn head_or_cache(&self, options: &Options) -> Option<Refusal> {
        if options.argmax {
            let expected = "reads logits, and picks tokens with a model of its own";
            return Some(self.refusal("--argmax", String::new(), expected));
        }
        let expected = "keeps the cache itself: there is no state to write";
        (options.kv_write == KvWrite::Mask).then(|| self.refusal("--kv", "mask".to_owned(), expected))
    }

    /// Forms that it does not load.
    pub(super) fn form(&self, options: &Options) -> Option<Refusal> {
        let expected = "loads compiled models: `mlmodelc` or `both`";
        let loads = options.emit.has(COMPILED_EXTENSION);
        (!loads).then(|| self.refusal("--emit", options.emit.0.join(","), expected))
    }
}

/// The name of a model.
pub(super) fn stem(decoder: &DecoderPlan, label: &Label, index: usize, program: Program) -> String {
    match label.role {
        CACHE_PROCESSOR => program.cache_processor.to_owned(),
        LOGIT_PROCESSOR => LOGIT_PROCESSOR_NAME.to_owned(),
        _ => format!("{}_{CHUNK_SUFFIX}{}", prefix(decoder, program), index + 1),
    }
}

/// The meta files, and how to start the program of a branch.
pub(super) fn side_files(
    plan: &ConversionPlan,
    checkpoint: &Path,
    branch: &str,
    program: Program,
) -> Result<Vec<SideFile>, SideFileError> {
    let prefix = prefix(&plan.decoder, program);
    let mut files = meta_files::side_files(plan, checkpoint, &prefix, COMPILED_EXTENSION)?;
    files.push(SideFile { name: "README.md", text: readme(&prefix, branch) });
    Ok(files)
}

/// What a model of the pipeline, or beside it, says about itself.
pub(super) fn own_metadata(plan: &ConversionPlan, file: &FilePlan) -> Metadata {
    let (model_type, label) = (&plan.decoder.model_type, &file.label);
    let short_description = match label.role {
        EMBEDDINGS => format!("{model_type} token embeddings, rotations and mask"),
        CHUNK => format!("{model_type} decoder layers {} to {}", label.layers.start, label.layers.end - 1),
        CACHE_PROCESSOR => "shifts the KV cache of a layer by a block".to_owned(),
        LOGIT_PROCESSOR => "picks the best token of each column".to_owned(),
        _ => format!("{model_type} norm and LM head"),
    };
    metadata::metadata(plan, file, short_description, "com.anec")
}

/// What the pipeline takes instead of a model.
pub(super) fn misfit(decoder: &DecoderPlan, options: &Options) -> Option<String> {
    let windows = mask::windows(decoder, u64::from(options.context_length));
    if windows.len() > 1 {
        return Some(format!(
            "its pipeline has one mask, and the layers of this model look back over {windows:?} tokens of {}",
            options.context_length
        ));
    }
    match decoder.ropes()[..] {
        [rope] if rope.rotary_dim == decoder.head_dim => None,
        [rope] => Some(format!(
            "its rotations are of whole heads, and this model rotates {} of {} channels",
            rope.rotary_dim, decoder.head_dim
        )),
        ref ropes => Some(format!("its pipeline has one rotary embedding, and this model has {}", ropes.len())),
    }
}

/// What a file takes and gives.
fn interface(file: &FilePlan) -> Option<Interface> {
    let function = file.program().functions.values().next()?;
    let feature = |value: &NamedValueType| {
        let ty = value.ty.as_tensor();
        let dtype = [ElementType::Float16, ElementType::Float32, ElementType::Int32]
            .into_iter()
            .find(|dtype| ty.is_some_and(|ty| ty.dtype == DataType::from(*dtype)));
        Feature { name: value.name.clone(), dtype, shape: ty.and_then(TensorType::fixed_shape) }
    };
    let made = function.block.operations.iter().flat_map(|operation| &operation.outputs);
    let outputs = made.filter(|value| function.block.outputs.contains(&value.name));
    Some(Interface {
        file: file.stem.clone(),
        role: file.label.role,
        inputs: function.inputs.iter().map(feature).collect(),
        outputs: outputs.map(feature).collect(),
    })
}

/// How to start the program of a branch.
fn readme(prefix: &str, branch: &str) -> String {
    // The successor knows one tokenizer.
    let is_known = branch == "main" && KNOWN.iter().any(|(name, _)| *name == prefix);
    let tokenizer = if is_known { "" } else { " \\\n  --tokenizer-name ORGANISATION/MODEL" };
    let name = if is_known {
        "The program knows the tokenizer by the names of the models."
    } else {
        "The tokenizer is that of the checkpoint, by its name at Hugging Face."
    };
    format!(
        "# {prefix} for coreml-llm-cli\n\n\
         In a clone of https://github.com/smpanaro/coreml-llm-cli, branch `{branch}`, on a Mac with Apple Silicon:\n\n\
         ```console\n\
         swift run -c release LLMCLI --local-model-directory PATH_OF_THIS_DIRECTORY \\\n  \
         --local-model-prefix {prefix}{tokenizer}\n\
         ```\n\n\
         {name} The models are compiled: nothing has to be done before. Converted with anec v{}.\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_asks_for_a_tokenizer_where_the_program_knows_none() {
        assert!(!readme("Llama-2-7b", "main").contains("--tokenizer-name"));
        assert!(readme("Qwen3", "main").contains("--local-model-prefix Qwen3 \\\n  --tokenizer-name"));
    }
}
