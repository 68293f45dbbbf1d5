//! A model in whichever form it is stored.

use std::fmt;

use crate::blob::BlobFile;
use crate::compiled::{CompiledError, CompiledModel, DATA_PATH, LooseModel, PROGRAM_PATH};
use crate::package::{
    MANIFEST_PATH, MAX_MODEL_BYTES, Model, ModelError, Package, PackageError, PackageFiles, PathError, Pipeline,
    checked_relative_path, decode_model, decode_model_with_notes, decode_pipeline, open_weights, read_limited,
    weight_path,
};

/// The form of a stored model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An `.mlpackage`.
    Package,
    /// An `.mlmodelc`.
    Compiled,
    /// A bare model message, with its weight files beside it.
    Message,
    /// A program as text, with its weight files.
    Text,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Package => "package",
            Self::Compiled => "compiled model",
            Self::Message => "model message",
            Self::Text => "program text",
        })
    }
}

/// A model in whichever form it is stored; all of them give the same [`Model`] and the same weights.
#[derive(Debug)]
pub enum StoredModel<F> {
    /// An `.mlpackage`.
    Package(Package<F>),
    /// An `.mlmodelc`.
    Compiled(CompiledModel<F>),
    /// A bare model message.
    Message(MessageFile<F>),
    /// A program as text.
    Text(LooseModel<F>),
}

/// A bare model message among the files of a directory.
#[derive(Debug)]
pub struct MessageFile<F> {
    files: F,
    path: String,
    /// The message, where it is a part of the file.
    part: Option<Vec<u8>>,
}

/// A stored model that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredModelError {
    /// Neither a package nor a compiled model nor a program.
    #[error(
        "There is neither `{MANIFEST_PATH}` of a package nor `{DATA_PATH}` of a compiled model nor `{PROGRAM_PATH}` of a program"
    )]
    NoModel,
    /// A pipeline without the member that is asked for.
    #[error("There is no member {index} in a pipeline of {count}")]
    NoMember {
        /// The index asked for.
        index: usize,
        /// How many members there are.
        count: usize,
    },
    /// The package, or the model message and its weight files, are not usable.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// The compiled model is not usable.
    #[error(transparent)]
    Compiled(#[from] CompiledError),
}

impl StoredModelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoModel | Self::NoMember { .. } => None,
            Self::Package(error) => error.hint(),
            Self::Compiled(error) => error.hint(),
        }
    }
}

impl From<PathError> for StoredModelError {
    fn from(error: PathError) -> Self {
        PackageError::from(error).into()
    }
}

impl From<ModelError> for StoredModelError {
    fn from(error: ModelError) -> Self {
        PackageError::from(error).into()
    }
}

impl<F: PackageFiles> StoredModel<F> {
    /// Opens a package, a compiled model or a program as text, whichever is there.
    ///
    /// # Errors
    /// None is there, or what is there is malformed.
    pub fn open(files: F) -> Result<Self, StoredModelError> {
        if files.open(MANIFEST_PATH).is_ok() {
            return Ok(Self::Package(Package::open(files)?));
        }
        if files.open(DATA_PATH).is_ok() {
            return Ok(Self::Compiled(CompiledModel::open(files)?));
        }
        if files.open(PROGRAM_PATH).is_ok() {
            return Ok(Self::Text(LooseModel::new(files)));
        }
        Err(StoredModelError::NoModel)
    }

    /// The model message at `path`, whose weight files are beside it.
    ///
    /// # Errors
    /// The path leads out of the directory.
    pub fn message(files: F, path: &str) -> Result<Self, StoredModelError> {
        let path = checked_relative_path(path)?.to_owned();
        Ok(Self::Message(MessageFile { files, path, part: None }))
    }

    /// The member of this index of a pipeline that is stored as package or message; `None` if this is no such pipeline.
    ///
    /// # Errors
    /// It cannot be read, or has no such member.
    pub fn into_member(self, index: usize) -> Result<Option<Self>, StoredModelError> {
        let Some(pipeline) = self.pipeline()? else { return Ok(None) };
        let count = pipeline.members.len();
        let member = pipeline.members.into_iter().nth(index);
        let part = Some(member.ok_or(StoredModelError::NoMember { index, count })?.message);
        Ok(match self {
            Self::Package(package) => {
                let path = package.model_path().to_owned();
                Some(Self::Message(MessageFile { files: package.into_files(), path, part }))
            }
            Self::Message(MessageFile { files, path, .. }) => Some(Self::Message(MessageFile { files, path, part })),
            Self::Compiled(_) | Self::Text(_) => None,
        })
    }

    /// The pipeline that is stored as package or message; `None` if another model is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pipeline(&self) -> Result<Option<Pipeline>, StoredModelError> {
        match self.message_bytes()? {
            Some(message) => Ok(decode_pipeline(&message)?),
            None => Ok(None),
        }
    }

    /// Which form it is.
    pub fn form(&self) -> Form {
        match self {
            Self::Package(_) => Form::Package,
            Self::Compiled(_) => Form::Compiled,
            Self::Message(_) => Form::Message,
            Self::Text(_) => Form::Text,
        }
    }

    /// The model.
    ///
    /// # Errors
    /// It is missing, malformed, or contradicts itself.
    pub fn model(&self) -> Result<Model, StoredModelError> {
        match self {
            Self::Package(package) => Ok(package.model()?),
            Self::Compiled(compiled) => Ok(compiled.model()?),
            Self::Message(_) => Ok(decode_model(&self.message_bytes()?.unwrap_or_default())?),
            Self::Text(text) => Ok(text.model()?),
        }
    }

    /// The model as far as it is known, and what is not: fields and versions that came later, and where a compiled model
    /// contradicts its description.
    ///
    /// # Errors
    /// It is missing or malformed, or of another kind.
    pub fn model_with_notes(&self) -> Result<(Model, Vec<String>), StoredModelError> {
        match self {
            Self::Package(package) => Ok(package.model_with_notes()?),
            Self::Compiled(compiled) => Ok(compiled.model_with_notes()?),
            Self::Message(_) => Ok(decode_model_with_notes(&self.message_bytes()?.unwrap_or_default())?),
            Self::Text(text) => Ok((text.model()?, Vec::new())),
        }
    }

    /// The bytes of the model message; a compiled model and a text have none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn message_bytes(&self) -> Result<Option<Vec<u8>>, StoredModelError> {
        match self {
            Self::Package(package) => Ok(Some(package.model_bytes()?)),
            Self::Compiled(_) | Self::Text(_) => Ok(None),
            Self::Message(MessageFile { part: Some(part), .. }) => Ok(Some(part.clone())),
            Self::Message(file) => Ok(Some(read_limited(&file.files, &file.path, MAX_MODEL_BYTES)?)),
        }
    }

    /// The weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the model, or the file is missing or not a weight file.
    pub fn weights(&self, name: &str) -> Result<BlobFile<F::File>, StoredModelError> {
        match self {
            Self::Package(package) => Ok(package.weights(name)?),
            Self::Compiled(compiled) => Ok(compiled.weights(name)?),
            Self::Message(file) => Ok(open_weights(&file.files, &file.path, name)?),
            Self::Text(text) => Ok(text.weights(name)?),
        }
    }

    /// Path among the model's files of the weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the model.
    pub fn weight_path(&self, name: &str) -> Result<String, StoredModelError> {
        match self {
            Self::Package(package) => Ok(package.weight_path(name)?),
            Self::Compiled(compiled) => Ok(compiled.weight_path(name)?),
            Self::Message(file) => Ok(weight_path(&file.path, name)?),
            Self::Text(text) => Ok(text.weight_path(name)?),
        }
    }
}
