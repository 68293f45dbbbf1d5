//! Questions to the hub.
//!
//! # Source
//! <https://huggingface.co/docs/hub/api>, and what `huggingface_hub` 0.36 sends: `HF_ENDPOINT`, `HF_TOKEN`, the token that
//! `hf auth login` keeps, `HF_HUB_OFFLINE`, and the headers `X-Repo-Commit`, `X-Linked-Etag`, `X-Linked-Size`, `X-Error-Code`.

pub(super) mod upload;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, StatusCode};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::error::HubError;
use super::name::{ModelName, is_commit, is_part};

const ENDPOINT: &str = "https://huggingface.co";

/// Most bytes of a listing; models with thousands of files have one of some hundred kilobytes.
const LISTING_LIMIT: u64 = 32 << 20;

/// Most files of a model.
const MAX_FILES: usize = 100_000;

/// Most answers in a row that point elsewhere.
const MAX_REDIRECTS: usize = 5;

/// The hub.
pub(super) struct Api {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    offline: bool,
}

/// The files of a revision.
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: BTreeSet<String>,
}

/// An answer that is not what was asked for.
pub(super) struct Unexpected {
    expected: &'static str,
    found: String,
}

impl Listing {
    /// Reads what the hub says of a model.
    pub(super) fn read(answer: &[u8]) -> Result<Self, Unexpected> {
        let model: Model = serde_json::from_slice(answer)
            .map_err(|error| Unexpected { expected: "the description of a model", found: error.to_string() })?;
        if !is_commit(&model.sha) {
            return Err(Unexpected { expected: "a commit", found: model.sha.chars().take(64).collect() });
        }
        let files = model.siblings.into_iter().map(|sibling| sibling.rfilename);
        let files = files.filter(|file| file.split('/').all(|part| is_part(part, 255))).take(MAX_FILES).collect();
        Ok(Self { commit: model.sha, files })
    }
}

/// What is known of a file before it is downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileInfo {
    /// What the cache calls its content.
    pub(super) etag: String,
    pub(super) size: u64,
}

#[derive(Deserialize)]
struct Model {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Api {
    /// The hub that the environment names.
    pub(super) fn of_environment() -> Self {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let is_set = |name: &str| {
            set(name).is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str()))
        };
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let no_implicit_token = is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(kept_token);
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::WebPki)
            .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
            .build();
        // Answers that point elsewhere are followed here, where it is known which of them may see the token.
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_per_read(Some(Duration::from_mins(1)))
            .user_agent(concat!("anec/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build()
            .new_agent();
        Self {
            agent,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.map(|token| token.trim().to_owned()).filter(|_| !no_implicit_token),
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
        }
    }

    pub(super) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The commit that a revision is, and its files. Names that lead out of a directory are left out.
    pub(super) fn listing(&self, name: &ModelName) -> Result<Listing, HubError> {
        let url =
            format!("{}/api/models/{}/revision/{}", self.endpoint, name.repository(), encoded(name.revision(), true));
        let mut response = self.follow(&url, Method::Get, None)?;
        self.check(name, &url, &response)?;
        let text = response.body_mut().with_config().limit(LISTING_LIMIT).read_to_vec();
        let text = text.map_err(|source| HubError::Network { url: url.clone(), source: Box::new(source) })?;
        Listing::read(&text).map_err(|Unexpected { expected, found }| HubError::Answer {
            url: url.clone(),
            expected: expected.to_owned(),
            found,
        })
    }

    /// The address of a file.
    pub(super) fn url(&self, name: &ModelName, commit: &str, file: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.endpoint, name.repository(), encoded(file, false))
    }

    /// What is known of a file.
    pub(super) fn info(&self, name: &ModelName, url: &str) -> Result<FileInfo, HubError> {
        // Large files are elsewhere; the hub itself says what they are.
        let response = self.follow_within(url)?;
        if !response.status().is_redirection() {
            self.check(name, url, &response)?;
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let answer = |expected: &str, found: &str| HubError::Answer {
            url: url.to_owned(),
            expected: expected.to_owned(),
            found: found.chars().take(64).collect(),
        };
        let etag = header("x-linked-etag").or_else(|| header("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        if !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || !is_part(etag, 128) {
            return Err(answer("an ETag of letters and digits", etag));
        }
        let size = header("x-linked-size").or_else(|| header("content-length")).unwrap_or_default();
        let size = size.parse().map_err(|_| answer("the size of the file", size))?;
        Ok(FileInfo { etag: etag.to_owned(), size })
    }

    /// The content of a file from a byte on.
    pub(super) fn content(&self, name: &ModelName, url: &str, from: u64) -> Result<Response<Body>, HubError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        let response = self.follow(url, Method::Get, range.as_deref())?;
        self.check(name, url, &response)?;
        Ok(response)
    }

    /// Asks, and follows answers that point elsewhere; only the hub itself sees the token.
    fn follow(&self, url: &str, method: Method, range: Option<&str>) -> Result<Response<Body>, HubError> {
        let mut at = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let response = self.ask(&at, method, range)?;
            match target(&response, &at) {
                Some(next) => at = next,
                None => return Ok(response),
            }
        }
        let (expected, found) = ("a file".to_owned(), format!("more than {MAX_REDIRECTS} redirections"));
        Err(HubError::Answer { url: url.to_owned(), expected, found })
    }

    /// As [`Self::follow`], for what is on the hub itself.
    fn follow_within(&self, url: &str) -> Result<Response<Body>, HubError> {
        let mut at = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let response = self.ask(&at, Method::Head, None)?;
            match target(&response, &at).filter(|next| next.starts_with(&self.endpoint)) {
                Some(next) if response.headers().get("x-linked-etag").is_none() => at = next,
                _ => return Ok(response),
            }
        }
        self.ask(&at, Method::Head, None)
    }

    fn ask(&self, url: &str, method: Method, range: Option<&str>) -> Result<Response<Body>, HubError> {
        let mut request = match method {
            Method::Get => self.agent.get(url),
            Method::Head => self.agent.head(url),
        };
        let is_ours = url.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/'));
        if let Some(token) = self.token.as_ref().filter(|_| is_ours) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.call().map_err(|source| HubError::Network { url: url.to_owned(), source: Box::new(source) })
    }

    /// What an answer says of the model, where it is no success.
    fn check(&self, name: &ModelName, url: &str, response: &Response<Body>) -> Result<(), HubError> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let code = response.headers().get("x-error-code").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (endpoint, repository) = (self.endpoint.clone(), name.repository());
        Err(match (code, status) {
            ("GatedRepo", _) => {
                let link = format!("{endpoint}/{repository}");
                HubError::Gated { name: repository, link, has_token: self.token.is_some() }
            }
            ("RevisionNotFound", _) => HubError::Revision { name: repository, revision: name.revision().to_owned() },
            ("RepoNotFound", _) | (_, StatusCode::NOT_FOUND) => HubError::NotFound { name: name.to_string(), endpoint },
            (_, StatusCode::UNAUTHORIZED) if self.token.is_some() => HubError::Token { endpoint },
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                HubError::NotFound { name: name.to_string(), endpoint }
            }
            _ => HubError::Status { url: url.to_owned(), status: status.as_u16() },
        })
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Head,
}

/// The token that `hf auth login` keeps.
fn kept_token() -> Option<String> {
    const LONGEST: u64 = 4096;
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = set("HF_TOKEN_PATH")
        .or_else(|| set("HF_HOME").map(|home| home.join("token")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface").join("token")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache").join("huggingface").join("token")))?;
    let is_small = fs_err::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST);
    let token = is_small.then(|| fs_err::read_to_string(&path).ok()).flatten()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Where an answer points, if it points elsewhere.
fn target(response: &Response<Body>, at: &str) -> Option<String> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get("location")?.to_str().ok()?;
    if location.starts_with("https://") || location.starts_with("http://") {
        // Nothing that came encrypted goes on in the clear.
        let is_downgrade = at.starts_with("https://") && location.starts_with("http://");
        return (!is_downgrade).then(|| location.to_owned());
    }
    let (scheme, rest) = at.split_once("://")?;
    let host = rest.split('/').next()?;
    location.starts_with('/').then(|| format!("{scheme}://{host}{location}"))
}

/// A path as a part of an address.
fn encoded(path: &str, with_slashes: bool) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' if !with_slashes => text.push('/'),
            b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Whether a name is a file below a directory.
pub(super) fn is_below(file: &str) -> bool {
    !file.is_empty() && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encoded("refs/pr/1", true), "refs%2Fpr%2F1");
        assert_eq!(encoded("Q4/a b+c.gguf", false), "Q4/a%20b%2Bc.gguf");
    }
}
