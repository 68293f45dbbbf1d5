//! `Manifest.json`, the table of contents of an `.mlpackage`.
//!
//! # Source
//! The files that coremltools@e0e2f42b writes: four-space indentation, sorted keys, a newline at the end. Opening a
//! package with coremltools rewrites the file in exactly this form, so any other would change under its reader.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The identifier of the model item: UUID version 5 of `com.apple.CoreML/model.mlmodel` in the URL namespace.
pub const MODEL_ITEM_IDENTIFIER: &str = "b7b312dc-4c52-5f9e-a2c1-08a40d60bf43";

/// The identifier of the weights item: UUID version 5 of `com.apple.CoreML/weights` in the URL namespace.
pub const WEIGHTS_ITEM_IDENTIFIER: &str = "aa794b57-6179-5ad2-8c64-3b8d10b76fac";

/// The only version of the file that Core ML reads, but for `0.9.0`.
pub const FILE_FORMAT_VERSION: &str = "1.0.0";

const READABLE_VERSIONS: [&str; 2] = [FILE_FORMAT_VERSION, "0.9.0"];

/// The author whose items Core ML looks at.
const AUTHOR: &str = "com.apple.CoreML";

/// Path of the model below `Data/`.
const MODEL_PATH: &str = "com.apple.CoreML/model.mlmodel";

/// Path of the weights directory below `Data/`.
const WEIGHTS_PATH: &str = "com.apple.CoreML/weights";

/// The content of a `Manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of the file's format.
    pub file_format_version: String,
    /// The files and directories of the package by identifier.
    pub item_info_entries: BTreeMap<String, ManifestItem>,
    /// Identifier of the model.
    pub root_model_identifier: String,
}

/// A file or directory of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestItem {
    /// Who the item is for.
    pub author: String,
    /// What it is.
    pub description: String,
    /// Its name.
    pub name: String,
    /// Its path below `Data/`.
    pub path: String,
}

/// A `Manifest.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a key is missing or has the wrong type.
    #[error("`Manifest.json` is malformed")]
    Malformed(#[from] serde_json::Error),
    /// A version that is not known.
    #[error("`Manifest.json` has `fileFormatVersion` `{found}`, expected `{FILE_FORMAT_VERSION}`")]
    Version {
        /// The version found.
        found: String,
    },
    /// The root model is not among the items.
    #[error("`Manifest.json` has `rootModelIdentifier` `{identifier}`, which is none of its items")]
    NoRootModel {
        /// The identifier.
        identifier: String,
    },
}

impl Manifest {
    /// The manifest of a package with a weights directory, or without.
    pub fn for_package(weights: Weights) -> Self {
        let mut item_info_entries = BTreeMap::from([(
            MODEL_ITEM_IDENTIFIER.to_owned(),
            ManifestItem::core_ml("CoreML Model Specification", "model.mlmodel", MODEL_PATH),
        )]);
        if weights == Weights::Present {
            item_info_entries.insert(
                WEIGHTS_ITEM_IDENTIFIER.to_owned(),
                ManifestItem::core_ml("CoreML Model Weights", "weights", WEIGHTS_PATH),
            );
        }
        Self {
            file_format_version: FILE_FORMAT_VERSION.to_owned(),
            item_info_entries,
            root_model_identifier: MODEL_ITEM_IDENTIFIER.to_owned(),
        }
    }

    /// Reads the file's text. Keys that are not known are ignored, as Core ML ignores them.
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_str(text)?;
        if !READABLE_VERSIONS.contains(&manifest.file_format_version.as_str()) {
            return Err(ManifestError::Version { found: manifest.file_format_version });
        }
        if manifest.root_model().is_none() {
            return Err(ManifestError::NoRootModel { identifier: manifest.root_model_identifier });
        }
        Ok(manifest)
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        self.serialize(&mut serializer).expect("strings and maps with string keys serialize into memory");
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    /// The item of the model.
    pub fn root_model(&self) -> Option<&ManifestItem> {
        self.item_info_entries.get(&self.root_model_identifier)
    }

    /// The item of the weights directory.
    pub fn weights(&self) -> Option<&ManifestItem> {
        self.item_info_entries.values().find(|item| item.name == "weights" && item.author == AUTHOR)
    }
}

/// Whether a package has a weights directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// It has.
    Present,
    /// It has not.
    Absent,
}

impl ManifestItem {
    fn core_ml(description: &str, name: &str, path: &str) -> Self {
        Self {
            author: AUTHOR.to_owned(),
            description: description.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_four_spaces_sorted_keys_and_a_final_newline() {
        let text = Manifest::for_package(Weights::Absent).to_json();
        let expected = format!(
            r#"{{
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {{
        "{MODEL_ITEM_IDENTIFIER}": {{
            "author": "com.apple.CoreML",
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": "com.apple.CoreML/model.mlmodel"
        }}
    }},
    "rootModelIdentifier": "{MODEL_ITEM_IDENTIFIER}"
}}
"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let manifest = Manifest::for_package(Weights::Present);
        let again = Manifest::from_json(&manifest.to_json()).expect("own text");
        assert_eq!(again, manifest);
        assert_eq!(again.weights().expect("weights item").path, "com.apple.CoreML/weights");
        assert_eq!(again.root_model().expect("model item").name, "model.mlmodel");
    }

    #[test]
    fn other_versions_and_dangling_roots_are_errors() {
        let text = Manifest::for_package(Weights::Present).to_json();
        let other = Manifest::from_json(&text.replace("1.0.0", "2.0.0"));
        assert!(matches!(other, Err(ManifestError::Version { found }) if found == "2.0.0"));
        let dangling = text.replace(&format!("Identifier\": \"{MODEL_ITEM_IDENTIFIER}"), "Identifier\": \"nothing");
        assert!(matches!(Manifest::from_json(&dangling), Err(ManifestError::NoRootModel { .. })));
        assert!(matches!(Manifest::from_json("{}"), Err(ManifestError::Malformed(_))));
    }
}
