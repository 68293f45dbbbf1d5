//! Names of models on the hub.

use std::fmt;

/// Longest part of a name; the hub allows 96 characters.
const LONGEST: usize = 96;

/// The branch that is meant where none is named.
const MAIN: &str = "main";

/// A model, one of its revisions, and one of its files where one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    owner: String,
    model: String,
    revision: Option<String>,
    file: Option<String>,
}

impl ModelName {
    /// Reads `OWNER/MODEL`, `OWNER/MODEL@REVISION` or `OWNER/MODEL/FILE.gguf`; none where it is no such name.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, revision) = match text.split_once('@') {
            None => (text, None),
            Some((path, revision)) => (path, Some(is_revision(revision).then(|| revision.to_owned())?)),
        };
        let mut parts = path.splitn(3, '/');
        let (owner, model, file) = (parts.next()?, parts.next()?, parts.next());
        let is_file =
            |file: &str| file.to_ascii_lowercase().ends_with(".gguf") && file.split('/').all(|part| is_part(part, 255));
        let is_name = is_part(owner, LONGEST) && is_part(model, LONGEST) && file.is_none_or(is_file);
        is_name.then(|| Self {
            owner: owner.to_owned(),
            model: model.to_owned(),
            revision,
            file: file.map(str::to_owned),
        })
    }

    /// `OWNER/MODEL`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.owner, self.model)
    }

    /// Its owner, and what its owner calls it.
    pub(super) fn parts(&self) -> (&str, &str) {
        (&self.owner, &self.model)
    }

    /// The model at a revision; none where that is no name of one.
    #[must_use]
    pub fn at(self, revision: &str) -> Option<Self> {
        is_revision(revision).then(|| Self { revision: Some(revision.to_owned()), ..self })
    }

    /// Whether a revision was named.
    pub fn has_revision(&self) -> bool {
        self.revision.is_some()
    }

    /// Whether one of its files was named.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The folder of the model in the cache.
    pub(super) fn folder(&self) -> String {
        format!("models--{}--{}", self.owner, self.model)
    }

    /// The branch, tag or commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether the revision is a whole commit, which never changes.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(self.revision())
    }

    /// The file that was named.
    pub(super) fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository())?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// A part of a path that is no way out of it.
pub(super) fn is_part(part: &str, longest: usize) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+ ".contains(&byte);
    !part.is_empty() && part.len() <= longest && !part.starts_with(['.', '-', ' ']) && part.bytes().all(is_plain)
}

/// Forty hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A branch or tag, perhaps with slashes, such as `refs/pr/1`.
fn is_revision(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(|part| is_part(part, 255))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_told_from_paths() {
        let name = ModelName::parse("Qwen/Qwen2.5-0.5B@refs/pr/1").expect("a name");
        assert_eq!((name.repository().as_str(), name.revision()), ("Qwen/Qwen2.5-0.5B", "refs/pr/1"));
        assert_eq!(name.folder(), "models--Qwen--Qwen2.5-0.5B");
        assert_eq!(name.to_string(), "Qwen/Qwen2.5-0.5B@refs/pr/1");
        let file = ModelName::parse("a/b/Q4/b-Q4_K_M.gguf").expect("a name");
        assert_eq!(file.file(), Some("Q4/b-Q4_K_M.gguf"));
        for path in [
            "",
            "a",
            "./a/b",
            "../a",
            "a/..",
            "/a/b",
            "~/a",
            "a/b/c",
            "a//b",
            "a/b/",
            "a/b@",
            "a/b@..",
            "a/b@x/../y",
            "a\\b/c",
            "a/b/../c.gguf",
            "a/b?c",
            "a/\u{1b}",
        ] {
            assert_eq!(ModelName::parse(path), None, "{path}");
        }
    }
}
