//! Small checkpoints whose weights are anything, but always the same.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// Writes a checkpoint in bf16: vectors around 0 up to 1, matrices that keep variance.
pub(crate) fn write(directory: &Path, config: &str, tensors: &[(String, Vec<usize>)]) {
    let mut end = 0;
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, shape)| {
            let start = end;
            end += 2 * shape.iter().product::<usize>();
            format!(r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = BufWriter::new(File::create(directory.join("model.safetensors")).expect("writable"));
    let mut write = |bytes: &[u8]| file.write_all(bytes).expect("writable");
    write(&(header.len() as u64).to_le_bytes());
    write(header.as_bytes());
    let mut state = 1_u32;
    for (_, shape) in tensors {
        let scale =
            if shape.len() == 1 { 1.0 } else { 2.0 / f32::from(u16::try_from(shape[1]).expect("small")).sqrt() };
        for _ in 0..shape.iter().product() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let uniform = f32::from((state >> 16) as u16) / 32_768.0 - 1.0;
            // The upper half of an f32 is a bf16.
            write(&((scale * uniform).to_bits() >> 16).to_le_bytes()[..2]);
        }
    }
    file.flush().expect("writable");
    fs::write(directory.join("config.json"), config).expect("writable");
}
