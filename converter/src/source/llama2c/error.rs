//! What can be wrong with a file of llama2.c.

use crate::error::Hint;

/// A file of llama2.c that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Llama2cError {
    /// Another kind of file.
    #[error("expected seven sizes at the start, found {found}")]
    Foreign {
        /// What it is.
        found: &'static str,
    },
    /// Another version of the format.
    #[error("expected version 0 or 1 of the format, found {found}")]
    Version {
        /// The version.
        found: i32,
    },
    /// A size that no model has.
    #[error("the header says that `{name}` is {found}, expected 1 to 1048576")]
    Size {
        /// Its name in llama2.c.
        name: &'static str,
        /// What it is.
        found: i64,
    },
    /// Heads that do not divide the channels.
    #[error(
        "the header says that {dim} channels have {heads} heads of queries and {kv_heads} of keys, expected even shares"
    )]
    Heads {
        /// Channels.
        dim: usize,
        /// Heads of queries.
        heads: usize,
        /// Heads of keys.
        kv_heads: usize,
    },
    /// A file that ends early or late.
    #[error("expected {expected} bytes by the header, the file has {found}")]
    Length {
        /// Bytes that there should be.
        expected: u128,
        /// Bytes that there are.
        found: u64,
    },
}

impl Hint for Llama2cError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Foreign { found } if found.contains("LFS") => {
                "this is not the file itself; run `git lfs pull`, or download the file"
            }
            Self::Foreign { .. } => {
                "give a directory of safetensors files with a config.json, or a checkpoint of llama2.c"
            }
            Self::Version { .. } => "export the model again with `export.py --version 1`; version 2 has lost precision",
            Self::Size { .. } | Self::Heads { .. } => {
                "a file that ends in .bin is taken for a checkpoint of llama2.c; give a directory of safetensors files otherwise"
            }
            Self::Length { .. } => "the file is incomplete or of another kind; download it again",
        };
        Some(hint.to_owned())
    }
}
