//! Weights behind a palette, as `constexpr_lut_to_dense` describes them, expanded where they are needed.

use std::sync::Arc;

use crate::evaluate::{Expand, look_up, row_major, sub_byte};

/// A weight whose elements are looked up in tables.
pub(super) struct Palettized {
    indices: Arc<Vec<u8>>,
    bits: usize,
    tables: Vec<f32>,
    /// Elements of the weight.
    shape: Vec<usize>,
    layout: Layout,
}

impl std::fmt::Debug for Palettized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Palettized({} bits, {:?})", self.bits, self.shape)
    }
}

/// Which table an element is looked up in.
enum Layout {
    /// Every run of so many elements has its own table.
    Runs(usize),
    /// Tables by block of each axis, entries of several elements.
    Blocks {
        /// Indices of each axis.
        indices: Vec<usize>,
        /// Indices of each axis that share a table.
        block: Vec<usize>,
        /// Tables of each axis.
        groups: Vec<usize>,
        /// The axis along which an entry's elements lie, and how many there are.
        vector: (usize, usize),
    },
}

impl Palettized {
    /// The form with one table.
    pub(super) fn of_one_table(indices: Arc<Vec<u8>>, tables: Vec<f32>, shape: &[usize]) -> Option<Self> {
        let bits = index_bits(tables.len())?;
        let count: usize = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))?;
        let bytes = count.checked_mul(bits)?.div_ceil(8);
        let fits = indices.len() >= bytes && count > 0;
        fits.then(|| Self { indices, bits, tables, shape: shape.to_vec(), layout: Layout::Runs(count) })
    }

    /// The form with tables by group.
    ///
    /// # Shapes
    /// `lut_shape: [groups of each axis.., entries, vector]`.
    pub(super) fn grouped(
        indices: Arc<Vec<u8>>,
        index_shape: &[usize],
        tables: Vec<f32>,
        lut_shape: &[usize],
        vector_axis: Option<usize>,
    ) -> Option<Self> {
        let [groups @ .., entries, vector] = lut_shape else { return None };
        let bits = index_bits(*entries)?;
        let count: usize = index_shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))?;
        let divides = |(length, groups): (&usize, &usize)| *groups > 0 && length.is_multiple_of(*groups);
        if groups.len() != index_shape.len()
            || !index_shape.iter().zip(groups).all(divides)
            || indices.len() < count.checked_mul(bits)?.div_ceil(8)
            || tables.len() != lut_shape.iter().product::<usize>()
            || count == 0
        {
            return None;
        }
        let mut shape = index_shape.to_vec();
        if let Some(axis) = vector_axis {
            let length = shape.get_mut(axis)?;
            *length = length.checked_mul(*vector)?;
        }
        let only_outer = groups.iter().skip(1).all(|groups| *groups == 1);
        let layout = if *vector == 1 && only_outer {
            Layout::Runs(count / groups.first().copied().unwrap_or(1))
        } else {
            Layout::Blocks {
                indices: index_shape.to_vec(),
                block: index_shape.iter().zip(groups).map(|(length, groups)| length / groups).collect(),
                groups: groups.to_vec(),
                vector: (vector_axis.unwrap_or(0), *vector),
            }
        };
        Some(Self { indices, bits, tables, shape, layout })
    }

    /// The shape of the weight.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The entries of table `table`.
    fn table(&self, table: usize, entries: usize) -> &[f32] {
        self.tables.get(table * entries..(table + 1) * entries).unwrap_or_default()
    }
}

impl Expand for Palettized {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn expand(&self, start: usize, output: &mut [f32]) {
        let entries = 1 << self.bits;
        match &self.layout {
            Layout::Runs(run) => {
                let (mut start, mut output) = (start, output);
                while !output.is_empty() {
                    let count = (run - start % run).min(output.len());
                    let (head, rest) = output.split_at_mut(count);
                    look_up(self.table(start / run, entries), &self.indices, self.bits, start, head);
                    (start, output) = (start + count, rest);
                }
            }
            Layout::Blocks { indices, block, groups, vector: (axis, width) } => {
                let (distances, index_distances, group_distances) =
                    (row_major(&self.shape), row_major(indices), row_major(groups));
                for (offset, output) in output.iter_mut().enumerate() {
                    let (mut rest, mut index, mut table, mut component) = (start + offset, 0, 0, 0);
                    for (at, distance) in distances.iter().enumerate() {
                        let mut place = rest / distance;
                        rest %= distance;
                        if at == *axis {
                            (place, component) = (place / width, place % width);
                        }
                        index += place * index_distances[at];
                        table += place / block[at] * group_distances[at];
                    }
                    let index = usize::from(sub_byte(&self.indices, self.bits, index).unwrap_or(0));
                    *output = self.tables.get((table * entries + index) * width + component).copied().unwrap_or(0.0);
                }
            }
        }
    }
}

/// Bits of an index into a table of so many entries.
fn index_bits(entries: usize) -> Option<usize> {
    matches!(entries, 2 | 4 | 8 | 16 | 64 | 256).then(|| entries.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(indices: &[u8], bits: usize) -> Arc<Vec<u8>> {
        let mut bytes = vec![0; (indices.len() * bits).div_ceil(8)];
        for (at, index) in indices.iter().enumerate() {
            for bit in 0..bits {
                bytes[(at * bits + bit) / 8] |= (index >> bit & 1) << ((at * bits + bit) % 8);
            }
        }
        Arc::new(bytes)
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn any_part_of_a_weight_is_what_its_table_says() {
        for bits in [1, 2, 3, 4, 6, 8] {
            let entries = 1_usize << bits;
            let (rows, columns, groups) = (6, 703, 3);
            let indices: Vec<u8> =
                (0..rows * columns).map(|at| u8::try_from(at * 7 % entries).expect("small")).collect();
            let tables: Vec<f32> = (0..groups * entries).map(|entry| entry as f32).collect();
            let expected: Vec<f32> = indices
                .iter()
                .enumerate()
                .map(|(at, index)| tables[at / (2 * columns) * entries + usize::from(*index)])
                .collect();
            let packed = packed(&indices, bits);
            let weight = Palettized::grouped(packed, &[rows, columns], tables, &[groups, 1, entries, 1], None);
            let weight = weight.expect("fits");
            for (start, count) in [(0, rows * columns), (1, 5), (2, 2100), (3, 701), (4, 2000), (1405, 4), (4217, 1)] {
                let mut output = vec![-1.0; count];
                weight.expand(start, &mut output);
                assert_eq!(output, expected[start..start + count], "{bits} bits from {start}");
            }
        }
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let grouped = |shape: &[usize], lut: &[usize]| {
            let tables = vec![0.0; lut.iter().product()];
            Palettized::grouped(packed(&[0; 8], 4), shape, tables, lut, None).is_some()
        };
        assert!(grouped(&[2, 4], &[2, 1, 16, 1]));
        assert!(!grouped(&[2, 5], &[2, 1, 16, 1]));
        assert!(!grouped(&[2, 4], &[3, 1, 16, 1]));
        assert!(!grouped(&[2, 4], &[2, 1, 15, 1]));
        assert!(!grouped(&[2, 4], &[2, 16, 1]));
    }
}
