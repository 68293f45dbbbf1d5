//! Decides whether a program is one that Core ML loads and runs.
//!
//! Everything is checked here that readers do not: names, definitions before uses, declared against inferred types,
//! constants, references into the weight file, states, and what a function takes and returns. All errors are collected,
//! in program order. Verification never changes a program and never looks into a weight file. It takes any program, in
//! time that grows with the size of the program and not faster, and does not panic.
//!
//! Not checked: whether a program computes what it should, and limits of particular chips.

mod annotate;
mod finding;
mod function;
mod identifier;
mod operand;
mod operation;
mod program;
mod scope;
mod state;
mod suggestion;
mod value;

pub(crate) use finding::clipped;
pub use finding::{Finding, Location, Place, Report, Severity, Topic, VerifyErrors};

use crate::program::Program;

/// The largest number of axes of a tensor that Core ML computes with. Weights on their way through `constexpr_*` ops may
/// have more.
pub const MAX_RANK: usize = 5;

/// The largest number of states of a function that the Neural Engine runs; with three, predictions fail there.
pub const MAX_STATES: usize = 2;

/// Verifies `program`.
///
/// # Errors
/// Every error found; warnings are not reported.
///
/// # Example
/// ```
/// use anec_mil::{DataType, FunctionBuilder, Opset, Program, TensorType, verify};
///
/// let mut builder = FunctionBuilder::new(Opset::Ios18);
/// let x = builder.input("x", TensorType::fixed(DataType::Float16, &[1, 8]));
/// let y = builder.relu("y", &x)?;
/// let mut program = Program::default();
/// program.functions.insert("main".to_owned(), builder.finish(&[&y]));
/// verify::verify(&program)?;
///
/// program.functions.get_mut("main").unwrap().block.outputs = vec!["z".to_owned()];
/// let errors = verify::verify(&program).unwrap_err();
/// assert_eq!(errors.to_string(), "main / z: the result `z` is not defined");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(program: &Program) -> Result<(), VerifyErrors> {
    report(program).into_result()
}

/// Verifies `program` and gives warnings too.
pub fn report(program: &Program) -> Report {
    program::check(program)
}

#[cfg(test)]
mod tests;
