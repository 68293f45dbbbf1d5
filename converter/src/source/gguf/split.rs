//! Models that come in several files, `NAME-00001-of-00003.gguf`.
//!
//! # Source
//! `llama_split_path` and the keys `split.*` of llama.cpp's `gguf-split`.

use std::path::{Path, PathBuf};

use super::error::GgufError;
use super::metadata::Metadata;

/// Most files of a model.
const MAX_FILES: u64 = 1000;

/// Digits of a number in a name.
const DIGITS: usize = 5;

/// What is before the number in a name without extension, with the number and the count.
fn parts(stem: &str) -> Option<(&str, u64, u64)> {
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (name, number) = rest.rsplit_once('-')?;
    let parse = |digits: &str| {
        let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    Some((name, parse(number)?, parse(count)?))
}

/// The name of a model without the number of a file; none where there is no number.
pub(super) fn stem(stem: &str) -> Option<&str> {
    parts(stem).map(|(name, _, _)| name)
}

/// The number of a file, from 1; none where its name has none.
pub(super) fn number(file: &str) -> Option<u64> {
    let (stem, _) = file.rsplit_once('.')?;
    parts(stem).map(|(_, number, _)| number)
}

/// Files of a model, by its first one.
pub(super) fn count(metadata: &Metadata) -> Result<u64, GgufError> {
    let found = metadata.optional_unsigned("split.count")?.unwrap_or(1).max(1);
    if found > MAX_FILES {
        return Err(GgufError::Count { what: "files of a model", found, most: MAX_FILES });
    }
    Ok(found)
}

/// The other files of a model, in order.
///
/// # Errors
/// The file is not the first, or is not called as a part of a model is.
pub(super) fn others(first: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, GgufError> {
    let count = count(metadata)?;
    if count == 1 {
        return Ok(Vec::new());
    }
    let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = first.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let extension = first.extension().unwrap_or_default().to_string_lossy();
    let wrong =
        |expected: String| GgufError::Value { key: "split.count".to_owned(), expected, found: format!("`{name}`") };
    let Some((prefix, number, named)) = parts(&stem) else {
        return Err(wrong(format!("a file called NAME-00001-of-{count:05}.gguf")));
    };
    if metadata.optional_unsigned("split.no")?.unwrap_or(0) != 0 || number != 1 || named != count {
        return Err(wrong(format!("the first file, {prefix}-00001-of-{count:05}.{extension}")));
    }
    Ok((2..=count)
        .map(|number| first.with_file_name(format!("{prefix}-{number:05}-of-{count:05}.{extension}")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_names() {
        assert_eq!(parts("Qwen3-8B-Q4_K_M-00002-of-00003"), Some(("Qwen3-8B-Q4_K_M", 2, 3)));
        assert_eq!(stem("model-00001-of-00002"), Some("model"));
        assert_eq!(number("model-00002-of-00002.gguf"), Some(2));
        for name in ["model", "model-1-of-2", "model-00001-of-0000x", "00001-of-00002"] {
            assert_eq!(parts(name), None, "{name}");
        }
    }
}
