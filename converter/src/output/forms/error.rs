//! Why a model cannot be written.

use std::io;
use std::path::PathBuf;

use anec_mil::blob::BlobError;
use anec_mil::compiled::CompiledError;
use anec_mil::package::ModelError;
use anec_runtime::OpenError;

use crate::error::Hint;

/// A model that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// A bug in the description of a model.
    #[error("Cannot describe `{stem}`")]
    Model {
        /// The model.
        stem: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// The model has no compiled form.
    #[error("Cannot compile `{name}`")]
    Compile {
        /// The model.
        name: String,
        /// Why.
        #[source]
        source: Box<CompiledError>,
    },
    /// What was written cannot be read.
    #[error("Cannot read back what was written")]
    ReadBack(#[from] OpenError),
    /// What was written is another model.
    #[error("Cannot verify `{}`: it reads back as another model", .path.display())]
    Differs {
        /// The compiled model.
        path: PathBuf,
    },
    /// What was written reads back wrong.
    #[error("Cannot verify `{}`: {}", .path.display(), .problems.join("; "))]
    Invalid {
        /// The model.
        path: PathBuf,
        /// What is wrong with it.
        problems: Vec<String>,
    },
    /// A weight file cannot be joined with others.
    #[error("Cannot join the weight files")]
    Blob(#[from] BlobError),
    /// The disk.
    #[error("Cannot write the model")]
    Io(#[from] io::Error),
}

impl Hint for FormError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Model { .. } => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::Differs { .. } => Some("this is a bug in anec; please report it with the package".to_owned()),
            Self::ReadBack(_) | Self::Invalid { .. } => {
                Some("the disk may be failing; if it happens again, please report it".to_owned())
            }
            Self::Compile { source, .. } if matches!(**source, CompiledError::Unproven { .. }) => {
                Some("`--unproven` writes it as all else is written, which is likely to be right".to_owned())
            }
            Self::Compile { source, .. } => source.hint().map(str::to_owned),
            Self::Blob(_) | Self::Io(_) => None,
        }
    }
}
