//! What the hub is told: repositories, branches, large files, commits.
//!
//! # Source
//! <https://huggingface.co/docs/hub/api>, <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>, and what
//! `huggingface_hub` 0.36 sends. The hub's own addition to the batch API is a transfer in parts: the header of an upload has
//! `chunk_size` and an address for each part, by its number.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::http::{Response, StatusCode};
use ureq::{Body, SendBody};

use super::{Api, LISTING_LIMIT, encoded};
use crate::source::hub::error::HubError;
use crate::source::hub::name::ModelName;

/// The media type of the batch API.
const LFS: &str = "application/vnd.git-lfs+json";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A commit of many files takes the hub a while.
const LONGEST_ANSWER: Duration = Duration::from_mins(10);

/// Bytes of an error that are read.
const ERROR_LIMIT: u64 = 1 << 16;

/// What the hub is asked about a file before it is sent.
#[derive(Serialize)]
pub(in crate::source::hub) struct Announced<'a> {
    pub(in crate::source::hub) path: &'a str,
    /// The first bytes, in Base64.
    pub(in crate::source::hub) sample: String,
    pub(in crate::source::hub) size: u64,
}

/// What the hub says of a file that was announced.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source::hub) struct Answered {
    pub(in crate::source::hub) path: String,
    pub(in crate::source::hub) upload_mode: UploadMode,
    #[serde(default)]
    pub(in crate::source::hub) should_ignore: bool,
    /// What the repository has there: a SHA-256, or what git calls a blob.
    #[serde(default)]
    pub(in crate::source::hub) oid: Option<String>,
}

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::source::hub) enum UploadMode {
    /// Within the commit.
    Regular,
    /// Before the commit, by its checksum.
    Lfs,
}

/// A large file, by what its content is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::source::hub) struct LargeFile {
    /// SHA-256.
    pub(in crate::source::hub) oid: String,
    pub(in crate::source::hub) size: u64,
}

/// What to do with a large file.
#[derive(Debug, Deserialize)]
pub(in crate::source::hub) struct Transfer {
    pub(in crate::source::hub) oid: String,
    /// None where the hub has it.
    #[serde(default)]
    pub(in crate::source::hub) actions: Option<Actions>,
    #[serde(default)]
    pub(in crate::source::hub) error: Option<TransferError>,
}

/// The requests of a transfer.
#[derive(Debug, Deserialize)]
pub(in crate::source::hub) struct Actions {
    #[serde(default)]
    pub(in crate::source::hub) upload: Option<Action>,
    #[serde(default)]
    pub(in crate::source::hub) verify: Option<Action>,
}

/// One request.
#[derive(Debug, Deserialize)]
pub(in crate::source::hub) struct Action {
    pub(in crate::source::hub) href: String,
    #[serde(default)]
    pub(in crate::source::hub) header: BTreeMap<String, Value>,
}

/// Why a large file is not taken.
#[derive(Debug, Deserialize)]
pub(in crate::source::hub) struct TransferError {
    #[serde(default)]
    pub(in crate::source::hub) message: String,
}

/// A commit that was made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source::hub) struct Committed {
    pub(in crate::source::hub) commit_oid: String,
    #[serde(default)]
    pub(in crate::source::hub) commit_url: String,
}

impl Api {
    /// Makes a repository for a model; one that is there stays as it is.
    pub(in crate::source::hub) fn create_repository(&self, name: &ModelName, is_private: bool) -> Result<(), HubError> {
        let url = format!("{}/api/repos/create", self.endpoint);
        let (organization, model) = name.parts();
        let body = json!({"name": model, "organization": organization, "type": "model", "private": is_private});
        let response = self.send(&url, JSON, &body.to_string())?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(());
        }
        self.accepted(name, &url, response).map(drop)
    }

    /// Makes a branch at the head of `main`.
    pub(in crate::source::hub) fn create_branch(&self, name: &ModelName) -> Result<(), HubError> {
        let branch = encoded(name.revision(), true);
        let url = format!("{}/api/models/{}/branch/{branch}", self.endpoint, name.repository());
        let response = self.send(&url, JSON, "{}")?;
        self.accepted(name, &url, response).map(drop)
    }

    /// Asks how files are to be sent, and what is there of them.
    pub(in crate::source::hub) fn announce(
        &self,
        name: &ModelName,
        files: &[Announced<'_>],
    ) -> Result<Vec<Answered>, HubError> {
        #[derive(Deserialize)]
        struct Answer {
            files: Vec<Answered>,
        }
        let revision = encoded(name.revision(), true);
        let url = format!("{}/api/models/{}/preupload/{revision}", self.endpoint, name.repository());
        let response = self.send(&url, JSON, &json!({ "files": files }).to_string())?;
        let answer: Answer = self.parsed(name, &url, response, "how each file is to be sent")?;
        Ok(answer.files)
    }

    /// Asks which large files are missing, and where they go.
    pub(in crate::source::hub) fn batch(
        &self,
        name: &ModelName,
        files: &[LargeFile],
    ) -> Result<Vec<Transfer>, HubError> {
        #[derive(Deserialize)]
        struct Answer {
            objects: Vec<Transfer>,
        }
        let url = format!("{}/{}.git/info/lfs/objects/batch", self.endpoint, name.repository());
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": files,
            "hash_algo": "sha256",
            "ref": {"name": name.revision()},
        });
        let response = self.send(&url, LFS, &body.to_string())?;
        let answer: Answer = self.parsed(name, &url, response, "where large files go")?;
        Ok(answer.objects)
    }

    /// Sends bytes to where large files go, and gives the tag of what has arrived.
    pub(in crate::source::hub) fn put(
        &self,
        url: &str,
        content: &mut dyn Read,
        length: u64,
    ) -> Result<Option<String>, HubError> {
        let mut request = self.agent.put(url).header("content-length", length.to_string());
        if let Some(token) = self.token.as_ref().filter(|_| self.is_ours(url)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.config().timeout_recv_response(Some(LONGEST_ANSWER)).build();
        let response = request.send(SendBody::from_reader(content)).map_err(network(url))?;
        if !response.status().is_success() {
            return Err(HubError::Status { url: shown(url), status: response.status().as_u16() });
        }
        Ok(response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned))
    }

    /// Tells that all parts of a large file have arrived.
    pub(in crate::source::hub) fn complete(
        &self,
        name: &ModelName,
        url: &str,
        oid: &str,
        tags: &[String],
    ) -> Result<(), HubError> {
        let parts = tags.iter().zip(1_u32..).map(|(etag, number)| json!({"partNumber": number, "etag": etag}));
        let body = json!({"oid": oid, "parts": parts.collect::<Vec<_>>()});
        let response = self.send(url, LFS, &body.to_string())?;
        self.accepted(name, url, response).map(drop)
    }

    /// Asks the hub to look at a large file that has arrived.
    pub(in crate::source::hub) fn verify(&self, name: &ModelName, url: &str, file: &LargeFile) -> Result<(), HubError> {
        let response = self.send(url, LFS, &json!(file).to_string())?;
        self.accepted(name, url, response).map(drop)
    }

    /// Makes a commit of lines, each an object in JSON.
    pub(in crate::source::hub) fn commit(&self, name: &ModelName, lines: &[String]) -> Result<Committed, HubError> {
        let revision = encoded(name.revision(), true);
        let url = format!("{}/api/models/{}/commit/{revision}", self.endpoint, name.repository());
        let response = self.send(&url, NDJSON, &(lines.join("\n") + "\n"))?;
        if response.status() == StatusCode::PRECONDITION_FAILED {
            return Err(HubError::Moved { name: name.to_string() });
        }
        self.parsed(name, &url, response, "the commit")
    }

    /// The address of a repository for people.
    pub(in crate::source::hub) fn page(&self, name: &ModelName) -> String {
        format!("{}/{}", self.endpoint, name.repository())
    }

    /// Whether there is a token to send.
    pub(in crate::source::hub) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/'))
    }

    fn send(&self, url: &str, media_type: &str, body: &str) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.post(url).header("content-type", media_type);
        if media_type == LFS {
            request = request.header("accept", LFS);
        }
        if let Some(token) = self.token.as_ref().filter(|_| self.is_ours(url)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.config().timeout_recv_response(Some(LONGEST_ANSWER)).build();
        request.send(body).map_err(network(url))
    }

    /// Takes an answer that is a success, and says what the hub says where it is none.
    fn accepted(&self, name: &ModelName, url: &str, mut response: Response<Body>) -> Result<Response<Body>, HubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let repository = name.repository();
            return Err(HubError::NotAllowed { name: repository, has_token: self.token.is_some() });
        }
        let header = response.headers().get("x-error-message").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let message = header.or_else(|| {
            let text = response.body_mut().with_config().limit(ERROR_LIMIT).read_to_string().ok()?;
            let value: Value = serde_json::from_str(&text).ok()?;
            value.get("error").and_then(Value::as_str).map(str::to_owned)
        });
        match message {
            Some(message) if !status.is_server_error() => {
                Err(HubError::Refused { url: shown(url), status: status.as_u16(), message })
            }
            _ => Err(HubError::Status { url: shown(url), status: status.as_u16() }),
        }
    }

    fn parsed<T: for<'de> Deserialize<'de>>(
        &self,
        name: &ModelName,
        url: &str,
        response: Response<Body>,
        expected: &str,
    ) -> Result<T, HubError> {
        let mut response = self.accepted(name, url, response)?;
        let text = response.body_mut().with_config().limit(LISTING_LIMIT).read_to_vec().map_err(network(url))?;
        serde_json::from_slice(&text).map_err(|error| HubError::Answer {
            url: shown(url),
            expected: expected.to_owned(),
            found: error.to_string(),
        })
    }
}

fn network(url: &str) -> impl FnOnce(ureq::Error) -> HubError {
    let url = shown(url);
    move |source| HubError::Network { url, source: Box::new(source) }
}

/// An address without its query, which may hold a signature.
fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

/// Addresses of the parts of an upload, and the bytes of each but the last; none where it is sent in one.
///
/// # Errors
/// The addresses are not those of the parts that the size makes.
pub(in crate::source::hub) fn parts(action: &Action, size: u64) -> Result<Option<(u64, Vec<String>)>, HubError> {
    let Some(chunk) = action.header.get("chunk_size") else { return Ok(None) };
    let chunk = chunk.as_u64().or_else(|| chunk.as_str()?.parse().ok()).filter(|chunk| *chunk > 0);
    let numbered = action.header.iter().filter_map(|(key, value)| {
        let number: u64 = key.parse().ok()?;
        Some((number, value.as_str()?.to_owned()))
    });
    let numbered: BTreeMap<u64, String> = numbered.collect();
    let is_whole = |chunk: &u64| size.div_ceil(*chunk) == numbered.len() as u64;
    match chunk.filter(is_whole) {
        Some(chunk) => Ok(Some((chunk, numbered.into_values().collect()))),
        None => Err(HubError::Answer {
            url: shown(&action.href),
            expected: format!("an address for each part of {size} bytes"),
            found: format!("{} addresses", numbered.len()),
        }),
    }
}

/// A reader that tells how much was read.
pub(in crate::source::hub) struct Counted<R, F> {
    pub(in crate::source::hub) inner: R,
    pub(in crate::source::hub) tell: F,
}

impl<R: Read, F: FnMut(u64)> Read for Counted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.tell)(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(header: Value) -> Action {
        let header = serde_json::from_value(header).expect("an object");
        Action { href: "https://hub/done?secret".to_owned(), header }
    }

    #[test]
    fn parts_are_sent_in_the_order_of_their_numbers() {
        let header = json!({"chunk_size": "4", "2": "b", "10": "d", "1": "a", "3": "c"});
        let (chunk, addresses) = parts(&action(header), 15).expect("whole").expect("parts");
        assert_eq!((chunk, addresses.join("")), (4, "abcd".to_owned()));
        assert!(parts(&action(json!({})), 15).expect("one").is_none());
    }

    #[test]
    fn addresses_that_do_not_make_up_the_file_are_refused() {
        for header in [json!({"chunk_size": 4, "1": "a"}), json!({"chunk_size": 0}), json!({"chunk_size": "x"})] {
            let error = parts(&action(header), 15).expect_err("not whole");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
