//! Numbers that share a scale and an offset per block, as affine quantization stores weights.

use crate::dtype::DataType;
use crate::evaluate::error::EvaluateError;
use crate::evaluate::numerics::{Numerics, round_to_half};
use crate::evaluate::packed::Expand;
use crate::evaluate::tensor::Tensor;
use crate::ops::decl::InferError;

/// How the axes of a tensor are cut into blocks of one size.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Length, number of blocks, and distance in the list of all blocks, axis by axis. Axes of one block are merged into
    /// those before them.
    axes: Vec<BlockAxis>,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct BlockAxis {
    length: usize,
    blocks: usize,
    distance: usize,
}

impl Blocks {
    /// Cuts each axis of `shape` into as many blocks as `blocks` says.
    ///
    /// # Errors
    /// The ranks differ, or a number of blocks does not divide its axis.
    pub fn new(shape: &[usize], blocks: &[usize]) -> Result<Self, InferError> {
        // An axis without elements may be without blocks.
        let divides =
            shape.iter().zip(blocks).all(|(length, blocks)| length == blocks || length.checked_rem(*blocks) == Some(0));
        if shape.len() != blocks.len() || !divides {
            return Err(InferError::Mismatch(format!("{blocks:?} blocks do not divide the shape {shape:?}")));
        }
        let mut axes: Vec<BlockAxis> = Vec::with_capacity(shape.len());
        for (length, blocks) in shape.iter().copied().zip(blocks.iter().copied()) {
            match axes.last_mut() {
                Some(outer) if blocks == 1 => outer.length *= length,
                Some(outer) if outer.length == 1 => *outer = BlockAxis { length, blocks, distance: 1 },
                _ => axes.push(BlockAxis { length, blocks, distance: 1 }),
            }
        }
        let mut distance = 1;
        for axis in axes.iter_mut().rev() {
            axis.distance = distance;
            distance *= axis.blocks;
        }
        Ok(Self { axes, count: shape.iter().product() })
    }

    /// One block for each index of `axis`.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn along(shape: &[usize], axis: usize) -> Result<Self, InferError> {
        let blocks: Vec<usize> =
            shape.iter().enumerate().map(|(index, length)| if index == axis { *length } else { 1 }).collect();
        Self::new(shape, &blocks)
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Calls `visit(block, first, length)` for each run of elements of one block, where `first` counts from `start` on, for
    /// the elements `start..start + count`.
    pub fn for_each_run(&self, start: usize, count: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let mut done = 0;
        while done < count {
            let mut rest = start + done;
            let (mut block, mut run) = (0, count - done);
            for (position, axis) in self.axes.iter().enumerate().rev() {
                let (index, size) = (rest % axis.length, axis.length / axis.blocks);
                rest /= axis.length;
                block += index / size * axis.distance;
                if position + 1 == self.axes.len() {
                    run = run.min(size - index % size);
                }
            }
            visit(block, done, run);
            done += run;
        }
    }
}

/// `scale * (data - offset)`, computed when it is needed.
#[derive(Debug)]
pub struct Dequantized {
    /// Integers of up to 8 bits, or floats.
    data: Tensor,
    blocks: Blocks,
    /// Of each block.
    scale: Vec<f32>,
    /// Of each block, or empty, which means 0.
    offset: Vec<f32>,
    rounds: bool,
}

impl Dequantized {
    /// The tensor of elements `dtype` that `data` stands for.
    ///
    /// # Shapes
    /// `scale` and `offset` have one element for each of `blocks`; an empty `offset` means 0.
    ///
    /// # Errors
    /// They have another number of elements.
    pub fn new(
        data: Tensor,
        blocks: Blocks,
        scale: Vec<f32>,
        offset: Vec<f32>,
        (dtype, numerics): (DataType, Numerics),
    ) -> Result<Self, EvaluateError> {
        let expected: usize = blocks.axes.iter().map(|axis| axis.blocks).product();
        let fits = scale.len() == expected && (offset.is_empty() || offset.len() == expected);
        if !fits || data.count() != blocks.count {
            let found = format!("{} scales and {} offsets for {expected} blocks", scale.len(), offset.len());
            return Err(InferError::Mismatch(found).into());
        }
        // What can be read once can always be read.
        data.expand_numbers(0, &mut [])?;
        let rounds = numerics != Numerics::F32 && dtype == DataType::Float16;
        Ok(Self { data, blocks, scale, offset, rounds })
    }
}

impl Expand for Dequantized {
    fn count(&self) -> usize {
        self.blocks.count
    }

    fn expand(&self, start: usize, output: &mut [f32]) {
        if self.data.expand_numbers(start, output).is_err() {
            output.fill(f32::NAN);
        }
        self.blocks.for_each_run(start, output.len(), |block, first, length| {
            let scale = self.scale.get(block).copied().unwrap_or(f32::NAN);
            let offset = self.offset.get(block).copied().unwrap_or(0.0);
            for value in output.iter_mut().skip(first).take(length) {
                *value = scale * (*value - offset);
            }
        });
        if self.rounds {
            round_to_half(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks_of(shape: &[usize], blocks: &[usize]) -> Vec<usize> {
        let grid = Blocks::new(shape, blocks).expect("they divide");
        let mut found = Vec::new();
        grid.for_each_run(0, grid.count(), |block, first, length| {
            assert_eq!(first, found.len());
            found.extend(vec![block; length]);
        });
        found
    }

    #[test]
    fn elements_belong_to_the_block_of_their_place() {
        assert_eq!(blocks_of(&[4, 2], &[2, 1]), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(blocks_of(&[2, 4], &[1, 2]), [0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(blocks_of(&[2, 4], &[2, 2]), [0, 0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(blocks_of(&[1, 2, 1, 3], &[1, 2, 1, 3]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(blocks_of(&[2, 2, 2], &[1, 2, 1]), [0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(blocks_of(&[], &[]), [0]);
        assert_eq!(blocks_of(&[0, 4], &[1, 2]), [0; 0]);
    }

    #[test]
    fn a_part_is_cut_as_the_whole() {
        let grid = Blocks::new(&[3, 4], &[3, 2]).expect("they divide");
        let mut runs = Vec::new();
        grid.for_each_run(3, 6, |block, first, length| runs.push((block, first, length)));
        assert_eq!(runs, [(1, 0, 1), (2, 1, 2), (3, 3, 2), (4, 5, 1)]);
    }

    #[test]
    fn blocks_that_do_not_divide_are_refused() {
        assert!(Blocks::new(&[4], &[3]).is_err());
        assert!(Blocks::new(&[4], &[0]).is_err());
        assert!(Blocks::new(&[4, 2], &[2]).is_err());
    }

    #[test]
    fn weights_are_rounded_where_fp16_is() {
        let weight = |numerics| {
            let data = Tensor::integers(DataType::Int8, &[2], vec![-128, 3]).expect("2 elements");
            let blocks = Blocks::new(&[2], &[1]).expect("1 divides 2");
            let weight = Dequantized::new(data, blocks, vec![0.1], vec![1.0], (DataType::Float16, numerics));
            let mut output = [0.0; 2];
            weight.expect("a scale and an offset").expand(0, &mut output);
            output
        };
        assert_eq!(weight(Numerics::F32), [0.1_f32 * -129.0, 0.1 * 2.0]);
        let rounded = |value: f32| half::f16::from_f32(value).to_f32();
        let found = weight(Numerics::Fp16(crate::evaluate::Accumulator::F32));
        assert_eq!(found, [rounded(0.1 * -129.0), rounded(0.1 * 2.0)]);
    }
}
