//! `recipe.json`: how every weight is stored, to be replayed or edited.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::recipe::{Recipe, WeightKind};
use super::storage::{Storage, StorageError};
use crate::error::Hint;

/// Name of the file within an output.
pub const RECIPE_JSON: &str = "recipe.json";

/// Largest file that is read, in bytes; a tensor takes about 80.
const MAX_BYTES: u64 = 1 << 24;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    layers: Option<String>,
    lm_head: Option<String>,
    embeddings: Option<String>,
    /// Tensors of layers that are stored otherwise.
    #[serde(default)]
    tensors: BTreeMap<String, String>,
}

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The disk.
    #[error("Cannot read the recipe")]
    Io(#[from] io::Error),
    /// Too large.
    #[error("The recipe {} has {bytes} bytes, expected at most {MAX_BYTES}", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// No recipe.
    #[error("The recipe {} is malformed", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor that the model does not have.
    #[error("The recipe has the tensor `{tensor}`, which no layer of the model has")]
    Tensor {
        /// The tensor.
        tensor: String,
    },
    /// A storage that does not exist.
    #[error("The recipe stores `{weight}` as `{text}`")]
    Storage {
        /// Which weight.
        weight: String,
        /// What it says.
        text: String,
        /// Why not.
        #[source]
        source: StorageError,
    },
}

impl Hint for RecipeError {}

/// Reads a recipe.
///
/// # Errors
/// The file cannot be read, or says what is no storage.
pub fn read(path: &Path) -> Result<Recipe, RecipeError> {
    let bytes = fs::metadata(path)?.len();
    if bytes > MAX_BYTES {
        return Err(RecipeError::Size { path: path.to_owned(), bytes });
    }
    let text = fs::read_to_string(path)?;
    let file: RecipeFile =
        serde_json::from_str(&text).map_err(|source| RecipeError::Json { path: path.to_owned(), source })?;
    let storage = |weight: &str, text: Option<&String>| match text {
        None => Ok(Storage::default()),
        Some(text) => text.parse().map_err(|source| RecipeError::Storage {
            weight: weight.to_owned(),
            text: text.clone(),
            source,
        }),
    };
    let mut recipe = Recipe::new(
        storage("layers", file.layers.as_ref())?,
        storage("lm_head", file.lm_head.as_ref())?,
        storage("embeddings", file.embeddings.as_ref())?,
    );
    for (tensor, text) in &file.tensors {
        recipe = recipe.with_tensor(WeightKind::Layer, tensor, storage(tensor, Some(text))?);
    }
    Ok(recipe)
}

/// Requires that a recipe names only tensors that are among `known`.
///
/// # Errors
/// One is not.
pub(crate) fn check_tensors<'a>(recipe: &Recipe, known: impl Iterator<Item = &'a str>) -> Result<(), RecipeError> {
    let known: BTreeSet<&str> = known.collect();
    match recipe.own_of(WeightKind::Layer).find(|(tensor, _)| !known.contains(tensor)) {
        Some((tensor, _)) => Err(RecipeError::Tensor { tensor: tensor.to_owned() }),
        None => Ok(()),
    }
}

/// The text of a recipe.
pub(crate) fn text(recipe: &Recipe) -> String {
    let own = recipe.own_of(WeightKind::Layer);
    let file = RecipeFile {
        layers: Some(recipe.ffn.to_string()),
        lm_head: Some(recipe.lm_head.to_string()),
        embeddings: Some(recipe.embeddings.to_string()),
        tensors: own.map(|(tensor, storage)| (tensor.to_owned(), storage.to_string())).collect(),
    };
    serde_json::to_string_pretty(&file).expect("strings have a JSON form") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_that_was_written_is_read_back() {
        let storage = |text: &str| text.parse::<Storage>().expect("a storage");
        let recipe = Recipe::new(storage("lut4+calibrated"), storage("lut6"), storage("int8"));
        let recipe = recipe.with_tensor(WeightKind::Layer, "k", storage("lut6:8+calibrated"));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(RECIPE_JSON);
        fs::write(&path, text(&recipe)).expect("written");
        assert_eq!(read(&path).expect("a recipe"), recipe);
        fs::write(&path, "{\"layers\": \"lut5\"}").expect("written");
        assert!(matches!(read(&path), Err(RecipeError::Storage { .. })));
        fs::write(&path, "{\"layer\": \"lut4\"}").expect("written");
        assert!(matches!(read(&path), Err(RecipeError::Json { .. })));
    }
}
