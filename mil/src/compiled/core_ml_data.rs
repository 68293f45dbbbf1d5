//! `coremldata.bin`: the model's kind, its versions and its description.

use anec_schemas::proto::{Message, specification as pb};
use anec_schemas::wire;

use super::DataError;
use super::archive::{ArchiveReader, ArchiveWriter};
use crate::package::{Metadata, ModelDescription, ModelError, other_kind, what_to_do};
use crate::proto::{FieldError, unknown_fields};

/// The field of `Model` that holds an ML Program, which stands for the kind.
///
/// # Source
/// `mlmodel/format/Model.proto`, coremltools@e0e2f42b.
const ML_PROGRAM: u16 = 502;

/// The variant of the compiler; no other is known.
pub(super) const COMPILER_VARIANT: &str = "generic";

/// The oldest specification version of ML Programs.
const MIN_SPECIFICATION_VERSION: i32 = 6;

/// The newest specification version of which a compiled model was seen.
pub const PROVEN_SPECIFICATION_VERSION: i32 = 9;

/// What `coremldata.bin` of an ML Program says.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreMlData {
    /// Which release of Core ML is the oldest that reads this.
    pub specification_version: i32,
    /// The interface.
    pub description: ModelDescription,
}

impl CoreMlData {
    /// The file's bytes.
    ///
    /// # Errors
    /// The specification version is not known, or the description has no protobuf form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DataError> {
        let mut archive = ArchiveWriter::default();
        archive.int32(i32::from(ML_PROGRAM));
        write_version(&mut archive, compiler_version(self.specification_version)?);
        archive.text(COMPILER_VARIANT);
        write_version(&mut archive, u64::try_from(self.specification_version).unwrap_or(0));
        archive.text("");
        let mut description = self.description.clone();
        // Core ML's own compiler writes empty metadata where there is none.
        description.metadata.get_or_insert_with(Metadata::default);
        archive.data(&description.to_proto()?.encode_to_vec());
        for _ in 0..description.functions.len().max(1) {
            archive.uint64(u64::from(ML_PROGRAM));
            archive.uint64(0);
        }
        Ok(archive.bytes)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// The file is cut off or malformed, describes another kind of model, or holds what is not known.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataError> {
        let (data, unknown) = Self::from_bytes_with_notes(bytes)?;
        match unknown.into_iter().next() {
            None => Ok(data),
            Some(unknown) => Err(ModelError::Fields(unknown).into()),
        }
    }

    /// Reads the file's bytes as far as they are known; fields of the description that are not come beside it.
    ///
    /// # Errors
    /// The file is cut off or malformed, or describes another kind of model.
    pub(super) fn from_bytes_with_notes(bytes: &[u8]) -> Result<(Self, Vec<FieldError>), DataError> {
        let mut archive = ArchiveReader::new(bytes);
        let kind = archive.int32("the kind of the model")?;
        if kind != i32::from(ML_PROGRAM) {
            let known = u32::try_from(kind).ok().and_then(other_kind);
            let found = known.map_or_else(|| kind.to_string(), |kind| format!("a `{kind}`"));
            return Err(DataError::Kind { found, hint: known.map(what_to_do) });
        }
        // Any compiler's; it says nothing about the content that the specification version does not.
        read_version(&mut archive, "the compiler version")?;
        expect_text(&mut archive, "the compiler variant", COMPILER_VARIANT)?;
        let version = read_version(&mut archive, "the specification version")?;
        let specification_version = i32::try_from(version).ok().filter(|version| compiler_version(*version).is_ok());
        let specification_version = specification_version.ok_or(DataError::SpecificationVersion { found: version })?;
        expect_text(&mut archive, "the model variant", "")?;
        let encoded = archive.bytes("the description")?;
        let unknown = unknown_fields(encoded, &wire::MODELDESCRIPTION).map_err(ModelError::Fields)?;
        let message = pb::ModelDescription::decode(encoded).map_err(ModelError::Malformed)?;
        let description = ModelDescription::from_proto(message)?;
        for _ in 0..description.functions.len().max(1) {
            let position = archive.position();
            let kind = archive.uint64("the kind of a function")?;
            let names = archive.uint64("the output names of a function")?;
            if (kind, names) != (u64::from(ML_PROGRAM), 0) {
                let found = format!("kind {kind} with {names} names");
                return Err(DataError::Field { what: "a function", position, expected: "kind 502, no names", found });
            }
        }
        archive.finish()?;
        Ok((Self { specification_version, description }, unknown))
    }
}

/// The version of the compiler that models of a specification version ask for.
///
/// # Source
/// The first bytes of 29 compiled models: 5 for versions 6 and 7, then the version itself up to 9. No model of a newer
/// version was seen; the systems of version 9 have no compiler version beyond.
pub(super) fn compiler_version(specification_version: i32) -> Result<u64, DataError> {
    match specification_version {
        MIN_SPECIFICATION_VERSION | 7 => Ok(5),
        8 => Ok(8),
        PROVEN_SPECIFICATION_VERSION.. => Ok(9),
        found => Err(DataError::SpecificationVersion { found: u64::try_from(found).unwrap_or(0) }),
    }
}

/// Versions have three parts, of which only the first is used.
pub(super) fn write_version(archive: &mut ArchiveWriter, major: u64) {
    archive.uint64(major);
    archive.uint64(0);
    archive.uint64(0);
}

pub(super) fn read_version(archive: &mut ArchiveReader<'_>, what: &'static str) -> Result<u64, DataError> {
    let major = archive.uint64(what)?;
    archive.uint64(what)?;
    archive.uint64(what)?;
    Ok(major)
}

pub(super) fn expect_text(
    archive: &mut ArchiveReader<'_>,
    what: &'static str,
    expected: &'static str,
) -> Result<(), DataError> {
    let position = archive.position();
    let found = archive.text(what)?;
    if found == expected {
        return Ok(());
    }
    Err(DataError::Field { what, position, expected, found: format!("`{}`", clipped(found)) })
}

fn clipped(text: &str) -> String {
    const SHOWN: usize = 40;
    text.chars().take(SHOWN).collect()
}
