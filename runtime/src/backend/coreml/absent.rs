//! Core ML on systems that have none. There is no value of this type, so nothing can be asked of it.

use std::path::{Path, PathBuf};

use super::compute_plan::PlannedOperation;
use super::failure::FrameworkError;
use super::framework::{Framework, LoadRequest};
use crate::backend::{Signature, Tensors};

/// What systems without Core ML have.
#[derive(Clone, Copy, Debug)]
pub enum AbsentFramework {}

impl Framework for AbsentFramework {
    type Model = Self;
    type State = Self;

    fn system(&self) -> String {
        match *self {}
    }

    fn compile(&self, _package: &Path) -> Result<PathBuf, FrameworkError> {
        match *self {}
    }

    fn function_names(&self, _compiled: &Path) -> Result<Vec<String>, FrameworkError> {
        match *self {}
    }

    fn load(&self, _request: &LoadRequest) -> Result<Self, FrameworkError> {
        match *self {}
    }

    fn signature(&self, _model: &Self) -> Result<Signature, FrameworkError> {
        match *self {}
    }

    fn new_state(&self, _model: &Self) -> Result<Self, FrameworkError> {
        match *self {}
    }

    fn read_state(&self, _model: &Self, _state: &Self) -> Result<Tensors, FrameworkError> {
        match *self {}
    }

    fn predict(&self, _model: &mut Self, _inputs: &Tensors, _state: &mut Self) -> Result<Tensors, FrameworkError> {
        match *self {}
    }

    fn compute_plan(&self, _request: &LoadRequest) -> Result<Vec<PlannedOperation>, FrameworkError> {
        match *self {}
    }
}
