//! Fills weight files: reads rows, encodes them, writes them where they were planned to be.
//!
//! Workers take blocks of rows from one queue over all files. A block is read, encoded and written by one worker, so
//! memory is bounded by a block for each, whatever the size of a tensor, and no worker waits for another's block. Where
//! bytes go and what they are does not depend on which worker comes when.

mod queue;
pub(crate) mod read;
mod section;
mod share;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anec_mil::blob::BlobError;
use anec_quantize::{ErrorStats, Histogram, Palette, QuantizeError};
use half::f16;
use indicatif::ProgressBar;
use rayon::prelude::*;

use self::queue::{Next, Queue, StopOnPanic, Unit};
use self::section::{Section, sections};
use self::target::Target;
use crate::calibrate::{CalibrateError, CalibrationStore};
use crate::error::Hint;
use crate::interrupt::Interrupt;
use crate::options::Share;
use crate::output::staging::{FinishedPart, Journal};
use crate::source::checkpoint::{Checkpoint, CheckpointError};
use crate::weights::encodings::blocks::{Block, Coder, Scratch, append_little_endian, to_usize};
use crate::weights::rows::Rows;
use crate::weights::weight_file::WeightFile;

pub(crate) use self::section::source_bytes;
pub(crate) use self::share::Span;
pub(crate) use self::target::Destination;

/// Blocks that the system is asked to load ahead, for each worker.
const BLOCKS_AHEAD: usize = 4;

/// A weight file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A weight that cannot be quantized.
    #[error("Cannot quantize `{tensor}`")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// Why.
        #[source]
        source: QuantizeError,
    },
    /// What calibration found cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrateError),
    /// A bug in the plan: blobs that do not fit the layout.
    #[error("Cannot write the weight file as planned")]
    Blob(#[from] BlobError),
    /// The disk.
    #[error("Cannot write the weight file")]
    Io(#[from] io::Error),
}

impl Hint for EmitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Calibration(error) => error.hint(),
            Self::Blob(_) => Some("this is a bug in anec; please report it with the model's config.json".to_owned()),
            Self::Quantize { .. } | Self::Io(_) => None,
        }
    }
}

/// What palettes or integers cost one weight.
#[derive(Clone, Debug)]
pub struct QuantizedWeight {
    /// The tensor.
    pub tensor: String,
    /// Its rows, where it is split.
    pub rows: Range<u64>,
    /// Bits per index or integer.
    pub bits: u8,
    /// The error.
    pub stats: ErrorStats,
}

/// What emission works with.
pub(crate) struct Context<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) progress: &'a ProgressBar,
    pub(crate) journal: &'a Journal,
    pub(crate) interrupt: &'a Interrupt,
    /// What calibration found, where a storage needs it.
    pub(crate) calibration: Option<&'a CalibrationStore>,
}

/// How emission ended.
pub(crate) enum Outcome {
    /// Everything is written.
    Complete(Vec<QuantizedWeight>),
    /// It was asked to stop.
    Interrupted,
}

/// Fills all weight files and calls `complete` with the position of each once it is filled.
///
/// # Errors
/// Of several blocks that fail, that of the first in the order of the files counts.
pub(crate) fn write(
    context: &Context<'_>,
    files: &[(Destination, &WeightFile)],
    complete: impl Fn(usize) + Sync,
) -> Result<Outcome, EmitError> {
    let open = Arc::default();
    let targets = files.iter().map(|(to, weights)| Target::open(&open, to, weights)).collect::<Result<Vec<_>, _>>()?;
    let sections = sections(files.iter().map(|(_, weights)| *weights));
    let part_count = sections.last().map_or(0, |section| section.first_part + section.part_count());
    fill(context, &sections, &targets, &vec![true; part_count], complete)
}

/// Fills `path` with a share of the bytes of all weight files, and gives which they are, in their order there.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_share(
    context: &Context<'_>,
    share: Share,
    path: &Path,
    files: &[&WeightFile],
) -> Result<(Outcome, Vec<Span>), EmitError> {
    let sections = sections(files.iter().copied());
    let owned = share::owned(&sections, share);
    let spans = share::spans(&sections, &owned, files, share)?;
    let targets = Target::open_share(path, files, &spans, share.is_first())?;
    context.progress.set_length(share::owned_bytes(&sections, &owned));
    Ok((fill(context, &sections, &targets, &owned, |_| {})?, spans))
}

/// Does the parts of the work that are `owned`, by the numbers of the parts.
fn fill(
    context: &Context<'_>,
    sections: &[Section<'_>],
    targets: &[Target],
    owned: &[bool],
    complete: impl Fn(usize) + Sync,
) -> Result<Outcome, EmitError> {
    let finished = verified(context, sections, targets);
    // The work of others is none that is left.
    let is_finished: Vec<bool> = owned
        .iter()
        .enumerate()
        .map(|(part, is_owned)| !is_owned || finished.get(part).is_some_and(Option::is_some))
        .collect();
    let left = (0..targets.len()).map(|file| {
        let parts = sections.iter().filter(|section| section.file == file);
        let parts = parts.flat_map(|section| section.first_part..section.first_part + section.part_count());
        AtomicUsize::new(parts.filter(|part| !is_finished.get(*part).copied().unwrap_or(false)).count())
    });
    let emission = Emission {
        context,
        targets,
        sections,
        counts: sections.iter().map(|section| Mutex::new(Count::new(section))).collect(),
        queue: Queue::new(sections, &is_finished, BLOCKS_AHEAD * rayon::current_num_threads()),
        left: left.collect(),
        finished: Mutex::new(finished),
        complete: &complete,
    };
    for (file, left) in emission.left.iter().enumerate() {
        if left.load(Ordering::Relaxed) == 0 {
            complete(file);
        }
    }
    let failures = rayon::broadcast(|_| emission.work());
    if let Some((_, error)) = failures.into_iter().filter_map(Result::err).min_by_key(|(part, _)| *part) {
        return Err(error);
    }
    if context.interrupt.is_set() {
        return Ok(Outcome::Interrupted);
    }
    let finished = emission.finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Outcome::Complete(quantized(sections, &finished)))
}

/// Parts that the journal has and whose bytes are there as it says; by part number.
fn verified(context: &Context<'_>, sections: &[Section<'_>], targets: &[Target]) -> Vec<Option<FinishedPart>> {
    let recorded = context.journal.finished_parts();
    let verify = |section: &Section<'_>, part: usize| {
        let recorded = recorded.get(&part)?;
        let checksum = targets.get(section.file)?.checksum(&section.places(part)).ok()?;
        if checksum != recorded.checksum {
            return None;
        }
        if part != section.palette_part() {
            context.progress.inc(section.source_bytes(part - section.first_part));
        }
        Some(*recorded)
    };
    let parts: Vec<Vec<_>> = sections
        .par_iter()
        .map(|section| {
            let parts = section.first_part..section.first_part + section.part_count();
            parts.map(|part| verify(section, part)).collect()
        })
        .collect();
    parts.into_iter().flatten().collect()
}

/// The errors of the quantized weights, in file order.
fn quantized(sections: &[Section<'_>], finished: &[Option<FinishedPart>]) -> Vec<QuantizedWeight> {
    let mut weights: Vec<QuantizedWeight> = Vec::new();
    let mut last = None;
    for section in sections {
        let Some(bits) = section.storage.quantized_bits() else { continue };
        let mut stats = ErrorStats::default();
        for part in section.first_part..section.first_part + section.part_count() {
            if let Some(Some(part)) = finished.get(part) {
                stats.merge(&part.stats);
            }
        }
        let job = Some((section.file, section.job));
        if let Some(weight) = weights.last_mut().filter(|_| job == last) {
            weight.stats.merge(&stats);
        } else {
            let Rows { tensor, rows, .. } = section.source.clone();
            weights.push(QuantizedWeight { tensor, rows, bits, stats });
        }
        last = job;
    }
    weights
}

/// Values of a section that shares a palette, while they are counted.
struct Count {
    histogram: Option<Histogram>,
    blocks: usize,
    /// Blocks that are merged.
    merged: usize,
    /// Blocks that came before their turn: sums of fractions depend on their order.
    early: BTreeMap<usize, Histogram>,
}

impl Count {
    fn new(section: &Section<'_>) -> Self {
        Self { histogram: None, blocks: section.block_count(), merged: 0, early: BTreeMap::new() }
    }

    /// Adds the values of a block, and gives those of all blocks with the last one.
    fn add(&mut self, block: usize, values: Histogram) -> Option<Histogram> {
        self.early.insert(block, values);
        while let Some(values) = self.early.remove(&self.merged) {
            self.merged += 1;
            match &mut self.histogram {
                Some(histogram) => histogram.merge(&values),
                None => self.histogram = Some(values),
            }
        }
        if self.merged == self.blocks { self.histogram.take() } else { None }
    }
}

/// What a worker keeps from one block to the next.
#[derive(Default)]
struct Worker {
    /// The weights of the block.
    weights: Vec<f16>,
    scratch: Scratch,
}

/// An emission under way.
struct Emission<'a, C> {
    context: &'a Context<'a>,
    targets: &'a [Target],
    sections: &'a [Section<'a>],
    /// By section.
    counts: Vec<Mutex<Count>>,
    queue: Queue<'a>,
    /// Parts that each file waits for.
    left: Vec<AtomicUsize>,
    /// By part.
    finished: Mutex<Vec<Option<FinishedPart>>>,
    complete: &'a C,
}

impl<C: Fn(usize) + Sync> Emission<'_, C> {
    /// Works until there is nothing left; an error comes with the number of its part.
    fn work(&self) -> Result<(), (usize, EmitError)> {
        let _stop = StopOnPanic(&self.queue);
        let mut worker = Worker::default();
        while let Some(Next { unit, ahead }) = self.queue.next() {
            if self.context.interrupt.is_set() {
                self.queue.stop();
                break;
            }
            if let Some((section, block)) =
                ahead.and_then(|(section, block)| Some((self.sections.get(section)?, block)))
            {
                self.context.checkpoint.prefetch_rows(&section.source.tensor, row_range(section, block));
            }
            let (Unit::Encode { section: index, block }
            | Unit::Count { section: index, block }
            | Unit::Assign { section: index, block, .. }) = unit;
            let Some(section) = self.sections.get(index) else { continue };
            let result = match unit {
                Unit::Encode { .. } => self.encode(section, block, None, &mut worker),
                Unit::Assign { palette, .. } => self.encode(section, block, Some(&palette), &mut worker),
                Unit::Count { .. } => self.count(index, section, block, &mut worker),
            };
            if let Err(error) = result {
                self.queue.stop();
                return Err((section.part(block), error));
            }
        }
        Ok(())
    }

    /// Encodes a block and writes it.
    fn encode(
        &self,
        section: &Section<'_>,
        block: usize,
        palette: Option<&Palette>,
        Worker { weights, scratch }: &mut Worker,
    ) -> Result<(), EmitError> {
        let rows = section.block(block);
        read::read(self.context.checkpoint, section.source, &rows, weights)?;
        let calibrated = section.storage.is_calibrated().then(|| {
            let tensor = &section.source.tensor;
            let missing = || CalibrateError::NotStored { tensor: tensor.clone(), start: rows.start, end: rows.end };
            self.context.calibration.ok_or_else(missing)?.rows(tensor, rows.clone())
        });
        let calibrated = calibrated.transpose()?;
        let encoded = Block { source: section.source, weights, calibrated };
        let stats = match (&section.run.coder, palette) {
            (Coder::Alone(coder), _) => coder.encode(&encoded, scratch),
            (Coder::Shared(coder), palette) => {
                let palette = palette.expect("blocks that share a palette are queued with it");
                coder.assign(&encoded, palette, scratch)
            }
        };
        let stats = stats.map_err(|source| quantize_error(section, source))?;
        self.write(section, section.part(block), &scratch.encoded(), stats)?;
        let bytes = section.source_bytes(block);
        // The other half is for counting.
        self.context.progress.inc(if palette.is_some() { bytes - bytes / 2 } else { bytes });
        Ok(())
    }

    /// Counts the values of a block; the last one makes the palette.
    fn count(
        &self,
        index: usize,
        section: &Section<'_>,
        block: usize,
        Worker { weights, .. }: &mut Worker,
    ) -> Result<(), EmitError> {
        let coder = section.shared().expect("only blocks that share a palette are queued to be counted");
        let count = self.counts.get(index).expect("every section has a count");
        let failed = |source| quantize_error(section, source);
        let rows = section.block(block);
        read::read(self.context.checkpoint, section.source, &rows, weights)?;
        let values = coder.count(&Block { source: section.source, weights, calibrated: None }).map_err(failed)?;
        let complete = count.lock().unwrap_or_else(PoisonError::into_inner).add(block, values);
        if !self.is_finished(section.part(block)) {
            self.context.progress.inc(section.source_bytes(block) / 2);
        }
        let Some(histogram) = complete else { return Ok(()) };
        let (palette, stats) = coder.palette(&histogram).map_err(failed)?;
        let mut entries = Vec::new();
        append_little_endian(palette.entries(), &mut entries);
        if !self.is_finished(section.palette_part()) {
            self.write(section, section.palette_part(), &[&entries], stats)?;
        }
        self.queue.assign(index, palette);
        Ok(())
    }

    /// Writes a part, notes that it is finished, and tells when its file is complete.
    fn write(&self, section: &Section<'_>, part: usize, bytes: &[&[u8]], stats: ErrorStats) -> Result<(), EmitError> {
        let Some(target) = self.targets.get(section.file) else { return Ok(()) };
        let mut hasher = crc32fast::Hasher::new();
        let places = section.places(part);
        assert_eq!(places.len(), bytes.len(), "an encoding fills a buffer for each of its places");
        for (place, bytes) in places.into_iter().zip(bytes) {
            let (expected, found) = (place.end - place.start, bytes.len() as u64);
            if expected != found {
                return Err(BlobError::Length { index: section.job, expected, found }.into());
            }
            target.write(place.start, bytes)?;
            hasher.update(bytes);
        }
        let done = FinishedPart { checksum: hasher.finalize(), stats };
        self.context.journal.finish(part, &done)?;
        if let Some(slot) = self.finished.lock().unwrap_or_else(PoisonError::into_inner).get_mut(part) {
            *slot = Some(done);
        }
        if self.left.get(section.file).is_some_and(|left| left.fetch_sub(1, Ordering::AcqRel) == 1) {
            (self.complete)(section.file);
        }
        Ok(())
    }

    fn is_finished(&self, part: usize) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        finished.get(part).is_some_and(Option::is_some)
    }
}

fn quantize_error(section: &Section<'_>, source: QuantizeError) -> EmitError {
    EmitError::Quantize { tensor: section.source.tensor.clone(), source }
}

fn row_range(section: &Section<'_>, block: usize) -> Range<usize> {
    let rows = section.block(block);
    to_usize(rows.start)..to_usize(rows.end)
}

#[cfg(test)]
mod tests;
