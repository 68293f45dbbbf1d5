//! The engine: models, functions and states as handles to what the queue's thread holds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anec_mil::package::MAIN_FUNCTION;
use anec_mil::{Dimension, TensorType};

use super::cache::CompileCache;
use super::compute_plan::ComputePlan;
use super::error::CoreMlError;
use super::failure::{Cause, FrameworkError};
use super::framework::{Framework, LoadRequest, Units};
use super::queue::{Cancellation, Queue};
use crate::backend::{Backend, BackendError, Function, Model, Signature, Tensors};
use crate::part::ModelPart;

/// How Core ML is used.
#[derive(Clone, Debug)]
pub struct CoreMlOptions {
    /// Where models may run.
    pub units: Units,
    /// Where compiled packages are kept.
    pub cache: PathBuf,
    /// Ends calls that take too long.
    pub cancellation: Cancellation,
}

/// Core ML, or another framework.
pub struct CoreMlBackend<F: Framework + 'static> {
    queue: Queue<Workshop<F>>,
    options: CoreMlOptions,
}

/// A model that is compiled.
pub struct CoreMlModel<F: Framework + 'static> {
    name: String,
    compiled: Compiled,
    functions: Vec<String>,
    queue: Queue<Workshop<F>>,
    options: CoreMlOptions,
}

/// A function that is loaded. It is unloaded, and its buffers are freed, when this is dropped.
pub struct CoreMlFunction<F: Framework + 'static> {
    model: String,
    name: String,
    signature: Signature,
    handle: Handle<F>,
}

/// States of a conversation.
pub struct CoreMlState<F: Framework + 'static> {
    handle: Handle<F>,
}

/// What never leaves the thread. States go before the functions that they belong to.
struct Workshop<F: Framework> {
    states: BTreeMap<u64, F::State>,
    functions: BTreeMap<u64, F::Model>,
    last: u64,
    framework: F,
}

/// A function or state on the thread, which goes when the handle goes.
struct Handle<F: Framework + 'static> {
    number: u64,
    queue: Queue<Workshop<F>>,
}

/// A compiled model and whether its package can be compiled once more.
#[derive(Clone, Debug)]
struct Compiled {
    path: PathBuf,
    package: Option<PathBuf>,
}

impl<F: Framework> Workshop<F> {
    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl<F: Framework + 'static> Drop for Handle<F> {
    fn drop(&mut self) {
        let number = self.number;
        self.queue.send(move |workshop| {
            workshop.states.remove(&number);
            workshop.functions.remove(&number);
        });
    }
}

impl Compiled {
    /// The compiled form of a part as the directory has it, else of its package.
    fn of<F: Framework>(part: &ModelPart, cache: &CompileCache, framework: &F) -> Result<Self, CoreMlError> {
        let package = part.package.clone();
        match (&part.compiled, &package) {
            (Some(path), _) => Ok(Self { path: path.clone(), package }),
            (None, Some(found)) => Self::of_package(found, cache, framework, false),
            (None, None) => Err(CoreMlError::NoModel),
        }
    }

    fn of_package<F: Framework>(
        package: &Path,
        cache: &CompileCache,
        framework: &F,
        fresh: bool,
    ) -> Result<Self, CoreMlError> {
        let kept = cache.compiled(framework, package, fresh)?;
        // What was compiled just now is as good as it gets.
        Ok(Self { path: kept.path, package: (!kept.is_fresh).then(|| package.to_owned()) })
    }

    /// Tries something with the compiled model, and once more with the package compiled again where the model is stale.
    fn attempt<F: Framework, R>(
        &mut self,
        cache: &CompileCache,
        framework: &F,
        attempt: impl Fn(&Path) -> Result<R, FrameworkError>,
    ) -> Result<R, CoreMlError> {
        match (attempt(&self.path), self.package.take()) {
            (Err(error), Some(package)) if error.cause().is_stale() => {
                *self = Self::of_package(&package, cache, framework, true)?;
                Ok(attempt(&self.path)?)
            }
            (result, package) => {
                self.package = package;
                Ok(result?)
            }
        }
    }
}

impl<F: Framework + 'static> CoreMlBackend<F> {
    /// An engine with these options. `framework` runs on the thread of the queue.
    pub fn new(options: CoreMlOptions, framework: impl FnOnce() -> F + Send + 'static) -> Self {
        let make =
            move || Workshop { states: BTreeMap::new(), functions: BTreeMap::new(), last: 0, framework: framework() };
        Self { queue: Queue::start(make, options.cancellation.clone()), options }
    }

    /// Version and build of the system.
    ///
    /// # Errors
    /// The call is cancelled.
    pub fn system(&self) -> Result<String, BackendError> {
        let system = self.queue.call(|workshop| workshop.framework.system());
        system.map_err(|error| failed("ask the system of", "this machine", error.into()))
    }
}

impl<F: Framework + 'static> Backend for CoreMlBackend<F> {
    type Model = CoreMlModel<F>;

    fn open(&self, part: &ModelPart) -> Result<CoreMlModel<F>, BackendError> {
        let (cache, found) = (CompileCache::new(&self.options.cache), part.clone());
        let opened = self.queue.call(move |workshop| {
            let framework = &workshop.framework;
            let mut compiled = Compiled::of(&found, &cache, framework)?;
            let mut functions = compiled.attempt(&cache, framework, |path| framework.function_names(path))?;
            functions.sort();
            Ok((compiled, functions))
        });
        let opened = opened.map_err(CoreMlError::from).and_then(|opened| opened);
        let (compiled, functions) = opened.map_err(|error| failed("open", &part.stem, error))?;
        let (queue, options) = (self.queue.clone(), self.options.clone());
        Ok(CoreMlModel { name: part.stem.clone(), compiled, functions, queue, options })
    }
}

impl<F: Framework + 'static> CoreMlModel<F> {
    /// Where each operation of a function would run.
    ///
    /// # Errors
    /// There is no such function, or Core ML has no plan.
    pub fn compute_plan(&self, function: &str) -> Result<ComputePlan, BackendError> {
        let request = self.request(function);
        let planned = request.and_then(|request| {
            Ok(self.queue.call(move |workshop| named_or_not(&request, |r| workshop.framework.compute_plan(r)))??)
        });
        let operations = planned.map_err(|error| self.failed("plan", function, error))?;
        Ok(ComputePlan { operations })
    }

    fn request(&self, function: &str) -> Result<LoadRequest, CoreMlError> {
        if !self.functions.iter().any(|name| name == function) {
            return Err(CoreMlError::NoFunction { functions: self.functions.clone() });
        }
        // Models with one function have it under this name, and Core ML wants no name for it.
        let is_only = function == MAIN_FUNCTION && self.functions.len() == 1;
        let function = (!is_only).then(|| function.to_owned());
        Ok(LoadRequest { compiled: self.compiled.path.clone(), function, units: self.options.units })
    }

    fn failed(&self, action: &str, function: &str, error: CoreMlError) -> BackendError {
        failed(&format!("{action} the function `{function}` of"), &self.name, error)
    }
}

/// Asks with the function's name, and without where Core ML says that the only function has none.
fn named_or_not<R>(
    request: &LoadRequest,
    ask: impl Fn(&LoadRequest) -> Result<R, FrameworkError>,
) -> Result<R, FrameworkError> {
    match ask(request) {
        Err(error) if error.cause() == Cause::FunctionNameMustBeNil && request.function.is_some() => {
            ask(&LoadRequest { function: None, ..request.clone() })
        }
        result => result,
    }
}

impl<F: Framework + 'static> Model for CoreMlModel<F> {
    type Function = CoreMlFunction<F>;

    fn function_names(&self) -> Vec<String> {
        self.functions.clone()
    }

    fn load(&self, name: &str) -> Result<CoreMlFunction<F>, BackendError> {
        let (cache, mut compiled) = (CompileCache::new(&self.options.cache), self.compiled.clone());
        let loaded = self.request(name).and_then(|request| {
            self.queue.call(move |workshop| {
                let framework = &workshop.framework;
                let model = compiled.attempt(&cache, framework, |path| {
                    let request = LoadRequest { compiled: path.to_owned(), ..request.clone() };
                    named_or_not(&request, |request| framework.load(request))
                })?;
                let signature = framework.signature(&model)?;
                let number = workshop.next_number();
                workshop.functions.insert(number, model);
                Ok((number, signature))
            })?
        });
        let (number, signature) = loaded.map_err(|error| self.failed("load", name, error))?;
        let handle = Handle { number, queue: self.queue.clone() };
        Ok(CoreMlFunction { model: self.name.clone(), name: name.to_owned(), signature, handle })
    }
}

impl<F: Framework + 'static> CoreMlFunction<F> {
    /// Makes a call with the function.
    fn call<R: Send + 'static>(
        &self,
        action: &str,
        call: impl FnOnce(&mut Workshop<F>, u64) -> Result<R, CoreMlError> + Send + 'static,
    ) -> Result<R, BackendError> {
        let number = self.handle.number;
        let result = self.handle.queue.call(move |workshop| call(workshop, number));
        let result = result.map_err(CoreMlError::from).and_then(|result| result);
        result.map_err(|error| self.failed(action, error))
    }

    fn failed(&self, action: &str, error: CoreMlError) -> BackendError {
        failed(&format!("{action} the function `{}` of", self.name), &self.model, error)
    }

    /// Looks for what does not fit before Core ML does, whose messages say less.
    fn check(&self, inputs: &Tensors) -> Result<(), CoreMlError> {
        for input in &self.signature.inputs {
            let given = inputs.get(&input.name).map(anec_mil::evaluate::Tensor::ty);
            let declared = input.ty.as_tensor();
            if !given.as_ref().zip(declared).is_some_and(|(given, declared)| fits(given, declared)) {
                return Err(CoreMlError::Input {
                    input: input.name.clone(),
                    expected: input.ty.to_string(),
                    found: given.map_or_else(|| "missing".to_owned(), |given| given.to_string()),
                });
            }
        }
        Ok(())
    }
}

impl<F: Framework + 'static> Function for CoreMlFunction<F> {
    type State = CoreMlState<F>;

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn new_state(&self) -> Result<CoreMlState<F>, BackendError> {
        let number = self.call("make a state for", |workshop, function| {
            let function = workshop.functions.get(&function).ok_or(CoreMlError::Gone { what: "function" })?;
            let state = workshop.framework.new_state(function)?;
            let number = workshop.next_number();
            workshop.states.insert(number, state);
            Ok(number)
        })?;
        Ok(CoreMlState { handle: Handle { number, queue: self.handle.queue.clone() } })
    }

    fn read_state(&self, state: &CoreMlState<F>) -> Result<Tensors, BackendError> {
        let state = state.handle.number;
        self.call("read the state of", move |workshop, function| {
            let function = workshop.functions.get(&function).ok_or(CoreMlError::Gone { what: "function" })?;
            let state = workshop.states.get(&state).ok_or(CoreMlError::Gone { what: "state" })?;
            Ok(workshop.framework.read_state(function, state)?)
        })
    }

    fn predict(&self, inputs: &Tensors, state: &mut CoreMlState<F>) -> Result<Tensors, BackendError> {
        self.check(inputs).map_err(|error| self.failed("run", error))?;
        let (inputs, state) = (inputs.clone(), state.handle.number);
        self.call("run", move |workshop, function| {
            let Workshop { states, functions, framework, .. } = workshop;
            let function = functions.get_mut(&function).ok_or(CoreMlError::Gone { what: "function" })?;
            let state = states.get_mut(&state).ok_or(CoreMlError::Gone { what: "state" })?;
            Ok(framework.predict(function, &inputs, state)?)
        })
    }
}

/// Whether a tensor is one of those that a type allows.
fn fits(given: &TensorType, declared: &TensorType) -> bool {
    let sizes = given.shape.iter().zip(&declared.shape);
    given.dtype == declared.dtype
        && given.rank() == declared.rank()
        && sizes.into_iter().all(|(given, declared)| *declared == Dimension::Unknown || given == declared)
}

fn failed(action: &str, model: &str, source: CoreMlError) -> BackendError {
    BackendError::CoreMl { action: action.to_owned(), model: model.to_owned(), source: Box::new(source) }
}

impl<F: Framework + 'static> Clone for CoreMlBackend<F> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), options: self.options.clone() }
    }
}

impl<F: Framework + 'static> fmt::Debug for CoreMlBackend<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreMlBackend").field("options", &self.options).finish_non_exhaustive()
    }
}
