//! States: where they are declared, and how far results may follow from what is written to them.
//!
//! # Source
//! Crash reports against Core ML: coremltools pull request 2713 (a function that returns what it writes to a state ends
//! in a segmentation fault on load), and programs with three states, which fail on the Neural Engine.

use std::collections::{BTreeMap, BTreeSet};

use super::MAX_STATES;
use super::finding::{Finding, Findings, Place, Severity, Subject, Topic, clipped};
use super::value::is_bounded;
use crate::dtype::DataType;
use crate::ops::decl::{Domain, Effect, OpDecl};
use crate::ops::find;
use crate::opset::Opset;
use crate::program::{Binding, Function, Operation, Program};
use crate::types::{TensorType, ValueType};

/// How many missing states of a function are named.
const NAMED: usize = 3;

/// A state as a parameter of a function.
pub(super) fn check_declaration(tensor: &TensorType, opset: Opset, subject: Subject<'_>, findings: &mut Findings<'_>) {
    if opset < Opset::Ios18 {
        findings.error_about(
            Topic::StateType,
            subject,
            format!("states exist since {}, the function uses {opset}", Opset::Ios18),
        );
    }
    if tensor.dtype != DataType::Float16 || tensor.element_count().is_none() || tensor.shape.is_empty() {
        findings.error_about(
            Topic::StateType,
            subject,
            format!("the state is {tensor}, expected an fp16 tensor of fixed shape"),
        );
    }
    if tensor.rank() > super::MAX_RANK {
        findings.error_about(
            Topic::Rank,
            subject,
            format!("the state {tensor} has more than {} axes", super::MAX_RANK),
        );
    }
}

/// The number of states, and the results that stand in the way of a write.
pub(super) fn check(function: &Function, findings: &mut Findings<'_>) {
    let states = function.inputs.iter().filter(|input| matches!(input.ty, ValueType::State(_))).count();
    if states > MAX_STATES {
        let message = format!("the function has {states} states, expected at most {MAX_STATES}");
        findings.add((Severity::Warning, Topic::StateCount), Subject::WHOLE, message, None);
    }
    let effects: Vec<(&Operation, &OpDecl)> = function
        .block
        .operations
        .iter()
        .filter_map(|operation| find(&operation.op).map(|decl| (operation, decl)))
        .filter(|(_, decl)| decl.effect != Effect::Pure)
        .collect();
    let mut written = BTreeSet::new();
    let mut read = BTreeSet::new();
    for (operation, decl) in &effects {
        match decl.effect {
            Effect::WritesState => written.extend(written_names(operation, decl)),
            Effect::ReadsState => read.extend(operation.outputs.iter().map(|output| output.name.as_str())),
            Effect::Pure => {}
        }
    }
    let sources = if written.is_empty() { BTreeSet::new() } else { with_ancestors(function, &written) };
    let inputs: BTreeSet<&str> = function.inputs.iter().map(|input| input.name.as_str()).collect();
    for (index, output) in function.block.outputs.iter().enumerate() {
        let subject = Subject { place: Place::Output(index), op: None, value: Some(output) };
        let hint = Some("return another value that is computed from it".to_owned());
        if written.contains(output.as_str()) {
            let message = "the result is also written to a state, which crashes Core ML on load";
            findings.add((Severity::Error, Topic::StateResult), subject, message.to_owned(), hint);
        } else if read.contains(output.as_str()) {
            let message = "the result is read from a state and returned as it is";
            findings.add((Severity::Error, Topic::StateResult), subject, message.to_owned(), hint);
        } else if sources.contains(output.as_str()) && !inputs.contains(output.as_str()) {
            let message = "what is written to a state is computed from the result, which may crash Core ML";
            findings.add((Severity::Warning, Topic::StateResult), subject, message.to_owned(), None);
        }
    }
}

/// What `operation` writes: the values of all parameters that are not the state.
fn written_names<'a>(operation: &'a Operation, decl: &OpDecl) -> Vec<&'a str> {
    let values = decl.parameters.iter().filter(|parameter| !matches!(parameter.domain, Domain::State));
    values
        .filter_map(|parameter| operation.inputs.get(parameter.name))
        .flat_map(|argument| &argument.0)
        .filter_map(|binding| match binding {
            Binding::Name(name) => Some(name.as_str()),
            Binding::Value(_) => None,
        })
        .collect()
}

/// `names` and everything that they are computed from.
fn with_ancestors<'a>(function: &'a Function, names: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let mut found = names.clone();
    for operation in function.block.operations.iter().rev() {
        if operation.outputs.iter().any(|output| found.contains(output.name.as_str())) {
            found.extend(operation.names_used());
        }
    }
    found
}

/// Requires that every function declares every state of the program, with one type.
pub(super) fn check_across(program: &Program) -> BTreeMap<&str, Vec<Finding>> {
    let mut declared: BTreeMap<&str, (&str, &TensorType)> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for (name, function) in &program.functions {
        let mut findings = Findings::new(Some(name));
        for (index, state, tensor) in states(function) {
            let (first, ty) = *declared.entry(state).or_insert((name, tensor));
            if ty != tensor {
                let subject = Subject { place: Place::Input(index), op: None, value: Some(state) };
                let first = clipped(first);
                findings.error_about(
                    Topic::StateSet,
                    subject,
                    format!("the state is {tensor}, but {ty} in function `{first}`"),
                );
            }
        }
        found.insert(name.as_str(), findings);
    }
    for (name, function) in &program.functions {
        let own: BTreeSet<&str> = states(function).map(|(_, state, _)| state).collect();
        let Some(findings) = found.get_mut(name.as_str()) else { continue };
        for (state, (first, _)) in declared.iter().filter(|(state, _)| !own.contains(**state)).take(NAMED) {
            let (state, first) = (clipped(state), clipped(first));
            let message =
                format!("the state `{state}` of function `{first}` is missing, every function must declare it");
            findings.error_about(Topic::StateSet, Subject::WHOLE, message);
        }
    }
    found.into_iter().map(|(name, findings)| (name, findings.finish())).collect()
}

/// Index, name and type of the states that `function` declares.
fn states(function: &Function) -> impl Iterator<Item = (usize, &str, &TensorType)> {
    function.inputs.iter().enumerate().filter_map(|(index, input)| match &input.ty {
        ValueType::State(tensor) if is_bounded(&input.ty) => Some((index, input.name.as_str(), tensor)),
        _ => None,
    })
}
