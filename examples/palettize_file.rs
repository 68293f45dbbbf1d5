//! Palettizes a file of raw little-endian fp16 weights and prints what that took and what it cost, as JSON.
//!
//! ```console
//! cargo run --release --example palettize_file -- weights.bin 4864 8 4 fast [repeat]
//! ```
//!
//! The arguments are the file, its columns, the rows of a group (0: all), the bits of an index, and the method.

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use anec_quantize::{ErrorStats, Method, Palettizer, pack};
use half::f16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, columns, group_rows, bits, method, rest @ ..] = arguments.as_slice() else {
        return Err("expected: FILE COLUMNS GROUP_ROWS BITS METHOD [REPEAT]".into());
    };
    let bytes = std::fs::read(path)?;
    let weights: Vec<f16> = bytes.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect();
    drop(bytes);
    let group = columns.parse::<usize>()? * group_rows.parse::<usize>()?;
    let group = if group == 0 { weights.len() } else { group };
    let bits: u8 = bits.parse()?;
    let method = match method.as_str() {
        "fast" => Method::Fast,
        "exact" => Method::Exact,
        other => return Err(format!("`{other}` is not a method, expected `fast` or `exact`").into()),
    };
    let repeat: usize = rest.first().map_or(Ok(1), |repeat| repeat.parse())?;
    let (mut wall, mut cpu) = (f64::INFINITY, f64::INFINITY);
    let mut stats = ErrorStats::default();
    for _ in 0..repeat {
        stats = ErrorStats::default();
        let mut packed = Vec::with_capacity(weights.len());
        let (started, cpu_started) = (Instant::now(), cpu_seconds());
        let mut palettizer = Palettizer::new(bits, method)?;
        let mut indices = Vec::new();
        for group in weights.chunks(group) {
            indices.clear();
            stats.merge(&palettizer.group(group, &mut indices)?.stats);
            pack(&indices, bits, &mut packed);
        }
        wall = wall.min(started.elapsed().as_secs_f64());
        if let (Some(end), Some(start)) = (cpu_seconds(), cpu_started) {
            cpu = cpu.min(end - start);
        }
    }
    let cpu = if cpu.is_finite() { cpu } else { wall };
    writeln!(
        std::io::stdout(),
        "{{\"weights\": {}, \"seconds\": {wall:.6}, \"cpu_seconds\": {cpu:.6}, \"noise\": {:e}, \"relative_error\": {:e}, \
         \"peak_bytes\": {}}}",
        stats.count,
        stats.noise,
        stats.noise / stats.signal,
        peak_bytes().unwrap_or_default(),
    )?;
    Ok(())
}

/// The processor time of this process; nothing where the system does not tell.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// The largest resident size so far.
fn peak_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
