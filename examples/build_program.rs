//! Builds a program op by op, verifies it, and prints it in Core ML's text form.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;

use anec_mil::text::{self, TextVersion};
use anec_mil::verify::verify;
use anec_mil::{DataType, FunctionBuilder, Opset, Program, TensorType, Value};
use half::f16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut ops = FunctionBuilder::new(Opset::Ios18);
    let x = ops.input("x", TensorType::fixed(DataType::Float16, &[1, 64, 1, 32]));
    let half = ops.constant("half", Value::fp16(f16::from_f32(0.5)));
    let activated = ops.silu("activated", &x)?;
    let result = ops.mul("result", &activated, &half)?;
    let function = ops.finish(&[&result]);

    let program = Program { functions: BTreeMap::from([("main".to_owned(), function)]), ..Program::default() };
    verify(&program)?;
    writeln!(std::io::stdout(), "{}", text::print(&program, TextVersion::V1_3)?)?;
    Ok(())
}
