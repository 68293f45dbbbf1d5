//! The engine for the Neural Engine's own interface, over one that stands for it: it compiles from the files that are laid
//! out, keeps what it compiled, binds surfaces by number, and computes with the reference engine.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anec_mil::NamedValueType;
use anec_mil::evaluate::{Accumulator, Numerics};
use anec_runtime::backend::coreml::{FrameworkError, Layout, NumberFormat, read_strided, write_strided};
use anec_runtime::backend::private_ane::{Interface, PrivateAneBackend, ProgramFiles, SurfaceSizes};
use anec_runtime::backend::{
    Backend as _, BackendError, Function as _, Model as _, ReferenceBackend, ReferenceFunction, ReferenceOptions,
    Tensors,
};
use anec_runtime::session::Output;
use anec_runtime::{ModelDirectory, ModelPart, PartLabel};
use anec_schemas::contract::kernels::{LM_HEAD, Q_PROJ};

use crate::plan_decisions::{converted, logits, shipped, tokens};

/// What the Neural Engine computes in, as the reference engine does it.
const NUMERICS: Numerics = Numerics::Fp16(Accumulator::F32);

const KERNELS: [&str; 6] = ["--layout", "kernels", "--context-length", "64", "--query-length", "16"];

/// What happens, and what happened.
#[derive(Default)]
struct Script {
    /// Failures of compilations, loads and evaluations to come.
    compiles: VecDeque<FrameworkError>,
    loads: VecDeque<FrameworkError>,
    evaluations: VecDeque<FrameworkError>,
    /// Whether evaluations succeed and write nothing.
    is_silent: bool,
    /// Programs that were compiled, by identifier.
    compiled: Vec<String>,
    /// Programs that were forgotten.
    purged: usize,
    /// Programs that are loaded.
    loaded: usize,
}

/// The interface. Clones share the script, and what was compiled.
#[derive(Clone)]
struct Pretended {
    script: Rc<RefCell<Script>>,
    root: PathBuf,
}

struct Program {
    files: ProgramFiles,
    identifier: String,
    sizes: SurfaceSizes,
    function: Option<ReferenceFunction>,
}

fn failure(message: &str) -> FrameworkError {
    FrameworkError { domain: "com.apple.appleneuralengine".to_owned(), code: 13, message: message.to_owned() }
}

impl Pretended {
    fn new(root: &Path) -> Self {
        Self { script: Rc::default(), root: root.to_owned() }
    }

    /// Where the system keeps what it compiled.
    fn kept(&self, program: &Program) -> PathBuf {
        self.root.join("kept").join(format!("{}.mil", program.identifier))
    }
}

impl Interface for Pretended {
    type Program = Program;

    fn system(&self) -> String {
        "Version 26.5 (Build 25F84)".to_owned()
    }

    fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    fn describe(&self, files: &ProgramFiles) -> Result<Program, FrameworkError> {
        let mut hash = DefaultHasher::new();
        files.text.hash(&mut hash);
        for weights in &files.weights {
            weights.name.hash(&mut hash);
            fs::read(&weights.path).map_err(|error| failure(&error.to_string()))?.hash(&mut hash);
        }
        let identifier = format!("{:016X}", hash.finish());
        Ok(Program { files: files.clone(), identifier, sizes: SurfaceSizes::default(), function: None })
    }

    fn identifier(&self, program: &Program) -> Result<String, FrameworkError> {
        Ok(program.identifier.clone())
    }

    fn is_compiled(&self, program: &Program) -> bool {
        self.kept(program).is_dir()
    }

    fn compile(&self, program: &Program) -> Result<(), FrameworkError> {
        let mut script = self.script.borrow_mut();
        script.compiled.push(program.identifier.clone());
        if let Some(failure) = script.compiles.pop_front() {
            return Err(failure);
        }
        // From the files that are laid out, and by no other way.
        let (staged, kept) = (self.temporary().join(&program.identifier), self.kept(program));
        assert_eq!(fs::read(staged.join("model.mil")).expect("laid out"), program.files.text);
        fs::create_dir_all(kept.join("weights")).expect("writable");
        fs::copy(staged.join("model.mil"), kept.join("model.mil")).expect("laid out");
        for weights in &program.files.weights {
            let below = weights.name.strip_prefix("@model_path/").expect("below the text");
            fs::copy(staged.join(below), kept.join(below)).expect("laid out");
        }
        Ok(())
    }

    fn purge(&self, program: &Program) {
        self.script.borrow_mut().purged += 1;
        fs::remove_dir_all(self.kept(program)).expect("there");
    }

    fn load(&self, program: &mut Program, sizes: &SurfaceSizes) -> Result<(), FrameworkError> {
        let mut script = self.script.borrow_mut();
        if let Some(failure) = script.loads.pop_front() {
            return Err(failure);
        }
        let text = Some(self.kept(program));
        let part =
            ModelPart { label: PartLabel::only(LM_HEAD), stem: String::new(), package: None, compiled: None, text };
        let backend = ReferenceBackend::new(ReferenceOptions { numerics: NUMERICS, ..ReferenceOptions::default() });
        let function = backend.open(&part).and_then(|model| model.load("main"));
        program.function = Some(function.map_err(|error| failure(&error.to_string()))?);
        program.sizes = sizes.clone();
        script.loaded += 1;
        Ok(())
    }

    fn evaluate(
        &self,
        program: &mut Program,
        inputs: &[Vec<u8>],
        outputs: &mut [Vec<u8>],
    ) -> Result<(), FrameworkError> {
        let mut script = self.script.borrow_mut();
        if let Some(failure) = script.evaluations.pop_front() {
            return Err(failure);
        }
        if script.is_silent {
            return Ok(());
        }
        let function = program.function.as_ref().expect("loaded");
        let (given, made) = (sorted(&function.signature().inputs), sorted(&function.signature().outputs));
        let fit =
            |bytes: &[usize], surfaces: &[usize]| bytes.iter().zip(surfaces).all(|(bytes, surface)| bytes <= surface);
        assert!(fit(&inputs.iter().map(Vec::len).collect::<Vec<_>>(), &program.sizes.inputs), "inside of its surface");
        assert!(
            fit(&outputs.iter().map(Vec::len).collect::<Vec<_>>(), &program.sizes.outputs),
            "inside of its surface"
        );
        let tensors = given.iter().zip(inputs).map(|((name, layout), bytes)| {
            (name.clone(), read_strided(layout, bytes).expect("as many bytes as elements"))
        });
        let mut state = function.new_state().expect("no states");
        let found = function.predict(&tensors.collect::<Tensors>(), &mut state);
        let found = found.map_err(|error| failure(&error.to_string()))?;
        for ((name, layout), bytes) in made.iter().zip(outputs) {
            write_strided(&found[name], layout, bytes).expect("as many bytes as elements");
        }
        Ok(())
    }

    fn unload(&self, program: &mut Program) -> Result<(), FrameworkError> {
        if program.function.take().is_some() {
            self.script.borrow_mut().loaded -= 1;
        }
        Ok(())
    }
}

/// Names in alphabetical order, with how each lies in memory.
fn sorted(values: &[NamedValueType]) -> Vec<(String, Layout)> {
    let layout = |value: &NamedValueType| {
        let shape = value.ty.as_tensor().and_then(anec_mil::TensorType::fixed_shape).expect("a shape");
        let shape: Vec<usize> = shape.into_iter().map(|size| usize::try_from(size).expect("small")).collect();
        Layout::dense(NumberFormat::Float16, &shape)
    };
    let found: BTreeMap<String, Layout> = values.iter().map(|value| (value.name.clone(), layout(value))).collect();
    found.into_iter().collect()
}

/// The query projection of the first layer.
fn projection(directory: &Path) -> ModelPart {
    let directory = ModelDirectory::open(directory).expect("converted");
    directory.parts().iter().find(|part| part.label == PartLabel::numbered(Q_PROJ, 1)).expect("there").clone()
}

/// The message of an error, with its causes and its hint.
#[track_caller]
fn told<T>(result: Result<T, BackendError>) -> String {
    let Err(error) = result else { panic!("expected an error") };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text += ": ";
        text += &inner.to_string();
        cause = inner.source();
    }
    format!("{text} | {}", error.hint().unwrap_or_default())
}

#[test]
fn kernels_over_the_interface_compute_the_bits_of_the_reference_engine() {
    let tokens = tokens(20, 2048);
    for options in [&[][..], &["--fuse"], &["--ffn", "int8"], &["--lut", "4"]] {
        let parent = converted(&shipped(), &[&KERNELS[..], options].concat());
        let directory = parent.path().join("out");
        let interface = Pretended::new(parent.path());
        let opened = ModelDirectory::open(&directory).expect("converted");
        let mut session = opened.session(&PrivateAneBackend::new(interface.clone())).expect("usable");
        let step = |(position, token): (usize, &u32)| session.infer(*token, position).and_then(Output::into_logits);
        let found: Vec<Vec<f32>> =
            tokens.iter().enumerate().map(step).collect::<Result<_, _>>().expect("inside of the context");
        let expected = logits(&directory, &tokens, NUMERICS);
        assert!(found == expected, "{options:?}");
        let programs = opened.parts().len() - 2;
        let script = interface.script.borrow();
        assert_eq!((script.compiled.len(), script.loaded), (programs, programs), "all but embeddings and norms");
    }
}

#[test]
fn a_program_is_compiled_once_and_its_files_go_when_it_goes() {
    let parent = converted(&shipped(), &KERNELS);
    let (part, interface) = (projection(&parent.path().join("out")), Pretended::new(parent.path()));
    let compiled = |interface: &Pretended| interface.script.borrow().compiled.len();
    for expected in [1, 1] {
        let backend = PrivateAneBackend::new(interface.clone());
        let function = backend.open(&part).expect("openable").load("main").expect("loadable");
        assert_eq!(compiled(&interface), expected, "the system keeps what it compiled");
        drop(function);
        let left = fs::read_dir(interface.temporary()).expect("there").filter_map(Result::ok);
        let directories: Vec<_> = left.filter(|entry| entry.path().is_dir()).collect();
        assert!(directories.is_empty(), "{directories:?}");
        assert_eq!(interface.script.borrow().loaded, 0, "unloaded");
    }
    // Other weights are another program.
    let text = part.text.clone().expect("a text");
    let weights = fs::read_dir(text.join("weights")).expect("there").next().expect("a file").expect("readable").path();
    let mut bytes = fs::read(&weights).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&weights, bytes).expect("writable");
    let function = PrivateAneBackend::new(interface.clone()).open(&part).expect("openable").load("main");
    assert!(function.is_ok());
    assert_eq!(compiled(&interface), 2);
}

#[test]
fn what_the_system_kept_and_cannot_load_is_compiled_once_more() {
    let parent = converted(&shipped(), &KERNELS);
    let (part, interface) = (projection(&parent.path().join("out")), Pretended::new(parent.path()));
    let model = PrivateAneBackend::new(interface.clone()).open(&part).expect("openable");
    drop(model.load("main").expect("loadable"));
    interface.script.borrow_mut().loads = [failure("stale")].into();
    drop(model.load("main").expect("loadable at the second attempt"));
    let counts = |script: &Script| (script.compiled.len(), script.purged);
    assert_eq!(counts(&interface.script.borrow()), (2, 1));
    interface.script.borrow_mut().loads = [failure("stale"), failure("status 0x1d")].into();
    let message = told(model.load("main"));
    assert!(message.contains("`loadWithQoS:options:error:` failed: status 0x1d"), "{message}");
    assert_eq!(counts(&interface.script.borrow()), (3, 2), "not for ever");
}

#[test]
fn a_call_that_fails_says_what_where_and_what_the_system_said() {
    let parent = converted(&shipped(), &KERNELS);
    let (part, interface) = (projection(&parent.path().join("out")), Pretended::new(parent.path()));
    let model = PrivateAneBackend::new(interface.clone()).open(&part).expect("openable");
    interface.script.borrow_mut().compiles = [failure("InvalidMILProgram")].into();
    let message = told(model.load("main"));
    for expected in [
        &part.stem,
        "`main`",
        "`compileWithQoS:options:error:` failed",
        "InvalidMILProgram (com.apple.appleneuralengine 13)",
        "--backend coreml",
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let function = model.load("main").expect("the next attempt works");
    let inputs = function.signature().inputs.iter().map(|input| {
        let shape = sorted(std::slice::from_ref(input))[0].1.shape.clone();
        (input.name.clone(), anec_mil::evaluate::Tensor::zeros(anec_mil::DataType::Float16, &shape).expect("small"))
    });
    let inputs: Tensors = inputs.collect();
    let mut state = function.new_state().expect("none");
    interface.script.borrow_mut().evaluations = [failure("status 0x1d")].into();
    let message = told(function.predict(&inputs, &mut state));
    assert!(message.contains("`evaluateWithQoS:options:request:error:` failed: status 0x1d"), "{message}");
    assert!(function.predict(&inputs, &mut state).is_ok(), "the next works");
    interface.script.borrow_mut().is_silent = true;
    let message = told(function.predict(&inputs, &mut state));
    assert!(message.contains("wrote nothing into `y`"), "{message}");
    let message = told(function.predict(&Tensors::new(), &mut state));
    assert!(message.contains("the input `x` is missing"), "{message}");
}

#[test]
fn what_the_interface_does_not_run_is_refused() {
    let parent = converted(&shipped(), &[&KERNELS[..], &["--emit", "mlpackage"]].concat());
    let backend = PrivateAneBackend::new(Pretended::new(parent.path()));
    let message = told(backend.open(&projection(&parent.path().join("out"))).map(drop));
    assert!(message.contains("not there as text (.mil)") && message.contains("--layout kernels"), "{message}");
}

#[cfg(not(target_os = "macos"))]
#[test]
fn systems_without_the_interface_say_so() {
    use anec_runtime::backend::private_ane::SystemPrivateAne;
    let error = SystemPrivateAne::open_system().expect_err("not on this system");
    assert!(error.hint().expect("a hint").contains("--backend reference"));
}
