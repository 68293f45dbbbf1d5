//! What linting finds, and how rules hand it over.

use super::rule::{Rule, Severity};
use super::view::FunctionView;
use crate::program::Operation;
use crate::verify::{self, Location, Place, Topic, clipped};

/// A rule that is broken, and where.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is: as the rule says, or less.
    pub severity: Severity,
    /// Where it is.
    pub location: Location,
    /// What is wrong there.
    pub message: String,
    /// Names that the operation has and refers to, which may tell what it is part of.
    pub names: Vec<String>,
}

/// How many names of an operation go with a finding.
const NAMES: usize = 16;

/// Takes the findings of one rule about one function, or about the program.
pub struct Sink<'a> {
    rule: &'static Rule,
    function: Option<&'a FunctionView<'a>>,
    found: Vec<Finding>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(rule: &'static Rule, function: Option<&'a FunctionView<'a>>) -> Self {
        Self { rule, function, found: Vec::new() }
    }

    /// Something is wrong with the function as a whole, or with the program.
    pub fn whole(&mut self, message: impl Into<String>) {
        self.add(Place::Whole, None, message.into());
    }

    /// Something is wrong with the parameter of this index.
    pub fn input(&mut self, index: usize, message: impl Into<String>) {
        let name = self.function.and_then(|view| Some(view.function.inputs.get(index)?.name.as_str()));
        self.add(Place::Input(index), name, message.into());
    }

    /// Something is wrong with the operation of this index.
    pub fn operation(&mut self, index: usize, message: impl Into<String>) {
        let value = self.operation_at(index).and_then(|operation| Some(operation.outputs.first()?.name.as_str()));
        self.add(Place::Operation(index), value, message.into());
    }

    /// The same is wrong with each of the operations of these indices: it is said once, of the first.
    pub fn first_of(&mut self, mut indices: impl Iterator<Item = usize>, message: &str) {
        let Some(first) = indices.next() else { return };
        match indices.count() {
            0 => self.operation(first, message),
            1 => self.operation(first, format!("{message}; so is it in one more operation of the function")),
            others => self.operation(first, format!("{message}; so is it in {others} more operations of the function")),
        }
    }

    /// Something is wrong with the result of this index.
    pub fn output(&mut self, index: usize, message: impl Into<String>) {
        let name = self.function.and_then(|view| view.function.block.outputs.get(index).map(String::as_str));
        self.add(Place::Output(index), name, message.into());
    }

    pub(super) fn verified(&mut self, finding: &verify::Finding) {
        let names = match finding.location.place {
            Place::Operation(index) => {
                self.operation_at(index).map(|operation| self.names(operation)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        // Of a topic with a rule of its own the rule knows how bad it is; the others are as bad as the verifier says.
        let severity = match (finding.topic, finding.severity) {
            (Topic::Other, verify::Severity::Warning) => self.rule.severity.max(Severity::Warning),
            _ => self.rule.severity,
        };
        let (location, message) = (finding.location.clone(), finding.message.clone());
        self.found.push(Finding { rule: self.rule, severity, location, message, names });
    }

    pub(super) fn finish(self) -> Vec<Finding> {
        self.found
    }

    fn operation_at(&self, index: usize) -> Option<&'a Operation> {
        self.function.and_then(|view| view.operations().get(index))
    }

    fn add(&mut self, place: Place, value: Option<&str>, message: String) {
        let operation = match place {
            Place::Operation(index) => self.operation_at(index),
            _ => None,
        };
        let location = Location {
            function: self.function.map(|view| clipped(view.name)),
            place,
            op: operation.map(|operation| clipped(&operation.op)),
            value: value.map(clipped),
        };
        let names = operation.map(|operation| self.names(operation)).unwrap_or_default();
        self.found.push(Finding { rule: self.rule, severity: self.rule.severity, location, message, names });
    }

    /// The names of an operation's results and operands. Constants in the program go without: equal ones are shared by
    /// operations that have nothing else in common.
    fn names(&self, operation: &Operation) -> Vec<String> {
        let shared = |name: &&str| {
            let constant = self.function.and_then(|view| view.constant(name));
            constant.is_some_and(|value| value.as_blob().is_none())
        };
        let own = operation.outputs.iter().map(|output| output.name.as_str()).chain(operation.display_name());
        own.chain(operation.referenced_names().filter(|name| !shared(name))).take(NAMES).map(clipped).collect()
    }
}
