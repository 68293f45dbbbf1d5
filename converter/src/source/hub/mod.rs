//! Checkpoints by the name that the Hugging Face hub has them under: `ORG/MODEL`, `ORG/MODEL@REVISION`, `hf://ORG/MODEL`.
//!
//! Files are kept in the cache that `huggingface_hub` keeps, in its layout, so that what either has downloaded the other
//! need not. `hf-hub`, the library for this, brings more than three hundred crates and three of them compile C, which the
//! binary must do without; what is here is the protocol of one download: which files, from where, into which place. And
//! that of one upload: what is new of a directory, in one commit.

mod api;
mod cache;
mod download;
mod error;
mod files;
mod name;
mod publish;

use std::path::{Path, PathBuf};

use self::api::Api;
use self::cache::Cache;

pub(crate) use self::cache::{cached_name, cached_repository, snapshot_of_root};
pub use self::error::HubError;
pub use self::name::ModelName;
pub use self::publish::{Content, LocalFile, Publication, Published, local_files, publish};

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// A file begins; `have` of its bytes are there from an earlier attempt.
    File {
        /// Its name.
        name: &'a str,
        /// Its bytes.
        size: u64,
        /// Bytes that are there.
        have: u64,
    },
    /// So many bytes more have come or gone.
    Bytes(u64),
    /// The last so many bytes are sent again.
    Again(u64),
}

/// What of a model is to be brought here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that a conversion reads.
    Checkpoint,
    /// Its config, where it has one: enough to plan a conversion.
    Config,
}

/// Where a model is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its directory in the cache, or the file in it that was named.
    pub path: PathBuf,
    /// Why it may not be the newest, where that is so.
    pub note: Option<String>,
}

/// Brings the files of a model that a conversion needs into the cache, as far as they are not there.
///
/// # Errors
/// There is no such model, revision or file; it asks for an agreement; the hub cannot be reached; or the disk is full.
pub fn fetch(name: &ModelName, wanted: Wanted, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Fetched, HubError> {
    let cache = Cache::of_environment()?;
    let api = Api::of_environment();
    let folder = cache.model(name);
    if api.is_offline() {
        return cached(name, wanted, &folder).ok_or_else(|| HubError::Offline { name: name.to_string() });
    }
    // A commit never changes: what is complete needs no question.
    if name.is_commit()
        && let Some(fetched) = cached(name, wanted, &folder)
    {
        return Ok(Fetched { note: None, ..fetched });
    }
    let listing = match api.listing(name) {
        Ok(listing) => listing,
        Err(error) if error.is_unreachable() => match cached(name, wanted, &folder) {
            Some(fetched) => return Ok(fetched),
            None => return Err(error),
        },
        Err(error) => return Err(error),
    };
    let snapshot = folder.snapshot(&listing.commit);
    let mut needed = files::needed(name, wanted, &listing)?;
    let mut at = 0;
    while let Some(file) = needed.get(at).cloned() {
        at += 1;
        let path = download::file(&api, name, &folder, &listing.commit, &file, progress)?;
        if files::is_index(&file) {
            needed.extend(files::shards(&path)?.into_iter().filter(|shard| listing.files.contains(shard)));
        }
    }
    folder.set_revision(name.revision(), &listing.commit)?;
    Ok(Fetched { path: files::entry(name, &snapshot, &listing.files), note: None })
}

/// What the cache has of a model, if that is enough to convert it.
fn cached(name: &ModelName, wanted: Wanted, folder: &cache::ModelFolder) -> Option<Fetched> {
    let commit = if name.is_commit() { name.revision().to_owned() } else { folder.revision(name.revision())? };
    let snapshot = folder.snapshot(&commit);
    let found = files::in_directory(&snapshot);
    if !files::is_complete(name, wanted, &snapshot, &found) {
        return None;
    }
    let path = files::entry(name, &snapshot, &found);
    let note = "the hub was not asked, so that a newer version would not show: from the cache".to_owned();
    Some(Fetched { path, note: Some(note) })
}

/// The files that the hub's answer about a model names, sorted, without those whose names lead out of a directory; none where it
/// is no such answer. For those who hold the reader against answers of any kind.
pub fn files_of_answer(answer: &[u8]) -> Option<Vec<String>> {
    let listing = api::Listing::read(answer).ok()?;
    Some(listing.files.into_iter().collect())
}

/// What a path on the command line stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or directory of this machine; `shadows` where it is called as a model of the hub could be.
    Local {
        /// Where.
        path: PathBuf,
        /// Whether its name could be one of the hub's.
        shadows: bool,
    },
    /// A model of the hub.
    Hub(ModelName),
}

/// Tells paths and names of models apart: what is on this machine wins.
///
/// # Errors
/// It begins with `hf://` and is no name.
pub fn place(path: &Path) -> Result<Place, HubError> {
    let text = path.to_str().unwrap_or_default();
    if let Some(name) = text.strip_prefix("hf://") {
        return match ModelName::parse(name) {
            Some(name) => Ok(Place::Hub(name)),
            None => Err(HubError::Name { found: text.to_owned() }),
        };
    }
    let name = ModelName::parse(text);
    if path.exists() {
        let path = snapshot_of_root(path).unwrap_or_else(|| path.to_owned());
        return Ok(Place::Local { path, shadows: name.is_some() });
    }
    Ok(name.map_or_else(|| Place::Local { path: path.to_owned(), shadows: false }, Place::Hub))
}
