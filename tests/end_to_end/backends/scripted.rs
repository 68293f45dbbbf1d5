//! A framework that stands for Core ML: it computes with the reference engine, and fails where the script says.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anec_mil::evaluate::State;
use anec_runtime::backend::coreml::{Device, Framework, FrameworkError, LoadRequest, PlannedOperation};
use anec_runtime::backend::{
    Backend as _, BackendError, Function as _, Model as _, ReferenceBackend, ReferenceFunction, ReferenceModel,
    Signature, Tensors,
};
use anec_runtime::{ModelPart, PartLabel};
use anec_schemas::contract::stateful::{EMBEDDINGS, names};

/// In a model that this compiled: where its package is.
const PACKAGE: &str = "package";

/// What happens, and what happened.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Failures of loads to come; `None` lets one succeed.
    pub(crate) loads: VecDeque<Option<FrameworkError>>,
    /// Failures of predictions to come.
    pub(crate) predictions: VecDeque<Option<FrameworkError>>,
    /// Where a prediction waits until something is sent or the sender goes.
    pub(crate) hold: Option<Receiver<()>>,
    /// What happens to the results of every prediction.
    pub(crate) spoil: Option<fn(&mut Tensors)>,
    /// The op that plans put on the CPU; everything else is on the Neural Engine.
    pub(crate) on_cpu: Option<&'static str>,
    /// Whether models refuse names of functions.
    pub(crate) refuses_names: bool,
    /// Version and build.
    pub(crate) system: String,
    /// Packages that were compiled.
    pub(crate) compiled: Vec<PathBuf>,
    /// Loads that were asked for.
    pub(crate) requests: Vec<LoadRequest>,
    /// Functions and states that are there.
    pub(crate) alive: usize,
}

/// The framework. Clones share the script.
#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) temporary: PathBuf,
}

/// Something that counts as alive while it is there.
pub(crate) struct Alive<T>(T, Arc<Mutex<Script>>);

impl Scripted {
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive<T>(&self, value: T) -> Alive<T> {
        self.script().alive += 1;
        Alive(value, Arc::clone(&self.script))
    }
}

impl<T> Drop for Alive<T> {
    fn drop(&mut self) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).alive -= 1;
    }
}

/// The failure that Core ML would report.
pub(crate) fn core_ml(message: &str) -> FrameworkError {
    FrameworkError { domain: "com.apple.CoreML".to_owned(), code: 0, message: message.to_owned() }
}

fn open(compiled: &Path) -> Result<ReferenceModel, FrameworkError> {
    let stem = compiled.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let package = fs::read_to_string(compiled.join(PACKAGE)).ok().map(PathBuf::from);
    let compiled = package.is_none().then(|| compiled.to_owned());
    let part = ModelPart { label: PartLabel::only(EMBEDDINGS), stem, package, compiled, text: None };
    ReferenceBackend::default().open(&part).map_err(|error| failed(&error))
}

fn failed(error: &BackendError) -> FrameworkError {
    core_ml(&error.to_string())
}

impl Framework for Scripted {
    type Model = Alive<ReferenceFunction>;
    type State = Alive<State>;

    fn system(&self) -> String {
        self.script().system.clone()
    }

    fn compile(&self, package: &Path) -> Result<PathBuf, FrameworkError> {
        let mut script = self.script();
        script.compiled.push(package.to_owned());
        let made = self.temporary.join(format!("{}.mlmodelc", script.compiled.len()));
        fs::create_dir_all(&made).expect("writable");
        fs::write(made.join(PACKAGE), package.to_str().expect("UTF-8")).expect("writable");
        Ok(made)
    }

    fn function_names(&self, compiled: &Path) -> Result<Vec<String>, FrameworkError> {
        let mut names = open(compiled)?.function_names();
        names.reverse();
        Ok(names)
    }

    fn load(&self, request: &LoadRequest) -> Result<Self::Model, FrameworkError> {
        let mut script = self.script();
        script.requests.push(request.clone());
        if let Some(Some(error)) = script.loads.pop_front() {
            return Err(error);
        }
        if script.refuses_names && request.function.is_some() {
            return Err(core_ml("functionName must be nil unless the model type is ML Program with several functions"));
        }
        drop(script);
        let model = open(&request.compiled)?;
        let name = request.function.clone().unwrap_or_else(|| model.function_names()[0].clone());
        let function = model.load(&name).map_err(|error| failed(&error))?;
        Ok(self.alive(function))
    }

    fn signature(&self, model: &Self::Model) -> Result<Signature, FrameworkError> {
        Ok(model.0.signature().clone())
    }

    fn new_state(&self, model: &Self::Model) -> Result<Self::State, FrameworkError> {
        Ok(self.alive(model.0.new_state().map_err(|error| failed(&error))?))
    }

    fn read_state(&self, model: &Self::Model, state: &Self::State) -> Result<Tensors, FrameworkError> {
        model.0.read_state(&state.0).map_err(|error| failed(&error))
    }

    fn predict(
        &self,
        model: &mut Self::Model,
        inputs: &Tensors,
        state: &mut Self::State,
    ) -> Result<Tensors, FrameworkError> {
        let (failure, hold, spoil) = {
            let mut script = self.script();
            (script.predictions.pop_front().flatten(), script.hold.take(), script.spoil)
        };
        if let Some(hold) = hold {
            let _ = hold.recv();
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut outputs = model.0.predict(inputs, &mut state.0).map_err(|error| failed(&error))?;
        if let Some(spoil) = spoil {
            spoil(&mut outputs);
        }
        Ok(outputs)
    }

    fn compute_plan(&self, request: &LoadRequest) -> Result<Vec<PlannedOperation>, FrameworkError> {
        let model = open(&request.compiled)?;
        let name = request.function.clone().unwrap_or_else(|| names::MAIN.to_owned());
        let function = model.program().functions.get(&name).ok_or_else(|| core_ml("function not found"))?;
        let on_cpu = self.script().on_cpu;
        let planned = |operation: &anec_mil::Operation| {
            let device = if on_cpu == Some(operation.op.as_str()) { Device::Cpu } else { Device::NeuralEngine };
            PlannedOperation {
                op: operation.op.clone(),
                result: operation.outputs.first().map(|output| output.name.clone()).unwrap_or_default(),
                preferred: (operation.op != "const").then_some(device),
                supported: vec![device],
                cost: None,
            }
        };
        Ok(function.block.operations.iter().map(planned).collect())
    }
}
