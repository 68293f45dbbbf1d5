//! Files that stand where something else is expected: pointers of Git LFS, archives, web pages.

use std::fmt;

/// What a file is instead of what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A text that Git LFS leaves where it has not downloaded the file.
    LfsPointer,
    /// A zip archive.
    Zip,
    /// A gzip archive.
    Gzip,
    /// A web page.
    WebPage,
    /// Where a symbolic link leads, as a file: what is left of links where they are not supported.
    LinkText,
}

/// How files of each kind begin.
///
/// # Source
/// git-lfs `docs/spec.md`; APPNOTE.TXT 4.3.7 of the zip format; RFC 1952.
const BEGINNINGS: [(&[u8], Foreign); 6] = [
    (b"version https://git-lfs.github.com/spec/", Foreign::LfsPointer),
    (b"PK\x03\x04", Foreign::Zip),
    (b"\x1f\x8b\x08", Foreign::Gzip),
    (b"<!DOCTYPE html", Foreign::WebPage),
    (b"<html", Foreign::WebPage),
    (b"../", Foreign::LinkText),
];

impl Foreign {
    /// Bytes from the beginning that decide.
    pub const DECIDING_BYTES: u64 = 64;

    /// What the file is that begins with these bytes.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        BEGINNINGS.iter().find(|row| bytes.starts_with(row.0)).map(|row| row.1)
    }

    /// What the user can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::LfsPointer => {
                "run `git lfs pull` in the repository, or download the model with a client that resolves Git LFS"
            }
            Self::Zip => "unpack it, for example with `unzip`, and give the directory inside",
            Self::Gzip => "unpack it, for example with `tar -xzf`, and give the directory inside",
            Self::WebPage => "download the file itself, not the page about it",
            Self::LinkText => "links were copied as text; copy the model with its links followed, as `cp -rL` does",
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LfsPointer => "a Git LFS pointer",
            Self::Zip => "a zip archive",
            Self::Gzip => "a gzip archive",
            Self::WebPage => "a web page",
            Self::LinkText => "the text of a symbolic link",
        })
    }
}
