//! The loop over columns: assign, note the error, let later columns make up for it.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::palettes::GroupPalettes;
use super::{CompensateError, Factor, expect};
use crate::product::{Accum, MatMut, MatRef, matmul};

/// Rows that one thread takes at a time, one lane each.
const ROWS: usize = 64;

/// Rows that one vector holds.
const LANES: usize = 16;

/// Columns whose errors are fed back one by one; those of whole blocks are by a product of matrices.
const BLOCK: usize = 128;

/// What became of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Compensated {
    /// One index per weight.
    pub indices: Vec<u8>,
    /// What each weight was, with what it makes up for: it got the entry nearest to this.
    pub targets: Vec<f32>,
}

/// Assigns every weight to an entry of its row's palette, so that later columns make up for the errors of earlier ones.
///
/// # Shapes
/// `weights: [rows, factor.channels()]`, row-major; so is the result.
///
/// # Errors
/// The weights are not whole rows, or there are not as many palettes as rows need.
pub fn compensate(weights: &[f32], palettes: &GroupPalettes, factor: &Factor) -> Result<Compensated, CompensateError> {
    let channels = factor.channels();
    expect("elements of the last row", weights.len() % channels, 0)?;
    palettes.check(weights.len() / channels)?;
    let feedback = factor.feedback();
    let mut indices = vec![0; weights.len()];
    let mut targets = vec![0.0; weights.len()];
    let pieces = indices.par_chunks_mut(ROWS * channels).zip(targets.par_chunks_mut(ROWS * channels));
    pieces.zip(weights.par_chunks(ROWS * channels)).enumerate().for_each(|(piece, ((indices, targets), weights))| {
        let rows = Rows { weights, order: factor.order(), feedback: &feedback, palettes, first: piece * ROWS };
        rows.assign(indices, targets);
    });
    Ok(Compensated { indices, targets })
}

/// A piece of the weights.
struct Rows<'a> {
    /// `[up to ROWS, channels]`
    weights: &'a [f32],
    order: &'a [usize],
    feedback: &'a [f32],
    palettes: &'a GroupPalettes,
    /// The number of its first row.
    first: usize,
}

impl Rows<'_> {
    fn assign(&self, indices: &mut [u8], targets: &mut [f32]) {
        let channels = self.order.len();
        let count = self.weights.len() / channels;
        let tables: Vec<LaneTable> = (0..ROWS / LANES).map(|group| self.table(group * LANES, count)).collect();
        // Errors of all columns so far: `[channels, ROWS]`.
        let mut errors = vec![0.0_f32; channels * ROWS];
        let mut block = vec![0.0_f32; BLOCK * ROWS];
        let mut found = vec![0_u8; BLOCK * ROWS];
        let arch = Arch::new();
        for start in (0..channels).step_by(BLOCK) {
            let columns = BLOCK.min(channels - start);
            self.load(start, columns, &mut block);
            // What is fed back is the error of the weight itself, not of its target.
            let after = &mut errors[start * ROWS..(start + columns) * ROWS];
            after.copy_from_slice(&block[..columns * ROWS]);
            if start > 0 {
                let feedback = self.feedback.get(start..).unwrap_or_default();
                let feedback = MatRef::from_row_major_slice_with_stride(
                    &feedback[..(start - 1) * channels + columns],
                    start,
                    columns,
                    channels,
                );
                let before = MatRef::from_row_major_slice(&errors[..start * ROWS], start, ROWS);
                let block = MatMut::from_row_major_slice_mut(&mut block[..columns * ROWS], columns, ROWS);
                matmul(block, Accum::Add, feedback.transpose(), before, 1.0);
            }
            let after = &mut errors[start * ROWS..(start + columns) * ROWS];
            for (lane, table) in tables.iter().enumerate() {
                let within = Within { feedback: self.feedback, channels, start, columns, lane, table };
                arch.dispatch(Assign { within, block: &mut block, found: &mut found, errors: &mut *after });
            }
            for (place, channel) in self.order.iter().enumerate().skip(start).take(columns) {
                for row in 0..count {
                    indices[row * channels + channel] = found[(place - start) * ROWS + row];
                    targets[row * channels + channel] = block[(place - start) * ROWS + row];
                }
            }
        }
    }

    /// The weights of some columns, a lane for each row; lanes without a row are zero.
    fn load(&self, start: usize, columns: usize, block: &mut [f32]) {
        block.fill(0.0);
        for (channel, lanes) in self.order[start..start + columns].iter().zip(block.chunks_exact_mut(ROWS)) {
            for (lane, row) in lanes.iter_mut().zip(self.weights.chunks_exact(self.order.len())) {
                *lane = row[*channel];
            }
        }
    }

    /// The palettes of the rows from `from` on; rows that there are not repeat the last.
    fn table(&self, from: usize, count: usize) -> LaneTable {
        let size = 1_usize << self.palettes.bits;
        let mut table = LaneTable { middles: vec![[0.0; LANES]; size - 1], entries: vec![[0.0; LANES]; size] };
        for lane in 0..LANES {
            let row = self.first + (from + lane).min(count.saturating_sub(1));
            let entries = self.palettes.of_row(row);
            for (slot, entry) in table.entries.iter_mut().zip(entries) {
                slot[lane] = entry.to_f32();
            }
            for (slot, pair) in table.middles.iter_mut().zip(entries.windows(2)) {
                // Equal entries stand at the end and share the lowest index.
                slot[lane] =
                    if pair[0] < pair[1] { f32::midpoint(pair[0].to_f32(), pair[1].to_f32()) } else { f32::INFINITY };
            }
        }
        table
    }
}

/// Palettes, a lane for each row.
struct LaneTable {
    middles: Vec<[f32; LANES]>,
    entries: Vec<[f32; LANES]>,
}

/// The columns of a block for one vector of rows.
struct Within<'a> {
    feedback: &'a [f32],
    channels: usize,
    start: usize,
    columns: usize,
    lane: usize,
    table: &'a LaneTable,
}

/// The work on [`Within`], compiled for each instruction set: as a closure it would be compiled for the least of them.
struct Assign<'a> {
    within: Within<'a>,
    /// The targets, without the feedback of the block.
    block: &'a mut [f32],
    found: &'a mut [u8],
    /// The weights, and then their errors.
    errors: &'a mut [f32],
}

impl NullaryFnOnce for Assign<'_> {
    type Output = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the caller")]
    fn call(self) {
        let Self { within, block, found, errors } = self;
        within.assign(block, found, errors);
    }
}

impl Within<'_> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of the caller")]
    fn assign(&self, block: &mut [f32], found: &mut [u8], errors: &mut [f32]) {
        let mut work = [[0.0_f32; LANES]; BLOCK];
        let offset = self.lane * LANES;
        for (work, lanes) in work.iter_mut().zip(block.chunks_exact(ROWS)) {
            work.copy_from_slice(&lanes[offset..offset + LANES]);
        }
        for column in 0..self.columns {
            let target = work[column];
            let mut index = [0_u32; LANES];
            for middle in &self.table.middles {
                for lane in 0..LANES {
                    index[lane] += u32::from(target[lane] > middle[lane]);
                }
            }
            let at = column * ROWS + offset;
            let mut error = [0.0_f32; LANES];
            error.copy_from_slice(&errors[at..at + LANES]);
            for lane in 0..LANES {
                error[lane] -= self.table.entries.get(index[lane] as usize).map_or(0.0, |entries| entries[lane]);
            }
            let row = (self.start + column) * self.channels + self.start;
            let feedback = &self.feedback[row + column + 1..row + self.columns];
            for (work, factor) in work[column + 1..].iter_mut().zip(feedback) {
                for lane in 0..LANES {
                    work[lane] += factor * error[lane];
                }
            }
            for lane in 0..LANES {
                found[at + lane] = index[lane].to_le_bytes()[0];
            }
            block[at..at + LANES].copy_from_slice(&target);
            errors[at..at + LANES].copy_from_slice(&error);
        }
    }
}
