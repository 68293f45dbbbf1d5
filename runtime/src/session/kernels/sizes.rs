//! What the meta file says about sizes and about what stands between the kernels, checked.

use anec_schemas::contract::kernels::{FUSED, HEAD_NORMS};
use anec_schemas::contract::{Instance, Size};
use anec_schemas::{Glue, Parameters};

use crate::session::{SessionError, inputs};

/// Most layers of a model.
const MOST_LAYERS: usize = 1024;

/// The activation of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU with its distribution function approximated by a hyperbolic tangent.
    GeluTanh,
}

/// Sizes and switches of a model.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) context_length: usize,
    pub(super) columns: usize,
    pub(super) hidden: usize,
    pub(super) mlp: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) rotary_dims: Vec<usize>,
    pub(super) activation: Activation,
    /// Which projections are one program.
    pub(super) fused: bool,
    pub(super) layers: Vec<LayerKind>,
    pub(super) glue: Glue,
}

/// What a layer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerKind {
    /// Tokens that it looks back over, itself included.
    pub(super) window: usize,
    /// Which rotary embedding it has, from 0.
    pub(super) rotation: Option<usize>,
}

fn wrong(key: &'static str, expected: impl Into<String>, found: &dyn ToString) -> SessionError {
    SessionError::Meta { key, expected: expected.into(), found: found.to_string() }
}

impl Sizes {
    /// What the meta file says.
    pub(super) fn of(parameters: &Parameters, fused: bool) -> Result<Self, SessionError> {
        let glue = parameters.glue.clone().ok_or_else(|| wrong("glue", "what stands between kernels", &"missing"))?;
        let size = |key, value: Option<u64>| inputs::size(key, value.unwrap_or(0));
        let rotary_dims = parameters.rotary_dims.iter().map(|dim| inputs::size("rotary_dims", *dim));
        let rotary_dims = rotary_dims.collect::<Result<Vec<_>, _>>()?;
        let (count, found) = (glue.layer_windows.len(), glue.layer_rotations.len());
        if count != found || !(1..=MOST_LAYERS).contains(&count) {
            return Err(wrong("layer_rotations", format!("{count} numbers, and 1 to {MOST_LAYERS} layers"), &found));
        }
        let mut layers = Vec::with_capacity(count);
        for (window, rotation) in glue.layer_windows.iter().zip(&glue.layer_rotations) {
            let window = match window {
                0 => usize::MAX,
                window => usize::try_from(*window).unwrap_or(usize::MAX),
            };
            let rotation = usize::try_from(*rotation).ok().filter(|rotation| *rotation <= rotary_dims.len());
            let rotation = rotation.ok_or_else(|| {
                wrong("layer_rotations", format!("at most {}", rotary_dims.len()), &"a larger number")
            })?;
            layers.push(LayerKind { window, rotation: rotation.checked_sub(1) });
        }
        let activation = match glue.activation.as_str() {
            "silu" => Activation::Silu,
            "gelu_pytorch_tanh" => Activation::GeluTanh,
            other => return Err(wrong("activation", "silu or gelu_pytorch_tanh", &other)),
        };
        let known = [Glue::BEFORE_ATTENTION, Glue::AFTER_ATTENTION, Glue::BEFORE_MLP, Glue::AFTER_MLP];
        let mut places = glue.norms.iter().map(|norm| known.iter().position(|known| known == norm));
        let mut last = None;
        if !places.all(|place| place.is_some() && std::mem::replace(&mut last, place) < place) {
            return Err(wrong("norms", format!("some of {}, in this order", known.join(", ")), &glue.norms.join(", ")));
        }
        let sizes = Self {
            context_length: size("context_length", Some(parameters.context_length))?,
            columns: size("query_length", parameters.query_length)?,
            hidden: size("hidden_size", parameters.hidden_size)?,
            mlp: size("intermediate_size", Some(glue.intermediate_size))?,
            heads: size("num_attention_heads", Some(glue.num_attention_heads))?,
            kv_heads: size("num_key_value_heads", parameters.num_key_value_heads)?,
            head_dim: size("head_dim", parameters.head_dim)?,
            rotary_dims,
            activation,
            fused,
            layers,
            glue,
        };
        if !sizes.heads.is_multiple_of(sizes.kv_heads) {
            return Err(wrong("num_attention_heads", format!("a multiple of {}", sizes.kv_heads), &sizes.heads));
        }
        if let Some(dim) = sizes.rotary_dims.iter().find(|dim| !dim.is_multiple_of(2) || **dim > sizes.head_dim) {
            return Err(wrong("rotary_dims", format!("even numbers up to {}", sizes.head_dim), dim));
        }
        Ok(sizes)
    }

    /// Channels of all query heads.
    pub(super) fn q_size(&self) -> usize {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Channels of all key heads.
    pub(super) fn kv_size(&self) -> usize {
        self.kv_heads.saturating_mul(self.head_dim)
    }

    /// The place of a norm among those of a layer.
    pub(super) fn norm(&self, place: &str) -> Option<usize> {
        self.glue.norms.iter().position(|norm| norm == place)
    }

    /// What the contract says of every file.
    pub(super) fn instance(&self, parameters: &Parameters) -> Instance {
        [
            (Size::QUERY_LENGTH, self.columns),
            (Size::HIDDEN_SIZE, self.hidden),
            (Size::INTERMEDIATE_SIZE, self.mlp),
            (Size::NUM_ATTENTION_HEADS, self.heads),
            (Size::NUM_KEY_VALUE_HEADS, self.kv_heads),
            (Size::HEAD_DIM, self.head_dim),
            (Size::ROTARY_EMBEDDINGS, self.rotary_dims.len()),
        ]
        .into_iter()
        .fold(Instance::default(), |instance, (size, length)| instance.with_size(size, length as u64))
        .with_sizes(Size::ROTARY_DIMS, &parameters.rotary_dims)
        .with_variant(FUSED, self.fused)
        .with_variant(HEAD_NORMS, self.glue.head_norms)
    }
}
