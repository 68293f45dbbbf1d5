//! The model of a planned file: its program with a description of what goes in and out.

use anec_mil::Program;
use anec_mil::compiled;
use anec_mil::package::{
    FlexibleInputs, FunctionDescription, Model, ModelDescription, ModelError, ShapeFlexibility, SizeRange,
};
use anec_schemas::contract::{ContractError, FunctionContract};

use crate::output::layouts::{self, Layout};
use crate::plan::{ConversionPlan, FilePlan};

impl ConversionPlan {
    /// The model of one of its files.
    ///
    /// # Errors
    /// A bug in the graphs: a function that cannot be described.
    pub fn model(&self, file: &FilePlan) -> Result<Model, ModelError> {
        let layout = layouts::of(&self.options).expect("the plan was made for a layout of the table");
        model(layout, self, file, &file.program)
    }

    /// The model that holds some functions of a file.
    ///
    /// # Errors
    /// As [`model`](Self::model).
    pub(crate) fn partial_model(&self, file: &FilePlan, functions: &[String]) -> Result<Model, ModelError> {
        let layout = layouts::of(&self.options).expect("the plan was made for a layout of the table");
        model(layout, self, file, &program_of(file, functions))
    }
}

/// The model of a file with the metadata of a layout.
pub(crate) fn model(
    layout: &dyn Layout,
    plan: &ConversionPlan,
    file: &FilePlan,
    program: &Program,
) -> Result<Model, ModelError> {
    let described = plan.contract.file(file.label.role).expect("the program was held against its contract");
    let in_contract: Vec<&FunctionContract> = described.functions_in(&file.instance).collect();
    let flexible = flexible_inputs(&in_contract, file).expect("the program was held against its contract");
    let describe =
        |(name, function): (&String, &anec_mil::Function)| FunctionDescription::of(name, function, &flexible);
    let mut functions: Vec<_> = program.functions.iter().map(describe).collect::<Result<_, _>>()?;
    let default = in_contract.iter().find(|function| program.functions.contains_key(function.name));
    let mut description = match (functions.len(), default) {
        (1, _) | (_, None) => ModelDescription::single(functions.remove(0)),
        (_, Some(first)) => ModelDescription::multiple(functions, first.name),
    };
    description.metadata = Some(layout.metadata(plan, file));
    Ok(Model {
        specification_version: plan.options.target.opset().specification_version(),
        description,
        program: program.clone(),
    })
}

/// The program with some of its functions.
pub(crate) fn program_of(file: &FilePlan, functions: &[String]) -> Program {
    let mut program = file.program.clone();
    program.functions.retain(|name, _| functions.contains(name));
    program
}

/// Inputs that take several shapes. Where it is not known how a compiled model lists them, they take those between them too.
fn flexible_inputs(functions: &[&FunctionContract], file: &FilePlan) -> Result<FlexibleInputs, ContractError> {
    let mut flexible = FlexibleInputs::new();
    for function in functions {
        for input in function.inputs_in(&file.instance)? {
            let shapes = input.shapes().expect("the sizes of a plan are known");
            let [smallest, .., largest] = &shapes[..] else { continue };
            let ranges =
                smallest.iter().zip(largest).map(|(lower, upper)| SizeRange { lower: *lower, upper: Some(*upper) });
            let ranges = ShapeFlexibility::Ranges(ranges.collect());
            let all = ShapeFlexibility::Enumerated(shapes);
            let known = compiled::has_known_form(&input.name, &all);
            flexible.insert(input.name, if known { all } else { ranges });
        }
    }
    Ok(flexible)
}
