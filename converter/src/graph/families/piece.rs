//! One program of a conversion with its weight file.

use anec_mil::{Function, Program};

use super::{Family, GraphError, Label, ModelSettings, conformity};
use crate::weights::weight_file::WeightFile;

/// A piece: the functions of one file over one weight file.
pub(crate) struct Piece {
    /// Which one it is.
    pub(crate) label: Label,
    /// Its functions.
    pub(crate) program: Program,
    /// What they read.
    pub(crate) weights: WeightFile,
}

impl Piece {
    /// Builds all functions that the contract names, over the weights that are known.
    pub(crate) fn build(
        family: &dyn Family,
        settings: &ModelSettings<'_>,
        label: Label,
        mut weights: WeightFile,
    ) -> Result<Self, GraphError> {
        let instance = family.instance(settings, &label);
        let file = family.contract().file(label.role)?;
        let mut program = Program::default();
        for described in file.functions_in(&instance) {
            let function = family.function(settings, &label, described.name, &mut weights)?;
            conformity::check(family.contract(), label.role, described, &instance, &function)?;
            program.functions.insert(described.name.to_owned(), function);
        }
        Ok(Self { label, program, weights })
    }

    /// The weights of a piece, without its program.
    pub(crate) fn weights_of(
        family: &dyn Family,
        settings: &ModelSettings<'_>,
        label: &Label,
    ) -> Result<WeightFile, GraphError> {
        let instance = family.instance(settings, label);
        let first = family.contract().file(label.role)?.functions_in(&instance).next();
        let first = first.expect("every file of a contract has a function in every conversion");
        let mut weights = WeightFile::of(settings.opset);
        let _: Function = family.function(settings, label, first.name, &mut weights)?;
        Ok(weights)
    }
}
