//! The layout of CONTRIBUTING.md works, and stands there as it is here.

use std::path::Path;

use super::worked_example::Short;
use super::*;
use crate::model::arch::{self, ArchChoice};
use crate::options::Emit;
use crate::output::description;
use crate::planner;

fn plan(options: Options) -> Result<ConversionPlan, PlanError> {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let decoder = arch::plan(ArchChoice::Auto, config.as_object().expect("an object"), &[]).expect("a small model");
    let longest = options.context_length;
    planner::plan(&Short, decoder, options, longest, None)
}

fn compiled() -> Options {
    Options { emit: Emit(vec!["mlmodelc"]), ..Options::default() }
}

#[test]
fn the_example_names_its_files_and_its_meta_file_names_them_too() {
    let plan = plan(compiled()).expect("planned");
    let stems: Vec<&str> = plan.files.iter().map(|file| file.stem.as_str()).collect();
    assert_eq!(stems, ["e_chunk_01of01", "c_chunk_01of01", "l_chunk_01of01"]);
    let side_files = Short.side_files(&plan, Path::new("tiny")).expect("written");
    let [yaml, _] = &side_files[..] else { panic!("two meta files") };
    assert!(yaml.text.contains("    ffn: c_chunk_01of01.mlmodelc\n"), "{}", yaml.text);
    let model = description::model(&Short, &plan, &plan.files[0], plan.files[0].program()).expect("describable");
    assert_eq!(model.description.metadata.expect("has metadata").short_description, "embeddings of llama");
}

#[test]
fn the_example_refuses_what_it_cannot_honour() {
    let error = |options| plan(options).err().expect("refused").to_string();
    let argmax = Options { argmax: true, ..compiled() };
    assert_eq!(error(argmax), "Cannot use `--argmax`: the app samples from logits");
    assert_eq!(error(Options::default()), "Cannot use `--emit mlpackage`: the layout `short` takes mlmodelc");
}

#[test]
fn the_example_stands_in_contributing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs_err::read_to_string(root.join("../CONTRIBUTING.md")).expect("there");
    let code = include_str!("worked_example.rs");
    assert!(document.contains(&format!("```rust\n{code}```")), "copy worked_example.rs into CONTRIBUTING.md");
}
