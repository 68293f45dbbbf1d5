//! The engine: programs as text, projections on the Neural Engine, look-ups on the CPU.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use anec_mil::evaluate::{State, Tensor};
use anec_mil::stored::Form;

use super::error::PrivateAneError;
use super::interface::{Interface, ProgramFiles};
use super::program::{self, Bindings, Bound};
use super::staging::Loaded;
use crate::backend::coreml::{read_strided, write_strided};
use crate::backend::{
    Backend, BackendError, Function, Model, ReferenceBackend, ReferenceFunction, ReferenceModel, Signature, Tensors,
};
use crate::fs_package::OpenError;
use crate::part::{ModelPart, PartError};

/// What outputs hold before a call: a NaN that no arithmetic makes.
const UNWRITTEN: u8 = 0xFF;

/// The interface, as an engine.
pub struct PrivateAneBackend<I: Interface + 'static> {
    interface: Rc<I>,
    reference: ReferenceBackend,
}

/// A program that is read.
pub struct PrivateAneModel<I: Interface + 'static> {
    name: String,
    files: ProgramFiles,
    reference: ReferenceModel,
    interface: Rc<I>,
}

/// A function that is loaded, or one that looks something up on the CPU.
pub struct PrivateAneFunction<I: Interface + 'static> {
    model: String,
    name: String,
    signature: Signature,
    place: Place<I>,
}

/// Where a function is computed.
enum Place<I: Interface + 'static> {
    Device { bindings: Bindings, loaded: RefCell<Loaded<I>> },
    Cpu(ReferenceFunction),
}

impl<I: Interface + 'static> PrivateAneBackend<I> {
    /// An engine that calls this interface.
    pub fn new(interface: I) -> Self {
        Self { interface: Rc::new(interface), reference: ReferenceBackend::default() }
    }

    /// Version and build of the system.
    pub fn system(&self) -> String {
        self.interface.system()
    }
}

impl<I: Interface + 'static> Backend for PrivateAneBackend<I> {
    type Model = PrivateAneModel<I>;

    fn open(&self, part: &ModelPart) -> Result<PrivateAneModel<I>, BackendError> {
        let opened = || -> Result<_, PrivateAneError> {
            let directory = part.path(Form::Text).ok_or(PrivateAneError::NoText)?;
            let stored = part.open_as(Form::Text)?;
            let unusable = |source| PartError::Model(OpenError::model(directory, source));
            let program = stored.model().map_err(unusable)?.program;
            let files = program::files(directory, &stored, &program)?;
            Ok((files, self.reference.open_program(&part.stem, stored, program)))
        };
        let (files, reference) = opened().map_err(|error| failed("open", &part.stem, error))?;
        Ok(PrivateAneModel { name: part.stem.clone(), files, reference, interface: Rc::clone(&self.interface) })
    }
}

impl<I: Interface + 'static> PrivateAneModel<I> {
    /// The function `name`, whose weights the interface reads itself.
    fn load_on_device(&self, signature: &Signature) -> Result<Place<I>, PrivateAneError> {
        let functions = self.reference.program().functions.len();
        if functions != 1 || !signature.states.is_empty() {
            return Err(PrivateAneError::Shape { functions, states: signature.states.len() });
        }
        let bindings = Bindings::of(signature)?;
        let loaded = Loaded::open(&self.interface, &self.files, &bindings.sizes())?;
        Ok(Place::Device { bindings, loaded: RefCell::new(loaded) })
    }
}

impl<I: Interface + 'static> Model for PrivateAneModel<I> {
    type Function = PrivateAneFunction<I>;

    fn function_names(&self) -> Vec<String> {
        self.reference.function_names()
    }

    fn load(&self, name: &str) -> Result<PrivateAneFunction<I>, BackendError> {
        let found = self.reference.program().functions.get(name);
        let missing = || PrivateAneError::NoFunction { functions: self.function_names() };
        let in_function = |error| failed(&format!("load the function `{name}` of"), &self.name, error);
        let signature = program::signature(found.ok_or_else(missing).map_err(in_function)?);
        let place = if program::looks_up(&signature) {
            Place::Cpu(self.reference.load(name)?)
        } else {
            self.load_on_device(&signature).map_err(in_function)?
        };
        Ok(PrivateAneFunction { model: self.name.clone(), name: name.to_owned(), signature, place })
    }
}

impl<I: Interface + 'static> Function for PrivateAneFunction<I> {
    /// Holds nothing: programs of the interface have no states.
    type State = State;

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn new_state(&self) -> Result<State, BackendError> {
        Ok(State::default())
    }

    fn read_state(&self, state: &State) -> Result<Tensors, BackendError> {
        Ok(state.tensors.clone())
    }

    fn predict(&self, inputs: &Tensors, state: &mut State) -> Result<Tensors, BackendError> {
        match &self.place {
            Place::Cpu(function) => function.predict(inputs, state),
            Place::Device { bindings, loaded } => evaluate(bindings, &mut loaded.borrow_mut(), inputs)
                .map_err(|error| failed(&format!("run the function `{}` of", self.name), &self.model, error)),
        }
    }
}

/// Brings inputs into surfaces, evaluates, and brings outputs out of them.
fn evaluate<I: Interface>(
    bindings: &Bindings,
    loaded: &mut Loaded<I>,
    inputs: &Tensors,
) -> Result<Tensors, PrivateAneError> {
    let given = bindings.inputs.iter().map(|bound| pack(bound, inputs.get(&bound.name)));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    let mut made: Vec<Vec<u8>> = bindings.outputs.iter().map(|bound| vec![UNWRITTEN; bound.bytes]).collect();
    loaded.evaluate(&given, &mut made)?;
    let mut outputs = Tensors::new();
    for (bound, bytes) in bindings.outputs.iter().zip(&made) {
        if !bytes.is_empty() && bytes.iter().all(|byte| *byte == UNWRITTEN) {
            return Err(PrivateAneError::Unwritten { output: bound.name.clone() });
        }
        outputs.insert(bound.name.clone(), read_strided(&bound.layout, bytes)?);
    }
    Ok(outputs)
}

/// The bytes of an input.
fn pack(bound: &Bound, tensor: Option<&Tensor>) -> Result<Vec<u8>, PrivateAneError> {
    let fitting = tensor.filter(|tensor| {
        (tensor.dtype(), tensor.shape()) == (bound.layout.format.dtype(), bound.layout.shape.as_slice())
    });
    let tensor = fitting.ok_or_else(|| PrivateAneError::Input {
        input: bound.name.clone(),
        expected: format!("{} {:?}", bound.layout.format.dtype(), bound.layout.shape),
        found: tensor.map_or_else(|| "missing".to_owned(), |tensor| format!("{} {:?}", tensor.dtype(), tensor.shape())),
    })?;
    let mut bytes = vec![0; bound.bytes];
    write_strided(tensor, &bound.layout, &mut bytes)?;
    Ok(bytes)
}

fn failed(action: &str, model: &str, source: PrivateAneError) -> BackendError {
    BackendError::PrivateAne { action: action.to_owned(), model: model.to_owned(), source: Box::new(source) }
}

impl<I: Interface + 'static> fmt::Debug for PrivateAneBackend<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateAneBackend").finish_non_exhaustive()
    }
}
