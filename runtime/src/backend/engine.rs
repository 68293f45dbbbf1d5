//! Any backend as one type, for what drives models and does not care which engine runs them.

use std::any::Any;

use super::{Backend, BackendError, Function, Model, Signature, Tensors};
use crate::part::ModelPart;

/// An engine, whichever it is. Every [`Backend`] is one.
pub trait Engine {
    /// Opens a model.
    ///
    /// # Errors
    /// The model is not usable, or not by this engine.
    fn open_model(&self, part: &ModelPart) -> Result<LoadedModel, BackendError>;
}

/// A model that is open in some engine.
pub struct LoadedModel {
    name: String,
    model: Box<dyn AnyModel>,
}

/// A function that is ready to predict in some engine.
pub struct LoadedFunction {
    model: String,
    function: Box<dyn AnyFunction>,
}

/// The tensors that outlive a prediction, wherever an engine keeps them.
pub struct LoadedState(Box<dyn Any>);

impl<B: Backend> Engine for B {
    fn open_model(&self, part: &ModelPart) -> Result<LoadedModel, BackendError> {
        Ok(LoadedModel { name: part.stem.clone(), model: Box::new(self.open(part)?) })
    }
}

impl LoadedModel {
    /// Names of its functions, sorted.
    pub fn function_names(&self) -> Vec<String> {
        self.model.names()
    }

    /// Loads the function `name`.
    ///
    /// # Errors
    /// There is no such function, or the engine cannot load it.
    pub fn load(&self, name: &str) -> Result<LoadedFunction, BackendError> {
        Ok(LoadedFunction { model: self.name.clone(), function: self.model.load_any(name)? })
    }
}

impl LoadedFunction {
    /// What it takes and gives.
    pub fn signature(&self) -> &Signature {
        self.function.signature_of()
    }

    /// A state of zeros. It serves all functions of all models of the engine that declare the same states.
    ///
    /// # Errors
    /// The engine cannot make it.
    pub fn new_state(&self) -> Result<LoadedState, BackendError> {
        Ok(LoadedState(self.function.new_any_state()?))
    }

    /// The tensors that a state holds, to be looked at.
    ///
    /// # Errors
    /// The engine cannot read them, or the state is of another engine.
    pub fn read_state(&self, state: &LoadedState) -> Result<Tensors, BackendError> {
        self.function.read_any_state(&*state.0).unwrap_or_else(|| Err(self.foreign()))
    }

    /// Predicts. `state` is changed; after an error it must not be used again.
    ///
    /// # Errors
    /// Inputs are missing or do not fit, the prediction fails, or the state is of another engine.
    pub fn predict(&self, inputs: &Tensors, state: &mut LoadedState) -> Result<Tensors, BackendError> {
        self.function.predict_any(inputs, &mut *state.0).unwrap_or_else(|| Err(self.foreign()))
    }

    fn foreign(&self) -> BackendError {
        BackendError::State { model: self.model.clone() }
    }
}

/// A [`Model`] without its types.
trait AnyModel {
    fn names(&self) -> Vec<String>;
    fn load_any(&self, name: &str) -> Result<Box<dyn AnyFunction>, BackendError>;
}

/// A [`Function`] without its types. `None` where a state is of another engine.
trait AnyFunction {
    fn signature_of(&self) -> &Signature;
    fn new_any_state(&self) -> Result<Box<dyn Any>, BackendError>;
    fn read_any_state(&self, state: &dyn Any) -> Option<Result<Tensors, BackendError>>;
    fn predict_any(&self, inputs: &Tensors, state: &mut dyn Any) -> Option<Result<Tensors, BackendError>>;
}

impl<M: Model> AnyModel for M {
    fn names(&self) -> Vec<String> {
        self.function_names()
    }

    fn load_any(&self, name: &str) -> Result<Box<dyn AnyFunction>, BackendError> {
        Ok(Box::new(self.load(name)?))
    }
}

impl<F: Function> AnyFunction for F {
    fn signature_of(&self) -> &Signature {
        self.signature()
    }

    fn new_any_state(&self) -> Result<Box<dyn Any>, BackendError> {
        Ok(Box::new(self.new_state()?))
    }

    fn read_any_state(&self, state: &dyn Any) -> Option<Result<Tensors, BackendError>> {
        Some(self.read_state(state.downcast_ref()?))
    }

    fn predict_any(&self, inputs: &Tensors, state: &mut dyn Any) -> Option<Result<Tensors, BackendError>> {
        Some(self.predict(inputs, state.downcast_mut()?))
    }
}
