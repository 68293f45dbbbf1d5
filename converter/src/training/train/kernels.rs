//! The six programs, loaded in an engine, called with matrices by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_runtime::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use anec_runtime::{ModelPart, PartLabel};
use anec_schemas::contract::Role;

use super::TrainError;
use crate::training::{Input, Kind, TrainingShape, WeightForm, inputs};

/// A program in an engine.
struct Loaded {
    function: LoadedFunction,
    state: LoadedState,
    inputs: Vec<Input>,
    outputs: Vec<(&'static str, usize)>,
    calls: u64,
    time: Duration,
}

/// The programs in an engine.
pub(super) struct Kernels {
    loaded: BTreeMap<Kind, Loaded>,
    sequence: usize,
}

/// Calls of a program, and the seconds that they took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct KindTime {
    /// The program.
    pub(crate) kind: Kind,
    /// Its calls.
    pub(crate) calls: u64,
    /// Seconds in all of them.
    pub(crate) seconds: f64,
}

/// What a program gave, by name.
pub(super) type Results = BTreeMap<&'static str, Vec<f32>>;

impl Kernels {
    /// Loads the packages of a directory.
    pub(super) fn open(directory: &Path, shape: &TrainingShape, engine: &dyn Engine) -> Result<Self, TrainError> {
        let mut loaded = BTreeMap::new();
        for kind in Kind::ALL {
            let path = directory.join(format!("{kind}.{PACKAGE_EXTENSION}"));
            let label = PartLabel::only(Role(kind.name()));
            let stem = kind.name().to_owned();
            let part = ModelPart { label, stem, package: Some(path), compiled: None, text: None };
            let function = engine.open_model(&part)?.load("main")?;
            let state = function.new_state()?;
            let (inputs, outputs) = (inputs(kind, shape, WeightForm::Inputs), kind.outputs(shape));
            loaded.insert(kind, Loaded { function, state, inputs, outputs, calls: 0, time: Duration::ZERO });
        }
        Ok(Self { loaded, sequence: shape.sequence })
    }

    /// Calls a program with matrices by name.
    pub(super) fn call<'m>(&mut self, kind: Kind, matrix: impl Fn(&str) -> &'m [f32]) -> Result<Results, TrainError> {
        let loaded = self.loaded.get_mut(&kind).expect("every kind is loaded");
        let mut given = Tensors::new();
        for input in &loaded.inputs {
            let mut elements = Vec::with_capacity(input.count());
            input.parts.iter().for_each(|part| elements.extend_from_slice(matrix(part.name)));
            given.insert(input.name.to_owned(), Tensor::floats(DataType::Float16, &input.shape, elements)?);
        }
        let started = Instant::now();
        let outputs = loaded.function.predict(&given, &mut loaded.state)?;
        loaded.time += started.elapsed();
        loaded.calls += 1;
        let output = outputs.get("out").ok_or(TrainError::NoOutput { kind })?.as_floats()?;
        let mut start = 0;
        let mut results = Results::new();
        for (name, channels) in &loaded.outputs {
            let end = start + channels * self.sequence;
            results.insert(*name, output.get(start..end).ok_or(TrainError::NoOutput { kind })?.to_vec());
            start = end;
        }
        Ok(results)
    }

    /// Calls and time of each kind so far.
    pub(super) fn times(&self) -> Vec<KindTime> {
        let time = |(kind, loaded): (&Kind, &Loaded)| KindTime {
            kind: *kind,
            calls: loaded.calls,
            seconds: loaded.time.as_secs_f64(),
        };
        self.loaded.iter().map(time).collect()
    }
}
