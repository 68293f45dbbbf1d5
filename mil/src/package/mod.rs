//! Packages: the `.mlpackage` directory, its model message, and its weight files.
//!
//! No path is touched here. A package is read through [`PackageFiles`]; what is written are bytes, under the path
//! constants of this module.

mod description;
mod feature;
mod model;
mod path;
mod reader;

pub(crate) use description::check_functions;
pub(crate) use model::other_kind;
pub(crate) use reader::{MAX_MODEL_BYTES, open_weights, read_limited, weight_path};

pub use feature::{ArrayDefault, FeatureDescription, FeatureType, MultiArray, ShapeFlexibility, SizeRange};
pub use model::{
    FlexibleInputs, FunctionDescription, MAIN_FUNCTION, Metadata, Model, ModelDescription, ModelError, decode_model,
    encode_model,
};
pub use path::{PathError, checked_relative_path};
pub use reader::{FilesInMemory, Package, PackageError, PackageFiles};

/// Path of the manifest within a package.
pub const MANIFEST_PATH: &str = "Manifest.json";

/// Directory that the paths of the manifest are relative to.
pub const DATA_DIRECTORY: &str = "Data";

/// What names of packages end in, behind a dot.
pub const PACKAGE_EXTENSION: &str = "mlpackage";

/// Path of the model message within a package.
pub const MODEL_PATH: &str = "Data/com.apple.CoreML/model.mlmodel";

/// Path of the weights directory within a package.
pub const WEIGHTS_DIRECTORY: &str = "Data/com.apple.CoreML/weights";

/// Path of the weight file within a package; programs call it [`crate::WEIGHT_FILE`].
pub const WEIGHTS_PATH: &str = "Data/com.apple.CoreML/weights/weight.bin";
