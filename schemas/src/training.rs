//! `training.json`: the programs of a training step, for whoever calls them.

use serde::{Deserialize, Serialize};

/// Name of the file within the directory of the programs.
pub const TRAINING_JSON: &str = "training.json";

/// Version of the schema; a reader refuses others.
pub const TRAINING_VERSION: u32 = 1;

/// The programs of a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingManifest {
    /// [`TRAINING_VERSION`].
    pub version: u32,
    /// Sizes of the model and of a call.
    #[serde(flatten)]
    pub shape: TrainingShape,
    /// Where weights are: `inputs`, in inputs of their own, or `packed`, behind the activations.
    pub weights: String,
    /// Calls of a step that each program serves: one a layer.
    pub instances: usize,
    /// The programs, in the order of a step.
    pub programs: Vec<TrainingProgram>,
}

/// Sizes of a model and of its calls, which decide every shape of a training step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingShape {
    /// Channels between layers.
    pub dim: usize,
    /// Channels within an MLP.
    pub hidden: usize,
    /// Heads, of queries as of keys and values.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Tokens of a call.
    pub sequence: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Added to the mean square in norms.
    pub norm_eps: f64,
    /// The base of the frequencies by which neighbouring channels of queries and keys are rotated; none where they are not.
    pub rope_theta: Option<f64>,
}

impl TrainingShape {
    /// Stories110M, of llama2.c, with the sequence that is published for it and no rotation.
    pub const STORIES_110M: Self = Self {
        dim: 768,
        hidden: 2048,
        heads: 12,
        layers: 12,
        sequence: 256,
        vocabulary: 32_000,
        norm_eps: 1e-5,
        rope_theta: None,
    };

    /// Channels of a head.
    pub fn head_dim(&self) -> usize {
        self.dim / self.heads
    }
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingProgram {
    /// Its name, without the extension of a form.
    pub name: String,
    /// What it takes, in the order of declaration.
    pub inputs: Vec<TrainingTensor>,
    /// What it gives.
    pub output: TrainingTensor,
    /// Multiplications and additions of its matrix products, each being one operation.
    pub operations: u64,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingTensor {
    /// Its name.
    pub name: String,
    /// Its axes, outermost first.
    pub shape: [usize; 4],
    /// Its bytes.
    pub bytes: usize,
    /// What it holds, in order along the axis, with the length of each there.
    pub parts: Vec<(String, usize)>,
}

/// A table of programs that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrainingManifestError {
    /// Malformed.
    #[error("`{TRAINING_JSON}` is malformed")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("`{TRAINING_JSON}` has version {found}, expected {TRAINING_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
}

impl TrainingManifest {
    /// Reads the text of a table.
    ///
    /// # Errors
    /// The text is malformed, or of another version.
    pub fn from_json(text: &str) -> Result<Self, TrainingManifestError> {
        let manifest: Self = serde_json::from_str(text)?;
        match manifest.version {
            TRAINING_VERSION => Ok(manifest),
            found => Err(TrainingManifestError::Version { found }),
        }
    }

    /// The text of the table.
    ///
    /// # Errors
    /// A bug: a number that JSON does not have.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}
