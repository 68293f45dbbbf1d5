//! What can be wrong with a GGUF file.

use crate::error::Hint;

/// A GGUF file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// Another kind of file.
    #[error("expected the bytes `GGUF` at the start, found {found:02x?}")]
    Magic {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A file for machines that put the highest byte first.
    #[error("expected little-endian numbers, found big-endian ones")]
    ByteOrder,
    /// Another version of the format.
    #[error("expected version 2 or 3 of the format, found {found}")]
    Version {
        /// The version.
        found: u32,
    },
    /// A file that ends early.
    #[error("expected {needed} more bytes at {at}, the file has {left}")]
    Short {
        /// Where, from the start of the file.
        at: u64,
        /// Bytes that should follow.
        needed: u64,
        /// Bytes that follow.
        left: u64,
    },
    /// More of something than any model has.
    #[error("expected at most {most} {what}, found {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// The same name twice.
    #[error("the {what} `{name}` is there twice")]
    Twice {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A string that is no text.
    #[error("the string at {at} is not UTF-8")]
    Utf8 {
        /// Where, from the start of the file.
        at: u64,
    },
    /// A type of values that the format does not have.
    #[error("the value at {at} has the unknown type {found}")]
    ValueType {
        /// Where, from the start of the file.
        at: u64,
        /// Its type.
        found: u32,
    },
    /// A value that is not as it has to be.
    #[error("`{key}`: expected {expected}, found {found}")]
    Value {
        /// Its key.
        key: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A tensor whose size is beyond all memory, or that does not consist of whole blocks.
    #[error("the shape of the tensor `{tensor}` makes no sense for its type")]
    Shape {
        /// Its name.
        tensor: String,
    },
    /// Another kind of model.
    #[error("`general.architecture`: expected one of {}, found `{found}`", .supported.join(", "))]
    Architecture {
        /// What it is.
        found: String,
        /// Those that can be converted.
        supported: Vec<&'static str>,
    },
    /// A file of a model that comes in several, which is not there.
    #[error("the model comes in {count} files, and `{file}` is missing")]
    Part {
        /// The missing file.
        file: String,
        /// How many there are.
        count: u64,
    },
    /// A directory with several models.
    #[error("the directory has {} GGUF models: {}", .found.len(), .found.join(", "))]
    Several {
        /// Their names.
        found: Vec<String>,
    },
    /// A scaling of the rotary embedding that only its result is known of.
    #[error("`rope_freqs.weight` is no scaling of Llama 3.1, {found}")]
    RopeFactors {
        /// What it has.
        found: String,
    },
    /// A tokenizer that cannot be made of what the file says.
    #[error("the tokenizer: {found}")]
    Tokenizer {
        /// What it has.
        found: String,
    },
}

impl Hint for GgufError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Magic { found } if found.starts_with(b"PK") => "this is a zip archive; unpack it",
            Self::Magic { found } if found.starts_with(b"vers") => {
                "this is a Git LFS pointer and not the file itself; run `git lfs pull`, or download the file"
            }
            Self::Magic { .. } | Self::Utf8 { .. } | Self::ValueType { .. } | Self::Twice { .. } => {
                "the file is damaged or of another kind; download it again"
            }
            Self::Count { .. } | Self::Shape { .. } => "the file is damaged; download it again",
            Self::Short { .. } => "the file is incomplete; download it again",
            Self::ByteOrder => "convert it with llama.cpp's `gguf_convert_endian.py`",
            Self::Version { .. } => "make the file again with a present llama.cpp",
            Self::Part { .. } => "download all files of the model into one directory",
            Self::Several { .. } => "give the path of one of them",
            Self::Architecture { .. } | Self::RopeFactors { .. } => {
                "convert the checkpoint that the GGUF was made from, if anec knows its architecture"
            }
            Self::Value { .. } | Self::Tokenizer { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
