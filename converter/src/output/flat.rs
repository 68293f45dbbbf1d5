//! All weights in one flat file, for the CPU half of clients of kernels: [`source::flat`](crate::source::flat) has its form, and
//! reads it.

use std::io::{self, Write as _};
use std::path::Path;

use fs_err as fs;

use super::emit::EmitError;
use crate::model::decoder_plan::{Activation, AttentionKind, DecoderPlan, NormKind, NormPlacement, QkNorm, WeightPath};
use crate::model::rope::RopeScaling;
use crate::options::FlatType;
use crate::source::checkpoint::Checkpoint;
use crate::source::flat::{FlatWeight, RMS_NORM_EPS, ROPE_THETA, order};

/// Elements that are read at a time.
const ELEMENTS: usize = 1 << 20;

/// The name of the file within a converted directory.
pub(crate) fn name(ty: FlatType) -> String {
    format!("flat_{ty}.bin")
}

/// What such a file cannot say of a model.
pub(crate) fn misfit(decoder: &DecoderPlan) -> Option<String> {
    let is_rotated_so = |plan: &DecoderPlan| {
        plan.layers.iter().all(|layer| {
            layer.attention == AttentionKind::Full
                && layer.rope.as_ref().is_some_and(|rope| {
                    rope.theta == ROPE_THETA && rope.scaling == RopeScaling::Default && rope.rotary_dim == plan.head_dim
                })
        })
    };
    let needs = [
        (decoder.tie_word_embeddings, "a head that is the embeddings".to_owned()),
        (decoder.q_size() == decoder.hidden_size, "as many channels in heads as between layers".to_owned()),
        (decoder.rms_norm_eps == RMS_NORM_EPS, format!("`rms_norm_eps` {RMS_NORM_EPS:e}")),
        (is_rotated_so(decoder), format!("`rope_theta` {ROPE_THETA} in every layer, and no windows")),
        (!decoder.o_bias && !decoder.mlp_bias, "biases of queries, keys and values alone".to_owned()),
        (
            decoder.qk_norm == QkNorm::None
                && decoder.norm_kind == NormKind::Rms
                && decoder.norm_placement == NormPlacement::Pre
                && decoder.activation == Activation::Silu
                && decoder.embedding_scale == 1.0
                && decoder.residual_multiplier == 1.0
                && decoder.logit_scale == 1.0
                && decoder.attention_softcap.is_none()
                && decoder.logit_softcap.is_none(),
            "the layers of Qwen 2".to_owned(),
        ),
    ];
    let (_, need) = needs.into_iter().find(|(holds, _)| !holds)?;
    Some(format!("a flat file of weights (`--flat`) tells sizes alone, and its readers take {need}"))
}

/// Writes the file. Biases that a model does not have are zeros.
///
/// # Errors
/// A weight that has no place in fp16, or the disk.
pub(crate) fn write(
    path: &Path,
    (decoder, positions): (&DecoderPlan, u32),
    checkpoint: &Checkpoint,
    ty: FlatType,
) -> Result<(), EmitError> {
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    let sizes = [
        decoder.hidden_size,
        decoder.intermediate_size,
        decoder.num_hidden_layers,
        decoder.num_attention_heads,
        decoder.num_key_value_heads,
        decoder.vocab_size,
    ];
    let too_large = |_| io::Error::new(io::ErrorKind::InvalidData, "a size of the model does not fit 32 bits");
    for size in sizes {
        file.write_all(&i32::try_from(size).map_err(too_large)?.to_le_bytes())?;
    }
    file.write_all(&i32::try_from(positions).map_err(too_large)?.to_le_bytes())?;
    for weight in order(decoder.num_hidden_layers) {
        let (path, rows) = place(decoder, weight);
        let source = decoder.source(&path);
        let first = source.fused.map_or(0, |fused| fused.first_row);
        if checkpoint.tensor(&source.tensor).is_none() && !decoder.qkv_bias {
            zeros(&mut file, rows, ty)?;
            continue;
        }
        let columns = checkpoint.row_elements(&source.tensor).max(1);
        let at_once = (ELEMENTS / columns).max(1);
        let mut start = first;
        while start < first + rows {
            let end = (start + at_once).min(first + rows);
            append(&mut file, checkpoint, &source.tensor, start..end, ty)?;
            checkpoint.release_rows(&source.tensor, start..end);
            start = end;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

/// Where a weight is in a model, and its rows.
fn place(decoder: &DecoderPlan, weight: FlatWeight) -> (WeightPath, usize) {
    match weight {
        FlatWeight::Embeddings => (WeightPath::EMBED_TOKENS, decoder.vocab_size),
        FlatWeight::Norm => (WeightPath::NORM, decoder.hidden_size),
        FlatWeight::Layer(layer, module, parameter) => {
            let rows = match module {
                "self_attn.k_proj" | "self_attn.v_proj" => decoder.kv_size(),
                "mlp.gate_proj" | "mlp.up_proj" => decoder.intermediate_size,
                _ => decoder.hidden_size,
            };
            let path =
                if parameter == "bias" { WeightPath::bias(layer, module) } else { WeightPath::weight(layer, module) };
            (path, rows)
        }
    }
}

fn append(
    file: &mut impl io::Write,
    checkpoint: &Checkpoint,
    tensor: &str,
    rows: std::ops::Range<usize>,
    ty: FlatType,
) -> Result<(), EmitError> {
    let bytes: Vec<u8> = match ty {
        FlatType::F32 => {
            let mut elements = Vec::new();
            checkpoint.rows_f32(tensor, rows, &mut elements)?;
            elements.into_iter().flat_map(f32::to_le_bytes).collect()
        }
        FlatType::F16 => {
            let mut elements = Vec::new();
            checkpoint.rows_f16(tensor, rows, &mut elements)?;
            elements.into_iter().flat_map(half::f16::to_le_bytes).collect()
        }
    };
    file.write_all(&bytes)?;
    Ok(())
}

fn zeros(file: &mut impl io::Write, count: usize, ty: FlatType) -> io::Result<()> {
    let bytes = match ty {
        FlatType::F32 => 4,
        FlatType::F16 => 2,
    };
    file.write_all(&vec![0; count * bytes])
}
