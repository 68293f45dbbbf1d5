//! Stored weights against those of a checkpoint, whatever program they stand in.
//!
//! A constant is matched with a tensor by name: the number of the layer and the name of the projection must both be part
//! of it. Where a constant has fewer rows or columns, it is looked for in the tensor.

use anec_mil::evaluate::Tensor;
use anec_schemas::report::{TableQuality, WeightQuality};

use super::metrics::finite;
use crate::oracle::{Checkpoint, OracleConfig, OracleError, rotation_table};

/// Constants with fewer elements are no weights of projections.
const MIN_ELEMENTS: usize = 1024;

/// Elements that a block is looked for with.
const PROBE: usize = 64;

/// The quality of `constant`, or `None` where it is no weight of the checkpoint. `scale` has a factor for each row, by which
/// the program multiplies what the weight gives.
pub(super) fn weight_quality(
    part: &str,
    name: &str,
    constant: &Tensor,
    scale: Option<&Tensor>,
    encoding: &str,
    checkpoint: &Checkpoint,
) -> Result<Option<WeightQuality>, OracleError> {
    let Some([rows, columns]) = matrix(constant) else { return Ok(None) };
    let Some((tensor, layer)) = find(name, checkpoint) else { return Ok(None) };
    let Some(&[tensor_rows, tensor_columns]) = checkpoint.shape(&tensor) else { return Ok(None) };
    if rows > tensor_rows || columns > tensor_columns {
        return Ok(None);
    }
    let source = checkpoint.floats(&tensor)?;
    let block = Block { source: &source, width: tensor_columns, rows, columns };
    let Ok(stored) = constant.as_floats() else { return Ok(None) };
    let scaled;
    let stored: &[f32] = match scale.map(Tensor::as_floats) {
        Some(Ok(scale)) if scale.len() == rows => {
            let rows = stored.chunks_exact(columns).zip(scale.iter());
            scaled = rows.flat_map(|(row, scale)| row.iter().map(move |value| value * scale)).collect::<Vec<_>>();
            &scaled
        }
        _ => &stored,
    };
    let (first_row, first_column) = block.locate(stored, tensor_rows);
    let (mut signal, mut noise, mut error_max) = (0.0, 0.0, 0.0_f64);
    let (mut misassigned, mut misassigned_in_row) = (0, 0);
    let palettized = encoding.starts_with("uint");
    for (row, stored) in stored.chunks_exact(columns).enumerate() {
        let wanted = block.row(first_row + row, first_column);
        for (stored, wanted) in stored.iter().zip(wanted) {
            let error = f64::from(stored - wanted);
            signal += f64::from(*wanted) * f64::from(*wanted);
            noise += error * error;
            error_max = error_max.max(error.abs());
        }
        if palettized {
            let count = misassigned_in(stored, wanted);
            misassigned += count;
            misassigned_in_row = count.max(misassigned_in_row);
        }
    }
    Ok(Some(WeightQuality {
        part: part.to_owned(),
        name: name.to_owned(),
        tensor,
        layer,
        shape: vec![rows as u64, columns as u64],
        encoding: encoding.to_owned(),
        snr_db: (noise > 0.0).then(|| finite(10.0 * (signal / noise).log10())),
        error_max: finite(error_max),
        misassigned,
        misassigned_in_row,
    }))
}

/// The quality of a table of sines or cosines, or `None` where the constant is none.
pub(super) fn table_quality(part: &str, name: &str, constant: &Tensor, config: &OracleConfig) -> Option<TableQuality> {
    let function: fn(f64) -> f64 = match (has_word(name, "cos"), has_word(name, "sin")) {
        (true, false) => f64::cos,
        (false, true) => f64::sin,
        _ => return None,
    };
    let width = *constant.shape().last()?;
    if width != config.head_dim && width != config.head_dim / 2 {
        return None;
    }
    let rows = constant.count() / width;
    let stored = constant.as_floats().ok()?;
    let wanted = rotation_table(config, rows, width, function);
    let error_max = stored.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    Some(TableQuality { part: part.to_owned(), name: name.to_owned(), rows: rows as u64, error_max: finite(error_max) })
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

/// The tensor that a constant was made of, and the number of its layer.
fn find(constant: &str, checkpoint: &Checkpoint) -> Option<(String, Option<u64>)> {
    let names = checkpoint.names();
    let found = names.iter().find_map(|name| {
        let mut parts = name.rsplit('.');
        let (kind, projection) = (parts.next()?, parts.next()?);
        if kind != "weight" || !has_word(constant, projection) {
            return None;
        }
        let layer: Option<u64> = match name.split_once("layers.") {
            Some((_, rest)) => Some(rest.split('.').next()?.parse().ok()?),
            None => None,
        };
        let same_layer = layer.is_none_or(|layer| has_word(constant, &format!("layers_{layer}")));
        same_layer.then(|| ((*name).to_owned(), layer))
    });
    // A tied head is made of the embeddings.
    let tied =
        || names.iter().find(|name| name.ends_with("embed_tokens.weight")).filter(|_| has_word(constant, "lm_head"));
    found.or_else(|| tied().map(|name| ((*name).to_owned(), None)))
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

/// Elements of a row to which another of its values is clearly nearer than the one that is stored.
fn misassigned_in(stored: &[f32], wanted: &[f32]) -> u64 {
    let mut entries = stored.to_vec();
    entries.sort_unstable_by(f32::total_cmp);
    entries.dedup();
    let misassigned = stored.iter().zip(wanted).filter(|(stored, wanted)| {
        let above = entries.partition_point(|entry| entry < wanted);
        let neighbours = [above.checked_sub(1), Some(above)].into_iter().flatten().filter_map(|at| entries.get(at));
        let nearest = neighbours.map(|entry| (entry - **wanted).abs()).fold(f32::INFINITY, f32::min);
        // Entries are rounded to fp16; where two are equally near, either may be taken.
        (**stored - **wanted).abs() > nearest + wanted.abs() / 512.0 + 1e-6
    });
    misassigned.count() as u64
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

    #[test]
    fn a_wrong_entry_shows_as_misassigned_elements() {
        let wanted = [0.0, 0.1, 1.0, 1.1, -1.0, -0.9];
        assert_eq!(misassigned_in(&[0.05, 0.05, 1.05, 1.05, -0.95, -0.95], &wanted), 0);
        assert_eq!(misassigned_in(&[0.05, 0.05, -3.0, -3.0, -0.95, -0.95], &wanted), 2);
    }
}
