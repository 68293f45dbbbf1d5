//! Which weights of a model are calibrated, by how they are stored.

use std::ops::Range;

use super::error::CalibrateError;
use super::settings::{PaletteShape, Palettes, TensorRows};
use super::weights::matrix_rows;
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::weights::recipe::{Recipe, WeightKind};
use crate::weights::storage::Storage;

/// The palettes of all weights whose storage is calibrated. Where parts of the head do not start at whole groups, each part
/// has palettes of its own.
///
/// # Errors
/// The architecture has layers that calibration does not know.
pub fn palettes(plan: &DecoderPlan, recipe: &Recipe, head_parts: &[Range<u64>]) -> Result<Palettes, CalibrateError> {
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
        if let Some(shape) = calibrated_shape(storage, shape[0]) {
            palettes.insert(TensorRows::of(&rows), shape);
        }
    };
    for layer in 0..plan.num_hidden_layers {
        for (module, shape) in modules {
            add(WeightKind::Layer, &WeightPath::weight(layer, module), shape);
        }
    }
    let head = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, hidden]);
    if let Some(shape) = calibrated_shape(recipe.of(WeightKind::LmHead, &head.tensor), plan.vocab_size) {
        let is_whole = |part: &Range<u64>| part.start.is_multiple_of(shape.group_rows as u64);
        let parts = head_parts.iter().map(|part| TensorRows::of(&head.with_rows(part)));
        if head_parts.iter().all(is_whole) {
            palettes.insert(TensorRows::of(&head), shape);
        } else {
            palettes.extend(parts.map(|part| (part, shape)));
        }
    }
    Ok(palettes)
}

/// The palettes of a weight of so many rows, where its storage is calibrated.
fn calibrated_shape(storage: &Storage, rows: usize) -> Option<PaletteShape> {
    let lut = storage.lut().filter(|_| storage.is_calibrated())?;
    let channels = lut.channels.and_then(|channels| usize::try_from(channels).ok());
    Some(PaletteShape { bits: lut.bits, group_rows: channels.unwrap_or(rows).max(1) })
}
