//! The arguments that `convert` and `plan` share, and the way from them to a plan.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use crate::arch::{self, ArchChoice};
use crate::checkpoint::Checkpoint;
use crate::console::{Console, Failure};
use crate::decoder_plan::WeightMap;
use crate::options::{ByteSize, Count, Emit, GroupSize, LutBits, Options, Palette, Runtime, Target};
use crate::planner::ConversionPlan;

/// Which model, and how to convert it.
#[derive(Debug, Args)]
pub struct ModelArguments {
    /// Checkpoint directory: config.json, *.safetensors, tokenizer files.
    #[arg(default_value = ".")]
    pub model_dir: PathBuf,

    /// Architecture; `auto` and `qwen` pick the right one from config.json.
    #[arg(long, value_enum, default_value_t = ArchChoice::Auto)]
    pub arch: ArchChoice,

    /// Palette bits of the decoder layers and the LM head: none, 1, 2, 3, 4, 6 or 8.
    #[arg(long, value_name = "BITS", default_value = "none")]
    pub lut: LutBits,

    /// Palette bits of the decoder layers, where they differ from --lut.
    #[arg(long, value_name = "BITS")]
    pub lut_ffn: Option<LutBits>,

    /// Palette bits of the LM head, where they differ from --lut.
    #[arg(long, value_name = "BITS")]
    pub lut_lm_head: Option<LutBits>,

    /// Palette bits of the token embeddings.
    #[arg(long, value_name = "BITS", default_value = "none")]
    pub lut_embeddings: LutBits,

    /// Output channels that share a palette: a number that divides them, or `tensor`
    /// [default: 8; tensor at 8 bits].
    #[arg(long, value_name = "N|tensor")]
    pub group_size: Option<GroupSize>,

    /// Packages that the decoder layers are split into; `auto` takes the fewest that fit.
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub chunks: Count,

    /// Parts that the LM head is split into; `auto` takes 16 for Qwen and 8 for others, or the next number that
    /// divides the vocabulary.
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub lm_head_splits: Count,

    /// Return the best token of each LM-head part instead of logits.
    #[arg(long)]
    pub argmax: bool,

    /// Tokens that the KV cache holds; fixed in the packages.
    #[arg(long, value_name = "TOKENS", default_value = "512", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub context_length: u32,

    /// Tokens that one prefill call takes; fixed in the packages.
    #[arg(long, value_name = "TOKENS", default_value = "64")]
    pub batch_size: NonZeroU32,

    /// System that the packages are for; sets the limit on the size of a weight file.
    #[arg(long, value_enum, default_value_t = Target::Ios18)]
    pub target: Target,

    /// Largest weight file [default: 950MB for ios18, 1900MB for macos15].
    #[arg(long, value_name = "SIZE")]
    pub size_limit: Option<ByteSize>,

    /// Whose client opens the result; decides file names and metadata.
    #[arg(long, value_enum, default_value_t = Runtime::Default)]
    pub runtime: Runtime,

    /// Forms to write: packages, compiled models, or both with one weight file between them.
    #[arg(long, value_enum, default_value_t = Emit::Both)]
    pub emit: Emit,

    /// Ignore a key of config.json that anec does not know; repeat for more.
    #[arg(long, value_name = "KEY")]
    pub ignore_config_key: Vec<String>,
}

/// A checkpoint with the plan of its conversion.
pub(crate) struct Prepared {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) weights: WeightMap,
    pub(crate) plan: ConversionPlan,
}

impl ModelArguments {
    /// Opens the checkpoint, checks every tensor against the config, and plans the conversion.
    pub(crate) fn prepare(&self, console: Console) -> Result<Prepared, Failure> {
        let checkpoint = Checkpoint::open(&self.model_dir)?;
        let decoder = arch::plan(self.arch, checkpoint.config_json(), &self.ignore_config_key)?;
        let weights = WeightMap::new(&checkpoint, &decoder)?;
        let plan = ConversionPlan::new(decoder, self.options())?;
        for warning in &plan.warnings {
            console.warning(warning);
        }
        Ok(Prepared { checkpoint, weights, plan })
    }

    fn options(&self) -> Options {
        let palette = |bits: LutBits| Palette::new(bits, self.group_size);
        Options {
            ffn: palette(self.lut_ffn.unwrap_or(self.lut)),
            lm_head: palette(self.lut_lm_head.unwrap_or(self.lut)),
            embeddings: palette(self.lut_embeddings),
            chunks: self.chunks,
            lm_head_splits: self.lm_head_splits,
            context_length: self.context_length,
            batch_size: self.batch_size.get(),
            argmax: self.argmax,
            target: self.target,
            size_limit: self.size_limit,
            runtime: self.runtime,
            emit: self.emit,
        }
    }
}
