//! Writes small checkpoints for tests.

use std::fmt::Write as _;
use std::path::Path;

/// A tensor to write: name, dtype as safetensors spells it, shape, bytes.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    /// An fp32 tensor.
    pub(crate) fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.to_owned(), dtype: "F32", shape: shape.to_vec(), bytes }
    }

    /// An fp32 tensor of zeros.
    pub(crate) fn zeros(name: &str, shape: &[usize]) -> Self {
        Self::f32(name, shape, &vec![0.0; shape.iter().product()])
    }
}

/// Writes a safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &[Source]) {
    let mut header = String::from("{");
    let mut data = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let start = data.len();
        data.extend_from_slice(&tensor.bytes);
        let separator = if index == 0 { "" } else { "," };
        let (name, dtype, shape, end) = (&tensor.name, tensor.dtype, &tensor.shape, data.len());
        write!(header, r#"{separator}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#)
            .expect("writing to a string");
    }
    header.push('}');
    write_raw(path, &header, &data);
}

/// Writes a file with any text as its header.
pub(crate) fn write_raw(path: &Path, header: &str, data: &[u8]) {
    let length = header.len() as u64;
    let bytes = [&length.to_le_bytes(), header.as_bytes(), data].concat();
    fs_err::write(path, bytes).expect("a writable temporary directory");
}

/// Writes config.json.
pub(crate) fn write_config(directory: &Path, config: &str) {
    fs_err::write(directory.join("config.json"), config).expect("a writable temporary directory");
}
