//! Compiled models: the `.mlmodelc` directory that Core ML loads without compiling a package first.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.mil` | the program as [text](crate::text), with the shapes of flexible inputs |
//! | `coremldata.bin` | the kind of model, versions, and the description as protobuf |
//! | `analytics/coremldata.bin` | a hash of the package's model message |
//! | `metadata.json` | the description for people and for tools that generate code |
//! | weight files | those of the package, byte for byte |
//!
//! Of a pipeline, `pipeline.rs` says what each file holds.
//!
//! No path is touched here: a compiled model is read through [`PackageFiles`](crate::package::PackageFiles), and what is
//! written are bytes for the paths of this module.
//!
//! # Source
//! Compiled models compared byte by byte with the packages that they were compiled from; Core ML's compiler wrote them.

mod analytics;
mod archive;
mod blob_files;
mod constant;
mod core_ml_data;
mod flexible;
mod histogram;
mod interface;
mod loose;
mod metadata;
mod pipeline;
mod precision;
mod reader;
mod schema;
mod unproven;
mod writer;

pub use analytics::Analytics;
pub use blob_files::{
    ONLY_RECORD, blob_file_name, blob_files, blobs_in_order, unnamed_blob_file, with_blob_files, with_blobs,
};
pub use core_ml_data::{CoreMlData, PROVEN_SPECIFICATION_VERSION};
pub use flexible::has_known_form;
pub use loose::{LOOSE_BUILD_INFO, LOOSE_EXTENSION, LooseModel, loose_text};
pub use pipeline::{CompiledPipeline, compile_pipeline, compiled_members, decompile_pipeline};
pub use reader::{CompiledModel, normalized};
pub use unproven::Unproven;
pub use writer::{COMPILER_KEYS, CompileOptions, CompiledFiles, compile};

use crate::package::{ModelError, PackageError};
use crate::text::{ParseError, PrintError};
use crate::verify::VerifyErrors;

/// What names of compiled models end in, behind a dot.
pub const COMPILED_EXTENSION: &str = "mlmodelc";

/// Path of the program within a compiled model.
pub const PROGRAM_PATH: &str = "model.mil";

/// Path of versions and description within a compiled model.
pub const DATA_PATH: &str = "coremldata.bin";

/// Path of the hash within a compiled model.
pub const ANALYTICS_PATH: &str = "analytics/coremldata.bin";

/// Path of the description for people within a compiled model.
pub const METADATA_PATH: &str = "metadata.json";

/// Path of the weight file within a compiled model; programs call it [`crate::WEIGHT_FILE`].
pub const WEIGHTS_PATH: &str = "weights/weight.bin";

/// A model that cannot be compiled, or a compiled model that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CompiledError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] PackageError),
    /// The program is not valid.
    #[error("The program is not one that Core ML loads")]
    Verify(#[from] VerifyErrors),
    /// The program has no text form.
    #[error("The program has no text form")]
    Print(#[from] PrintError),
    /// The text is no program.
    #[error("`{PROGRAM_PATH}` is not a program")]
    Parse(#[from] ParseError),
    /// The program is not UTF-8.
    #[error("`{PROGRAM_PATH}` is not text: byte {position} is not UTF-8")]
    Utf8 {
        /// The first byte that is not.
        position: usize,
    },
    /// `coremldata.bin` is not usable.
    #[error("`{DATA_PATH}` is not usable")]
    Data(#[from] DataError),
    /// Description and program contradict each other.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Forms of which no compiled model was seen.
    #[error("No compiled model was seen with {}{}", .forms.first().map_or("", String::as_str), others(.forms.len()))]
    Unproven {
        /// What they are, each once.
        forms: Vec<String>,
    },
    /// A member of a pipeline whose compiled form is not known.
    #[error("A member of the pipeline is a `{kind}`, expected an `mlProgram` or a `nonMaximumSuppression`")]
    Member {
        /// Its kind.
        kind: &'static str,
    },
    /// An input whose shapes have no compiled form.
    #[error("Input `{feature}` of `{function}` {problem}")]
    Flexible {
        /// The function.
        function: String,
        /// The input.
        feature: String,
        /// Why.
        problem: &'static str,
    },
    /// A constant that its text does not give back.
    #[error("{place} has {problem}")]
    Constant {
        /// The constant.
        place: String,
        /// What is not known.
        problem: &'static str,
    },
    /// An input or state that is in one of both only, or another there.
    #[error("`{feature}` of `{function}` is {program} in the program, but {description} in the description")]
    Interface {
        /// The function.
        function: String,
        /// The input, state or output.
        feature: String,
        /// What the program says.
        program: String,
        /// What the description says.
        description: String,
    },
    /// The text has other shapes of flexible inputs than the description.
    #[error("The shapes of the flexible inputs of `{function}` are not those of the description")]
    FlexibleShapes {
        /// The function.
        function: String,
    },
}

/// A `coremldata.bin` that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file ends within something.
    #[error("{what} at byte {position} is cut off")]
    Truncated {
        /// What.
        what: &'static str,
        /// Where it starts.
        position: usize,
    },
    /// A string that is not UTF-8.
    #[error("{what} at byte {position} is not text")]
    Text {
        /// What.
        what: &'static str,
        /// Where it starts.
        position: usize,
    },
    /// A value that is not known.
    #[error("{what} at byte {position} is {found}, expected {expected}")]
    Field {
        /// What.
        what: &'static str,
        /// Where it starts.
        position: usize,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// More than there should be.
    #[error("{left} bytes follow the end at byte {position}")]
    Trailing {
        /// The end.
        position: usize,
        /// Bytes after it.
        left: usize,
    },
    /// Another kind of model.
    #[error("the model is {found}, expected an `mlProgram`")]
    Kind {
        /// The kind.
        found: String,
        /// What to do with such a model.
        hint: Option<&'static str>,
    },
    /// A specification version that no ML Program has.
    #[error("specification version {found}, expected 6 or more")]
    SpecificationVersion {
        /// The version.
        found: u64,
    },
    /// The description.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl CompiledError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Member { .. } => Some(
                "compile the ML Programs of the pipeline alone, such as `Model.mlpackage/model0`; the whole on a Mac, with \
                 `xcrun coremlcompiler compile`",
            ),
            _ => None,
        }
    }
}

impl DataError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Kind { hint, .. } => *hint,
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }
}

/// How many forms there are beside the first.
fn others(forms: usize) -> String {
    match forms.saturating_sub(1) {
        0 => String::new(),
        1 => ", and one more form".to_owned(),
        more => format!(", and {more} more forms"),
    }
}

#[cfg(test)]
mod tests;
