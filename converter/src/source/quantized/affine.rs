//! Weights that are `(code - zero) * scale + bias`, with codes of few bits, and the others for groups of columns.

use std::ops::Range;

use super::numbers::{Kind, bits, word};
use super::parts::Stored;
use crate::source::checkpoint::{Decode, DecodeError, Part, Tensor};

/// Bits of a word.
const WORD: usize = 32;

/// Where in the parts of a weight something is.
type Index = usize;

/// Where the code of an element is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Codes {
    /// Rows of codes, `[out, in]`, each code the bits after those of the code before it; `row` bytes a row.
    Rows { width: usize, row: usize },
    /// Rows of whole numbers.
    Numbers(Kind),
    /// Words of codes of successive inputs, `[in / codes in a word, out]`.
    InputWords { width: usize },
    /// Words of codes of successive outputs in some order, `[in, out / codes in a word]`.
    OutputWords { width: usize, order: [usize; 8] },
}

/// Numbers for blocks of rows and groups of columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) part: Index,
    pub(super) kind: Kind,
    /// Rows that share a number.
    pub(super) rows: usize,
    /// From the number of a block of rows to that of the next.
    pub(super) row_step: usize,
    /// From the number of a group to that of the next.
    pub(super) group_step: usize,
}

/// The code that stands for zero.
#[derive(Clone, Copy, Debug)]
pub(super) enum Zero {
    /// The same everywhere.
    Constant(f32),
    /// Codes of successive outputs in words. What is stored is `add` less, and counted from `from`.
    Words {
        part: Index,
        width: usize,
        row_step: usize,
        group_step: usize,
        order: Option<[usize; 8]>,
        add: u32,
        from: f32,
    },
}

/// Which group a column is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Groups {
    /// Groups of successive columns.
    Width(usize),
    /// A number for each column.
    Listed { part: Index, kind: Kind },
}

/// Decodes rows of one weight. The codes are the first part.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) group_count: usize,
    pub(super) codes: Codes,
    pub(super) zero: Zero,
    pub(super) scale: Grid,
    pub(super) bias: Option<Grid>,
    pub(super) groups: Groups,
    /// A factor of all of it.
    pub(super) factor: f32,
}

impl Affine {
    /// The tensor of these parts, in the order of their indices.
    pub(super) fn tensor(self, parts: Vec<Stored>) -> Tensor {
        let parts: Vec<Part> = parts.into_iter().map(|stored| stored.part).collect();
        Tensor::decoded(vec![self.rows, self.columns], parts, Box::new(self))
    }

    fn code(&self, bytes: &[u8], row: usize, column: usize) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "codes have at most eight bits")]
        let float = |code: u32| code as f32;
        match self.codes {
            Codes::Rows { width, row: row_bytes } => {
                let row = bytes.get(row * row_bytes..(row + 1) * row_bytes).unwrap_or_default();
                float(bits(row, column * width, width))
            }
            Codes::Numbers(kind) => kind.get(bytes, row * self.columns + column).unwrap_or(f32::NAN),
            Codes::InputWords { width } => {
                let count = WORD / width;
                let word = word(bytes, column / count * self.rows + row);
                float(word >> (width * (column % count)) & ((1 << width) - 1))
            }
            Codes::OutputWords { width, order } => {
                let count = WORD / width;
                let word = word(bytes, column * (self.rows / count) + row / count);
                float(word >> (width * order[row % count]) & ((1 << width) - 1))
            }
        }
    }

    fn zero(&self, parts: &[&[u8]], row: usize, group: usize) -> Option<f32> {
        match self.zero {
            Zero::Constant(zero) => Some(zero),
            Zero::Words { part, width, row_step, group_step, order, add, from } => {
                let (count, mask) = (WORD / width, (1_u32 << width) - 1);
                let word = word(parts.get(part)?, row / count * row_step + group * group_step);
                let place = order.map_or(row % count, |order| order[row % count]);
                #[expect(clippy::cast_precision_loss, reason = "codes have at most eight bits")]
                let code = ((word >> (width * place)).wrapping_add(add) & mask) as f32;
                Some(code - from)
            }
        }
    }

    /// The group of every column.
    fn columns_to_groups(&self, parts: &[&[u8]]) -> Result<Vec<usize>, DecodeError> {
        match self.groups {
            Groups::Width(width) => Ok((0..self.columns).map(|column| column / width.max(1)).collect()),
            Groups::Listed { part, kind } => {
                let bytes = parts.get(part).copied().unwrap_or_default();
                let group = |column: usize| {
                    let found = kind.get(bytes, column).unwrap_or(f32::NAN);
                    index(found, self.group_count).ok_or_else(|| DecodeError {
                        expected: format!("a group below {} for column {column}", self.group_count),
                        found: found.to_string(),
                    })
                };
                (0..self.columns).map(group).collect()
            }
        }
    }
}

/// A whole number below a count.
pub(super) fn index(number: f32, count: usize) -> Option<usize> {
    #[expect(clippy::cast_precision_loss, reason = "counts of groups and columns are below 2^24")]
    let is_index = number >= 0.0 && number < count as f32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared before")]
    is_index.then_some(number as usize)
}

impl Grid {
    fn get(&self, parts: &[&[u8]], row: usize, group: usize) -> Option<f32> {
        let index = row / self.rows.max(1) * self.row_step + group * self.group_step;
        self.kind.get(parts.get(self.part)?, index)
    }
}

impl Decode for Affine {
    fn span(&self, part: usize, rows: &Range<usize>) -> Option<Range<usize>> {
        let row = match self.codes {
            _ if part > 0 => return None,
            Codes::Rows { row, .. } => row,
            Codes::Numbers(_) => self.columns,
            Codes::InputWords { .. } | Codes::OutputWords { .. } => return None,
        };
        Some(rows.start * row..rows.end * row)
    }

    fn rows(&self, parts: &[&[u8]], rows: &Range<usize>, out: &mut Vec<f32>) -> Result<(), DecodeError> {
        out.clear();
        out.reserve_exact(rows.len() * self.columns);
        let groups = self.columns_to_groups(parts)?;
        let codes = parts.first().copied().unwrap_or_default();
        let missing = || DecodeError { expected: "a scale for every group".to_owned(), found: "fewer".to_owned() };
        let mut of_groups = Vec::with_capacity(self.group_count);
        for row in rows.clone() {
            of_groups.clear();
            for group in 0..self.group_count {
                let scale = self.scale.get(parts, row, group).ok_or_else(missing)? * self.factor;
                let bias = self.bias.map_or(Some(0.0), |bias| bias.get(parts, row, group)).ok_or_else(missing)?;
                of_groups.push((self.zero(parts, row, group).ok_or_else(missing)?, scale, bias));
            }
            for (column, group) in groups.iter().enumerate() {
                let (zero, scale, bias) = of_groups.get(*group).copied().ok_or_else(missing)?;
                out.push((self.code(codes, row, column) - zero) * scale + bias);
            }
        }
        Ok(())
    }
}
