//! Weights of directories that do not say where they came from, such as ANEMLL's: matched by name, as far as names go.
//!
//! A constant is matched with a tensor by name: the number of the layer and the name of the projection must both be part
//! of it. Where a constant has fewer rows or columns, it is looked for in the tensor.

use anec_mil::evaluate::Tensor;
use anec_schemas::report::WeightQuality;

use super::constants::{Constant, Constants};
use super::quality::{self, Compared};
use super::{Source, StoredWeights, layer_of};
use crate::oracle::{Checkpoint, OracleError};

/// Constants with fewer elements are no weights of projections.
const MIN_ELEMENTS: usize = 1024;

/// Elements that a block is looked for with.
const PROBE: usize = 64;

/// What anec's names of weights end in that may be multiplied row by row, and what those of the factors end in.
const SCALED: &str = "_weight_palettized";
const SCALE: &str = "_scale";

/// Compares what names let one recognize. Other matrices are findings.
pub(super) fn compare(
    part: &str,
    constants: &Constants,
    source: &Source<'_>,
    found: &mut StoredWeights,
) -> Result<(), OracleError> {
    for (name, constant) in &constants.0 {
        let function: Option<fn(f64) -> f64> = match (has_word(name, "cos"), has_word(name, "sin")) {
            (true, false) => Some(f64::cos),
            (false, true) => Some(f64::sin),
            _ => None,
        };
        let table = function.and_then(|function| quality::table(part, name, constant, function, source.config));
        let weight = weight_quality(part, name, constant, scale_of(name, constants), source.checkpoint)?;
        if table.is_none() && weight.is_none() && !constant.blobs.is_empty() && matrix(&constant.tensor).is_some() {
            found.origins.findings.push(format!("{part}: no tensor has a name like `{name}`"));
        }
        found.tables.extend(table);
        found.weights.extend(weight);
    }
    Ok(())
}

/// The factors for the rows of a weight, where there are some.
fn scale_of<'a>(name: &str, constants: &'a Constants) -> Option<&'a Tensor> {
    let stem = name.strip_suffix(SCALED)?;
    constants.0.get(&format!("{stem}{SCALE}")).map(|constant| &constant.tensor)
}

/// The quality of `constant`, or `None` where it is no weight of the checkpoint. `scale` has a factor for each row, by which
/// the program multiplies what the weight gives.
fn weight_quality(
    part: &str,
    name: &str,
    constant: &Constant,
    scale: Option<&Tensor>,
    checkpoint: &Checkpoint,
) -> Result<Option<WeightQuality>, OracleError> {
    let Some([rows, columns]) = matrix(&constant.tensor) else { return Ok(None) };
    let Some(tensor) = find(name, checkpoint) else { return Ok(None) };
    let Some(&[tensor_rows, tensor_columns]) = checkpoint.shape(&tensor) else { return Ok(None) };
    if rows > tensor_rows || columns > tensor_columns {
        return Ok(None);
    }
    let source = checkpoint.floats(&tensor)?;
    let block = Block { source: &source, width: tensor_columns, rows, columns };
    let Ok(stored) = constant.tensor.as_floats() else { return Ok(None) };
    let scaled;
    let stored: &[f32] = match scale.map(Tensor::as_floats) {
        Some(Ok(scale)) if scale.len() == rows => {
            scaled = quality::scaled(&stored, columns, &scale);
            &scaled
        }
        _ => &stored,
    };
    let (first_row, first_column) = block.locate(stored, tensor_rows);
    let compared = Compared { part, name, tensor: &tensor, encoding: &constant.encoding, columns, stored };
    Ok(Some(compared.with(|row| block.row(first_row + row, first_column))))
}

/// Rows and columns, where the constant is a matrix of weights: all other axes have one element.
fn matrix(constant: &Tensor) -> Option<[usize; 2]> {
    match *constant.shape() {
        [rows, columns, ref rest @ ..] if rest.iter().all(|size| *size == 1) => {
            (constant.dtype().is_float() && rows > 1 && columns > 1 && rows * columns >= MIN_ELEMENTS)
                .then_some([rows, columns])
        }
        _ => None,
    }
}

/// The tensor that a constant was made of.
fn find(constant: &str, checkpoint: &Checkpoint) -> Option<String> {
    let names = checkpoint.names();
    let found = names.iter().find_map(|name| {
        let mut parts = name.rsplit('.');
        let (kind, projection) = (parts.next()?, parts.next()?);
        if kind != "weight" || !has_word(constant, projection) {
            return None;
        }
        let same_layer = layer_of(name).is_none_or(|layer| has_word(constant, &format!("layers_{layer}")));
        same_layer.then(|| (*name).to_owned())
    });
    // A tied head is made of the embeddings.
    let tied =
        || names.iter().find(|name| name.ends_with("embed_tokens.weight")).filter(|_| has_word(constant, "lm_head"));
    found.or_else(|| tied().map(|name| (*name).to_owned()))
}

/// Whether `word` stands in an identifier, with nothing or an underscore on both sides.
fn has_word(identifier: &str, word: &str) -> bool {
    identifier.match_indices(word).any(|(at, _)| {
        let before = identifier.get(..at).unwrap_or_default();
        let after = identifier.get(at + word.len()..).unwrap_or_default();
        (before.is_empty() || before.ends_with('_')) && (after.is_empty() || after.starts_with('_'))
    })
}

/// A part of a matrix.
struct Block<'a> {
    source: &'a [f32],
    width: usize,
    rows: usize,
    columns: usize,
}

impl Block<'_> {
    /// The part of a row of the source from `first_column` on, as long as a row of the block.
    fn row(&self, row: usize, first_column: usize) -> &[f32] {
        let start = row * self.width + first_column;
        self.source.get(start..start + self.columns).unwrap_or_default()
    }

    /// Where the block lies: the place whose first row differs least.
    fn locate(&self, stored: &[f32], source_rows: usize) -> (usize, usize) {
        let columns = (0..=self.width - self.columns).step_by(if self.columns == self.width { 1 } else { 32 });
        let rows = 0..=source_rows - self.rows;
        let mut best = (0, 0, f64::INFINITY);
        for first_column in columns {
            for row in rows.clone() {
                let probe = self.row(row, first_column).iter().zip(stored).take(PROBE);
                let error: f64 = probe.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                if error < best.2 {
                    best = (row, first_column, error);
                }
            }
        }
        (best.0, best.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_underscores() {
        assert!(has_word("layers_1_q_proj_weight", "layers_1"));
        assert!(!has_word("layers_11_q_proj_weight", "layers_1"));
        assert!(has_word("model_model_layers_3_self_attn_q_proj_weight_palettized", "q_proj"));
        assert!(!has_word("cosine_table", "cos"));
    }

    #[test]
    fn a_block_is_found_where_it_was_taken_from() {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let source: Vec<f32> = (0..64 * 128).map(|at| ((at * 7919) % 8191) as f32).collect();
        let block = Block { source: &source, width: 128, rows: 8, columns: 32 };
        let stored: Vec<f32> = (40..48).flat_map(|row| source[row * 128 + 64..row * 128 + 96].to_vec()).collect();
        assert_eq!(block.locate(&stored, 64), (40, 64));
    }
}
