//! Palettes whose entries are vectors: each index stands for two to four weights.

use std::collections::BTreeSet;

use half::f16;

use crate::float::{key, value, widen};
use crate::kmeans::Points;
use crate::{ErrorStats, QuantizeError, check_bits, check_finite, check_importance};

/// Points that centers are found for; of more, a regular sample is taken.
const MAX_SAMPLE: usize = 1 << 16;

/// Iterations on all points after those on a sample.
const FINAL_ITERATIONS: usize = 4;

/// How weights are grouped into vectors.
///
/// A tensor is `[outer, vector axis, inner]`; `width` neighbours on the vector axis form a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorLayout {
    /// Weights per vector, 2 to 4.
    pub width: usize,
    /// Weights between neighbours on the vector axis: 1 if it is the last one; the product of the axes behind it, which are
    /// the columns if the axis is that of output channels.
    pub inner: usize,
}

/// A palette of vectors, with the indices of the weights that it was made for.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPalette {
    /// `2^bits` vectors, one after the other.
    pub entries: Vec<f16>,
    /// One index per vector, in the order `[outer, vector axis / width, inner]`.
    pub indices: Vec<u8>,
    /// The error.
    pub stats: ErrorStats,
}

/// Makes a palette of `2^bits` vectors and assigns each vector of weights to its nearest entry.
///
/// With `importance`, each squared error counts that many times for the palette and the assignment; the error that is
/// reported counts each weight once.
///
/// ```
/// use anec_quantize::{VectorLayout, palettize_vectors};
/// use half::f16;
///
/// // Two rows of three columns; a vector is a column.
/// let weights = [1.0, 2.0, 1.0, 10.0, 20.0, 10.0].map(f16::from_f32);
/// let layout = VectorLayout { width: 2, inner: 3 };
/// let palette = palettize_vectors(&weights, layout, 1, None)?;
/// assert_eq!(palette.entries, [1.0, 10.0, 2.0, 20.0].map(f16::from_f32));
/// assert_eq!(palette.indices, [0, 1, 0]);
/// # Ok::<(), anec_quantize::QuantizeError>(())
/// ```
///
/// # Errors
/// There are no weights, one is not finite, they are not whole vectors, the width is not 2 to 4, `bits` is not 1 to 8, or
/// there is not one finite importance that is not negative for each weight.
pub fn palettize_vectors(
    weights: &[f16],
    layout: VectorLayout,
    bits: u8,
    importance: Option<&[f32]>,
) -> Result<VectorPalette, QuantizeError> {
    check_bits(bits)?;
    if weights.is_empty() {
        return Err(QuantizeError::Empty);
    }
    check_finite(weights)?;
    if let Some(importance) = importance {
        if importance.len() != weights.len() {
            return Err(QuantizeError::ImportanceLength { weights: weights.len(), importance: importance.len() });
        }
        check_importance(importance.iter().map(|importance| f64::from(*importance)))?;
    }
    // Where no weight is important, all are equally.
    let importance = importance.filter(|importance| importance.iter().any(|importance| *importance > 0.0));
    match layout.width {
        2 => palettize::<2>(weights, layout.inner, bits, importance),
        3 => palettize::<3>(weights, layout.inner, bits, importance),
        4 => palettize::<4>(weights, layout.inner, bits, importance),
        width => Err(QuantizeError::Width { width }),
    }
}

fn palettize<const D: usize>(
    weights: &[f16],
    inner: usize,
    bits: u8,
    importance: Option<&[f32]>,
) -> Result<VectorPalette, QuantizeError> {
    let block = inner.checked_mul(D).filter(|block| *block > 0 && weights.len().is_multiple_of(*block));
    let Some(block) = block else {
        return Err(QuantizeError::Vectors { weights: weights.len(), width: D, inner });
    };
    let position = |vector: usize, part: usize| vector / inner * block + part * inner + vector % inner;
    let count = weights.len() / D;
    let vector = |at: usize| -> [f16; D] { std::array::from_fn(|part| weights[position(at, part)]) };
    let points = |count: usize, step: usize| {
        let importance = importance.map(|importance| {
            move |at: usize| -> [f32; D] { std::array::from_fn(|part| importance[position(at * step, part)]) }
        });
        Points::new(count, |at| vector(at * step).map(widen), importance)
    };
    let all = points(count, 1);
    let mut entries = if let Some(vectors) = few_vectors((0..count).map(vector), 1 << bits) {
        vectors
    } else {
        let step = count.div_ceil(MAX_SAMPLE);
        let mut centers = if step == 1 { all.centers(bits) } else { points(count / step, step).centers(bits) };
        if step > 1 {
            all.refine(&mut centers, FINAL_ITERATIONS);
        }
        // Adding zero turns a negative zero into a positive one.
        centers.into_iter().map(|center| center.map(|part| f16::from_f32(part) + f16::ZERO)).collect()
    };
    entries.sort_by_key(|entry| entry.map(key));
    entries.dedup();
    // The indices that are left over stand for the largest entry.
    let largest = entries.last().copied().unwrap_or([f16::ZERO; D]);
    entries.resize(1 << bits, largest);
    let centers: Vec<[f32; D]> = entries.iter().map(|entry| entry.map(widen)).collect();
    let indices = all.indices(&centers);
    let pairs = indices.iter().enumerate().flat_map(|(at, index)| {
        let center = centers[usize::from(*index)];
        vector(at).into_iter().zip(center).map(|(weight, stored)| (widen(weight), stored))
    });
    let stats = ErrorStats::of_pairs(pairs);
    Ok(VectorPalette { entries: entries.into_iter().flatten().collect(), indices, stats })
}

/// The distinct vectors, if there are at most `limit`.
fn few_vectors<const D: usize>(vectors: impl Iterator<Item = [f16; D]>, limit: usize) -> Option<Vec<[f16; D]>> {
    let mut distinct = BTreeSet::new();
    for vector in vectors {
        distinct.insert(vector.map(key));
        if distinct.len() > limit {
            return None;
        }
    }
    Some(distinct.into_iter().map(|keys| keys.map(value)).collect())
}
