//! A converted directory: its meta file, where its models are, and what drives them.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anec_schemas::contract::{Contract, ContractError};
use anec_schemas::meta::META_YAML;
use anec_schemas::{MetaError, MetaYaml};
use fs_err::{self as fs, File};

use crate::backend::Engine;
use crate::fs_package::within;
use crate::part::{ModelPart, PartError};
use crate::session::{Driver, Session, SessionError, driver_of};

/// Largest meta file that is read, in bytes; real ones have a few thousand.
const MAX_META_BYTES: u64 = 1 << 20;

/// A converted directory.
#[derive(Clone, Debug)]
pub struct ModelDirectory {
    root: PathBuf,
    meta: MetaYaml,
    driver: &'static dyn Driver,
    parts: Vec<ModelPart>,
}

/// A directory that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file cannot be read.
    #[error("Cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The meta file is larger than such a file can be.
    #[error("{} has more than {MAX_META_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The meta file is not usable.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The meta file names a contract that is not known.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// A model is missing.
    #[error(transparent)]
    Part(#[from] PartError),
}

impl ModelDirectory {
    /// Reads `meta.yaml` and finds the models that the driver of its contract asks for.
    ///
    /// # Errors
    /// The meta file is missing or malformed, or a model is missing or outside of the directory.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let root = fs::canonicalize(path).map_err(|source| DirectoryError::Io { path: path.to_owned(), source })?;
        let meta = read_meta(&root)?;
        let driver = driver_of(Contract::of(&meta.model_info.parameters)?)?;
        let parts = driver.parts(&root, &meta)?;
        Ok(Self { root, meta, driver, parts })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The meta file.
    pub fn meta(&self) -> &MetaYaml {
        &self.meta
    }

    /// What its models and their client agree on.
    pub fn contract(&self) -> &'static Contract {
        self.driver.contract()
    }

    /// The models, in the order in which a token passes them.
    pub fn parts(&self) -> &[ModelPart] {
        &self.parts
    }

    /// Opens every model with an engine and loads its functions.
    ///
    /// # Errors
    /// A model cannot be opened, or lacks what the contract asks for.
    pub fn session(&self, engine: &dyn Engine) -> Result<Box<dyn Session>, SessionError> {
        self.driver.open(&self.meta, &self.parts, engine)
    }
}

fn read_meta(root: &Path) -> Result<MetaYaml, DirectoryError> {
    let path = root.join(META_YAML);
    let mut text = String::new();
    let read = within(root, META_YAML)
        .and_then(File::open)
        .and_then(|file| file.take(MAX_META_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(source) => Err(DirectoryError::Io { path, source }),
        Ok(length) if length as u64 > MAX_META_BYTES => Err(DirectoryError::TooLarge { path }),
        Ok(_) => Ok(MetaYaml::from_yaml(&text)?),
    }
}
