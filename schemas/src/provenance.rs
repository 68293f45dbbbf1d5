//! `provenance.json`: what every stored weight of a converted directory came from.
//!
//! Whoever compares what is stored with a checkpoint needs neither guess by a name nor search: every blob of every weight
//! file stands here once, with the tensor, the rows and the columns that it was made of, or as a table that was computed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Name of the file within a converted directory.
pub const PROVENANCE_JSON: &str = "provenance.json";

/// Version of the schema; a reader refuses others.
pub const PROVENANCE_VERSION: u32 = 1;

/// Cosines of RoPE by position, `[1, positions, head_dim]`.
pub const ROPE_COS: &str = "rope_cos";

/// Sines of RoPE by position, `[1, positions, head_dim]`.
pub const ROPE_SIN: &str = "rope_sin";

/// What every stored weight of a directory came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// [`PROVENANCE_VERSION`].
    pub version: u32,
    /// The blobs of the weight file of each model, by the model's name without extension.
    pub models: BTreeMap<String, ModelProvenance>,
}

/// What the blobs of a model's weight file came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelProvenance {
    /// Those of the checkpoint, in file order.
    pub weights: Vec<WeightProvenance>,
    /// Offset of each table that was computed, by its name, such as [`ROPE_COS`].
    pub tables: BTreeMap<String, u64>,
    /// Where the program is there as text, in which each blob has a file of its own: the offset that stands for the blob here,
    /// by the name that the text has for its file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, u64>,
}

/// What one stored weight came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightProvenance {
    /// The tensor of the checkpoint.
    pub tensor: String,
    /// What became of the tensor before rows and columns were taken, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Transform>,
    /// First row, and the row behind the last. An element of a vector is a row of one column.
    pub rows: [u64; 2],
    /// First column, and the column behind the last.
    pub columns: [u64; 2],
    /// How it is stored, as the command line takes it, such as `lut4:8+scale`.
    pub encoding: String,
    /// Offsets of its blobs as programs have them. The first are those of the op that makes the constant; where the
    /// encoding has another, it holds a factor for each row, by which the program multiplies what the rows give.
    pub blobs: Vec<u64>,
}

/// A step of what became of a tensor. Later steps, and rows and columns, speak of its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// This number was added to every element.
    Add(f32),
    /// Every element was multiplied by this number.
    Scale(f32),
    /// Row `i` of each run of as many rows as there are numbers is row `order[i]` of the run before.
    PermuteRows(Vec<u64>),
    /// Rows of zeros were added behind those there were.
    PadRows {
        /// Rows there were.
        from: u64,
        /// Rows of the result.
        to: u64,
    },
    /// Columns of zeros were added behind those there were, up to this number.
    PadColumns(u64),
}

/// A provenance that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// Malformed.
    #[error("`{PROVENANCE_JSON}` is malformed")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("`{PROVENANCE_JSON}` has version {found}, expected {PROVENANCE_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
}

impl Provenance {
    /// The provenance of these models.
    pub fn new(models: BTreeMap<String, ModelProvenance>) -> Self {
        Self { version: PROVENANCE_VERSION, models }
    }

    /// Reads the text of a provenance.
    ///
    /// # Errors
    /// The text is malformed, or of another version.
    pub fn from_json(text: &str) -> Result<Self, ProvenanceError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version != PROVENANCE_VERSION {
            return Err(ProvenanceError::Version { found: version });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The text of the provenance.
    ///
    /// # Errors
    /// A number cannot be written.
    pub fn to_json(&self) -> Result<String, ProvenanceError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

impl ModelProvenance {
    /// The offsets of all blobs.
    pub fn blobs(&self) -> BTreeSet<u64> {
        let weights = self.weights.iter().flat_map(|weight| &weight.blobs);
        weights.chain(self.tables.values()).copied().collect()
    }

    /// The offset that stands here for the blob whose record is at `offset` of the file called `file_name`.
    pub fn blob(&self, file_name: &str, offset: u64) -> u64 {
        self.files.get(file_name).copied().unwrap_or(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance() -> Provenance {
        let weight = WeightProvenance {
            tensor: "model.norm.weight".to_owned(),
            transforms: vec![Transform::Add(1.0), Transform::PadRows { from: 30, to: 32 }],
            rows: [0, 32],
            columns: [0, 1],
            encoding: "fp16".to_owned(),
            blobs: vec![64],
        };
        let tables = [(ROPE_COS.to_owned(), 256)].into();
        let model = ModelProvenance { weights: vec![weight], tables, files: BTreeMap::new() };
        Provenance::new([("head".to_owned(), model)].into())
    }

    #[test]
    fn what_is_written_is_read() {
        let text = provenance().to_json().expect("finite");
        assert_eq!(Provenance::from_json(&text).expect("written"), provenance());
        assert!(text.contains(r#""add": 1.0"#) && text.contains(r#""pad_rows": {"#), "{text}");
        assert_eq!(provenance().models["head"].blobs(), [64, 256].into());
    }

    #[test]
    fn other_versions_are_refused_whatever_else_they_hold() {
        let error = Provenance::from_json(r#"{"version": 2, "weights": 1}"#).expect_err("refused");
        assert_eq!(error.to_string(), "`provenance.json` has version 2, expected 1");
        assert!(matches!(Provenance::from_json(r#"{"version": 1}"#), Err(ProvenanceError::Json(_))));
    }
}
