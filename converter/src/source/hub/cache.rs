//! The cache of `huggingface_hub` on this machine.
//!
//! # Source
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>: `models--OWNER--MODEL/` with `blobs/ETAG`,
//! `snapshots/COMMIT/FILE`, which links to a blob, and `refs/REVISION`, which has a commit.

use std::env;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

use super::error::HubError;
use super::name::{ModelName, is_commit};

/// Longest content of a reference.
const LONGEST_REFERENCE: u64 = 256;

/// The cache.
pub(super) struct Cache {
    root: PathBuf,
}

/// What the cache has of one model.
pub(super) struct ModelFolder {
    root: PathBuf,
}

impl Cache {
    /// The one that `HF_HUB_CACHE`, `HF_HOME` or `XDG_CACHE_HOME` name, or `~/.cache/huggingface/hub`.
    pub(super) fn of_environment() -> Result<Self, HubError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface").join("hub")))
            .or_else(|| env::home_dir().map(|home| home.join(".cache").join("huggingface").join("hub")));
        root.map(|root| Self { root }).ok_or(HubError::NoHome)
    }

    pub(super) fn model(&self, name: &ModelName) -> ModelFolder {
        ModelFolder { root: self.root.join(name.folder()) }
    }
}

impl ModelFolder {
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// The commit that a revision was when it was last asked for.
    pub(super) fn revision(&self, revision: &str) -> Option<String> {
        reference(&self.root, revision)
    }

    pub(super) fn set_revision(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        // A commit needs no reference.
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.root.join("refs").join(revision);
        let failed = |source| HubError::Io { path: path.clone(), source };
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(failed)?;
        fs::write(&path, commit).map_err(failed)
    }

    /// Makes a file of a snapshot a link to a blob, or a copy where links are not to be had.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<PathBuf, HubError> {
        let path = self.snapshot(commit).join(file);
        let failed = |source| HubError::Io { path: path.clone(), source };
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(failed)?;
        if path.exists() {
            return Ok(path);
        }
        // A link to a blob that is gone is in the way.
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).map_err(failed)?;
        }
        let up = Path::new(file).components().filter(|part| matches!(part, Component::Normal(_))).count() + 1;
        let target: PathBuf = std::iter::repeat_n("..", up).chain(["blobs", etag]).collect();
        #[cfg(unix)]
        fs_err::os::unix::fs::symlink(&target, &path).map_err(failed)?;
        #[cfg(not(unix))]
        {
            let _ = target;
            fs::copy(self.blob(etag), &path).map_err(failed)?;
        }
        Ok(path)
    }
}

fn reference(root: &Path, revision: &str) -> Option<String> {
    let path = root.join("refs").join(revision);
    if fs::metadata(&path).ok()?.len() > LONGEST_REFERENCE {
        return None;
    }
    let commit = fs::read_to_string(path).ok()?.trim().to_owned();
    is_commit(&commit).then_some(commit)
}

/// The snapshot of `main` where a path is the folder of a model in a cache.
pub(crate) fn snapshot_of_root(path: &Path) -> Option<PathBuf> {
    let canonical = fs::canonicalize(path).ok()?;
    if !canonical.file_name()?.to_str()?.starts_with("models--") || !path.join("snapshots").is_dir() {
        return None;
    }
    let commit = reference(path, "main").or_else(|| {
        // Without a reference, the only snapshot is meant.
        let mut entries = fs::read_dir(path.join("snapshots")).ok()?;
        let only = entries.next()?.ok()?.file_name().into_string().ok()?;
        entries.next().is_none().then_some(only)
    })?;
    let snapshot = path.join("snapshots").join(commit);
    snapshot.is_dir().then_some(snapshot)
}

/// The name of the model whose snapshot a path is.
pub(crate) fn cached_name(path: &Path) -> Option<String> {
    let folder = cached_folder(path)?;
    let name = folder.rsplit_once("--").map_or(folder, |(_, name)| name);
    (!name.is_empty()).then(|| name.to_owned())
}

/// The repository and the commit whose snapshot a path is.
pub(crate) fn cached_repository(path: &Path) -> Option<(String, String)> {
    let commit = path.file_name()?.to_str()?;
    let (owner, model) = cached_folder(path)?.split_once("--")?;
    let repository = format!("{owner}/{model}");
    ModelName::parse(&repository).filter(|_| is_commit(commit)).map(|_| (repository, commit.to_owned()))
}

/// What a cache calls the model whose snapshot a path is.
fn cached_folder(path: &Path) -> Option<&str> {
    let snapshots = path.parent()?;
    let folder = snapshots.parent()?.file_name()?.to_str()?.strip_prefix("models--")?;
    (snapshots.file_name()? == "snapshots").then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_after_its_model() {
        let path = Path::new("hub/models--Qwen--Qwen2.5-0.5B/snapshots/0123");
        assert_eq!(cached_name(path).as_deref(), Some("Qwen2.5-0.5B"));
        assert_eq!(cached_name(Path::new("models/Qwen/snapshots/0123")), None);
        assert_eq!(cached_repository(path), None, "no commit");
        let commit = "0123456789".repeat(4);
        let path = Path::new("hub/models--Qwen--Qwen2.5-0.5B/snapshots").join(&commit);
        assert_eq!(cached_repository(&path), Some(("Qwen/Qwen2.5-0.5B".to_owned(), commit)));
    }

    #[test]
    fn the_folder_of_a_model_stands_for_the_snapshot_of_main() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let folder = ModelFolder { root: cache.path().join("models--a--b") };
        let commit = "0".repeat(40);
        fs::create_dir_all(folder.snapshot(&commit)).expect("a directory");
        assert_eq!(snapshot_of_root(&folder.root), Some(folder.snapshot(&commit)));
        fs::create_dir_all(folder.snapshot("1")).expect("a directory");
        assert_eq!(snapshot_of_root(&folder.root), None);
        folder.set_revision("main", &commit).expect("written");
        assert_eq!(snapshot_of_root(&folder.root), Some(folder.snapshot(&commit)));
        folder.set_revision("main", "../../../elsewhere").expect("written");
        assert_eq!(snapshot_of_root(&folder.root), None);
    }

    #[cfg(unix)]
    #[test]
    fn files_of_a_snapshot_are_links_to_blobs() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let folder = ModelFolder { root: cache.path().join("models--a--b") };
        fs::create_dir_all(folder.blob("x").parent().expect("a parent")).expect("a directory");
        fs::write(folder.blob("x"), "content").expect("a file");
        for file in ["config.json", "additional_chat_templates/rag.jinja"] {
            let path = folder.link("0", file, "x").expect("linked");
            assert_eq!(fs::read_to_string(&path).expect("readable"), "content");
            assert!(fs::read_link(path).expect("a link").is_relative());
        }
    }
}
