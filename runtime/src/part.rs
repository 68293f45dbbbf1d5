//! The models of a converted directory: what each does, and where it is in which form.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use anec_mil::compiled::{COMPILED_EXTENSION, LOOSE_EXTENSION};
use anec_mil::package::{PACKAGE_EXTENSION, PathError, checked_relative_path};
use anec_mil::stored::{Form, StoredModel};
use anec_schemas::contract::Role;
use anec_schemas::contract::coreml_llm_cli::discovery::DiscoveryError;
use anec_schemas::meta::META_YAML;

use crate::fs_package::{FsPackage, OpenError, open_model, within};

/// One model of a directory, in one form or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPart {
    /// What it does.
    pub label: PartLabel,
    /// Its name without extension.
    pub stem: String,
    /// The package.
    pub package: Option<PathBuf>,
    /// The compiled model.
    pub compiled: Option<PathBuf>,
    /// The program as text.
    pub text: Option<PathBuf>,
}

/// What a model of a directory does, in the words of its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartLabel {
    /// Its role.
    pub role: Role,
    /// Its number among the models of the role, from 1, where there may be more than one.
    pub number: Option<u64>,
}

impl PartLabel {
    /// The only model of a role.
    pub const fn only(role: Role) -> Self {
        Self { role, number: None }
    }

    /// A model of a role that several have.
    pub const fn numbered(role: Role, number: u64) -> Self {
        Self { role, number: Some(number) }
    }
}

impl fmt::Display for PartLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            None => write!(f, "{}", self.role),
            Some(number) => write!(f, "{} {number}", self.role),
        }
    }
}

/// A model that is not there, or not usable.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A file cannot be read.
    #[error("Cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The meta file does not name a model.
    #[error("`{META_YAML}` has no `{key}`")]
    NotNamed {
        /// The key.
        key: &'static str,
    },
    /// The meta file lists no model of a role, or too many.
    #[error("`files` of `{META_YAML}` lists {found} models of the role `{role}`, expected {}", if *found == 0 { "some" } else { "one" })]
    NotListed {
        /// The role.
        role: Role,
        /// How many it lists.
        found: usize,
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
    /// The name of the first of several models contradicts their number.
    #[error("`{key}` of `{META_YAML}` is `{name}`, expected the first of {count} chunks")]
    ChunkName {
        /// The key.
        key: &'static str,
        /// The name.
        name: String,
        /// How many there are.
        count: u64,
    },
    /// The client would not load the directory.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The client would call the models in another order.
    #[error("coreml-llm-cli calls {found}, `files` of `{META_YAML}` lists {listed}")]
    Order {
        /// What it finds, in its order.
        found: String,
        /// What is listed.
        listed: String,
    },
    /// A model is there in no form.
    #[error(
        "The {label} `{stem}` is there neither as .{PACKAGE_EXTENSION} nor as .{COMPILED_EXTENSION} nor as .{LOOSE_EXTENSION}"
    )]
    Missing {
        /// What it would do.
        label: PartLabel,
        /// Its name.
        stem: String,
    },
    /// A model is there in the other form only.
    #[error("The {label} `{stem}` is not there as a {form}")]
    FormMissing {
        /// What it does.
        label: PartLabel,
        /// Its name.
        stem: String,
        /// The form that was asked for.
        form: Form,
    },
    /// A model is not usable.
    #[error(transparent)]
    Model(#[from] OpenError),
}

impl ModelPart {
    /// Finds the model called `stem` in a directory, whose path is real, in the forms that are there.
    ///
    /// # Errors
    /// It is there in no form, or leads out of the directory.
    pub fn find(root: &Path, label: PartLabel, stem: String) -> Result<Self, PartError> {
        let find = |extension: &str| {
            let name = format!("{stem}.{extension}");
            match within(root, &name) {
                Ok(path) => Ok(Some(path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(PartError::Io { path: root.join(name), source }),
            }
        };
        let (package, compiled) = (find(PACKAGE_EXTENSION)?, find(COMPILED_EXTENSION)?);
        let text = find(LOOSE_EXTENSION)?;
        if package.is_none() && compiled.is_none() && text.is_none() {
            return Err(PartError::Missing { label, stem });
        }
        Ok(Self { label, stem, package, compiled, text })
    }

    /// Opens the model: the package where it is there, else the compiled model, else the text.
    ///
    /// # Errors
    /// The model is not usable.
    pub fn open(&self) -> Result<StoredModel<FsPackage>, PartError> {
        let forms = [Form::Package, Form::Compiled];
        self.open_as(forms.into_iter().find(|form| self.path(*form).is_some()).unwrap_or(Form::Text))
    }

    /// Opens the model in this form.
    ///
    /// # Errors
    /// The model is not there in this form, or not usable.
    pub fn open_as(&self, form: Form) -> Result<StoredModel<FsPackage>, PartError> {
        let missing = || PartError::FormMissing { label: self.label, stem: self.stem.clone(), form };
        Ok(open_model(self.path(form).ok_or_else(missing)?)?)
    }

    /// Where the model is in this form, if it is.
    pub fn path(&self, form: Form) -> Option<&Path> {
        match form {
            Form::Package => self.package.as_deref(),
            Form::Compiled => self.compiled.as_deref(),
            Form::Text => self.text.as_deref(),
            Form::Message => None,
        }
    }

    /// Where the model is: the package where it is there, else the compiled model, else the text.
    pub fn any_path(&self) -> Option<&Path> {
        self.package.as_deref().or(self.compiled.as_deref()).or(self.text.as_deref())
    }
}

/// The name of a model without its extension, of what stands in the meta file under `key`.
pub(crate) fn stem<'meta>(key: &'static str, name: Option<&'meta str>) -> Result<&'meta str, PartError> {
    let checked = |name| checked_relative_path(name).map_err(|source| PartError::Path { key, source });
    let name = checked(name.ok_or(PartError::NotNamed { key })?)?;
    let known = [COMPILED_EXTENSION, PACKAGE_EXTENSION, LOOSE_EXTENSION];
    let without = |extension: &&str| name.strip_suffix(extension).and_then(|name| name.strip_suffix('.'));
    checked(known.iter().find_map(without).unwrap_or(name))
}
