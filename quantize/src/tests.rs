#![expect(clippy::float_cmp, reason = "errors that must be exactly zero, and entries that must be exactly nearest")]

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

#[test]
fn fast_stays_near_the_optimum_in_groups_of_rows() {
    for (count, bits, most) in [(8 * 896, 4, 1.005), (8 * 896, 6, 1.005), (8 * 4096, 6, 1.005), (1 << 17, 4, 1.005)] {
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

#[test]
fn weights_of_scaled_rows_get_the_nearest_of_their_scaled_entries() {
    let columns = 256;
    let weights = gaussian(16 * columns, 11);
    let scaled = palettize_scaled_rows(&weights, columns, 4, Method::Fast).expect("whole rows");
    let entries = scaled.palette.entries();
    let rows = weights.chunks(columns).zip(scaled.rows.indices.chunks(columns)).zip(&scaled.rows.scales);
    for ((row, indices), scale) in rows {
        for (weight, index) in row.iter().zip(indices) {
            let error = |entry: &f16| (weight.to_f64() - entry.to_f64() * scale.to_f64()).abs();
            let nearest = entries.iter().map(error).fold(f64::INFINITY, f64::min);
            // Quotients are rounded to fp16.
            assert!(error(&entries[usize::from(*index)]) <= nearest + weight.to_f64().abs() / 1000.0, "{weight}");
        }
    }
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

#[test]
fn a_row_scale_makes_unequal_rows_share_a_palette() {
    let mut weights = gaussian(4 * 512, 11);
    for (row, factor) in weights.chunks_exact_mut(512).zip([1.0, 0.1, 3.0, 0.0]) {
        for weight in row {
            *weight = f16::from_f64(weight.to_f64() * factor);
        }
    }
    let scaled = palettize_scaled_rows(&weights, 512, 4, Method::Fast).expect("finite weights");
    let plain = palettize_group(&weights, 4, Method::Fast).expect("finite weights");
    assert!(scaled.rows.stats.noise < 0.8 * plain.stats.noise, "{:?} {:?}", scaled.rows.stats, plain.stats);
    // The error is that of what is stored.
    let mut noise = 0.0;
    for (position, weight) in weights.iter().enumerate() {
        let entry = scaled.palette.entries()[usize::from(scaled.rows.indices[position])];
        noise += (weight.to_f64() - entry.to_f64() * scaled.rows.scales[position / 512].to_f64()).powi(2);
    }
    assert!((scaled.rows.stats.noise - noise).abs() <= 1e-6 * noise);
}

#[test]
fn rows_of_any_magnitude_have_a_normal_scale() {
    let rows = [0.0, 5.960_464_5e-8, 1e-5, 1.0, 65504.0];
    let weights: Vec<f16> = rows.iter().flat_map(|value| [*value, -*value, 0.0, *value].map(f16::from_f64)).collect();
    let normalized = NormalizedRows::new(&weights, 4).expect("finite weights");
    assert!(normalized.scales().iter().all(|scale| scale.is_normal()));
    assert!(normalized.weights().iter().all(|weight| weight.is_finite()));
    assert_eq!(normalized.scales()[0], f16::ONE);
    let scaled = palettize_scaled_rows(&weights, 4, 4, Method::Fast).expect("finite weights");
    assert!(scaled.rows.stats.snr_db() > 60.0);
}

#[test]
fn int8_rows_are_within_half_a_step_and_never_clipped() {
    for (count, columns) in [(4096, 512), (4096, 4096)] {
        let weights = gaussian(count, 5);
        let rows = quantize_rows_int8(&weights, columns).expect("finite weights");
        let mut noise = 0.0;
        for (position, (weight, data)) in weights.iter().zip(&rows.data).enumerate() {
            let scale = rows.scales[position / columns].to_f64();
            let error = (weight.to_f64() - f64::from(*data) * scale).abs();
            assert!(error <= 0.500_001 * scale && *data != i8::MIN, "{weight} {data} {scale}");
            noise += error * error;
        }
        assert!((rows.stats.noise - noise).abs() <= 1e-6 * noise);
    }
}

#[test]
fn int8_keeps_zeros_and_the_ends_of_the_range() {
    for largest in [5.960_464_5e-8, 1e-6, 0.3, 65504.0] {
        let weights = [largest, -largest, 0.0, -0.0].map(f16::from_f64);
        let rows = quantize_rows_int8(&weights, 4).expect("finite weights");
        assert!(rows.scales[0] > f16::ZERO && rows.scales[0].is_finite());
        assert_eq!(rows.data[2..], [0, 0]);
        assert!(rows.stats.max_error <= 0.5 * rows.scales[0].to_f64());
    }
    assert_eq!(quantize_rows_int8(&[f16::ZERO; 4], 2).expect("finite weights").scales, [f16::ONE; 2]);
    let error = quantize_rows_int8(&[f16::ONE; 4], 3).expect_err("not whole rows");
    assert_eq!(error, QuantizeError::Rows { weights: 4, columns: 3 });
}

#[test]
fn importance_moves_the_palette_and_equal_importance_does_not() {
    let weights = gaussian(2048, 13);
    let importance: Vec<f32> = weights.iter().map(|weight| if weight.to_f32() > 0.0 { 100.0 } else { 1.0 }).collect();
    let weighted_noise = |palette: &Palette| {
        let mut indices = vec![0; weights.len()];
        palette.assigner().assign(&weights, &mut indices);
        let stored = |index: &u8| palette.entries()[usize::from(*index)].to_f64();
        let errors = weights.iter().zip(&indices).map(|(weight, index)| (weight.to_f64() - stored(index)).powi(2));
        errors.zip(&importance).map(|(error, importance)| error * f64::from(*importance)).sum::<f64>()
    };
    for method in [Method::Fast, Method::Exact] {
        let plain = Histogram::of(&weights).expect("finite").palette(3, method).expect("not empty");
        let mut weighted = Histogram::new();
        weighted.add_weighted(&weights, &importance).expect("finite");
        let weighted = weighted.palette(3, method).expect("not empty");
        assert!(weighted_noise(&weighted) < 0.8 * weighted_noise(&plain));
        for equal in [0.0, 1.0] {
            let mut histogram = Histogram::new();
            histogram.add_with(&weights, equal).expect("finite");
            assert_eq!(histogram.palette(3, method).expect("not empty"), plain);
        }
    }
    let mut histogram = Histogram::new();
    assert!(histogram.add_weighted(&weights, &importance[1..]).is_err());
    assert!(histogram.add_with(&weights, -1.0).is_err());
}
