//! Compiled forms that no one has shown: written as all others are, and named.
//!
//! Text, description and weights of a compiled model follow rules that were read off models that Core ML's own compiler
//! made. Whether a rule holds for something that none of these models has is likely, and not known.

use std::collections::BTreeSet;

use super::core_ml_data::PROVEN_SPECIFICATION_VERSION;
use super::{constant, flexible};
use crate::ops;
use crate::ops::decl::Evidence;
use crate::package::{FeatureType, FunctionDescription, Model};
use crate::program::Block;

/// Whether a model is compiled that has a form without evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unproven {
    /// It is an error.
    #[default]
    Refused,
    /// It is named.
    Allowed,
}

/// What a model has of which no compiled form is known, each once.
pub(super) fn forms(model: &Model) -> Vec<String> {
    let mut forms = Vec::new();
    if model.specification_version > PROVEN_SPECIFICATION_VERSION {
        forms.push(format!("specification version {}", model.specification_version));
    }
    for function in &model.description.functions {
        describe(function, &mut forms);
    }
    let mut ops = BTreeSet::new();
    for function in model.program.functions.values() {
        add_ops(&function.block, &mut ops);
    }
    forms.extend(ops.into_iter().map(|op| format!("the op `{op}`")));
    forms.extend(constant::unproven(&model.program));
    forms
}

fn add_ops<'a>(block: &'a Block, found: &mut BTreeSet<&'a str>) {
    for operation in &block.operations {
        let evidence = ops::find(&operation.op).map_or(Evidence::None, |decl| decl.evidence);
        if evidence == Evidence::None {
            found.insert(&operation.op);
        }
        for block in &operation.blocks {
            add_ops(block, found);
        }
    }
}

fn describe(function: &FunctionDescription, forms: &mut Vec<String>) {
    let place = |feature: &str| format!("`{feature}` of `{}`", function.name);
    if function.classifier.is_some() {
        forms.push(format!("the classifier `{}`", function.name));
    }
    for (feature, unknown) in flexible::unproven(function) {
        forms.push(format!("{}: {unknown}", place(&feature)));
    }
    for input in function.inputs.iter().filter(|input| input.optional) {
        forms.push(format!("{}: an optional input", place(&input.name)));
    }
    let classifies = function.classifier.is_some();
    for output in function.outputs.iter().filter(|_| !classifies) {
        if !matches!(output.ty, FeatureType::MultiArray(_) | FeatureType::Image(_)) {
            forms.push(format!("{}: {output} as an output", place(&output.name)));
        }
    }
}
