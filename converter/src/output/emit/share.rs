//! Which blocks a share of the work has, and where their bytes go.

use anec_mil::blob::BlobError;

use super::section::Section;
use crate::options::Share;
use crate::weights::weight_file::{Job, WeightFile};

/// Bytes of a weight file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// The file, by its position in the conversion.
    pub(crate) file: usize,
    /// The first byte.
    pub(crate) start: u64,
    /// The byte after the last.
    pub(crate) end: u64,
}

impl Span {
    /// How many there are.
    pub(crate) fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Whether each part of the work belongs to a share, by the number of the part. Shares read about as much; blocks that wait
/// for one palette stay together.
pub(super) fn owned(sections: &[Section<'_>], share: Share) -> Vec<bool> {
    let total = sections.iter().map(source_bytes).sum();
    let mut owned = Vec::new();
    let mut before = 0;
    for section in sections {
        if section.is_shared() {
            owned.extend(std::iter::repeat_n(share.has(before, total), section.part_count()));
            before += source_bytes(section);
            continue;
        }
        for block in 0..section.block_count() {
            owned.push(share.has(before, total));
            before += section.source_bytes(block);
        }
    }
    owned
}

/// Source bytes that the parts of a share read, for progress.
pub(super) fn owned_bytes(sections: &[Section<'_>], owned: &[bool]) -> u64 {
    let is_owned = |part: usize| owned.get(part).copied().unwrap_or(false);
    let blocks = sections.iter().flat_map(|section| {
        (0..section.block_count())
            .filter(|block| is_owned(section.part(*block)))
            .map(|block| section.source_bytes(block))
    });
    blocks.sum()
}

fn source_bytes(section: &Section<'_>) -> u64 {
    (0..section.block_count()).map(|block| section.source_bytes(block)).sum()
}

/// The bytes that a share fills, sorted; with what does not come from the checkpoint where it is the first.
///
/// # Errors
/// There are more blobs in a file than its header can count.
pub(super) fn spans(
    sections: &[Section<'_>],
    owned: &[bool],
    files: &[&WeightFile],
    share: Share,
) -> Result<Vec<Span>, BlobError> {
    let mut spans = Vec::new();
    for section in sections {
        let parts = section.first_part..section.first_part + section.part_count();
        for part in parts.filter(|part| owned.get(*part).copied().unwrap_or(false)) {
            let places = section.places(part).into_iter();
            spans.extend(places.map(|place| Span { file: section.file, start: place.start, end: place.end }));
        }
    }
    for (file, weights) in files.iter().enumerate().filter(|_| share.is_first()) {
        for (start, bytes) in weights.layout().frame()? {
            spans.push(Span { file, start, end: start + bytes.len() as u64 });
        }
        for job in weights.jobs() {
            if let Job::Generated { bytes, at } = job {
                spans.push(Span { file, start: *at, end: at + bytes.len() as u64 });
            }
        }
    }
    Ok(merged(spans))
}

/// Spans that touch become one.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.start < span.end);
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.file == span.file && span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_touch_are_one_span() {
        let span = |file, start, end| Span { file, start, end };
        let spans = vec![span(1, 0, 4), span(0, 8, 12), span(0, 0, 8), span(0, 20, 20), span(0, 13, 14)];
        assert_eq!(merged(spans), [span(0, 0, 12), span(0, 13, 14), span(1, 0, 4)]);
    }
}
