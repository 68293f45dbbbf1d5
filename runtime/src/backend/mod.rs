//! What runs a model: one trait for every engine.
//!
//! An engine opens a model of a converted directory, loads functions of it, makes states, and predicts. Tensors pass the
//! border as [`Tensor`]s; what an engine keeps on a device stays behind the trait.

pub mod coreml;
mod engine;
pub mod private_ane;
mod reference;

use std::collections::BTreeMap;

use anec_mil::NamedValueType;
use anec_mil::evaluate::{EvaluateError, Tensor};
use anec_mil::stored::StoredModelError;

use coreml::CoreMlError;
use private_ane::PrivateAneError;

use crate::part::{ModelPart, PartError};

pub use engine::{Engine, LoadedFunction, LoadedModel, LoadedState};
pub use reference::{ReferenceBackend, ReferenceFunction, ReferenceModel, ReferenceOptions};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// An engine. What drives models asks for an [`Engine`], which every backend is.
pub trait Backend {
    /// A model that is open.
    type Model: Model + 'static;

    /// Opens a model.
    ///
    /// # Errors
    /// The model is not usable, or not by this engine.
    fn open(&self, part: &ModelPart) -> Result<Self::Model, BackendError>;
}

/// A model that is open.
pub trait Model {
    /// A function that is ready to predict.
    type Function: Function + 'static;

    /// Names of its functions, sorted.
    fn function_names(&self) -> Vec<String>;

    /// Loads the function `name`.
    ///
    /// # Errors
    /// There is no such function, or the engine cannot load it.
    fn load(&self, name: &str) -> Result<Self::Function, BackendError>;
}

/// A function that is ready to predict.
pub trait Function {
    /// The tensors that outlive a prediction. One state serves all functions of all models that declare the same states.
    type State: 'static;

    /// What it takes and gives.
    fn signature(&self) -> &Signature;

    /// A state of zeros.
    ///
    /// # Errors
    /// The engine cannot make it.
    fn new_state(&self) -> Result<Self::State, BackendError>;

    /// The tensors that a state holds, to be looked at.
    ///
    /// # Errors
    /// The engine cannot read them.
    fn read_state(&self, state: &Self::State) -> Result<Tensors, BackendError>;

    /// Predicts. `state` is changed; after an error it must not be used again.
    ///
    /// # Errors
    /// Inputs are missing or do not fit, or the prediction fails.
    fn predict(&self, inputs: &Tensors, state: &mut Self::State) -> Result<Tensors, BackendError>;
}

/// What a function takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Tensors that a prediction needs.
    pub inputs: Vec<NamedValueType>,
    /// Tensors that a prediction gives.
    pub outputs: Vec<NamedValueType>,
    /// States that a prediction needs.
    pub states: Vec<NamedValueType>,
}

/// A model that an engine cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The model cannot be opened.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The package of a model is not usable.
    #[error("Cannot open the model `{model}`")]
    Package {
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: Box<StoredModelError>,
    },
    /// A function cannot be loaded.
    #[error("Cannot load the function `{function}` of `{model}`")]
    Load {
        /// The model.
        model: String,
        /// The function.
        function: String,
        /// Why.
        #[source]
        source: Box<EvaluateError>,
    },
    /// A prediction failed.
    #[error("Cannot run the function `{function}` of `{model}`")]
    Predict {
        /// The model.
        model: String,
        /// The function.
        function: String,
        /// Why.
        #[source]
        source: Box<EvaluateError>,
    },
    /// A state of another engine.
    #[error("the state that was given to the function of `{model}` is not of this engine")]
    State {
        /// The model.
        model: String,
    },
    /// Core ML cannot do it.
    #[error("Core ML cannot {action} `{model}`")]
    CoreMl {
        /// What it cannot do.
        action: String,
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: Box<CoreMlError>,
    },
    /// The Neural Engine's own interface cannot do it.
    #[error("The Neural Engine's own interface cannot {action} `{model}`")]
    PrivateAne {
        /// What it cannot do.
        action: String,
        /// The model.
        model: String,
        /// Why.
        #[source]
        source: Box<PrivateAneError>,
    },
}

impl BackendError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::CoreMl { source, .. } => source.hint(),
            Self::PrivateAne { source, .. } => source.hint(),
            _ => None,
        }
    }
}
