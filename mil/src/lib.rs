//! MIL, the program form of Core ML models: types, values, operations and programs; their text and protobuf forms; the
//! weight file; packages.
//!
//! This crate touches no path, clock, environment or network: readers and writers are handed to it.

pub mod blob;
pub mod builder;
pub mod compiled;
pub mod cost;
pub mod difference;
pub mod dtype;
pub mod evaluate;
pub mod ops;
pub mod opset;
pub mod package;
pub mod passes;
pub mod program;
pub mod proto;
pub mod rules;
pub mod stored;
pub mod text;
pub mod types;
pub mod value;
pub mod verify;

pub use builder::{BuildError, FunctionBuilder, Var};
pub use dtype::DataType;
pub use ops::slice::SliceMasks;
pub use opset::Opset;
pub use program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
pub use types::{Dimension, TensorType, ValueType};
pub use value::{BlobReference, TensorData, Value, ValueData, WEIGHT_FILE};
