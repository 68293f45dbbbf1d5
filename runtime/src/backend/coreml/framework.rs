//! The border to Core ML: what is asked of it, in plain types.

use std::fmt;
use std::path::{Path, PathBuf};

use super::compute_plan::PlannedOperation;
use super::failure::FrameworkError;
use crate::backend::{Signature, Tensors};

/// Processors that Core ML may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Units {
    /// The CPU alone.
    CpuOnly,
    /// The CPU and the Neural Engine.
    #[default]
    CpuAndNeuralEngine,
    /// All of them, the GPU too.
    All,
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuOnly => "cpu-only",
            Self::CpuAndNeuralEngine => "cpu-and-ne",
            Self::All => "all",
        })
    }
}

/// A function to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The compiled model.
    pub compiled: PathBuf,
    /// The function; `None` for the one that Core ML takes by itself, which models without named functions insist on.
    pub function: Option<String>,
    /// Where it may run.
    pub units: Units,
}

/// What is asked of Core ML. All calls come from the one thread of a queue, so that nothing has to be shared.
pub trait Framework {
    /// A function that is loaded, with the buffers that it predicts with.
    type Model;
    /// The states of a function.
    type State;

    /// Version and build of the system: models that one build has specialized are not for another.
    fn system(&self) -> String;

    /// Compiles a package into a temporary directory, which is the caller's to move.
    ///
    /// # Errors
    /// Core ML does not take the package.
    fn compile(&self, package: &Path) -> Result<PathBuf, FrameworkError>;

    /// Names of the functions of a compiled model.
    ///
    /// # Errors
    /// Core ML does not take the model.
    fn function_names(&self, compiled: &Path) -> Result<Vec<String>, FrameworkError>;

    /// Loads a function. This is what takes minutes the first time.
    ///
    /// # Errors
    /// Core ML does not take the model, the function, or finds no plan for it.
    fn load(&self, request: &LoadRequest) -> Result<Self::Model, FrameworkError>;

    /// What the function takes and gives.
    ///
    /// # Errors
    /// A feature is none that models of this project have.
    fn signature(&self, model: &Self::Model) -> Result<Signature, FrameworkError>;

    /// A state of zeros.
    ///
    /// # Errors
    /// There is no room.
    fn new_state(&self, model: &Self::Model) -> Result<Self::State, FrameworkError>;

    /// The tensors of a state.
    ///
    /// # Errors
    /// A state has a layout that is not understood.
    fn read_state(&self, model: &Self::Model, state: &Self::State) -> Result<Tensors, FrameworkError>;

    /// Predicts.
    ///
    /// # Errors
    /// Inputs do not fit, or the prediction fails.
    fn predict(
        &self,
        model: &mut Self::Model,
        inputs: &Tensors,
        state: &mut Self::State,
    ) -> Result<Tensors, FrameworkError>;

    /// Where each operation of a function would run.
    ///
    /// # Errors
    /// Core ML has no plan for the model.
    fn compute_plan(&self, request: &LoadRequest) -> Result<Vec<PlannedOperation>, FrameworkError>;
}
