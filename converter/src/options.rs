//! What a conversion is asked to do: the plain data behind the command line.

mod activations;
mod byte_size;
mod count;
mod flat;
mod graph;
mod share;
mod shell;
mod target;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_mil::rules::Chip;

pub use self::activations::{ActivationScales, MOST as INT8_MOST};
pub use self::byte_size::ByteSize;
pub use self::count::Count;
pub use self::flat::FlatType;
pub use self::graph::{ConvSplits, Functions, KvWrite, WindowForm};
pub use self::share::{Part, Share};
pub(crate) use self::shell::shell_word;
pub use self::target::Target;
use crate::weights::recipe::Recipe;

/// Which forms of each model are written, by their names; the first of the table of forms holds the weights that the
/// others share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit(pub Vec<&'static str>);

impl Emit {
    /// Whether the form of this name is written.
    pub fn has(&self, form: &str) -> bool {
        self.0.contains(&form)
    }
}

/// Everything that shapes a conversion.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Options {
    /// The options as they were given on a command line, for people; empty where there was none.
    pub given: String,
    /// Storage of the weights.
    pub storage: Recipe,
    /// What palettes are calibrated with, in a word.
    pub calibration: String,
    /// Packages that the decoder layers are split into.
    pub chunks: Count,
    /// Parts that the LM head is split into.
    pub lm_head_splits: Count,
    /// Tokens that the KV cache holds.
    pub context_length: u32,
    /// Tokens that one prefill call takes, or every call of a single function.
    pub batch_size: u32,
    /// Which functions the chunks have.
    pub functions: Functions,
    /// How the cache is written.
    pub kv_write: KvWrite,
    /// Whether one state keeps the whole context of all layers, those with windows included.
    pub single_cache: bool,
    /// Whether the functions of a chunk that shift a window are in files with those that do not, one for each number of
    /// tokens.
    pub split_rotate: bool,
    /// Whether convolutions are split.
    pub conv_splits: ConvSplits,
    /// The chip that the packages are for.
    pub chip: Chip,
    /// Whether the head returns the best token of each part instead of logits.
    pub argmax: bool,
    /// Whether projections that share an input are one program, where they have programs of their own.
    pub fuse: bool,
    /// Whether all weights are written into a flat file besides, and in what type.
    pub flat: Option<FlatType>,
    /// Scales of activations that are multiplied in int8; none where they stay fp16.
    pub activations: Option<ActivationScales>,
    /// Target system.
    pub target: Target,
    /// Largest weight file, where it differs from the target's.
    pub size_limit: Option<ByteSize>,
    /// Whose client is to open the result, by the name of a layout: decides file names and metadata, and which family makes
    /// the graphs.
    pub layout: &'static str,
    /// Which forms.
    pub emit: Emit,
}

impl Default for Options {
    /// What `anec plan` takes where nothing is asked for.
    fn default() -> Self {
        Self {
            given: String::new(),
            storage: Recipe::default(),
            calibration: "none".to_owned(),
            chunks: Count::Auto,
            lm_head_splits: Count::Auto,
            context_length: 512,
            batch_size: 64,
            functions: Functions::InferPrefill,
            kv_write: KvWrite::Slice,
            single_cache: false,
            split_rotate: false,
            conv_splits: ConvSplits::Auto,
            chip: Chip::Generic,
            argmax: false,
            fuse: false,
            flat: None,
            activations: None,
            target: Target::Ios18,
            size_limit: None,
            layout: "anec",
            emit: Emit(vec![PACKAGE_EXTENSION, COMPILED_EXTENSION]),
        }
    }
}

impl Options {
    /// Tokens that a call takes of which each is a step of decoding.
    pub fn decode_tokens(&self) -> u32 {
        match self.functions {
            Functions::InferPrefill | Functions::InferPrefillVerify(_) => 1,
            Functions::Single => self.batch_size,
        }
    }

    /// The largest weight file that is allowed.
    pub fn size_limit(&self) -> ByteSize {
        self.size_limit.unwrap_or_else(|| self.target.size_limit())
    }
}
