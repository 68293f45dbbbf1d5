//! Palettizes a file of raw little-endian fp16 weights and prints what that took and what it cost, as JSON.
//!
//! ```console
//! cargo run --release --example palettize_file -- weights.bin 4864 8 4 fast 1 restored.bin
//! ```
//!
//! The arguments are the file, its columns, the rows of a group (0: all), the bits of an index, the method, how often to
//! do it (the mean time counts; the system's clock of processor time may be coarse), and a file for the weights that the palettes stand for.

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use anec_quantize::{ErrorStats, Method, Palettizer, pack, unpack};
use half::f16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, columns, group_rows, bits, method, rest @ ..] = arguments.as_slice() else {
        return Err("expected: FILE COLUMNS GROUP_ROWS BITS METHOD [REPEAT [RESTORED]]".into());
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
    let repeat: u32 = rest.first().map_or(Ok(1), |repeat| repeat.parse())?;

    forget_peak();
    let memory_before = memory("VmRSS:").unwrap_or_default();
    let mut result = Palettized::default();
    let (started, cpu_started) = (Instant::now(), cpu_seconds());
    for _ in 0..repeat {
        drop(std::mem::take(&mut result));
        result = palettize(&weights, group, bits, method)?;
    }
    let times = f64::from(repeat);
    let wall = started.elapsed().as_secs_f64() / times;
    let cpu = cpu_seconds().zip(cpu_started).map_or(wall, |(end, start)| (end - start) / times);
    let growth = memory("VmHWM:").unwrap_or_default().saturating_sub(memory_before);
    let Palettized { packed, palettes, stats } = result;
    writeln!(
        std::io::stdout(),
        "{{\"weights\": {}, \"seconds\": {wall:.6}, \"cpu_seconds\": {cpu:.6}, \"noise\": {:e}, \"relative_error\": {:e}, \
         \"peak_growth_bytes\": {growth}}}",
        stats.count,
        stats.noise,
        stats.noise / stats.signal,
    )?;
    if let Some(path) = rest.get(1) {
        let indices = unpack(&packed, bits, weights.len()).ok_or("too few indices")?;
        let groups = indices.chunks(group).zip(palettes.chunks(1 << bits));
        let stored = groups.flat_map(|(indices, palette)| indices.iter().map(|index| palette[usize::from(*index)]));
        std::fs::write(path, stored.flat_map(f16::to_le_bytes).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// What a converter would store.
#[derive(Default)]
struct Palettized {
    packed: Vec<u8>,
    palettes: Vec<f16>,
    stats: ErrorStats,
}

fn palettize(weights: &[f16], group: usize, bits: u8, method: Method) -> Result<Palettized, Box<dyn Error>> {
    let mut result =
        Palettized { packed: Vec::with_capacity(weights.len() * usize::from(bits) / 8 + 1), ..Palettized::default() };
    let mut palettizer = Palettizer::new(bits, method)?;
    let mut indices = Vec::new();
    for group in weights.chunks(group) {
        indices.clear();
        let fitted = palettizer.group(group, &mut indices)?;
        pack(&indices, bits, &mut result.packed);
        result.palettes.extend_from_slice(fitted.palette.entries());
        result.stats.merge(&fitted.stats);
    }
    Ok(result)
}

/// The processor time of this process, to a few milliseconds; nothing where the system does not tell.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}

/// A line of the system's account of this process, in bytes.
fn memory(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Lets the peak of memory start anew, where the system can.
fn forget_peak() {
    let _unsupported_elsewhere = std::fs::write("/proc/self/clear_refs", "5");
}
