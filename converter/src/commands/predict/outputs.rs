//! What a prediction gives: files, and a line about each result.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::evaluate::{Elements, Tensor};
use anec_mil::package::{ColorSpace, FeatureType, FunctionDescription};
use clap::ValueEnum;
use fs_err as fs;

use super::array::{Array, Numbers};
use super::picture::{self, PictureError};
use super::{json, npy};
use crate::error::Hint;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// NumPy's arrays; results that are images as PNG, too.
    #[default]
    Npy,
    /// Nested lists.
    Json,
}

/// A result that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// The disk.
    #[error("Cannot write `{}`", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is there already.
    #[error("Cannot write `{}`: it exists", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A name that is none of a file.
    #[error("Cannot write the result {name:?}: its name is not one of letters, digits and underscores")]
    Name {
        /// The name.
        name: String,
    },
    /// A result that is no image, although the description says so.
    #[error("Cannot write `{}`", .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PictureError,
    },
}

impl Hint for OutputError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("choose another directory with `-o`, or replace it with `--force`".to_owned()),
            _ => None,
        }
    }
}

/// Where results go.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) directory: PathBuf,
    pub(super) format: Format,
    pub(super) force: bool,
}

impl Destination {
    /// The same in a directory within.
    pub(super) fn within(&self, name: &str) -> Self {
        Self { directory: self.directory.join(name), ..self.clone() }
    }

    /// Writes a tensor under a name, behind a prefix of the file's name.
    ///
    /// # Errors
    /// The file exists and is not to be replaced, or cannot be written.
    pub(super) fn write(&self, prefix: &str, name: &str, tensor: &Tensor) -> Result<PathBuf, OutputError> {
        check_name(name)?;
        let strings = match tensor.elements() {
            Elements::Strings(values) => Some(values),
            _ => None,
        };
        let extension = if strings.is_some() || self.format == Format::Json { "json" } else { "npy" };
        let path = self.directory.join(format!("{prefix}{name}.{extension}"));
        let mut bytes = Vec::new();
        let failed = |source| OutputError::Io { path: path.clone(), source };
        if let Some(strings) = strings {
            bytes = serde_json::to_vec(strings.as_slice()).map_err(|error| failed(error.into()))?;
        } else {
            let array = Array::of(tensor).map_err(|error| failed(io::Error::other(error)))?;
            match self.format {
                Format::Npy => npy::write(&mut bytes, &array, tensor.dtype()).map_err(failed)?,
                Format::Json => bytes.extend(json::write(&array).to_string().bytes()),
            }
        }
        self.file(&path, &bytes)?;
        Ok(path)
    }

    /// Writes a result that is no tensor.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<PathBuf, OutputError> {
        check_name(name)?;
        let path = self.directory.join(format!("{name}.json"));
        self.file(&path, value.to_string().as_bytes())?;
        Ok(path)
    }

    /// Writes the image that a result is.
    ///
    /// # Errors
    /// As [`Self::write`], or the result is none.
    pub(super) fn write_picture(&self, name: &str, tensor: &Tensor, space: ColorSpace) -> Result<PathBuf, OutputError> {
        let path = self.directory.join(format!("{name}.png"));
        let encoded = picture::of(tensor, space).and_then(|picture| picture.to_png());
        let bytes = encoded.map_err(|source| OutputError::Picture { path: path.clone(), source })?;
        self.file(&path, &bytes)?;
        Ok(path)
    }

    fn file(&self, path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
        let failed = |source| OutputError::Io { path: path.to_owned(), source };
        if !self.force && fs::symlink_metadata(path).is_ok() {
            return Err(OutputError::Exists { path: path.to_owned() });
        }
        fs::create_dir_all(&self.directory).map_err(failed)?;
        fs::write(path, bytes).map_err(failed)
    }
}

fn check_name(name: &str) -> Result<(), OutputError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '-');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(OutputError::Name { name: name.chars().take(80).collect() });
    }
    Ok(())
}

/// The color space of a result that is an image of 8-bit channels.
pub(super) fn color_space(description: Option<&FunctionDescription>, name: &str) -> Option<ColorSpace> {
    let feature = description?.outputs.iter().find(|feature| feature.name == name)?;
    match &feature.ty {
        FeatureType::Image(image) if image.color_space != ColorSpace::GrayscaleFloat16 => Some(image.color_space),
        _ => None,
    }
}

/// A line about a tensor: its type, and its numbers or what they lie between.
pub(super) fn summary(name: &str, tensor: &Tensor) -> String {
    const SHOWN: usize = 8;
    let mut text = format!("{name}: {}", tensor.ty());
    if let Elements::Strings(values) = tensor.elements() {
        let _ = match values.as_slice() {
            [single] => write!(text, " = {single:?}"),
            several => write!(text, " = {:?}", several.iter().take(SHOWN).collect::<Vec<_>>()),
        };
        return text;
    }
    let Ok(array) = Array::of(tensor) else { return text };
    let floats: Vec<f64> = match &array.numbers {
        Numbers::Floats(values) => values.clone(),
        Numbers::Integers(values) => {
            let _ = match (values.len() <= SHOWN, values.iter().min(), values.iter().max()) {
                (false, Some(low), Some(high)) => write!(text, ", {low} to {high}"),
                _ => write!(text, " = {values:?}"),
            };
            return text;
        }
        Numbers::Bools(values) if values.len() <= SHOWN => {
            let _ = write!(text, " = {values:?}");
            return text;
        }
        Numbers::Bools(values) => {
            let count = values.iter().filter(|value| **value).count();
            let _ = write!(text, ", {count} of {} true", values.len());
            return text;
        }
    };
    if floats.len() <= SHOWN {
        let _ = write!(text, " = {floats:?}");
        return text;
    }
    let (low, high) = floats
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let nans = floats.iter().filter(|value| value.is_nan()).count();
    let _ = write!(text, ", {low} to {high}");
    if nans > 0 {
        let _ = write!(text, ", {nans} not a number");
    }
    text
}
