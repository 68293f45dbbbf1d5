//! The work of a conversion: runs of rows, cut into blocks, each a part that the journal knows by its number.

use std::ops::Range;

use crate::weights::encodings::blocks::{Coder, Place, Run, SharedCoder, to_usize};
use crate::weights::rows::Rows;
use crate::weights::storage::Storage;
use crate::weights::weight_file::{Job, WeightFile};

/// Bytes of a source element, for progress; all sources but fp32 have two.
const PROGRESS_BYTES_PER_ELEMENT: u64 = 2;

/// A run of rows of a weight.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// The file, by its position in the conversion.
    pub(super) file: usize,
    /// The job, by its position in the file.
    pub(super) job: usize,
    /// The whole weight.
    pub(super) source: &'a Rows,
    /// How it is stored.
    pub(super) storage: &'a Storage,
    /// Which rows, and how they become bytes.
    pub(super) run: Run,
    /// Number of its first part among the parts of the conversion.
    pub(super) first_part: usize,
}

impl Section<'_> {
    /// How many blocks there are.
    pub(super) fn block_count(&self) -> usize {
        to_usize((self.run.rows.end - self.run.rows.start).div_ceil(self.run.rows_per_block))
    }

    /// How many parts there are: one a block, and one for a palette that the blocks share.
    pub(super) fn part_count(&self) -> usize {
        self.block_count() + usize::from(self.is_shared())
    }

    /// Whether its blocks wait for a palette.
    pub(super) fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// What makes the palette that its blocks wait for.
    pub(super) fn shared(&self) -> Option<&dyn SharedCoder> {
        match &self.run.coder {
            Coder::Alone(_) => None,
            Coder::Shared(coder) => Some(&**coder),
        }
    }

    /// The rows of a block.
    pub(super) fn block(&self, block: usize) -> Range<u64> {
        let Run { rows, rows_per_block, .. } = &self.run;
        let start = rows.start.saturating_add(block as u64 * rows_per_block);
        start..start.saturating_add(*rows_per_block).min(rows.end)
    }

    /// The number of the part that a block is.
    pub(super) fn part(&self, block: usize) -> usize {
        self.first_part + block
    }

    /// The number of the part that the shared palette is; it follows those of the blocks.
    pub(super) fn palette_part(&self) -> usize {
        self.first_part + self.block_count()
    }

    /// Where the bytes of a part go, one place a buffer.
    pub(super) fn places(&self, part: usize) -> Vec<Place> {
        match self.shared() {
            Some(shared) if part == self.palette_part() => vec![shared.palette_place()],
            _ => self.run.coder.places(&self.block(part.saturating_sub(self.first_part))),
        }
    }

    /// Source bytes of a block, for progress.
    pub(super) fn source_bytes(&self, block: usize) -> u64 {
        let rows = self.block(block);
        (rows.end - rows.start) * self.source.columns * PROGRESS_BYTES_PER_ELEMENT
    }
}

/// Source bytes that filling `file` reads, for progress.
pub(crate) fn source_bytes(file: &WeightFile) -> u64 {
    file.jobs().iter().map(|job| job.source_elements() * PROGRESS_BYTES_PER_ELEMENT).sum()
}

/// The work of all files.
pub(super) fn sections<'a>(files: impl IntoIterator<Item = &'a WeightFile>) -> Vec<Section<'a>> {
    let mut sections = Vec::new();
    let mut first_part = 0;
    for (file, weights) in files.into_iter().enumerate() {
        for (job, what) in weights.jobs().iter().enumerate() {
            let Job::Weight(weight) = what else { continue };
            for run in weight.storage.encoding().runs(&weight.rows, &weight.data_offsets()) {
                let (source, storage) = (&weight.rows, &weight.storage);
                let section = Section { file, job, source, storage, run, first_part };
                first_part += section.part_count();
                sections.push(section);
            }
        }
    }
    sections
}
