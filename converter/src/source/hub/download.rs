//! One file of a model: from the hub into a blob, and a link to it.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use sha2::{Digest as _, Sha256};
use ureq::http::StatusCode;

use super::Progress;
use super::api::{Api, FileInfo};
use super::cache::ModelFolder;
use super::error::HubError;
use super::name::ModelName;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 18;

/// Attempts to get a file without one that brings any byte.
const ATTEMPTS: u32 = 3;

/// Brings a file into the cache and gives its path in the snapshot.
pub(super) fn file(
    api: &Api,
    name: &ModelName,
    folder: &ModelFolder,
    commit: &str,
    file: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, HubError> {
    let there = folder.snapshot(commit).join(file);
    // Links of a snapshot are made once their blobs are whole.
    if there.is_file() {
        return Ok(there);
    }
    let url = api.url(name, commit, file);
    let info = api.info(name, &url)?;
    let blob = folder.blob(&info.etag);
    if !blob.is_file() {
        let partial = blob.with_file_name(format!("{}.incomplete", info.etag));
        let failed = |source| HubError::Io { path: partial.clone(), source };
        fs::create_dir_all(blob.parent().unwrap_or(&blob)).map_err(failed)?;
        let mut left = ATTEMPTS;
        loop {
            let before = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
            match attempt(api, name, &url, &info, &partial, file, progress) {
                Ok(()) => break,
                Err(error @ HubError::Interrupted { .. }) => {
                    let after = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
                    left = if after > before { ATTEMPTS } else { left - 1 };
                    if left == 0 {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        check(&url, &info, &partial)?;
        fs::rename(&partial, &blob).map_err(failed)?;
    }
    folder.link(commit, file, &info.etag)
}

/// Appends to the partial file what it lacks.
fn attempt(
    api: &Api,
    name: &ModelName,
    url: &str,
    info: &FileInfo,
    partial: &Path,
    file: &str,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), HubError> {
    let failed = |source| HubError::Io { path: partial.to_owned(), source };
    let mut out = fs::OpenOptions::new().create(true).append(true).open(partial).map_err(failed)?;
    let mut have = out.metadata().map_err(failed)?.len();
    if have > info.size {
        out.set_len(0).map_err(failed)?;
        have = 0;
    }
    progress(Progress::File { name: file, size: info.size, have });
    if have == info.size {
        return Ok(());
    }
    let mut response = match api.content(name, url, have) {
        // What stops while it is asked for is as what stops while it comes.
        Err(HubError::Network { .. }) if have > 0 => {
            return Err(HubError::Interrupted { url: url.to_owned(), have, size: info.size, source: None });
        }
        response => response?,
    };
    if have > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
        // A server that knows no ranges sends all of it.
        out.set_len(0).map_err(failed)?;
        have = 0;
    }
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut piece = vec![0; PIECE];
    loop {
        let stopped = |have, source| HubError::Interrupted { url: url.to_owned(), have, size: info.size, source };
        let read = match body.read(&mut piece) {
            Ok(0) if have < info.size => return Err(stopped(have, None)),
            Ok(read) => read,
            Err(source) => return Err(stopped(have, Some(source))),
        };
        if read == 0 {
            break;
        }
        have += read as u64;
        if have > info.size {
            let (expected, found) = (format!("{} bytes", info.size), "more".to_owned());
            return Err(HubError::Answer { url: url.to_owned(), expected, found });
        }
        out.write_all(piece.get(..read).unwrap_or_default()).map_err(failed)?;
        progress(Progress::Bytes(read as u64));
    }
    out.sync_all().map_err(failed)
}

/// Holds a large file against its checksum, which its tag is.
fn check(url: &str, info: &FileInfo, partial: &Path) -> Result<(), HubError> {
    if info.etag.len() != 64 || !info.etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let failed = |source| HubError::Io { path: partial.to_owned(), source };
    let mut digest = Sha256::new();
    let mut file = fs::File::open(partial).map_err(failed)?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        digest.update(piece.get(..read).unwrap_or_default());
    }
    let found = base16ct::lower::encode_string(&digest.finalize());
    if found == info.etag {
        return Ok(());
    }
    // Going on with it would end the same way.
    fs::remove_file(partial).map_err(failed)?;
    Err(HubError::Answer { url: url.to_owned(), expected: format!("the SHA-256 {}", info.etag), found })
}
