//! The meta files: exact text, and reading back.

use anec_schemas::meta::META_VERSION;
use anec_schemas::{LutBits, MetaError, MetaYaml, ModelInfo, Origin, Parameters, RecommendedSampling};

fn sample() -> MetaYaml {
    MetaYaml {
        model_info: ModelInfo {
            name: "anec-Qwen3-0.6B-ctx512".to_owned(),
            version: META_VERSION.to_owned(),
            description: "Qwen3-0.6B for the Neural Engine\nContext length: 512".to_owned(),
            license: "MIT".to_owned(),
            author: "anec".to_owned(),
            framework: "Core ML".to_owned(),
            language: "Rust".to_owned(),
            architecture: "qwen3".to_owned(),
            model_type: None,
            parameters: Parameters {
                context_length: 512,
                batch_size: 64,
                lut_ffn: Some(LutBits(Some(4))),
                lut_ffn_per_channel: Some(8),
                lut_lmhead: LutBits(Some(6)),
                num_chunks: 2,
                model_prefix: "qwen".to_owned(),
                embeddings: Some("qwen_embeddings.mlmodelc".to_owned()),
                lm_head: Some("qwen_lm_head_lut6.mlmodelc".to_owned()),
                ffn: Some("qwen_FFN_PF_lut4_chunk_01of02.mlmodelc".to_owned()),
                split_lm_head: Some(2),
                argmax_in_model: true,
                vocab_size: Some(151_936),
                lm_head_chunk_sizes: vec![75_968, 75_968],
                sliding_window: Some(256),
                prefill_dynamic_slice: true,
                recommended_sampling: Some(RecommendedSampling {
                    do_sample: Some(true),
                    temperature: Some(1.0),
                    top_p: Some(0.95),
                    top_k: Some(20),
                }),
                ..Parameters::default()
            },
            origin: Some(Origin {
                converter: "anec 0.1.0".to_owned(),
                source: "Qwen/Qwen3-0.6B".to_owned(),
                source_revision: Some("0123".to_owned()),
                command: Some("anec convert Qwen/Qwen3-0.6B --lut 4".to_owned()),
                calibration: "builtin".to_owned(),
                eos_token_ids: vec![151_645, 151_643],
            }),
        },
    }
}

#[test]
fn the_text_is_exact() {
    let conversion = [("architecture".to_owned(), "qwen3".to_owned()), ("lut".to_owned(), "4\n6".to_owned())];
    let text = sample().to_yaml(&conversion).expect("valid");
    let expected = "\
model_info:
  name: anec-Qwen3-0.6B-ctx512
  version: 0.3.5
  description: |
    Qwen3-0.6B for the Neural Engine
    Context length: 512
  license: MIT
  author: anec
  framework: Core ML
  language: Rust
  architecture: qwen3
  parameters:
    context_length: 512
    batch_size: 64
    lut_embeddings: none
    lut_ffn: 4
    lut_ffn_per_channel: 8
    lut_lmhead: 6
    num_chunks: 2
    model_prefix: qwen
    embeddings: qwen_embeddings.mlmodelc
    lm_head: qwen_lm_head_lut6.mlmodelc
    ffn: qwen_FFN_PF_lut4_chunk_01of02.mlmodelc
    split_lm_head: 2
    argmax_in_model: true
    vocab_size: 151936
    lm_head_chunk_sizes: [75968, 75968]
    sliding_window: 256
    prefill_dynamic_slice: true
    recommended_sampling:
      do_sample: true
      temperature: 1.0
      top_p: 0.95
      top_k: 20
  origin:
    converter: anec 0.1.0
    source: Qwen/Qwen3-0.6B
    source_revision: \"0123\"
    command: \"anec convert Qwen/Qwen3-0.6B --lut 4\"
    calibration: builtin
    eos_token_ids: [151645, 151643]

# ============================================================================
# Conversion
# ============================================================================
# architecture = qwen3
# lut = 4 6
# ============================================================================
";
    assert_eq!(text, expected);
}

#[test]
fn both_forms_are_read_back() {
    let meta = sample();
    assert_eq!(MetaYaml::from_yaml(&meta.to_yaml(&[]).expect("valid")).expect("own text"), meta);
    let json = meta.to_json().expect("valid");
    assert!(json.contains("\"lut_embeddings\": \"none\""));
    assert_eq!(MetaYaml::from_json(&json).expect("own text"), meta);
}

#[test]
fn any_text_survives() {
    let texts = [
        "",
        " ",
        "none",
        "NO",
        "1",
        "1.5",
        "0x10",
        "1e3",
        "0.3.5",
        "~",
        "- a",
        "a: b",
        "a #b",
        "#",
        "'",
        "\"",
        "\\",
        "é",
        "a\nb",
        " a\nb",
        "a\n b",
        "a\n\nb",
        "a\r\nb",
        "a\tb",
        "\u{7f}\u{85}\u{2028}",
        "|",
        ">",
        "{a}",
        "[a]",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "a,",
        "2001-01-01",
        "1:30",
        "---",
        "...",
        ".inf",
        "<<",
        "=",
        "a:",
        ":a",
        "true",
        "名前",
    ];
    for text in texts {
        let mut meta = sample();
        meta.model_info.name = text.to_owned();
        meta.model_info.description = text.to_owned();
        meta.model_info.parameters.model_prefix = text.to_owned();
        let yaml = meta.to_yaml(&[(text.to_owned(), text.to_owned())]).expect("valid");
        assert_eq!(MetaYaml::from_yaml(&yaml).expect("own text"), meta, "{yaml}");
    }
}

#[test]
fn files_of_older_converters_are_read() {
    let text = "
model_info:
  name: anemll-llama
  version: 0.3.0
  unknown_key: [1, {a: b}]
  parameters:
    context_length: 1024
    batch_size: 64
    lut_embeddings: none
    lut_ffn: None
    lut_lmhead: 6
    num_chunks: 1
    split_rotate: true
# Generated: never
";
    let parameters = MetaYaml::from_yaml(text).expect("readable").model_info.parameters;
    assert_eq!((parameters.lut_ffn, parameters.lut_lmhead), (Some(LutBits(None)), LutBits(Some(6))));
    assert_eq!(parameters.ffn, None);
    assert!(!parameters.prefill_dynamic_slice);
}

#[test]
fn versions_that_clients_treat_as_old_are_not_written() {
    for version in ["0.1.1", "0.3.4", "1", "", "0.3.5-beta"] {
        let mut meta = sample();
        meta.model_info.version = version.to_owned();
        assert!(matches!(meta.to_yaml(&[]), Err(MetaError::Version { .. })), "{version}");
    }
    let mut meta = sample();
    meta.model_info.version = "0.10.0".to_owned();
    assert!(meta.to_yaml(&[]).is_ok());
}

#[test]
fn malformed_files_are_errors() {
    for text in ["", "a", "model_info:", "model_info: {parameters: {context_length: x}}", "[[[[", "&a [*a, *a]"] {
        assert!(matches!(MetaYaml::from_yaml(text), Err(MetaError::Yaml { .. })), "{text}");
    }
    assert!(matches!(MetaYaml::from_json("{"), Err(MetaError::Json(_))));
}

#[test]
fn numbers_that_are_not_finite_are_not_written() {
    let mut meta = sample();
    meta.model_info.parameters.recommended_sampling =
        Some(RecommendedSampling { top_p: Some(f64::NAN), ..RecommendedSampling::default() });
    assert!(matches!(meta.to_json(), Err(MetaError::NotFinite { key: "top_p", .. })));
}

#[test]
fn the_contract_and_the_files_of_its_roles_survive() {
    let mut meta = sample();
    let parameters = &mut meta.model_info.parameters;
    parameters.contract = Some("stateful".to_owned());
    parameters.files.insert("chunk".to_owned(), vec!["a_chunk1".to_owned(), "a \"b\"".to_owned()]);
    parameters.files.insert("lm_head".to_owned(), vec!["no".to_owned()]);
    let yaml = meta.to_yaml(&[]).expect("valid");
    assert!(
        yaml.contains("    contract: stateful\n    files:\n      chunk: [\"a_chunk1\", \"a \\\"b\\\"\"]\n"),
        "{yaml}"
    );
    assert_eq!(MetaYaml::from_yaml(&yaml).expect("read back"), meta);
    assert_eq!(MetaYaml::from_json(&meta.to_json().expect("valid")).expect("read back"), meta);
}

#[test]
fn a_model_in_one_file_has_the_keys_that_anemll_writes_for_one() {
    let mut meta = sample();
    meta.model_info.model_type = Some("monolithic".to_owned());
    meta.model_info.origin = None;
    meta.model_info.parameters = Parameters {
        context_length: 512,
        batch_size: 64,
        lut_bits: Some(LutBits(Some(4))),
        lut_per_channel: Some(8),
        model_prefix: "qwen".to_owned(),
        monolithic_model: Some("qwen_monolithic_full_lut4.mlmodelc".to_owned()),
        split_lm_head: Some(16),
        functions: vec!["infer".to_owned(), "prefill".to_owned()],
        ..Parameters::default()
    };
    let yaml = meta.to_yaml(&[]).expect("valid");
    let (_, parameters) = yaml.split_once("  model_type: monolithic\n  parameters:\n").expect("names the form");
    let expected = "    context_length: 512
    batch_size: 64
    lut_bits: 4
    lut_per_channel: 8
    lut_embeddings: none
    lut_lmhead: none
    model_prefix: qwen
    monolithic_model: qwen_monolithic_full_lut4.mlmodelc
    split_lm_head: 16
    functions:
      - infer
      - prefill
";
    assert_eq!(parameters, expected);
    assert_eq!(MetaYaml::from_yaml(&yaml).expect("read back"), meta);
    assert_eq!(MetaYaml::from_json(&meta.to_json().expect("valid")).expect("read back"), meta);
}
