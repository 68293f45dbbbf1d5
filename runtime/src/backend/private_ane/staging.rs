//! Compiles a program once, and loads it.
//!
//! The compiler reads text and weights from the system's temporary directory, below the program's identifier, although the
//! interface was given them. What it makes of them the system keeps by itself, by the content of both: a program that it knows
//! is loaded without the compiler. The files can go when the program goes.
//!
//! # Source
//! jundot/omlx pull request 2975: a fresh process finds what an earlier one compiled, and a place of its own for it breaks on
//! macOS 27.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use fs_err::{self as fs, File, OpenOptions};

use super::error::{COMPILE, PrivateAneError};
use super::interface::{Interface, ProgramFiles, SurfaceSizes};
use crate::backend::coreml::FrameworkError;

/// The name of the text among the files.
const TEXT: &str = "model.mil";

/// A program that is loaded. It is unloaded when this is dropped.
pub(super) struct Loaded<I: Interface> {
    interface: Rc<I>,
    program: I::Program,
    /// Where its files are, if they were laid out.
    staged: Option<PathBuf>,
}

impl<I: Interface> Loaded<I> {
    /// Loads a program; compiles it before where the system does not know it, and once more where what it knows is of no use.
    pub(super) fn open(interface: &Rc<I>, files: &ProgramFiles, sizes: &SurfaceSizes) -> Result<Self, PrivateAneError> {
        let program = interface.describe(files).map_err(call("modelWithMILText:weights:optionsPlist:"))?;
        let identifier = interface.identifier(&program).map_err(call("hexStringIdentifier"))?;
        let directory = interface.temporary().join(identifier);
        let staging = |source| PrivateAneError::Staging { directory: directory.clone(), source };
        let mut loaded = Self { interface: Rc::clone(interface), program, staged: None };
        let _lock = lock(&directory).map_err(staging)?;
        let is_known = interface.is_compiled(&loaded.program);
        if !is_known {
            loaded.compile(files, &directory)?;
        }
        let mut result = interface.load(&mut loaded.program, sizes);
        if result.is_err() && is_known {
            interface.purge(&loaded.program);
            loaded.compile(files, &directory)?;
            result = interface.load(&mut loaded.program, sizes);
        }
        match result {
            Ok(()) => Ok(loaded),
            Err(source) => {
                loaded.remove();
                Err(PrivateAneError::Call { call: "loadWithQoS:options:error:", source })
            }
        }
    }

    fn compile(&mut self, files: &ProgramFiles, directory: &Path) -> Result<(), PrivateAneError> {
        let staging = |source| PrivateAneError::Staging { directory: directory.to_owned(), source };
        self.staged = Some(directory.to_owned());
        let compiled = lay_out(files, directory)
            .map_err(staging)
            .and_then(|()| self.interface.compile(&self.program).map_err(call(COMPILE)));
        if compiled.is_err() {
            self.remove();
        }
        compiled
    }

    /// Evaluates the program.
    pub(super) fn evaluate(&mut self, inputs: &[Vec<u8>], outputs: &mut [Vec<u8>]) -> Result<(), PrivateAneError> {
        let evaluated = self.interface.evaluate(&mut self.program, inputs, outputs);
        evaluated.map_err(call("evaluateWithQoS:options:request:error:"))
    }

    /// Removes the files, which are of no use any more. What cannot be removed is in a directory that the system clears.
    fn remove(&mut self) {
        if let Some(directory) = self.staged.take() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

impl<I: Interface> Drop for Loaded<I> {
    fn drop(&mut self) {
        // Nobody can be told, and there is nothing to be done about it.
        let _ = self.interface.unload(&mut self.program);
        if let Some(directory) = &self.staged {
            let _lock = lock(directory);
            self.remove();
        }
    }
}

fn call(call: &'static str) -> impl Fn(FrameworkError) -> PrivateAneError {
    move |source| PrivateAneError::Call { call, source }
}

/// Keeps other processes from compiling the same program at the same time, until it is dropped.
fn lock(directory: &Path) -> io::Result<File> {
    fs::create_dir_all(directory.parent().unwrap_or(Path::new(".")))?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(directory.with_extension("lock"))?;
    file.lock()?;
    Ok(file)
}

/// Lays text and weights out where the compiler looks for them.
fn lay_out(files: &ProgramFiles, directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(directory)?;
    fs::write(directory.join(TEXT), &files.text)?;
    for weights in &files.weights {
        let to = directory.join(&weights.below);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        // On the Mac's file system a copy is a clone, which takes no room.
        fs::copy(&weights.path, to)?;
    }
    Ok(())
}
