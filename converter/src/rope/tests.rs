//! Frequencies against those of transformers 4.57.6.
//!
//! The expected values are what `ROPE_INIT_FUNCTIONS[rope_type](config, "cpu", seq_len)` returns, in fp32, for a
//! `LlamaConfig` with the parameters of each test.

use super::*;

/// fp32 has seven digits, and transformers takes powers and quotients in it.
const RELATIVE_TOLERANCE: f64 = 1e-5;

fn plan(theta: f64, head_dim: usize, scaling: RopeScaling) -> RopePlan {
    RopePlan { theta, head_dim, scaling }
}

fn yarn(factor: f64, original_max_position_embeddings: usize) -> Yarn {
    Yarn {
        factor,
        attention_factor: None,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: None,
        mscale_all_dim: None,
        original_max_position_embeddings,
        truncate: true,
    }
}

fn assert_frequencies(plan: &RopePlan, context_length: usize, attention_scaling: f64, inv_freq: &[f64]) {
    let found = plan.frequencies(context_length);
    assert!(
        (found.attention_scaling - attention_scaling).abs() < 1e-12,
        "{} {attention_scaling}",
        found.attention_scaling
    );
    assert_eq!(found.inv_freq.len(), inv_freq.len());
    for (found, expected) in found.inv_freq.iter().zip(inv_freq) {
        assert!((found / expected - 1.0).abs() < RELATIVE_TOLERANCE, "{found} {expected}");
    }
}

const UNSCALED_10000: [f64; 8] = [
    1.000000000e+00,
    3.162277639e-01,
    1.000000015e-01,
    3.162277862e-02,
    9.999999776e-03,
    3.162277862e-03,
    1.000000047e-03,
    3.162277862e-04,
];

#[test]
fn default_frequencies() {
    let expected = [
        1.000000000e+00,
        1.778279394e-01,
        3.162277862e-02,
        5.623413250e-03,
        1.000000047e-03,
        1.778279402e-04,
        3.162277426e-05,
        5.623413472e-06,
    ];
    assert_frequencies(&plan(1e6, 16, RopeScaling::Default), 512, 1.0, &expected);
}

#[test]
fn linear_frequencies() {
    let expected = [
        2.500000000e-01,
        7.905694097e-02,
        2.500000037e-02,
        7.905694656e-03,
        2.499999944e-03,
        7.905694656e-04,
        2.500000119e-04,
        7.905694656e-05,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Linear { factor: 4.0 }), 512, 1.0, &expected);
}

#[test]
fn dynamic_frequencies_change_only_beyond_the_trained_context() {
    let plan = plan(1e4, 16, RopeScaling::Dynamic { factor: 2.0, max_position_embeddings: 2048 });
    assert_frequencies(&plan, 512, 1.0, &UNSCALED_10000);
    assert_frequencies(&plan, 2048, 1.0, &UNSCALED_10000);
    let expected = [
        1.000000000e+00,
        2.605170906e-01,
        6.786915660e-02,
        1.768107526e-02,
        4.606222268e-03,
        1.199999708e-03,
        3.126204247e-04,
        8.144296589e-05,
    ];
    assert_frequencies(&plan, 5000, 1.0, &expected);
}

#[test]
fn yarn_frequencies_with_default_parameters() {
    let expected = [
        1.000000000e+00,
        1.778279394e-01,
        3.162277862e-02,
        4.217559937e-03,
        5.000000237e-04,
        4.445698505e-05,
        7.905693565e-06,
        1.405853368e-06,
    ];
    assert_frequencies(&plan(1e6, 16, RopeScaling::Yarn(yarn(4.0, 32768))), 512, 1.138_629_436_111_989, &expected);
}

#[test]
fn yarn_frequencies_without_truncation_of_a_ramp_between_two_pairs() {
    let parameters = Yarn { beta_fast: 4.0, beta_slow: 2.0, truncate: false, ..yarn(8.0, 1024) };
    let expected = [
        1.000000000e+00,
        3.162277639e-01,
        1.000000015e-01,
        3.162277862e-02,
        1.249999972e-03,
        3.952847328e-04,
        1.250000059e-04,
        3.952847328e-05,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(parameters)), 512, 1.207_944_154_167_983_6, &expected);
}

#[test]
fn yarn_frequencies_with_a_wide_ramp_and_a_given_attention_factor() {
    let parameters = Yarn { attention_factor: Some(0.8), beta_fast: 64.0, beta_slow: 0.5, ..yarn(16.0, 2048) };
    let expected = [
        1.000000000e+00,
        3.162277639e-01,
        8.125000447e-02,
        1.976423711e-02,
        4.374999553e-03,
        7.905694074e-04,
        6.250000297e-05,
        1.976423664e-05,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(parameters)), 512, 0.8, &expected);
}

#[test]
fn yarn_attention_uses_mscale_only_with_mscale_all_dim() {
    let expected = [
        1.000000000e+00,
        3.162277639e-01,
        1.000000015e-01,
        2.391472459e-02,
        5.124999676e-03,
        8.498621755e-04,
        2.499999937e-05,
        7.905694474e-06,
    ];
    let one = Yarn { mscale: Some(0.707), ..yarn(40.0, 4096) };
    let both = Yarn { mscale_all_dim: Some(1.2), ..one.clone() };
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(one)), 512, 1.368_887_945_411_393_6, &expected);
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(both)), 512, 0.873_940_457_618_512_1, &expected);
}

#[test]
fn yarn_frequencies_of_a_context_shorter_than_any_rotation() {
    let expected = [
        1.000000000e+00,
        1.581138819e-01,
        5.000000075e-02,
        1.581138931e-02,
        4.999999888e-03,
        1.581138931e-03,
        5.000000237e-04,
        1.581138931e-04,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(yarn(2.0, 4))), 512, 1.069_314_718_055_994_5, &expected);
}

#[test]
fn llama3_frequencies_of_llama_3_2() {
    let llama3 =
        Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 };
    let expected = [
        1.000000000e+00,
        4.403666258e-01,
        1.939227581e-01,
        8.539710194e-02,
        3.760603070e-02,
        1.656044088e-02,
        7.292665076e-03,
        3.211446106e-03,
        4.295567051e-04,
        1.946163866e-05,
        8.570255886e-06,
        3.774054449e-06,
        1.661967417e-06,
        7.318749340e-07,
        3.222932889e-07,
        1.419272024e-07,
    ];
    assert_frequencies(&plan(5e5, 32, RopeScaling::Llama3(llama3)), 512, 1.0, &expected);
}

#[test]
fn llama3_frequencies_of_a_short_original_context() {
    let llama3 =
        Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 128 };
    let expected = [
        1.000000000e+00,
        1.911264956e-01,
        4.700753838e-03,
        9.115831344e-04,
        1.767766807e-04,
        3.428102355e-05,
        6.647869668e-06,
        1.289173156e-06,
    ];
    assert_frequencies(&plan(5e5, 16, RopeScaling::Llama3(llama3)), 512, 1.0, &expected);
}

#[test]
fn tables_hold_a_row_a_position_with_its_half_repeated() {
    let parameters = Yarn { attention_factor: Some(0.5), ..yarn(2.0, 4) };
    let plan = plan(1e4, 8, RopeScaling::Yarn(parameters));
    let RopeTables { cos, sin } = plan.tables(3);
    assert_eq!((cos.len(), sin.len()), (24, 24));
    let frequencies = plan.frequencies(3).inv_freq;
    for (position, (cos, sin)) in cos.chunks(8).zip(sin.chunks(8)).enumerate() {
        assert_eq!((&cos[..4], &sin[..4]), (&cos[4..], &sin[4..]));
        for (pair, frequency) in frequencies.iter().enumerate() {
            let angle = float(position) * frequency;
            assert_eq!((cos[pair], sin[pair]), (f16::from_f64(0.5 * angle.cos()), f16::from_f64(0.5 * angle.sin())));
        }
    }
}
