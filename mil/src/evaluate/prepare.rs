//! Makes a function ready to run: constants are bound, names become slots.

use std::collections::BTreeMap;
use std::ops::Range;

use super::call::Call;
use super::error::EvaluateError;
use super::function::{Action, PreparedBlock, PreparedOperation, Source, WeightSource, check_type};
use super::numerics::{Numerics, Step};
use super::tensor::Tensor;
use super::{Evaluate, EvaluateFn};
use crate::ops::decl::{Domain, Effect, OpDecl};
use crate::ops::{self, special};
use crate::opset::Opset;
use crate::program::{Binding, Block, Function, NamedValueType, Operation};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// Constants of up to this many elements are kept as the f32 or i32 that ops compute with.
const EXPANDED_ELEMENTS: usize = 1 << 16;
/// Blocks that a block may stand in.
const MAX_DEPTH: usize = 16;

/// The parts of a function that is ready to run.
pub(super) struct Prepared {
    pub(super) opset: Opset,
    pub(super) numerics: Numerics,
    pub(super) inputs: Vec<(NamedValueType, usize)>,
    pub(super) states: Vec<(String, TensorType)>,
    pub(super) outputs: Vec<(NamedValueType, Source)>,
    pub(super) operations: Vec<PreparedOperation>,
    pub(super) slots: usize,
    pub(super) constants: BTreeMap<String, Tensor>,
}

/// A function on the way to become evaluable.
pub(super) struct Preparation<'a> {
    weights: &'a dyn WeightSource,
    numerics: Numerics,
    opset: Opset,
    names: BTreeMap<String, Source>,
    /// For each block that is being prepared, the names defined in it, with what they were outside.
    scopes: Vec<Vec<(String, Option<Source>)>>,
    inputs: Vec<(NamedValueType, usize)>,
    states: Vec<(String, TensorType)>,
    slots: usize,
}

impl<'a> Preparation<'a> {
    pub(super) fn new(
        function: &Function,
        weights: &'a dyn WeightSource,
        numerics: Numerics,
    ) -> Result<Self, EvaluateError> {
        let mut preparation = Self {
            weights,
            numerics,
            opset: function.opset,
            names: BTreeMap::new(),
            scopes: Vec::new(),
            inputs: Vec::new(),
            states: Vec::new(),
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

    pub(super) fn finish(mut self, block: &Block) -> Result<Prepared, EvaluateError> {
        let mut operations = self.operations(None, &block.operations)?;
        let mut outputs = Vec::with_capacity(block.outputs.len());
        for name in &block.outputs {
            let source = self.names.get(name).ok_or_else(|| EvaluateError::Undefined(name.clone()))?.clone();
            let results = block.operations.iter().flat_map(|operation| &operation.outputs);
            let inputs = self.inputs.iter().map(|(input, _)| input);
            let ty = results.chain(inputs).find(|value| value.name == *name).map(|value| value.ty.clone());
            let ty = ty.ok_or_else(|| EvaluateError::Undefined(name.clone()))?;
            outputs.push((NamedValueType::new(name, ty), source));
        }
        mark_last_uses(&mut operations, outputs.iter().map(|(_, source)| source), &(0..self.slots));
        mark_state_reads(&mut operations);
        let constant = |(name, source)| match source {
            Source::Constant(tensor) => Some((name, tensor)),
            Source::Slot(_) => None,
        };
        Ok(Prepared {
            constants: self.names.into_iter().filter_map(constant).collect(),
            opset: self.opset,
            numerics: self.numerics,
            inputs: self.inputs,
            states: self.states,
            outputs,
            operations,
            slots: self.slots,
        })
    }

    /// Operations in order; those of a nested block count as the operation `outer` of the function.
    fn operations(
        &mut self,
        outer: Option<usize>,
        operations: &[Operation],
    ) -> Result<Vec<PreparedOperation>, EvaluateError> {
        let mut prepared = Vec::with_capacity(operations.len());
        for (index, operation) in operations.iter().enumerate() {
            let own = self.operation(outer.unwrap_or(index), operation).map_err(|source| EvaluateError::Operation {
                op: operation.op.clone(),
                name: result_name(operation),
                source: Box::new(source),
            })?;
            prepared.extend(own);
        }
        Ok(prepared)
    }

    /// The two blocks of an operation.
    fn blocks(&mut self, index: usize, blocks: &[Block]) -> Result<[PreparedBlock; 2], EvaluateError> {
        let [first, second] = blocks else {
            return Err(EvaluateError::Unsupported(format!("{} nested blocks", blocks.len())));
        };
        Ok([self.block(index, first)?, self.block(index, second)?])
    }

    fn block(&mut self, index: usize, block: &Block) -> Result<PreparedBlock, EvaluateError> {
        if self.scopes.len() == MAX_DEPTH {
            return Err(EvaluateError::Unsupported(format!("blocks nested in more than {MAX_DEPTH} others")));
        }
        let first = self.slots;
        self.scopes.push(Vec::new());
        let inputs = block.inputs.iter().map(|input| (input.clone(), self.define(&input.name))).collect();
        let mut operations = self.operations(Some(index), &block.operations)?;
        let output =
            |name: &String| self.names.get(name).cloned().ok_or_else(|| EvaluateError::Undefined(name.clone()));
        let outputs = block.outputs.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        for (name, outside) in self.scopes.pop().unwrap_or_default().into_iter().rev() {
            match outside {
                Some(source) => self.names.insert(name, source),
                None => self.names.remove(&name),
            };
        }
        let slots = first..self.slots;
        mark_last_uses(&mut operations, outputs.iter(), &slots);
        Ok(PreparedBlock { inputs, operations, outputs, slots })
    }

    fn bind(&mut self, name: &str, source: Source) {
        let outside = self.names.insert(name.to_owned(), source);
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((name.to_owned(), outside));
        }
    }

    fn define(&mut self, name: &str) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.bind(name, Source::Slot(slot));
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

    /// The operation, unless it is a constant.
    fn operation(&mut self, index: usize, operation: &Operation) -> Result<Option<PreparedOperation>, EvaluateError> {
        if operation.op == special::CONST {
            let value = operation.attributes.get("val").ok_or_else(|| EvaluateError::Undefined("val".to_owned()))?;
            let tensor = self.constant(value)?;
            self.bind(&result_name(operation), Source::Constant(tensor));
            return Ok(None);
        }
        let decl = ops::find(&operation.op).ok_or_else(|| EvaluateError::UnknownOp(operation.op.clone()))?;
        let (operands, state) = self.operands(decl, operation)?;
        let action = match decl.evaluate {
            Evaluate::Branches => Action::Branch(self.blocks(index, &operation.blocks)?),
            Evaluate::Repeats => Action::Repeat(self.blocks(index, &operation.blocks)?),
            _ if !operation.blocks.is_empty() => {
                return Err(EvaluateError::Unsupported(format!("blocks in `{}`", decl.name)));
            }
            Evaluate::Computes(evaluate) => Action::Call { evaluate, computes: true },
            Evaluate::Moves(evaluate) => Action::Call { evaluate, computes: false },
        };
        if let (Action::Call { evaluate, .. }, true) = (&action, special::yields_constant(decl.name)) {
            return self.fold(*evaluate, operation, &operands).map(|()| None);
        }
        let results = operation.outputs.iter().map(|output| (output.clone(), self.define(&output.name))).collect();
        Ok(Some(PreparedOperation {
            step: Step { index, op: operation.op.clone(), result: result_name(operation) },
            action,
            operands,
            state: state.map(|name| (name, false)),
            results,
            expires: Vec::new(),
        }))
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
        evaluate: EvaluateFn,
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
            let whole_bytes = tensor.dtype().bits().is_multiple_of(8);
            let small = tensor.count() <= EXPANDED_ELEMENTS && whole_bytes;
            let tensor = if small { tensor.expanded()? } else { tensor };
            self.bind(&declared.name, Source::Constant(tensor));
        }
        Ok(())
    }
}

/// Notes after which operation each slot of `own` is free, so that the operation can change the tensor in place.
fn mark_last_uses<'s>(
    operations: &mut [PreparedOperation],
    outputs: impl Iterator<Item = &'s Source>,
    own: &Range<usize>,
) {
    let mut needed = vec![false; own.len()];
    // Whether a slot is of the block and was not needed before; it is now.
    let mut first_need = |source: &Source| match source {
        Source::Slot(slot) if own.contains(slot) => {
            let needed = needed.get_mut(slot - own.start)?;
            (!std::mem::replace(needed, true)).then_some(*slot)
        }
        _ => None,
    };
    for source in outputs {
        first_need(source);
    }
    for operation in operations.iter_mut().rev() {
        let mut expires = Vec::new();
        for source in operation.operands.iter().flat_map(|(_, sources)| sources) {
            expires.extend(first_need(source));
        }
        if let Action::Branch(blocks) | Action::Repeat(blocks) = &operation.action {
            for_each_use(blocks, &mut |source| expires.extend(first_need(source)));
        }
        operation.expires = expires;
    }
}

/// Calls `visit` for everything that the blocks and those in them read.
fn for_each_use(blocks: &[PreparedBlock], visit: &mut impl FnMut(&Source)) {
    for block in blocks {
        block.outputs.iter().for_each(&mut *visit);
        for operation in &block.operations {
            operation.operands.iter().flat_map(|(_, sources)| sources).for_each(&mut *visit);
            if let Action::Branch(blocks) | Action::Repeat(blocks) = &operation.action {
                for_each_use(blocks, visit);
            }
        }
    }
}

/// Notes which reads of a state are followed by a write before anything else reads it.
fn mark_state_reads(operations: &mut [PreparedOperation]) {
    let mut next_is_write: BTreeMap<String, bool> = BTreeMap::new();
    for operation in operations.iter_mut().rev() {
        if !matches!(operation.action, Action::Call { .. }) {
            // A block may read any state.
            next_is_write.clear();
        }
        let Some((name, take)) = &mut operation.state else { continue };
        let writes = ops::find(&operation.step.op).is_some_and(|decl| decl.effect == Effect::WritesState);
        *take = !writes && next_is_write.get(name).copied().unwrap_or(false);
        next_is_write.insert(name.clone(), writes);
    }
}

/// The first result of an operation, or its name where it has none.
fn result_name(operation: &Operation) -> String {
    let result = operation.outputs.first().map(|output| output.name.as_str());
    result.or_else(|| operation.display_name()).unwrap_or_default().to_owned()
}
