//! Compiled pipelines: a directory for each member, and the description of all of them at the top.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `coremldata.bin` | the kind, the compilers of the members, the description as protobuf, how many members there are |
//! | `analytics/coremldata.bin` | how many members there are, and the hash of the model message |
//! | `modelNames/coremldata.bin` | names of the members, where the package has them |
//! | `model0/` | a member: of an ML Program what a compiled model has but `metadata.json` |
//! | `model1/coremldata.bin` | a member of the kind `nonMaximumSuppression`: versions, and its message as it is |
//!
//! # Source
//! `yolov8n` and `yolov8m`, packages with what Apple's compiler made of them, saadiahl/cat_feeder_project@2f191917;
//! `best.mlmodelc`, griftt/VideoAnalysisSDK@50347980. Each has an ML Program and a `nonMaximumSuppression`. Several ML
//! Programs, with names: `tests/pipeline-fixtures`, rebeckerspecialties/mlmodelc-export@e5132362.

use std::io;

use anec_schemas::proto::{Message as _, specification as pb};

use super::analytics::member_analytics;
use super::archive::{ArchiveReader, ArchiveWriter};
use super::core_ml_data::{COMPILER_VARIANT, compiler_version, expect_text, read_version, write_version};
use super::{
    ANALYTICS_PATH, Analytics, CompileOptions, CompiledError, CompiledModel, DATA_PATH, DataError, METADATA_PATH,
    PROGRAM_PATH, Unproven, compile, metadata,
};
use crate::package::{
    Metadata, Model, ModelDescription, ModelError, PROGRAM_KIND, PackageError, PackageFiles, Pipeline, PipelineMember,
    UNKNOWN_KIND, decode_model, encode_model, member_name, other_kind, read_limited,
};
use crate::verify::Finding;

/// Fields of `Model`, which stand for kinds.
const PIPELINE: i32 = 202;
const ML_PROGRAM: i32 = 502;
const NON_MAXIMUM_SUPPRESSION: i32 = 610;

/// What members other than programs have in place of a compiler's variant: their message is kept as it is.
const SPECIFICATION_VARIANT: &str = "spec";
/// The version of their compiler.
const FIRST_COMPILER: u64 = 1;
/// The version of the compiler of pipelines.
const PIPELINE_COMPILER: [u64; 3] = [1, 0, 1];

/// Path of the members' names.
const NAMES_PATH: &str = "modelNames/coremldata.bin";

/// Largest `coremldata.bin` that is read, in bytes; it may hold the message of a member.
const MAX_DATA_BYTES: u64 = 1 << 26;

/// Most members of a compiled pipeline that are looked for.
const MAX_MEMBERS: usize = 1000;

/// The files of a compiled pipeline, but for weights.
#[derive(Clone, Debug)]
pub struct CompiledPipeline {
    /// Path within the compiled model and bytes of every file.
    pub files: Vec<(String, Vec<u8>)>,
    /// The ML Programs, each with the directory that it is in.
    pub programs: Vec<(String, Model)>,
    /// What Core ML may not like.
    pub warnings: Vec<Finding>,
    /// What is written as all else is, which no one has shown for it.
    pub unproven: Vec<String>,
}

/// Compiles a pipeline, member by member. Weight files are the package's own.
///
/// # Errors
/// A member is of a kind whose compiled form is not known, or a program cannot be compiled.
pub fn compile_pipeline(pipeline: &Pipeline, options: &CompileOptions<'_>) -> Result<CompiledPipeline, CompiledError> {
    let mut compiled =
        CompiledPipeline { files: Vec::new(), programs: Vec::new(), warnings: Vec::new(), unproven: Vec::new() };
    let mut compilers = COMPILER_VARIANT.to_owned();
    for (index, member) in pipeline.members.iter().enumerate() {
        let name = member_name(index);
        let (version, variant) = compiled.add(&name, member, options)?;
        compilers = format!("{compilers}.{name}v{version}.0.0{variant}");
    }
    if options.unproven == Unproven::Refused && !compiled.unproven.is_empty() {
        return Err(CompiledError::Unproven { forms: compiled.unproven });
    }
    let analytics = Analytics::of(options.message, options.message_name);
    let top = [
        (DATA_PATH, data(pipeline, &compilers)?),
        (ANALYTICS_PATH, analytics.to_bytes_of_pipeline(pipeline.members.len())),
        (METADATA_PATH, metadata::of_pipeline(pipeline, &compiled.programs, options.name).into_bytes()),
    ];
    compiled.files.extend(top.map(|(path, bytes)| (path.to_owned(), bytes)));
    if !pipeline.names.is_empty() {
        compiled.files.push((NAMES_PATH.to_owned(), names(&pipeline.names)));
    }
    Ok(compiled)
}

impl CompiledPipeline {
    /// Adds a member in the directory `name`; gives the version and the variant of its compiler.
    fn add(
        &mut self,
        name: &str,
        member: &PipelineMember,
        options: &CompileOptions<'_>,
    ) -> Result<(u64, &'static str), CompiledError> {
        if !member.is_program() {
            self.files.push((format!("{name}/{DATA_PATH}"), kept(member)?));
            return Ok((FIRST_COMPILER, SPECIFICATION_VARIANT));
        }
        let model = decode_model(&member.message)?;
        // Whether unproven forms are refused is decided over all members.
        let files = compile(&model, &CompileOptions { unproven: Unproven::Allowed, ..options.clone() })?;
        let parts =
            [(PROGRAM_PATH, files.program.into_bytes()), (DATA_PATH, files.data), (ANALYTICS_PATH, member_analytics())];
        self.files.extend(parts.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        self.warnings.extend(files.warnings);
        self.unproven.extend(files.unproven);
        let version = compiler_version(model.specification_version)?;
        self.programs.push((name.to_owned(), model));
        Ok((version, COMPILER_VARIANT))
    }
}

/// `coremldata.bin` of a member that is no program.
fn kept(member: &PipelineMember) -> Result<Vec<u8>, CompiledError> {
    let version = member.specification_version()?;
    if other_kind(NON_MAXIMUM_SUPPRESSION.unsigned_abs()) != Some(member.kind) {
        return Err(CompiledError::Member { kind: member.kind });
    }
    let mut archive = ArchiveWriter::default();
    archive.int32(NON_MAXIMUM_SUPPRESSION);
    write_version(&mut archive, FIRST_COMPILER);
    archive.text(SPECIFICATION_VARIANT);
    write_version(&mut archive, u64::try_from(version).unwrap_or(0));
    archive.text("");
    archive.bytes.extend(&member.message);
    Ok(archive.bytes)
}

/// `coremldata.bin` of a pipeline.
fn data(pipeline: &Pipeline, compilers: &str) -> Result<Vec<u8>, CompiledError> {
    let mut archive = ArchiveWriter::default();
    archive.int32(PIPELINE);
    for part in PIPELINE_COMPILER {
        archive.uint64(part);
    }
    archive.text(compilers);
    write_version(&mut archive, u64::try_from(pipeline.specification_version).unwrap_or(0));
    archive.text("");
    let mut description = pipeline.description.clone();
    description.metadata.get_or_insert_with(Metadata::default);
    archive.data(&description.to_proto()?.encode_to_vec());
    archive.uint64(pipeline.members.len() as u64);
    archive.uint64(u64::from(PIPELINE.unsigned_abs()));
    Ok(archive.bytes)
}

fn names(names: &[String]) -> Vec<u8> {
    let mut archive = ArchiveWriter::default();
    archive.uint64(names.len() as u64);
    for name in names {
        archive.text(name);
    }
    archive.bytes
}

/// The kinds of the members of a compiled pipeline, in order; `None` if the files hold another model.
///
/// # Errors
/// A `coremldata.bin` is missing or malformed.
pub fn compiled_members<F: PackageFiles>(files: &F) -> Result<Option<Vec<&'static str>>, CompiledError> {
    let Some(top) = read_top(files)? else { return Ok(None) };
    (0..top.members).map(|index| Ok(member_kind(&member_data(files, index)?)?)).collect::<Result<_, _>>().map(Some)
}

/// The pipeline that a compiled one was made of.
///
/// # Errors
/// The files hold another model, or a file is missing or malformed.
pub fn decompile_pipeline<F: PackageFiles>(files: &F) -> Result<Pipeline, CompiledError> {
    let kind = || DataError::Kind { found: "no pipeline".to_owned(), hint: None };
    let top = read_top(files)?.ok_or_else(kind)?;
    let mut members = Vec::new();
    for index in 0..top.members {
        let data = member_data(files, index)?;
        let kind = member_kind(&data)?;
        let message = if kind == PROGRAM_KIND {
            let directory = Subdirectory { files, name: member_name(index) };
            encode_model(&CompiledModel::open(directory)?.model()?)?
        } else {
            kept_message(&data)?.to_vec()
        };
        members.push(PipelineMember { kind, message });
    }
    let names = match read_limited(files, NAMES_PATH, MAX_DATA_BYTES) {
        Ok(bytes) => read_names(&bytes)?,
        Err(PackageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let Top { specification_version, description, .. } = top;
    Ok(Pipeline { specification_version, description, members, names })
}

/// The files of a member.
struct Subdirectory<'a, F> {
    files: &'a F,
    name: String,
}

impl<F: PackageFiles> PackageFiles for Subdirectory<'_, F> {
    type File = F::File;

    fn open(&self, path: &str) -> io::Result<F::File> {
        self.files.open(&format!("{}/{path}", self.name))
    }
}

/// What `coremldata.bin` of a pipeline says.
struct Top {
    specification_version: i32,
    description: ModelDescription,
    members: usize,
}

/// Reads `coremldata.bin`; `None` if it is that of another kind of model.
fn read_top<F: PackageFiles>(files: &F) -> Result<Option<Top>, CompiledError> {
    let bytes = read_limited(files, DATA_PATH, MAX_DATA_BYTES)?;
    let mut archive = ArchiveReader::new(&bytes);
    if archive.int32("the kind of the model")? != PIPELINE {
        return Ok(None);
    }
    read_version(&mut archive, "the compiler version")?;
    archive.text("the compilers of the members")?;
    let position = archive.position();
    let field = |position, found: String, expected| DataError::Field { what: "a pipeline", position, expected, found };
    let version = read_version(&mut archive, "the specification version")?;
    let version =
        i32::try_from(version).map_err(|_| field(position, version.to_string(), "a specification version"))?;
    expect_text(&mut archive, "the model variant", "")?;
    let message = pb::ModelDescription::decode(archive.bytes("the description")?).map_err(ModelError::Malformed)?;
    let description = ModelDescription::from_proto(message)?;
    let position = archive.position();
    let count = archive.uint64("the number of members")?;
    let members = usize::try_from(count).ok().filter(|count| *count <= MAX_MEMBERS);
    let members = members.ok_or_else(|| field(position, format!("{count} members"), "1000 members or fewer"))?;
    match archive.uint64("the kind of the members")? {
        kind if kind == u64::from(PIPELINE.unsigned_abs()) => archive.finish()?,
        other => return Err(field(position, format!("kind {other}"), "kind 202").into()),
    }
    Ok(Some(Top { specification_version: version, description, members }))
}

fn member_data<F: PackageFiles>(files: &F, index: usize) -> Result<Vec<u8>, CompiledError> {
    Ok(read_limited(files, &format!("{}/{DATA_PATH}", member_name(index)), MAX_DATA_BYTES)?)
}

fn member_kind(data: &[u8]) -> Result<&'static str, DataError> {
    Ok(match ArchiveReader::new(data).int32("the kind of the model")? {
        ML_PROGRAM => PROGRAM_KIND,
        other => u32::try_from(other).ok().and_then(other_kind).unwrap_or(UNKNOWN_KIND),
    })
}

/// The message of a member that is no program.
fn kept_message(data: &[u8]) -> Result<&[u8], DataError> {
    let mut archive = ArchiveReader::new(data);
    archive.int32("the kind of the model")?;
    read_version(&mut archive, "the compiler version")?;
    expect_text(&mut archive, "the compiler variant", SPECIFICATION_VARIANT)?;
    read_version(&mut archive, "the specification version")?;
    expect_text(&mut archive, "the model variant", "")?;
    Ok(archive.rest())
}

fn read_names(bytes: &[u8]) -> Result<Vec<String>, DataError> {
    let mut archive = ArchiveReader::new(bytes);
    let count = archive.uint64("the number of names")?;
    // Each takes bytes of the file, so that no count is trusted.
    let names = (0..count).map(|_| archive.text("a name").map(str::to_owned)).collect::<Result<_, _>>()?;
    archive.finish()?;
    Ok(names)
}
