//! `anec predict`.

mod array;
mod classes;
mod compare;
mod inputs;
mod json;
mod npy;
mod outputs;
mod picture;
mod values;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anec_mil::package::{FunctionDescription, Model, ModelDescription};
use anec_mil::{Block, Program, ops};
use anec_runtime::backend::{
    BackendError, Function as _, Model as _, ReferenceBackend, ReferenceFunction, ReferenceOptions, Tensors,
};
use anec_runtime::{OpenError, open_model};
use clap::Args;

use self::classes::Probabilities;
use self::compare::Comparison;
use self::inputs::{InputFile, Inputs};
use self::outputs::{Destination, Format};
use crate::commands::numerics_argument::NumericsArgument;
use crate::console::{Console, Failure};
use crate::error::Hint;

/// Arguments of `anec predict`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec predict Model.mlpackage --input x=x.npy -o results
  anec predict Classifier.mlmodelc --input image=cat.jpg
  anec predict Model.mlpackage --input x=x.npy --compare Quantized.mlpackage
  anec predict Decoder.mlpackage --function step --input token=1.json --input token=2.json --repeat 2

Runs on the CPU of any machine, with the reference engine. Of several files for one input, the first is for the first call.")]
pub struct Arguments {
    /// A .mlpackage, .mlmodelc or .mlmodel that holds an ML Program; who made it does not matter.
    model: PathBuf,

    /// The function to run [default: the model's default function].
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// A file for an input: .npy, .json with nested lists, or an image as .png or .jpg; repeat for more.
    #[arg(long, value_name = "NAME=FILE")]
    input: Vec<InputFile>,

    /// Directory for the results; without it, only a line about each is printed.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// How results are written.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Calls to make; states are kept between them.
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroUsize,

    /// Write every value that is computed, into the directory `trace` of the output.
    #[arg(long, requires = "output")]
    trace: bool,

    /// Run this model on the same inputs, and find the first op where the two part; exit code 1 if they do.
    #[arg(long, value_name = "OTHER_MODEL")]
    compare: Option<PathBuf>,

    /// How far apart values of two models may be, as the norm of the difference beside the norm.
    #[arg(long, value_name = "RATIO", default_value = "0.001", requires = "compare")]
    tolerance: f64,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Replace results that exist.
    #[arg(long)]
    force: bool,
}

impl Hint for BackendError {
    fn hint(&self) -> Option<String> {
        Self::hint(self).map(str::to_owned)
    }
}

/// Runs a model.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let every_value = arguments.trace || arguments.compare.is_some();
    let left = Loaded::open(&arguments.model, arguments, every_value, console)?;
    let right = arguments.compare.as_deref().map(|path| Loaded::open(path, arguments, true, console)).transpose()?;
    let inputs = Inputs::read(&arguments.input, &left.name, left.function.signature(), left.description())?;
    for name in &inputs.defaults {
        console.status(&format!("`{name}` is optional and takes its default"));
    }
    let destination = arguments.output.as_ref().map(|directory| Destination {
        directory: directory.clone(),
        format: arguments.format,
        force: arguments.force,
    });
    let calls = arguments.repeat.get();
    let mut state = left.function.new_state()?;
    let mut other_state = right.as_ref().map(|right| right.function.new_state()).transpose()?;
    let mut parted = false;
    for call in 0..calls {
        let given = inputs.of_call(call);
        let values = left.function.predict(&given, &mut state)?;
        let name = (call + 1).to_string();
        let place = destination.as_ref().map(|place| if calls > 1 { place.within(&name) } else { place.clone() });
        let heading = if calls > 1 { format!("call {name}\n") } else { String::new() };
        let mut text = heading + &left.write_results(&values, place.as_ref())?;
        if let (true, Some(place)) = (arguments.trace, &place) {
            left.write_trace(&values, &place.within("trace"))?;
        }
        if let (Some(right), Some(state)) = (&right, &mut other_state) {
            let others = right.function.predict(&given, state)?;
            let comparison = match (left.definition(), right.definition()) {
                (Some(a), Some(b)) => Comparison::new(a, b, &values, &others),
                _ => Comparison::default(),
            };
            parted |= comparison.parts(arguments.tolerance);
            text.push_str(&comparison.describe(arguments.tolerance));
        }
        console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })?;
    }
    Ok(if parted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether these bytes are an array or an image as `--input` takes them, whatever their name. For tests that change bytes.
pub fn is_input(bytes: &[u8]) -> bool {
    npy::read(bytes).is_ok()
        || str::from_utf8(bytes).is_ok_and(|text| json::read(text).is_ok())
        || picture::is_picture(bytes)
}

/// A function of a model, ready to run.
struct Loaded {
    model: Model,
    name: String,
    function: ReferenceFunction,
}

impl Loaded {
    /// Opens a model and loads the function that is asked for.
    fn open(path: &Path, arguments: &Arguments, every_value: bool, console: Console) -> Result<Self, Failure> {
        let stored = open_model(path)?;
        let (model, notes) = stored.model_with_notes().map_err(|source| OpenError::model(path, source))?;
        for note in notes {
            console.warning(&format!("{}: {note}", path.display()));
        }
        let name = arguments.function.clone().unwrap_or_else(|| default_function(&model.description));
        check_ops(&model.program, &name, path)?;
        let program = if every_value { values::exposed(&model.program, &name) } else { model.program.clone() };
        let backend =
            ReferenceBackend::new(ReferenceOptions { numerics: arguments.numerics.numerics(), statistics: false });
        let opened = backend.open_program(&path.display().to_string(), stored, program);
        let function = opened.load(&name)?;
        Ok(Self { model, name, function })
    }

    fn description(&self) -> Option<&FunctionDescription> {
        self.model.description.function(&self.name)
    }

    fn definition(&self) -> Option<&anec_mil::Function> {
        self.model.program.functions.get(&self.name)
    }

    /// Writes the results where there is a place for them, and says a line about each.
    fn write_results(&self, values: &Tensors, place: Option<&Destination>) -> Result<String, Failure> {
        let mut text = String::new();
        let Some(function) = self.definition() else { return Ok(text) };
        for name in &function.block.outputs {
            let Some(tensor) = values.get(name) else { continue };
            if let Some(probabilities) = Probabilities::of(self.description(), function, name, tensor) {
                text.push_str(&probabilities.summary(name));
                text.push('\n');
                if let Some(place) = place {
                    place.write_json(name, &probabilities.to_json())?;
                }
                continue;
            }
            text.push_str(&outputs::summary(name, tensor));
            text.push('\n');
            if let Some(place) = place {
                place.write("", name, tensor)?;
                if let Some(space) = outputs::color_space(self.description(), name) {
                    place.write_picture(name, tensor, space)?;
                }
            }
        }
        Ok(text)
    }

    /// Writes all that was computed, in the order of the program.
    fn write_trace(&self, values: &Tensors, place: &Destination) -> Result<(), Failure> {
        let Some(function) = self.definition() else { return Ok(()) };
        for value in values::computed(function) {
            if let Some(tensor) = values.get(&value.name) {
                place.write(&format!("{:05}_", value.index), &value.name, tensor)?;
            }
        }
        Ok(())
    }
}

/// Requires that every op of a function is evaluated, and names all that are not, before anything runs.
fn check_ops(program: &Program, name: &str, path: &Path) -> Result<(), Failure> {
    let Some(function) = program.functions.get(name) else { return Ok(()) };
    let mut unknown = BTreeSet::new();
    collect_unknown(&function.block, &mut unknown);
    if unknown.is_empty() {
        return Ok(());
    }
    let names = unknown.into_iter().map(|op| format!("`{op}`")).collect::<Vec<_>>().join(", ");
    Err(Failure {
        message: format!("Cannot run `{name}` of `{}`: the reference engine does not evaluate {names}", path.display()),
        hint: Some("`anec inspect` lists how often each op occurs".to_owned()),
    })
}

fn collect_unknown<'a>(block: &'a Block, unknown: &mut BTreeSet<&'a str>) {
    for operation in &block.operations {
        if ops::find(&operation.op).is_none() {
            unknown.insert(&operation.op);
        }
        for block in &operation.blocks {
            collect_unknown(block, unknown);
        }
    }
}

fn default_function(description: &ModelDescription) -> String {
    let first = description.functions.first().map(|function| function.name.clone());
    description.default_function.clone().or(first).unwrap_or_default()
}
