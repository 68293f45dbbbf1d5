//! What can go wrong with parts.

use std::io;
use std::path::PathBuf;

use anec_mil::blob::BlobError;

use super::{CALIBRATION_JSON, PART_JSON};
use crate::error::Hint;
use crate::output::forms::FormError;
use crate::output::staging::StagingError;

/// A part that cannot be used, or parts that do not make a conversion.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    /// It is not there, or the disk.
    #[error("Cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is malformed.
    #[error("Cannot read `{}`", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("`{}` has format {found}, expected {expected}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is read.
        expected: u32,
    },
    /// It belongs to another conversion.
    #[error(
        "`{}` belongs to another conversion: it was made from another checkpoint, with other options, or by another build \
         ({program})",
        .path.display()
    )]
    Different {
        /// The directory.
        path: PathBuf,
        /// What made it.
        program: String,
    },
    /// Some are missing, or given twice.
    #[error("Parts {} of {of} are missing", .missing.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))]
    Missing {
        /// Their numbers.
        missing: Vec<u32>,
        /// How many there should be.
        of: u32,
    },
    /// None was given.
    #[error("There is no part to assemble")]
    None,
    /// Its description says what cannot be.
    #[error("`{}` is damaged: {message}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// What was assembled cannot be opened.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A blob of what was assembled cannot be taken out of it.
    #[error("Cannot take the weights apart")]
    Blob(#[from] BlobError),
    /// The output.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The disk.
    #[error("Cannot write the output")]
    Io(#[from] io::Error),
}

impl Hint for PartError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } if path.ends_with(PART_JSON) => {
                Some("`anec convert --part I/N` writes a part".to_owned())
            }
            Self::Read { path, .. } if path.ends_with(CALIBRATION_JSON) => {
                Some("`anec convert --part calibration` writes the calibration".to_owned())
            }
            Self::Different { .. } => Some("make all parts with the same build, checkpoint and options".to_owned()),
            Self::Missing { .. } => Some("name the directories of all parts; their order does not matter".to_owned()),
            Self::Damaged { .. } => Some("make this part again, or copy it again".to_owned()),
            Self::Form(error) => error.hint(),
            Self::Staging(error) => error.hint(),
            Self::Blob(_) => Some("make the parts again".to_owned()),
            Self::Read { .. } | Self::Json { .. } | Self::Format { .. } | Self::None | Self::Io(_) => None,
        }
    }
}
