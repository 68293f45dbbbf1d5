//! Models to and from their protobuf form.

use anec_schemas::proto::specification as pb;

use super::feature::FeatureDescription;
use super::model::{Classifier, FunctionDescription, MAIN_FUNCTION, Metadata, Model, ModelDescription, ModelError};
use crate::opset::Opset;
use crate::program::Program;
use crate::proto;

impl Model {
    /// The protobuf form. The description takes the old form if it has no default function.
    ///
    /// # Errors
    /// The description has no such form, or does not describe the functions of the program.
    pub fn to_proto(&self) -> Result<pb::Model, ModelError> {
        check_version(self.specification_version)?;
        check_functions(&self.description, &self.program)?;
        Ok(pb::Model {
            specification_version: self.specification_version,
            description: Some(self.description.to_proto()?),
            is_updatable: false,
            r#type: Some(pb::model::Type::MlProgram(proto::encode(&self.program))),
        })
    }

    /// The model of a protobuf message, and what it has no place for.
    ///
    /// # Errors
    /// The message has no program or description, or contradicts itself.
    pub(super) fn from_proto(message: pb::Model) -> Result<(Self, Vec<ModelError>), ModelError> {
        let mut unsupported = Vec::new();
        unsupported.extend(check_version(message.specification_version).err());
        if message.is_updatable {
            unsupported.push(ModelError::Unsupported { field: "isUpdatable" });
        }
        let Some(pb::model::Type::MlProgram(program)) = message.r#type else { return Err(ModelError::NoProgram) };
        let description = message.description.ok_or(ModelError::Unsupported { field: "no description" })?;
        if !description.training_input.is_empty() {
            unsupported.push(ModelError::Unsupported { field: "trainingInput" });
        }
        let model = Self {
            specification_version: message.specification_version,
            description: ModelDescription::from_proto(description)?,
            program: proto::decode(program)?,
        };
        check_functions(&model.description, &model.program)?;
        Ok((model, unsupported))
    }
}

pub(crate) fn check_version(found: i32) -> Result<(), ModelError> {
    Opset::from_specification_version(found).map(|_| ()).ok_or(ModelError::SpecificationVersion { found })
}

/// Requires that a description and a program have the same functions.
pub(crate) fn check_functions(description: &ModelDescription, program: &Program) -> Result<(), ModelError> {
    for function in &description.functions {
        if !program.functions.contains_key(&function.name) {
            let name = function.name.clone();
            return Err(ModelError::Function { name, present: "description", absent: "program" });
        }
    }
    for name in program.functions.keys() {
        if description.function(name).is_none() {
            let name = name.clone();
            return Err(ModelError::Function { name, present: "program", absent: "description" });
        }
    }
    match &description.default_function {
        Some(default) if description.function(default).is_none() => Err(ModelError::Function {
            name: default.clone(),
            present: "default of the description",
            absent: "description",
        }),
        _ => Ok(()),
    }
}

impl ModelDescription {
    pub(crate) fn to_proto(&self) -> Result<pb::ModelDescription, ModelError> {
        let mut message = pb::ModelDescription {
            metadata: self.metadata.as_ref().map(Metadata::to_proto),
            ..pb::ModelDescription::default()
        };
        match (&self.default_function, self.functions.as_slice()) {
            (None, [function]) if function.name == MAIN_FUNCTION => {
                message.input = features_to_proto(&function.inputs)?;
                message.output = features_to_proto(&function.outputs)?;
                message.state = features_to_proto(&function.states)?;
                let classifier = function.classifier.clone().unwrap_or_default();
                message.predicted_feature_name = classifier.predicted_feature;
                message.predicted_probabilities_name = classifier.predicted_probabilities;
            }
            (Some(default), functions) if !default.is_empty() && !functions.is_empty() => {
                message.functions = functions.iter().map(FunctionDescription::to_proto).collect::<Result<_, _>>()?;
                message.default_function_name.clone_from(default);
            }
            (default, functions) => {
                let default =
                    default.as_ref().map_or("no default function".to_owned(), |name| format!("default `{name}`"));
                return Err(ModelError::Form { functions: functions.len(), default });
            }
        }
        Ok(message)
    }

    pub(crate) fn from_proto(message: pb::ModelDescription) -> Result<Self, ModelError> {
        let classifier = classifier(message.predicted_feature_name, message.predicted_probabilities_name);
        let metadata = message.metadata.map(Metadata::from_proto);
        if message.functions.is_empty() {
            if !message.default_function_name.is_empty() {
                let default = format!("default `{}`", message.default_function_name);
                return Err(ModelError::Form { functions: 0, default });
            }
            let function = FunctionDescription {
                name: MAIN_FUNCTION.to_owned(),
                inputs: features_from_proto(message.input)?,
                outputs: features_from_proto(message.output)?,
                states: features_from_proto(message.state)?,
                classifier,
            };
            return Ok(Self { functions: vec![function], default_function: None, metadata });
        }
        let top_level = [
            ("input", message.input.is_empty()),
            ("output", message.output.is_empty()),
            ("state", message.state.is_empty()),
            ("predictedFeatureName", classifier.is_none()),
        ];
        if let Some((field, _)) = top_level.into_iter().find(|(_, empty)| !empty) {
            return Err(ModelError::BothForms { field });
        }
        if message.default_function_name.is_empty() {
            let default = "no default function".to_owned();
            return Err(ModelError::Form { functions: message.functions.len(), default });
        }
        let functions = message.functions.into_iter().map(FunctionDescription::from_proto).collect::<Result<_, _>>()?;
        Ok(Self { functions, default_function: Some(message.default_function_name), metadata })
    }
}

impl FunctionDescription {
    fn to_proto(&self) -> Result<pb::FunctionDescription, ModelError> {
        let classifier = self.classifier.clone().unwrap_or_default();
        Ok(pb::FunctionDescription {
            name: self.name.clone(),
            input: features_to_proto(&self.inputs)?,
            output: features_to_proto(&self.outputs)?,
            state: features_to_proto(&self.states)?,
            predicted_feature_name: classifier.predicted_feature,
            predicted_probabilities_name: classifier.predicted_probabilities,
        })
    }

    fn from_proto(message: pb::FunctionDescription) -> Result<Self, ModelError> {
        Ok(Self {
            name: message.name,
            inputs: features_from_proto(message.input)?,
            outputs: features_from_proto(message.output)?,
            states: features_from_proto(message.state)?,
            classifier: classifier(message.predicted_feature_name, message.predicted_probabilities_name),
        })
    }
}

fn classifier(predicted_feature: String, predicted_probabilities: String) -> Option<Classifier> {
    let named = !predicted_feature.is_empty() || !predicted_probabilities.is_empty();
    named.then_some(Classifier { predicted_feature, predicted_probabilities })
}

fn features_to_proto(features: &[FeatureDescription]) -> Result<Vec<pb::FeatureDescription>, ModelError> {
    features.iter().map(FeatureDescription::to_proto).collect()
}

fn features_from_proto(messages: Vec<pb::FeatureDescription>) -> Result<Vec<FeatureDescription>, ModelError> {
    messages.into_iter().map(FeatureDescription::from_proto).collect()
}

impl Metadata {
    fn to_proto(&self) -> pb::Metadata {
        pb::Metadata {
            short_description: self.short_description.clone(),
            version_string: self.version.clone(),
            author: self.author.clone(),
            license: self.license.clone(),
            user_defined: self.user_defined.clone(),
        }
    }

    fn from_proto(message: pb::Metadata) -> Self {
        Self {
            short_description: message.short_description,
            version: message.version_string,
            author: message.author,
            license: message.license,
            user_defined: message.user_defined,
        }
    }
}
