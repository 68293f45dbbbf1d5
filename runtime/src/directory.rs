//! A converted directory: its meta file, and where its packages are.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anec_mil::package::{PathError, checked_relative_path};
use anec_mil::stored::{Form, StoredModel};
use anec_schemas::meta::META_YAML;
use anec_schemas::{MetaError, MetaYaml};
use fs_err::{self as fs, File};

use crate::fs_package::{FsPackage, OpenError, open_model, within};

/// Largest meta file that is read, in bytes; real ones have a few thousand.
const MAX_META_BYTES: u64 = 1 << 20;

const PACKAGE_EXTENSION: &str = ".mlpackage";
const COMPILED_EXTENSION: &str = ".mlmodelc";

/// What stands before `01of02` in the name of a package of decoder layers.
const CHUNK_MARK: &str = "_chunk_";

/// A converted directory.
#[derive(Clone, Debug)]
pub struct ModelDirectory {
    root: PathBuf,
    meta: MetaYaml,
    parts: Vec<ModelPart>,
}

/// One model of a directory, as a package, compiled, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPart {
    /// What it does.
    pub role: PartRole,
    /// Its name without extension.
    pub stem: String,
    /// The package.
    pub package: Option<PathBuf>,
    /// The compiled model.
    pub compiled: Option<PathBuf>,
}

/// What one model of a directory does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartRole {
    /// Tokens to hidden states.
    Embeddings,
    /// Decoder layers: the chunk of this number, counted from 1.
    Chunk(u64),
    /// Hidden states to logits.
    LmHead,
}

impl fmt::Display for PartRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embeddings => f.write_str("embeddings"),
            Self::Chunk(number) => write!(f, "chunk {number}"),
            Self::LmHead => f.write_str("lm_head"),
        }
    }
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
    /// The meta file does not name a model.
    #[error("`{META_YAML}` has no `{key}`")]
    NotNamed {
        /// The key.
        key: &'static str,
    },
    /// A name that could lead out of the directory.
    #[error("`{key}` of `{META_YAML}` names a file outside of the directory")]
    Path {
        /// The key.
        key: &'static str,
        /// Why.
        #[source]
        source: PathError,
    },
    /// The name of the first chunk contradicts the number of chunks.
    #[error("`ffn` of `{META_YAML}` is `{name}`, expected the first of {num_chunks} chunks")]
    ChunkName {
        /// The name.
        name: String,
        /// The number of chunks.
        num_chunks: u64,
    },
    /// A model is there in neither form.
    #[error("The {role} `{stem}` is there neither as {PACKAGE_EXTENSION} nor as {COMPILED_EXTENSION}")]
    Missing {
        /// What it would do.
        role: PartRole,
        /// Its name.
        stem: String,
    },
    /// A model is there in the other form only.
    #[error("The {role} `{stem}` is not there as a {form}")]
    FormMissing {
        /// What it does.
        role: PartRole,
        /// Its name.
        stem: String,
        /// The form that was asked for.
        form: Form,
    },
    /// A model is not usable.
    #[error(transparent)]
    Model(#[from] OpenError),
}

impl ModelDirectory {
    /// Reads `meta.yaml` and finds the models that it names.
    ///
    /// # Errors
    /// The meta file is missing or malformed, or a model is missing or outside of the directory.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let root = fs::canonicalize(path).map_err(|source| DirectoryError::Io { path: path.to_owned(), source })?;
        let meta = read_meta(&root)?;
        let parts = find_parts(&root, &meta)?;
        Ok(Self { root, meta, parts })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The meta file.
    pub fn meta(&self) -> &MetaYaml {
        &self.meta
    }

    /// The models, in the order in which a token passes them.
    pub fn parts(&self) -> &[ModelPart] {
        &self.parts
    }
}

impl ModelPart {
    /// Opens the model: the package where it is there, the compiled model otherwise.
    ///
    /// # Errors
    /// The model is not usable.
    pub fn open(&self) -> Result<StoredModel<FsPackage>, DirectoryError> {
        self.open_as(if self.package.is_some() { Form::Package } else { Form::Compiled })
    }

    /// Opens the model in this form.
    ///
    /// # Errors
    /// The model is not there in this form, or not usable.
    pub fn open_as(&self, form: Form) -> Result<StoredModel<FsPackage>, DirectoryError> {
        let missing = || DirectoryError::FormMissing { role: self.role, stem: self.stem.clone(), form };
        Ok(open_model(self.path(form).ok_or_else(missing)?)?)
    }

    /// Where the model is in this form, if it is.
    pub fn path(&self, form: Form) -> Option<&Path> {
        match form {
            Form::Package => self.package.as_deref(),
            Form::Compiled => self.compiled.as_deref(),
            Form::Message => None,
        }
    }

    /// Where the model is: the package where it is there, the compiled model otherwise.
    pub fn any_path(&self) -> Option<&Path> {
        self.package.as_deref().or(self.compiled.as_deref())
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

fn find_parts(root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, DirectoryError> {
    let parameters = &meta.model_info.parameters;
    let embeddings = stem("embeddings", parameters.embeddings.as_deref())?;
    let ffn = stem("ffn", parameters.ffn.as_deref())?;
    let lm_head = stem("lm_head", parameters.lm_head.as_deref())?;
    let mut parts = vec![find_part(root, PartRole::Embeddings, embeddings.to_owned())?];
    for number in 1..=parameters.num_chunks {
        let stem = chunk_stem(ffn, number, parameters.num_chunks)?;
        parts.push(find_part(root, PartRole::Chunk(number), stem)?);
    }
    parts.push(find_part(root, PartRole::LmHead, lm_head.to_owned())?);
    Ok(parts)
}

/// The name without its extension.
fn stem<'meta>(key: &'static str, name: Option<&'meta str>) -> Result<&'meta str, DirectoryError> {
    let name = name.ok_or(DirectoryError::NotNamed { key })?;
    let name = checked_relative_path(name).map_err(|source| DirectoryError::Path { key, source })?;
    let stem = name.strip_suffix(COMPILED_EXTENSION).or_else(|| name.strip_suffix(PACKAGE_EXTENSION)).unwrap_or(name);
    checked_relative_path(stem).map_err(|source| DirectoryError::Path { key, source })
}

/// The name of chunk `number`, from the name of the first.
fn chunk_stem(first: &str, number: u64, num_chunks: u64) -> Result<String, DirectoryError> {
    let mark = format!("{CHUNK_MARK}01of{num_chunks:02}");
    if let Some((before, "")) = first.rsplit_once(&mark) {
        return Ok(format!("{before}{CHUNK_MARK}{number:02}of{num_chunks:02}"));
    }
    if num_chunks == 1 && !first.contains(CHUNK_MARK) {
        return Ok(first.to_owned());
    }
    Err(DirectoryError::ChunkName { name: first.to_owned(), num_chunks })
}

fn find_part(root: &Path, role: PartRole, stem: String) -> Result<ModelPart, DirectoryError> {
    let find = |extension: &str| {
        let name = format!("{stem}{extension}");
        match within(root, &name) {
            Ok(path) => Ok(Some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirectoryError::Io { path: root.join(name), source }),
        }
    };
    let (package, compiled) = (find(PACKAGE_EXTENSION)?, find(COMPILED_EXTENSION)?);
    if package.is_none() && compiled.is_none() {
        return Err(DirectoryError::Missing { role, stem });
    }
    Ok(ModelPart { role, stem, package, compiled })
}
