//! What a prediction is given: files by the name of an input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anec_mil::evaluate::Tensor;
use anec_mil::package::{
    ArrayDefault, FeatureDescription, FeatureType, FunctionDescription, MultiArray, ShapeFlexibility,
};
use anec_mil::{DataType, NamedValueType};
use anec_runtime::backend::{Signature, Tensors};
use fs_err as fs;

use super::array::{Array, ArrayError, Numbers};
use super::json::{self, JsonError};
use super::npy::{self, NpyError};
use super::picture::{self, PictureError};
use crate::error::Hint;

/// `NAME=FILE`.
#[derive(Clone, Debug)]
pub(super) struct InputFile {
    name: String,
    path: PathBuf,
}

impl FromStr for InputFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("expected NAME=FILE, such as x=x.npy".to_owned()),
        }
    }
}

/// An input that cannot be given.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// A file that holds no such input.
    #[error("Cannot use `{}` as the input `{name}`", .path.display())]
    File {
        /// The input.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: FileError,
    },
    /// An input that the function does not have.
    #[error("`{function}` has no input `{name}`, expected {known}")]
    Unknown {
        /// The function.
        function: String,
        /// The name given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Inputs without a file.
    #[error("`{function}` needs the inputs {missing}, which are not given")]
    Missing {
        /// The function.
        function: String,
        /// Those that are missing, with their types.
        missing: String,
    },
}

/// A file that holds no input.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no array of NumPy.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// It is no array in JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is no image that the input takes.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Its numbers do not fit the element type.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// It has a shape that the input does not take.
    #[error("it has shape {found:?}, expected {expected}")]
    Shape {
        /// The shape.
        found: Vec<usize>,
        /// Those that are taken.
        expected: String,
    },
    /// An image for an input that takes none.
    #[error("it is an image, but the input takes {expected}")]
    NoImage {
        /// What the input takes.
        expected: String,
    },
    /// A name that says no format.
    #[error("its name ends in none of .npy, .json, .png, .jpg and .jpeg")]
    Format,
}

impl Hint for InputError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File { source: FileError::Picture(PictureError::Size { .. }), .. } => {
                Some("scale or crop the image; anec does not, because how it is done changes the result".to_owned())
            }
            Self::Missing { .. } => Some("give each with `--input NAME=FILE`".to_owned()),
            Self::File { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// The tensors of each call, and what the program is given that no file was given for.
#[derive(Debug)]
pub(super) struct Inputs {
    by_name: BTreeMap<String, Vec<Tensor>>,
    /// Optional inputs that take their default.
    pub(super) defaults: Vec<String>,
}

impl Inputs {
    /// Reads every file. Of several for one input, the first is for the first call, and the last for all that follow.
    ///
    /// # Errors
    /// A file is missing, holds something else, or is for no input; or an input is not given.
    pub(super) fn read(
        files: &[InputFile],
        function: &str,
        signature: &Signature,
        description: Option<&FunctionDescription>,
    ) -> Result<Self, InputError> {
        let mut by_name: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
        for InputFile { name, path } in files {
            let input = signature.inputs.iter().find(|input| input.name == *name);
            let input = input.ok_or_else(|| InputError::Unknown {
                function: function.to_owned(),
                name: name.clone(),
                known: signature.inputs.iter().map(|input| format!("`{}`", input.name)).collect::<Vec<_>>().join(", "),
            })?;
            let feature = feature(description, name);
            let tensor = read_file(path, input, feature).map_err(|source| InputError::File {
                name: name.clone(),
                path: path.clone(),
                source,
            })?;
            by_name.entry(name.clone()).or_default().push(tensor);
        }
        let mut missing = Vec::new();
        let mut defaults = Vec::new();
        for input in signature.inputs.iter().filter(|input| !files.iter().any(|file| file.name == input.name)) {
            match feature(description, &input.name).and_then(default_tensor) {
                Some(tensor) => {
                    by_name.insert(input.name.clone(), vec![tensor]);
                    defaults.push(input.name.clone());
                }
                None => missing.push(format!("`{}` ({})", input.name, input.ty)),
            }
        }
        if !missing.is_empty() {
            return Err(InputError::Missing { function: function.to_owned(), missing: missing.join(", ") });
        }
        Ok(Self { by_name, defaults })
    }

    /// The tensors of the call of this index.
    pub(super) fn of_call(&self, index: usize) -> Tensors {
        let tensor = |(name, tensors): (&String, &Vec<Tensor>)| {
            Some((name.clone(), tensors.get(index).or(tensors.last())?.clone()))
        };
        self.by_name.iter().filter_map(tensor).collect()
    }
}

fn feature<'a>(description: Option<&'a FunctionDescription>, name: &str) -> Option<&'a FeatureDescription> {
    description?.inputs.iter().find(|feature| feature.name == name)
}

/// The tensor of an optional input that is left out: its default, or zeros.
fn default_tensor(feature: &FeatureDescription) -> Option<Tensor> {
    let (FeatureType::MultiArray(array), true) = (&feature.ty, feature.optional) else { return None };
    let shape: Vec<usize> = array.shape.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<_>>()?;
    let zeros = Tensor::zeros(array.dtype, &shape).ok()?;
    let count = zeros.count();
    let numbers = match array.default_value {
        None => return Some(zeros),
        Some(ArrayDefault::Int(value)) => Numbers::Integers(vec![value.into(); count]),
        Some(ArrayDefault::Float(value)) => Numbers::Floats(vec![value.into(); count]),
        Some(ArrayDefault::Double(value)) => Numbers::Floats(vec![value; count]),
    };
    Array { shape, numbers }.to_tensor(array.dtype).ok()
}

fn read_file(path: &Path, input: &NamedValueType, feature: Option<&FeatureDescription>) -> Result<Tensor, FileError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let ty = input.ty.as_tensor();
    let array = match (extension.as_str(), feature.map(|feature| &feature.ty)) {
        ("npy", _) => npy::read(fs::File::open(path)?)?,
        ("json", _) => json::read(&fs::read_to_string(path)?)?,
        ("png" | "jpg" | "jpeg", Some(FeatureType::Image(image))) => picture::read(path, image)?,
        ("png" | "jpg" | "jpeg", _) => return Err(FileError::NoImage { expected: input.ty.to_string() }),
        _ => return Err(FileError::Format),
    };
    let shape = ty.is_none_or(|ty| {
        ty.rank() == array.shape.len()
            && ty
                .shape
                .iter()
                .zip(&array.shape)
                .all(|(axis, length)| axis.fixed().is_none_or(|fixed| fixed == *length as u64))
    });
    let described = match feature.map(|feature| &feature.ty) {
        Some(FeatureType::MultiArray(described)) if !takes(described, &array.shape) => Some(described),
        _ => None,
    };
    if let (false, _) | (_, Some(_)) = (shape, described) {
        let expected = match feature {
            Some(feature) => feature.to_string(),
            None => input.ty.to_string(),
        };
        return Err(FileError::Shape { found: array.shape, expected });
    }
    Ok(array.to_tensor(ty.map_or(DataType::Float32, |ty| ty.dtype))?)
}

/// Whether the description allows a shape.
fn takes(array: &MultiArray, shape: &[usize]) -> bool {
    let shape: Vec<u64> = shape.iter().map(|length| *length as u64).collect();
    let others = match &array.flexibility {
        None => array.shape.is_empty(),
        Some(ShapeFlexibility::Enumerated(shapes)) => shapes.contains(&shape),
        Some(ShapeFlexibility::Ranges(ranges)) => {
            ranges.len() == shape.len() && ranges.iter().zip(&shape).all(|(range, length)| range.contains(*length))
        }
    };
    others || array.shape == shape
}
