//! A compiled model as one file, which apps download and unpack.
//!
//! The same model gives the same bytes: entries are sorted, stored as they are, and have no times. Palettes and packed
//! indices hardly get smaller by deflating.

use std::io;
use std::path::Path;

use fs_err as fs;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::checksums::files_below;

/// What follows the name of a model in the name of its archive.
pub(crate) const EXTENSION: &str = "zip";

/// Permissions of every file.
const PERMISSIONS: u32 = 0o644;

/// Packs a directory into an archive, in which it is called as it is.
///
/// # Errors
/// Something cannot be read or written, or the path has no name.
pub(crate) fn pack(directory: &Path, archive: &Path) -> io::Result<()> {
    let name = directory.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a directory without a name"))?;
    let mut paths = files_below(directory)?;
    paths.sort_unstable();
    let mut writer = ZipWriter::new(io::BufWriter::new(fs::File::create(archive)?));
    for path in paths {
        let mut file = fs::File::open(directory.join(&path))?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(PERMISSIONS)
            .large_file(file.metadata()?.len() >= u64::from(u32::MAX));
        writer.start_file(format!("{name}/{path}"), options)?;
        io::copy(&mut file, &mut writer)?;
    }
    let buffered = writer.finish()?;
    buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_model_gives_the_same_archive() {
        let directory = tempfile::tempdir().expect("temporary");
        let pack_again = |name: &str, order: [&str; 3]| {
            let model = directory.path().join(name).join("head.mlmodelc");
            for path in order {
                let path = model.join(path);
                fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
                fs::write(&path, path.file_name().expect("a name").as_encoded_bytes()).expect("writable");
            }
            let archive = directory.path().join(format!("{name}.zip"));
            pack(&model, &archive).expect("packed");
            fs::read(archive).expect("written")
        };
        let first = pack_again("a", ["model.mil", "weights/weight.bin", "coremldata.bin"]);
        assert_eq!(first, pack_again("b", ["coremldata.bin", "model.mil", "weights/weight.bin"]));
        let mut archive = zip::ZipArchive::new(io::Cursor::new(first)).expect("an archive");
        assert_eq!(archive.len(), 3);
        let mut text = String::new();
        let mut file = archive.by_name("head.mlmodelc/weights/weight.bin").expect("the weights");
        io::Read::read_to_string(&mut file, &mut text).expect("stored");
        assert_eq!(text, "weight.bin");
    }
}
