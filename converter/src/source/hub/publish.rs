//! Models to the hub: what is new of a set of files, in one commit.
//!
//! Large files are sent before the commit and are known by their checksum. One that has arrived is there for the next
//! attempt, whatever became of the commit, and for every other file with the same content.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fs_err as fs;
use rayon::prelude::*;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Progress;
use super::api::Api;
use super::api::upload::{Announced, Counted, LargeFile, Transfer, UploadMode, parts};
use super::error::HubError;
use super::name::ModelName;

/// Files that the hub is asked about at a time.
const AT_A_TIME: usize = 256;

/// Bytes of a file that the hub sees to decide how it is sent.
const SAMPLE_BYTES: u64 = 512;

/// A larger file is never part of a commit, whatever the hub says.
const LARGEST_REGULAR: u64 = 32 << 20;

/// Attempts to send a file, or a part of one.
const ATTEMPTS: u32 = 4;

/// A file as it is to be in a repository.
#[derive(Clone, Debug)]
pub struct LocalFile {
    /// Its path there, with `/`.
    pub path: String,
    /// What is in it.
    pub content: Content,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// What is in a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// What this file has.
    File(PathBuf),
    /// This.
    Bytes(Vec<u8>),
}

impl LocalFile {
    /// A file of these bytes.
    pub fn of_bytes(path: &str, bytes: Vec<u8>) -> Self {
        let sha256 = base16ct::lower::encode_string(&Sha256::digest(&bytes));
        Self { path: path.to_owned(), size: bytes.len() as u64, content: Content::Bytes(bytes), sha256 }
    }

    /// The content from a byte on.
    fn open(&self, from: u64) -> Result<Box<dyn io::Read + '_>, HubError> {
        match &self.content {
            Content::Bytes(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                Ok(Box::new(bytes.get(from..).unwrap_or_default()))
            }
            Content::File(path) => {
                let open = || -> io::Result<fs::File> {
                    let mut file = fs::File::open(path)?;
                    file.seek(SeekFrom::Start(from))?;
                    Ok(file)
                };
                Ok(Box::new(open().map_err(|source| HubError::Read { path: path.clone(), source })?))
            }
        }
    }

    fn read(&self, most: u64) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        let read = self.open(0)?.take(most).read_to_end(&mut bytes);
        read.map_err(|source| HubError::Read { path: PathBuf::from(&self.path), source })?;
        Ok(bytes)
    }

    /// What git calls the content: the SHA-1 of a blob.
    fn blob(&self) -> Result<String, HubError> {
        let bytes = self.read(LARGEST_REGULAR)?;
        let digest = Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize();
        Ok(base16ct::lower::encode_string(&digest))
    }
}

/// What is to be published.
pub struct Publication<'a> {
    /// Where; the revision is a branch, which is made where it is not there.
    pub name: &'a ModelName,
    /// Everything that is to be there.
    pub files: &'a [LocalFile],
    /// Whether a repository that is made is private.
    pub is_private: bool,
    /// The first line of the commit's message.
    pub summary: &'a str,
    /// Which files of the repository go, if they are not among the files.
    pub is_stale: &'a dyn Fn(&str) -> bool,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// The page of the repository.
    pub url: String,
    /// The commit; none where nothing was new.
    pub commit: Option<String>,
    /// Files of the commit that are new or have changed.
    pub changed: Vec<String>,
    /// Files that were removed.
    pub removed: Vec<String>,
    /// Files that the repository ignores.
    pub ignored: Vec<String>,
    /// Bytes of large files that were sent.
    pub sent_bytes: u64,
}

/// Publishes files in one commit; none where all of them are there.
///
/// # Errors
/// There is no token, or it may not write; the hub cannot be reached; or the branch moved meanwhile.
pub fn publish(publication: &Publication<'_>, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Published, HubError> {
    let Publication { name, files, summary, .. } = *publication;
    let api = Api::of_environment();
    if api.is_offline() {
        return Err(HubError::Offline { name: name.to_string() });
    }
    if !api.has_token() {
        return Err(HubError::NoToken { name: name.to_string() });
    }
    let listing = listing(&api, publication)?;
    let mut changed = Vec::new();
    let mut ignored = Vec::new();
    for files in files.chunks(AT_A_TIME) {
        let modes = modes(&api, name, files)?;
        for file in files {
            match modes.get(&file.path) {
                None => ignored.push(file.path.clone()),
                Some((mode, oid)) if !is_there(file, *mode, oid.as_deref())? => changed.push((file, *mode)),
                Some(_) => {}
            }
        }
    }
    let kept: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let is_stale = |file: &&String| !kept.contains(file.as_str()) && (publication.is_stale)(file);
    let removed: Vec<String> = listing.files.iter().filter(is_stale).cloned().collect();
    let mut published = Published {
        url: api.page(name),
        commit: None,
        changed: changed.iter().map(|(file, _)| file.path.clone()).collect(),
        removed,
        ignored,
        sent_bytes: 0,
    };
    if published.changed.is_empty() && published.removed.is_empty() {
        return Ok(published);
    }
    published.sent_bytes = send_large(&api, name, &changed, progress)?;
    let lines = lines(summary, &listing.commit, &changed, &published.removed)?;
    let committed = api.commit(name, &lines)?;
    published.commit = Some(committed.commit_oid);
    if committed.commit_url.starts_with("http") {
        published.url = committed.commit_url;
    }
    Ok(published)
}

/// What the branch has; repository and branch are made where they are not there.
fn listing(api: &Api, publication: &Publication<'_>) -> Result<super::api::Listing, HubError> {
    let name = publication.name;
    let listing = match api.listing(name) {
        Err(HubError::NotFound { .. }) => {
            api.create_repository(name, publication.is_private)?;
            api.listing(name)
        }
        listing => listing,
    };
    match listing {
        Err(HubError::Revision { .. }) => {
            api.create_branch(name)?;
            api.listing(name)
        }
        listing => listing,
    }
}

/// How each file is sent, and what is there of it; files that the repository ignores are left out.
fn modes(
    api: &Api,
    name: &ModelName,
    files: &[LocalFile],
) -> Result<BTreeMap<String, (UploadMode, Option<String>)>, HubError> {
    let mut announced = Vec::with_capacity(files.len());
    for file in files {
        let sample = BASE64.encode(file.read(SAMPLE_BYTES)?);
        announced.push(Announced { path: &file.path, sample, size: file.size });
    }
    let sizes: BTreeMap<&str, u64> = files.iter().map(|file| (file.path.as_str(), file.size)).collect();
    let mut modes = BTreeMap::new();
    let mut ignored = BTreeSet::new();
    for answer in api.announce(name, &announced)? {
        let Some(size) = sizes.get(answer.path.as_str()) else { continue };
        let mode = match size {
            // Nothing cannot be stored as a large file.
            0 => UploadMode::Regular,
            size if *size > LARGEST_REGULAR => UploadMode::Lfs,
            _ => answer.upload_mode,
        };
        if answer.should_ignore {
            ignored.insert(answer.path);
        } else {
            modes.insert(answer.path, (mode, answer.oid));
        }
    }
    match sizes.keys().find(|path| !modes.contains_key(**path) && !ignored.contains(**path)) {
        None => Ok(modes),
        Some(path) => Err(HubError::Answer {
            url: api.page(name),
            expected: format!("how `{path}` is to be sent"),
            found: "nothing about it".to_owned(),
        }),
    }
}

/// Whether the repository has the same content there.
fn is_there(file: &LocalFile, mode: UploadMode, oid: Option<&str>) -> Result<bool, HubError> {
    let Some(oid) = oid else { return Ok(false) };
    Ok(match mode {
        UploadMode::Lfs => oid == file.sha256,
        UploadMode::Regular => oid == file.blob()?,
    })
}

/// Sends the large files that the hub does not have, each content once, and gives the bytes that were sent.
fn send_large(
    api: &Api,
    name: &ModelName,
    changed: &[(&LocalFile, UploadMode)],
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<u64, HubError> {
    let mut contents: BTreeMap<&str, &LocalFile> = BTreeMap::new();
    for (file, _) in changed.iter().filter(|(_, mode)| *mode == UploadMode::Lfs) {
        contents.entry(&file.sha256).or_insert(file);
    }
    let all: Vec<LargeFile> =
        contents.values().map(|file| LargeFile { oid: file.sha256.clone(), size: file.size }).collect();
    let mut sent = 0;
    for files in all.chunks(AT_A_TIME) {
        for transfer in api.batch(name, files)? {
            let Some(file) = contents.get(transfer.oid.as_str()) else { continue };
            if let Some(error) = &transfer.error {
                return Err(HubError::File { file: file.path.clone(), message: error.message.clone() });
            }
            if send(api, name, file, &transfer, progress)? {
                sent += file.size;
            }
        }
    }
    Ok(sent)
}

/// Sends one large file; whether that was necessary.
fn send(
    api: &Api,
    name: &ModelName,
    file: &LocalFile,
    transfer: &Transfer,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<bool, HubError> {
    let Some(actions) = &transfer.actions else { return Ok(false) };
    let Some(upload) = &actions.upload else { return Ok(false) };
    let large = LargeFile { oid: file.sha256.clone(), size: file.size };
    progress(Progress::File { name: &file.path, size: file.size, have: 0 });
    match parts(upload, file.size)? {
        None => {
            put(api, &upload.href, file, 0..file.size, progress)?;
        }
        Some((chunk, addresses)) => {
            let mut tags = Vec::with_capacity(addresses.len());
            for (address, start) in
                addresses.iter().zip((0..file.size).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)))
            {
                let end = start.saturating_add(chunk).min(file.size);
                let tag = put(api, address, file, start..end, progress)?.ok_or_else(|| HubError::Answer {
                    url: upload.href.clone(),
                    expected: "the tag of a part".to_owned(),
                    found: "none".to_owned(),
                })?;
                tags.push(tag);
            }
            api.complete(name, &upload.href, &file.sha256, &tags)?;
        }
    }
    if let Some(verify) = &actions.verify {
        api.verify(name, &verify.href, &large)?;
    }
    Ok(true)
}

/// Sends bytes of a file, several times where that fails for a reason that may pass.
fn put(
    api: &Api,
    url: &str,
    file: &LocalFile,
    bytes: std::ops::Range<u64>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Option<String>, HubError> {
    let length = bytes.end - bytes.start;
    let mut attempt = 0;
    loop {
        let mut told = 0;
        let mut tell = |read: u64| {
            told += read;
            progress(Progress::Bytes(read));
        };
        let mut content = Counted { inner: file.open(bytes.start)?.take(length), tell: &mut tell };
        match api.put(url, &mut content, length) {
            Err(error) if error.is_unreachable() && attempt + 1 < ATTEMPTS => {
                attempt += 1;
                progress(Progress::Again(told));
                std::thread::sleep(Duration::from_millis(250 << attempt));
            }
            result => return result,
        }
    }
}

/// The lines of a commit.
fn lines(
    summary: &str,
    parent: &str,
    changed: &[(&LocalFile, UploadMode)],
    removed: &[String],
) -> Result<Vec<String>, HubError> {
    let line = |key: &str, value: Value| json!({"key": key, "value": value}).to_string();
    let mut lines = vec![line("header", json!({"summary": summary, "description": "", "parentCommit": parent}))];
    for (file, mode) in changed {
        lines.push(match mode {
            UploadMode::Regular => {
                let content = BASE64.encode(file.read(LARGEST_REGULAR)?);
                line("file", json!({"path": file.path, "content": content, "encoding": "base64"}))
            }
            UploadMode::Lfs => {
                let (oid, size) = (&file.sha256, file.size);
                line("lfsFile", json!({"path": file.path, "algo": "sha256", "oid": oid, "size": size}))
            }
        });
    }
    lines.extend(removed.iter().map(|path| line("deletedFile", json!({ "path": path }))));
    Ok(lines)
}

/// Files of a directory by their paths in it, with their checksums.
///
/// # Errors
/// One of them cannot be read.
pub fn local_files(paths: Vec<(String, PathBuf)>) -> io::Result<Vec<LocalFile>> {
    let file = |(path, at): (String, PathBuf)| {
        let sha256 = crate::output::checksums::checksum(&at)?;
        let size = fs::metadata(&at)?.len();
        Ok(LocalFile { path, size, content: Content::File(at), sha256 })
    };
    paths.into_par_iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_what_git_calls_it() {
        // `printf 'hello\n' | git hash-object --stdin`
        let file = LocalFile::of_bytes("a", b"hello\n".to_vec());
        assert_eq!(file.blob().expect("in memory"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert!(is_there(&file, UploadMode::Regular, Some("ce013625030ba8dba906f756967f9e9ca394464a")).expect("read"));
        assert!(!is_there(&file, UploadMode::Lfs, Some("ce013625030ba8dba906f756967f9e9ca394464a")).expect("read"));
        assert!(is_there(&file, UploadMode::Lfs, Some(&file.sha256)).expect("read"));
        assert!(!is_there(&file, UploadMode::Regular, None).expect("read"));
    }

    #[test]
    fn a_commit_names_its_parent_and_holds_small_files() {
        let (small, large) = (LocalFile::of_bytes("a b", b"x".to_vec()), LocalFile::of_bytes("w", b"y".to_vec()));
        let changed = [(&small, UploadMode::Regular), (&large, UploadMode::Lfs)];
        let lines = lines("new", "0123", &changed, &["old".to_owned()]).expect("in memory");
        let keys: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["key"].clone()).collect();
        assert_eq!(keys, ["header", "file", "lfsFile", "deletedFile"]);
        assert!(lines[0].contains(r#""parentCommit":"0123""#) && lines[1].contains(r#""content":"eA==""#));
    }
}
