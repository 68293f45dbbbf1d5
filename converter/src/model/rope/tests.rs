//! Frequencies against those of transformers 4.57.6.
//!
//! The expected values are what `ROPE_INIT_FUNCTIONS[rope_type](config, "cpu", seq_len)` returns, in fp32, for a
//! `LlamaConfig` with the parameters of each test.

use super::*;

/// fp32 has seven digits, and transformers takes powers and quotients in it.
const RELATIVE_TOLERANCE: f64 = 1e-5;

fn plan(theta: f64, head_dim: usize, scaling: RopeScaling) -> RopePlan {
    RopePlan { theta, rotary_dim: head_dim, scaling }
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
    1.000_000_000e0,
    3.162_277_639e-1,
    1.000_000_015e-1,
    3.162_277_862e-2,
    9.999_999_776e-3,
    3.162_277_862e-3,
    1.000_000_047e-3,
    3.162_277_862e-4,
];

#[test]
fn default_frequencies() {
    let expected = [
        1.000_000_000e0,
        1.778_279_394e-1,
        3.162_277_862e-2,
        5.623_413_250e-3,
        1.000_000_047e-3,
        1.778_279_402e-4,
        3.162_277_426e-5,
        5.623_413_472e-6,
    ];
    assert_frequencies(&plan(1e6, 16, RopeScaling::Default), 512, 1.0, &expected);
}

#[test]
fn linear_frequencies() {
    let expected = [
        2.500_000_000e-1,
        7.905_694_097e-2,
        2.500_000_037e-2,
        7.905_694_656e-3,
        2.499_999_944e-3,
        7.905_694_656e-4,
        2.500_000_119e-4,
        7.905_694_656e-5,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Linear { factor: 4.0 }), 512, 1.0, &expected);
}

#[test]
fn dynamic_frequencies_change_only_beyond_the_trained_context() {
    let plan = plan(1e4, 16, RopeScaling::Dynamic { factor: 2.0, max_position_embeddings: 2048 });
    assert_frequencies(&plan, 512, 1.0, &UNSCALED_10000);
    assert_frequencies(&plan, 2048, 1.0, &UNSCALED_10000);
    let expected = [
        1.000_000_000e0,
        2.605_170_906e-1,
        6.786_915_660e-2,
        1.768_107_526e-2,
        4.606_222_268e-3,
        1.199_999_708e-3,
        3.126_204_247e-4,
        8.144_296_589e-5,
    ];
    assert_frequencies(&plan, 5000, 1.0, &expected);
}

#[test]
fn yarn_frequencies_with_default_parameters() {
    let expected = [
        1.000_000_000e0,
        1.778_279_394e-1,
        3.162_277_862e-2,
        4.217_559_937e-3,
        5.000_000_237e-4,
        4.445_698_505e-5,
        7.905_693_565e-6,
        1.405_853_368e-6,
    ];
    assert_frequencies(&plan(1e6, 16, RopeScaling::Yarn(yarn(4.0, 32768))), 512, 1.138_629_436_111_989, &expected);
}

#[test]
fn yarn_frequencies_without_truncation_of_a_ramp_between_two_pairs() {
    let parameters = Yarn { beta_fast: 4.0, beta_slow: 2.0, truncate: false, ..yarn(8.0, 1024) };
    let expected = [
        1.000_000_000e0,
        3.162_277_639e-1,
        1.000_000_015e-1,
        3.162_277_862e-2,
        1.249_999_972e-3,
        3.952_847_328e-4,
        1.250_000_059e-4,
        3.952_847_328e-5,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(parameters)), 512, 1.207_944_154_167_983_6, &expected);
}

#[test]
fn yarn_frequencies_with_a_wide_ramp_and_a_given_attention_factor() {
    let parameters = Yarn { attention_factor: Some(0.8), beta_fast: 64.0, beta_slow: 0.5, ..yarn(16.0, 2048) };
    let expected = [
        1.000_000_000e0,
        3.162_277_639e-1,
        8.125_000_447e-2,
        1.976_423_711e-2,
        4.374_999_553e-3,
        7.905_694_074e-4,
        6.250_000_297e-5,
        1.976_423_664e-5,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(parameters)), 512, 0.8, &expected);
}

#[test]
fn yarn_attention_uses_mscale_only_with_mscale_all_dim() {
    let expected = [
        1.000_000_000e0,
        3.162_277_639e-1,
        1.000_000_015e-1,
        2.391_472_459e-2,
        5.124_999_676e-3,
        8.498_621_755e-4,
        2.499_999_937e-5,
        7.905_694_474e-6,
    ];
    let one = Yarn { mscale: Some(0.707), ..yarn(40.0, 4096) };
    let both = Yarn { mscale_all_dim: Some(1.2), ..one.clone() };
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(one)), 512, 1.368_887_945_411_393_6, &expected);
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(both)), 512, 0.873_940_457_618_512_1, &expected);
}

#[test]
fn yarn_frequencies_of_a_context_shorter_than_any_rotation() {
    let expected = [
        1.000_000_000e0,
        1.581_138_819e-1,
        5.000_000_075e-2,
        1.581_138_931e-2,
        4.999_999_888e-3,
        1.581_138_931e-3,
        5.000_000_237e-4,
        1.581_138_931e-4,
    ];
    assert_frequencies(&plan(1e4, 16, RopeScaling::Yarn(yarn(2.0, 4))), 512, 1.069_314_718_055_994_5, &expected);
}

#[test]
fn llama3_frequencies_of_llama_3_2() {
    let llama3 =
        Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 8192 };
    let expected = [
        1.000_000_000e0,
        4.403_666_258e-1,
        1.939_227_581e-1,
        8.539_710_194e-2,
        3.760_603_070e-2,
        1.656_044_088e-2,
        7.292_665_076e-3,
        3.211_446_106e-3,
        4.295_567_051e-4,
        1.946_163_866e-5,
        8.570_255_886e-6,
        3.774_054_449e-6,
        1.661_967_417e-6,
        7.318_749_340e-7,
        3.222_932_889e-7,
        1.419_272_024e-7,
    ];
    assert_frequencies(&plan(5e5, 32, RopeScaling::Llama3(llama3)), 512, 1.0, &expected);
}

#[test]
fn llama3_frequencies_of_a_short_original_context() {
    let llama3 =
        Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 128 };
    let expected = [
        1.000_000_000e0,
        1.911_264_956e-1,
        4.700_753_838e-3,
        9.115_831_344e-4,
        1.767_766_807e-4,
        3.428_102_355e-5,
        6.647_869_668e-6,
        1.289_173_156e-6,
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
