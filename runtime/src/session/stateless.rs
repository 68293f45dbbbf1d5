//! A model of one function without states, which an engine wants a state for all the same.

use anec_mil::evaluate::Tensor;
use anec_schemas::contract::{Contract, Instance};

use super::{Observer, SessionError, conformity, lacks};
use crate::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use crate::part::{ModelPart, PartLabel};

/// The model, loaded.
pub(super) struct Stateless {
    pub(super) label: PartLabel,
    pub(super) function: LoadedFunction,
    name: &'static str,
    /// Holds nothing.
    state: LoadedState,
}

impl Stateless {
    /// Loads the function `name` of a model, which must be as its contract says.
    pub(super) fn open(
        contract: &Contract,
        (part, name): (&ModelPart, &'static str),
        engine: &dyn Engine,
        instance: &Instance,
    ) -> Result<Self, SessionError> {
        let function = engine.open_model(part)?.load(name)?;
        conformity::check(contract, part, name, &function, instance)?;
        let state = function.new_state()?;
        Ok(Self { label: part.label, function, name, state })
    }

    /// Predicts.
    pub(super) fn predict(&mut self, inputs: &Tensors) -> Result<Tensors, SessionError> {
        Ok(self.function.predict(inputs, &mut self.state)?)
    }

    /// Predicts, and shows what it gave.
    pub(super) fn shown(&mut self, inputs: &Tensors, observe: &mut Observer<'_>) -> Result<Tensors, SessionError> {
        let mut outputs = self.predict(inputs)?;
        observe(&self.label, &mut outputs);
        Ok(outputs)
    }

    /// Takes a result out of what it gave.
    pub(super) fn take(&self, outputs: &mut Tensors, name: &str) -> Result<Tensor, SessionError> {
        outputs.remove(name).ok_or_else(|| lacks(self.label, self.name, "output", name))
    }
}
