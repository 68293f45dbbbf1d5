//! Elements of a GGUF tensor: blocks decoded by candle, and what llama.cpp did to the weights undone.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;

use super::types::Storage;
use crate::source::checkpoint::{Decode, DecodeError, SourceDtype};

/// Largest alignment of a block.
const ALIGNMENT: usize = 8;

/// What llama.cpp made of a weight of transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Change {
    /// Rows of a head, where the two halves of every head were interleaved.
    pub(super) interleaved: Option<usize>,
    /// What was added.
    pub(super) added: f32,
}

/// Decodes rows of one tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) storage: Storage,
    /// Bytes of a row, a whole number of blocks.
    pub(super) row_bytes: usize,
    /// Elements of a row.
    pub(super) row_elements: usize,
    pub(super) change: Change,
}

impl Rows {
    /// The row of the file that holds a row of transformers.
    ///
    /// # Source
    /// `LlamaModel.permute` of llama.cpp's `convert_hf_to_gguf.py`: `reshape(heads, 2, head / 2, …).swapaxes(1, 2)`.
    fn stored_row(&self, row: usize) -> usize {
        match self.change.interleaved {
            Some(head) if head >= 2 => {
                let (first, within) = (row - row % head, row % head);
                let half = head / 2;
                first + 2 * (within % half) + within / half
            }
            _ => row,
        }
    }
}

impl Decode for Rows {
    fn span(&self, _part: usize, rows: &Range<usize>) -> Option<Range<usize>> {
        let (mut start, mut end) = (rows.start, rows.end);
        if let Some(head) = self.change.interleaved.filter(|head| *head > 0) {
            (start, end) = (start - start % head, end.next_multiple_of(head));
        }
        Some(start * self.row_bytes..end * self.row_bytes)
    }

    fn rows(&self, parts: &[&[u8]], rows: &Range<usize>, out: &mut Vec<f32>) -> Result<(), DecodeError> {
        out.clear();
        let wrong = |expected: String, found: String| DecodeError { expected, found };
        let bytes = parts.first().copied().unwrap_or_default();
        let row = |row: usize| bytes.get(row * self.row_bytes..(row + 1) * self.row_bytes);
        let gathered: Cow<'_, [u8]> = if self.change.interleaved.is_some() {
            let stored = rows.clone().map(|index| row(self.stored_row(index)));
            Cow::Owned(stored.collect::<Option<Vec<_>>>().unwrap_or_default().concat())
        } else {
            Cow::Borrowed(bytes.get(rows.start * self.row_bytes..rows.end * self.row_bytes).unwrap_or_default())
        };
        let count = rows.len() * self.row_elements;
        if gathered.len() != rows.len() * self.row_bytes {
            return Err(wrong(format!("{} rows", rows.len()), format!("{} bytes", gathered.len())));
        }
        match self.storage {
            Storage::Plain(dtype) => plain(dtype, &gathered, out),
            Storage::Blocks(dtype) => {
                let failed = |error: candle_core::Error| wrong(format!("blocks of {dtype:?}"), error.to_string());
                match blocks(dtype, &gathered, count).map_err(failed)? {
                    CpuStorage::F32(elements) => *out = elements,
                    _ => return Err(wrong("fp32 elements".to_owned(), "others".to_owned())),
                }
            }
            Storage::Unread => return Err(wrong("a type that is decoded".to_owned(), "another".to_owned())),
        }
        if self.change.added != 0.0 {
            for element in out.iter_mut() {
                *element -= self.change.added;
            }
        }
        Ok(())
    }
}

fn plain(dtype: SourceDtype, bytes: &[u8], out: &mut Vec<f32>) {
    match dtype {
        SourceDtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        SourceDtype::F16 => {
            out.extend(bytes.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()));
        }
        SourceDtype::BF16 => {
            out.extend(bytes.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()));
        }
    }
}

/// Decodes blocks. candle asks for bytes at the alignment of their numbers, which a file need not have.
fn blocks(dtype: GgmlDType, bytes: &[u8], count: usize) -> candle_core::Result<CpuStorage> {
    if bytes.as_ptr().align_offset(ALIGNMENT) == 0 {
        return dtype.from_data(Cow::Borrowed(bytes)).dequantize(count);
    }
    let mut buffer = vec![0; bytes.len() + ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let aligned = buffer.get_mut(start..start + bytes.len()).expect("room for the bytes at any start");
    aligned.copy_from_slice(bytes);
    dtype.from_data(Cow::Borrowed(aligned)).dequantize(count)
}
