//! How fast weights become palettes, indices and packed bits: `cargo bench -p anec-quantize`.
//!
//! Throughput is of weights, on one thread.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to measure")]

use anec_quantize::VectorLayout;
use anec_quantize::{Method, Palettizer, pack, palettize_scaled_rows, palettize_vectors, quantize_rows_int8};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::f16;

/// Columns of the measured rows: the MLP of a small model.
const COLUMNS: usize = 4864;
const ROWS: usize = 64;

/// Nearly normal, as trained weights are: sums of the bytes of a linear congruential generator.
fn weights() -> Vec<f16> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut weight = || {
        let mut sum = 0;
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += state.to_be_bytes().map(i32::from)[..3].iter().sum::<i32>();
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let sum = sum as f32;
        f16::from_f32((sum - 1530.0) / 256.0 * 0.02)
    };
    (0..ROWS * COLUMNS).map(|_| weight()).collect()
}

fn throughput() -> Throughput {
    Throughput::Elements((ROWS * COLUMNS) as u64)
}

fn palettes(criterion: &mut Criterion) {
    let weights = weights();
    for (name, method) in [("fast", Method::Fast), ("exact", Method::Exact)] {
        let mut benches = criterion.benchmark_group(name);
        benches.throughput(throughput()).sample_size(10);
        for bits in [2, 4, 6, 8] {
            for group_rows in [8, ROWS] {
                let id = BenchmarkId::new(format!("{bits} bits"), format!("groups of {group_rows}"));
                let mut palettizer = Palettizer::new(bits, method).unwrap();
                let mut indices = Vec::new();
                benches.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        indices.clear();
                        weights
                            .chunks(group_rows * COLUMNS)
                            .map(|group| palettizer.group(group, &mut indices).unwrap().stats.noise)
                            .sum::<f64>()
                    });
                });
            }
        }
    }
}

fn others(criterion: &mut Criterion) {
    let weights = weights();
    let mut benches = criterion.benchmark_group("others");
    benches.throughput(throughput()).sample_size(10);
    benches.bench_function("row scales, 4 bits", |bencher| {
        bencher.iter(|| palettize_scaled_rows(&weights, COLUMNS, 4, Method::Fast).unwrap());
    });
    benches.bench_function("int8 rows", |bencher| bencher.iter(|| quantize_rows_int8(&weights, COLUMNS).unwrap()));
    benches.bench_function("vectors of 2, 4 bits", |bencher| {
        let layout = VectorLayout { width: 2, inner: COLUMNS };
        bencher.iter(|| palettize_vectors(&weights, layout, 4, None).unwrap());
    });
}

fn packing(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("pack");
    benches.throughput(throughput());
    for bits in [1, 2, 3, 4, 6, 8] {
        let indices: Vec<u8> =
            (0..ROWS * COLUMNS).map(|index| index.to_le_bytes()[0] & (u8::MAX >> (8 - bits))).collect();
        let mut packed = Vec::new();
        benches.bench_function(BenchmarkId::from_parameter(bits), |bencher| {
            bencher.iter(|| {
                packed.clear();
                pack(&indices, bits, &mut packed);
            });
        });
    }
}

criterion_group!(benches, palettes, others, packing);
criterion_main!(benches);
