//! The reference engine: models as they are on disk, evaluated on the CPU.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use anec_mil::blob::{BlobError, BlobFile};
use anec_mil::evaluate::{EvaluableFunction, Numerics, State, Statistics, Tensor, WeightSource};
use anec_mil::stored::StoredModel;
use anec_mil::{BlobReference, NamedValueType, Program, TensorType, ValueType};
use fs_err::File;

use super::{Backend, BackendError, Function, Model, Signature, Tensors};
use crate::fs_package::FsPackage;
use crate::part::ModelPart;

/// How the reference engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReferenceOptions {
    /// How floats are computed.
    pub numerics: Numerics,
    /// Whether overflows and the largest values are recorded.
    pub statistics: bool,
}

/// The reference engine.
#[derive(Clone, Debug, Default)]
pub struct ReferenceBackend {
    options: ReferenceOptions,
    seen: Rc<RefCell<BTreeMap<(String, String), Statistics>>>,
}

/// A model of the reference engine. Its functions share their weights.
#[derive(Debug)]
pub struct ReferenceModel {
    name: String,
    program: Program,
    weights: StoredWeights,
    backend: ReferenceBackend,
}

/// A function of the reference engine.
#[derive(Debug)]
pub struct ReferenceFunction {
    model: String,
    name: String,
    function: EvaluableFunction,
    signature: Signature,
    backend: ReferenceBackend,
}

impl ReferenceBackend {
    /// An engine with these options.
    pub fn new(options: ReferenceOptions) -> Self {
        Self { options, seen: Rc::default() }
    }

    /// What has been recorded so far, by model and function.
    pub fn statistics(&self) -> BTreeMap<(String, String), Statistics> {
        self.seen.borrow().clone()
    }
}

impl Backend for ReferenceBackend {
    type Model = ReferenceModel;

    fn open(&self, part: &ModelPart) -> Result<ReferenceModel, BackendError> {
        let stored = part.open()?;
        let unusable = |source| BackendError::Package { model: part.stem.clone(), source: Box::new(source) };
        let program = stored.model().map_err(unusable)?.program;
        Ok(ReferenceModel {
            name: part.stem.clone(),
            program,
            weights: StoredWeights { stored, files: Mutex::default(), blobs: Mutex::default() },
            backend: self.clone(),
        })
    }
}

impl ReferenceModel {
    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

impl Model for ReferenceModel {
    type Function = ReferenceFunction;

    fn function_names(&self) -> Vec<String> {
        self.program.functions.keys().cloned().collect()
    }

    fn load(&self, name: &str) -> Result<ReferenceFunction, BackendError> {
        let function = EvaluableFunction::new(&self.program, name, &self.weights, self.backend.options.numerics)
            .map_err(|source| BackendError::Load {
                model: self.name.clone(),
                function: name.to_owned(),
                source: Box::new(source),
            })?;
        let state = |(name, ty): (&str, &TensorType)| NamedValueType::new(name, ValueType::State(ty.clone()));
        let signature = Signature {
            inputs: function.inputs().cloned().collect(),
            outputs: function.outputs().cloned().collect(),
            states: function.states().map(state).collect(),
        };
        let (model, name) = (self.name.clone(), name.to_owned());
        Ok(ReferenceFunction { model, name, function, signature, backend: self.backend.clone() })
    }
}

impl ReferenceFunction {
    /// The constants that its operations read, by name.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.function.constants()
    }

    fn failed(&self, source: anec_mil::evaluate::EvaluateError) -> BackendError {
        BackendError::Predict { model: self.model.clone(), function: self.name.clone(), source: Box::new(source) }
    }
}

impl Function for ReferenceFunction {
    type State = State;

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn new_state(&self) -> Result<State, BackendError> {
        self.function.new_state().map_err(|source| self.failed(source))
    }

    fn read_state(&self, state: &State) -> Result<Tensors, BackendError> {
        Ok(state.tensors.clone())
    }

    fn predict(&self, inputs: &Tensors, state: &mut State) -> Result<Tensors, BackendError> {
        if !self.backend.options.statistics {
            return self.function.run(inputs, state, None).map_err(|source| self.failed(source));
        }
        let key = (self.model.clone(), self.name.clone());
        let mut statistics = self.backend.seen.borrow_mut().remove(&key).unwrap_or_default();
        let outputs = self.function.run(inputs, state, Some(&mut statistics));
        self.backend.seen.borrow_mut().insert(key, statistics);
        outputs.map_err(|source| self.failed(source))
    }
}

/// The weights of a model, each read once.
#[derive(Debug)]
struct StoredWeights {
    stored: StoredModel<FsPackage>,
    files: Mutex<BTreeMap<String, BlobFile<File>>>,
    blobs: Mutex<BTreeMap<BlobReference, Arc<Vec<u8>>>>,
}

impl WeightSource for StoredWeights {
    fn blob(&self, reference: &BlobReference, ty: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = blobs.get(reference) {
            return Ok(Arc::clone(bytes));
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match files.entry(reference.file_name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(self.stored.weights(&reference.file_name).map_err(std::io::Error::other)?)
            }
        };
        let blob = file.record(reference.offset)?;
        blob.check(ty.dtype, ty.element_count().unwrap_or(u64::MAX))?;
        let bytes = Arc::new(file.data(&blob)?);
        blobs.insert(reference.clone(), Arc::clone(&bytes));
        Ok(bytes)
    }
}
