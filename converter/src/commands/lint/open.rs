//! Opens whatever holds a program: packages, compiled models, MIL text, and directories of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anec_mil::blob::{BlobError, BlobFile};
use anec_mil::compiled::PROGRAM_PATH;
use anec_mil::package::{Foreign, ModelDescription, PackageFiles as _, checked_relative_path};
use anec_mil::rules::Constants;
use anec_mil::text::{self, ParseError};
use anec_mil::{Argument, Binding, BlobReference, DataType, Program, TensorType, Value};
use anec_runtime::{FsPackage, OpenError, files_root, open_model};
use fs_err as fs;
use half::f16;

use crate::commands::model_files::{self, TEXT, kind};
use crate::error::Hint;

/// What programs write before the path of a weight file.
const MODEL_DIRECTORY_PREFIX: &str = "@model_path/";

/// Largest program text that is read, in bytes; that of a published chunk of 14 layers has a million.
const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Largest constant that is looked into, in bytes.
const MAX_CONSTANT_BYTES: u64 = 1 << 28;

/// A program with what belongs to it.
pub(super) struct Opened {
    /// Where it was found.
    pub(super) path: PathBuf,
    /// The program.
    pub(super) program: Program,
    /// The model's description, where there is one that can be read.
    pub(super) description: Option<ModelDescription>,
    /// What is not known here and need not be wrong.
    pub(super) notes: Vec<String>,
    /// The weight files.
    pub(super) weights: WeightFiles,
}

/// Something that cannot be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// It cannot be read.
    #[error("Cannot read `{}`", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no model that can be read.
    #[error(transparent)]
    Model(#[from] OpenError),
    /// It is no program text.
    #[error("Cannot parse `{}`", .path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The program text is larger than such a text can be.
    #[error("`{}` has more than {MAX_TEXT_BYTES} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is no program.
    #[error("There is no program in `{}`", .path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

impl Hint for LintError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } | Self::Empty { .. } => {
                Some("expected a .mlpackage, a .mlmodelc, a .mil text, or a directory that holds some".to_owned())
            }
            Self::Model(error) => error.hint(),
            Self::Text { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// Every model that `path` holds.
pub(super) fn find(path: &Path) -> Result<Vec<PathBuf>, LintError> {
    let found = model_files::find(path).map_err(|source| LintError::Io { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(LintError::Empty { path: path.to_owned() });
    }
    Ok(found)
}

/// Opens one program.
pub(super) fn open(path: &Path) -> Result<Opened, LintError> {
    let failed = |source| LintError::Io { path: path.to_owned(), source };
    let root = files_root(path);
    let is_directory = fs::metadata(root).map_err(failed)?.is_dir() && root == path;
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    let files = FsPackage::new(root).map_err(failed)?;
    if kind(path) == Some(TEXT) && !is_directory {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        return open_text(path, name, files);
    }
    match open_stored(path, files.clone()) {
        // The description of a compiled model is in a format of its own, without which the program can be linted, too.
        Err(_) if fs::metadata(path.join(PROGRAM_PATH)).is_ok() => open_text(path, PROGRAM_PATH, files),
        opened => Ok(opened?),
    }
}

/// Opens a package, a compiled model, or a model message.
fn open_stored(path: &Path, files: FsPackage) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::model(path, source);
    let stored = open_model(path)?;
    let (model, notes) = stored.model_with_notes().map_err(failed)?;
    let mut paths = BTreeMap::new();
    for name in weight_file_names(&model.program) {
        paths.insert(name.to_owned(), stored.weight_path(name).map_err(failed)?);
    }
    let weights = WeightFiles { files, paths, ranges: RefCell::default(), belong: true };
    Ok(Opened { path: path.to_owned(), program: model.program, description: Some(model.description), notes, weights })
}

/// Opens the program text called `name` among `files`; weight files are looked up beside it.
fn open_text(path: &Path, name: &str, files: FsPackage) -> Result<Opened, LintError> {
    let mut source = String::new();
    let read = files.open(name).and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut source));
    let length = read.map_err(|source| LintError::Io { path: path.to_owned(), source })?;
    if length as u64 > MAX_TEXT_BYTES {
        return Err(LintError::TooLarge { path: path.to_owned() });
    }
    let parsed = text::parse(&source).map_err(|source| LintError::Text { path: path.to_owned(), source })?;
    let relative =
        |name: &str| checked_relative_path(name.strip_prefix(MODEL_DIRECTORY_PREFIX)?).ok().map(str::to_owned);
    let names = weight_file_names(&parsed.program);
    let paths = names.iter().filter_map(|name| Some(((*name).to_owned(), relative(name)?))).collect();
    // A text alone may have left its weights elsewhere.
    let belong = kind(path) != Some(TEXT);
    let weights = WeightFiles { files, paths, ranges: RefCell::default(), belong };
    Ok(Opened { path: path.to_owned(), program: parsed.program, description: None, notes: Vec::new(), weights })
}

/// Names of the weight files, as the program spells them.
fn weight_file_names(program: &Program) -> BTreeSet<&str> {
    let operations = program.functions.values().flat_map(|function| &function.block.operations);
    let values = operations.flat_map(|operation| {
        let bindings = operation.inputs.values().flat_map(|Argument(bindings)| bindings);
        let inline = bindings.filter_map(|binding| match binding {
            Binding::Value(value) => Some(value),
            Binding::Name(_) => None,
        });
        inline.chain(operation.attributes.values())
    });
    values.filter_map(Value::as_blob).map(|blob| blob.file_name.as_str()).collect()
}

/// The weight files of a program.
pub(super) struct WeightFiles {
    files: FsPackage,
    /// Paths by the names that the program uses.
    paths: BTreeMap<String, String>,
    ranges: RefCell<BTreeMap<BlobReference, Option<(f64, f64)>>>,
    /// Whether they belong to the program, so that one that is missing is missed.
    belong: bool,
}

impl WeightFiles {
    /// Bytes of all of them; `None` where one is not there.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        let length = |path: &String| self.files.open(path).ok()?.metadata().ok().map(|metadata| metadata.len());
        self.paths.values().map(length).sum()
    }

    /// The names of those that cannot be read, where that is no finding.
    pub(super) fn unreadable(&self, program: &Program) -> Vec<String> {
        let names = weight_file_names(program).into_iter().filter(|name| !self.belong && self.open(name).is_err());
        names.map(str::to_owned).collect()
    }

    /// A weight file, by the name that the program uses; or what is wrong with it.
    fn open(&self, name: &str) -> Result<BlobFile<fs::File>, String> {
        let path = self.paths.get(name).ok_or_else(|| format!("`{name}` leads out of the model"))?;
        let open = || self.files.open(path).map_err(|error| format!("`{path}` cannot be read: {}", error.kind()));
        let mut beginning = Vec::new();
        let read = open()?.take(Foreign::DECIDING_BYTES).read_to_end(&mut beginning);
        read.map_err(|error| format!("`{path}` cannot be read: {error}"))?;
        if let Some(found) = Foreign::of(&beginning) {
            return Err(format!("`{path}` is {found}: {}", found.hint()));
        }
        BlobFile::new(open()?).map_err(|error| format!("`{path}` is no weight file: {error}"))
    }

    fn check(&self, blob: &BlobReference, ty: &TensorType) -> Result<(), String> {
        let mut file = self.open(&blob.file_name)?;
        let place =
            |error: BlobError| format!("there is no such blob at {} of `{}`: {error}", blob.offset, blob.file_name);
        let record = file.record(blob.offset).map_err(place)?;
        record.check(ty.dtype, ty.element_count().unwrap_or(u64::MAX)).map_err(place)
    }

    fn read_range(&self, blob: &BlobReference, ty: &TensorType) -> Option<(f64, f64)> {
        let bytes =
            ty.dtype.packed_bytes(ty.element_count()?).filter(|bytes| (1..=MAX_CONSTANT_BYTES).contains(bytes))?;
        let mut file = BlobFile::new(self.files.open(self.paths.get(&blob.file_name)?).ok()?).ok()?;
        let record = file.record(blob.offset).ok()?;
        let data = file.data(&record).ok().filter(|data| record.dtype == ty.dtype && data.len() as u64 == bytes)?;
        match ty.dtype {
            DataType::Float16 => extremes(data.as_chunks().0.iter().map(|pair| f16::from_le_bytes(*pair).to_f64())),
            DataType::Float32 => extremes(data.as_chunks().0.iter().map(|word| f64::from(f32::from_le_bytes(*word)))),
            _ => None,
        }
    }
}

impl Constants for WeightFiles {
    fn range(&self, blob: &BlobReference, ty: &TensorType) -> Option<(f64, f64)> {
        if let Some(range) = self.ranges.borrow().get(blob) {
            return *range;
        }
        let range = self.read_range(blob, ty);
        self.ranges.borrow_mut().insert(blob.clone(), range);
        range
    }

    fn problem(&self, blob: &BlobReference, ty: &TensorType) -> Option<String> {
        if self.belong { self.check(blob, ty).err() } else { None }
    }
}

fn extremes(elements: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    elements.fold(None, |range, element| {
        let (low, high) = range.unwrap_or((element, element));
        Some((low.min(element), high.max(element)))
    })
}
