//! Companions: files of the checkpoint that stand beside the models, such as the tokenizer.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde_json::Value;

use crate::error::Hint;
use crate::output::link::link_or_copy;
use crate::source::checkpoint::{
    ADDITIONAL_TEMPLATES, COMPANIONS, CONFIG_FILE, Checkpoint, CheckpointError, MAX_TEMPLATES, README, README_COPY,
    is_additional_template,
};

/// The largest companion file that is copied; real tokenizers stay under 40 MB.
const MAX_COMPANION_BYTES: u64 = 512 << 20;

/// Companions that cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// A companion file is larger than any tokenizer.
    #[error("Cannot copy `{}`: it has {found} bytes, expected at most {MAX_COMPANION_BYTES}", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// `tokenizer_config.json` is not a JSON object.
    #[error("Cannot read `{}`", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// A companion file that is none of the checkpoint's.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The disk.
    #[error("Cannot copy the companion files")]
    Io(#[from] io::Error),
}

impl Hint for CompanionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::TooLarge { .. } | Self::Json { .. } | Self::Io(_) => None,
        }
    }
}

/// Requires that all companions that are there can be copied, before anything reads them.
pub(crate) fn check(checkpoint: &Checkpoint) -> Result<(), CompanionError> {
    checkpoint.companion_files()?.iter().try_for_each(|(_, path)| check_size(path))
}

/// Copies the companions that are there and gives their names.
///
/// A chat template in a file of its own is also put into `tokenizer_config.json`, where ANEMLL's clients look for it.
pub(crate) fn copy(checkpoint: &Checkpoint, output: &Path) -> Result<Vec<&'static str>, CompanionError> {
    let mut copied = Vec::new();
    for name in COMPANIONS {
        let Some(source) = checkpoint.companion(name)? else { continue };
        // What config.json says of a quantization does not hold for the result.
        if name == CONFIG_FILE && !checkpoint.is_plain() {
            let config = Value::Object(checkpoint.config_json().clone());
            fs::write(output.join(name), format!("{config:#}\n"))?;
            copied.push(name);
            continue;
        }
        copy_file(&source, &output.join(name))?;
        copied.push(name);
    }
    if let Some(source) = checkpoint.companion(README)? {
        copy_file(&source, &output.join(README_COPY))?;
        copied.push(README_COPY);
    }
    copy_templates(checkpoint, output)?;
    inline_chat_template(output)?;
    Ok(copied)
}

/// Makes files of `other` links to those of `first` that are called the same and have the same bytes, so that directories of
/// several context lengths store a tokenizer once.
pub(crate) fn share(first: &Path, other: &Path) -> io::Result<()> {
    for entry in fs::read_dir(other)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let (from, to) = (first.join(&name), entry.path());
        if kind.is_dir() && name == ADDITIONAL_TEMPLATES && from.is_dir() {
            share(&from, &to)?;
        } else if kind.is_file() && from.is_file() && fs::read(&from)? == fs::read(&to)? {
            link_or_copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Reads a file and writes it anew, so that neither permissions nor links of the source come along.
fn copy_file(source: &Path, to: &Path) -> Result<(), CompanionError> {
    check_size(source)?;
    Ok(fs::write(to, fs::read(source)?)?)
}

fn check_size(path: &Path) -> Result<(), CompanionError> {
    let found = fs::metadata(path)?.len();
    if found > MAX_COMPANION_BYTES {
        return Err(CompanionError::TooLarge { path: path.to_owned(), found });
    }
    Ok(())
}

/// Copies the chat templates that have files of their own, beside the default one.
fn copy_templates(checkpoint: &Checkpoint, output: &Path) -> Result<(), CompanionError> {
    let Ok(entries) = fs::read_dir(checkpoint.companions()?.join(ADDITIONAL_TEMPLATES)) else { return Ok(()) };
    for entry in entries.take(MAX_TEMPLATES) {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let name = format!("{ADDITIONAL_TEMPLATES}/{name}");
        if !is_additional_template(&name) {
            continue;
        }
        let Some(source) = checkpoint.companion(&name)? else { continue };
        fs::create_dir_all(output.join(ADDITIONAL_TEMPLATES))?;
        copy_file(&source, &output.join(name))?;
    }
    Ok(())
}

fn inline_chat_template(output: &Path) -> Result<(), CompanionError> {
    let config_path = output.join("tokenizer_config.json");
    let (Ok(template), Ok(config)) = (fs::read_to_string(output.join("chat_template.jinja")), fs::read(&config_path))
    else {
        return Ok(());
    };
    let parsed: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_slice(&config);
    let mut config = parsed.map_err(|source| CompanionError::Json { path: config_path.clone(), source })?;
    if config.contains_key("chat_template") {
        return Ok(());
    }
    config.insert("chat_template".to_owned(), template.into());
    let text = serde_json::to_string_pretty(&config);
    let text = text.map_err(|source| CompanionError::Json { path: config_path.clone(), source })?;
    fs::write(config_path, text + "\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::checkpoint::testing::{Source, write_config, write_tensors};

    fn checkpoint_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("temporary");
        write_config(directory.path(), "{}");
        write_tensors(&directory.path().join("model.safetensors"), &[Source::zeros("a", &[1])]);
        directory
    }

    #[cfg(unix)]
    #[test]
    fn a_companion_that_links_out_of_the_checkpoint_is_refused() {
        let (source, output) = (checkpoint_directory(), tempfile::tempdir().expect("temporary"));
        let secret = tempfile::NamedTempFile::new().expect("temporary");
        std::os::unix::fs::symlink(secret.path(), source.path().join("tokenizer_config.json")).expect("linked");
        let checkpoint = Checkpoint::open(source.path()).expect("a checkpoint");
        let error = copy(&checkpoint, output.path()).expect_err("a link out");
        assert!(error.to_string().contains("tokenizer_config.json"), "{error}");
        assert!(!output.path().join("tokenizer_config.json").exists());
    }

    #[cfg(unix)]
    #[test]
    fn companions_that_link_into_a_named_directory_are_files_to_those_who_read_them() {
        let (source, elsewhere) = (checkpoint_directory(), tempfile::tempdir().expect("temporary"));
        fs::write(elsewhere.path().join("blob"), "{}").expect("writable");
        std::os::unix::fs::symlink(elsewhere.path().join("blob"), source.path().join("tokenizer.json"))
            .expect("linked");
        let checkpoint = Checkpoint::open(source.path()).expect("a checkpoint");
        assert!(check(&checkpoint).is_err());
        let linked = [elsewhere.path().to_owned()];
        let checkpoint = Checkpoint::open_with_links(source.path(), &linked).expect("a checkpoint");
        check(&checkpoint).expect("all are files");
        let companions = checkpoint.companions().expect("copied");
        assert!(!companions.starts_with(source.path()), "{}", companions.display());
        assert!(fs::symlink_metadata(companions.join("tokenizer.json")).expect("there").is_file());
    }

    #[test]
    fn companions_that_are_no_files_or_too_large_are_refused_before_they_are_read() {
        let source = checkpoint_directory();
        let checkpoint = Checkpoint::open(source.path()).expect("a checkpoint");
        let said = || check(&checkpoint).expect_err("refused").to_string();
        fs::create_dir(source.path().join("tokenizer.json")).expect("writable");
        assert!(said().contains("expected a regular file"), "{}", said());
        fs::remove_dir(source.path().join("tokenizer.json")).expect("writable");
        let file = fs::File::create(source.path().join("merges.txt")).expect("writable");
        file.set_len(MAX_COMPANION_BYTES + 1).expect("sparse");
        assert!(said().contains("merges.txt"), "{}", said());
    }

    #[test]
    fn a_chat_template_file_reaches_the_tokenizer_config() {
        let (source, output) = (checkpoint_directory(), tempfile::tempdir().expect("temporary"));
        fs::write(source.path().join("chat_template.jinja"), "{{ x }}").expect("writable");
        fs::write(source.path().join("tokenizer_config.json"), r#"{"b": 1, "a": 2}"#).expect("writable");
        let checkpoint = Checkpoint::open(source.path()).expect("a checkpoint");
        let copied = copy(&checkpoint, output.path()).expect("copied");
        assert_eq!(copied, ["chat_template.jinja", "config.json", "tokenizer_config.json"]);
        let text = fs::read_to_string(output.path().join("tokenizer_config.json")).expect("written");
        assert_eq!(text, "{\n  \"b\": 1,\n  \"a\": 2,\n  \"chat_template\": \"{{ x }}\"\n}\n");
    }

    #[cfg(unix)]
    #[test]
    fn what_two_directories_have_in_common_is_stored_once() {
        use std::os::unix::fs::MetadataExt as _;
        let [first, other] = [(); 2].map(|()| tempfile::tempdir().expect("temporary"));
        for (name, in_first, in_other) in [("tokenizer.json", "a", "a"), ("meta.yaml", "512", "1024")] {
            fs::write(first.path().join(name), in_first).expect("writable");
            fs::write(other.path().join(name), in_other).expect("writable");
        }
        share(first.path(), other.path()).expect("shared");
        let number = |directory: &Path, name| fs::metadata(directory.join(name)).expect("there").ino();
        assert_eq!(number(first.path(), "tokenizer.json"), number(other.path(), "tokenizer.json"));
        assert_eq!(fs::read_to_string(other.path().join("meta.yaml")).expect("there"), "1024");
    }

    #[test]
    fn licences_the_model_card_and_additional_templates_are_copied() {
        let (source, output) = (checkpoint_directory(), tempfile::tempdir().expect("temporary"));
        fs::create_dir(source.path().join(ADDITIONAL_TEMPLATES)).expect("writable");
        for name in
            ["LICENSE", "README.md", "additional_chat_templates/tool_use.jinja", "additional_chat_templates/notes.txt"]
        {
            fs::write(source.path().join(name), name).expect("writable");
        }
        let checkpoint = Checkpoint::open(source.path()).expect("a checkpoint");
        copy(&checkpoint, output.path()).expect("copied");
        assert!(output.path().join("LICENSE").is_file());
        // README.md is the card of the result.
        assert_eq!(fs::read_to_string(output.path().join("README.checkpoint.md")).expect("copied"), "README.md");
        assert!(!output.path().join("README.md").exists());
        let templates = output.path().join(ADDITIONAL_TEMPLATES);
        assert!(templates.join("tool_use.jinja").is_file() && !templates.join("notes.txt").exists());
        let config = anec_runtime::tokenizer::TokenizerConfig::open(output.path()).expect("a config");
        assert!(config.chat_templates.contains_key("tool_use"));
    }
}
