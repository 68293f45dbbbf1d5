//! Runs programs on any machine, to show what they compute.
//!
//! This is a reference, not an engine: every op is evaluated by the function in its own file, in f32, with rounding where
//! [`Numerics`] asks for it. Only what takes the time is fast: products with weights run on all cores, and weights stay as
//! they are stored until a tile of them is needed.
//!
//! No file is opened here; weights come from a [`WeightSource`].

mod call;
mod control_flow;
mod error;
mod function;
mod kernel;
mod numerics;
mod packed;
mod prepare;
mod rearrange;
mod tensor;

pub use call::Call;
pub use error::EvaluateError;
pub use function::{EvaluableFunction, State, WeightSource};
pub use kernel::PARALLEL_FLOATS;
pub use kernel::blocks::{Blocks, Dequantized};
pub use kernel::broadcast::{broadcast_shape, for_each_pair, map_pairs, stretched};
pub(crate) use kernel::lookup::look_up;
pub use kernel::product::{Matrix, Projection, multiply};
pub use kernel::softmax::softmax;
pub use kernel::strided::{along_axis, row_major, strided_copy};
pub use numerics::{Accumulator, Numerics, OpStatistics, Statistics, Step};
pub use packed::Expand;
pub(crate) use packed::sub_byte;
pub use tensor::{Elements, Tensor, TensorError, check_made, check_size};

/// How an op is evaluated.
#[derive(Clone, Copy)]
pub enum Evaluate {
    /// It computes floats, which are rounded to the element type of its results where the numerics ask for it.
    Computes(EvaluateFn),
    /// Its results hold elements of its operands, or no floats: there is nothing to round.
    Moves(EvaluateFn),
    /// It runs the first of its two blocks where its operand is true, else the second.
    Branches,
    /// It runs the second of its two blocks again and again, as long as the first holds.
    Repeats,
}

/// Computes the results of one operation.
pub type EvaluateFn = fn(&mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError>;
