//! Rewrites of functions that keep what they compute: one file each, one line each in [`PASSES`].
//!
//! A pass never changes the parameters or the results of a function, their names included.

pub mod dead_code;
pub mod deduplicate_constants;

use crate::program::{Function, Program};
use crate::verify::{VerifyErrors, verify};

/// How many operations a pass removed or changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed(pub usize);

/// One pass.
pub struct Pass {
    /// Its name, which is the name of its file.
    pub name: &'static str,
    /// Why it stands where it stands in [`PASSES`].
    pub reason: &'static str,
    /// Rewrites one function.
    pub run: fn(&mut Function) -> Changed,
}

/// Every pass, in the order in which they run.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "dead_code",
        reason: "first, so that later passes do not work on what goes away",
        run: dead_code::run,
    },
    Pass {
        name: "deduplicate_constants",
        reason: "after dead code, so that a constant that nothing uses does not stand for others",
        run: deduplicate_constants::run,
    },
];

/// What the passes did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The name of each pass and what it changed in all functions, in the order in which they ran.
    pub changes: Vec<(&'static str, Changed)>,
}

/// A program that does not verify.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The program was not valid to begin with; a bug of whoever built it.
    #[error("the program is not valid before any pass")]
    Before(#[source] VerifyErrors),
    /// A pass left a program that is not valid; a bug of the pass.
    #[error("the program is not valid after the pass `{pass}`")]
    After {
        /// The pass.
        pass: &'static str,
        /// What is wrong.
        #[source]
        source: VerifyErrors,
    },
}

/// Runs every pass on every function, and verifies the program before the first and after each where asked to.
///
/// # Errors
/// The program does not verify before the passes, or after one of them; the program is then as that pass left it.
pub fn run_all(program: &mut Program, verify_after_each: bool) -> Result<Summary, PassError> {
    run(PASSES, program, verify_after_each)
}

fn run(passes: &[Pass], program: &mut Program, verify_after_each: bool) -> Result<Summary, PassError> {
    if verify_after_each {
        verify(program).map_err(PassError::Before)?;
    }
    let mut summary = Summary::default();
    for pass in passes {
        let mut changed = 0;
        for function in program.functions.values_mut() {
            changed += (pass.run)(function).0;
        }
        if verify_after_each && changed > 0 {
            verify(program).map_err(|source| PassError::After { pass: pass.name, source })?;
        }
        summary.changes.push((pass.name, Changed(changed)));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::FunctionBuilder;
    use crate::dtype::DataType;
    use crate::opset::Opset;
    use crate::types::TensorType;
    use crate::value::Value;

    fn program() -> Program {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", TensorType::fixed(DataType::Int32, &[2]));
        let one = builder.constant("one", Value::int32(1));
        let same = builder.constant("same", Value::int32(1));
        builder.constant("unused", Value::int32(1));
        let y = builder.add("y", &x, &one).expect("valid");
        let z = builder.add("z", &y, &same).expect("valid");
        let function = builder.finish(&[&z]);
        let mut program = Program::default();
        program.functions.insert("main".to_owned(), function);
        program
    }

    #[test]
    fn all_passes_run_in_order_and_tell_what_they_changed() {
        let mut program = program();
        let summary = run_all(&mut program, true).expect("valid");
        assert_eq!(summary.changes, [("dead_code", Changed(1)), ("deduplicate_constants", Changed(1))]);
        let summary = run_all(&mut program, true).expect("valid");
        assert!(summary.changes.iter().all(|(_, changed)| changed.0 == 0));
    }

    #[test]
    fn a_pass_that_breaks_the_program_is_named() {
        let breaking = Pass {
            name: "breaking",
            reason: "a test",
            run: |function| {
                function.block.operations.clear();
                Changed(1)
            },
        };
        let error = run(&[breaking], &mut program(), true).expect_err("broken");
        assert_eq!(error.to_string(), "the program is not valid after the pass `breaking`");
    }

    #[test]
    fn a_program_that_is_not_valid_is_not_blamed_on_a_pass() {
        let mut program = Program::default();
        let error = run_all(&mut program, true).expect_err("empty");
        assert!(matches!(error, PassError::Before(_)));
        assert!(run_all(&mut program, false).is_ok());
    }
}
