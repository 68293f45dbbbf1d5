//! Why programs of a training step cannot be made.

use anec_mil::BuildError;
use anec_mil::package::ModelError;
use anec_mil::passes::PassError;

use crate::error::Hint;
use crate::output::forms::FormError;

/// Programs that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A model that is not of the kind that is trained.
    #[error("Cannot make programs for training: `{key}` is {found}, expected {expected}")]
    Config {
        /// The key of config.json.
        key: &'static str,
        /// What would be accepted.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A bug in the graphs: operands that do not fit an op.
    #[error("Cannot build the graph")]
    Build(#[from] BuildError),
    /// A bug in the graphs: an invalid program.
    #[error("Cannot prepare the program")]
    Pass(#[from] PassError),
    /// A bug in the graphs: inputs or outputs that have no description.
    #[error("Cannot describe the program")]
    Model(#[from] ModelError),
    /// A program cannot be written.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The disk.
    #[error("Cannot write the programs")]
    Io(#[from] std::io::Error),
    /// A number that JSON does not have.
    #[error("Cannot write the table of the programs")]
    Json(#[from] serde_json::Error),
}

impl Hint for TrainingError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Build(_) | Self::Pass(_) | Self::Model(_) => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::Form(error) => error.hint(),
            Self::Config { .. } | Self::Io(_) | Self::Json(_) => None,
        }
    }
}
