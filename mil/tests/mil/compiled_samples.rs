//! Compiled models that Core ML's own compiler made: compiling their packages here gives the same files.
//!
//! Runs over every `.mlmodelc` below the directory that `ANEC_SAMPLES` names; without it there is nothing to do. The
//! package, or the bare model message, that a compiled model was made from is the only one beside it. A compiled model
//! without one is read and compiled again.
//!
//! Left out of the comparison: the versions of the compiler, which are taken from the sample; the order of entries in maps,
//! which differs from run to run of Core ML's compiler; a newline at the end of a program, which editors add.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anec_mil::compiled::{
    ANALYTICS_PATH, Analytics, COMPILER_KEYS, CompileOptions, CompiledModel, CoreMlData, DATA_PATH, METADATA_PATH,
    PROGRAM_PATH, Unproven, compile, compile_pipeline, compiled_members, decompile_pipeline, normalized,
};
use anec_mil::package::{Model, Package, decode_model, decode_pipeline, encode_model, encode_pipeline};
use anec_mil::{ValueData, text};
use serde_json::Value as Json;

use crate::directory::{Directory, samples_if_any};

#[test]
fn compiled_models_of_others_are_made_again() {
    // Whatever they are called.
    let found =
        samples_if_any(|path| path.join(DATA_PATH).is_file() && path.join(PROGRAM_PATH).is_file() && !is_member(path));
    let pairs = found.iter().filter(|path| check(path)).count();
    assert!(found.is_empty() || pairs > 0, "none of {} compiled models is beside its source", found.len());
}

#[test]
fn compiled_pipelines_of_others_are_made_again() {
    for path in
        samples_if_any(|path| compiled_members(&Directory(path.to_owned())).is_ok_and(|members| members.is_some()))
    {
        check_pipeline(&path);
    }
}

/// Whether a compiled model is a member of a pipeline.
fn is_member(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.join(DATA_PATH).is_file())
}

fn check_pipeline(path: &Path) {
    let place = path.display();
    let pipeline = decompile_pipeline(&Directory(path.to_owned())).unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let read = |relative: &str| fs::read(path.join(relative)).ok();
    let text = |relative: &str| String::from_utf8(read(relative).unwrap_or_default()).expect("UTF-8");
    let package = path.with_extension("mlpackage");
    let message = if package.is_dir() {
        Package::open(Directory(package)).and_then(|package| package.model_bytes()).expect("a package")
    } else {
        encode_pipeline(&pipeline).expect("was read")
    };
    let source = decode_pipeline(&message).expect("valid").expect("a pipeline");
    assert_eq!(source.description, pipeline.description, "{place}");
    assert_eq!(source.members.len(), pipeline.members.len(), "{place}");
    for (index, member) in source.members.iter().enumerate().filter(|(_, member)| member.is_program()) {
        let compiler = compiler(&text(&format!("model{index}/{PROGRAM_PATH}")));
        let name = stem(path);
        let options = CompileOptions {
            compiler,
            unproven: Unproven::Allowed,
            ..CompileOptions::package(&name, message.as_slice())
        };
        let compiled = compile_pipeline(&source, &options).unwrap_or_else(|error| panic!("{place}: {error:?}"));
        for (relative, bytes) in compiled.files {
            let Some(expected) = read(&relative) else {
                // Older compilers write none.
                assert_eq!(relative, METADATA_PATH, "{place}");
                continue;
            };
            let parse = |bytes: &[u8]| comparable(serde_json::from_slice(bytes).expect("JSON"), true);
            match relative.as_str() {
                METADATA_PATH => assert_eq!(parse(&bytes), parse(&expected), "{place}"),
                // The hash is that of the source.
                ANALYTICS_PATH if !path.with_extension("mlpackage").is_dir() => {}
                // Entries of maps are in any order.
                relative if relative.ends_with(DATA_PATH) && !relative.contains("analytics") => {
                    assert_eq!(sorted(&bytes), sorted(&expected), "{place}: {relative}");
                }
                relative => assert!(bytes == expected, "{place}: {relative}"),
            }
        }
        let data = CompiledModel::open(Directory(path.join(format!("model{index}")))).expect("valid");
        assert_eq!(data.data().description, decode_model(&member.message).expect("valid").description, "{place}");
    }
}

fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.sort_unstable();
    bytes
}

/// The package or model message beside a compiled model: its model, its message, and the message's name.
fn source(compiled: &Path) -> Option<(Model, Vec<u8>, String, PathBuf)> {
    let beside = fs::read_dir(compiled.parent()?).expect("a directory").map(|entry| entry.expect("an entry").path());
    let is_model = |path: &PathBuf| path.extension().is_some_and(|end| end == "mlpackage" || end == "mlmodel");
    let path = beside.into_iter().find(is_model)?;
    let (bytes, name) = if path.is_dir() {
        let package = Package::open(Directory(path.clone())).expect("a package");
        (package.model_bytes().expect("readable"), "model".to_owned())
    } else {
        (fs::read(&path).expect("readable"), stem(&path))
    };
    Some((decode_model(&bytes).expect("valid"), bytes, name, path))
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned()
}

fn check(path: &Path) -> bool {
    let place = path.display();
    let compiled = CompiledModel::open(Directory(path.to_owned())).unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let read = compiled.model().unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let source = source(path);
    let (model, message, message_name, name) = match &source {
        Some((model, message, name, path)) => (model, message.as_slice(), name.as_str(), stem(path)),
        None => (&read, &[][..], "model", stem(path)),
    };
    assert_eq!(normalized(model.clone()), read, "{place}: the model is read back as it was");
    let package = encode_model(&read).expect("was read");
    assert_eq!(decode_model(&package).expect("was written"), read, "{place}: a package made of it is the same model");

    let expected_text = compiled.program_text().expect("readable");
    let compiler = compiler(&expected_text);
    let options = CompileOptions { message, message_name, name: &name, compiler, unproven: Unproven::Allowed };
    let files = compile(model, &options).unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let expected_text = expected_text.strip_suffix('\n').unwrap_or(&expected_text);
    assert!(files.program == expected_text, "{place}: {}", first_difference(&files.program, expected_text));

    let expected_data = fs::read(path.join(DATA_PATH)).expect("readable");
    let ordered = CoreMlData::from_bytes(&expected_data).expect("valid").to_bytes().expect("was read");
    assert_eq!((files.data.len(), &files.data), (expected_data.len(), &ordered), "{place}");
    let user_defined = model.description.metadata.as_ref().map_or(0, |metadata| metadata.user_defined.len());
    assert!(
        user_defined > 1 || files.data == expected_data,
        "{place}: nothing in `{DATA_PATH}` can be in another order"
    );

    if let Ok(expected) = fs::read(path.join(ANALYTICS_PATH)) {
        assert_eq!(Analytics::from_bytes(&expected).expect("valid").to_bytes(), expected, "{place}");
        if source.is_some() {
            assert_eq!(files.analytics, expected, "{place}");
        }
    }
    let parse = |text: &str| comparable(serde_json::from_str(text).expect("JSON"), source.is_some());
    let expected = fs::read_to_string(path.join(METADATA_PATH)).expect("readable");
    assert_eq!(parse(&files.metadata), parse(&expected), "{place}");
    source.is_some()
}

/// What the sample says about its compiler.
fn compiler(program: &str) -> BTreeMap<String, String> {
    let program = text::parse(program).expect("a program").program;
    let Some(ValueData::Dictionary(entries)) = program.attributes.get("buildInfo").map(|value| &value.data) else {
        return BTreeMap::new();
    };
    let entries =
        entries.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())));
    entries.filter(|(key, _)| COMPILER_KEYS.contains(&key.as_str())).collect()
}

/// Objects without order. A sample whose source is not there has
/// been renamed, so the name of its class says nothing.
fn comparable(json: Json, with_name: bool) -> Json {
    match json {
        Json::Object(object) => {
            let mut sorted: BTreeMap<String, Json> = BTreeMap::new();
            for (key, value) in object {
                let value = match (key.as_str(), value) {
                    ("generatedClassName", _) if !with_name => continue,
                    (_, value) => comparable(value, with_name),
                };
                sorted.insert(key, value);
            }
            sorted.into_iter().collect()
        }
        Json::Array(values) => values.into_iter().map(|value| comparable(value, with_name)).collect(),
        other => other,
    }
}

fn first_difference(found: &str, expected: &str) -> String {
    let line = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    let line = line.unwrap_or(0);
    format!("line {}:\n{:?}\n{:?}", line + 1, found.lines().nth(line), expected.lines().nth(line))
}
