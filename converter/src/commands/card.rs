//! `anec card`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_mil::ValueType;
use anec_mil::rules::Chip;
use anec_mil::rules::chip::CHIPS;
use anec_runtime::{ModelDirectory, PackageReport};
use anec_schemas::contract::stateful::{EMBEDDINGS, LM_HEAD};
use anec_schemas::report::{REPORT_JSON, Report};
use clap::Args;
use fs_err as fs;

use crate::console::{Console, Failure};
use crate::options::ByteSize;
use crate::output::checksums::{self, CHECKSUMS};
use crate::plan::estimate::Cost;

/// Arguments of `anec card`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec card out --base-model Qwen/Qwen2.5-0.5B-Instruct --license apache-2.0 > out/README.md

The quality in the card is that of `report.json` in the directory: run `anec verify out --against CHECKPOINT --report out`
first. A card without it says that the model was not verified.")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    /// The model that it was converted from, as its repository is called.
    #[arg(long, value_name = "ORG/NAME")]
    base_model: Option<String>,

    /// Its licence, by the identifier that model hubs use.
    #[arg(long, value_name = "ID")]
    license: Option<String>,
}

/// Prints the card.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let card = card(arguments)?;
    console.data(&card).map_err(|error| Failure { message: error.to_string(), hint: None })
}

fn card(arguments: &Arguments) -> Result<String, Failure> {
    let directory = ModelDirectory::open(&arguments.path)?;
    let info = &directory.meta().model_info;
    let mut text = front_matter(arguments, directory.contract().name);
    let base = arguments.base_model.as_deref().map_or_else(String::new, |base| format!(" of `{base}`"));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# {}\n\nA Core ML conversion{base} for Apple's Neural Engine, made by anec {}.\n\n",
        info.name,
        env!("CARGO_PKG_VERSION"),
    );
    let _ = writeln!(text, "- Architecture: `{}`", info.architecture);
    let _ = writeln!(text, "- Context: {} tokens", info.parameters.context_length);
    let _ = writeln!(text, "- Contract: `{}`: {}", directory.contract().name, directory.contract().summary);
    text.push('\n');
    let files = Files::of(&directory)?;
    files.describe(&mut text);
    quality(&arguments.path, &mut text);
    speed(&files.cost(), &mut text);
    text.push_str(
        "## Run it\n\nOn any machine, on the CPU:\n\n```sh\nanec run . --prompt \"Why is the sky blue?\"\n```\n\nOn a Mac with macOS 15 or \
         later, through Core ML:\n\n```sh\nanec run . --backend coreml --chat\n```\n\n",
    );
    let _ = writeln!(
        text,
        "Files, functions and tensors, and who calls what in which order: `anec layouts`. Checksums of all files are in \
         `{CHECKSUMS}`; `anec check .` compares them."
    );
    Ok(text)
}

/// What hubs read.
fn front_matter(arguments: &Arguments, contract: &str) -> String {
    let mut text = "---\nlibrary_name: coreml\npipeline_tag: text-generation\n".to_owned();
    if let Some(license) = &arguments.license {
        let _ = writeln!(text, "license: {}", scalar(license));
    }
    if let Some(base) = &arguments.base_model {
        let _ = writeln!(text, "base_model: {}\nbase_model_relation: quantized", scalar(base));
    }
    let _ = write!(text, "tags:\n  - coreml\n  - apple-neural-engine\n  - anec\n  - {}\n---\n\n", scalar(contract));
    text
}

/// Text as a YAML scalar, whatever is in it.
fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The models with their sizes.
struct Files {
    /// Name, role, weight bytes, and how the weights are stored.
    rows: Vec<(String, String, u64, String)>,
    layers: u64,
    head: u64,
    cache: u64,
}

impl Files {
    fn of(directory: &ModelDirectory) -> Result<Self, Failure> {
        let (mut rows, mut layers, mut head) = (Vec::new(), 0, 0);
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for part in directory.parts() {
            let Some(path) = part.any_path() else { continue };
            let report = PackageReport::open(path)?;
            match part.label.role {
                EMBEDDINGS => {}
                LM_HEAD => head += report.weight_bytes,
                _ => layers += report.weight_bytes,
            }
            for input in report.program.functions.values().flat_map(|function| &function.inputs) {
                if let ValueType::State(ty) = &input.ty {
                    let bytes = ty.element_count().unwrap_or(0).saturating_mul(u64::from(ty.dtype.bits()) / 8);
                    states.insert(input.name.clone(), bytes);
                }
            }
            let encodings: Vec<&str> = report.encodings.keys().map(String::as_str).collect();
            rows.push((part.stem.clone(), part.label.to_string(), report.weight_bytes, encodings.join(", ")));
        }
        Ok(Self { rows, layers, head, cache: states.values().sum() })
    }

    /// What decoding reads.
    fn cost(&self) -> Cost {
        Cost::of_weights(self.layers, self.head, self.cache)
    }

    fn describe(&self, text: &mut String) {
        text.push_str("## Files\n\n| file | role | weights | stored as |\n| --- | --- | ---: | --- |\n");
        for (name, role, bytes, encodings) in &self.rows {
            let _ = writeln!(text, "| `{name}` | {role} | {} | {encodings} |", ByteSize(*bytes));
        }
        if self.cache > 0 {
            let _ = writeln!(text, "\nThe KV cache takes {} on the device.", ByteSize(self.cache));
        }
        text.push('\n');
    }
}

/// What a verification in the directory says.
fn quality(path: &Path, text: &mut String) {
    text.push_str("## Quality\n\n");
    let report = fs::read_to_string(path.join(REPORT_JSON)).ok();
    let Some(report) = report.and_then(|text| Report::from_json(&text).ok()) else {
        text.push_str("**This conversion was not verified against its checkpoint.**\n\n");
        return;
    };
    let now = checksums::checksum(&path.join(CHECKSUMS)).ok();
    let then = report.made.as_ref().and_then(|made| made.checksums_sha256.clone());
    if then.is_some() && then != now {
        text.push_str("**The files were changed after this verification.**\n\n");
    }
    if !report.passed {
        let failed = report.checks.iter().filter(|check| !check.passed).map(|check| check.meaning.as_str());
        let _ =
            writeln!(text, "**This conversion failed its verification:** {}.\n", failed.collect::<Vec<_>>().join("; "));
    }
    let decode = &report.decode;
    let tokens: u64 = report.tokens.windows.iter().sum();
    let _ = writeln!(
        text,
        "Against the checkpoint in fp32, over {tokens} tokens of {}, by `{}`{}:\n",
        report.tokens.source,
        report.generator,
        report.made.as_ref().map_or_else(String::new, |made| format!(" on {}", made.date)),
    );
    text.push_str("| figure | value |\n| --- | ---: |\n");
    if let Some((reference, model)) = decode.perplexity_reference.zip(decode.perplexity_model) {
        let _ = writeln!(
            text,
            "| perplexity of the checkpoint | {reference:.3} |\n| perplexity of this conversion | {model:.3} |"
        );
    }
    let _ = writeln!(text, "| mean KL divergence, nats | {:.4} |", decode.kl_mean);
    let _ = writeln!(text, "| same most likely token | {:.1} % |", 100.0 * decode.top1);
    let _ = writeln!(text, "| values that fp16 cannot hold | {} |\n", report.activations.overflows);
}

/// The most tokens that chips can decode.
fn speed(cost: &Cost, text: &mut String) {
    text.push_str(
        "## Speed\n\nDecoding reads every weight for every token, so the speed of reading bounds it. Devices stay below:\n\n\
         | chip | tokens/s at most |\n| --- | ---: |\n",
    );
    for facts in CHIPS.iter().filter(|facts| facts.chip != Chip::Generic) {
        if let Some(bounds) = cost.bounds(facts) {
            let _ = writeln!(text, "| {} | {:.0} |", facts.chip, bounds.decode);
        }
    }
    text.push('\n');
}
