//! Programs of one training step whose weights are inputs, so that they are compiled once and never again.
//!
//! A layer is six programs: [`FwdAttn`](Kind::FwdAttn) and [`FwdFfn`](Kind::FwdFfn) forward, the other four backward. What is
//! small or needs no matrix stays with the client: embeddings, the backward pass of norms, residuals, the loss, the gradients
//! of weights and the optimizer.
//!
//! Weights are consumed by `matmul`: a convolution with a weight that is not constant is refused by Core ML, and was reported to
//! be ignored below it.
//!
//! # Source
//! maderix/ANE, pull request 18 (kinds, shapes, orders of channels, packed outputs) and `training_dynamic/mil_dynamic.h` (weights
//! packed along the last axis). What they left out is the rotation of queries and keys, which is an option here.

mod attention;
mod error;
mod feed_forward;
mod graph;
mod kind;
mod operands;
mod shape;
pub(crate) mod train;
mod write;

pub use anec_schemas::training::TrainingShape;
pub use error::TrainingError;
pub use kind::Kind;
pub use operands::{Input, Part, WeightForm, inputs};
pub use shape::shape_of;
pub use write::write;

use anec_mil::package::{FlexibleInputs, FunctionDescription, Model, ModelDescription};
use anec_mil::{Opset, Program};

/// What masks hold where a query attends to nothing: the least of fp16.
pub const MASKED: f32 = -65_504.0;

/// The operation set of the programs.
const OPSET: Opset = Opset::Ios18;

/// The program of a kind.
///
/// # Errors
/// A bug in the graphs: operands that do not fit.
pub fn program(kind: Kind, shape: &TrainingShape, form: WeightForm) -> Result<Program, TrainingError> {
    let mut graph = graph::StepGraph::new(kind, shape, form);
    let result = match kind {
        Kind::FwdAttn => graph.fwd_attn(),
        Kind::FwdFfn => graph.fwd_ffn(),
        Kind::FfnBwd => graph.ffn_bwd(),
        Kind::SdpaBwd1 => graph.sdpa_bwd1(),
        Kind::SdpaBwd2 => graph.sdpa_bwd2(),
        Kind::QkvBwd => graph.qkv_bwd(),
    }?;
    let mut program = Program::default();
    program.functions.insert("main".to_owned(), graph.finish(&result));
    Ok(program)
}

/// The program of a kind with its description.
///
/// # Errors
/// As [`program`].
pub fn model(kind: Kind, shape: &TrainingShape, form: WeightForm) -> Result<Model, TrainingError> {
    let mut program = program(kind, shape, form)?;
    anec_mil::passes::run_all(&mut program, true)?;
    let function = program.functions.get("main").expect("just made");
    let described = FunctionDescription::of("main", function, &FlexibleInputs::new())?;
    Ok(Model {
        specification_version: OPSET.specification_version(),
        description: ModelDescription::single(described),
        program,
    })
}
