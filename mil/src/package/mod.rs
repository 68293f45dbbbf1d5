//! Packages: the `.mlpackage` directory, its model message, and its weight files.
//!
//! No path is touched here. A package is read through [`PackageFiles`]; what is written are bytes, under the path
//! constants of this module.

mod classes;
mod description;
mod feature;
mod foreign;
mod image;
mod model;
mod multi_array;
mod path;
mod pipeline;
mod reader;
mod size_range;

pub(crate) use description::{check_functions, check_version};
pub(crate) use model::{in_one_line, other_kind, what_to_do};
pub(crate) use pipeline::{UNKNOWN_KIND, contents};
pub(crate) use reader::{MAX_MODEL_BYTES, MODEL_DIRECTORY_PREFIX, open_weights, read_limited, weight_path};

pub use classes::{ClassLabel, class_labels};
pub use feature::{FeatureDescription, FeatureType, KeyType};
pub use foreign::Foreign;
pub use image::{ColorSpace, Image, ImageFlexibility, ImageSize};
pub use model::{
    Classifier, FlexibleInputs, FunctionDescription, MAIN_FUNCTION, Metadata, Model, ModelDescription, ModelError,
    decode_model, decode_model_with_notes, encode_model,
};
pub use multi_array::{ArrayDefault, MultiArray, ShapeFlexibility};
pub use path::{PathError, checked_relative_path};
pub use pipeline::{PROGRAM_KIND, Pipeline, PipelineMember, decode_pipeline, encode_pipeline, member_name};
pub use reader::{FilesInMemory, Package, PackageError, PackageFiles};
pub use size_range::SizeRange;

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
