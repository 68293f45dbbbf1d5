//! The weights of a model that is trained, in one vector in the order of llama2.c's checkpoints, and how these are written.
//!
//! # Source
//! karpathy/llama2.c, version 0: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, negative where the
//! classifier has weights of its own, and seq_len), then f32 arrays grouped by kind over all layers, tables of frequencies that
//! nothing reads, and the classifier where it is not the embeddings.

use std::io::{self, Write as _};
use std::ops::Range;
use std::path::Path;

use fs_err as fs;

use crate::source::llama2c::{NORM_EPS, ROPE_THETA};
use crate::training::TrainingShape;

/// Standard deviation of weights that are not trained yet, as in llama2.c.
const INITIAL_DEVIATION: f64 = 0.02;

/// A weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Embedding,
    AttentionNorm(usize),
    Wq(usize),
    Wk(usize),
    Wv(usize),
    Wo(usize),
    FeedForwardNorm(usize),
    W1(usize),
    W2(usize),
    W3(usize),
    Norm,
    Classifier,
}

/// Where each weight is among all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) shape: TrainingShape,
    /// Whether the classifier is the embeddings.
    pub(super) tied: bool,
}

/// A model as a checkpoint has it.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) layout: Layout,
    /// `seq_len` of the header: positions that the model was made for.
    pub(super) positions: usize,
    pub(super) values: Vec<f32>,
}

impl Layout {
    /// Where a weight is.
    pub(super) fn range(&self, weight: Weight) -> Range<usize> {
        let TrainingShape { dim, hidden, layers, vocabulary, .. } = self.shape;
        let (square, wide) = (dim * dim, dim * hidden);
        let kinds = [
            vocabulary * dim,
            layers * dim,
            layers * square,
            layers * square,
            layers * square,
            layers * square,
            layers * dim,
            layers * wide,
            layers * wide,
            layers * wide,
            dim,
            if self.tied { 0 } else { vocabulary * dim },
        ];
        let start = |kind: usize| kinds.iter().take(kind).sum::<usize>();
        let of_layer =
            |kind: usize, layer: usize, size: usize| start(kind) + layer * size..start(kind) + (layer + 1) * size;
        match weight {
            Weight::Embedding => 0..vocabulary * dim,
            Weight::AttentionNorm(layer) => of_layer(1, layer, dim),
            Weight::Wq(layer) => of_layer(2, layer, square),
            Weight::Wk(layer) => of_layer(3, layer, square),
            Weight::Wv(layer) => of_layer(4, layer, square),
            Weight::Wo(layer) => of_layer(5, layer, square),
            Weight::FeedForwardNorm(layer) => of_layer(6, layer, dim),
            Weight::W1(layer) => of_layer(7, layer, wide),
            Weight::W2(layer) => of_layer(8, layer, wide),
            Weight::W3(layer) => of_layer(9, layer, wide),
            Weight::Norm => start(10)..start(11),
            Weight::Classifier if self.tied => self.range(Weight::Embedding),
            Weight::Classifier => start(11)..start(11) + vocabulary * dim,
        }
    }

    /// Numbers of a model.
    pub(super) fn count(&self) -> usize {
        if self.tied { self.range(Weight::Norm).end } else { self.range(Weight::Classifier).end }
    }

    /// Output channels and input channels of a matrix, as it lies.
    pub(super) fn matrix(&self, weight: Weight) -> [usize; 2] {
        let TrainingShape { dim, hidden, vocabulary, .. } = self.shape;
        match weight {
            Weight::Embedding | Weight::Classifier => [vocabulary, dim],
            Weight::AttentionNorm(_) | Weight::FeedForwardNorm(_) | Weight::Norm => [dim, 1],
            Weight::Wq(_) | Weight::Wk(_) | Weight::Wv(_) | Weight::Wo(_) => [dim, dim],
            Weight::W1(_) | Weight::W3(_) => [hidden, dim],
            Weight::W2(_) => [dim, hidden],
        }
    }

    /// Whether llama2.c computes the same with these weights: its checkpoints tell neither the epsilon of norms nor the base of the
    /// rotations. Models that are not rotated are no models of llama2.c either, but the trainers that have them share its files.
    pub(super) fn is_of_llama2c(&self) -> bool {
        let TrainingShape { norm_eps, rope_theta, .. } = self.shape;
        rope_theta.is_none_or(|theta| theta == ROPE_THETA && norm_eps == NORM_EPS)
    }

    /// Whether the optimizer makes a weight smaller: matrices, not norms.
    pub(super) fn decays(&self) -> Vec<Range<usize>> {
        let norms = [
            self.range(Weight::AttentionNorm(0)).start..self.range(Weight::Wq(0)).start,
            self.range(Weight::FeedForwardNorm(0)).start..self.range(Weight::W1(0)).start,
            self.range(Weight::Norm),
        ];
        let mut start = 0;
        let mut kept: Vec<Range<usize>> = Vec::new();
        for norm in norms {
            kept.push(start..norm.start);
            start = norm.end;
        }
        kept.push(start..self.count());
        kept
    }
}

impl Parameters {
    /// A model that is not trained: matrices are normally distributed, those that add to the residual less widely, norms are 1.
    pub(super) fn initial(layout: Layout, positions: usize, seed: u64) -> Self {
        let mut values = vec![1.0; layout.count()];
        for range in layout.decays() {
            for index in range {
                #[expect(clippy::cast_possible_truncation, reason = "weights are singles")]
                let value = (normal(seed, index as u64) * INITIAL_DEVIATION) as f32;
                if let Some(slot) = values.get_mut(index) {
                    *slot = value;
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "models have few layers")]
        let less = 1.0 / (2.0 * layout.shape.layers as f32).sqrt();
        for layer in 0..layout.shape.layers {
            for weight in [Weight::Wo(layer), Weight::W2(layer)] {
                values.get_mut(layout.range(weight)).into_iter().flatten().for_each(|value| *value *= less);
            }
        }
        Self { layout, positions, values }
    }

    /// Writes a checkpoint of llama2.c.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let shape = &self.layout.shape;
        let vocabulary = i32::try_from(shape.vocabulary).unwrap_or(i32::MAX);
        let number = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
        let [dim, hidden, layers, heads] = [shape.dim, shape.hidden, shape.layers, shape.heads].map(number);
        let signed = if self.layout.tied { vocabulary } else { -vocabulary };
        let mut file = io::BufWriter::new(fs::File::create(path)?);
        for number in [dim, hidden, layers, heads, heads, signed, number(self.positions)] {
            file.write_all(&number.to_le_bytes())?;
        }
        let (before, classifier) = self.values.split_at(self.layout.range(Weight::Norm).end);
        write_floats(&mut file, before)?;
        let (cos, sin) = rotations(ROPE_THETA, self.positions, shape.head_dim());
        write_floats(&mut file, &cos)?;
        write_floats(&mut file, &sin)?;
        write_floats(&mut file, classifier)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// A weight.
    pub(super) fn get(&self, weight: Weight) -> &[f32] {
        self.values.get(self.layout.range(weight)).expect("every weight is there")
    }
}

/// Cosines and sines of each position by the base of the frequencies, for each pair of channels: `[positions, head_dim / 2]`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "tables are singles")]
pub(super) fn rotations(theta: f64, positions: usize, head_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let angles = (0..positions).flat_map(|position| {
        (0..head_dim / 2).map(move |pair| position as f64 * theta.powf(-(2.0 * pair as f64) / head_dim as f64))
    });
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}

/// So many little-endian singles.
pub(super) fn floats(file: &mut impl io::Read, count: usize) -> io::Result<Vec<f32>> {
    let mut bytes = vec![0; count * 4];
    file.read_exact(&mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap_or_default())).collect())
}

/// Little-endian singles.
pub(super) fn write_floats(file: &mut impl io::Write, values: &[f32]) -> io::Result<()> {
    values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
}

/// A number of a normal distribution, by its place in a stream: two uniform ones of splitmix64, transformed by Box and Muller.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
fn normal(seed: u64, index: u64) -> f64 {
    let uniform = |lane: u64| {
        let mut state = seed ^ (2 * index + lane).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for factor in [0xBF58_476D_1CE4_E5B9_u64, 0x94D0_49BB_1331_11EB] {
            state = (state ^ (state >> 30)).wrapping_mul(factor);
            state ^= state >> 27;
        }
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    (-2.0 * uniform(0).ln()).sqrt() * (std::f64::consts::TAU * uniform(1)).cos()
}

#[cfg(test)]
mod tests {
    use super::super::transformers;
    use super::*;
    use crate::source::checkpoint::Checkpoint;

    const SHAPE: TrainingShape = TrainingShape {
        dim: 8,
        hidden: 12,
        heads: 2,
        layers: 2,
        sequence: 4,
        vocabulary: 10,
        norm_eps: 1e-5,
        rope_theta: Some(ROPE_THETA),
    };

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_has_the_bytes_of_its_header() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("model.bin");
        for tied in [true, false] {
            let written = Parameters::initial(Layout { shape: SHAPE, tied }, 16, 1);
            written.write(&path).expect("written");
            let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
            let read = transformers::read(&checkpoint, written.layout.clone(), 16).expect("read");
            assert_eq!((&read.layout, read.positions), (&written.layout, 16));
            assert_eq!(read.values, written.values);
        }
    }

    #[test]
    fn models_that_llama2c_would_compute_otherwise_are_known() {
        let layout =
            |norm_eps, rope_theta| Layout { shape: TrainingShape { norm_eps, rope_theta, ..SHAPE }, tied: true };
        assert!(layout(NORM_EPS, Some(ROPE_THETA)).is_of_llama2c() && layout(1e-6, None).is_of_llama2c());
        assert!(!layout(1e-6, Some(ROPE_THETA)).is_of_llama2c() && !layout(NORM_EPS, Some(500_000.0)).is_of_llama2c());
    }

    #[test]
    fn weights_are_spread_as_said_and_norms_are_one() {
        let shape = TrainingShape { vocabulary: 4000, ..SHAPE };
        let model = Parameters::initial(Layout { shape, tied: true }, 16, 7);
        let embedding = model.get(Weight::Embedding);
        let deviation = (embedding.iter().map(|x| x * x).sum::<f32>() / 32_000.0).sqrt();
        assert!((deviation - 0.02).abs() < 1e-3, "{deviation}");
        assert!(model.get(Weight::AttentionNorm(1)).iter().chain(model.get(Weight::Norm)).all(|x| *x == 1.0));
    }
}
