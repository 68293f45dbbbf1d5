//! What forms of a model on disk have in common: weight files that are copied as they are, or joined where the source has
//! each blob in a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anec_mil::blob::{Blob, BlobLayout, BlobWriter};
use anec_mil::compiled::{blobs_in_order, with_blobs};
use anec_mil::stored::StoredModel;
use anec_mil::{BlobReference, Program, WEIGHT_FILE};
use anec_runtime::{FsPackage, OpenError, files_root, open_model};
use fs_err as fs;

use super::FormError;

/// Copies every weight file that a program names into the model at `output`; a link would change with the original.
///
/// # Errors
/// A name leads out of a model, or a file cannot be copied.
pub(crate) fn copy_weights(
    stored: &StoredModel<FsPackage>,
    path: &Path,
    names: &BTreeSet<String>,
    output: &Path,
) -> Result<(), FormError> {
    let written = open_model(output)?;
    let root = files_root(path);
    let failed = |source| OpenError::model(path, source);
    for name in names {
        let from = root.join(stored.weight_path(name).map_err(failed)?);
        let to = output.join(written.weight_path(name).map_err(failed)?);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// The weight file that several are joined into.
pub(crate) struct Joined {
    layout: BlobLayout,
    blobs: Vec<(BlobReference, Blob)>,
}

impl Joined {
    /// The weight file of a program, and the program that has its blobs there.
    ///
    /// # Errors
    /// A weight file is not there, or has no such blob.
    pub(crate) fn of(
        stored: &StoredModel<FsPackage>,
        path: &Path,
        program: Program,
    ) -> Result<(Self, Program), FormError> {
        let failed = |source| OpenError::model(path, source);
        let mut joined = Self { layout: BlobLayout::default(), blobs: Vec::new() };
        let mut places = BTreeMap::new();
        for reference in blobs_in_order(&program) {
            let blob = stored.weights(&reference.file_name).map_err(failed)?.record(reference.offset)?;
            let offset = joined.layout.push(blob.dtype, blob.element_count())?;
            places.insert(reference.clone(), BlobReference { file_name: WEIGHT_FILE.to_owned(), offset });
            joined.blobs.push((reference, blob));
        }
        Ok((joined, with_blobs(program, &places)))
    }

    /// Writes the weight file into the model at `output`.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn write(&self, stored: &StoredModel<FsPackage>, path: &Path, output: &Path) -> Result<(), FormError> {
        let failed = |source| OpenError::model(path, source);
        let to = output.join(open_model(output)?.weight_path(WEIGHT_FILE).map_err(failed)?);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut writer = BlobWriter::new(fs::File::create(to)?, &self.layout)?;
        let mut piece = Vec::new();
        for (reference, blob) in &self.blobs {
            let mut file = stored.weights(&reference.file_name).map_err(failed)?;
            writer.begin(blob.dtype, blob.element_count())?;
            let mut start = 0;
            while start < blob.bytes {
                let length = PIECE.min(blob.bytes - start);
                piece.resize(usize::try_from(length).unwrap_or_default(), 0);
                file.read_piece(blob, start, &mut piece)?;
                writer.write(&piece)?;
                start += length;
            }
        }
        writer.finish()?;
        Ok(())
    }
}
