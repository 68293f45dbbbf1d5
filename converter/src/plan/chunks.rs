//! Which layers go into which package: the fewest that stay under the limit, as equal in bytes as can be.

use std::collections::BTreeMap;
use std::ops::Range;

use super::PlanError;
use crate::graph::families::{Family, Label, Piece};
use crate::graph::{GraphError, ModelSettings};
use crate::options::{Count, Options};
use crate::weights::weight_file::WeightFile;

/// What a layer adds to a weight file.
struct LayerBytes {
    /// Weights of its own.
    own: u64,
    /// Tables that it shares with others of the same file, by name.
    tables: BTreeMap<String, u64>,
}

/// The layers of each chunk.
pub(crate) fn ranges(
    family: &dyn Family,
    settings: &ModelSettings<'_>,
    options: &Options,
) -> Result<Vec<Range<usize>>, PlanError> {
    let layers = settings.plan.num_hidden_layers;
    if !family.cuts_layers() {
        return Ok(std::iter::once(0..layers).collect());
    }
    let bytes = (0..layers).map(|layer| layer_bytes(family, settings, layer)).collect::<Result<Vec<_>, _>>()?;
    let size = |range: Range<usize>| {
        let layers = bytes.get(range).expect("ranges are of layers of the model");
        let tables: BTreeMap<&String, &u64> = layers.iter().flat_map(|layer| &layer.tables).collect();
        layers.iter().map(|layer| layer.own).sum::<u64>() + tables.into_values().sum::<u64>()
    };
    if let Count::Exactly(count) = options.chunks {
        return Ok(balanced(layers, count.get() as usize, &size));
    }
    let limit = options.size_limit().0;
    let mut count = fewest(layers, limit, &size);
    loop {
        let ranges = balanced(layers, count, &size);
        // The layout of a file adds some bytes that the sum of its weights does not have.
        if count == layers || fit(family, settings, &ranges, limit)? {
            return Ok(ranges);
        }
        count += 1;
    }
}

fn layer_bytes(family: &dyn Family, settings: &ModelSettings<'_>, layer: usize) -> Result<LayerBytes, GraphError> {
    let weights = weights_of(family, settings, &(layer..layer + 1))?;
    Ok(LayerBytes { own: weights.checkpoint_bytes(), tables: weights.table_bytes() })
}

/// The weights of the file that has these layers, and what the family puts beside them.
fn weights_of(
    family: &dyn Family,
    settings: &ModelSettings<'_>,
    layers: &Range<usize>,
) -> Result<WeightFile, GraphError> {
    let cuts = [0..layers.start, layers.clone(), layers.end..settings.plan.num_hidden_layers];
    let cuts: Vec<Range<usize>> = cuts.into_iter().filter(|cut| !cut.is_empty()).collect();
    let label: Option<Label> = family.labels(&settings.cut(&cuts)).into_iter().find(|label| label.layers == *layers);
    Piece::weights_of(family, settings, &label.expect("a family makes a piece of every range of layers"))
}

fn fit(
    family: &dyn Family,
    settings: &ModelSettings<'_>,
    ranges: &[Range<usize>],
    limit: u64,
) -> Result<bool, GraphError> {
    for range in ranges {
        if weights_of(family, settings, range)?.size() > limit {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The fewest chunks of which none exceeds `limit`, or one for each layer.
fn fewest(layers: usize, limit: u64, size: &impl Fn(Range<usize>) -> u64) -> usize {
    let (mut count, mut start) = (1, 0);
    for layer in 1..layers {
        if size(start..layer + 1) > limit {
            count += 1;
            start = layer;
        }
    }
    count
}

/// `count` chunks whose largest is as small as can be, and whose sizes are then as close as can be; where that leaves a
/// choice, the earlier chunks have more layers.
fn balanced(layers: usize, count: usize, size: &impl Fn(Range<usize>) -> u64) -> Vec<Range<usize>> {
    let sizes: BTreeMap<(usize, usize), u64> = (0..layers)
        .flat_map(|start| (start + 1..=layers).map(move |end| (start, end)))
        .map(|key| (key, size(key.0..key.1)))
        .collect();
    let size_of =
        |start: usize, end: usize| u128::from(*sizes.get(&(start, end)).expect("every range of layers was measured"));
    let largest = best_split(layers, count, |start, end| Some(size_of(start, end)), u128::max);
    let limit = largest.as_ref().map_or(u128::MAX, |(limit, _)| *limit);
    let square = |start: usize, end: usize| {
        let size = size_of(start, end);
        (size <= limit).then(|| size.saturating_mul(size))
    };
    let split = best_split(layers, count, square, u128::saturating_add).or(largest);
    split.expect("there are as many layers as chunks, or more").1
}

/// The split of `layers` into `count` ranges with the least combined cost; ranges without a cost are not taken.
fn best_split(
    layers: usize,
    count: usize,
    cost: impl Fn(usize, usize) -> Option<u128>,
    combine: impl Fn(u128, u128) -> u128,
) -> Option<(u128, Vec<Range<usize>>)> {
    // For every start, the best split of what is left into the number of chunks of this round.
    let mut best: Vec<Option<(u128, Vec<Range<usize>>)>> = (0..layers)
        .map(|start| cost(start, layers).map(|cost| (cost, std::iter::once(start..layers).collect())))
        .collect();
    for _ in 1..count {
        let longer = (0..layers).map(|start| {
            let mut found: Option<(u128, Vec<Range<usize>>)> = None;
            for end in (start + 1..layers).rev() {
                let (Some(first), Some(Some((rest, ranges)))) = (cost(start, end), best.get(end)) else { continue };
                let total = combine(first, *rest);
                if found.as_ref().is_none_or(|(least, _)| total < *least) {
                    let ranges = std::iter::once(start..end).chain(ranges.iter().cloned()).collect();
                    found = Some((total, ranges));
                }
            }
            found
        });
        best = longer.collect();
    }
    best.into_iter().next().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(sizes: &[u64], count: usize) -> Vec<Range<usize>> {
        balanced(sizes.len(), count, &|range: Range<usize>| sizes[range].iter().sum())
    }

    #[test]
    fn equal_layers_are_spread_evenly_with_the_longer_chunks_first() {
        assert_eq!(split(&[5; 7], 3), [0..3, 3..5, 5..7]);
        assert_eq!(split(&[5; 4], 2), [0..2, 2..4]);
        assert_eq!(split(&[5; 3], 3), [0..1, 1..2, 2..3]);
        assert_eq!(split(&[5; 3], 1).len(), 1);
    }

    #[test]
    fn chunks_are_balanced_by_bytes_not_by_layers() {
        assert_eq!(split(&[9, 1, 1, 1, 1, 1, 4], 2), [0..1, 1..7]);
        assert_eq!(split(&[1, 1, 1, 9], 2), [0..3, 3..4]);
    }

    #[test]
    fn the_fewest_chunks_under_a_limit_are_taken() {
        let size = |range: Range<usize>| 3 * range.len() as u64;
        assert_eq!(fewest(10, 9, &size), 4);
        assert_eq!(fewest(10, 30, &size), 1);
        assert_eq!(fewest(10, 1, &size), 10);
    }
}
