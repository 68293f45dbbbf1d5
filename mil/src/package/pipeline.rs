//! Pipelines: several models in one message, which run one after another.

use anec_schemas::proto::{Message as _, specification as pb};

use super::model::{ModelDescription, ModelError, other_kind};
use crate::proto::{FieldError, top_level};

/// Fields of `Model` and of `Pipeline`.
///
/// # Source
/// `mlmodel/format/Model.proto`, coremltools@e0e2f42b.
const PIPELINE: u32 = 202;
const ML_PROGRAM: u32 = 502;
const MODELS: u32 = 1;
const NAMES: u32 = 2;

/// What an ML Program is called among the kinds of models.
pub const PROGRAM_KIND: &str = "mlProgram";

/// What a model is called whose kind came later.
pub(crate) const UNKNOWN_KIND: &str = "model of a kind that is not known";

/// A pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Which release of Core ML is the oldest that reads this.
    pub specification_version: i32,
    /// The interface of all members together.
    pub description: ModelDescription,
    /// The members, in the order in which they run.
    pub members: Vec<PipelineMember>,
    /// Names of the members for people, where there are any.
    pub names: Vec<String>,
}

/// A model of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineMember {
    /// Its kind as `Model` calls it, such as [`PROGRAM_KIND`].
    pub kind: &'static str,
    /// Its message, as it stands in that of the pipeline.
    pub message: Vec<u8>,
}

impl PipelineMember {
    /// Whether it is an ML Program.
    pub fn is_program(&self) -> bool {
        self.kind == PROGRAM_KIND
    }

    /// Its specification version.
    ///
    /// # Errors
    /// The message is malformed.
    pub fn specification_version(&self) -> Result<i32, ModelError> {
        Ok(pb::Model::decode(self.message.as_slice())?.specification_version)
    }
}

/// The directory that a compiled pipeline has for a member, and what a member is called in paths of the command.
pub fn member_name(index: usize) -> String {
    format!("model{index}")
}

/// Reads a message as a pipeline; `None` if it holds another model.
///
/// # Errors
/// The message is malformed, or its description is.
pub fn decode_pipeline(bytes: &[u8]) -> Result<Option<Pipeline>, ModelError> {
    let pipelines = contents(bytes, PIPELINE)?;
    let content = match pipelines.as_slice() {
        [] => return Ok(None),
        [content] => content,
        _ => return Err(ModelError::Unsupported { field: "pipeline, more than once" }),
    };
    let message = pb::Model::decode(bytes)?;
    let description = message.description.ok_or(ModelError::Unsupported { field: "no description" })?;
    let names = contents(content, NAMES)?;
    Ok(Some(Pipeline {
        specification_version: message.specification_version,
        description: ModelDescription::from_proto(description)?,
        members: contents(content, MODELS)?.into_iter().map(member).collect::<Result<_, _>>()?,
        names: names.into_iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
    }))
}

/// The message of a pipeline.
///
/// # Errors
/// The description has no protobuf form.
pub fn encode_pipeline(pipeline: &Pipeline) -> Result<Vec<u8>, ModelError> {
    let head = pb::Model {
        specification_version: pipeline.specification_version,
        description: Some(pipeline.description.to_proto()?),
        ..pb::Model::default()
    };
    let mut content = Vec::new();
    for member in &pipeline.members {
        push_field(&mut content, MODELS, &member.message);
    }
    for name in &pipeline.names {
        push_field(&mut content, NAMES, name.as_bytes());
    }
    let mut message = head.encode_to_vec();
    push_field(&mut message, PIPELINE, &content);
    Ok(message)
}

/// Adds a field that holds bytes.
fn push_field(message: &mut Vec<u8>, number: u32, content: &[u8]) {
    const LENGTH_DELIMITED: u64 = 2;
    push_varint(message, u64::from(number) << 3 | LENGTH_DELIMITED);
    push_varint(message, content.len() as u64);
    message.extend(content);
}

fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            message.push(low);
            return;
        }
        message.push(low | 0x80);
    }
}

fn member(message: &[u8]) -> Result<PipelineMember, ModelError> {
    let mut kind = None;
    for field in top_level(message) {
        let (number, _) = field?;
        kind = kind.or(if number == ML_PROGRAM { Some(PROGRAM_KIND) } else { other_kind(number) });
    }
    Ok(PipelineMember { kind: kind.unwrap_or(UNKNOWN_KIND), message: message.to_vec() })
}

/// What stands in every field of this number, at the top of a message.
pub(crate) fn contents(bytes: &[u8], number: u32) -> Result<Vec<&[u8]>, FieldError> {
    let fields = top_level(bytes).filter(|field| field.as_ref().map_or(true, |(found, _)| *found == number));
    fields.map(|field| Ok(field?.1)).collect()
}
