//! Which weights of a model are calibrated, by how they are stored.

use super::error::CalibrateError;
use super::settings::{PaletteShape, Palettes, TensorRows};
use super::weights::matrix_rows;
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::weights::recipe::{Recipe, WeightKind};

/// The palettes of all weights whose storage is calibrated.
///
/// # Errors
/// The architecture has layers that calibration does not know.
pub fn palettes(plan: &DecoderPlan, recipe: &Recipe) -> Result<Palettes, CalibrateError> {
    if arch::layer_hook(plan).is_some() {
        return Err(CalibrateError::Unsupported { model_type: plan.model_type.clone() });
    }
    let (hidden, inner) = (plan.hidden_size, plan.intermediate_size);
    let modules = [
        ("self_attn.q_proj", [plan.q_size(), hidden]),
        ("self_attn.k_proj", [plan.kv_size(), hidden]),
        ("self_attn.v_proj", [plan.kv_size(), hidden]),
        ("self_attn.o_proj", [hidden, plan.q_size()]),
        ("mlp.gate_proj", [inner, hidden]),
        ("mlp.up_proj", [inner, hidden]),
        ("mlp.down_proj", [hidden, inner]),
    ];
    let mut palettes = Palettes::new();
    let mut add = |kind, path: &WeightPath, shape| {
        let rows = matrix_rows(plan, path, shape);
        let storage = recipe.of(kind, &rows.tensor);
        if let Some(lut) = storage.lut().filter(|_| storage.is_calibrated()) {
            let group_rows = lut.channels.and_then(|channels| usize::try_from(channels).ok()).unwrap_or(shape[0]);
            palettes.insert(TensorRows::of(&rows), PaletteShape { bits: lut.bits, group_rows });
        }
    };
    for layer in 0..plan.num_hidden_layers {
        for (module, shape) in modules {
            add(WeightKind::Layer, &WeightPath::weight(layer, module), shape);
        }
    }
    add(WeightKind::LmHead, &WeightPath::LM_HEAD, [plan.vocab_size, hidden]);
    Ok(palettes)
}
