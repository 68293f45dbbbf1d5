//! A program for each projection of each layer and for each part of the LM head. What stands between them is the client's, so
//! that none of them knows a position or a cache.

mod norms;

pub(crate) use norms::placed;

use anec_mil::{Function, FunctionBuilder, Var};
use anec_schemas::contract::kernels::{
    CONTRACT, DOWN_PROJ, EMBEDDINGS, FUSED, GATE_PROJ, GATE_UP_PROJ, HEAD_NORMS, K_PROJ, LM_HEAD, NORMS, O_PROJ,
    Q_PROJ, QKV_PROJ, UP_PROJ, V_PROJ, layer_roles, names,
};
use anec_schemas::contract::{Contract, Instance, Role, Size};

use super::conformity::Inputs;
use super::host_cache::{HostCache, embeddings};
use super::{Cut, Family, GraphError, Label, ModelSettings, Oversize, Reads};
use crate::graph::Graph;
use crate::graph::layers::linear::{Linear, last_name};
use crate::model::decoder_plan::{DecoderPlan, QkNorm, WeightPath};
use crate::weights::recipe::WeightKind;
use crate::weights::weight_file::WeightFile;

/// The family.
pub(crate) struct Kernels;

impl Family for Kernels {
    fn name(&self) -> &'static str {
        "kernels"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn cuts_layers(&self) -> bool {
        false
    }

    fn labels(&self, cut: &Cut<'_>) -> Vec<Label> {
        let layers = cut.layers.iter().flat_map(Clone::clone);
        let count = cut.layers.iter().map(ExactSizeIterator::len).sum();
        let mut labels = vec![Label::only(EMBEDDINGS), Label::only(NORMS)];
        for (number, layer) in (1..).zip(layers) {
            let kernels = layer_roles(cut.fused).iter();
            labels.extend(kernels.map(|role| Label { role: *role, number, count, layers: layer..layer + 1 }));
        }
        let count = cut.head_parts;
        labels.extend((1..=count).map(|number| Label { role: LM_HEAD, number, count, layers: 0..0 }));
        labels
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        let plan = settings.plan;
        let instance = HostCache
            .instance(settings, label)
            .with_size(Size::NUM_ATTENTION_HEADS, plan.num_attention_heads as u64)
            .with_size(Size::INTERMEDIATE_SIZE, plan.intermediate_size as u64)
            .with_variant(FUSED, settings.fused)
            .with_variant(HEAD_NORMS, plan.qk_norm == QkNorm::Heads);
        match (label.role, settings.head_parts.get(label.number - 1)) {
            (LM_HEAD, Some(part)) => instance.with_size(Size::LM_HEAD_CHUNK_SIZES, part.end - part.start),
            _ => instance,
        }
    }

    fn function(
        &self,
        settings: &ModelSettings<'_>,
        label: &Label,
        name: &'static str,
        weights: &mut WeightFile,
    ) -> Result<Function, GraphError> {
        let instance = self.instance(settings, label);
        let contract = CONTRACT.function(label.role, name, &instance)?;
        let declare = |ops: &mut FunctionBuilder| Inputs::declare(ops, contract, &instance);
        let tokens = settings.batch_size;
        match label.role {
            EMBEDDINGS => return embeddings::function(settings, weights, tokens, declare),
            NORMS => return norms::function(settings, weights, declare),
            _ => {}
        }
        let mut graph = Graph::new(weights, settings, tokens);
        let inputs = declare(&mut graph.ops)?;
        let x = inputs.get(names::X);
        let outputs = if label.role == LM_HEAD {
            vec![graph.head_part(label.number - 1, x)?]
        } else {
            let projections = projections(label.role).iter();
            let outputs = projections.map(|(name, module)| graph.kernel(label.layers.start, name, module, x));
            outputs.collect::<Result<Vec<_>, _>>()?
        };
        Ok(graph.ops.finish(&outputs.iter().collect::<Vec<_>>()))
    }

    fn reads(&self, label: &Label) -> Reads {
        match label.role {
            EMBEDDINGS | NORMS => Reads::Rows,
            LM_HEAD => Reads::Decoding,
            _ => Reads::Always,
        }
    }

    fn oversize(&self, label: &Label) -> Oversize {
        match label.role {
            EMBEDDINGS => Oversize::Warn("use `--int8-embeddings` or `--lut-embeddings 8`"),
            LM_HEAD => Oversize::Refuse("split the head (`--lm-head-splits`)"),
            _ => Oversize::Refuse("quantize it (`--ffn int8`), or raise `--size-limit` for a target that takes it"),
        }
    }
}

/// The projections of a kernel: name of the output, module of the checkpoint.
fn projections(role: Role) -> &'static [(&'static str, &'static str)] {
    const Q: &str = "self_attn.q_proj";
    const K: &str = "self_attn.k_proj";
    const V: &str = "self_attn.v_proj";
    const GATE: &str = "mlp.gate_proj";
    const UP: &str = "mlp.up_proj";
    match role {
        Q_PROJ => &[(names::Y, Q)],
        K_PROJ => &[(names::Y, K)],
        V_PROJ => &[(names::Y, V)],
        QKV_PROJ => &[(names::K, K), (names::Q, Q), (names::V, V)],
        O_PROJ => &[(names::Y, "self_attn.o_proj")],
        GATE_PROJ => &[(names::Y, GATE)],
        UP_PROJ => &[(names::Y, UP)],
        GATE_UP_PROJ => &[(names::GATE, GATE), (names::UP, UP)],
        DOWN_PROJ => &[(names::Y, "mlp.down_proj")],
        _ => &[],
    }
}

/// Output and input channels of a module of a layer, and whether it has a bias.
fn shape_of(plan: &DecoderPlan, module: &str) -> ([u64; 2], bool) {
    let [hidden, mlp, q_size, kv_size] =
        [plan.hidden_size, plan.intermediate_size, plan.q_size(), plan.kv_size()].map(|size| size as u64);
    match module {
        "self_attn.q_proj" => ([q_size, hidden], plan.qkv_bias),
        "self_attn.k_proj" | "self_attn.v_proj" => ([kv_size, hidden], plan.qkv_bias),
        "self_attn.o_proj" => ([hidden, q_size], plan.o_bias),
        "mlp.down_proj" => ([hidden, mlp], plan.mlp_bias),
        _ => ([mlp, hidden], plan.mlp_bias),
    }
}

impl Graph<'_> {
    /// A projection whose bias is an op of its own.
    ///
    /// # Shapes
    /// `x: [1, in_channels, 1, tokens]`; the result is `[1, out_channels, 1, tokens]`.
    fn kernel(&mut self, layer: usize, name: &str, module: &'static str, x: &Var) -> Result<Var, GraphError> {
        let ([out_channels, in_channels], biased) = shape_of(self.plan(), module);
        let rows = self.matrix(&WeightPath::weight(layer, module), [out_channels, in_channels]);
        let linear = Linear { label: last_name(module), rows, bias: None, kind: WeightKind::Layer };
        if !biased {
            return self.linear(name, x, &linear);
        }
        let product = self.linear(&format!("{name}_product"), x, &linear)?;
        let bias = self.vector(&WeightPath::bias(layer, module), out_channels);
        let bias = self.weights.plain(&bias, &[1, out_channels, 1, 1]);
        let bias = self.ops.constant(&format!("{name}_bias"), bias);
        Ok(self.ops.add(name, &product, &bias)?)
    }

    /// A part of the LM head, from 0.
    fn head_part(&mut self, part: usize, x: &Var) -> Result<Var, GraphError> {
        let plan = self.plan();
        let rows = self.settings.head_parts.get(part).expect("labels name parts that there are");
        let weight = self.matrix(&WeightPath::LM_HEAD, [plan.vocab_size as u64, plan.hidden_size as u64]);
        let rows = weight.with_rows(rows);
        let linear = Linear { label: "lm_head parts", rows, bias: None, kind: WeightKind::LmHead };
        self.linear(names::Y, x, &linear)
    }
}
