//! A model: what a package's `model.mlmodel` says, as plain types.

use std::collections::BTreeMap;
use std::error::Error;

use anec_schemas::proto::{DecodeError, Message, specification as pb};
use anec_schemas::wire;

use super::feature::FeatureDescription;
use super::multi_array::{MultiArray, ShapeFlexibility};
use crate::program::{Function, Program};
use crate::proto::{self, FieldError, FieldProblem, ProtoError};
use crate::types::{TensorType, ValueType};

/// The name of the only function of a model whose description has no functions.
pub const MAIN_FUNCTION: &str = "main";

/// A model with its interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Which release of Core ML is the oldest that reads this.
    pub specification_version: i32,
    /// The interface.
    pub description: ModelDescription,
    /// The program.
    pub program: Program,
}

/// The interface of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDescription {
    /// The functions, in file order.
    pub functions: Vec<FunctionDescription>,
    /// The function that runs when none is named. `None` is the old form of the description: it has exactly one
    /// function, which is [`MAIN_FUNCTION`] in the program.
    pub default_function: Option<String>,
    /// What people should know.
    pub metadata: Option<Metadata>,
}

/// The interface of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionDescription {
    /// The name in the program.
    pub name: String,
    /// Inputs, without states.
    pub inputs: Vec<FeatureDescription>,
    /// Outputs, in the order of the block's.
    pub outputs: Vec<FeatureDescription>,
    /// States.
    pub states: Vec<FeatureDescription>,
    /// Which outputs name the class, if it is a classifier.
    pub classifier: Option<Classifier>,
}

/// The outputs of a classifier, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classifier {
    /// The output that is the class.
    pub predicted_feature: String,
    /// The output with the probability of each class; empty where there is none.
    pub predicted_probabilities: String,
}

/// What people should know about a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What the model does.
    pub short_description: String,
    /// The model's version.
    pub version: String,
    /// Who made it.
    pub author: String,
    /// The license.
    pub license: String,
    /// Anything else.
    pub user_defined: BTreeMap<String, String>,
}

/// A model that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Not a protobuf message.
    #[error("The model is not a valid message")]
    Malformed(#[from] DecodeError),
    /// Reading would lose something.
    #[error("The model has fields that are not known")]
    Fields(#[from] FieldError),
    /// Another kind of model.
    #[error("The model is a `{kind}`, expected an `mlProgram`")]
    Kind {
        /// The kind.
        kind: &'static str,
    },
    /// No model in the message.
    #[error("The message has no `mlProgram`")]
    NoProgram,
    /// The program cannot be decoded.
    #[error("The program of the model is not supported")]
    Program(#[from] ProtoError),
    /// Something that is there but has no place in [`Model`].
    #[error("The model has `{field}`, which is not supported")]
    Unsupported {
        /// The field.
        field: &'static str,
    },
    /// A specification version that is not known.
    #[error("The model has specification version {found}, expected 6 to 10")]
    SpecificationVersion {
        /// The version.
        found: i32,
    },
    /// The description has the functions of one form and the default function of the other.
    #[error("The description has {functions} functions and {default}")]
    Form {
        /// Number of functions.
        functions: usize,
        /// What it has as the default function.
        default: String,
    },
    /// Features beside functions, of which only one may be.
    #[error("The description has both `functions` and top-level `{field}`")]
    BothForms {
        /// The top-level field.
        field: &'static str,
    },
    /// The description and the program have different functions.
    #[error("Function `{name}` is in the {present}, but not in the {absent}")]
    Function {
        /// The function.
        name: String,
        /// Where it is.
        present: &'static str,
        /// Where it is not.
        absent: &'static str,
    },
    /// A feature without a type.
    #[error("Feature `{feature}` has no type")]
    FeatureType {
        /// The feature.
        feature: String,
    },
    /// A color space that is not known.
    #[error("Feature `{feature}` has color space {found}, expected 10, 20, 30 or 40")]
    ColorSpace {
        /// The feature.
        feature: String,
        /// The number found.
        found: i32,
    },
    /// An image with a range of sizes for one of its axes only.
    #[error("Feature `{feature}` has a range of sizes without a range for both axes")]
    ImageRange {
        /// The feature.
        feature: String,
    },
    /// An element type that features cannot have.
    #[error("Feature `{feature}` has element type {found}, expected fp16, fp32, fp64, int32 or int8")]
    ElementType {
        /// The feature.
        feature: String,
        /// The type found.
        found: String,
    },
    /// A length that does not fit its field.
    #[error("Feature `{feature}` has an axis of {found}")]
    Length {
        /// The feature.
        feature: String,
        /// The length.
        found: String,
    },
    /// A function input whose shape is not known, and that the caller gave no shapes for.
    #[error("Input `{feature}` of `{function}` is {ty}, but the description needs its shapes")]
    UnknownShape {
        /// The function.
        function: String,
        /// The input.
        feature: String,
        /// Its type.
        ty: String,
    },
    /// A function input or output that no feature can stand for.
    #[error("`{feature}` of `{function}` is {found}, expected a tensor or a state")]
    Undescribable {
        /// The function.
        function: String,
        /// The input or output.
        feature: String,
        /// Its type, or that it is not defined.
        found: String,
    },
}

/// The message of an error with its causes, in one line.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl ModelError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Kind { kind } => Some(what_to_do(kind)),
            _ => None,
        }
    }
}

/// What to do with a model of another kind.
pub(crate) fn what_to_do(kind: &str) -> &'static str {
    if kind == "pipeline" {
        "a pipeline is several models in a row: name one of them, such as `Model.mlpackage/model0`; `anec inspect` lists them"
    } else if kind.starts_with("pipeline") {
        "a pipeline is several models in a row: take those that are ML Programs out of it, and give each alone; with \
         coremltools, `ct.models.MLModel(spec.pipelineClassifier.pipeline.models[0]).save(..)`"
    } else if kind.starts_with("neuralNetwork") {
        "a neural network is the form from before ML Programs: convert the original again with coremltools and \
         `convert_to=\"mlprogram\"`, or compile it on a Mac with `xcrun coremlcompiler compile`"
    } else {
        "only ML Programs are read; `xcrun coremlcompiler compile` compiles other kinds on a Mac"
    }
}

/// Kinds of model other than programs, by field number of `Model`.
///
/// # Source
/// `mlmodel/format/Model.proto`, coremltools@e0e2f42b.
const OTHER_KINDS: [(u32, &str); 36] = [
    (200, "pipelineClassifier"),
    (201, "pipelineRegressor"),
    (202, "pipeline"),
    (300, "glmRegressor"),
    (301, "supportVectorRegressor"),
    (302, "treeEnsembleRegressor"),
    (303, "neuralNetworkRegressor"),
    (304, "bayesianProbitRegressor"),
    (400, "glmClassifier"),
    (401, "supportVectorClassifier"),
    (402, "treeEnsembleClassifier"),
    (403, "neuralNetworkClassifier"),
    (404, "kNearestNeighborsClassifier"),
    (500, "neuralNetwork"),
    (501, "itemSimilarityRecommender"),
    (555, "customModel"),
    (556, "linkedModel"),
    (560, "classConfidenceThresholding"),
    (600, "oneHotEncoder"),
    (601, "imputer"),
    (602, "featureVectorizer"),
    (603, "dictVectorizer"),
    (604, "scaler"),
    (606, "categoricalMapping"),
    (607, "normalizer"),
    (609, "arrayFeatureExtractor"),
    (610, "nonMaximumSuppression"),
    (900, "identity"),
    (2000, "textClassifier"),
    (2001, "wordTagger"),
    (2002, "visionFeaturePrint"),
    (2003, "soundAnalysisPreprocessing"),
    (2004, "gazetteer"),
    (2005, "wordEmbedding"),
    (2006, "audioFeaturePrint"),
    (3000, "serializedModel"),
];

/// The kind of model, other than a program, with this field number.
pub(crate) fn other_kind(number: u32) -> Option<&'static str> {
    OTHER_KINDS.iter().find(|row| row.0 == number).map(|row| row.1)
}

/// The bytes of `model.mlmodel`; equal models give equal bytes.
pub fn encode_model(model: &Model) -> Result<Vec<u8>, ModelError> {
    Ok(model.to_proto()?.encode_to_vec())
}

/// Reads the bytes of a `model.mlmodel`.
///
/// # Errors
/// The message is malformed, has anything that [`Model`] has no place for, or contradicts itself.
pub fn decode_model(bytes: &[u8]) -> Result<Model, ModelError> {
    if let Some(unknown) = unknown_fields(bytes)?.into_iter().next() {
        return Err(ModelError::Fields(unknown));
    }
    let (model, unsupported) = Model::from_proto(pb::Model::decode(bytes)?)?;
    match unsupported.into_iter().next() {
        None => Ok(model),
        Some(unsupported) => Err(unsupported),
    }
}

/// Reads the bytes of a `model.mlmodel` as far as it is known, and says what is not.
///
/// # Errors
/// The message is malformed, holds no program, or contradicts itself.
pub fn decode_model_with_notes(bytes: &[u8]) -> Result<(Model, Vec<String>), ModelError> {
    let unknown = unknown_fields(bytes)?;
    let (model, unsupported) = Model::from_proto(pb::Model::decode(bytes)?)?;
    let notes = unknown.into_iter().map(ModelError::Fields).chain(unsupported);
    Ok((model, notes.map(|error| in_one_line(&error)).collect()))
}

/// Fields that [`Model`] has no place for; another kind of model is an error.
fn unknown_fields(bytes: &[u8]) -> Result<Vec<FieldError>, ModelError> {
    let unknown = proto::unknown_fields(bytes, &wire::MODEL)?;
    let kind = unknown.iter().find_map(|error| match error.problem {
        FieldProblem::Unknown { number } if error.path == wire::MODEL.name => other_kind(number),
        _ => None,
    });
    match kind {
        None => Ok(unknown),
        Some(kind) => Err(ModelError::Kind { kind }),
    }
}

/// Shapes of inputs with unknown axes, by input name: the default shape and what else is accepted.
pub type FlexibleInputs = BTreeMap<String, ShapeFlexibility>;

impl FunctionDescription {
    /// The description of a function: its inputs and states by their types, its outputs by the types of their values.
    ///
    /// An input with unknown axes takes its shapes from `flexible`; the first enumerated shape, or the lower bounds,
    /// are the default. An output with unknown axes is described without a shape.
    ///
    /// # Errors
    /// An input with unknown axes has no shapes in `flexible`, or an input or output is neither a tensor nor a state.
    pub fn of(name: &str, function: &Function, flexible: &FlexibleInputs) -> Result<Self, ModelError> {
        let undescribable = |feature: &str, found: String| ModelError::Undescribable {
            function: name.to_owned(),
            feature: feature.to_owned(),
            found,
        };
        let mut description = Self { name: name.to_owned(), ..Self::default() };
        for input in &function.inputs {
            match &input.ty {
                ValueType::Tensor(tensor) => {
                    let array = input_array(tensor, flexible.get(&input.name)).ok_or_else(|| {
                        let ty = tensor.to_string();
                        ModelError::UnknownShape { function: name.to_owned(), feature: input.name.clone(), ty }
                    })?;
                    description.inputs.push(FeatureDescription::multi_array(&input.name, array));
                }
                ValueType::State(tensor) => {
                    let shape = tensor.fixed_shape().ok_or_else(|| undescribable(&input.name, input.ty.to_string()))?;
                    let array = MultiArray::fixed(tensor.dtype, &shape);
                    description.states.push(FeatureDescription::state(&input.name, array));
                }
                other => return Err(undescribable(&input.name, other.to_string())),
            }
        }
        let results = function.block.operations.iter().flat_map(|operation| &operation.outputs);
        let types: BTreeMap<&str, &ValueType> =
            function.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
        for output in &function.block.outputs {
            let Some(ty) = types.get(output.as_str()) else {
                return Err(undescribable(output, "not defined".to_owned()));
            };
            let tensor = ty.as_tensor().ok_or_else(|| undescribable(output, ty.to_string()))?;
            let shape = tensor.fixed_shape().unwrap_or_default();
            let array = MultiArray::fixed(tensor.dtype, &shape);
            description.outputs.push(FeatureDescription::multi_array(output, array));
        }
        Ok(description)
    }
}

fn input_array(tensor: &TensorType, flexibility: Option<&ShapeFlexibility>) -> Option<MultiArray> {
    let shape = match flexibility {
        None => tensor.fixed_shape()?,
        Some(ShapeFlexibility::Enumerated(shapes)) => shapes.first()?.clone(),
        Some(ShapeFlexibility::Ranges(ranges)) => ranges.iter().map(|range| range.lower).collect(),
    };
    Some(MultiArray { flexibility: flexibility.cloned(), ..MultiArray::fixed(tensor.dtype, &shape) })
}

impl ModelDescription {
    /// The old form, for a program whose only function is [`MAIN_FUNCTION`].
    pub fn single(function: FunctionDescription) -> Self {
        let function = FunctionDescription { name: MAIN_FUNCTION.to_owned(), ..function };
        Self { functions: vec![function], default_function: None, metadata: None }
    }

    /// The form that names its functions, of which `default` runs when none is named.
    pub fn multiple(functions: Vec<FunctionDescription>, default: impl Into<String>) -> Self {
        Self { functions, default_function: Some(default.into()), metadata: None }
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&FunctionDescription> {
        self.functions.iter().find(|function| function.name == name)
    }
}
