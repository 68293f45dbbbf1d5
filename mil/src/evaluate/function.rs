//! A function that is ready to run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::EvaluateFn;
use super::call::{Call, StateOperand};
use super::error::EvaluateError;
use super::numerics::{Numerics, Statistics, Step};
use super::prepare::{Preparation, Prepared};
use super::tensor::{Tensor, TensorError, fixed_shape};
use crate::blob::BlobError;
use crate::opset::Opset;
use crate::program::{NamedValueType, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::BlobReference;

/// Elements that a tensor of a nested block may have; no loop that was seen comes near.
const MOST_NESTED_ELEMENTS: usize = 1 << 28;
/// Iterations that the loops of one run may make together, unless another bound is set.
const ITERATION_LIMIT: u64 = 1_000_000;

/// Where the blobs of a program come from.
pub trait WeightSource {
    /// The packed elements of a blob, which must have this type.
    ///
    /// # Errors
    /// There is no such blob.
    fn blob(&self, reference: &BlobReference, ty: &TensorType) -> Result<Arc<Vec<u8>>, BlobError>;
}

/// The tensors that outlive a prediction, by name. Functions of several programs may share one.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A function with its constants bound, ready to run any number of times.
#[derive(Debug)]
pub struct EvaluableFunction {
    opset: Opset,
    numerics: Numerics,
    inputs: Vec<(NamedValueType, usize)>,
    states: Vec<(String, TensorType)>,
    outputs: Vec<(NamedValueType, Source)>,
    operations: Vec<PreparedOperation>,
    slots: usize,
    constants: BTreeMap<String, Tensor>,
    /// Iterations that the loops of one run may make together.
    pub(super) iteration_limit: u64,
}

/// An operation with everything about it that is known before the function runs.
#[derive(Debug)]
pub(super) struct PreparedOperation {
    pub(super) step: Step,
    pub(super) action: Action,
    pub(super) operands: Vec<(String, Vec<Source>)>,
    pub(super) state: Option<(String, bool)>,
    pub(super) results: Vec<(NamedValueType, usize)>,
    /// Slots that no later operation needs.
    pub(super) expires: Vec<usize>,
}

/// What an operation does.
#[derive(Debug)]
pub(super) enum Action {
    /// Evaluates its op, whose floats are rounded where `computes` is set.
    Call { evaluate: EvaluateFn, computes: bool },
    /// Runs the first block or the second.
    Branch([PreparedBlock; 2]),
    /// Runs the second block while the first holds.
    Repeat([PreparedBlock; 2]),
}

/// A nested block.
#[derive(Debug)]
pub(super) struct PreparedBlock {
    pub(super) inputs: Vec<(NamedValueType, usize)>,
    pub(super) operations: Vec<PreparedOperation>,
    pub(super) outputs: Vec<Source>,
    /// The slots of the values that are defined in it.
    pub(super) slots: Range<usize>,
}

/// Where an operand comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Constant(Tensor),
    Slot(usize),
}

/// What one run of a function changes.
pub(super) struct Run<'r> {
    pub(super) slots: Vec<Option<Tensor>>,
    state: &'r mut State,
    statistics: Option<&'r mut Statistics>,
    /// Iterations of loops so far.
    pub(super) iterations: u64,
}

impl Run<'_> {
    pub(super) fn get(&self, source: &Source) -> Option<Tensor> {
        match source {
            Source::Constant(tensor) => Some(tensor.clone()),
            Source::Slot(slot) => self.slots.get(*slot).and_then(Clone::clone),
        }
    }

    pub(super) fn put(&mut self, slot: usize, tensor: Option<Tensor>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = tensor;
        }
    }
}

impl EvaluableFunction {
    /// Prepares the function `name` of `program`.
    ///
    /// # Errors
    /// There is no such function, an op is not known, or a weight cannot be read.
    pub fn new(
        program: &Program,
        name: &str,
        weights: &dyn WeightSource,
        numerics: Numerics,
    ) -> Result<Self, EvaluateError> {
        let function = program.functions.get(name).ok_or_else(|| EvaluateError::NoFunction {
            name: name.to_owned(),
            known: program.functions.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        Preparation::new(function, weights, numerics)?.finish(&function.block).map(Self::from_parts)
    }

    /// The constants that operations read, by name, in no particular order but always the same.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.constants.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensors that a run needs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = &NamedValueType> {
        self.inputs.iter().map(|(input, _)| input)
    }

    /// The tensors that a run gives, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &NamedValueType> {
        self.outputs.iter().map(|(output, _)| output)
    }

    /// The states that a run needs, with what they hold.
    pub fn states(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.states.iter().map(|(name, ty)| (name.as_str(), ty))
    }

    /// A state of zeros.
    ///
    /// # Errors
    /// A state does not have a fixed shape.
    pub fn new_state(&self) -> Result<State, EvaluateError> {
        let mut state = State::default();
        for (name, ty) in &self.states {
            state.tensors.insert(name.clone(), Tensor::zeros(ty.dtype, &fixed_shape(ty)?)?);
        }
        Ok(state)
    }

    /// Runs the function on inputs by name, changes `state`, and gives the outputs by name.
    ///
    /// # Errors
    /// Inputs or states do not fit, or an operation fails. `state` may have been changed or emptied then.
    pub fn run(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        state: &mut State,
        statistics: Option<&mut Statistics>,
    ) -> Result<BTreeMap<String, Tensor>, EvaluateError> {
        let mut run = Run { slots: vec![None; self.slots], state, statistics, iterations: 0 };
        self.bind_inputs(inputs, &mut run.slots)?;
        self.check_states(run.state)?;
        self.operations(&self.operations, &mut run, false)?;
        let output = |(output, source): &(NamedValueType, Source)| {
            let tensor = run.get(source).ok_or_else(|| EvaluateError::Undefined(output.name.clone()))?;
            Ok((output.name.clone(), tensor))
        };
        self.outputs.iter().map(output).collect()
    }

    /// Runs operations in order. Those of a nested block may make no tensor of more than [`MOST_NESTED_ELEMENTS`]
    /// elements, because a loop can make tensors grow without end.
    pub(super) fn operations(
        &self,
        operations: &[PreparedOperation],
        run: &mut Run<'_>,
        nested: bool,
    ) -> Result<(), EvaluateError> {
        for operation in operations {
            self.step(operation, run, nested).map_err(|source| EvaluateError::Operation {
                op: operation.step.op.clone(),
                name: operation.step.result.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    fn bind_inputs(
        &self,
        inputs: &BTreeMap<String, Tensor>,
        slots: &mut [Option<Tensor>],
    ) -> Result<(), EvaluateError> {
        if let Some(name) = inputs.keys().find(|name| !self.inputs.iter().any(|(input, _)| input.name == **name)) {
            let known = self.inputs().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(EvaluateError::UnknownInput { name: name.clone(), known });
        }
        for (input, slot) in &self.inputs {
            let tensor = inputs
                .get(&input.name)
                .ok_or_else(|| EvaluateError::Missing { kind: "input", name: input.name.clone() })?;
            check_type(input, tensor)?;
            let mut tensor = tensor.clone();
            if self.numerics != Numerics::F32 {
                tensor.round();
            }
            if let Some(slot) = slots.get_mut(*slot) {
                *slot = Some(tensor);
            }
        }
        Ok(())
    }

    fn check_states(&self, state: &State) -> Result<(), EvaluateError> {
        for (name, ty) in &self.states {
            let tensor =
                state.tensors.get(name).ok_or_else(|| EvaluateError::Missing { kind: "state", name: name.clone() })?;
            check_type(&NamedValueType::new(name, ty.clone()), tensor)?;
        }
        Ok(())
    }

    fn step(&self, operation: &PreparedOperation, run: &mut Run<'_>, nested: bool) -> Result<(), EvaluateError> {
        let mut operands = Vec::with_capacity(operation.operands.len());
        for (parameter, sources) in &operation.operands {
            let tensors: Option<Vec<Tensor>> = sources.iter().map(|source| run.get(source)).collect();
            let tensors = tensors.ok_or_else(|| EvaluateError::Undefined(parameter.clone()))?;
            operands.push((parameter.as_str(), tensors));
        }
        let (results, computes) = match &operation.action {
            Action::Call { evaluate, computes } => {
                self.expire(operation, run);
                (self.call(operation, *evaluate, operands, run)?, *computes)
            }
            // The blocks may read what expires with the operation.
            Action::Branch(blocks) => {
                let results = self.branch(blocks, &operands, run)?;
                self.expire(operation, run);
                (results, false)
            }
            Action::Repeat(blocks) => {
                let results = self.repeat(blocks, operands, run)?;
                self.expire(operation, run);
                (results, false)
            }
        };
        if results.len() != operation.results.len() {
            return Err(EvaluateError::Type {
                name: operation.step.result.clone(),
                expected: format!("{} results", operation.results.len()),
                found: format!("{} results", results.len()),
            });
        }
        for (mut tensor, (declared, slot)) in results.into_iter().zip(&operation.results) {
            check_type(declared, &tensor)?;
            if nested && tensor.count() > MOST_NESTED_ELEMENTS {
                return Err(TensorError::TooLarge { shape: tensor.shape().to_vec() }.into());
            }
            if computes {
                if let Some(statistics) = run.statistics.as_deref_mut() {
                    statistics.record(&operation.step, &tensor);
                }
                if self.numerics != Numerics::F32 {
                    tensor.round();
                }
            }
            run.put(*slot, Some(tensor));
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "a part of one step of the function")]
    fn expire(&self, operation: &PreparedOperation, run: &mut Run<'_>) {
        for slot in &operation.expires {
            run.put(*slot, None);
        }
    }

    fn call(
        &self,
        operation: &PreparedOperation,
        evaluate: EvaluateFn,
        operands: Vec<(&str, Vec<Tensor>)>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        let state = operation.state.as_ref().and_then(|(name, take)| {
            let (_, ty) = self.states.iter().find(|(known, _)| known == name)?;
            Some(StateOperand { name, state: &mut *run.state, ty, take: *take })
        });
        let mut call =
            Call { opset: self.opset, numerics: self.numerics, results: &operation.results, operands, state };
        evaluate(&mut call)
    }

    fn from_parts(parts: Prepared) -> Self {
        Self {
            opset: parts.opset,
            numerics: parts.numerics,
            inputs: parts.inputs,
            states: parts.states,
            outputs: parts.outputs,
            operations: parts.operations,
            slots: parts.slots,
            constants: parts.constants,
            iteration_limit: ITERATION_LIMIT,
        }
    }

    /// The function with another bound on the iterations that its loops may make together in one run.
    #[must_use]
    pub fn with_iteration_limit(mut self, limit: u64) -> Self {
        self.iteration_limit = limit;
        self
    }
}

/// Requires that a tensor is of its declared type, whose unknown axes may have any length.
/// A list is a tensor with one more axis, and the values of a dictionary are a vector.
pub(super) fn check_type(declared: &NamedValueType, tensor: &Tensor) -> Result<(), EvaluateError> {
    let ty = tensor.ty();
    let fits_axes = |declared: &[Dimension], found: &[Dimension]| {
        declared.len() == found.len() && declared.iter().zip(found).all(|(a, b)| *a == Dimension::Unknown || a == b)
    };
    let fits = match &declared.ty {
        ValueType::Tensor(declared) => declared.dtype == ty.dtype && fits_axes(&declared.shape, &ty.shape),
        // The declared length is that at first: a list may grow.
        ValueType::List(element, _) => match (element.as_tensor(), ty.shape.split_first()) {
            (Some(element), Some((_, inner))) => element.dtype == ty.dtype && fits_axes(&element.shape, inner),
            _ => false,
        },
        ValueType::Dictionary(_, value) => {
            ty.rank() == 1 && value.as_tensor().is_some_and(|value| value.dtype == ty.dtype)
        }
        ValueType::State(_) | ValueType::Tuple(_) => false,
    };
    if fits {
        return Ok(());
    }
    Err(EvaluateError::Type { name: declared.name.clone(), expected: declared.ty.to_string(), found: ty.to_string() })
}
