#![expect(clippy::float_cmp, reason = "errors that must be exactly zero, and entries that must be exactly nearest")]
#![expect(clippy::cast_precision_loss, reason = "small counts")]

use half::f16;
use proptest::prelude::*;

use super::*;

/// Seeded numbers that need no crate: splitmix64, summed to something like a normal distribution.
fn gaussian(count: usize, seed: u64) -> Vec<f16> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits")) / f64::from(u32::MAX)
    };
    (0..count).map(|_| f16::from_f64(0.02 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0))).collect()
}

fn noise(weights: &[f16], bits: u8, method: Method) -> f64 {
    palettize_group(weights, bits, method).expect("finite weights").stats.noise
}

/// The least error over all ways to split the sorted weights, by the plain recurrence.
fn brute_force(weights: &[f16], centers: usize) -> f64 {
    let mut sorted: Vec<f64> = weights.iter().map(|weight| weight.to_f64()).collect();
    sorted.sort_by(f64::total_cmp);
    let cost = |start: usize, end: usize| {
        let part = &sorted[start..end];
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        part.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let mut best: Vec<f64> = (0..=sorted.len()).map(|end| if end == 0 { 0.0 } else { cost(0, end) }).collect();
    for _ in 1..centers {
        best = (0..=sorted.len())
            .map(|end| (0..end).map(|start| best[start] + cost(start, end)).fold(best[end], f64::min))
            .collect();
    }
    best[sorted.len()]
}

#[test]
fn exact_is_the_optimum_of_brute_force() {
    for seed in 0..20 {
        let weights = gaussian(60, seed);
        for (bits, centers) in [(1, 2), (2, 4), (3, 8)] {
            let optimum = brute_force(&weights, centers);
            let found = noise(&weights, bits, Method::Exact);
            // Entries are rounded to fp16 after the optimum is found.
            assert!((found - optimum).abs() <= 1e-3 * optimum + 1e-12, "{found} against {optimum}");
        }
    }
}

#[test]
fn fast_stays_near_the_optimum_in_groups_of_rows() {
    for (count, bits, most) in [(8 * 896, 4, 1.02), (8 * 896, 6, 1.04), (8 * 4096, 4, 1.02), (1 << 17, 4, 1.02)] {
        let weights = gaussian(count, 7);
        let ratio = noise(&weights, bits, Method::Fast) / noise(&weights, bits, Method::Exact);
        assert!(ratio <= most, "{count} weights at {bits} bits: {ratio}");
    }
}

#[test]
fn few_distinct_values_are_kept_exactly() {
    let weights: Vec<f16> = [0.5, -0.0, 0.0, -0.25, 0.5].map(f16::from_f32).to_vec();
    let group = palettize_group(&weights, 2, Method::Fast).expect("finite weights");
    assert_eq!(group.stats.noise, 0.0);
    assert_eq!(group.palette.entries(), [-0.25, 0.0, 0.5, 0.5].map(f16::from_f32));
    assert!(group.palette.entries()[1].is_sign_positive());
    assert_eq!(group.indices, [2, 1, 1, 0, 2]);
    assert_eq!(group.stats.snr_db(), f64::INFINITY);
}

#[test]
fn palettes_of_256_different_values_use_every_index() {
    let weights: Vec<f16> = (0..=255_u8).map(f16::from).collect();
    let group = palettize_group(&weights, 8, Method::Fast).expect("finite weights");
    assert_eq!(group.indices, (0..=255).collect::<Vec<u8>>());
    assert_eq!(group.stats.noise, 0.0);
}

#[test]
fn constant_zero_and_subnormal_groups_are_exact() {
    for value in [0.0, -0.0, 1.5, 5.960_464_5e-8, -65504.0] {
        let weights = vec![f16::from_f32(value); 64];
        assert_eq!(noise(&weights, 4, Method::Fast), 0.0, "{value}");
    }
}

#[test]
fn an_outlier_gets_an_entry_of_its_own() {
    let mut weights = gaussian(4096, 3);
    weights[100] = f16::from_f32(60000.0);
    let group = palettize_group(&weights, 4, Method::Fast).expect("finite weights");
    assert_eq!(group.palette.entries()[15], f16::from_f32(60000.0));
    assert!(group.stats.max_error < 0.1, "{}", group.stats.max_error);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let weights = [0.0, f32::INFINITY].map(f16::from_f32);
    let error = palettize_group(&weights, 4, Method::Fast).expect_err("infinite");
    assert_eq!(error, QuantizeError::NotFinite { position: 1, value: f16::INFINITY });
    assert_eq!(palettize_group(&[], 4, Method::Fast).expect_err("nothing"), QuantizeError::Empty);
}

#[test]
fn packed_bytes_are_those_of_the_format() {
    let packed = |indices: &[u8], bits| {
        let mut output = Vec::new();
        pack(indices, bits, &mut output);
        output
    };
    let upto8 = [0, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(packed(&upto8, 3), [0x88, 0xc6, 0xfa]);
    assert_eq!(packed(&upto8, 4), [0x10, 0x32, 0x54, 0x76]);
    assert_eq!(packed(&upto8, 6), [0x40, 0x20, 0x0c, 0x44, 0x61, 0x1c]);
    assert_eq!(packed(&[0, 1, 2, 3], 2), [0xe4]);
    assert_eq!(packed(&[0, 1], 1), [0x02]);
}

fn finite() -> impl Strategy<Value = f16> {
    any::<u16>().prop_map(|bits| {
        let value = f16::from_bits(bits);
        if value.is_finite() { value } else { f16::MAX.copysign(value) }
    })
}

/// A few values that repeat, over the whole range of magnitudes: sums cancel, and most intervals hold one value.
fn few_values() -> impl Strategy<Value = Vec<f16>> {
    (proptest::collection::vec(finite(), 4..80), proptest::collection::vec(any::<prop::sample::Index>(), 4..200))
        .prop_map(|(values, picks)| picks.iter().map(|pick| values[pick.index(values.len())]).collect())
}

proptest! {
    #[test]
    fn repeated_values_of_all_magnitudes_have_a_palette(weights in few_values(), bits in 1_u8..=6) {
        for method in [Method::Fast, Method::Exact] {
            let group = palettize_group(&weights, bits, method).expect("finite");
            prop_assert!(group.palette.entries().is_sorted());
        }
    }

    #[test]
    fn packing_round_trips(indices in proptest::collection::vec(0_u8..=255, 0..100), bits in 1_u8..=8) {
        let indices: Vec<u8> = indices.iter().map(|index| index & (u8::MAX >> (8 - bits))).collect();
        let mut packed = Vec::new();
        pack(&indices, bits, &mut packed);
        prop_assert_eq!(packed.len(), (indices.len() * usize::from(bits)).div_ceil(8));
        prop_assert_eq!(unpack(&packed, bits, indices.len()), Some(indices));
    }

    #[test]
    fn every_weight_gets_its_nearest_entry(weights in proptest::collection::vec(finite(), 1..200), bits in 1_u8..=6) {
        let group = palettize_group(&weights, bits, Method::Fast).expect("finite");
        let entries = group.palette.entries();
        prop_assert!(entries.is_sorted());
        prop_assert_eq!(entries.len(), 1 << bits);
        let mut noise = 0.0;
        for (weight, index) in weights.iter().zip(&group.indices) {
            let error = |entry: &f16| (weight.to_f64() - entry.to_f64()).abs();
            let nearest = entries.iter().map(error).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(error(&entries[usize::from(*index)]), nearest);
            noise += nearest * nearest;
        }
        prop_assert!((group.stats.noise - noise).abs() <= 1e-9 * noise);
    }

    #[test]
    fn the_order_of_weights_and_of_merging_does_not_matter(weights in proptest::collection::vec(finite(), 2..200)) {
        let mut reversed = weights.clone();
        reversed.reverse();
        let (first, second) = reversed.split_at(reversed.len() / 2);
        let mut merged = Histogram::new();
        merged.add(first).expect("finite");
        merged.merge(&Histogram::of(second).expect("finite"));
        let palette = Histogram::of(&weights).expect("finite").palette(3, Method::Fast).expect("not empty");
        prop_assert_eq!(merged.palette(3, Method::Fast).expect("not empty"), palette);
    }
}
