//! How jobs are cut into blocks of rows: pieces of work of bounded size whose bytes have their own places in a file.
//!
//! A section is a run of rows that is encoded in one way. Weights that share a palette beyond what one block holds are a
//! section of their own, which is read twice: once to count values, once to assign them.

use std::ops::Range;

use anec_mil::DataType;
use anec_quantize::Method;

use crate::options::PaletteMethod;
use crate::weights::weight_file::{Job, Rows, WeightFile};

/// Elements that one block aims at: 2 MiB of fp16, small enough for several in flight and large enough to amortize.
const BLOCK_ELEMENTS: u64 = 1 << 20;

/// Bytes of an fp16.
const FLOAT16_BYTES: u64 = 2;

/// Bytes of a source element, for progress; all sources but fp32 have two.
const PROGRESS_BYTES_PER_ELEMENT: u64 = 2;

/// Rows that are encoded in one way.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The file, by its position in the conversion.
    pub(super) file: usize,
    /// The job, by its position in the file.
    pub(super) job: usize,
    /// The tensor with the rows of the whole job.
    pub(super) source: &'a Rows,
    /// How the rows are encoded.
    pub(super) encoding: Encoding,
    /// Number of its first part among the parts of the conversion.
    pub(super) first_part: usize,
    rows: Range<u64>,
    rows_per_block: u64,
}

/// How rows are encoded, and where their bytes go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Encoding {
    /// As fp16.
    Float16 {
        /// Offset of the data.
        at: u64,
    },
    /// A palette for every group of rows; blocks hold whole groups.
    Groups {
        /// Bits per index.
        bits: u8,
        /// How palettes are found.
        method: Method,
        /// Rows that share a palette.
        group_rows: u64,
        /// Offset of the indices of the job.
        indices_at: u64,
        /// Offset of the palettes of the job.
        palettes_at: u64,
        /// Offset of the scales of the rows of the job.
        scales_at: Option<u64>,
    },
    /// One palette for the whole section.
    Shared {
        /// Bits per index.
        bits: u8,
        /// How palettes are found.
        method: Method,
        /// Offset of the indices of the job.
        indices_at: u64,
        /// Offset of the palette of the section.
        palette_at: u64,
        /// Offset of the scales of the rows of the job.
        scales_at: Option<u64>,
    },
    /// As int8 with a scale for each row.
    Int8 {
        /// Offset of the integers of the job.
        data_at: u64,
        /// Offset of the scales of the job.
        scales_at: u64,
    },
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Section<'_> {
    /// How many blocks there are.
    pub(super) fn block_count(&self) -> usize {
        to_usize((self.rows.end - self.rows.start).div_ceil(self.rows_per_block))
    }

    /// How many parts there are: one a block, and one for a palette that the blocks share.
    pub(super) fn part_count(&self) -> usize {
        self.block_count() + usize::from(self.is_shared())
    }

    /// Whether its blocks wait for a palette.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.encoding, Encoding::Shared { .. })
    }

    /// Whether each row has a scale beside a palette.
    pub(super) fn has_scales(&self) -> bool {
        matches!(
            self.encoding,
            Encoding::Groups { scales_at: Some(_), .. } | Encoding::Shared { scales_at: Some(_), .. }
        )
    }

    /// Bits of an integer or index, where the weights are quantized.
    pub(super) fn bits(&self) -> Option<u8> {
        match self.encoding {
            Encoding::Float16 { .. } => None,
            Encoding::Groups { bits, .. } | Encoding::Shared { bits, .. } => Some(bits),
            Encoding::Int8 { .. } => Some(8),
        }
    }

    /// The rows of a block.
    pub(super) fn block(&self, block: usize) -> Range<u64> {
        let start = self.rows.start.saturating_add(block as u64 * self.rows_per_block);
        start..start.saturating_add(self.rows_per_block).min(self.rows.end)
    }

    /// The number of the part that a block is.
    pub(super) fn part(&self, block: usize) -> usize {
        self.first_part + block
    }

    /// The number of the part that the shared palette is; it follows those of the blocks.
    pub(super) fn palette_part(&self) -> usize {
        self.first_part + self.block_count()
    }

    /// Where a part goes: the indices or weights, then the palettes, then the scales, where there are some.
    pub(super) fn places(&self, part: usize) -> Vec<Place> {
        let block = part.saturating_sub(self.first_part);
        let rows = self.block(block);
        let scales = |at: u64| self.elements_of(&rows, 1, at, 8 * FLOAT16_BYTES);
        match self.encoding {
            Encoding::Float16 { at } => vec![self.elements(&rows, at, 8 * FLOAT16_BYTES)],
            Encoding::Groups { bits, group_rows, indices_at, palettes_at, scales_at, .. } => {
                let palette =
                    |row: u64| palettes_at + (row - self.source.rows.start) / group_rows * palette_bytes(bits);
                let palettes = Place { start: palette(rows.start), end: palette(rows.end) };
                let indices = self.elements(&rows, indices_at, u64::from(bits));
                [indices, palettes].into_iter().chain(scales_at.map(scales)).collect()
            }
            Encoding::Shared { bits, palette_at, .. } if block == self.block_count() => {
                vec![Place { start: palette_at, end: palette_at + palette_bytes(bits) }]
            }
            Encoding::Shared { bits, indices_at, scales_at, .. } => {
                let indices = self.elements(&rows, indices_at, u64::from(bits));
                [indices].into_iter().chain(scales_at.map(scales)).collect()
            }
            Encoding::Int8 { data_at, scales_at } => vec![self.elements(&rows, data_at, 8), scales(scales_at)],
        }
    }

    /// Source bytes of a block, for progress.
    pub(super) fn source_bytes(&self, block: usize) -> u64 {
        let rows = self.block(block);
        (rows.end - rows.start) * self.source.columns * PROGRESS_BYTES_PER_ELEMENT
    }

    fn elements(&self, rows: &Range<u64>, at: u64, bits: u64) -> Place {
        self.elements_of(rows, self.source.columns, at, bits)
    }

    fn elements_of(&self, rows: &Range<u64>, columns: u64, at: u64, bits: u64) -> Place {
        let byte = |row: u64| at + ((row - self.source.rows.start) * columns * bits).div_ceil(8);
        Place { start: byte(rows.start), end: byte(rows.end) }
    }
}

/// Bytes of a palette.
fn palette_bytes(bits: u8) -> u64 {
    FLOAT16_BYTES << bits
}

/// Source bytes that filling `file` reads, for progress.
pub(crate) fn source_bytes(file: &WeightFile) -> u64 {
    file.jobs().iter().map(|job| job.source_elements() * PROGRESS_BYTES_PER_ELEMENT).sum()
}

/// Cuts the jobs of all files.
pub(super) fn sections<'a>(files: impl IntoIterator<Item = &'a WeightFile>) -> Vec<Section<'a>> {
    let mut sections = Vec::new();
    let mut first_part = 0;
    for (file, weights) in files.into_iter().enumerate() {
        for (job, what) in weights.jobs().iter().enumerate() {
            for (source, rows, rows_per_block, encoding) in cut(what) {
                let section = Section { file, job, source, encoding, first_part, rows, rows_per_block };
                first_part += section.part_count();
                sections.push(section);
            }
        }
    }
    sections
}

fn cut(job: &Job) -> Vec<(&Rows, Range<u64>, u64, Encoding)> {
    match job {
        Job::Generated { .. } => Vec::new(),
        Job::Float16 { rows, at } => {
            let encoding = Encoding::Float16 { at: *at };
            vec![(rows, rows.rows.clone(), rows_per_block(rows.columns, DataType::Float16.bits(), 1), encoding)]
        }
        Job::Int8 { rows, data_at, scales_at } => {
            let encoding = Encoding::Int8 { data_at: *data_at, scales_at: *scales_at };
            vec![(rows, rows.rows.clone(), rows_per_block(rows.columns, DataType::Int8.bits(), 1), encoding)]
        }
        Job::Palettized { rows, bits, method, group_rows, indices_at, palettes_at, scales_at } => {
            let (bits, indices_at, palettes_at, scales_at) = (*bits, *indices_at, *palettes_at, *scales_at);
            let method = match method {
                PaletteMethod::Fast => Method::Fast,
                PaletteMethod::Exact => Method::Exact,
            };
            let group_rows = (*group_rows).max(1);
            let width = u32::from(bits);
            let is_large = group_rows.saturating_mul(rows.columns) > BLOCK_ELEMENTS;
            let groups = (rows.rows.end - rows.rows.start) / group_rows;
            // A section must start on a byte; one that holds all rows does.
            if is_large && (groups == 1 || groups_to_bytes(rows.columns, width, group_rows) == 1) {
                let step = rows_per_block(rows.columns, width, 1);
                let group = |group: u64| {
                    let start = rows.rows.start + group * group_rows;
                    let palette_at = palettes_at + group * palette_bytes(bits);
                    (
                        rows,
                        start..start + group_rows,
                        step,
                        Encoding::Shared { bits, method, indices_at, palette_at, scales_at },
                    )
                };
                return (0..groups).map(group).collect();
            }
            let encoding = Encoding::Groups { bits, method, group_rows, indices_at, palettes_at, scales_at };
            vec![(rows, rows.rows.clone(), rows_per_block(rows.columns, width, group_rows), encoding)]
        }
    }
}

/// Rows of a block: whole groups that end on a byte.
fn rows_per_block(columns: u64, bits: u32, group_rows: u64) -> u64 {
    let unit = groups_to_bytes(columns, bits, group_rows).saturating_mul(group_rows);
    let unit_elements = unit.saturating_mul(columns).max(1);
    unit.saturating_mul((BLOCK_ELEMENTS / unit_elements).max(1))
}

/// The fewest groups whose elements fill whole bytes.
fn groups_to_bytes(columns: u64, bits: u32, group_rows: u64) -> u64 {
    let group_bits = (columns % 8) * u64::from(bits) * (group_rows % 8);
    (1..8).find(|groups| (group_bits * groups).is_multiple_of(8)).unwrap_or(8)
}

/// Row numbers come from tensors that are mapped into memory, so they fit.
pub(super) fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: Range<u64>, columns: u64) -> Rows {
        Rows::new("w", rows, columns)
    }

    fn palettized(rows: Rows, bits: u8, group_rows: u64) -> Job {
        let method = PaletteMethod::Fast;
        Job::Palettized { rows, bits, method, group_rows, indices_at: 128, palettes_at: 1 << 40, scales_at: None }
    }

    /// Every byte of the indices and palettes, in the order of the parts.
    fn all_places(job: &Job) -> (Vec<Place>, Vec<Place>) {
        let mut first_part = 0;
        let mut places = (Vec::new(), Vec::new());
        for (source, rows, rows_per_block, encoding) in cut(job) {
            let section = Section { file: 0, job: 0, source, encoding, first_part, rows, rows_per_block };
            for part in first_part..first_part + section.part_count() {
                for place in section.places(part) {
                    if place.start >= 1 << 40 { places.1.push(place) } else { places.0.push(place) }
                }
            }
            first_part += section.part_count();
        }
        places
    }

    #[test]
    fn parts_cover_indices_and_palettes_without_gaps() {
        for (job, elements, bits, groups) in [
            (palettized(rows(16..16 + 896, 4864), 4, 8), 896 * 4864_u64, 4, 112),
            (palettized(rows(0..24, 5), 3, 8), 24 * 5, 3, 3),
            (palettized(rows(0..2048, 2048), 6, 2048), 2048 * 2048, 6, 1),
            (palettized(rows(0..2048, 4096), 2, 1024), 2048 * 4096, 2, 2),
            (palettized(rows(0..3, 1_000_001), 1, 1), 3 * 1_000_001, 1, 3),
        ] {
            let (indices, palettes) = all_places(&job);
            for (places, start, bytes) in
                [(indices, 128, (elements * bits).div_ceil(8)), (palettes, 1 << 40, groups * (2 << bits))]
            {
                assert_eq!(places.first().map(|place| place.start), Some(start), "{job:?}");
                assert_eq!(places.last().map(|place| place.end), Some(start + bytes), "{job:?}");
                assert!(places.windows(2).all(|pair| pair[0].end == pair[1].start), "{job:?}");
            }
        }
    }

    #[test]
    fn large_weights_are_cut_into_blocks_of_bounded_size() {
        let job = palettized(rows(0..128_256, 8192), 4, 128_256);
        let cut = cut(&job);
        assert!(matches!(cut.as_slice(), [(_, _, step, Encoding::Shared { .. })] if step * 8192 <= BLOCK_ELEMENTS));
        assert_eq!(rows_per_block(8192, 4, 8) * 8192, BLOCK_ELEMENTS);
    }
}
