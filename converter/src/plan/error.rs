//! Why a conversion cannot be planned.

use anec_mil::passes;
use anec_schemas::contract::coreml_llm_cli::buffers::BufferError;
use anec_schemas::contract::coreml_llm_cli::discovery::DiscoveryError;

use crate::error::Hint;
use crate::graph::GraphError;
use crate::options::ByteSize;

/// A conversion that cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A graph cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph code or a pass made an invalid program.
    #[error("Cannot prepare `{stem}`")]
    Pass {
        /// The package.
        stem: String,
        /// The pass and what it left.
        #[source]
        source: passes::PassError,
    },
    /// A weight file over the limit.
    #[error("Cannot fit `{stem}` in one weight file: it has {found} of weights, the limit is {limit}")]
    TooLarge {
        /// The package.
        stem: String,
        /// Its size.
        found: ByteSize,
        /// The limit.
        limit: ByteSize,
        /// What to do.
        hint: String,
    },
    /// Models that the layout's client would not load.
    #[error("Cannot make models for coreml-llm-cli")]
    Buffers(#[from] BufferError),
    /// Names that the layout's client would not find.
    #[error("Cannot name models for coreml-llm-cli")]
    Discovery(#[from] DiscoveryError),
    /// An option that does not fit the model.
    #[error("Cannot use `{}`: {expected}", format!("{option} {value}").trim_end())]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What would be accepted.
        expected: String,
    },
}

impl Hint for PlanError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Graph(error) => error.hint(),
            Self::Pass { .. } | Self::Buffers(_) | Self::Discovery(_) => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::TooLarge { hint, .. } => Some(hint.clone()),
            Self::Option { .. } => None,
        }
    }
}
