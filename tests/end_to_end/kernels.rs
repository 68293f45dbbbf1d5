//! Kernels with their driver compute what the stateful programs compute, and a prompt what its tokens compute one by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anec_mil::blob::BlobReader;
use anec_mil::evaluate::Numerics;
use anec_runtime::ModelDirectory;
use anec_runtime::session::Output;
use anec_schemas::kernels::{KERNELS_JSON, KernelsManifest};

use crate::plan_decisions::{converted, difference, logits, session, shipped, tokens};
use crate::windows;

const KERNELS: [&str; 4] = ["--layout", "kernels", "--context-length", "128"];

/// The logits after every token of a prompt, as many tokens a call as there are columns.
fn verified(directory: &Path, tokens: &[u32]) -> Vec<Vec<f32>> {
    let outputs = session(directory, Numerics::F32).verify(tokens, 0).expect("inside of the context");
    outputs.into_iter().map(Output::into_logits).collect::<Result<_, _>>().expect("logits")
}

#[test]
fn a_prompt_gives_the_bits_of_its_tokens_one_by_one() {
    for columns in ["16", "32"] {
        let directory = converted(&shipped(), &[&KERNELS[..], &["--query-length", columns]].concat());
        let directory = directory.path().join("out");
        let tokens = tokens(40, 2048);
        let one_by_one = logits(&directory, &tokens, Numerics::F32);
        for (position, (one, other)) in one_by_one.iter().zip(verified(&directory, &tokens)).enumerate() {
            let bits = |logits: &[f32]| logits.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
            assert!(bits(one) == bits(&other), "token {position} with {columns} columns");
        }
        // A prompt that is fed as a client feeds it ends in the same logits.
        let fed = session(&directory, Numerics::F32).feed(&tokens, 0).expect("fits").expect("tokens");
        assert_eq!(fed.into_logits().expect("logits"), one_by_one[39]);
    }
}

#[test]
fn kernels_compute_what_stateful_programs_compute() {
    let windows = windows::written();
    for (checkpoint, vocabulary) in [(shipped(), 2048), (windows.path().to_owned(), 128)] {
        let tokens = tokens(48, vocabulary);
        let stateful = converted(&checkpoint, &["--context-length", "128", "--single-cache"]);
        let expected = logits(&stateful.path().join("out"), &tokens, Numerics::F32);
        for options in [&[][..], &["--fuse"]] {
            let kernels = converted(&checkpoint, &[&KERNELS[..], options].concat());
            let (difference, largest) = difference(&expected, &verified(&kernels.path().join("out"), &tokens));
            assert!(difference <= 2e-4 * largest, "{options:?}: {difference} of {largest}");
        }
    }
}

#[test]
fn texts_and_packages_hold_the_same_programs_and_weights() {
    let tokens = tokens(8, 2048);
    let both: Vec<Vec<Vec<f32>>> = ["mil", "mlpackage"]
        .iter()
        .map(|form| {
            let directory = converted(&shipped(), &[&KERNELS[..], &["--emit", form, "--ffn", "int8"]].concat());
            let directory = directory.path().join("out");
            let opened = ModelDirectory::open(&directory).expect("converted");
            assert!(opened.parts().iter().all(
                    |part| (part.text.is_some(), part.package.is_some()) == (*form == "mil", *form == "mlpackage")
                ));
            logits(&directory, &tokens, Numerics::F32)
        })
        .collect();
    assert_eq!(both[0], both[1]);
}

#[test]
fn every_matrix_has_a_weight_file_of_its_own_and_the_manifest_says_which() {
    let directory = converted(&shipped(), &KERNELS);
    let directory = directory.path().join("out");
    let text = fs::read_to_string(directory.join(KERNELS_JSON)).expect("written");
    let manifest = KernelsManifest::from_json(&text).expect("a manifest");
    assert_eq!((manifest.query_length, manifest.program_version.as_str()), (32, "1.3"));
    let mut matrices = 0;
    for program in &manifest.programs {
        let text =
            fs::read_to_string(directory.join(program.text.as_ref().expect("texts are written"))).expect("there");
        assert!(text.starts_with("program(1.3)\n[buildInfo = dict<string, string>({{"), "{}", program.name);
        let mut files: BTreeSet<&str> = BTreeSet::new();
        for file in &program.weight_files {
            let bytes = fs::read(directory.join(&file.path)).expect("there");
            assert_eq!(bytes.len() as u64, file.bytes, "{}", file.path);
            assert_eq!(
                BlobReader::new(&bytes).expect("a weight file").blobs().expect("valid").len(),
                1,
                "{}",
                file.path
            );
            let blob = format!("BLOBFILE(path = string(\"{}\"), offset = uint64(64))", file.name);
            assert!(text.contains(&blob), "{}: {blob}", program.name);
            files.insert(&file.name);
        }
        assert_eq!(text.matches("BLOBFILE").count(), files.len(), "{}: a file for each blob", program.name);
        let records = program.blobs.iter().flat_map(|blob| &blob.records);
        for record in records {
            assert_eq!(record.offset, 64);
            assert!(files.remove(record.file.as_str()), "{}: {} once", program.name, record.file);
        }
        let is_kernel = program.role.ends_with("_proj") || program.role == "lm_head";
        if is_kernel {
            assert!(files.is_empty(), "{}: {files:?} have an origin", program.name);
            assert_eq!(program.blobs.len(), 1, "{}: a matrix without a bias", program.name);
            let [rows, columns] = [program.blobs[0].rows, program.blobs[0].columns].map(|[start, end]| end - start);
            assert_eq!(program.blobs[0].bytes, 2 * rows * columns);
            assert_eq!((program.inputs[0].bytes, program.outputs[0].bytes), (2 * columns * 32, 2 * rows * 32));
            matrices += 1;
        }
    }
    assert_eq!(matrices, manifest.programs.len() - 2, "embeddings and norms beside");
}
