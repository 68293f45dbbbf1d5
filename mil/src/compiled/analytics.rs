//! `analytics/coremldata.bin`: tables of text that say which model message a compiled model was made from.
//!
//! Core ML loads a model without it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::DataError;
use super::archive::{ArchiveReader, ArchiveWriter};

/// What the file says of every ML Program, sorted as the file is.
const NETWORK_DETAILS: (&str, [(&str, &str); 2]) =
    ("NeuralNetworkModelDetails", [("containsCustomLayer", "0"), ("modelDimension", "0")]);
/// What the file says of a pipeline, beside the hash: how many models it has.
///
/// # Source
/// `yolov8n.mlmodelc`, saadiahl/cat_feeder_project@2f191917.
const PIPELINE_DETAILS: &str = "PipelineModelDetails";
const DIMENSION: &str = "modelDimension";
const SPECIFICATION_DETAILS: &str = "SpecificationDetails";
const HASH: &str = "modelHash";
const NAME: &str = "modelName";

/// What the file says of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analytics {
    /// SHA-256 of the model message, in base 64.
    pub model_hash: String,
    /// The message's file name without its extension.
    pub model_name: String,
}

impl Analytics {
    /// For a model message in a file of this name, without extension.
    pub fn of(message: &[u8], name: &str) -> Self {
        Self { model_hash: STANDARD.encode(Sha256::digest(message)), model_name: name.to_owned() }
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (section, entries) = NETWORK_DETAILS;
        write_sections(&[(section, &entries), (SPECIFICATION_DETAILS, &self.specification())])
    }

    /// The bytes of a pipeline of this many models; what they are of a member is [`member_analytics`].
    pub(super) fn to_bytes_of_pipeline(&self, members: usize) -> Vec<u8> {
        let members = members.to_string();
        write_sections(&[(PIPELINE_DETAILS, &[(DIMENSION, &members)]), (SPECIFICATION_DETAILS, &self.specification())])
    }

    fn specification(&self) -> [(&'static str, &str); 2] {
        [(HASH, &self.model_hash), (NAME, &self.model_name)]
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// The file is cut off, or has other entries than those of an ML Program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataError> {
        let mut archive = ArchiveReader::new(bytes);
        let (section, [first, second]) = NETWORK_DETAILS;
        read_section(&mut archive, section)?;
        for (key, expected) in [first, second] {
            expect(&mut archive, key)?;
            expect(&mut archive, expected)?;
        }
        read_section(&mut archive, SPECIFICATION_DETAILS)?;
        expect(&mut archive, HASH)?;
        let model_hash = archive.text("the hash")?.to_owned();
        expect(&mut archive, NAME)?;
        let model_name = archive.text("the name")?.to_owned();
        archive.finish()?;
        Ok(Self { model_hash, model_name })
    }
}

/// The file of an ML Program within a pipeline, which says nothing of a message.
pub(super) fn member_analytics() -> Vec<u8> {
    let (section, entries) = NETWORK_DETAILS;
    write_sections(&[(section, &entries)])
}

/// A section and its entries, as the file has them.
type Section<'a> = (&'a str, &'a [(&'a str, &'a str)]);

fn write_sections(sections: &[Section<'_>]) -> Vec<u8> {
    let mut archive = ArchiveWriter::default();
    for (section, entries) in sections {
        archive.text(section);
        archive.uint64(entries.len() as u64);
        for (key, value) in *entries {
            archive.text(key);
            archive.text(value);
        }
    }
    archive.bytes
}

/// The name of a section and the number of its entries, which is the same for both.
fn read_section(archive: &mut ArchiveReader<'_>, name: &'static str) -> Result<(), DataError> {
    expect(archive, name)?;
    let position = archive.position();
    match archive.uint64("the number of entries")? {
        2 => Ok(()),
        found => {
            let found = found.to_string();
            Err(DataError::Field { what: "the number of entries", position, expected: "2", found })
        }
    }
}

fn expect(archive: &mut ArchiveReader<'_>, expected: &'static str) -> Result<(), DataError> {
    let position = archive.position();
    match archive.text("an entry")? {
        found if found == expected => Ok(()),
        _ => Err(DataError::Field { what: "an entry", position, expected, found: "another text".to_owned() }),
    }
}
