//! The values of a function by name.

use std::collections::BTreeMap;

use super::finding::Place;
use super::value::{is_bounded, is_small};
use crate::ops::decl::{Operand, Scope};
use crate::ops::special;
use crate::program::{Block, Function, NamedValueType, Operation};
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

/// All values that a function or a nested block defines. Where a name is defined twice, the first definition counts.
pub(super) struct Names<'a> {
    definitions: BTreeMap<&'a str, Definition<'a>>,
    /// What is defined around a nested block, and the index of the operation there that has the block.
    outer: Option<(&'a Names<'a>, usize)>,
}

impl<'a> Names<'a> {
    /// Collects the definitions of `function`; `redefined` is called for every name that is there already.
    pub(super) fn collect(function: &'a Function, redefined: impl FnMut(Place, &'a str)) -> Self {
        let mut names = Self { definitions: BTreeMap::new(), outer: None };
        names.define_all(&function.inputs, &function.block.operations, redefined);
        names
    }

    /// Collects the definitions of a block of the operation `index` among those of `outer`. The names that are defined
    /// around the block are not free in it.
    pub(super) fn collect_block(
        block: &'a Block,
        (outer, index): (&'a Names<'a>, usize),
        mut redefined: impl FnMut(&'a str),
    ) -> Self {
        let mut names = Self { definitions: BTreeMap::new(), outer: Some((outer, index)) };
        names.define_all(&block.inputs, &block.operations, |_, name| redefined(name));
        names.definitions.keys().filter(|name| outer.find(name).is_some()).for_each(|name| redefined(name));
        names
    }

    fn define_all(
        &mut self,
        inputs: &'a [NamedValueType],
        operations: &'a [Operation],
        mut redefined: impl FnMut(Place, &'a str),
    ) {
        let definitions = &mut self.definitions;
        let mut define = |name: &'a str, definition: Definition<'a>| {
            let place = definition.place;
            match definitions.entry(name) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(definition);
                }
                std::collections::btree_map::Entry::Occupied(_) => redefined(place, name),
            }
        };
        for (index, input) in inputs.iter().enumerate() {
            let place = Place::Input(index);
            let bounded = is_bounded(&input.ty);
            define(&input.name, Definition { place, ty: &input.ty, value: None, constant: false, bounded });
        }
        for (index, operation) in operations.iter().enumerate() {
            let constant = special::yields_constant(&operation.op);
            let value = constant_value(operation).filter(|value| is_small(value));
            for output in &operation.outputs {
                let place = Place::Operation(index);
                let bounded = is_bounded(&output.ty);
                define(&output.name, Definition { place, ty: &output.ty, value, constant, bounded });
            }
        }
    }

    /// The definition of `name`. What is defined around a block counts as before everything in it, or behind everything
    /// where it is not defined before the block.
    pub(super) fn find(&self, name: &str) -> Option<Definition<'a>> {
        if let Some(own) = self.definitions.get(name) {
            return Some(*own);
        }
        let (outer, index) = self.outer?;
        let mut found = outer.find(name)?;
        found.place = if found.place < Place::Operation(index) { Place::Whole } else { Place::Output(0) };
        Some(found)
    }
}

impl Scope for Names<'_> {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        let definition = self.find(name)?;
        Some(Operand { ty: definition.ty, value: definition.value, constant: definition.constant })
    }
}

/// The value of a `const` operation.
fn constant_value(operation: &Operation) -> Option<&Value> {
    if operation.op == special::CONST { operation.attributes.get("val") } else { None }
}
