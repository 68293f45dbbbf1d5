//! What becomes of a block of weights: bytes of a weight file.

use anec_quantize::{ErrorStats, Method, Palette, Palettizer, QuantizeError};
use half::f16;

/// Buffers that a worker uses for one block after the other.
#[derive(Default)]
pub(super) struct Scratch {
    /// The weights of the block.
    pub(super) weights: Vec<f16>,
    indices: Vec<u8>,
    /// The palettizer of the last block with its bits.
    palettizer: Option<(u8, Palettizer)>,
    /// Encoded weights or indices.
    pub(super) data: Vec<u8>,
    /// Encoded palettes.
    pub(super) palettes: Vec<u8>,
}

impl Scratch {
    /// As fp16.
    pub(super) fn float16(&mut self) {
        self.palettes.clear();
        self.data.clear();
        append_little_endian(&self.weights, &mut self.data);
    }

    /// A palette for every group of `group_elements` weights.
    pub(super) fn groups(&mut self, group_elements: usize, bits: u8) -> Result<ErrorStats, QuantizeError> {
        self.indices.clear();
        self.palettes.clear();
        let palettizer = match &mut self.palettizer {
            Some((of, palettizer)) if *of == bits => palettizer,
            slot => &mut slot.insert((bits, Palettizer::new(bits, Method::Fast)?)).1,
        };
        let mut stats = ErrorStats::default();
        for group in self.weights.chunks(group_elements.max(1)) {
            let group = palettizer.group(group, &mut self.indices)?;
            append_little_endian(group.palette.entries(), &mut self.palettes);
            stats.merge(&group.stats);
        }
        self.pack(bits);
        Ok(stats)
    }

    /// Indices in a palette that is there.
    pub(super) fn assigned(&mut self, palette: &Palette, bits: u8) {
        self.palettes.clear();
        self.indices.resize(self.weights.len(), 0);
        palette.assigner().assign(&self.weights, &mut self.indices);
        self.pack(bits);
    }

    fn pack(&mut self, bits: u8) {
        self.data.clear();
        anec_quantize::pack(&self.indices, bits, &mut self.data);
    }
}

/// Appends fp16 values as a weight file has them.
pub(super) fn append_little_endian(values: &[f16], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + 2 * values.len(), 0);
    let (pairs, _) = bytes.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (pair, value) in pairs.iter_mut().zip(values) {
        *pair = value.to_le_bytes();
    }
}
