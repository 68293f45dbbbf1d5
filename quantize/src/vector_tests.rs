//! Palettes of vectors.

use half::f16;

use crate::optimum_tests::Numbers;
use crate::{Method, QuantizeError, VectorLayout, palettize_group, palettize_vectors};

fn gaussian(count: usize) -> Vec<f16> {
    let mut numbers = Numbers(3);
    (0..count).map(|_| f16::from_f64(0.02 * numbers.normal())).collect()
}

/// The stored weight at each position, and the nearest one that the palette allows.
fn noises(weights: &[f16], layout: VectorLayout, entries: &[f16], indices: &[u8]) -> (f64, f64) {
    let (mut noise, mut least) = (0.0, 0.0);
    for (at, index) in indices.iter().enumerate() {
        let base = at / layout.inner * layout.inner * layout.width + at % layout.inner;
        let error = |entry: &[f16]| {
            let parts = entry.iter().enumerate();
            parts
                .map(|(part, entry)| (weights[base + part * layout.inner].to_f64() - entry.to_f64()).powi(2))
                .sum::<f64>()
        };
        noise += error(&entries[usize::from(*index) * layout.width..][..layout.width]);
        least += entries.chunks(layout.width).map(error).fold(f64::INFINITY, f64::min);
    }
    (noise, least)
}

#[test]
fn vectors_get_their_nearest_entry_along_any_axis() {
    let weights = gaussian(24 * 60);
    for (width, inner, bits) in [(2, 60, 4), (2, 1, 6), (3, 20, 4), (4, 60, 3)] {
        let layout = VectorLayout { width, inner };
        let palette = palettize_vectors(&weights, layout, bits, None).expect("whole vectors");
        assert_eq!(palette.entries.len(), width << bits);
        let (noise, least) = noises(&weights, layout, &palette.entries, &palette.indices);
        assert!(noise <= least * 1.00001, "{noise} {least}");
        assert!((palette.stats.noise - noise).abs() <= 1e-5 * noise);
        assert_eq!(palettize_vectors(&weights, layout, bits, None), Ok(palette));
    }
}

#[test]
fn pairs_beat_single_weights_at_the_same_size() {
    let weights = gaussian(1 << 14);
    let layout = VectorLayout { width: 2, inner: 128 };
    let pairs = palettize_vectors(&weights, layout, 8, None).expect("whole vectors");
    let singles = palettize_group(&weights, 4, Method::Exact).expect("finite weights");
    assert!(pairs.stats.noise < 0.95 * singles.stats.noise, "{:?} {:?}", pairs.stats, singles.stats);
}

#[test]
fn few_distinct_vectors_are_kept_exactly() {
    for value in [0.0, -0.0, 1.5, 5.960_464_5e-8, -65504.0] {
        let mut weights = vec![f16::from_f32(value); 64];
        weights[17] = f16::ONE;
        let palette = palettize_vectors(&weights, VectorLayout { width: 4, inner: 1 }, 2, None).expect("whole vectors");
        assert_eq!(palette.stats.max_error.to_bits(), 0);
        assert_eq!(palette.entries.len(), 16);
    }
}

#[test]
fn an_outlier_does_not_take_all_entries() {
    let mut weights = gaussian(4096);
    weights[100] = f16::MAX;
    let palette = palettize_vectors(&weights, VectorLayout { width: 2, inner: 64 }, 4, None).expect("whole vectors");
    assert!(palette.stats.max_error < 0.2, "{:?}", palette.stats);
}

#[test]
fn important_vectors_come_out_better() {
    let weights = gaussian(4096);
    let importance: Vec<f32> = (0..4096).map(|at| if at < 1024 { 50.0 } else { 1.0 }).collect();
    let layout = VectorLayout { width: 2, inner: 1 };
    let noise = |importance: Option<&[f32]>| {
        let palette = palettize_vectors(&weights, layout, 4, importance).expect("whole vectors");
        noises(&weights[..1024], layout, &palette.entries, &palette.indices[..512]).0
    };
    assert!(noise(Some(&importance)) < 0.95 * noise(None));
    assert_eq!(noise(Some(&[0.0; 4096])).to_bits(), noise(None).to_bits());
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let weights = gaussian(12);
    let layout = |width, inner| VectorLayout { width, inner };
    let error = |layout, bits| palettize_vectors(&weights, layout, bits, None).expect_err("does not fit");
    assert_eq!(error(layout(5, 1), 4), QuantizeError::Width { width: 5 });
    assert_eq!(error(layout(2, 4), 4), QuantizeError::Vectors { weights: 12, width: 2, inner: 4 });
    assert_eq!(error(layout(2, 0), 4), QuantizeError::Vectors { weights: 12, width: 2, inner: 0 });
    assert_eq!(error(layout(2, 1), 9), QuantizeError::Bits { bits: 9 });
    let error = palettize_vectors(&weights, layout(2, 1), 4, Some(&[1.0])).expect_err("one importance");
    assert_eq!(error, QuantizeError::ImportanceLength { weights: 12, importance: 1 });
}
