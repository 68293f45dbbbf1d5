//! One operation: that it is declared, written as its declaration says, and has the types that follow from its operands.

use super::finding::{Findings, Place, Severity, Subject, Topic, clipped};
use super::scope::Names;
use super::suggestion::nearest_op;
use super::{MAX_RANK, identifier, operand, value};
use crate::ops::decl::{Effect, OpContext, OpDecl, Operand};
use crate::ops::{self, special};
use crate::opset::Opset;
use crate::program::{Binding, Operation};
use crate::types::{Dimension, ValueType};
use crate::value::Value;

/// The attribute that every operation has.
const NAME: &str = "name";
/// The attribute of `const` that holds its value.
const VALUE: &str = "val";

/// Blocks that a block may stand in.
const MAX_BLOCK_DEPTH: usize = 16;

/// What the checks of one function's operations share.
pub(super) struct OperationChecker<'a, 'f, 'n> {
    pub(super) opset: Opset,
    pub(super) names: &'a Names<'n>,
    pub(super) findings: &'a mut Findings<'f>,
    /// Results that inference may still give beyond those that are declared. It bounds what a number in the program,
    /// such as `num_splits`, can make inference do.
    pub(super) spare_results: usize,
    /// In a nested block, the operation of the function that it belongs to, and how many blocks are around.
    pub(super) outer: Option<(usize, usize)>,
}

impl OperationChecker<'_, '_, '_> {
    /// Reports everything that is wrong with `operation`, the one of this index.
    pub(super) fn check(&mut self, index: usize, operation: &Operation) {
        let subject = subject(self.outer.map_or(index, |(outer, _)| outer), operation);
        self.check_results(subject, operation);
        let resolved = self.check_references(index, subject, operation);
        let valued = self.check_constants(subject, operation);
        self.check_name(subject, operation);
        let Some(decl) = ops::find(&operation.op) else {
            let hint = nearest_op(&operation.op).map(|near| format!("did you mean `{near}`?"));
            let message = format!("`{}` is not a known op", clipped(&operation.op));
            self.findings.add((Severity::Error, Topic::UnknownOp), subject, message, hint);
            return;
        };
        if decl.since > self.opset {
            let message = format!("`{}` exists since {}, the function uses {}", decl.name, decl.since, self.opset);
            self.findings.error(subject, message);
        }
        if decl.effect != Effect::Pure && self.outer.is_some() {
            self.findings.error(subject, format!("`{}` cannot be in a nested block", decl.name));
        }
        let nested = self.check_blocks(index, subject, operation, decl);
        self.check_attributes(subject, operation, decl);
        self.check_ranks(subject, operation);
        if resolved && valued && nested && self.check_states(subject, operation, decl) {
            self.check_types(subject, operation, decl);
        }
    }

    /// Names and types of the results, apart from whether they follow from the operands.
    fn check_results(&mut self, subject: Subject<'_>, operation: &Operation) {
        for output in &operation.outputs {
            let subject = Subject { value: Some(&output.name), ..subject };
            identifier::check(&output.name, subject, self.findings);
            if !value::is_bounded(&output.ty) {
                self.findings.error(subject, "the type of the result is nested too deeply or too large");
            } else if contains_state(&output.ty) {
                self.findings.error(subject, "the result is a state, only a function parameter can be one");
            } else if let Some(tensor) = output.ty.as_tensor()
                && tensor.rank() > MAX_RANK
                && !special::yields_constant(&operation.op)
            {
                self.findings.error_about(
                    Topic::Rank,
                    subject,
                    format!("the result {tensor} has more than {MAX_RANK} axes"),
                );
            }
        }
    }

    /// The nested blocks; tells whether type inference can go on.
    fn check_blocks(&mut self, index: usize, subject: Subject<'_>, operation: &Operation, decl: &OpDecl) -> bool {
        let expected = decl.blocks();
        if operation.blocks.len() != expected {
            self.findings.error(
                subject,
                match (expected, operation.blocks.len()) {
                    (0, _) => format!("`{}` takes no nested blocks", decl.name),
                    (_, found) => format!("`{}` has {found} nested blocks, expected {expected}", decl.name),
                },
            );
            return expected == 0;
        }
        let (place, depth) = self.outer.unwrap_or((index, 0));
        if depth == MAX_BLOCK_DEPTH && expected > 0 {
            self.findings.error(subject, format!("blocks are nested in more than {MAX_BLOCK_DEPTH} others"));
            return false;
        }
        let mut good = true;
        for block in &operation.blocks {
            let mut twice = Vec::new();
            let names = Names::collect_block(block, (self.names, index), |name| twice.push(name));
            for name in twice {
                let subject = Subject { value: Some(name), ..subject };
                self.findings.error(subject, format!("`{}` is defined twice", clipped(name)));
            }
            for input in &block.inputs {
                let subject = Subject { value: Some(&input.name), ..subject };
                identifier::check(&input.name, subject, self.findings);
                if !value::is_bounded(&input.ty) || contains_state(&input.ty) {
                    self.findings.error(subject, "the type of the parameter of a block is a state or too large");
                    good = false;
                }
            }
            let mut checker = OperationChecker {
                opset: self.opset,
                names: &names,
                findings: &mut *self.findings,
                spare_results: self.spare_results,
                outer: Some((place, depth + 1)),
            };
            for (index, operation) in block.operations.iter().enumerate() {
                checker.check(index, operation);
            }
            self.spare_results = checker.spare_results;
            for name in &block.outputs {
                let found = names.find(name);
                if found.is_none_or(|found| !found.bounded || found.place == Place::Output(0)) {
                    let subject = Subject { value: Some(name), ..subject };
                    self.findings.error(subject, format!("the result `{}` of a block is not defined", clipped(name)));
                    good = false;
                }
            }
        }
        good
    }

    /// Requires that every name is defined earlier; tells whether type inference can go on.
    fn check_references(&mut self, index: usize, subject: Subject<'_>, operation: &Operation) -> bool {
        let mut resolved = true;
        for (parameter, argument) in &operation.inputs {
            if argument.0.is_empty() {
                self.findings.error(subject, format!("parameter `{}` is given no value", clipped(parameter)));
                resolved = false;
            }
        }
        for name in operation.referenced_names() {
            let shown = clipped(name);
            match self.names.find(name) {
                None => self.findings.error(subject, format!("`{shown}` is not defined")),
                Some(definition) if definition.place >= Place::Operation(index) => {
                    self.findings.error(subject, format!("`{shown}` is used before its definition"));
                }
                Some(definition) if definition.bounded => continue,
                Some(_) => {}
            }
            resolved = false;
        }
        resolved
    }

    /// The constants in place; tells whether type inference can go on.
    fn check_constants(&mut self, subject: Subject<'_>, operation: &Operation) -> bool {
        let in_place = operation.inputs.iter().flat_map(|(parameter, argument)| {
            let values = argument.0.iter().filter_map(in_place_value);
            values.map(move |value| (parameter, value))
        });
        let mut valued = true;
        for (parameter, value) in in_place.chain(&operation.attributes) {
            if let Some(problem) = value::problem(value) {
                self.findings.error(subject, format!("`{}`: {problem}", clipped(parameter)));
                valued = false;
            }
        }
        valued
    }

    fn check_name(&mut self, subject: Subject<'_>, operation: &Operation) {
        match operation.attributes.get(NAME) {
            None => self
                .findings
                .warning(subject, "the attribute `name` is missing, which Core ML's own tools always write"),
            Some(name) if name.ty != ValueType::string() || name.as_str().is_none() => {
                self.findings.error(subject, "the attribute `name` is not a string");
            }
            Some(_) => {}
        }
    }

    /// Which attributes there are. The parameters of `constexpr_*` ops are attributes before ios18; ops from before ios18
    /// that have no newer form keep theirs there.
    fn check_attributes(&mut self, subject: Subject<'_>, operation: &Operation, decl: &OpDecl) {
        let constexpr = decl.name.starts_with(special::CONSTEXPR_PREFIX);
        let declared = |name: &str| decl.parameters.iter().any(|parameter| parameter.name == name);
        let mut parameters = 0_usize;
        for attribute in operation.attributes.keys().filter(|attribute| *attribute != NAME) {
            if decl.name == special::CONST && attribute == VALUE {
                continue;
            }
            if constexpr && decl.since < Opset::Ios18 && declared(attribute) {
                parameters += 1;
                continue;
            }
            self.findings.error(subject, format!("`{}` has no attribute `{}`", decl.name, clipped(attribute)));
        }
        if operation.inputs.is_empty() {
            return;
        }
        if decl.name == special::CONST {
            self.findings.error(subject, "`const` has no inputs, its value is the attribute `val`");
        } else if constexpr && self.opset < Opset::Ios18 {
            let message = format!("the parameters of `{}` are attributes before {}", decl.name, Opset::Ios18);
            self.findings.error(subject, message);
        } else if parameters > 0 {
            self.findings.error(subject, format!("the parameters of `{}` are split over two forms", decl.name));
        }
    }

    /// Operands of more axes than Core ML computes with may only go from constant to constant.
    fn check_ranks(&mut self, subject: Subject<'_>, operation: &Operation) {
        if special::yields_constant(&operation.op) {
            return;
        }
        for (parameter, argument) in &operation.inputs {
            let high = argument.0.iter().find_map(|binding| {
                let (ty, constant) = match binding {
                    Binding::Name(name) => self.names.find(name).map(|found| (found.ty, found.constant))?,
                    Binding::Value(value) => (&value.ty, true),
                };
                ty.as_tensor().filter(|tensor| constant && tensor.rank() > MAX_RANK)
            });
            if let Some(tensor) = high {
                let rank = tensor.rank();
                let message =
                    format!("parameter `{}` has {rank} axes, expected at most {MAX_RANK}", clipped(parameter));
                self.findings.error_about(Topic::Rank, subject, message);
            }
        }
    }

    /// Requires that only the ops for states take one; tells whether type inference can go on.
    fn check_states(&mut self, subject: Subject<'_>, operation: &Operation, decl: &OpDecl) -> bool {
        if decl.effect != Effect::Pure {
            return true;
        }
        let taken = operation.referenced_names().find(|name| {
            let definition = self.names.find(name);
            definition.is_some_and(|definition| definition.bounded && contains_state(definition.ty))
        });
        let Some(name) = taken else { return true };
        let message = format!("`{}` cannot take the state `{}`", decl.name, clipped(name));
        let hint = "read the state with `read_state` and take its result".to_owned();
        self.findings.error_with_hint(subject, message, Some(hint));
        false
    }

    /// Operands against the declaration, and declared against inferred results.
    fn check_types(&mut self, subject: Subject<'_>, operation: &Operation, decl: &OpDecl) {
        if operation.outputs.iter().any(|output| !value::is_bounded(&output.ty)) || self.spare_results == 0 {
            return;
        }
        let Ok(ctx) = OpContext::new(operation, self.opset, self.names) else { return };
        if !operand::check(decl, &ctx, subject, self.findings) {
            return;
        }
        let inferred = match (decl.infer)(&ctx) {
            Ok(inferred) => inferred,
            Err(error) => {
                self.findings.error(subject, error.to_string());
                return;
            }
        };
        let (declared, count) = (operation.outputs.len(), inferred.len());
        if count != declared {
            self.spare_results = self.spare_results.saturating_sub(count.saturating_sub(declared));
            self.findings.error(subject, format!("{declared} results are declared, `{}` has {count}", decl.name));
            return;
        }
        let from_values = !ctx.given().any(|parameter| ctx.operands(parameter).iter().any(has_unknown_length));
        for (output, inferred) in operation.outputs.iter().zip(&inferred) {
            if output.ty != *inferred && !(from_values && refines(&output.ty, inferred)) {
                let subject = Subject { value: Some(&output.name), ..subject };
                let message = format!("the result is declared as {}, but it is {inferred}", output.ty);
                self.findings.error(subject, message);
            }
        }
    }
}

fn subject(index: usize, operation: &Operation) -> Subject<'_> {
    Subject {
        place: Place::Operation(index),
        op: Some(&operation.op),
        value: operation.outputs.first().map(|output| output.name.as_str()),
    }
}

/// Whether an operand has a length that is not known.
fn has_unknown_length(operand: &Operand<'_>) -> bool {
    operand.ty.as_tensor().is_some_and(|tensor| tensor.shape.contains(&Dimension::Unknown))
}

/// Whether a result may be declared as `declared` where inference gives `inferred` of operands whose lengths are all known:
/// a length that inference does not know then, because it follows from values, may be declared.
fn refines(declared: &ValueType, inferred: &ValueType) -> bool {
    match (declared, inferred) {
        (ValueType::Tensor(declared), ValueType::Tensor(inferred)) => {
            let axes = declared.shape.iter().zip(&inferred.shape);
            declared.dtype == inferred.dtype
                && declared.rank() == inferred.rank()
                && axes.into_iter().all(|(declared, inferred)| declared == inferred || *inferred == Dimension::Unknown)
        }
        // coremltools writes how long a list is at first, also where it grows.
        (ValueType::List(declared, _), ValueType::List(inferred, Dimension::Unknown)) => declared == inferred,
        _ => declared == inferred,
    }
}

fn in_place_value(binding: &Binding) -> Option<&Value> {
    match binding {
        Binding::Value(value) => Some(value),
        Binding::Name(_) => None,
    }
}

/// Whether a bounded type is or holds a state.
pub(super) fn contains_state(ty: &ValueType) -> bool {
    match ty {
        ValueType::Tensor(_) => false,
        ValueType::State(_) => true,
        ValueType::List(element, _) => contains_state(element),
        ValueType::Tuple(elements) => elements.iter().any(contains_state),
        ValueType::Dictionary(key, value) => contains_state(key) || contains_state(value),
    }
}
