//! Decides what files a conversion writes, and builds their programs: everything but the weights themselves.
//!
//! Programs are built while planning because they are cheap, and because only then the sizes are exact.

use std::ops::Range;
use std::sync::Arc;

use anec_mil::passes;
use anec_mil::{Function, Program};

use crate::decoder_plan::DecoderPlan;
use crate::error::Hint;
use crate::graphs::lm_head::HeadSettings;
use crate::graphs::{GraphError, ModelSettings, Tables, chunk, embeddings, lm_head};
use crate::head_split::{self, HeadSplit};
use crate::names::Names;
use crate::options::{ByteSize, Count, Options};
use crate::weight_file::WeightFile;

/// A conversion, decided: `anec plan` prints it, emission carries it out.
pub struct ConversionPlan {
    /// The model.
    pub decoder: DecoderPlan,
    /// What was asked for.
    pub options: Options,
    /// Packages, in the order that a client calls them.
    pub files: Vec<FilePlan>,
    /// How the vocabulary is split.
    pub head: HeadSplit,
    /// What the user should know before shipping the result.
    pub warnings: Vec<String>,
    pub(crate) names: Names,
}

/// One package.
pub struct FilePlan {
    /// File name without extension.
    pub stem: String,
    /// What it holds.
    pub role: FileRole,
    /// Bytes of its weight file.
    pub weight_bytes: u64,
    pub(crate) program: Program,
    pub(crate) weights: WeightFile,
}

/// What a package holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// The token embeddings.
    Embeddings,
    /// Decoder layers.
    Chunk {
        /// Position among the chunks, from 0.
        index: usize,
        /// How many chunks there are.
        count: usize,
        /// Its layers.
        layers: Range<usize>,
    },
    /// The LM head.
    LmHead,
}

/// A conversion that cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A graph cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph code or a pass made an invalid program.
    #[error("Cannot prepare `{stem}`")]
    Pass {
        /// The package.
        stem: String,
        /// The pass and what it left.
        #[source]
        source: passes::PassError,
    },
    /// A weight file over the limit.
    #[error("Cannot fit `{stem}` in one weight file: it has {found} of weights, the limit is {limit}")]
    TooLarge {
        /// The package.
        stem: String,
        /// Its size.
        found: ByteSize,
        /// The limit.
        limit: ByteSize,
        /// What to do.
        hint: String,
    },
    /// An option that does not fit the model.
    #[error("Cannot use `{option} {value}`: {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        expected: String,
    },
}

impl Hint for PlanError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Graph(error) => error.hint(),
            Self::Pass { .. } => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::TooLarge { hint, .. } => Some(hint.clone()),
            Self::Option { .. } => None,
        }
    }
}

impl ConversionPlan {
    /// Plans the conversion of a model.
    ///
    /// # Errors
    /// Options that do not fit the model, a weight file over the limit, or a group size that does not divide a weight.
    pub fn new(decoder: DecoderPlan, options: Options) -> Result<Self, PlanError> {
        check_options(&decoder, &options)?;
        let names = Names::new(&decoder, &options);
        let rope = decoder.rope.tables(options.context_length as usize);
        let tables = Tables { rope_cos: bytes(&rope.cos), rope_sin: bytes(&rope.sin) };
        let settings = ModelSettings {
            plan: &decoder,
            context_length: u64::from(options.context_length),
            batch_size: u64::from(options.batch_size),
            ffn: options.ffn,
            tables: &tables,
        };
        let mut files = vec![embeddings_file(&settings, &options, &names)?];
        files.extend(chunk_files(&settings, &options, &names)?);
        let head = head_split::split(&decoder, &options)?;
        files.push(head_file(&settings, &options, &names, &head)?);
        let warnings = warnings(&decoder, &options, &files, &head);
        Ok(Self { decoder, options, files, head, warnings, names })
    }

    /// Bytes of all weight files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.weight_bytes).sum()
    }

    /// How many packages hold decoder layers.
    pub fn chunk_count(&self) -> usize {
        self.files.iter().filter(|file| matches!(file.role, FileRole::Chunk { .. })).count()
    }
}

impl FilePlan {
    fn new(
        stem: String,
        role: FileRole,
        weights: WeightFile,
        functions: impl IntoIterator<Item = (&'static str, Function)>,
    ) -> Result<Self, PlanError> {
        let functions = functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
        let mut program = Program { functions, ..Program::default() };
        passes::run_all(&mut program, true).map_err(|source| PlanError::Pass { stem: stem.clone(), source })?;
        Ok(Self { stem, role, weight_bytes: weights.size(), program, weights })
    }

    /// Names of its functions, sorted.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.program.functions.keys().map(String::as_str)
    }

    /// Operations in all functions, constants included.
    pub fn operation_count(&self) -> usize {
        self.program.functions.values().map(|function| function.block.operations.len()).sum()
    }
}

fn bytes(table: &[half::f16]) -> Arc<[u8]> {
    table.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn check_options(decoder: &DecoderPlan, options: &Options) -> Result<(), PlanError> {
    if options.batch_size > options.context_length {
        return Err(PlanError::Option {
            option: "--batch-size",
            value: options.batch_size.to_string(),
            expected: format!("it must not exceed the context length of {}", options.context_length),
        });
    }
    match options.chunks {
        Count::Exactly(count) if count.get() as usize > decoder.num_hidden_layers => Err(PlanError::Option {
            option: "--chunks",
            value: count.to_string(),
            expected: format!("the model has {} layers", decoder.num_hidden_layers),
        }),
        _ => Ok(()),
    }
}

fn embeddings_file(settings: &ModelSettings<'_>, options: &Options, names: &Names) -> Result<FilePlan, PlanError> {
    let mut weights = WeightFile::default();
    let function = embeddings::function(settings.plan, settings.batch_size, options.embeddings, &mut weights)?;
    FilePlan::new(names.embeddings(), FileRole::Embeddings, weights, [("main", function)])
}

fn head_file(
    settings: &ModelSettings<'_>,
    options: &Options,
    names: &Names,
    head: &HeadSplit,
) -> Result<FilePlan, PlanError> {
    let mut weights = WeightFile::default();
    let head = HeadSettings { parts: head.parts(), compression: options.lm_head, argmax: options.argmax };
    let function = lm_head::function(settings, &head, &mut weights)?;
    let hint = "palettize the head (`--lut-lm-head 6`), or raise `--size-limit` for a target that takes it";
    check_size(&names.lm_head(), weights.size(), options, hint)?;
    FilePlan::new(names.lm_head(), FileRole::LmHead, weights, [("main", function)])
}

/// Layers of chunk `index` of `count`: as even as can be, the longer chunks first.
fn layer_range(layers: usize, index: usize, count: usize) -> Range<usize> {
    let start = |index: usize| index * (layers / count) + index.min(layers % count);
    start(index)..start(index + 1)
}

fn chunk_files(settings: &ModelSettings<'_>, options: &Options, names: &Names) -> Result<Vec<FilePlan>, PlanError> {
    let layers = settings.plan.num_hidden_layers;
    let count = match options.chunks {
        Count::Exactly(count) => count.get() as usize,
        Count::Auto => fewest_chunks(settings, options)?,
    };
    let mut files = Vec::with_capacity(count);
    for index in 0..count {
        let role = FileRole::Chunk { index, count, layers: layer_range(layers, index, count) };
        let mut weights = WeightFile::default();
        let stem = names.chunk(index + 1, count);
        let infer = chunk::function(settings, &mut weights, layer_range(layers, index, count), chunk::INFER)?;
        let prefill = chunk::function(settings, &mut weights, layer_range(layers, index, count), chunk::PREFILL)?;
        let hint = "use more chunks (`--chunks auto`), fewer bits (`--lut 4`), or raise `--size-limit` for a target that \
                    takes it";
        check_size(&stem, weights.size(), options, hint)?;
        files.push(FilePlan::new(stem, role, weights, [(chunk::INFER, infer), (chunk::PREFILL, prefill)])?);
    }
    Ok(files)
}

/// The fewest chunks whose largest stays under the limit; one layer each, where none does.
fn fewest_chunks(settings: &ModelSettings<'_>, options: &Options) -> Result<usize, PlanError> {
    let layers = settings.plan.num_hidden_layers;
    let size = |range: Range<usize>| -> Result<u64, PlanError> {
        let mut weights = WeightFile::default();
        chunk::function(settings, &mut weights, range, chunk::INFER)?;
        Ok(weights.size())
    };
    for count in 1..layers {
        // The first chunk has the most layers and the last one has the final norm: either may be the largest.
        let first = size(layer_range(layers, 0, count))?;
        let last = size(layer_range(layers, count - 1, count))?;
        if first.max(last) <= options.size_limit().0 {
            return Ok(count);
        }
    }
    Ok(layers)
}

fn check_size(stem: &str, size: u64, options: &Options, hint: &str) -> Result<(), PlanError> {
    let limit = options.size_limit();
    if size <= limit.0 {
        return Ok(());
    }
    Err(PlanError::TooLarge { stem: stem.to_owned(), found: ByteSize(size), limit, hint: hint.to_owned() })
}

/// # Source
/// Lengths of a state that are no multiple of 32 are reported to fail on the Neural Engine: coremltools issue 2631.
const STATE_ALIGNMENT: u32 = 32;

fn warnings(decoder: &DecoderPlan, options: &Options, files: &[FilePlan], head: &HeadSplit) -> Vec<String> {
    let mut warnings = Vec::new();
    if !options.context_length.is_multiple_of(STATE_ALIGNMENT)
        || !decoder.head_dim.is_multiple_of(STATE_ALIGNMENT as usize)
    {
        warnings.push(format!(
            "the KV cache has {} positions of {} channels; the Neural Engine is reported to refuse states whose sizes are \
             not multiples of {STATE_ALIGNMENT}",
            options.context_length, decoder.head_dim
        ));
    }
    if options.context_length as usize > decoder.max_position_embeddings {
        warnings.push(format!(
            "the context length of {} exceeds the {} positions that the model was trained for",
            options.context_length, decoder.max_position_embeddings
        ));
    }
    for file in files.iter().filter(|file| file.role == FileRole::Embeddings) {
        if file.weight_bytes > options.size_limit().0 {
            warnings.push(format!(
                "`{}` has {} of weights, over the limit of {}; use `--int8-embeddings` or `--lut-embeddings 8`",
                file.stem,
                ByteSize(file.weight_bytes),
                options.size_limit()
            ));
        }
    }
    if !head.is_even() {
        warnings.push(format!(
            "the vocabulary of {} does not split into {} equal parts; `lm_head_chunk_sizes` in meta.yaml gives their sizes, \
             and clients that assume equal parts pick wrong tokens",
            decoder.vocab_size,
            head.sizes.len()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_spread_evenly_with_the_longer_chunks_first() {
        let ranges = |layers, count| (0..count).map(|index| layer_range(layers, index, count)).collect::<Vec<_>>();
        assert_eq!(ranges(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(ranges(4, 2), [0..2, 2..4]);
        assert_eq!(ranges(3, 3), [0..1, 1..2, 2..3]);
    }
}
