//! What a model needs of its checkpoint, read off its programs.

use std::collections::BTreeSet;

use crate::graph::conv_split::ConvSplitter;
use crate::graph::families::Family as _;
use crate::graph::families::stateful::Stateful;
use crate::graph::layers::kv_cache::CacheStates;
use crate::graph::{GraphError, ModelSettings, Tables};
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, TensorSpec};
use crate::options::{Functions, KvWrite, Options};
use crate::plan::PlanError;
use crate::weights::recipe::Recipe;
use crate::weights::weight_file::WeightFile;

/// Positions of the programs that are built to be asked and thrown away.
const POSITIONS: u32 = 1;

/// All tensors that a checkpoint must have, sorted by name: what embeddings, all layers and the head ask for.
///
/// # Errors
/// A bug in the graphs.
pub fn tensors(decoder: &DecoderPlan) -> Result<Vec<TensorSpec>, PlanError> {
    let tables = Tables::new(decoder, POSITIONS);
    let recipe = Recipe::default();
    let whole_head = 0..decoder.vocab_size as u64;
    let caches = CacheStates::whole(decoder, u64::from(POSITIONS));
    let settings = ModelSettings {
        plan: decoder,
        context_length: u64::from(POSITIONS),
        batch_size: u64::from(POSITIONS),
        functions: Functions::InferPrefill,
        kv_write: KvWrite::Slice,
        caches: &caches,
        splitter: ConvSplitter::new(&Options::default()),
        recipe: &recipe,
        head_parts: std::slice::from_ref(&whole_head),
        argmax: false,
        tables: &tables,
        layer_hook: arch::layer_hook(decoder),
    };
    // A file for each piece: a tied head is the embeddings' tensor in another shape.
    let mut files = Vec::new();
    for label in Stateful.labels(std::slice::from_ref(&(0..decoder.num_hidden_layers))) {
        let instance = Stateful.instance(&settings, &label);
        let contract = Stateful.contract().file(label.role).map_err(GraphError::from)?;
        let mut weights = WeightFile::default();
        for function in contract.functions_in(&instance).take(1) {
            Stateful.function(&settings, &label, function.name, &mut weights)?;
        }
        files.push(weights);
    }
    let size = |length: &u64| usize::try_from(*length).expect("sizes of the plan are usize");
    let spec =
        |(name, shape): (&str, &[u64])| TensorSpec { name: name.to_owned(), shape: shape.iter().map(size).collect() };
    let tensors: BTreeSet<TensorSpec> = files.iter().flat_map(|file| file.requests.tensors().map(spec)).collect();
    Ok(tensors.into_iter().collect())
}
