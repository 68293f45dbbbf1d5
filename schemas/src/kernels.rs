//! `kernels.json`: what whoever drives programs below Core ML has to know of each, beside `meta.yaml`.

use serde::{Deserialize, Serialize};

/// Name of the file within a converted directory.
pub const KERNELS_JSON: &str = "kernels.json";

/// Version of the schema; a reader refuses others.
pub const KERNELS_VERSION: u32 = 2;

/// The programs of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelsManifest {
    /// [`KERNELS_VERSION`].
    pub version: u32,
    /// Columns of a call: the last axis of every tensor.
    pub query_length: u64,
    /// The version that the texts name, such as `1.3`.
    pub program_version: String,
    /// The build information of the texts. Its values are not looked at, as far as is known; that it is there is.
    pub build_info: Vec<(String, String)>,
    /// By what a text calls the directory that it is in.
    pub model_path: String,
    /// The programs, in the order in which a token passes them.
    pub programs: Vec<KernelProgram>,
}

/// A manifest that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelsError {
    /// Malformed.
    #[error("`{KERNELS_JSON}` is malformed")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("`{KERNELS_JSON}` has version {found}, expected {KERNELS_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
}

impl KernelsManifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// The text is malformed, or of another version.
    pub fn from_json(text: &str) -> Result<Self, KernelsError> {
        let manifest: Self = serde_json::from_str(text)?;
        match manifest.version {
            KERNELS_VERSION => Ok(manifest),
            found => Err(KernelsError::Version { found }),
        }
    }

    /// The text of the manifest.
    ///
    /// # Errors
    /// A bug: a number that JSON does not have.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelProgram {
    /// Its name, without the extension of a form.
    pub name: String,
    /// What it does, as the contract says.
    pub role: String,
    /// Its decoder layer, from 0, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u64>,
    /// Its text, where the directory has it, below the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its weight files: one for each blob of the text, else the one of the package or compiled model.
    pub weight_files: Vec<KernelWeightFile>,
    /// What it takes, in alphabetical order, in which inputs are bound by number.
    pub inputs: Vec<KernelTensor>,
    /// What it gives, in alphabetical order, in which outputs are bound by number.
    pub outputs: Vec<KernelTensor>,
    /// The weights of the checkpoint that it holds.
    pub blobs: Vec<KernelBlob>,
}

impl KernelProgram {
    /// Bytes of its weight files.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

/// A weight file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelWeightFile {
    /// The name that the program has for it.
    pub name: String,
    /// Where it is, below the directory.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelTensor {
    /// Its name.
    pub name: String,
    /// Its element type, as texts have it.
    pub dtype: String,
    /// Its axes, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub bytes: u64,
}

/// A weight of the checkpoint in weight files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelBlob {
    /// The tensor.
    pub tensor: String,
    /// First row, and the row behind the last.
    pub rows: [u64; 2],
    /// First column, and the column behind the last.
    pub columns: [u64; 2],
    /// How it is stored.
    pub encoding: String,
    /// Its records, as the program has them: those of elements, indices or integers first, then of palettes and scales. The
    /// data of a record is 64 bytes behind it.
    pub records: Vec<KernelRecord>,
    /// Bytes of what is behind the first record: of the elements, indices or integers.
    pub bytes: u64,
}

/// A record of a weight file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRecord {
    /// The name that the program has for the file.
    pub file: String,
    /// Where the record is in the file.
    pub offset: u64,
}
