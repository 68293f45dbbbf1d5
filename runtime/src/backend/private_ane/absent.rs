//! The interface where it is not called. There is no value of this type, so nothing can be asked of it.

use std::path::PathBuf;

use super::interface::{Interface, ProgramFiles, SurfaceSizes};
use crate::backend::coreml::FrameworkError;

/// What other systems have, and builds without the feature `private-ane`.
#[derive(Clone, Copy, Debug)]
pub enum AbsentInterface {}

impl Interface for AbsentInterface {
    type Program = Self;

    fn system(&self) -> String {
        match *self {}
    }

    fn temporary(&self) -> PathBuf {
        match *self {}
    }

    fn describe(&self, _files: &ProgramFiles) -> Result<Self, FrameworkError> {
        match *self {}
    }

    fn identifier(&self, _program: &Self) -> Result<String, FrameworkError> {
        match *self {}
    }

    fn is_compiled(&self, _program: &Self) -> bool {
        match *self {}
    }

    fn compile(&self, _program: &Self) -> Result<(), FrameworkError> {
        match *self {}
    }

    fn purge(&self, _program: &Self) {
        match *self {}
    }

    fn load(&self, _program: &mut Self, _sizes: &SurfaceSizes) -> Result<(), FrameworkError> {
        match *self {}
    }

    fn evaluate(
        &self,
        _program: &mut Self,
        _inputs: &[Vec<u8>],
        _outputs: &mut [Vec<u8>],
    ) -> Result<(), FrameworkError> {
        match *self {}
    }

    fn unload(&self, _program: &mut Self) -> Result<(), FrameworkError> {
        match *self {}
    }
}
