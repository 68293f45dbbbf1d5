//! Where the weights of a model are: in one file, in a file for each blob, or both, and each of them at several places.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::blob::{BlobError, BlobFile, BlobLayout, BlobWriter};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::output::emit::Destination;
use crate::output::link::link_or_copy;

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// The places of a weight file. The first of each list is where something is written; the others are the same file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeightPlaces {
    /// Of the whole file.
    pub(crate) whole: Vec<PathBuf>,
    /// Of each blob alone, by the offset of its record in the whole file.
    pub(crate) blobs: BTreeMap<u64, Vec<PathBuf>>,
}

/// The places of a weight file, as parts of a conversion tell them, with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WeightPaths {
    /// Paths of the whole file; none where it is in the output by blobs alone.
    pub(crate) paths: Vec<String>,
    /// Its bytes.
    pub(crate) size: u64,
    /// Paths of each blob alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) blobs: Vec<BlobPaths>,
}

/// The places of a blob alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobPaths {
    /// The offset of its record in the whole file.
    pub(crate) record: u64,
    /// Its paths.
    pub(crate) paths: Vec<String>,
}

impl WeightPlaces {
    /// Where emission writes: the whole file where it has a place, else each blob.
    pub(crate) fn destination(&self) -> Destination {
        match self.whole.first() {
            Some(path) => Destination::Whole(path.clone()),
            None => Destination::Blobs(self.firsts().map(|(record, path)| (record, path.to_owned())).collect()),
        }
    }

    /// What emission writes: the whole file, or each blob by its record.
    pub(crate) fn written(&self) -> BTreeMap<Option<u64>, &Path> {
        match self.whole.first() {
            Some(path) => [(None, path.as_path())].into(),
            None => self.firsts().map(|(record, path)| (Some(record), path)).collect(),
        }
    }

    fn firsts(&self) -> impl Iterator<Item = (u64, &Path)> {
        self.blobs.iter().filter_map(|(record, paths)| Some((*record, paths.first()?.as_path())))
    }

    /// All places.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.whole.iter().chain(self.blobs.values().flatten())
    }

    /// Takes the blobs out of the whole file, where both have places.
    ///
    /// # Errors
    /// The whole file has no such blob, or the disk.
    pub(crate) fn take_apart(&self) -> Result<(), BlobError> {
        let Some(whole) = self.whole.first() else { return Ok(()) };
        self.firsts().try_for_each(|(record, path)| take_out(whole, record, path))
    }

    /// Brings what is at the first places of `from` to all of these.
    ///
    /// # Errors
    /// It is not there, or the disk.
    pub(crate) fn spread(&self, from: &Self) -> io::Result<()> {
        let spread = |from: Option<&PathBuf>, to: &[PathBuf]| match from {
            Some(from) => to.iter().filter(|to| *to != from).try_for_each(|to| link_or_copy(from, to)),
            None => Ok(()),
        };
        spread(from.whole.first(), &self.whole)?;
        self.blobs.iter().try_for_each(|(record, to)| spread(from.blobs.get(record).and_then(|from| from.first()), to))
    }

    /// The places with `/`, of a file of `size` bytes.
    pub(crate) fn paths(&self, size: u64) -> WeightPaths {
        let text = |path: &PathBuf| {
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            parts.join("/")
        };
        let texts = |paths: &[PathBuf]| paths.iter().map(text).collect();
        let blobs = self.blobs.iter().map(|(record, paths)| BlobPaths { record: *record, paths: texts(paths) });
        WeightPaths { paths: texts(&self.whole), size, blobs: blobs.collect() }
    }

    /// Adds the places of the same weight file in another directory.
    pub(crate) fn extend(&mut self, other: Self) {
        self.whole.extend(other.whole);
        for (record, paths) in other.blobs {
            self.blobs.entry(record).or_default().extend(paths);
        }
    }
}

impl WeightPaths {
    /// All paths.
    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.paths.iter().chain(self.blobs.iter().flat_map(|blob| &blob.paths))
    }
}

/// Writes a blob of a weight file into one of its own, where its record is the first.
///
/// # Errors
/// There is no such blob, or the disk.
pub(crate) fn take_out(whole: &Path, record: u64, to: &Path) -> Result<(), BlobError> {
    let mut file = BlobFile::new(fs::File::open(whole)?)?;
    let blob = file.record(record)?;
    let mut layout = BlobLayout::default();
    layout.push(blob.dtype, blob.element_count())?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut output = fs::File::create(to)?;
    let mut writer = BlobWriter::new(&mut output, &layout)?;
    writer.begin(blob.dtype, blob.element_count())?;
    let (mut start, mut piece) = (0, Vec::new());
    while start < blob.bytes {
        let length = PIECE.min(blob.bytes - start);
        piece.resize(usize::try_from(length).unwrap_or_default(), 0);
        file.read_piece(&blob, start, &mut piece)?;
        writer.write(&piece)?;
        start += length;
    }
    writer.finish()?;
    Ok(output.sync_all()?)
}

#[cfg(test)]
mod tests {
    use anec_mil::DataType;
    use anec_mil::blob::BlobReader;

    use super::*;

    #[test]
    fn a_blob_alone_has_its_bytes_behind_the_first_record() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut layout = BlobLayout::default();
        let blobs: [(DataType, u64, &[u8]); 2] =
            [(DataType::Float16, 3, &[1, 2, 3, 4, 5, 6]), (DataType::UInt3, 8, &[7, 8, 9])];
        let records = blobs.map(|(dtype, count, _)| layout.push(dtype, count).expect("small"));
        let mut file = Vec::new();
        let mut writer = BlobWriter::new(&mut file, &layout).expect("a vector takes everything");
        for (dtype, count, bytes) in blobs {
            writer.begin(dtype, count).expect("as planned");
            writer.write(bytes).expect("as planned");
        }
        writer.finish().expect("complete");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("weight.bin"), file).expect("writable");
        let places = WeightPlaces {
            whole: vec![path("weight.bin")],
            blobs: records
                .map(|record| (record, vec![path(&format!("a/{record}.bin")), path(&format!("b/{record}.bin"))]))
                .into(),
        };
        places.take_apart().expect("there");
        places.spread(&places).expect("there");
        for (record, (dtype, count, bytes)) in records.iter().zip(blobs) {
            let alone = fs::read(path(&format!("a/{record}.bin"))).expect("written");
            let reader = BlobReader::new(&alone).expect("a weight file");
            assert_eq!(reader.blobs().expect("valid").len(), 1);
            assert_eq!(reader.blob(64, dtype, count).expect("the only blob"), bytes);
            assert_eq!(fs::read(path(&format!("b/{record}.bin"))).expect("linked"), alone);
        }
        assert!(take_out(&path("weight.bin"), 128, &path("c.bin")).is_err(), "no record there");
    }
}
