//! Palettizes eight rows of a weight and prints what that costs at each number of bits.

use std::error::Error;
use std::io::Write as _;

use anec_quantize::{Method, palettize_group};
use half::f16;

fn main() -> Result<(), Box<dyn Error>> {
    // A bell-shaped weight without a random number: sums of three incommensurable waves.
    let wave = |index: u32, step: f64| (f64::from(index) * step).sin();
    let weights: Vec<f16> = (0..8 * 896)
        .map(|index| f16::from_f64(0.02 * (wave(index, 0.7) + wave(index, 1.9) + wave(index, 2.6))))
        .collect();
    for bits in [1, 2, 3, 4, 6, 8] {
        let group = palettize_group(&weights, bits, Method::Fast)?;
        writeln!(std::io::stdout(), "{bits} bits: {:5.1} dB", group.stats.snr_db())?;
    }
    Ok(())
}
