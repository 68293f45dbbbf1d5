//! What a model needs of its checkpoint, read off its programs.

use std::collections::BTreeSet;

use crate::graph::conv_split::ConvSplitter;
use crate::graph::families::stateful::chunk::ChunkFunction;
use crate::graph::families::stateful::lm_head::HeadSettings;
use crate::graph::families::stateful::{chunk, embeddings, lm_head};
use crate::graph::{ModelSettings, Tables};
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, TensorSpec};
use crate::options::{Functions, KvWrite, Options};
use crate::plan::PlanError;
use crate::weights::weight_file::WeightFile;

/// Positions of the programs that are built to be asked and thrown away.
const POSITIONS: u32 = 1;

/// All tensors that a checkpoint must have, sorted by name: what embeddings, all layers and the head ask for.
///
/// # Errors
/// A bug in the graphs.
pub fn tensors(decoder: &DecoderPlan) -> Result<Vec<TensorSpec>, PlanError> {
    let tables = Tables::new(decoder, POSITIONS);
    let settings = ModelSettings {
        plan: decoder,
        context_length: u64::from(POSITIONS),
        batch_size: u64::from(POSITIONS),
        functions: Functions::InferPrefill,
        kv_write: KvWrite::Slice,
        splitter: ConvSplitter::new(&Options::default()),
        ffn: None,
        tables: &tables,
        layer_hook: arch::layer_hook(decoder),
    };
    let head_rows = std::iter::once(0..decoder.vocab_size as u64).collect();
    let head = HeadSettings { parts: head_rows, compression: None, argmax: false };
    // A file for each: a tied head is the embeddings' tensor in another shape.
    let mut files = [WeightFile::default(), WeightFile::default(), WeightFile::default()];
    let [of_embeddings, of_layers, of_head] = &mut files;
    embeddings::function(&settings, None, of_embeddings)?;
    chunk::function(&settings, of_layers, 0..decoder.num_hidden_layers, ChunkFunction::Infer)?;
    lm_head::function(&settings, &head, of_head)?;
    let size = |length: &u64| usize::try_from(*length).expect("sizes of the plan are usize");
    let spec =
        |(name, shape): (&str, &[u64])| TensorSpec { name: name.to_owned(), shape: shape.iter().map(size).collect() };
    let tensors: BTreeSet<TensorSpec> = files.iter().flat_map(|file| file.requests.tensors().map(spec)).collect();
    Ok(tensors.into_iter().collect())
}
