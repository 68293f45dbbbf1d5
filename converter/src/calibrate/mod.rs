//! Calibration: palettes that fit the inputs that a model's layers really get.
//!
//! Layers are quantized in the order in which tokens pass through them, each by the Gram matrices of its inputs as the
//! quantized layers before it give them. Beside runs the checkpoint's own residual stream, and targets lean on it. One
//! layer's weights and the activations of the calibration tokens are in memory, nothing more.
//!
//! The mathematics of one weight is `anec_quantize::compensate`.

mod activations;
pub mod allocate;
mod buffers;
mod cost;
mod engine;
mod error;
pub mod evaluate;
mod forward;
mod head;
mod layer;
mod palettes;
mod result;
mod run;
pub mod sensitivity;
mod settings;
mod shape;
mod store;
mod tokens;
mod weights;

pub use crate::weights::CalibratedRows;
pub use activations::activation_scales;
pub use cost::{CalibrationCost, Machine, Work};
pub use engine::{Calibrator, Progress, Tokens};
pub use error::CalibrateError;
pub use palettes::palettes;
pub use result::CalibratedTensor;
pub use run::Calibration;
pub use settings::{PaletteShape, Palettes, Strength, TensorRows};
pub use store::CalibrationStore;
pub use tokens::{CalibrationSource, CalibrationTokens, calibration_tokens, check_source, sample_tokens};
