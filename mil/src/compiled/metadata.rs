//! `metadata.json`: a description for people and for tools that generate code. Core ML loads a model without it.

use serde_json::{Map, Value as Json, json};

use super::schema::{flag, schema};
use super::{histogram, precision};
use crate::package::{ClassLabel, FunctionDescription, Metadata, Model, Pipeline, class_labels, contents};
use crate::program::Function;

/// Version of the file's format.
const FORMAT: &str = "3.0";

/// Systems that read each specification version: macOS and Mac Catalyst, iOS and tvOS, watchOS, visionOS.
///
/// # Source
/// `metadata.json` of compiled models of each version; none of version 10 was seen, whose systems Apple names so.
const AVAILABILITY: [(i32, [&str; 6]); 5] = [
    (6, ["12.0", "15.0", "15.0", "15.0", "8.0", "1.0"]),
    (7, ["13.0", "16.0", "16.0", "16.0", "9.0", "1.0"]),
    (8, ["14.0", "17.0", "17.0", "17.0", "10.0", "1.0"]),
    (9, ["15.0", "18.0", "18.0", "18.0", "11.0", "2.0"]),
    (10, ["26.0", "26.0", "26.0", "26.0", "26.0", "26.0"]),
];
const SYSTEMS: [&str; 6] = ["macOS", "macCatalyst", "iOS", "tvOS", "watchOS", "visionOS"];

/// The file's text, for a package of this name without extension.
pub(super) fn to_json(model: &Model, name: &str) -> String {
    let description = &model.description;
    let default = match &description.default_function {
        Some(default) => description.function(default),
        None => description.functions.first(),
    };
    let kind = json!({ "name": "MLModelType_mlProgram" });
    let mut object = head(model.specification_version, model.specification_version, kind, name);
    object.extend(texts(description.metadata.as_ref()));
    // As in `best.mlmodelc`, griftt/VideoAnalysisSDK@50347980, where they are those of a model of another kind.
    let labels = default.and_then(|default| class_labels(default, model.program.functions.get(&default.name)?));
    if let Some(labels) = labels {
        let label = |label: &ClassLabel| match label {
            ClassLabel::Text(text) => json!(text),
            ClassLabel::Integer(integer) => json!(integer),
        };
        object.insert("classLabels".to_owned(), labels.iter().map(label).collect());
    }
    if let Some(default) = default {
        object.extend(function_entries(default, model.program.functions.get(&default.name).as_slice()));
    }
    if let Some(name) = &description.default_function {
        object.insert("defaultFunctionName".to_owned(), json!(name));
        let functions = description.functions.iter().map(|function| {
            let mut entries = function_entries(function, model.program.functions.get(&function.name).as_slice());
            entries.insert("name".to_owned(), json!(function.name));
            Json::Object(entries)
        });
        object.insert("functions".to_owned(), functions.collect());
    }
    written(object)
}

/// The file's text for a pipeline with these ML Programs, whose ops are counted together.
///
/// # Source
/// `best.mlmodelc`, griftt/VideoAnalysisSDK@50347980; `tests/pipeline-fixtures`,
/// rebeckerspecialties/mlmodelc-export@e5132362.
pub(super) fn of_pipeline(pipeline: &Pipeline, programs: &[(String, Model)], name: &str) -> String {
    let kinds = pipeline.members.iter().map(|member| json!({ "name": format!("MLModelType_{}", member.kind) }));
    let kind = json!({ "name": "MLModelType_pipeline", "structure": kinds.collect::<Vec<_>>() });
    let versions = programs.iter().map(|(_, model)| model.specification_version);
    let newest = versions.max().unwrap_or(0).max(pipeline.specification_version);
    let mut object = head(pipeline.specification_version, newest, kind, name);
    object.extend(texts(pipeline.description.metadata.as_ref()));
    if let Some(labels) = pipeline.members.iter().find_map(|member| boxes_labels(&member.message)) {
        object.insert("classLabels".to_owned(), labels);
    }
    if let Some(description) = pipeline.description.functions.first() {
        let functions: Vec<&Function> =
            programs.iter().flat_map(|(_, model)| model.program.functions.values()).collect();
        object.extend(function_entries(description, &functions));
    }
    written(object)
}

/// What stands in front of every model. `newest` is the specification version that decides which systems read it.
fn head(specification_version: i32, newest: i32, kind: Json, name: &str) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("metadataOutputVersion".to_owned(), json!(FORMAT));
    object.insert("specificationVersion".to_owned(), json!(specification_version));
    object.insert("modelType".to_owned(), kind);
    object.insert("generatedClassName".to_owned(), json!(class_name(name)));
    object.insert("method".to_owned(), json!("predict"));
    object.insert("isUpdatable".to_owned(), flag(false));
    object.insert("modelParameters".to_owned(), json!([]));
    object.insert("availability".to_owned(), availability(newest));
    object
}

/// What the description says in words.
fn texts(metadata: Option<&Metadata>) -> Map<String, Json> {
    let metadata = metadata.cloned().unwrap_or_default();
    let texts = [
        ("shortDescription", metadata.short_description),
        ("version", metadata.version),
        ("author", metadata.author),
        ("license", metadata.license),
    ];
    let given = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut entries: Map<String, Json> = given.map(|(key, text)| (key.to_owned(), json!(text))).collect();
    entries.insert("userDefinedMetadata".to_owned(), json!(metadata.user_defined));
    entries
}

fn written(object: Map<String, Json>) -> String {
    let text = serde_json::to_string_pretty(&[object]);
    text.expect("text and numbers with text as keys serialize into memory")
}

/// The classes of a `nonMaximumSuppression`, where they have names.
fn boxes_labels(message: &[u8]) -> Option<Json> {
    const NON_MAXIMUM_SUPPRESSION: u32 = 610;
    const STRING_CLASS_LABELS: u32 = 100;
    const VECTOR: u32 = 1;
    let boxes = contents(message, NON_MAXIMUM_SUPPRESSION).ok()?.pop()?;
    let labels = contents(boxes, STRING_CLASS_LABELS).ok()?.pop()?;
    let labels = contents(labels, VECTOR).ok()?;
    Some(labels.into_iter().map(|label| json!(String::from_utf8_lossy(label))).collect())
}

/// What is said of each function, and of the default one at the top.
fn function_entries(description: &FunctionDescription, functions: &[&Function]) -> Map<String, Json> {
    let mut entries = Map::new();
    entries.insert("inputSchema".to_owned(), schema(&description.inputs));
    entries.insert("outputSchema".to_owned(), schema(&description.outputs));
    entries.insert("stateSchema".to_owned(), schema(&description.states));
    if !functions.is_empty() {
        entries.insert("computePrecision".to_owned(), json!(precision::computed(functions)));
        if let Some(stored) = precision::stored(functions) {
            entries.insert("storagePrecision".to_owned(), json!(stored));
        }
        entries.insert("mlProgramOperationTypeHistogram".to_owned(), json!(histogram::of(functions)));
    }
    entries
}

fn availability(specification_version: i32) -> Json {
    let row = AVAILABILITY.iter().find(|row| row.0 == specification_version);
    let versions = row.map_or([""; 6], |row| row.1);
    SYSTEMS.into_iter().zip(versions).map(|(system, version)| (system.to_owned(), json!(version))).collect()
}

/// Letters, digits and underscores of a name.
fn class_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}
