//! What a model needs of its checkpoint, read off its programs.

use std::collections::BTreeSet;

use crate::graph::conv_split::ConvSplitter;
use crate::graph::families::stateful::Stateful;
use crate::graph::families::{Family, Piece};
use crate::graph::layers::kv_cache::CacheStates;
use crate::graph::{ModelSettings, Tables};
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, TensorSpec};
use crate::options::{Functions, KvWrite, Options};
use crate::plan::PlanError;
use crate::weights::recipe::Recipe;

/// Positions of the programs that are built to be asked and thrown away.
const POSITIONS: u32 = 1;

/// All tensors that a checkpoint must have, sorted by name: what embeddings, all layers and the head ask for.
///
/// # Errors
/// A bug in the graphs.
pub fn tensors(decoder: &DecoderPlan) -> Result<Vec<TensorSpec>, PlanError> {
    let tables = Tables::new(decoder, POSITIONS);
    let (recipe, options) = (Recipe::default(), Options::default());
    let whole_head = 0..decoder.vocab_size as u64;
    let caches = CacheStates::whole(decoder, u64::from(POSITIONS));
    let settings = ModelSettings {
        plan: decoder,
        opset: options.target.opset(),
        context_length: u64::from(POSITIONS),
        batch_size: u64::from(POSITIONS),
        functions: Functions::InferPrefill,
        kv_write: KvWrite::Slice,
        caches: &caches,
        splitter: ConvSplitter::new(&options),
        recipe: &recipe,
        activations: None,
        head_parts: std::slice::from_ref(&whole_head),
        argmax: false,
        fused: false,
        tables: &tables,
        layer_hook: arch::layer_hook(decoder),
    };
    // Every family computes the same network; this one computes the whole of it.
    let family: &dyn Family = &Stateful;
    // A file for each piece: a tied head is the embeddings' tensor in another shape.
    let mut files = Vec::new();
    for label in family.labels(&settings.cut(std::slice::from_ref(&(0..decoder.num_hidden_layers)))) {
        files.push(Piece::weights_of(family, &settings, &label)?);
    }
    let size = |length: &u64| usize::try_from(*length).expect("sizes of the plan are usize");
    let spec =
        |(name, shape): (&str, &[u64])| TensorSpec { name: name.to_owned(), shape: shape.iter().map(size).collect() };
    let tensors: BTreeSet<TensorSpec> = files.iter().flat_map(|file| file.requests.tensors().map(spec)).collect();
    Ok(tensors.into_iter().collect())
}
