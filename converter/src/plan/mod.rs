//! Decides what files a conversion writes, and builds their programs: everything but the weights themselves.
//!
//! Programs are built while planning because they are cheap, and because only then the sizes are exact. Planning reads no
//! weight: a [`DecoderPlan`] is enough.

mod chunks;
mod decision;
mod error;
pub mod estimate;
pub mod head_split;
pub mod inventory;

use std::ops::Range;

use anec_mil::package::{Model, ModelError};
use anec_mil::passes;
use anec_mil::rules::limits::STATE_MULTIPLE;
use anec_mil::{Function, Program};

pub use self::decision::{Decision, Topic};
pub use self::error::PlanError;

use crate::graph::conv_split::ConvSplitter;
use crate::graph::families::stateful::chunk::ChunkFunction;
use crate::graph::families::stateful::lm_head::HeadSettings;
use crate::graph::families::stateful::{chunk, embeddings, lm_head};
use crate::graph::{ModelSettings, Tables};
use crate::model::arch;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{ByteSize, Count, Functions, Options, Runtime};
use crate::output::layouts::names::Names;
use crate::output::layouts::package_model;
use crate::plan::head_split::HeadSplit;
use crate::weights::recipe::WeightKind;
use crate::weights::weight_file::WeightFile;

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
    /// What was decided, and why.
    pub decisions: Vec<Decision>,
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

impl ConversionPlan {
    /// Plans the conversion of a model.
    ///
    /// # Errors
    /// Options that do not fit the model, a weight file over the limit, or a group size that does not divide a weight.
    ///
    /// # Example
    /// ```
    /// use anec_converter::model::arch::{self, ArchChoice};
    /// use anec_converter::options::Options;
    /// use anec_converter::plan::ConversionPlan;
    ///
    /// let config = serde_json::json!({
    ///     "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
    ///     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    /// });
    /// let decoder = arch::plan(ArchChoice::Auto, config.as_object().unwrap(), &[])?;
    /// let plan = ConversionPlan::new(decoder, Options::default())?;
    /// assert_eq!(plan.files.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(decoder: DecoderPlan, options: Options) -> Result<Self, PlanError> {
        let longest = options.context_length;
        Self::with_tables(decoder, options, longest, None)
    }

    /// Plans one set of packages for each context length, the longest first. All sets have the same weight files.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_context_lengths(
        decoder: &DecoderPlan,
        options: &Options,
        context_lengths: &[u32],
    ) -> Result<Vec<Self>, PlanError> {
        let mut lengths = context_lengths.to_vec();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let mut plans: Vec<Self> = Vec::with_capacity(lengths.len());
        for context_length in &lengths {
            let longest = plans.first().map_or(*context_length, |plan| plan.options.context_length);
            let options = Options { context_length: *context_length, ..options.clone() };
            let plan = Self::with_tables(decoder.clone(), options, longest, plans.first())?;
            plans.push(plan);
        }
        Ok(plans)
    }

    /// Plans with tables for `longest` positions, over the weight files of another plan if there is one.
    fn with_tables(
        decoder: DecoderPlan,
        options: Options,
        longest: u32,
        shared: Option<&Self>,
    ) -> Result<Self, PlanError> {
        check_options(&decoder, &options)?;
        let names = Names::new(&decoder, &options);
        let tables = Tables::new(&decoder, longest);
        check_shared_tables(&decoder, &options, &tables, longest)?;
        let settings = ModelSettings {
            plan: &decoder,
            context_length: u64::from(options.context_length),
            batch_size: u64::from(options.batch_size),
            functions: options.functions,
            kv_write: options.kv_write,
            splitter: ConvSplitter::new(&options),
            recipe: &options.storage,
            tables: &tables,
            layer_hook: arch::layer_hook(&decoder),
        };
        let ranges = match shared {
            None => chunks::ranges(&settings, &options)?,
            Some(shared) => shared.files.iter().filter_map(FilePlan::layers).collect(),
        };
        let mut weights = shared.into_iter().flat_map(|shared| &shared.files).map(|file| file.weights.clone());
        let mut next_weights = || weights.next().unwrap_or_default();
        let mut files = vec![embeddings_file(&settings, &names, next_weights())?];
        for (index, layers) in ranges.iter().enumerate() {
            let role = FileRole::Chunk { index, count: ranges.len(), layers: layers.clone() };
            files.push(chunk_file(&settings, &options, &names, role, next_weights())?);
        }
        let head = head_split::split(&decoder, &options)?;
        files.push(head_file(&settings, &options, &names, &head, next_weights())?);
        let warnings = warnings(&decoder, &options, &files, &head);
        let mut plan = Self { decoder, options, files, head, decisions: Vec::new(), warnings, names };
        plan.decisions = decision::decisions(&plan, longest);
        Ok(plan)
    }

    /// The model that the package of `file` holds.
    ///
    /// # Errors
    /// A bug in the graphs: a function that cannot be described.
    pub fn model(&self, file: &FilePlan) -> Result<Model, ModelError> {
        package_model::model(self, file)
    }

    /// The directory of its packages, where other context lengths have theirs beside it.
    pub fn set_name(&self) -> String {
        format!("context_{}", self.options.context_length)
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

    /// The layers of a chunk.
    fn layers(&self) -> Option<Range<usize>> {
        match &self.role {
            FileRole::Chunk { layers, .. } => Some(layers.clone()),
            FileRole::Embeddings | FileRole::LmHead => None,
        }
    }

    /// Bytes of its weights that come from the checkpoint, tables not counted.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.weights.checkpoint_bytes()
    }

    /// Its program.
    pub fn program(&self) -> &Program {
        &self.program
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

/// Tables for the longest context must hold for the shorter ones too.
fn check_shared_tables(
    decoder: &DecoderPlan,
    options: &Options,
    tables: &Tables,
    longest: u32,
) -> Result<(), PlanError> {
    if options.context_length == longest {
        return Ok(());
    }
    if Tables::new(decoder, options.context_length).begin(tables) {
        return Ok(());
    }
    Err(PlanError::Option {
        option: "--context-length",
        value: format!("{},{longest}", options.context_length),
        expected: "the rotary embedding of this model depends on the length, so convert for one length at a time"
            .to_owned(),
    })
}

fn check_options(decoder: &DecoderPlan, options: &Options) -> Result<(), PlanError> {
    if options.batch_size > options.context_length {
        return Err(PlanError::Option {
            option: match options.functions {
                Functions::InferPrefill => "--batch-size",
                Functions::Single => "--query-length",
            },
            value: options.batch_size.to_string(),
            expected: format!("it must not exceed the context length of {}", options.context_length),
        });
    }
    for storage in options.storage.all_of(WeightKind::Embeddings) {
        storage.encoding().check_table().map_err(|problem| PlanError::Option {
            option: "--embeddings",
            value: storage.to_string(),
            expected: problem.to_owned(),
        })?;
    }
    let length = u64::from(options.context_length);
    if options.target.is_neural_engine() && !length.is_multiple_of(STATE_MULTIPLE) {
        return Err(PlanError::Option {
            option: "--context-length",
            value: length.to_string(),
            expected: format!(
                "the Neural Engine refuses states whose sizes are not multiples of {STATE_MULTIPLE}, such as {}",
                length.next_multiple_of(STATE_MULTIPLE)
            ),
        });
    }
    if options.functions == Functions::Single && options.runtime == Runtime::Anemll {
        return Err(PlanError::Option {
            option: "--functions",
            value: options.functions.to_string(),
            expected: "ANEMLL's clients call `infer` and `prefill`".to_owned(),
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

fn embeddings_file(
    settings: &ModelSettings<'_>,
    names: &Names,
    mut weights: WeightFile,
) -> Result<FilePlan, PlanError> {
    let function = embeddings::function(settings, &mut weights)?;
    FilePlan::new(names.embeddings(), FileRole::Embeddings, weights, [("main", function)])
}

fn head_file(
    settings: &ModelSettings<'_>,
    options: &Options,
    names: &Names,
    head: &HeadSplit,
    mut weights: WeightFile,
) -> Result<FilePlan, PlanError> {
    let head = HeadSettings { parts: head.parts(), argmax: options.argmax };
    let function = lm_head::function(settings, &head, &mut weights)?;
    let hint = "palettize the head (`--lut-lm-head 6`), or raise `--size-limit` for a target that takes it";
    check_size(&names.lm_head(), weights.size(), options, hint)?;
    FilePlan::new(names.lm_head(), FileRole::LmHead, weights, [("main", function)])
}

fn chunk_file(
    settings: &ModelSettings<'_>,
    options: &Options,
    names: &Names,
    role: FileRole,
    mut weights: WeightFile,
) -> Result<FilePlan, PlanError> {
    let (stem, layers) = match &role {
        FileRole::Chunk { index, count, layers } => (names.chunk(index + 1, *count), layers.clone()),
        FileRole::Embeddings | FileRole::LmHead => (String::new(), 0..0),
    };
    let mut functions = Vec::new();
    for function in ChunkFunction::all(options.functions) {
        functions.push((function.name(), chunk::function(settings, &mut weights, layers.clone(), *function)?));
    }
    let hint = "use more chunks (`--chunks auto`), fewer bits (`--lut 4`), or raise `--size-limit` for a target that \
                takes it";
    check_size(&stem, weights.size(), options, hint)?;
    FilePlan::new(stem, role, weights, functions)
}

fn check_size(stem: &str, size: u64, options: &Options, hint: &str) -> Result<(), PlanError> {
    let limit = options.size_limit();
    if size <= limit.0 {
        return Ok(());
    }
    Err(PlanError::TooLarge { stem: stem.to_owned(), found: ByteSize(size), limit, hint: hint.to_owned() })
}

fn warnings(decoder: &DecoderPlan, options: &Options, files: &[FilePlan], head: &HeadSplit) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.target.is_neural_engine() && !(decoder.head_dim as u64).is_multiple_of(STATE_MULTIPLE) {
        warnings.push(format!(
            "the KV cache has heads of {} channels; the Neural Engine is reported to refuse states whose sizes are not \
             multiples of {STATE_MULTIPLE}",
            decoder.head_dim
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
