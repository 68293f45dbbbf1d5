//! One function: what it takes, its operations, and what it returns.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Findings, Place, Subject, Topic, clipped};
use super::operation::OperationChecker;
use super::scope::Names;
use super::{MAX_RANK, identifier, state, value};
use crate::dtype::DataType;
use crate::opset::Opset;
use crate::program::Function;
use crate::types::{TensorType, ValueType};

/// How many results inference may give that are not declared, over all operations of a function.
const SPARE_RESULTS: usize = 1 << 18;

/// Everything that is wrong with `function`, in program order.
pub(super) fn check(name: &str, function: &Function) -> Vec<Finding> {
    let mut findings = Findings::new(Some(name));
    identifier::check(name, Subject::WHOLE, &mut findings);
    if !function.block.inputs.is_empty() {
        findings.error(Subject::WHOLE, "the body has parameters of its own");
    }
    let names = Names::collect(function, |place, name| {
        let subject = Subject { place, op: operation_at(function, place), value: Some(name) };
        findings.error(subject, format!("`{}` is defined twice", clipped(name)));
    });
    check_inputs(function, &mut findings);
    let mut checker = OperationChecker {
        opset: function.opset,
        names: &names,
        findings: &mut findings,
        spare_results: SPARE_RESULTS,
        outer: None,
    };
    for (index, operation) in function.block.operations.iter().enumerate() {
        checker.check(index, operation);
    }
    check_outputs(function, &names, &mut findings);
    state::check(function, &mut findings);
    findings.finish()
}

/// The op at `place`, for reports.
pub(super) fn operation_at(function: &Function, place: Place) -> Option<&str> {
    match place {
        Place::Operation(index) => function.block.operations.get(index).map(|operation| operation.op.as_str()),
        Place::Whole | Place::Input(_) | Place::Output(_) => None,
    }
}

fn check_inputs(function: &Function, findings: &mut Findings<'_>) {
    let used: BTreeSet<&str> =
        function.block.operations.iter().flat_map(crate::program::Operation::names_used).collect();
    let returned: BTreeSet<&str> = function.block.outputs.iter().map(String::as_str).collect();
    for (index, input) in function.inputs.iter().enumerate() {
        let subject = Subject { place: Place::Input(index), op: None, value: Some(&input.name) };
        identifier::check(&input.name, subject, findings);
        if !value::is_bounded(&input.ty) {
            findings.error(subject, "the type of the parameter is nested too deeply or too large");
            continue;
        }
        let is_state = matches!(input.ty, ValueType::State(_));
        match &input.ty {
            ValueType::Tensor(tensor) => {
                check_interface(tensor, function.opset, "parameter", subject, findings);
                if !(1..=MAX_RANK).contains(&tensor.rank()) {
                    findings.error_about(
                        Topic::Rank,
                        subject,
                        format!("the parameter is {tensor}, expected 1 to {MAX_RANK} axes"),
                    );
                }
            }
            ValueType::State(tensor) => state::check_declaration(tensor, function.opset, subject, findings),
            other => findings.error(subject, format!("the parameter is {other}, expected a tensor or a state")),
        }
        if !used.contains(input.name.as_str()) && !returned.contains(input.name.as_str()) {
            let message = if is_state { "the state is neither read nor written" } else { "the parameter is not used" };
            findings.error(subject, message);
        }
    }
}

fn check_outputs(function: &Function, names: &Names<'_>, findings: &mut Findings<'_>) {
    if function.block.outputs.is_empty() {
        findings.error(Subject::WHOLE, "the function has no results");
    }
    let mut seen = BTreeMap::new();
    for (index, output) in function.block.outputs.iter().enumerate() {
        let subject = Subject { place: Place::Output(index), op: None, value: Some(output) };
        if seen.insert(output.as_str(), index).is_some() {
            findings.error_about(Topic::DuplicateResult, subject, format!("`{}` is returned twice", clipped(output)));
            continue;
        }
        let Some(definition) = names.find(output) else {
            findings.error(subject, format!("the result `{}` is not defined", clipped(output)));
            continue;
        };
        if !definition.bounded {
            continue;
        }
        match definition.ty {
            ValueType::Tensor(tensor) if is_label(tensor) => {}
            ValueType::Dictionary(key, value) if is_class_dictionary(key, value) => {}
            ValueType::Tensor(tensor) => {
                check_interface(tensor, function.opset, "result", subject, findings);
                if definition.constant && tensor.rank() > MAX_RANK {
                    findings.error_about(
                        Topic::Rank,
                        subject,
                        format!("the result {tensor} has more than {MAX_RANK} axes"),
                    );
                }
            }
            ValueType::State(_) => findings.error(subject, "a state cannot be returned"),
            other => findings.error(subject, format!("the result is {other}, expected a tensor")),
        }
        if matches!((definition.place, definition.ty), (Place::Input(_), ValueType::Tensor(_))) {
            findings.warning(subject, "a parameter is returned as it is, which Core ML may not run");
        }
    }
}

/// Whether this is a class, as `classify` gives it.
fn is_label(tensor: &TensorType) -> bool {
    tensor.shape.is_empty() && matches!(tensor.dtype, DataType::String | DataType::Int64)
}

/// Whether this is a dictionary from classes to probabilities.
fn is_class_dictionary(key: &ValueType, value: &ValueType) -> bool {
    let number = |ty: &TensorType| ty.shape.is_empty() && matches!(ty.dtype, DataType::Float32 | DataType::Float64);
    key.as_tensor().is_some_and(is_label) && value.as_tensor().is_some_and(number)
}

/// A tensor that goes in or out: the model description must be able to describe it.
///
/// # Source
/// `FeatureTypes.proto` `ArrayFeatureType`, coremltools@e0e2f42b; parameters of rank 0 are refused on load.
fn check_interface(tensor: &TensorType, opset: Opset, role: &str, subject: Subject<'_>, findings: &mut Findings<'_>) {
    let described = match tensor.dtype {
        DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Int32 => true,
        DataType::Int8 => opset >= Opset::Ios26,
        _ => false,
    };
    if !described {
        findings.error(subject, format!("the {role} is {tensor}, expected elements of fp16, fp32 or int32"));
    }
}
