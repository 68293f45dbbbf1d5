//! Opening converted directories: what is found, and what is refused.

use std::fs;
use std::path::Path;

use anec_mil::compiled::{CompileOptions, compile};
use anec_mil::package::{
    FlexibleInputs, FunctionDescription, MANIFEST_PATH, MODEL_PATH, Model, ModelDescription, PackageError,
    WEIGHTS_DIRECTORY, encode_model,
};
use anec_mil::stored::{Form, StoredModelError};
use anec_mil::{Block, DataType, Function, NamedValueType, Opset, Program, TensorType};
use anec_runtime::{DirectoryError, ModelDirectory, PartError, PartLabel};
use anec_schemas::Manifest;
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, LM_HEAD};
use anec_schemas::manifest::Weights;
use tempfile::TempDir;

fn model() -> Model {
    let function = Function {
        inputs: vec![NamedValueType::new("x", TensorType::fixed(DataType::Float16, &[1]))],
        opset: Opset::Ios18,
        block: Block { outputs: vec!["x".to_owned()], ..Block::default() },
        attributes: [].into(),
    };
    let description = FunctionDescription::of("main", &function, &FlexibleInputs::new()).expect("static shapes");
    Model {
        specification_version: 9,
        description: ModelDescription::single(description),
        program: Program { functions: [("main".to_owned(), function)].into(), attributes: [].into() },
    }
}

fn write_package(path: &Path) {
    fs::create_dir_all(path.join(WEIGHTS_DIRECTORY)).expect("writable");
    fs::write(path.join(MANIFEST_PATH), Manifest::for_package(Weights::Absent).to_json()).expect("writable");
    fs::write(path.join(MODEL_PATH), encode_model(&model()).expect("valid")).expect("writable");
}

fn write_compiled(path: &Path) {
    fs::create_dir_all(path.join("analytics")).expect("writable");
    let compiled = compile(&model(), &CompileOptions::package("model", &[])).expect("valid");
    for (name, bytes) in compiled.files() {
        fs::write(path.join(name), bytes).expect("writable");
    }
}

fn write_meta(root: &Path, embeddings: &str, ffn: &str, num_chunks: u64) {
    let text = format!(
        "model_info:\n  version: 0.3.5\n  parameters:\n    context_length: 64\n    batch_size: 8\n    \
         num_chunks: {num_chunks}\n    embeddings: {embeddings}\n    lm_head: lm_head.mlmodelc\n    ffn: {ffn}\n"
    );
    fs::write(root.join("meta.yaml"), text).expect("writable");
}

/// Two chunks as packages, embeddings in both forms, an LM head in compiled form only.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("writable");
    let root = directory.path();
    for name in ["embeddings", "layers_chunk_01of02", "layers_chunk_02of02"] {
        write_package(&root.join(format!("{name}.mlpackage")));
    }
    write_compiled(&root.join("embeddings.mlmodelc"));
    write_compiled(&root.join("lm_head.mlmodelc"));
    write_meta(root, "embeddings.mlmodelc", "layers_chunk_01of02.mlmodelc", 2);
    directory
}

#[test]
fn models_are_found_in_either_form_in_the_order_of_use() {
    let directory = directory();
    let opened = ModelDirectory::open(directory.path()).expect("complete");
    assert_eq!(opened.meta().model_info.parameters.context_length, 64);
    let found: Vec<_> = opened
        .parts()
        .iter()
        .map(|part| (part.label, part.stem.as_str(), part.package.is_some(), part.compiled.is_some()))
        .collect();
    let expected = [
        (PartLabel::only(EMBEDDINGS), "embeddings", true, true),
        (PartLabel::numbered(CHUNK, 1), "layers_chunk_01of02", true, false),
        (PartLabel::numbered(CHUNK, 2), "layers_chunk_02of02", true, false),
        (PartLabel::only(LM_HEAD), "lm_head", false, true),
    ];
    assert_eq!(found, expected);
}

#[test]
fn models_are_opened_in_the_form_that_is_there() {
    let directory = directory();
    let opened = ModelDirectory::open(directory.path()).expect("complete");
    for (part, form) in [(1, Form::Package), (3, Form::Compiled)] {
        let stored = opened.parts()[part].open().expect("a model");
        assert_eq!(stored.form(), form);
        assert_eq!(stored.model().expect("valid"), model());
    }
    let embeddings = &opened.parts()[0];
    let compiled = embeddings.open_as(Form::Compiled).expect("a compiled model").model();
    assert_eq!(compiled.expect("valid"), embeddings.open_as(Form::Package).expect("a package").model().expect("valid"));
    let missing = opened.parts()[3].open_as(Form::Package).map(|_| ());
    assert!(matches!(missing, Err(PartError::FormMissing { label, .. }) if label == PartLabel::only(LM_HEAD)));
}

#[test]
fn what_is_missing_is_named() {
    let directory = directory();
    let root = directory.path();
    fs::remove_dir_all(root.join("layers_chunk_02of02.mlpackage")).expect("writable");
    let error = ModelDirectory::open(root).expect_err("a chunk is missing");
    assert_eq!(
        error.to_string(),
        "The chunk 2 `layers_chunk_02of02` is there neither as .mlpackage nor as .mlmodelc nor as .mil"
    );
    fs::write(root.join("meta.yaml"), "model_info: {parameters: {context_length: 1, batch_size: 1, num_chunks: 1}}")
        .expect("writable");
    assert!(matches!(ModelDirectory::open(root), Err(DirectoryError::Part(PartError::NotNamed { key: "embeddings" }))));
    fs::remove_file(root.join("meta.yaml")).expect("writable");
    assert!(matches!(ModelDirectory::open(root), Err(DirectoryError::Io { .. })));
}

#[test]
fn chunk_names_must_agree_with_their_number() {
    let directory = directory();
    let root = directory.path();
    for (ffn, num_chunks) in
        [("layers_chunk_01of02", 3), ("layers_chunk_01of02", u64::MAX), ("layers_chunk_02of02", 2), ("layers", 2)]
    {
        write_meta(root, "embeddings", ffn, num_chunks);
        let error = ModelDirectory::open(root).expect_err("contradiction");
        assert!(matches!(error, DirectoryError::Part(PartError::ChunkName { .. })), "{ffn} {num_chunks}");
    }
}

#[test]
fn a_single_chunk_needs_no_number() {
    let directory = directory();
    let root = directory.path();
    write_package(&root.join("layers.mlpackage"));
    write_meta(root, "embeddings", "layers.mlpackage", 1);
    let opened = ModelDirectory::open(root).expect("complete");
    assert_eq!(opened.parts()[1].stem, "layers");
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    let directory = directory();
    for name in ["../embeddings", "/embeddings", "a/../../embeddings", ".mlmodelc"] {
        write_meta(directory.path(), name, "layers_chunk_01of02", 2);
        let error = ModelDirectory::open(directory.path()).expect_err("outside");
        assert!(matches!(error, DirectoryError::Part(PartError::Path { key: "embeddings", .. })), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn symbolic_links_that_lead_out_are_refused() {
    use std::os::unix::fs::symlink;

    let outside = directory();
    let inside = directory();
    let root = inside.path();
    let embeddings = root.join("embeddings.mlpackage");
    fs::remove_dir_all(&embeddings).expect("writable");
    symlink(outside.path().join("embeddings.mlpackage"), &embeddings).expect("writable");
    assert!(matches!(ModelDirectory::open(root), Err(DirectoryError::Part(PartError::Io { .. }))));

    fs::remove_file(&embeddings).expect("writable");
    write_package(&embeddings);
    let model = embeddings.join(MODEL_PATH);
    fs::remove_file(&model).expect("writable");
    symlink(outside.path().join("embeddings.mlpackage").join(MODEL_PATH), &model).expect("writable");
    let package = ModelDirectory::open(root).expect("complete").parts()[0].open().expect("a manifest");
    assert!(matches!(package.model(), Err(StoredModelError::Package(PackageError::Io { .. }))));
}
