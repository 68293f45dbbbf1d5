//! The border to the interface: what is asked of it, in plain types.

use std::path::PathBuf;

use crate::backend::coreml::FrameworkError;

/// A program as it is handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramFiles {
    /// Its text.
    pub text: Vec<u8>,
    /// Its weight files: the name that the text has for each, where it is, and its path below the directory of the text.
    /// Sorted by name.
    pub weights: Vec<WeightFile>,
}

/// A weight file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFile {
    /// The name that the text has for it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its path below the directory of the text, with `/`.
    pub below: String,
}

/// Bytes of the surfaces that a program is bound to, in the order in which it is bound to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurfaceSizes {
    /// Of each input.
    pub inputs: Vec<usize>,
    /// Of each output.
    pub outputs: Vec<usize>,
}

/// What is asked of the interface. All calls come from one thread.
pub trait Interface {
    /// A program that the interface knows of, compiled and loaded or not.
    type Program;

    /// Version and build of the system.
    fn system(&self) -> String;

    /// The directory in which the compiler looks for a program's files, below its [identifier](Self::identifier).
    fn temporary(&self) -> PathBuf;

    /// Makes a program known.
    ///
    /// # Errors
    /// A weight file cannot be read, or the interface does not take the program.
    fn describe(&self, files: &ProgramFiles) -> Result<Self::Program, FrameworkError>;

    /// The name of a program by its content: text and weights.
    ///
    /// # Errors
    /// The interface gives none.
    fn identifier(&self, program: &Self::Program) -> Result<String, FrameworkError>;

    /// Whether the system has compiled the program before and kept the result.
    fn is_compiled(&self, program: &Self::Program) -> bool;

    /// Compiles the program, whose files are in place.
    ///
    /// # Errors
    /// The compiler does not take it.
    fn compile(&self, program: &Self::Program) -> Result<(), FrameworkError>;

    /// Makes the system forget what it compiled.
    fn purge(&self, program: &Self::Program);

    /// Loads the program and binds it to surfaces of its own.
    ///
    /// # Errors
    /// The Neural Engine does not take it, or there is no memory.
    fn load(&self, program: &mut Self::Program, sizes: &SurfaceSizes) -> Result<(), FrameworkError>;

    /// Evaluates a loaded program. Before, the surfaces get these bytes, outputs too; after it, `outputs` is what is there.
    ///
    /// # Errors
    /// The evaluation fails.
    fn evaluate(
        &self,
        program: &mut Self::Program,
        inputs: &[Vec<u8>],
        outputs: &mut [Vec<u8>],
    ) -> Result<(), FrameworkError>;

    /// Unloads a program.
    ///
    /// # Errors
    /// The system does not.
    fn unload(&self, program: &mut Self::Program) -> Result<(), FrameworkError>;
}
