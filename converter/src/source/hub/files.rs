//! Which files of a model a conversion needs.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;

use super::Wanted;
use super::api::{Listing, is_below};
use super::error::HubError;
use super::name::ModelName;
use crate::source::checkpoint::{COMPANIONS, README, is_additional_template};
use crate::source::gguf;

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Most bytes of an index.
const INDEX_LIMIT: u64 = 64 << 20;

/// The files to download, the config first. Those that an index names come when it is read.
pub(super) fn needed(name: &ModelName, wanted: Wanted, listing: &Listing) -> Result<Vec<String>, HubError> {
    let files = &listing.files;
    let has = |file: &str| files.contains(file);
    let others = files.iter().filter(|file| is_companion(file)).cloned();
    if let Some(file) = name.file() {
        if !has(file) {
            let found = format!(": there is no `{file}`");
            return Err(HubError::NoWeights { name: name.to_string(), found });
        }
        return Ok(gguf::parts_among(file, files));
    }
    if wanted == Wanted::Config && has(CONFIG) {
        return Ok(vec![CONFIG.to_owned()]);
    }
    let weights = [SINGLE, INDEX].into_iter().find(|file| has(file));
    if let Some(weights) = weights.filter(|_| has(CONFIG)) {
        let mut needed = vec![CONFIG.to_owned()];
        needed.extend(others.filter(|file| file != CONFIG));
        needed.push(weights.to_owned());
        return Ok(needed);
    }
    let models = gguf::models_among(files);
    match models.as_slice() {
        [] => Err(HubError::NoWeights { name: name.to_string(), found: instead(files) }),
        [only] => Ok(gguf::parts_among(only, files)),
        _ => Err(HubError::Several { name: name.to_string(), found: models }),
    }
}

/// Whether a file is copied beside the models.
fn is_companion(file: &str) -> bool {
    COMPANIONS.contains(&file) || file == README || is_additional_template(file)
}

/// What a model has in place of weights that can be read.
fn instead(files: &BTreeSet<String>) -> String {
    let of = |extension: &str| {
        files.iter().find(|file| Path::new(file).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension)))
    };
    match of("bin").or_else(|| of("pth")).or_else(|| of("pt")).or_else(|| of("safetensors")) {
        Some(file) => format!(", only `{file}`"),
        None => String::new(),
    }
}

pub(super) fn is_index(file: &str) -> bool {
    file == INDEX
}

/// The files that an index names, sorted.
pub(super) fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let failed = |source| HubError::Io { path: index.to_owned(), source };
    let mut text = Vec::new();
    fs::File::open(index).map_err(failed)?.take(INDEX_LIMIT).read_to_end(&mut text).map_err(failed)?;
    let parsed: Index = serde_json::from_slice(&text).map_err(|error| HubError::Answer {
        url: index.display().to_string(),
        expected: "an index of weights".to_owned(),
        found: error.to_string(),
    })?;
    let files: BTreeSet<String> = parsed.weight_map.into_values().filter(|file| is_below(file)).collect();
    Ok(files.into_iter().collect())
}

/// The files of a snapshot.
pub(super) fn in_directory(snapshot: &Path) -> BTreeSet<String> {
    const DEEPEST: usize = 4;
    let entries = walkdir::WalkDir::new(snapshot).max_depth(DEEPEST).into_iter().filter_map(Result::ok);
    let name = |entry: walkdir::DirEntry| {
        let path = entry.path().strip_prefix(snapshot).ok()?.to_str()?.replace('\\', "/");
        entry.path().is_file().then_some(path)
    };
    entries.filter_map(name).collect()
}

/// Whether a snapshot has all that a conversion needs.
pub(super) fn is_complete(name: &ModelName, wanted: Wanted, snapshot: &Path, found: &BTreeSet<String>) -> bool {
    if let Some(file) = name.file() {
        return found.contains(file);
    }
    let is_enough = found.contains(SINGLE) || wanted == Wanted::Config;
    if found.contains(CONFIG) && is_enough {
        return true;
    }
    if found.contains(CONFIG) && found.contains(INDEX) {
        let shards = shards(&snapshot.join(INDEX)).unwrap_or_default();
        return !shards.is_empty() && shards.iter().all(|shard| found.contains(shard));
    }
    gguf::models_among(found).len() == 1
}

/// What to open of a snapshot: the directory, or the GGUF file in it.
pub(super) fn entry(name: &ModelName, snapshot: &Path, files: &BTreeSet<String>) -> PathBuf {
    if let Some(file) = name.file() {
        return snapshot.join(file);
    }
    let has_weights = [SINGLE, INDEX].iter().any(|file| files.contains(*file)) && files.contains(CONFIG);
    match gguf::models_among(files).as_slice() {
        [only] if !has_weights => snapshot.join(only),
        _ => snapshot.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed_of(name: &str, files: &[&str]) -> Result<Vec<String>, HubError> {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        needed(&ModelName::parse(name).expect("a name"), Wanted::Checkpoint, &Listing { commit: "0".repeat(40), files })
    }

    #[test]
    fn only_what_a_conversion_reads_is_downloaded() {
        let files = [
            "LICENSE.bin",
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/model.onnx",
            "original/consolidated.00.pth",
            "pytorch_model.bin",
            "tokenizer.json",
        ];
        let needed = needed_of("a/b", &files).expect("weights");
        assert_eq!(needed, ["config.json", "tokenizer.json", "model.safetensors"]);
    }

    #[test]
    fn one_gguf_is_taken_and_several_are_named() {
        assert_eq!(needed_of("a/b", &["README.md", "b-Q4_K_M.gguf"]).expect("one"), ["b-Q4_K_M.gguf"]);
        let parts = ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"];
        assert_eq!(needed_of("a/b", &parts).expect("one in parts"), parts);
        let several = ["b-Q4_K_M.gguf", "b-Q8_0.gguf", "mmproj-b.gguf"];
        assert!(matches!(needed_of("a/b", &several), Err(HubError::Several { found, .. }) if found.len() == 2));
        assert_eq!(needed_of("a/b/b-Q8_0.gguf", &several).expect("named"), ["b-Q8_0.gguf"]);
        let error = needed_of("a/b", &["config.json", "pytorch_model.bin"]).expect_err("pickled");
        assert!(error.to_string().ends_with("only `pytorch_model.bin`"), "{error}");
    }
}
