//! The weights of all norms as tables, from which clients look them up once.
//!
//! # Shapes
//! `index` int32 `[1]` to `norm` fp16 `[1, hidden_size]`, and `head_norm` fp16 `[1, head_dim]` where queries and keys are
//! normalized head by head.

use anec_mil::{Function, FunctionBuilder, Var};
use anec_schemas::contract::kernels::names;

use crate::graph::families::conformity::Inputs;
use crate::graph::{Graph, GraphError, ModelSettings};
use crate::model::decoder_plan::{LayerNorms, NormKind, NormPlacement, QkNorm, WeightPath};
use crate::weights::transform::Transform;
use crate::weights::weight_file::WeightFile;

/// Builds the function.
pub(super) fn function(
    settings: &ModelSettings<'_>,
    weights: &mut WeightFile,
    declare: impl FnOnce(&mut FunctionBuilder) -> Result<Inputs, GraphError>,
) -> Result<Function, GraphError> {
    let plan = settings.plan;
    let mut graph = Graph::new(weights, settings, 1);
    let inputs = declare(&mut graph.ops)?;
    let index = inputs.get(names::INDEX);
    let mut outputs = Vec::new();
    if plan.qk_norm == QkNorm::Heads {
        let modules = ["self_attn.q_norm", "self_attn.k_norm"];
        let paths = (0..plan.num_hidden_layers)
            .flat_map(|layer| modules.into_iter().map(move |module| WeightPath::weight(layer, module)));
        let mut paths: Vec<WeightPath> = paths.collect();
        // Every number of a norm is one of a row here.
        let count = plan.num_hidden_layers * placed(plan.norm_placement).len() + 1;
        let last = paths.last().cloned().expect("models have layers");
        paths.resize(paths.len().max(count), last);
        outputs.push(graph.norm_row(names::HEAD_NORM, &paths, plan.head_dim as u64, index)?);
    }
    let modules = placed(plan.norm_placement);
    let of_layer =
        |layer: usize| modules.iter().map(move |(_, module)| WeightPath::weight(layer, module)).collect::<Vec<_>>();
    let mut paths: Vec<WeightPath> = (0..plan.num_hidden_layers).flat_map(of_layer).collect();
    paths.push(WeightPath::NORM);
    outputs.push(graph.norm_row(names::NORM, &paths, plan.hidden_size as u64, index)?);
    Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
}

/// The norms of a layer that it has, in the order of computation: where it stands, and its module.
pub(crate) fn placed(placement: NormPlacement) -> Vec<(&'static str, &'static str)> {
    use anec_schemas::Glue;
    let LayerNorms { before_attention, after_attention, before_mlp, after_mlp } = placement.norms();
    let places = [
        (Glue::BEFORE_ATTENTION, before_attention),
        (Glue::AFTER_ATTENTION, after_attention),
        (Glue::BEFORE_MLP, before_mlp),
        (Glue::AFTER_MLP, after_mlp),
    ];
    places.into_iter().filter_map(|(place, module)| Some((place, module?))).collect()
}

impl Graph<'_> {
    /// The row of this number of a table of norms.
    fn norm_row(&mut self, name: &str, paths: &[WeightPath], length: u64, index: &Var) -> Result<Var, GraphError> {
        let mut rows = Vec::with_capacity(paths.len());
        for (number, path) in paths.iter().enumerate() {
            let mut weight = self.vector(path, length);
            if self.plan().norm_kind == NormKind::RmsOnePlus {
                weight.transforms.insert(0, Transform::add(1.0));
            }
            let weight = self.weights.plain(&weight, &[1, length]);
            rows.push(self.ops.constant(&format!("{name}_{number}"), weight));
        }
        let table = self.ops.concat(&format!("{name}_table"), &rows.iter().collect::<Vec<_>>(), 0)?;
        Ok(self.ops.gather(name, &table, index, 0)?)
    }
}
