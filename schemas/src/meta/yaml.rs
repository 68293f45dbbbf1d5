//! Writes `meta.yaml` by hand, because its layout is part of the format: two spaces before what people read, four
//! before parameters, plain numbers, lists in one line.

use std::fmt::{Display, Write as _};

use super::{Glue, ModelInfo, Origin, RecommendedSampling};

const INFO_INDENT: usize = 2;
const PARAMETER_INDENT: usize = 4;
const SAMPLING_INDENT: usize = 6;
const FILES_INDENT: usize = 6;
const GLUE_INDENT: usize = 6;
const FUNCTIONS_INDENT: usize = 6;

/// Line around the comments at the end.
const RULE: &str = "# ============================================================================";

pub(super) fn format(info: &ModelInfo, conversion: &[(String, String)]) -> String {
    let mut text = String::from("model_info:\n");
    line(&mut text, INFO_INDENT, "name", scalar(&info.name));
    line(&mut text, INFO_INDENT, "version", scalar(&info.version));
    line(&mut text, INFO_INDENT, "description", block(&info.description));
    line(&mut text, INFO_INDENT, "license", scalar(&info.license));
    line(&mut text, INFO_INDENT, "author", scalar(&info.author));
    line(&mut text, INFO_INDENT, "framework", scalar(&info.framework));
    line(&mut text, INFO_INDENT, "language", scalar(&info.language));
    line(&mut text, INFO_INDENT, "architecture", scalar(&info.architecture));
    optional(&mut text, INFO_INDENT, "model_type", info.model_type.as_deref().map(scalar));
    text.push_str("  parameters:\n");
    parameters(&mut text, info);
    if let Some(found) = &info.origin {
        origin(&mut text, found);
    }
    comments(&mut text, conversion);
    text
}

fn parameters(text: &mut String, info: &ModelInfo) {
    let parameters = &info.parameters;
    let string = |value: &Option<String>| value.as_deref().map(scalar);
    let flag = |flag: bool| flag.then_some(true);
    line(text, PARAMETER_INDENT, "context_length", parameters.context_length);
    line(text, PARAMETER_INDENT, "batch_size", parameters.batch_size);
    optional(text, PARAMETER_INDENT, "max_positions", parameters.max_positions);
    optional(text, PARAMETER_INDENT, "lut_bits", parameters.lut_bits);
    optional(text, PARAMETER_INDENT, "lut_per_channel", parameters.lut_per_channel);
    line(text, PARAMETER_INDENT, "lut_embeddings", parameters.lut_embeddings);
    optional(text, PARAMETER_INDENT, "lut_embeddings_per_channel", parameters.lut_embeddings_per_channel);
    optional(text, PARAMETER_INDENT, "lut_ffn", parameters.lut_ffn);
    optional(text, PARAMETER_INDENT, "lut_ffn_per_channel", parameters.lut_ffn_per_channel);
    line(text, PARAMETER_INDENT, "lut_lmhead", parameters.lut_lmhead);
    optional(text, PARAMETER_INDENT, "lut_lmhead_per_channel", parameters.lut_lmhead_per_channel);
    optional(text, PARAMETER_INDENT, "num_chunks", Some(parameters.num_chunks).filter(|chunks| *chunks > 0));
    line(text, PARAMETER_INDENT, "model_prefix", scalar(&parameters.model_prefix));
    optional(text, PARAMETER_INDENT, "embeddings", string(&parameters.embeddings));
    optional(text, PARAMETER_INDENT, "lm_head", string(&parameters.lm_head));
    optional(text, PARAMETER_INDENT, "ffn", string(&parameters.ffn));
    optional(text, PARAMETER_INDENT, "pf", string(&parameters.pf));
    optional(text, PARAMETER_INDENT, "monolithic_model", string(&parameters.monolithic_model));
    optional(text, PARAMETER_INDENT, "split_lm_head", parameters.split_lm_head);
    optional(text, PARAMETER_INDENT, "argmax_in_model", flag(parameters.argmax_in_model));
    optional(text, PARAMETER_INDENT, "vocab_size", parameters.vocab_size);
    optional(text, PARAMETER_INDENT, "lm_head_chunk_sizes", list(&parameters.lm_head_chunk_sizes));
    optional(text, PARAMETER_INDENT, "split_rotate", flag(parameters.split_rotate));
    optional(text, PARAMETER_INDENT, "sliding_window", parameters.sliding_window);
    optional(text, PARAMETER_INDENT, "prefill_dynamic_slice", flag(parameters.prefill_dynamic_slice));
    optional(text, PARAMETER_INDENT, "single_cache", flag(parameters.single_cache));
    if !parameters.functions.is_empty() {
        text.push_str("    functions:\n");
        for function in &parameters.functions {
            let _ = writeln!(text, "{:FUNCTIONS_INDENT$}- {}", "", scalar(function));
        }
    }
    optional(text, PARAMETER_INDENT, "query_length", parameters.query_length);
    optional(text, PARAMETER_INDENT, "verify_length", parameters.verify_length);
    optional(text, PARAMETER_INDENT, "ring_length", parameters.ring_length);
    optional(text, PARAMETER_INDENT, "ring_window", parameters.ring_window);
    optional(text, PARAMETER_INDENT, "hidden_size", parameters.hidden_size);
    optional(text, PARAMETER_INDENT, "num_key_value_heads", parameters.num_key_value_heads);
    optional(text, PARAMETER_INDENT, "head_dim", parameters.head_dim);
    optional(text, PARAMETER_INDENT, "chunk_layers", list(&parameters.chunk_layers));
    optional(text, PARAMETER_INDENT, "attention_windows", list(&parameters.attention_windows));
    optional(text, PARAMETER_INDENT, "rotary_dims", list(&parameters.rotary_dims));
    optional(text, PARAMETER_INDENT, "contract", string(&parameters.contract));
    if !parameters.files.is_empty() {
        text.push_str("    files:\n");
        for (role, stems) in &parameters.files {
            let stems: Vec<String> = stems.iter().map(|stem| quoted(stem)).collect();
            line(text, FILES_INDENT, &scalar(role), format!("[{}]", stems.join(", ")));
        }
    }
    if let Some(given) = &parameters.glue {
        glue(text, given);
    }
    if let Some(recommended) = &parameters.recommended_sampling {
        sampling(text, recommended);
    }
}

fn origin(text: &mut String, origin: &Origin) {
    text.push_str("  origin:\n");
    line(text, PARAMETER_INDENT, "converter", scalar(&origin.converter));
    line(text, PARAMETER_INDENT, "source", scalar(&origin.source));
    optional(text, PARAMETER_INDENT, "source_revision", origin.source_revision.as_deref().map(quoted));
    optional(text, PARAMETER_INDENT, "command", origin.command.as_deref().map(quoted));
    line(text, PARAMETER_INDENT, "calibration", scalar(&origin.calibration));
    optional(text, PARAMETER_INDENT, "eos_token_ids", list(&origin.eos_token_ids));
}

fn glue(text: &mut String, glue: &Glue) {
    text.push_str("    glue:\n");
    line(text, GLUE_INDENT, "num_attention_heads", glue.num_attention_heads);
    line(text, GLUE_INDENT, "intermediate_size", glue.intermediate_size);
    line(text, GLUE_INDENT, "activation", scalar(&glue.activation));
    for (key, number) in glue.numbers() {
        line(text, GLUE_INDENT, key, format!("{number:?}"));
    }
    line(text, GLUE_INDENT, "head_norms", glue.head_norms);
    let norms: Vec<String> = glue.norms.iter().map(|norm| quoted(norm)).collect();
    line(text, GLUE_INDENT, "norms", format!("[{}]", norms.join(", ")));
    optional(text, GLUE_INDENT, "layer_windows", list(&glue.layer_windows));
    optional(text, GLUE_INDENT, "layer_rotations", list(&glue.layer_rotations));
}

fn sampling(text: &mut String, sampling: &RecommendedSampling) {
    if *sampling == RecommendedSampling::default() {
        text.push_str("    recommended_sampling: {}\n");
        return;
    }
    // Clients ask for a floating-point number, which `1` would not be.
    let float = |number: Option<f64>| number.map(|number| format!("{number:?}"));
    text.push_str("    recommended_sampling:\n");
    optional(text, SAMPLING_INDENT, "do_sample", sampling.do_sample);
    optional(text, SAMPLING_INDENT, "temperature", float(sampling.temperature));
    optional(text, SAMPLING_INDENT, "top_p", float(sampling.top_p));
    optional(text, SAMPLING_INDENT, "top_k", sampling.top_k);
}

/// Comments use ` = `, because some clients search the whole file for `key:`.
fn comments(text: &mut String, conversion: &[(String, String)]) {
    if conversion.is_empty() {
        return;
    }
    let _ = write!(text, "\n{RULE}\n# Conversion\n{RULE}\n");
    for (key, value) in conversion {
        let one_line = |part: &str| part.replace(|character: char| is_break(character), " ");
        let _ = writeln!(text, "# {} = {}", one_line(key), one_line(value));
    }
    let _ = writeln!(text, "{RULE}");
}

fn line(text: &mut String, indent: usize, key: &str, value: impl Display) {
    let _ = writeln!(text, "{:indent$}{key}: {value}", "");
}

fn optional(text: &mut String, indent: usize, key: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        line(text, indent, key, value);
    }
}

fn list(numbers: &[u64]) -> Option<String> {
    let joined = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    (!numbers.is_empty()).then(|| format!("[{joined}]"))
}

/// Characters that end a line in YAML, and others that have no place in one.
fn is_break(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// The text plain where YAML reads it as the same string, else in double quotes.
fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "none", "yes", "no", "on", "off", "y", "n"];
    let inner = |character: char| {
        character.is_alphanumeric() || matches!(character, ' ' | '_' | '-' | '.' | '/' | '+' | '(' | ')' | ',')
    };
    let starts_well = text.starts_with(|character: char| character.is_alphabetic() || character == '_');
    let starts_as_version = text.split('.').count() > 2 && text.split('.').all(is_number);
    let ends_well = !text.ends_with(' ');
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    (starts_well || starts_as_version) && ends_well && !is_word && text.chars().all(inner)
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|character| character.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if is_break(other) => {
                let _ = write!(out, "\\u{:04X}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Several lines as a literal block, where YAML reads it as the same string up to the last line break.
fn block(text: &str) -> String {
    let is_block = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.chars().any(is_break);
    if text.is_empty() || !text.split('\n').all(is_block) {
        return quoted(text);
    }
    let mut out = String::from("|");
    for line in text.split('\n') {
        let _ = write!(out, "\n{:PARAMETER_INDENT$}{line}", "");
    }
    out
}
