//! Where in a checkpoint a weight is, and what becomes of it before it is stored.
//!
//! Layers ask for weights by the paths that transformers gives their modules in `LlamaForCausalLM`. Most checkpoints have
//! tensors of those names; where one has not, its plan says where the weight is instead.

use super::DecoderPlan;
use crate::weights::transform::Transform;

/// A weight by its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightPath {
    /// The layer, from 0; none for a weight of the model.
    pub layer: Option<usize>,
    /// The path of its module within the layer or the model, such as `self_attn.q_proj`.
    pub module: &'static str,
    /// Which of the module's weights: `weight` or `bias`.
    pub parameter: &'static str,
}

impl WeightPath {
    /// The table of token embeddings.
    pub const EMBED_TOKENS: Self = Self::of_model("embed_tokens");
    /// The norm after the last layer.
    pub const NORM: Self = Self::of_model("norm");
    /// The head over the vocabulary.
    pub const LM_HEAD: Self = Self::of_model("lm_head");

    const fn of_model(module: &'static str) -> Self {
        Self { layer: None, module, parameter: "weight" }
    }

    /// The weight of a module of a layer.
    pub fn weight(layer: usize, module: &'static str) -> Self {
        Self { layer: Some(layer), module, parameter: "weight" }
    }

    /// The bias of a module of a layer.
    pub fn bias(layer: usize, module: &'static str) -> Self {
        Self { layer: Some(layer), module, parameter: "bias" }
    }
}

/// Where a weight is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSource {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// Its rows in the tensor, where it is not all of it.
    pub fused: Option<FusedRows>,
    /// What becomes of it, in this order.
    pub transforms: Vec<Transform>,
}

/// A module whose weights are rows of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FusedRows {
    /// The module within a layer that is asked for, such as `self_attn.k_proj`.
    pub module: &'static str,
    /// The module that the checkpoint has, such as `self_attn.qkv_proj`.
    pub tensor_module: &'static str,
    /// The first of its rows there.
    pub first_row: usize,
    /// Rows that the checkpoint's module has.
    pub tensor_rows: usize,
}

/// A transform of every weight with a path that ends like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightTransform {
    /// The module, within a layer or the model.
    pub module: &'static str,
    /// What becomes of its weight and its bias.
    pub transform: Transform,
}

/// What the names of all weights but the head's start with: in checkpoints of models that predict tokens, in those of bare
/// decoders, such as embedding models, and of the text in models with more than text.
const DECODER_PREFIXES: [&str; 4] = ["model.", "", "language_model.model.", "model.language_model."];

/// How a checkpoint names and stores the weights of a decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightNames {
    /// What the names of all weights but the head's start with.
    pub decoder_prefix: &'static str,
    /// What the names of weights start with that are not of the text.
    pub other_parts: &'static [&'static str],
    /// Modules whose weights are rows of others'.
    pub fused: Vec<FusedRows>,
    /// Modules whose weights are changed before they are stored, in this order.
    pub transforms: Vec<WeightTransform>,
}

impl Default for WeightNames {
    /// The names of `LlamaForCausalLM`, nothing fused, nothing changed.
    fn default() -> Self {
        let [decoder_prefix, ..] = DECODER_PREFIXES;
        Self { decoder_prefix, other_parts: &[], fused: Vec::new(), transforms: Vec::new() }
    }
}

impl WeightNames {
    /// The same for a checkpoint that has these tensors, whose names start with what those of token embeddings do.
    #[must_use]
    pub fn named_as(self, is_there: impl Fn(&str) -> bool) -> Self {
        let module = WeightPath::EMBED_TOKENS.module;
        let found = DECODER_PREFIXES.into_iter().find(|prefix| is_there(&format!("{prefix}{module}.weight")));
        Self { decoder_prefix: found.unwrap_or(self.decoder_prefix), ..self }
    }

    /// Whether the checkpoint is a decoder without a head.
    pub fn is_bare(&self) -> bool {
        self.decoder_prefix.is_empty()
    }
}

impl DecoderPlan {
    /// Where a weight is in the checkpoint. A tied head is the token embeddings.
    pub fn source(&self, path: &WeightPath) -> WeightSource {
        let names = &self.weights;
        let WeightPath { layer, module, parameter } = path;
        let of_path = names.transforms.iter().filter(|of| of.module == *module);
        let transforms = of_path.map(|of| of.transform.clone()).collect();
        let fused = names.fused.iter().find(|fused| layer.is_some() && fused.module == *module).copied();
        let module = fused.map_or(*module, |fused| fused.tensor_module);
        let prefix = names.decoder_prefix;
        let tensor = match layer {
            Some(layer) => format!("{prefix}layers.{layer}.{module}.{parameter}"),
            None if *path != WeightPath::LM_HEAD => format!("{prefix}{module}.{parameter}"),
            None if self.tie_word_embeddings => self.source(&WeightPath::EMBED_TOKENS).tensor,
            None => format!("{module}.{parameter}"),
        };
        WeightSource { tensor, fused, transforms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::decoder_plan::testing;

    #[test]
    fn weights_have_the_names_of_transformers() {
        let plan = testing::plan();
        let name = |path: &WeightPath| plan.source(path).tensor;
        assert_eq!(name(&WeightPath::EMBED_TOKENS), "model.embed_tokens.weight");
        assert_eq!(name(&WeightPath::weight(1, "mlp.up_proj")), "model.layers.1.mlp.up_proj.weight");
        assert_eq!(name(&WeightPath::bias(0, "self_attn.q_proj")), "model.layers.0.self_attn.q_proj.bias");
        assert_eq!(name(&WeightPath::LM_HEAD), "lm_head.weight");
        let tied = DecoderPlan { tie_word_embeddings: true, ..plan.clone() };
        assert_eq!(tied.source(&WeightPath::LM_HEAD).tensor, "model.embed_tokens.weight");
        let weights = WeightNames { decoder_prefix: "", ..WeightNames::default() };
        let bare = DecoderPlan { weights, ..plan };
        assert_eq!(bare.source(&WeightPath::NORM).tensor, "norm.weight");
    }

    #[test]
    fn prefixes_are_those_of_the_tensors_that_are_there() {
        let of = |tensor: &str| WeightNames::default().named_as(|name| name == tensor).decoder_prefix;
        assert_eq!(of("model.embed_tokens.weight"), "model.");
        assert_eq!(of("embed_tokens.weight"), "");
        assert_eq!(of("language_model.model.embed_tokens.weight"), "language_model.model.");
        assert_eq!(of("transformer.wte.weight"), "model.");
    }

    #[test]
    fn a_fused_module_stands_for_its_parts() {
        let fused = FusedRows {
            module: "self_attn.k_proj",
            tensor_module: "self_attn.qkv_proj",
            first_row: 16,
            tensor_rows: 32,
        };
        let weights = WeightNames { fused: vec![fused], ..WeightNames::default() };
        let plan = DecoderPlan { weights, ..testing::plan() };
        let source = plan.source(&WeightPath::weight(1, "self_attn.k_proj"));
        assert_eq!(source.tensor, "model.layers.1.self_attn.qkv_proj.weight");
        assert_eq!(source.fused, Some(fused));
        assert_eq!(plan.source(&WeightPath::weight(1, "self_attn.o_proj")).fused, None);
    }

    #[test]
    fn the_transforms_of_a_module_keep_their_order() {
        let scale = |module, factor| WeightTransform { module, transform: Transform::scale(factor) };
        let transforms = vec![scale("norm", 2.0), scale("embed_tokens", 3.0), scale("norm", 4.0)];
        let plan = DecoderPlan { weights: WeightNames { transforms, ..WeightNames::default() }, ..testing::plan() };
        let of = |path: &WeightPath| plan.source(path).transforms;
        assert_eq!(of(&WeightPath::NORM), [Transform::scale(2.0), Transform::scale(4.0)]);
        assert_eq!(of(&WeightPath::LM_HEAD), []);
    }
}
