//! A function under construction, and what all functions of a conversion share.

use std::collections::BTreeMap;
use std::ops::Range;

use anec_mil::{BuildError, DataType, FunctionBuilder, Opset, TensorType, Value, Var};
use anec_schemas::contract::{ContractError, Role};
use half::f16;

use super::conv_split::ConvSplitter;
use super::families::Cut;
use super::layers::LayerHook;
use super::layers::kv_cache::CacheStates;
use super::tables::Tables;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{ActivationScales, Functions, KvWrite};
use crate::weights::encodings::UnfitError;
use crate::weights::recipe::Recipe;
use crate::weights::weight_file::WeightFile;

/// A graph that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A bug in the graph code: a function that the contract does not describe.
    #[error("Cannot build the graph")]
    Contract(#[from] ContractError),
    /// A bug in the graph code: an input, state or output that is not the contract's.
    #[error(
        "Cannot build `{function}` of the {role}: it has the {kind} {found}, the contract `{contract}` says {expected}"
    )]
    Breach {
        /// The contract.
        contract: &'static str,
        /// The role of the file.
        role: Role,
        /// The function.
        function: &'static str,
        /// Inputs, states or outputs.
        kind: &'static str,
        /// What the contract says.
        expected: String,
        /// What the graph has.
        found: String,
    },
    /// A weight that its encoding cannot store.
    #[error(transparent)]
    Storage(#[from] UnfitError),
    /// A bug in the graph code: operands that do not fit an op.
    #[error("Cannot build the graph")]
    Build(#[from] BuildError),
}

impl crate::error::Hint for GraphError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Storage(error) => error.hint(),
            Self::Contract(_) | Self::Breach { .. } | Self::Build(_) => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
        }
    }
}

/// What every graph of a conversion shares.
pub(crate) struct ModelSettings<'a> {
    /// The model.
    pub(crate) plan: &'a DecoderPlan,
    /// The operation set of every program.
    pub(crate) opset: Opset,
    /// Tokens in the KV cache.
    pub(crate) context_length: u64,
    /// Tokens of a prefill call, or of a call of the single function.
    pub(crate) batch_size: u64,
    /// Functions of a chunk.
    pub(crate) functions: Functions,
    /// How the cache is written.
    pub(crate) kv_write: KvWrite,
    /// Where keys and values are kept.
    pub(crate) caches: &'a CacheStates,
    /// How convolutions are split.
    pub(crate) splitter: ConvSplitter,
    /// Storage of every weight.
    pub(crate) recipe: &'a Recipe,
    /// Scales of activations that are multiplied in int8.
    pub(crate) activations: Option<&'a ActivationScales>,
    /// Token ids of each part of the LM head.
    pub(crate) head_parts: &'a [Range<u64>],
    /// Whether the head gives the best token of each part instead of logits.
    pub(crate) argmax: bool,
    /// Whether projections that share an input are one program, where they have programs of their own.
    pub(crate) fused: bool,
    /// Tables.
    pub(crate) tables: &'a Tables,
    /// What builds the decoder layers, where it is not [`Graph::decoder_layer`].
    pub(crate) layer_hook: Option<LayerHook>,
}

impl ModelSettings<'_> {
    /// How the model is cut into pieces, where its layers are cut at these.
    pub(crate) fn cut<'c>(&self, layers: &'c [Range<usize>]) -> Cut<'c> {
        Cut { layers, head_parts: self.head_parts.len(), fused: self.fused }
    }

    /// Rows of the function that checks drafts; 0 where there is none.
    pub(crate) fn verify_length(&self) -> u64 {
        u64::from(self.functions.verify_rows().unwrap_or(0))
    }
}

/// One function under construction with the weight file that it shares with its siblings.
pub(crate) struct Graph<'a> {
    /// The ops so far.
    pub(crate) ops: FunctionBuilder,
    /// The weights of the package.
    pub(crate) weights: &'a mut WeightFile,
    /// The model.
    pub(crate) settings: &'a ModelSettings<'a>,
    /// Tokens that one call of this function takes.
    pub(crate) tokens: u64,
    /// Values that were cut along their channels for split convolutions, by name and number of parts.
    pub(crate) channel_parts: BTreeMap<(String, usize), Vec<Var>>,
    /// Values that were rounded to int8, by name.
    pub(crate) rounded: BTreeMap<String, Var>,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(weights: &'a mut WeightFile, settings: &'a ModelSettings<'a>, tokens: u64) -> Self {
        Self {
            ops: FunctionBuilder::new(settings.opset),
            weights,
            settings,
            tokens,
            channel_parts: BTreeMap::new(),
            rounded: BTreeMap::new(),
        }
    }

    pub(crate) fn plan(&self) -> &'a DecoderPlan {
        self.settings.plan
    }

    /// A constant that no checkpoint holds, in the weight file, or in the program where it is small; equal names are equal
    /// constants.
    pub(crate) fn table(&mut self, name: &str, shape: &[u64], elements: impl FnOnce() -> Vec<f16>) -> Var {
        if shape.iter().product::<u64>() < LEAST_IN_FILE {
            return self.ops.constant(&format!("{name}_table"), Value::halves(shape, &elements()));
        }
        let bytes = || elements().into_iter().flat_map(f16::to_le_bytes).collect();
        let table = self.weights.generated(name, TensorType::fixed(DataType::Float16, shape), bytes);
        self.ops.constant(&format!("{name}_table"), table)
    }
}

/// Elements from which on a constant is kept in the weight file.
///
/// # Source
/// coremltools 9 `should_use_weight_file`.
const LEAST_IN_FILE: u64 = 10;

/// A length as an int32 constant; lengths were bounded when the config was read.
pub(crate) fn int(length: u64) -> i32 {
    i32::try_from(length).expect("configs and options with longer axes are refused")
}
