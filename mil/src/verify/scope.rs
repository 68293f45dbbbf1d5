//! The values of a function by name.

use std::collections::BTreeMap;

use super::finding::Place;
use super::value::{is_bounded, is_small};
use crate::ops::decl::{Operand, Scope};
use crate::ops::special;
use crate::program::{Function, Operation};
use crate::types::ValueType;
use crate::value::Value;

/// Where a value comes from.
#[derive(Clone, Copy)]
pub(super) struct Definition<'a> {
    /// The parameter or operation that defines it.
    pub(super) place: Place,
    /// Its declared type.
    pub(super) ty: &'a ValueType,
    /// Its value, where it is a constant that type inference may look at.
    pub(super) value: Option<&'a Value>,
    /// Whether it is a constant.
    pub(super) constant: bool,
    /// Whether its type is small enough for type inference.
    pub(super) bounded: bool,
}

/// All values that a function defines. Where a name is defined twice, the first definition counts.
pub(super) struct Names<'a> {
    definitions: BTreeMap<&'a str, Definition<'a>>,
}

impl<'a> Names<'a> {
    /// Collects the definitions of `function`; `redefined` is called for every name that is there already.
    pub(super) fn collect(function: &'a Function, mut redefined: impl FnMut(Place, &'a str)) -> Self {
        let mut definitions = BTreeMap::new();
        let mut define = |name: &'a str, definition: Definition<'a>| {
            let place = definition.place;
            match definitions.entry(name) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(definition);
                }
                std::collections::btree_map::Entry::Occupied(_) => redefined(place, name),
            }
        };
        for (index, input) in function.inputs.iter().enumerate() {
            let place = Place::Input(index);
            let bounded = is_bounded(&input.ty);
            define(&input.name, Definition { place, ty: &input.ty, value: None, constant: false, bounded });
        }
        for (index, operation) in function.block.operations.iter().enumerate() {
            let constant = special::yields_constant(&operation.op);
            let value = constant_value(operation).filter(|value| is_small(value));
            for output in &operation.outputs {
                let place = Place::Operation(index);
                let bounded = is_bounded(&output.ty);
                define(&output.name, Definition { place, ty: &output.ty, value, constant, bounded });
            }
        }
        Self { definitions }
    }

    /// The definition of `name`.
    pub(super) fn find(&self, name: &str) -> Option<Definition<'a>> {
        self.definitions.get(name).copied()
    }
}

impl Scope for Names<'_> {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        let definition = self.definitions.get(name)?;
        Some(Operand { ty: definition.ty, value: definition.value, constant: definition.constant })
    }
}

/// The value of a `const` operation.
fn constant_value(operation: &Operation) -> Option<&Value> {
    if operation.op == special::CONST { operation.attributes.get("val") } else { None }
}
