//! `anec card`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_mil::ValueType;
use anec_mil::rules::Chip;
use anec_mil::rules::chip::CHIPS;
use anec_runtime::{ModelDirectory, PackageReport};
use anec_schemas::ModelInfo;
use anec_schemas::contract::coreml_llm_cli::{self, sequoia};
use anec_schemas::contract::stateful::{EMBEDDINGS, LM_HEAD};
use clap::Args;

use super::check::converted_directories;
use super::verification::Verification;
use crate::console::{Console, Failure};
use crate::options::ByteSize;
use crate::output::checksums::{CHECKSUMS, checksum};
use crate::output::layouts::{LAYOUTS, Layout};
use crate::plan::estimate::Cost;
use crate::source::hub::ModelName;

/// What the names of layouts for ANEMLL's clients begin with.
const ANEMLL: &str = "anemll";

/// Arguments of `anec card`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec card out --base-model Qwen/Qwen2.5-0.5B-Instruct --license apache-2.0 > out/README.md

The quality in the card is that of `report.json` in the directory: run `anec verify out --against CHECKPOINT --report out`
first. A card without it says that the model was not verified.")]
pub struct Arguments {
    /// A converted directory, or one that holds those of several context lengths.
    path: PathBuf,

    #[command(flatten)]
    facts: Facts,
}

/// What a card says besides what is in the directory.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Facts {
    /// The model that it was converted from, as its repository is called [default: as the directory says, where the
    /// checkpoint came from the hub].
    #[arg(long, value_name = "ORG/NAME")]
    pub(super) base_model: Option<String>,

    /// Its licence, by the identifier that model hubs use [default: what the model card of the checkpoint names].
    #[arg(long, value_name = "ID")]
    pub(super) license: Option<String>,
}

impl Facts {
    /// With what the directory knows where nothing is given.
    fn of(&self, info: &ModelInfo) -> Self {
        let is_repository = |source: &String| ModelName::parse(source).is_some_and(|name| !name.has_file());
        let source = info.origin.as_ref().filter(|origin| origin.source_revision.is_some());
        let base = source.map(|origin| origin.source.clone()).filter(is_repository);
        // Anything else is a sentence.
        let license = Some(info.license.clone()).filter(|license| !license.is_empty() && !license.contains(' '));
        Self { base_model: self.base_model.clone().or(base), license: self.license.clone().or(license) }
    }
}

/// Prints the card.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let card = card(&arguments.path, &arguments.facts)?;
    console.data(&card).map_err(|error| Failure { message: error.to_string(), hint: None })
}

/// The card of a directory, or of the longest context of several.
pub(super) fn card(path: &Path, facts: &Facts) -> Result<String, Failure> {
    let mut directories: Vec<(PathBuf, ModelDirectory)> = Vec::new();
    for path in converted_directories(path)? {
        let directory = ModelDirectory::open(&path)?;
        directories.push((path, directory));
    }
    directories.sort_by_key(|(_, directory)| directory.meta().model_info.parameters.context_length);
    let contexts: Vec<String> = directories
        .iter()
        .filter_map(|(path, directory)| {
            let tokens = directory.meta().model_info.parameters.context_length;
            Some(format!("{tokens} tokens in `{}`", path.file_name()?.to_string_lossy()))
        })
        .collect();
    let is_one = directories.len() == 1;
    let sums = digests(&directories);
    let Some((path, directory)) = directories.pop() else {
        return Err(Failure { message: format!("Cannot find a model in `{}`", path.display()), hint: None });
    };
    let info = &directory.meta().model_info;
    let facts = facts.of(info);
    let mut text = front_matter(&facts, directory.contract().name);
    let base = facts.base_model.as_deref().map_or_else(String::new, |base| format!(" of `{base}`"));
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "# {}\n\nA Core ML conversion{base} for Apple's Neural Engine, made by anec {}.\n\n",
        info.name,
        env!("CARGO_PKG_VERSION"),
    );
    let _ = writeln!(text, "- Architecture: `{}`", info.architecture);
    if is_one {
        let _ = writeln!(text, "- Context: {} tokens", info.parameters.context_length);
    } else {
        let _ = writeln!(text, "- Contexts: {}. The figures below are those of the longest.", contexts.join(", "));
    }
    let _ = writeln!(text, "- Contract: `{}`: {}", directory.contract().name, directory.contract().summary);
    text.push('\n');
    let files = Files::of(&directory)?;
    files.describe(&mut text);
    quality(&path, &mut text);
    speed(&files.cost(), &mut text);
    run_it(&directory, if is_one { None } else { path.file_name() }, &mut text);
    made(info, &mut text);
    let _ = writeln!(
        text,
        "`{CHECKSUMS}` has the checksums of all files; `anec check .` compares them. Its own SHA-256:\n\n{}",
        sums.trim_end()
    );
    Ok(text)
}

/// The checksum of each list of checksums, a line each.
fn digests(directories: &[(PathBuf, ModelDirectory)]) -> String {
    let is_one = directories.len() == 1;
    let line = |path: &Path| {
        let sum = checksum(&path.join(CHECKSUMS)).ok()?;
        let directory = path.file_name().filter(|_| !is_one).map(|name| format!("{}/", name.to_string_lossy()));
        Some(format!("- `{}{CHECKSUMS}`: `{sum}`\n", directory.unwrap_or_default()))
    };
    directories.iter().filter_map(|(path, _)| line(path)).collect()
}

/// What hubs read.
fn front_matter(facts: &Facts, contract: &str) -> String {
    let mut text = "---\nlibrary_name: coreml\npipeline_tag: text-generation\n".to_owned();
    if let Some(license) = &facts.license {
        let _ = writeln!(text, "license: {}", scalar(license));
    }
    if let Some(base) = &facts.base_model {
        let _ = writeln!(text, "base_model: {}\nbase_model_relation: quantized", scalar(base));
    }
    let _ = write!(text, "tags:\n  - coreml\n  - apple-neural-engine\n  - anec\n  - {}\n---\n\n", scalar(contract));
    text
}

/// Text as a YAML scalar, whatever is in it.
fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// How to run it, on any machine and on a Mac, and in the client that its contract is for.
fn run_it(directory: &ModelDirectory, name: Option<&OsStr>, text: &mut String) {
    let path = name.map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned());
    let _ = write!(
        text,
        "## Run it\n\nOn any machine, on the CPU:\n\n```sh\nanec run {path} --prompt \"Why is the sky blue?\"\n```\n\nOn a Mac with \
         macOS 15 or later, through Core ML:\n\n```sh\nanec run {path} --backend coreml --chat\n```\n\n"
    );
    let contract = directory.contract().name;
    if let Some(branch) = llm_cli_branch(contract) {
        let _ = write!(
            text,
            "In a clone of smpanaro's coreml-llm-cli, branch `{branch}`, with the path of this directory:\n\n```sh\nswift run -c \
             release LLMCLI --local-model-directory {path} \"Why is the sky blue?\"\n```\n\n"
        );
    }
    let is_anemll = directory.meta().model_info.parameters.ffn.as_ref().is_some_and(|ffn| ffn.contains("FFN_PF"))
        || directory.meta().model_info.parameters.monolithic_model.is_some();
    if is_anemll {
        let _ = write!(
            text,
            "In a clone of ANEMLL, with its Python environment:\n\n```sh\npython tests/chat.py --meta {path}/meta.yaml --prompt \
             \"Why is the sky blue?\"\n```\n\nIn the app ANEMLL Chat: add the name of this repository as a model.\n\n"
        );
    }
    let serves = |layout: &&&dyn Layout| {
        layout.family().contract().name == contract && layout.name().starts_with(ANEMLL) == is_anemll
    };
    if let Some(layout) = LAYOUTS.iter().find(serves) {
        let _ = write!(
            text,
            "In an app of your own: `anec layouts {} --markdown` prints what the app must do, with a client in Swift to start \
             from.\n\n",
            layout.name()
        );
    }
}

/// The branch of coreml-llm-cli whose contract this is.
fn llm_cli_branch(contract: &str) -> Option<&'static str> {
    [(coreml_llm_cli::CONTRACT.name, "main"), (sequoia::CONTRACT.name, "sequoia")]
        .into_iter()
        .find_map(|(name, branch)| (name == contract).then_some(branch))
}

/// How it was made.
fn made(info: &ModelInfo, text: &mut String) {
    let parameters = &info.parameters;
    text.push_str("## How it was made\n\n");
    if let Some(origin) = &info.origin {
        let revision = origin.source_revision.as_ref().map_or_else(String::new, |commit| format!(" at `{commit}`"));
        let _ = writeln!(text, "- Source: `{}`{revision}", origin.source);
        let _ = writeln!(text, "- Converter: {}", origin.converter);
        if let Some(command) = &origin.command {
            let _ = writeln!(text, "- Command: `{command}`");
        }
        let _ = writeln!(text, "- Calibration of the palettes: {}", origin.calibration);
    }
    let layers = parameters.lut_ffn.or(parameters.lut_bits).unwrap_or_default();
    let _ = writeln!(
        text,
        "- Bits of a palette index: layers {layers}, LM head {}, embeddings {} (`none`: no palette)\n",
        parameters.lut_lmhead, parameters.lut_embeddings
    );
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
    let verification = Verification::of(path);
    let report = match &verification {
        Verification::Missing => {
            text.push_str("**This conversion was not verified against its checkpoint.**\n\n");
            return;
        }
        Verification::Outdated(report) => {
            text.push_str("**The files were changed after this verification.**\n\n");
            report
        }
        Verification::Failed(report) | Verification::Passed(report) => report,
    };
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
