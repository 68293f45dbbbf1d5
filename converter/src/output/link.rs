//! One file at two places.

use std::io;
use std::path::Path;

use fs_err as fs;

/// Makes `to` the same file as `from`, or a copy of it where the file system cannot; replaces what is there.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // An earlier attempt may have linked it: a copy onto itself would be empty.
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linked_file_has_the_same_bytes_below_a_new_directory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (directory.path().join("a"), directory.path().join("b/c"));
        fs::write(&from, "weights").expect("writable");
        link_or_copy(&from, &to).expect("linked or copied");
        assert_eq!(fs::read(&to).expect("readable"), b"weights");
        link_or_copy(&from, &to).expect("linked or copied again");
        assert_eq!(fs::read(&to).expect("readable"), b"weights");
        assert!(link_or_copy(&directory.path().join("missing"), &to.with_extension("x")).is_err());
    }
}
