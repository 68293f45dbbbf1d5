//! A function that is ready to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Evaluate;
use super::call::{Call, StateOperand};
use super::error::EvaluateError;
use super::numerics::{Numerics, Statistics, Step};
use super::tensor::{Tensor, fixed_shape};
use crate::blob::BlobError;
use crate::ops::decl::{Domain, Effect, OpDecl};
use crate::ops::{self, special};
use crate::opset::Opset;
use crate::program::{Binding, Block, Function, NamedValueType, Operation, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, Value};

/// Constants of up to this many elements are kept as the f32 or i32 that ops compute with.
const EXPANDED_ELEMENTS: usize = 1 << 16;

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
}

#[derive(Debug)]
struct PreparedOperation {
    step: Step,
    evaluate: fn(&mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError>,
    computes: bool,
    operands: Vec<(String, Vec<Source>)>,
    state: Option<(String, bool)>,
    results: Vec<(NamedValueType, usize)>,
    /// Slots that no later operation needs.
    expires: Vec<usize>,
}

/// Where an operand comes from.
#[derive(Clone, Debug)]
enum Source {
    Constant(Tensor),
    Slot(usize),
}

impl EvaluableFunction {
    /// Prepares the function `name` of `program`.
    ///
    /// # Errors
    /// There is no such function, an op is not known, a weight cannot be read, or control flow is used.
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
        Preparation::new(function, weights, numerics)?.finish(&function.block)
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
        mut statistics: Option<&mut Statistics>,
    ) -> Result<BTreeMap<String, Tensor>, EvaluateError> {
        let mut slots: Vec<Option<Tensor>> = vec![None; self.slots];
        self.bind_inputs(inputs, &mut slots)?;
        self.check_states(state)?;
        for operation in &self.operations {
            self.step(operation, &mut slots, state, statistics.as_deref_mut()).map_err(|source| {
                EvaluateError::Operation {
                    op: operation.step.op.clone(),
                    name: operation.step.result.clone(),
                    source: Box::new(source),
                }
            })?;
        }
        let output = |(output, source): &(NamedValueType, Source)| {
            let tensor = match source {
                Source::Constant(tensor) => Some(tensor.clone()),
                Source::Slot(slot) => slots.get(*slot).and_then(Clone::clone),
            };
            let tensor = tensor.ok_or_else(|| EvaluateError::Undefined(output.name.clone()))?;
            Ok((output.name.clone(), tensor))
        };
        self.outputs.iter().map(output).collect()
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

    fn step(
        &self,
        operation: &PreparedOperation,
        slots: &mut [Option<Tensor>],
        state: &mut State,
        statistics: Option<&mut Statistics>,
    ) -> Result<(), EvaluateError> {
        let mut operands = Vec::with_capacity(operation.operands.len());
        for (parameter, sources) in &operation.operands {
            let tensors: Option<Vec<Tensor>> = sources
                .iter()
                .map(|source| match source {
                    Source::Constant(tensor) => Some(tensor.clone()),
                    Source::Slot(slot) => slots.get(*slot).and_then(Clone::clone),
                })
                .collect();
            let tensors = tensors.ok_or_else(|| EvaluateError::Undefined(parameter.clone()))?;
            operands.push((parameter.as_str(), tensors));
        }
        for slot in &operation.expires {
            if let Some(slot) = slots.get_mut(*slot) {
                *slot = None;
            }
        }
        let state = operation.state.as_ref().and_then(|(name, take)| {
            let (_, ty) = self.states.iter().find(|(known, _)| known == name)?;
            Some(StateOperand { name, state, ty, take: *take })
        });
        let mut call =
            Call { opset: self.opset, numerics: self.numerics, results: &operation.results, operands, state };
        let results = (operation.evaluate)(&mut call)?;
        if results.len() != operation.results.len() {
            return Err(EvaluateError::Type {
                name: operation.step.result.clone(),
                expected: format!("{} results", operation.results.len()),
                found: format!("{} results", results.len()),
            });
        }
        let mut statistics = statistics;
        for (mut tensor, (declared, slot)) in results.into_iter().zip(&operation.results) {
            check_type(declared, &tensor)?;
            if operation.computes {
                if let Some(statistics) = statistics.as_deref_mut() {
                    statistics.record(&operation.step, &tensor);
                }
                if self.numerics != Numerics::F32 {
                    tensor.round();
                }
            }
            if let Some(slot) = slots.get_mut(*slot) {
                *slot = Some(tensor);
            }
        }
        Ok(())
    }
}

/// A function on the way to become evaluable.
struct Preparation<'a> {
    weights: &'a dyn WeightSource,
    numerics: Numerics,
    opset: Opset,
    names: BTreeMap<String, Source>,
    inputs: Vec<(NamedValueType, usize)>,
    states: Vec<(String, TensorType)>,
    operations: Vec<PreparedOperation>,
    slots: usize,
}

impl<'a> Preparation<'a> {
    fn new(function: &Function, weights: &'a dyn WeightSource, numerics: Numerics) -> Result<Self, EvaluateError> {
        let mut preparation = Self {
            weights,
            numerics,
            opset: function.opset,
            names: BTreeMap::new(),
            inputs: Vec::new(),
            states: Vec::new(),
            operations: Vec::new(),
            slots: 0,
        };
        for input in &function.inputs {
            match &input.ty {
                ValueType::Tensor(_) => {
                    let slot = preparation.define(&input.name);
                    preparation.inputs.push((input.clone(), slot));
                }
                ValueType::State(ty) => preparation.states.push((input.name.clone(), ty.clone())),
                other => return Err(EvaluateError::Unsupported(format!("the input `{}` of type {other}", input.name))),
            }
        }
        Ok(preparation)
    }

    fn finish(mut self, block: &Block) -> Result<EvaluableFunction, EvaluateError> {
        for (index, operation) in block.operations.iter().enumerate() {
            self.operation(index, operation).map_err(|source| EvaluateError::Operation {
                op: operation.op.clone(),
                name: result_name(operation),
                source: Box::new(source),
            })?;
        }
        let mut outputs = Vec::with_capacity(block.outputs.len());
        for name in &block.outputs {
            let source = self.names.get(name).ok_or_else(|| EvaluateError::Undefined(name.clone()))?.clone();
            let results = block.operations.iter().flat_map(|operation| &operation.outputs);
            let inputs = self.inputs.iter().map(|(input, _)| input);
            let ty = results.chain(inputs).find(|value| value.name == *name).map(|value| value.ty.clone());
            let ty = ty.ok_or_else(|| EvaluateError::Undefined(name.clone()))?;
            outputs.push((NamedValueType::new(name, ty), source));
        }
        self.mark_last_uses(&outputs);
        self.mark_state_reads();
        let constant = |(name, source)| match source {
            Source::Constant(tensor) => Some((name, tensor)),
            Source::Slot(_) => None,
        };
        Ok(EvaluableFunction {
            constants: self.names.into_iter().filter_map(constant).collect(),
            opset: self.opset,
            numerics: self.numerics,
            inputs: self.inputs,
            states: self.states,
            outputs,
            operations: self.operations,
            slots: self.slots,
        })
    }

    fn define(&mut self, name: &str) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.names.insert(name.to_owned(), Source::Slot(slot));
        slot
    }

    fn constant(&self, value: &Value) -> Result<Tensor, EvaluateError> {
        let tensor = match (value.as_blob(), value.tensor_type()) {
            (Some(reference), Some(ty)) => {
                let bytes = self.weights.blob(reference, ty).map_err(|source| EvaluateError::Weight {
                    file_name: reference.file_name.clone(),
                    offset: reference.offset,
                    source,
                })?;
                Tensor::stored(ty, bytes)?
            }
            _ => Tensor::from_value(value)?,
        };
        // Packed integers are read by the `constexpr_*` ops as they are.
        let whole_bytes = tensor.dtype().bits().is_multiple_of(8);
        if tensor.count() <= EXPANDED_ELEMENTS && whole_bytes { Ok(tensor.expanded()?) } else { Ok(tensor) }
    }

    fn operation(&mut self, index: usize, operation: &Operation) -> Result<(), EvaluateError> {
        if !operation.blocks.is_empty() {
            return Err(EvaluateError::Unsupported("control flow".to_owned()));
        }
        if operation.op == special::CONST {
            let value = operation.attributes.get("val").ok_or_else(|| EvaluateError::Undefined("val".to_owned()))?;
            let tensor = self.constant(value)?;
            self.names.insert(result_name(operation), Source::Constant(tensor));
            return Ok(());
        }
        let decl = ops::find(&operation.op).ok_or_else(|| EvaluateError::UnknownOp(operation.op.clone()))?;
        let (operands, state) = self.operands(decl, operation)?;
        let (evaluate, computes) = match decl.evaluate {
            Evaluate::Computes(evaluate) => (evaluate, true),
            Evaluate::Moves(evaluate) => (evaluate, false),
        };
        if special::yields_constant(decl.name) {
            return self.fold(evaluate, operation, &operands);
        }
        let results = operation.outputs.iter().map(|output| (output.clone(), self.define(&output.name))).collect();
        self.operations.push(PreparedOperation {
            step: Step { index, op: operation.op.clone(), result: result_name(operation) },
            evaluate,
            computes,
            operands,
            state: state.map(|name| (name, false)),
            results,
            expires: Vec::new(),
        });
        Ok(())
    }

    #[expect(clippy::type_complexity, reason = "operands by parameter, and the state")]
    fn operands(
        &self,
        decl: &OpDecl,
        operation: &Operation,
    ) -> Result<(Vec<(String, Vec<Source>)>, Option<String>), EvaluateError> {
        let mut operands = Vec::new();
        let mut state = None;
        for (parameter, argument) in &operation.inputs {
            let declared = decl.parameters.iter().find(|declared| declared.name == parameter);
            if declared.is_some_and(|declared| matches!(declared.domain, Domain::State))
                && let Some(Binding::Name(name)) = argument.single()
            {
                state = Some(name.clone());
                continue;
            }
            let sources: Result<Vec<Source>, EvaluateError> = argument
                .0
                .iter()
                .map(|binding| match binding {
                    Binding::Name(name) => {
                        self.names.get(name).cloned().ok_or_else(|| EvaluateError::Undefined(name.clone()))
                    }
                    Binding::Value(value) => self.constant(value).map(Source::Constant),
                })
                .collect();
            operands.push((parameter.clone(), sources?));
        }
        for (attribute, value) in &operation.attributes {
            if attribute != "name" && !operation.inputs.contains_key(attribute) {
                operands.push((attribute.clone(), vec![Source::Constant(self.constant(value)?)]));
            }
        }
        Ok((operands, state))
    }

    /// Evaluates an op that yields a constant.
    fn fold(
        &mut self,
        evaluate: fn(&mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError>,
        operation: &Operation,
        operands: &[(String, Vec<Source>)],
    ) -> Result<(), EvaluateError> {
        let mut constants = Vec::with_capacity(operands.len());
        for (parameter, sources) in operands {
            let tensors: Option<Vec<Tensor>> = sources
                .iter()
                .map(|source| match source {
                    Source::Constant(tensor) => Some(tensor.clone()),
                    Source::Slot(_) => None,
                })
                .collect();
            let tensors =
                tensors.ok_or_else(|| EvaluateError::Unsupported(format!("`{parameter}` that is not constant")))?;
            constants.push((parameter.as_str(), tensors));
        }
        let results: Vec<(NamedValueType, usize)> =
            operation.outputs.iter().map(|output| (output.clone(), 0)).collect();
        let mut call =
            Call { opset: self.opset, numerics: self.numerics, results: &results, operands: constants, state: None };
        for ((declared, _), tensor) in results.iter().zip(evaluate(&mut call)?) {
            check_type(declared, &tensor)?;
            let tensor = if tensor.count() <= EXPANDED_ELEMENTS { tensor.expanded()? } else { tensor };
            self.names.insert(declared.name.clone(), Source::Constant(tensor));
        }
        Ok(())
    }

    /// Notes after which operation each slot is free, so that the operation can change the tensor in place.
    fn mark_last_uses(&mut self, outputs: &[(NamedValueType, Source)]) {
        let mut needed = vec![false; self.slots];
        for (_, source) in outputs {
            if let Source::Slot(slot) = source {
                needed[*slot] = true;
            }
        }
        for operation in self.operations.iter_mut().rev() {
            for source in operation.operands.iter().flat_map(|(_, sources)| sources) {
                if let Source::Slot(slot) = source
                    && !needed[*slot]
                {
                    needed[*slot] = true;
                    operation.expires.push(*slot);
                }
            }
        }
    }

    /// Notes which reads of a state are followed by a write before anything else reads it.
    fn mark_state_reads(&mut self) {
        let mut next_is_write: BTreeMap<String, bool> = BTreeMap::new();
        for operation in self.operations.iter_mut().rev() {
            let Some((name, take)) = &mut operation.state else { continue };
            let writes = ops::find(&operation.step.op).is_some_and(|decl| decl.effect == Effect::WritesState);
            *take = !writes && next_is_write.get(name).copied().unwrap_or(false);
            next_is_write.insert(name.clone(), writes);
        }
    }
}

/// The first result of an operation, or its name where it has none.
fn result_name(operation: &Operation) -> String {
    let result = operation.outputs.first().map(|output| output.name.as_str());
    result.or_else(|| operation.display_name()).unwrap_or_default().to_owned()
}

/// Requires that a tensor is of its declared type, whose unknown axes may have any length.
fn check_type(declared: &NamedValueType, tensor: &Tensor) -> Result<(), EvaluateError> {
    let ty = tensor.ty();
    let fits = declared.ty.as_tensor().is_some_and(|declared| {
        declared.dtype == ty.dtype
            && declared.rank() == ty.rank()
            && declared.shape.iter().zip(&ty.shape).all(|(a, b)| *a == Dimension::Unknown || a == b)
    });
    if fits {
        return Ok(());
    }
    Err(EvaluateError::Type { name: declared.name.clone(), expected: declared.ty.to_string(), found: ty.to_string() })
}
