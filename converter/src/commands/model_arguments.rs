//! The arguments that `convert` and `plan` share, and the way from them to a plan.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anec_mil::rules::Chip;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Map, Value};

use crate::calibrate::{CalibrationSource, activation_scales, sample_tokens};
use crate::commands::allocation::AllocationArguments;
use crate::commands::given_options::GivenOptions;
use crate::commands::locate::locate;
use crate::commands::storage_arguments::{StorageArguments, StorageOptionsError};
use crate::commands::training::{self, TrainingArguments};
use crate::console::{Console, Failure};
use crate::model::arch::{self, ArchChoice};
use crate::model::decoder_plan::{DecoderPlan, WeightMap, WeightPath};
use crate::options::{
    ActivationScales, ByteSize, ConvSplits, Count, Emit, FlatType, Functions, KvWrite, Options, Target,
};
use crate::output::companions;
use crate::output::forms::{self, FORMS};
use crate::output::layouts;
use crate::plan::{ConversionPlan, inventory};
use crate::source::checkpoint::{Checkpoint, CheckpointError};
use crate::source::config::UnknownKeys;
use crate::source::hub::Wanted;
use crate::weights::recipe::Recipe;
use crate::weights::recipe_file;

/// Heading of options in help: what is converted.
const CHECKPOINT: &str = "Checkpoint";
/// What the programs are like.
const PROGRAMS: &str = "Programs";
/// What they run on.
const DEVICE: &str = "Device";
/// What is written, and where.
pub(super) const OUTPUT: &str = "Output";
/// How the work is done.
pub(super) const WORK: &str = "Work";

/// Which model, and how to convert it.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct ModelArguments {
    /// Which of these were given; first, as it says.
    #[command(flatten)]
    pub given: GivenOptions,

    /// Checkpoint: a directory with config.json, *.safetensors and tokenizer files; a GGUF file; or a model of the
    /// Hugging Face hub as OWNER/MODEL or OWNER/MODEL@REVISION.
    #[arg(default_value = ".")]
    pub model_dir: PathBuf,

    /// Leave PREFIX out of the names of the tensors that begin with it. Prefixes of torch.compile, data parallelism, PEFT and
    /// multimodal models are left out by themselves.
    #[arg(help_heading = CHECKPOINT, long, value_name = "PREFIX")]
    pub strip_prefix: Option<String>,

    /// Follow links of the checkpoint's files into DIR, too; repeat for more. Others are errors, but for those of a snapshot in
    /// the Hugging Face cache to its blobs.
    #[arg(help_heading = CHECKPOINT, long, value_name = "DIR")]
    pub follow_links: Vec<PathBuf>,

    /// Architecture; `auto` and `qwen` pick the right one from config.json.
    #[arg(help_heading = CHECKPOINT, long, value_enum, default_value_t = ArchChoice::Auto)]
    pub arch: ArchChoice,

    /// How weights are stored.
    #[command(flatten)]
    pub storage: StorageArguments,

    /// Round activations to int8 before they are multiplied with int8 weights, by scales that calibration finds: for prompts on M4 and
    /// A17 Pro, whose int8 is faster; layouts `kernels` and `prefill`.
    #[arg(long)]
    pub int8_activations: bool,

    /// How many bits all of them take.
    #[command(flatten)]
    pub allocation: AllocationArguments,

    /// Packages that the decoder layers are split into; `auto` takes the fewest that fit.
    #[arg(help_heading = PROGRAMS, long, value_name = "N|auto", default_value = "auto")]
    pub chunks: Count,

    /// Parts that the LM head is split into; `auto` takes as many as the clients of the layout expect (ANEMLL's: 16 for Qwen
    /// and Gemma, 8 for others), or the fewest that the chip takes.
    #[arg(help_heading = PROGRAMS, long, value_name = "N|auto", default_value = "auto")]
    pub lm_head_splits: Count,

    /// Make one kernel of queries, keys and values, and one of gate and up.
    #[arg(help_heading = PROGRAMS, long)]
    pub fuse: bool,

    /// Write all weights into a flat file besides, for the CPU half of clients of kernels: flat_f32.bin or flat_f16.bin.
    #[arg(long, value_enum, value_name = "f32|f16", hide_possible_values = true)]
    pub flat: Option<FlatType>,

    /// Return the best token of each LM-head part instead of logits.
    #[arg(help_heading = PROGRAMS, long)]
    pub argmax: bool,

    /// Tokens that the KV cache holds; fixed in the packages. Several, such as 512,2048, make one set of packages each,
    /// in directories of their own that share the weight files.
    #[arg(help_heading = PROGRAMS, long, value_name = "TOKENS", default_value = "512", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub context_length: Vec<u32>,

    /// Tokens that one prefill call takes; fixed in the packages [default: 64, or the context length if it is less].
    #[arg(help_heading = PROGRAMS, long, value_name = "TOKENS")]
    pub batch_size: Option<NonZeroU32>,

    /// Functions of the chunks: `infer,prefill`; these and `verify:K`, which checks K-1 tokens of a draft in one call; or `single` for one of --query-length rows that takes half the memory
    /// on the device.
    #[arg(help_heading = PROGRAMS, long, value_name = "infer,prefill[,verify:K]|single", default_value = "infer,prefill")]
    pub functions: Functions,

    /// Rows of a single function [default: 16], or columns of the kernels' [default: 32].
    #[arg(help_heading = PROGRAMS, long, value_name = "TOKENS")]
    pub query_length: Option<NonZeroU32>,

    /// How the KV cache is written: `slice` moves only what is new, `mask` does without slices at a position.
    #[arg(help_heading = PROGRAMS, long, value_enum, default_value_t)]
    pub kv: KvWrite,

    /// Keep the whole context of every layer in one state, also of layers that look back over a window. A14 and M1 refuse
    /// states of two shapes: `--chip` of these does the same where only some layers have a window.
    #[arg(help_heading = PROGRAMS, long)]
    pub single_cache: bool,

    /// With `--layout anemll`, two files for each chunk that shifts a window: one that takes a token, one that takes a batch.
    /// For systems that do not load models of four functions; ANEMLL's chat.py drives both forms, its apps one file only.
    #[arg(help_heading = PROGRAMS, long)]
    pub split_rotate: bool,

    /// Chip that the packages are for, such as m4-pro; `generic` is safe on all.
    #[arg(help_heading = DEVICE, long, value_name = "CHIP", default_value = "generic")]
    pub chip: Chip,

    /// Split convolutions along their input channels where the chip reads the whole weight slowly.
    #[arg(help_heading = DEVICE, long, value_enum, default_value_t)]
    pub conv_splits: ConvSplits,

    /// System that the packages are for; sets the limit on the size of a weight file. `macos15-gpu` is for the GPU of a
    /// Mac and splits nothing.
    #[arg(help_heading = DEVICE, long, value_enum, default_value_t = Target::Ios18)]
    pub target: Target,

    /// Largest weight file [default: 950MB for ios18, 1900MB for macos15].
    #[arg(help_heading = DEVICE, long, value_name = "SIZE")]
    pub size_limit: Option<ByteSize>,

    /// Whose client opens the result; decides the programs, file names and metadata. `anec layouts` explains each.
    #[arg(help_heading = OUTPUT, long, alias = "runtime", value_name = "NAME", default_value = layouts::LAYOUTS[0].name(), value_parser = layout_name())]
    pub layout: &'static str,

    /// Forms to write: packages, compiled models, or both with one weight file between them; kernels also as texts
    /// [default: both; mil for kernels].
    #[arg(help_heading = OUTPUT, long, value_name = "FORM", value_parser = emit_value())]
    pub emit: Option<Emit>,

    /// What shapes the programs of a training step.
    #[command(flatten)]
    pub training: TrainingArguments,

    /// Ignore a key of config.json that anec does not know; repeat for more.
    #[arg(help_heading = CHECKPOINT, long, value_name = "KEY")]
    pub ignore_config_key: Vec<String>,

    /// Refuse every key of config.json that anec does not know, not only those that sound like maths.
    #[arg(help_heading = CHECKPOINT, long)]
    pub strict: bool,
}

/// Word for packages and compiled models.
const BOTH: &str = "both";

/// What `--layout` was called when it was `--runtime`, and its first value.
const FORMER_DEFAULT: &str = "default";

/// Names of layouts.
fn layout_name() -> impl TypedValueParser<Value = &'static str> {
    let names = layouts::LAYOUTS.iter().enumerate().map(|(index, layout)| {
        let value = PossibleValue::new(layout.name()).help(layout.summary());
        if index == 0 { value.alias(FORMER_DEFAULT) } else { value }
    });
    let names = names.chain([PossibleValue::new(training::LAYOUT).help(training::SUMMARY)]);
    PossibleValuesParser::new(names).map(|name| match layouts::find(&name) {
        Some(layout) => layout.name(),
        None if name == training::LAYOUT => training::LAYOUT,
        // No other value is let through.
        None => layouts::LAYOUTS[0].name(),
    })
}

/// Names of forms, and the word for both of Core ML's.
fn emit_value() -> impl TypedValueParser<Value = Emit> {
    let names = FORMS.iter().map(|form| PossibleValue::new(form.name()).help(form.summary()));
    let both = PossibleValue::new(BOTH).help("both, with one weight file between them");
    PossibleValuesParser::new(names.chain([both])).map(|name| match forms::find(&name) {
        Some(form) => Emit(vec![form.name()]),
        // No other value is let through.
        None => Options::default().emit,
    })
}

/// Tokens of a prefill call where none are given.
const BATCH_SIZE: u32 = 64;

/// Rows of a single function where none are given.
const QUERY_LENGTH: u32 = 16;

/// A checkpoint with the plans of its conversion.
pub(crate) struct Prepared {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) weights: WeightMap,
    pub(crate) plans: Plans,
}

/// One plan for each context length, the longest first.
pub(crate) struct Plans {
    /// The plan of the longest context, whose weight files all share.
    pub(crate) longest: ConversionPlan,
    /// The plans of the others.
    pub(crate) others: Vec<ConversionPlan>,
}

impl Plans {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConversionPlan> {
        std::iter::once(&self.longest).chain(&self.others)
    }
}

impl ModelArguments {
    /// Opens the checkpoint, checks every tensor against the config, and plans the conversion.
    pub(crate) fn prepare(&self, console: Console) -> Result<Prepared, Failure> {
        self.prepare_from(self.open(&locate(&self.model_dir, Wanted::Checkpoint, console)?)?, console)
    }

    fn open(&self, path: &Path) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = Checkpoint::open_with_links(path, &self.follow_links)?;
        match &self.strip_prefix {
            Some(prefix) => checkpoint.without_prefix(prefix),
            None => Ok(checkpoint),
        }
    }

    fn prepare_from(&self, checkpoint: Checkpoint, console: Console) -> Result<Prepared, Failure> {
        companions::check(&checkpoint)?;
        let notes = checkpoint.notes();
        if let Some(found) = &notes.found {
            console.status(&format!("Reading {found}"));
        }
        for warning in &notes.warnings {
            console.warning(warning);
        }
        let mut decoder = self.decoder(checkpoint.config_json(), console)?;
        decoder.weights = decoder.weights.named_as(|name| checkpoint.tensor(name).is_some());
        let mut tensors = inventory::tensors(&decoder)?;
        let has_head = layouts::find(self.layout).is_none_or(|layout| layout.family().contract().has_head());
        if !has_head && !decoder.tie_word_embeddings {
            let head = decoder.source(&WeightPath::LM_HEAD).tensor;
            tensors.retain(|spec| spec.name != head);
        }
        let weights = WeightMap::new(&checkpoint, &decoder, tensors)?;
        let embeddings = self.storage.recipe()?.embeddings;
        let allocated = self.allocation.recipe(&checkpoint, &decoder, &self.storage, embeddings, console)?;
        let activations = self.activations(&checkpoint, &decoder, allocated.as_ref(), console)?;
        let plans = self.plans(&decoder, allocated, activations, console)?;
        Ok(Prepared { checkpoint, weights, plans })
    }

    /// Reads the config, and tells of keys that may matter and are not read.
    fn decoder(&self, config: &Map<String, Value>, console: Console) -> Result<DecoderPlan, Failure> {
        let unknown_keys = if self.strict { UnknownKeys::Refuse } else { UnknownKeys::Tell };
        let (decoder, unread) = arch::plan_and_unread(self.arch, config, &self.ignore_config_key, unknown_keys)?;
        for key in unread {
            console.warning(&format!("config.json: the key {key} is not read (`--strict` makes this an error)"));
        }
        Ok(decoder)
    }

    /// The model of a config, whose weights are not asked for.
    pub(crate) fn config_alone(&self, console: Console) -> Result<DecoderPlan, Failure> {
        let path = locate(&self.model_dir, Wanted::Config, console)?;
        self.decoder(&Checkpoint::read_config(&path)?, console)
    }

    /// Plans the conversion from the config where there are no weights, and as [`Self::prepare`] does where there are; with
    /// the checkpoint, where there is one.
    pub(crate) fn prepare_plans(&self, console: Console) -> Result<(Plans, Option<Checkpoint>), Failure> {
        let model_dir = locate(&self.model_dir, Wanted::Config, console)?;
        let config = match self.open(&model_dir) {
            Ok(checkpoint) => {
                let Prepared { checkpoint, plans, .. } = self.prepare_from(checkpoint, console)?;
                return Ok((plans, Some(checkpoint)));
            }
            Err(CheckpointError::MissingWeights { found, .. }) if found.is_empty() => {
                Checkpoint::read_config(&model_dir)?
            }
            Err(CheckpointError::NotADirectory { path }) if path.extension().is_some_and(|kind| kind == "json") => {
                Checkpoint::read_config(&path)?
            }
            Err(error) => return Err(error.into()),
        };
        let decoder = self.decoder(&config, console)?;
        if self.allocation.is_given() {
            return Err(Failure {
                message: "Cannot share bits out between weights that are not there".to_owned(),
                hint: Some("give a checkpoint with weights, or `--lut`".to_owned()),
            });
        }
        console.status("planned from the config alone: names and shapes of the weights are not checked");
        if self.int8_activations {
            return Err(Failure {
                message: "Cannot find scales of activations without weights".to_owned(),
                hint: Some("give a checkpoint with weights, or leave out `--int8-activations`".to_owned()),
            });
        }
        Ok((self.plans(&decoder, None, None, console)?, None))
    }

    /// Options that were given and do nothing, and why.
    fn without_effect(&self, options: &Options) -> Vec<(&'static str, &'static str)> {
        let has_columns = self.layout().columns().is_some();
        let is_single = self.functions == Functions::Single || has_columns;
        let functions = [
            ("--query-length", self.query_length.is_some() && !is_single, "it needs `--functions single`"),
            ("--batch-size", self.batch_size.is_some() && is_single, "a single function takes `--query-length` rows"),
            ("--fuse", self.fuse && !has_columns, "only kernels are fused: `--layout kernels`"),
            ("--flat", self.flat.is_some() && !has_columns, "it is for clients of kernels: `--layout kernels`"),
        ];
        let functions =
            functions.into_iter().filter_map(|(option, has_none, reason)| has_none.then_some((option, reason)));
        // Scales are found with it, too.
        let storage = self.storage.without_effect(&options.storage).into_iter();
        let storage = storage.filter(|(option, _)| !self.int8_activations || *option != "--calibration");
        storage.chain(functions).collect()
    }

    /// Scales of activations, where they are to be rounded: by a forward pass of the checkpoint.
    fn activations(
        &self,
        checkpoint: &Checkpoint,
        decoder: &DecoderPlan,
        allocated: Option<&Recipe>,
        console: Console,
    ) -> Result<Option<ActivationScales>, Failure> {
        if !self.int8_activations {
            return Ok(None);
        }
        let source = match &self.storage.calibration {
            None => CalibrationSource::Builtin,
            Some(CalibrationSource::None) => {
                return Err(Failure {
                    message: "Cannot find scales of activations with `--calibration none`".to_owned(),
                    hint: Some("leave it out, or give a file of text".to_owned()),
                });
            }
            Some(source) => source.clone(),
        };
        // What does not fit is said before the work.
        self.plans(decoder, allocated.cloned(), Some(ActivationScales::default()), Console { quiet: true })?;
        let tokens = sample_tokens(&source, checkpoint, decoder)?;
        let count = tokens.tokens.tokens.len();
        console.status(&format!("Finding scales of activations with {count} tokens: {}", tokens.description));
        Ok(Some(activation_scales(checkpoint, decoder, &tokens.tokens)?))
    }

    fn plans(
        &self,
        decoder: &DecoderPlan,
        allocated: Option<Recipe>,
        activations: Option<ActivationScales>,
        console: Console,
    ) -> Result<Plans, Failure> {
        let mut options = self.options()?;
        options.activations = activations;
        if let Some(recipe) = allocated {
            options.storage = recipe;
        }
        if let Some(path) = &self.storage.recipe {
            options.storage = recipe_file::read(path)?;
            let tensors = inventory::tensors(decoder)?;
            recipe_file::check_tensors(&options.storage, tensors.iter().map(|spec| spec.name.as_str()))?;
        }
        options.storage = self.storage.refine(options.storage, decoder);
        if let Some(source) = self.storage.calibration(&options.storage)? {
            options.calibration = match &source {
                CalibrationSource::File(path) => {
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
                }
                source => source.to_string(),
            };
        }
        let options = options;
        for (option, reason) in self.without_effect(&options) {
            console.warning(&format!("`{option}` has no effect: {reason}"));
        }
        let mut plans = ConversionPlan::for_context_lengths(decoder, &options, &self.context_length)?.into_iter();
        let missing = || Failure { message: "Cannot plan without a context length".to_owned(), hint: None };
        let plans = Plans { longest: plans.next().ok_or_else(missing)?, others: plans.collect() };
        let mut said = BTreeSet::new();
        for warning in plans.iter().flat_map(|plan| &plan.warnings) {
            if said.insert(warning) {
                console.warning(warning);
            }
        }
        Ok(plans)
    }

    fn layout(&self) -> &'static dyn layouts::Layout {
        layouts::find(self.layout).unwrap_or(layouts::LAYOUTS[0])
    }

    fn options(&self) -> Result<Options, StorageOptionsError> {
        let layout = self.layout();
        Ok(Options {
            given: self.given.text().to_owned(),
            storage: self.storage.recipe()?,
            calibration: CalibrationSource::None.to_string(),
            chunks: self.chunks,
            lm_head_splits: self.lm_head_splits,
            context_length: self.context_length.iter().copied().max().unwrap_or(0),
            batch_size: match self.functions {
                _ if layout.columns().is_some() => {
                    self.query_length.map(NonZeroU32::get).or(layout.columns()).unwrap_or(QUERY_LENGTH)
                }
                Functions::InferPrefill | Functions::InferPrefillVerify(_) => self.batch_size.map_or_else(
                    || self.context_length.iter().copied().min().unwrap_or(BATCH_SIZE).min(BATCH_SIZE),
                    NonZeroU32::get,
                ),
                Functions::Single => self.query_length.map_or(QUERY_LENGTH, NonZeroU32::get),
            },
            functions: self.functions,
            kv_write: self.kv,
            single_cache: self.single_cache,
            split_rotate: self.split_rotate,
            conv_splits: self.conv_splits,
            chip: self.chip,
            argmax: self.argmax,
            fuse: self.fuse,
            activations: None,
            flat: self.flat.filter(|_| layout.columns().is_some()),
            target: self.target,
            size_limit: self.size_limit,
            layout: self.layout,
            emit: self.emit.clone().unwrap_or_else(|| Emit(layout.default_forms().to_vec())),
        })
    }
}
