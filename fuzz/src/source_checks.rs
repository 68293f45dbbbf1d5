//! Checks of the readers of checkpoints, of the hub's answers, and of inputs of predictions.

use std::fs;
use std::path::Path;

use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::source::checkpoint::Checkpoint;
use anec_converter::source::hub;

use super::checks::Check;

/// Every check by the name of its target.
pub const CHECKS: [(&str, Check); 4] = [
    ("gguf_file", gguf_file),
    ("hub_answer", hub_answer),
    ("predict_input", predict_input),
    ("quantized_checkpoint", quantized_checkpoint),
];

/// Most elements of a tensor that are decoded: what a header of a few bytes may claim takes no time.
const MOST_ELEMENTS: usize = 1 << 16;

/// GGUF files: a file that opens has a config that is read or refused, a tokenizer that is made or refused, and tensors of
/// which every row is decoded or refused.
pub fn gguf_file(data: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("model.gguf");
    fs::write(&path, data).expect("written");
    checkpoint(&path);
}

/// Checkpoints that others quantized, and plain ones: config.json behind its length in four bytes, then model.safetensors.
pub fn quantized_checkpoint(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<4>() else { return };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
    let (config, tensors) = rest.split_at(length);
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("config.json"), config).expect("written");
    fs::write(directory.path().join("model.safetensors"), tensors).expect("written");
    checkpoint(directory.path());
}

/// Files for `anec predict --input`: arrays of NumPy and of JSON, and images.
pub fn predict_input(data: &[u8]) {
    let _ = anec_converter::commands::predict::is_input(data);
}

/// What the hub says of a model: names of files lead nowhere but below the directory that they are put in.
pub fn hub_answer(data: &[u8]) {
    for file in hub::files_of_answer(data).unwrap_or_default() {
        let path = Path::new(&file);
        assert!(path.is_relative() && path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(name) = hub::ModelName::parse(text)
    {
        assert!(name.repository().matches('/').count() == 1, "{text:?} is {}", name.repository());
    }
}

fn checkpoint(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    let _ = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]);
    let _ = checkpoint.companions();
    let names: Vec<String> = checkpoint.tensor_names().map(str::to_owned).collect();
    for name in names {
        let Some(info) = checkpoint.tensor(&name) else { continue };
        let elements = info.shape.iter().fold(1_usize, |all, size| all.saturating_mul(*size));
        let rows = info.shape.first().copied().unwrap_or(1);
        if elements > MOST_ELEMENTS {
            continue;
        }
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        if checkpoint.rows_f32(&name, 0..rows, &mut wide).is_ok() {
            assert_eq!(wide.len(), elements, "{name}");
            // A row is the same alone, whatever blocks its file is made of.
            let mut last = Vec::new();
            checkpoint.rows_f32(&name, rows - 1..rows, &mut last).expect("all rows were read");
            assert_eq!(wide.get(wide.len() - last.len()..), Some(last.as_slice()), "{name}");
            let _ = checkpoint.rows_f16(&name, 0..rows, &mut narrow);
        }
    }
}
