//! Functions: their ops in order, each with its operands traced to where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::constant::Weights;
use super::{ABSENT, CompareError, Found};
use crate::ops::special;
use crate::package::PackageFiles;
use crate::program::{Argument, Binding, Function, Operation};
use crate::types::ValueType;
use crate::value::{Value, ValueData};

/// The attribute of every op that is for people only.
const NAME: &str = "name";

/// Where an operand comes from.
#[derive(Clone, Debug)]
enum Source<'a> {
    Parameter(&'a str),
    /// Result of an op, by the op's position among those that are no constants.
    Result(usize, usize),
    Constant(&'a Value),
    Unknown(&'a str),
}

/// A function with its constants taken out of the order.
struct Resolved<'a> {
    operations: Vec<&'a Operation>,
    sources: BTreeMap<&'a str, Source<'a>>,
}

impl<'a> Resolved<'a> {
    fn new(function: &'a Function) -> Self {
        let mut sources = BTreeMap::new();
        for input in &function.inputs {
            sources.insert(input.name.as_str(), Source::Parameter(&input.name));
        }
        let mut operations = Vec::new();
        for operation in &function.block.operations {
            if let (special::CONST, Some(value), Some(output)) =
                (operation.op.as_str(), operation.attributes.get("val"), operation.outputs.first())
            {
                sources.insert(&output.name, Source::Constant(value));
                continue;
            }
            for (index, output) in operation.outputs.iter().enumerate() {
                sources.insert(&output.name, Source::Result(operations.len(), index));
            }
            operations.push(operation);
        }
        Self { operations, sources }
    }

    fn source(&self, binding: &'a Binding) -> Source<'a> {
        match binding {
            Binding::Value(value) => Source::Constant(value),
            Binding::Name(name) => self.named(name),
        }
    }

    fn named(&self, name: &'a str) -> Source<'a> {
        self.sources.get(name).cloned().unwrap_or(Source::Unknown(name))
    }

    fn place(&self, function: &str, index: usize) -> String {
        let operation = self.operations.get(index);
        let op = operation.map_or("", |operation| operation.op.as_str());
        match operation.and_then(|operation| operation.outputs.first()) {
            Some(output) => format!("{function} / {} = {op}", output.name),
            None => format!("{function} / {op}"),
        }
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "the parameter `{name}`"),
            Self::Result(operation, 0) => write!(f, "the result of op {operation}"),
            Self::Result(operation, index) => write!(f, "result {index} of op {operation}"),
            Self::Constant(value) => match &value.data {
                ValueData::Blob(blob) => write!(f, "a {} at {} of `{}`", value.ty, blob.offset, blob.file_name),
                _ => write!(f, "a {} in place", value.ty),
            },
            Self::Unknown(name) => write!(f, "`{name}`, which is not defined"),
        }
    }
}

/// Compares two functions of one name. After the first op that is another one, the rest is not compared.
pub(super) fn compare<L: PackageFiles, R: PackageFiles>(
    name: &str,
    left: &Function,
    right: &Function,
    weights: &mut Weights<'_, L, R>,
    found: &mut Found,
) -> Result<(), CompareError> {
    found.same(&format!("{name} / operation set"), &left.opset, &right.opset);
    compare_parameters(name, left, right, found);
    let (a, b) = (Resolved::new(left), Resolved::new(right));
    let mut sides = Sides { name, left: &a, right: &b, weights, found };
    for (index, (one, other)) in a.operations.iter().zip(&b.operations).enumerate() {
        if sides.found.is_full() {
            return Ok(());
        }
        if one.op != other.op {
            let place = format!("{name} / op {index}");
            sides.found.add(place, format!("`{}`", one.op), format!("`{}`", other.op));
            return Ok(());
        }
        sides.operation(index, one, other)?;
    }
    let counts = (a.operations.len(), b.operations.len());
    if counts.0 != counts.1 {
        sides.found.add(format!("{name} / ops"), counts.0.to_string(), counts.1.to_string());
        return Ok(());
    }
    sides.results(left, right)
}

fn compare_parameters(name: &str, left: &Function, right: &Function, found: &mut Found) {
    let types = |function: &Function| -> BTreeMap<String, ValueType> {
        function.inputs.iter().map(|input| (input.name.clone(), input.ty.clone())).collect()
    };
    let (left, right) = (types(left), types(right));
    let text = |ty: Option<&ValueType>| ty.map_or_else(|| ABSENT.to_owned(), ToString::to_string);
    for parameter in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (left.get(parameter), right.get(parameter));
        if one != other {
            found.add(format!("{name} / parameter {parameter}"), text(one), text(other));
        }
    }
}

/// Two functions side by side.
struct Sides<'a, 'w, 'm, L: PackageFiles, R: PackageFiles> {
    name: &'a str,
    left: &'a Resolved<'a>,
    right: &'a Resolved<'a>,
    weights: &'w mut Weights<'m, L, R>,
    found: &'w mut Found,
}

impl<'a, L: PackageFiles, R: PackageFiles> Sides<'a, '_, '_, L, R> {
    fn operation(&mut self, index: usize, left: &'a Operation, right: &'a Operation) -> Result<(), CompareError> {
        let place = self.left.place(self.name, index);
        let types = |operation: &Operation| {
            operation.outputs.iter().map(|output| output.ty.to_string()).collect::<Vec<_>>().join(", ")
        };
        self.found.same(&format!("{place} / results"), &types(left), &types(right));
        if left.blocks != right.blocks {
            self.found.add(format!("{place} / blocks"), "nested blocks", "others");
        }
        for parameter in left.inputs.keys().chain(right.inputs.keys()).collect::<BTreeSet<_>>() {
            let place = format!("{place} / {parameter}");
            match (left.inputs.get(parameter), right.inputs.get(parameter)) {
                (Some(one), Some(other)) => self.argument(&place, one, other)?,
                (one, _) => self.presence(&place, one.is_some()),
            }
        }
        for attribute in left.attributes.keys().chain(right.attributes.keys()).collect::<BTreeSet<_>>() {
            if attribute == NAME {
                continue;
            }
            let place = format!("{place} / {attribute}");
            match (left.attributes.get(attribute), right.attributes.get(attribute)) {
                (Some(one), Some(other)) => self.source(&place, &Source::Constant(one), &Source::Constant(other))?,
                (one, _) => self.presence(&place, one.is_some()),
            }
        }
        Ok(())
    }

    fn presence(&mut self, place: &str, in_left: bool) {
        let (left, right) = if in_left { ("there", ABSENT) } else { (ABSENT, "there") };
        self.found.add(place, left, right);
    }

    fn argument(&mut self, place: &str, left: &'a Argument, right: &'a Argument) -> Result<(), CompareError> {
        if left.0.len() != right.0.len() {
            let count = |argument: &Argument| format!("{} values", argument.0.len());
            self.found.add(place, count(left), count(right));
            return Ok(());
        }
        for (one, other) in left.0.iter().zip(&right.0) {
            let sources = (self.left.source(one), self.right.source(other));
            self.source(place, &sources.0, &sources.1)?;
        }
        Ok(())
    }

    fn source(&mut self, place: &str, left: &Source<'a>, right: &Source<'a>) -> Result<(), CompareError> {
        let same = match (left, right) {
            (Source::Parameter(one), Source::Parameter(other)) => one == other,
            (Source::Result(one, first), Source::Result(other, second)) => (one, first) == (other, second),
            (Source::Constant(one), Source::Constant(other)) => self.weights.equal(one, other)?,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let (mut one, mut other) = (left.to_string(), right.to_string());
        if let (Source::Constant(left), Source::Constant(right)) = (left, right)
            && left.ty == right.ty
        {
            (one, other) = (shown(left, one), shown(right, other));
            if one == other {
                other.push_str(", other values");
            }
        }
        self.found.add(place, one, other);
        Ok(())
    }

    fn results(&mut self, left: &'a Function, right: &'a Function) -> Result<(), CompareError> {
        let (one, other) = (&left.block.outputs, &right.block.outputs);
        if one != other {
            self.found.add(format!("{} / results", self.name), one.join(", "), other.join(", "));
            return Ok(());
        }
        for output in one {
            let sources = (self.left.named(output), self.right.named(output));
            self.source(&format!("{} / result {output}", self.name), &sources.0, &sources.1)?;
        }
        Ok(())
    }
}

/// A short constant by its value, others as they were described.
fn shown(value: &Value, described: String) -> String {
    const MOST_ELEMENTS: usize = 8;
    if let Some(text) = value.as_str() {
        return format!("{text:?}");
    }
    if let Some(values) = value.as_ints().filter(|values| values.len() <= MOST_ELEMENTS) {
        return format!("{values:?}");
    }
    if let Some(values) = value.as_floats().filter(|values| values.len() <= MOST_ELEMENTS) {
        return format!("{values:?}");
    }
    if let Some(values) = value.as_bools().filter(|values| values.len() <= MOST_ELEMENTS) {
        return format!("{values:?}");
    }
    described
}
