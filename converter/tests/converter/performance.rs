//! The bounds of the speed beside published speeds: the table in `docs/performance.md`.
//!
//! `ANEC_BLESS=1 cargo test -p anec-converter performance` writes the table anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::model::decoder_plan::{AttentionKind, DecoderPlan};
use anec_converter::options::{ByteSize, Options};
use anec_converter::plan::ConversionPlan;
use anec_converter::plan::estimate::{self, Cost};
use anec_converter::plan::inventory;
use anec_converter::weights::recipe::Recipe;
use anec_converter::weights::storage::Storage;
use anec_mil::rules::chip::CHIPS;
use anec_mil::rules::{Chip, ChipFacts};

const BEGIN: &str = "<!-- begin of generated tables -->\n";
const END: &str = "<!-- end of generated tables -->\n";

/// A published decoding speed.
struct Published {
    model: &'static str,
    weights: Weights,
    chip: Option<Chip>,
    /// Whether it is known to have run on the Neural Engine alone.
    engine: Engine,
    tokens_per_second: f64,
    /// Tokens that one pass over the weights can yield.
    tokens_per_pass: f64,
    who: &'static str,
}

/// What a published speed was measured on.
#[derive(PartialEq)]
enum Engine {
    /// The Neural Engine.
    Neural,
    /// Any, as the system chose: bounded by the memory alone.
    Any,
}

/// What a token reads.
enum Weights {
    /// A config of `tests/configs`, with bits of a weight in the layers and in the head, and the context length.
    Config { name: &'static str, bits: f64, head_bits: f64, context: u64 },
    /// Millions of weights, and bits of one.
    Millions { count: f64, bits: f64 },
}

const fn config(name: &'static str, bits: f64, head_bits: f64, context: u64) -> Weights {
    Weights::Config { name, bits, head_bits, context }
}

const fn millions(count: f64, bits: f64) -> Weights {
    Weights::Millions { count, bits }
}

const fn on(chip: Chip, tokens_per_second: f64, model: &'static str, weights: Weights, who: &'static str) -> Published {
    Published { model, weights, chip: Some(chip), engine: Engine::Neural, tokens_per_second, tokens_per_pass: 1.0, who }
}

/// Where a source does not say how weights were stored, fp16 is taken, and where it does not say the context length, 512
/// positions.
static PUBLISHED: &[Published] = &[
    on(Chip::M5Pro, 75.0, "Qwen3-0.6B", config("qwen3-0.6b", 16.0, 16.0, 512), "ANEForge, private API"),
    on(Chip::A19Pro, 69.6, "Qwen3-0.6B", config("qwen3-0.6b", 4.5, 4.5, 512), "Core AI, 4-bit palettes"),
    on(Chip::A19Pro, 39.0, "Qwen3-0.6B", config("qwen3-0.6b", 4.5, 4.5, 2048), "CoreML-LLM, int4"),
    Published {
        engine: Engine::Any,
        ..on(Chip::M4Max, 180.7, "Qwen2.5-0.5B", config("qwen2.5-0.5b", 16.0, 16.0, 512), "CoreML-LLM, fp16, all units")
    },
    on(Chip::M4Max, 160.0, "Qwen2.5-0.5B", config("qwen2.5-0.5b", 8.0, 8.0, 512), "ane-book, int8"),
    on(Chip::M4Pro, 56.0, "Qwen3.5-0.8B", millions(750.0, 8.0), "ANEMLL, int8"),
    on(Chip::A19Pro, 48.0, "Qwen3.5-0.8B", millions(750.0, 8.0), "CoreML-LLM, int8"),
    on(Chip::M4Max, 58.0, "Qwen3.5-0.8B", millions(750.0, 8.0), "ANEMLL fork, int8"),
    on(Chip::M3, 24.3, "Llama-3.2-1B", config("llama-3.2-1b", 16.0, 16.0, 512), "E. Yoon, off the notch"),
    on(Chip::M3, 10.0, "Llama-3.2-1B", config("llama-3.2-1b", 16.0, 16.0, 512), "E. Yoon, on the notch"),
    on(Chip::M4, 31.6, "Llama-3.2-1B, no head", config("llama-3.2-1b", 16.0, 0.0, 512), "stablehlo-coreml PR 110"),
    on(Chip::M4, 13.1, "Llama-3.2-1B, no head", config("llama-3.2-1b", 16.0, 0.0, 512), "the same, on the notch"),
    on(Chip::M5Pro, 62.0, "TinyLlama-1.1B", millions(1034.5, 16.0), "ANEForge, private API"),
    on(Chip::A19Pro, 24.0, "Qwen3-VL-2B", config("qwen3-1.7b", 4.5, 4.5, 2048), "CoreML-LLM, 3 chunks"),
    on(Chip::A19Pro, 27.0, "Qwen3.5-2B", millions(1880.0, 8.0), "CoreML-LLM, int8"),
    on(Chip::A19Pro, 34.2, "Gemma4-E2B", millions(1900.0, 4.5), "CoreML-LLM, int4, 3 chunks"),
    on(Chip::M1, 11.0, "Qwen3-4B", config("qwen3-4b", 4.5, 6.5, 512), "ANEMLL issue 33"),
    on(Chip::M5Pro, 14.6, "Qwen3-4B", config("qwen3-4b", 16.0, 16.0, 512), "ANEForge, private API"),
    on(Chip::A19Pro, 13.2, "Qwen3-4B", config("qwen3-4b", 4.5, 4.5, 512), "Core AI, 4-bit palettes"),
    on(Chip::M3Max, 13.92, "Llama-2-7B", millions(6607.0, 4.0), "coreml-llm-cli, 4-bit palettes"),
    on(Chip::M1Max, 7.02, "Llama-2-7B", millions(6607.0, 4.0), "coreml-llm-cli, 4-bit palettes"),
    on(Chip::M3, 2.97, "Qwen3-8B", config("qwen3-8b", 16.0, 16.0, 512), "E. Yoon, off the notch"),
    on(Chip::M5Pro, 7.5, "Qwen3-8B", config("qwen3-8b", 16.0, 16.0, 512), "ANEForge, private API"),
    Published {
        tokens_per_pass: 5.0,
        ..on(
            Chip::M5Pro,
            16.8,
            "Qwen3-8B, 5 verified at a time",
            config("qwen3-8b", 16.0, 16.0, 512),
            "ANEForge, 0.6B draft",
        )
    },
    on(Chip::M4Max, 170.0, "GPT-2 124M", millions(123.5, 16.0), "Orion, private API"),
    on(Chip::M3Max, 926.0, "6 layers of 768, head on the CPU", millions(42.5, 16.0), "Espresso, private API"),
    Published { chip: None, ..on(Chip::Generic, 163.0, "stories110M", millions(109.5, 16.0), "executorch PR 7616") },
];

fn decoder(name: &str) -> DecoderPlan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/configs/{name}.json"));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    arch::plan(ArchChoice::Auto, json.as_object().unwrap(), &[]).unwrap()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of models"
)]
fn cost(weights: &Weights) -> Cost {
    match *weights {
        Weights::Millions { count, bits } => Cost::of_weights((count * 1e6 * bits / 8.0) as u64, 0, 0),
        Weights::Config { name, bits, head_bits, context } => {
            let plan = decoder(name);
            let elements: usize =
                inventory::tensors(&plan).unwrap().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
            let table = plan.vocab_size * plan.hidden_size;
            let layers = elements - table * if plan.tie_word_embeddings { 1 } else { 2 };
            let bytes = |count: usize, bits: f64| (count as f64 * bits / 8.0) as u64;
            Cost::of_weights(bytes(layers, bits), bytes(table, head_bits), estimate::cache_bytes(&plan, context))
        }
    }
}

/// Tokens per second that cannot be exceeded.
fn bound(published: &Published) -> Option<f64> {
    let chip = published.chip?.facts();
    let cost = cost(&published.weights);
    let bounds = cost.bounds(chip)?;
    let factor = match published.engine {
        Engine::Neural => 1.0,
        Engine::Any => chip.memory_bandwidth?.value / bounds.bandwidth.value,
    };
    Some(bounds.decode * factor * published.tokens_per_pass)
}

fn chip_row(facts: &ChipFacts) -> String {
    let figure = |figure: Option<anec_mil::rules::chip::Figure>| match figure {
        Some(figure) => format!("{} | {}", figure.value, figure.source),
        None => "– | –".to_owned(),
    };
    format!(
        "| {} | {} | {} | {} |\n",
        facts.name,
        figure(facts.weight_bandwidth),
        figure(facts.memory_bandwidth),
        figure(facts.tops)
    )
}

/// Models whose layers, or five of six, look back over 1024 tokens.
const WINDOWED: [(&str, &str, &str); 3] = [
    ("qwen3-1.7b", "every layer", "4.9 and 25.6, CoreML-LLM on a Mac that is not named: Bonsai-1.7B, int4, 2 chunks"),
    ("gemma3-1b", "five of six layers", "–"),
    ("mistral-7b-v0.1", "every layer", "–"),
];

/// The plan of a model at 4096 tokens, its layers with a window of 1024 or with the whole context.
fn windowed(name: &str, single_cache: bool) -> ConversionPlan {
    const WINDOW: AttentionKind = AttentionKind::Sliding { window: 1024 };
    let mut decoder = decoder(name);
    let mixed = decoder.layers.iter().any(|layer| layer.attention == AttentionKind::Full)
        && decoder.layers.iter().any(|layer| layer.attention != AttentionKind::Full);
    for layer in &mut decoder.layers {
        if !mixed || layer.attention != AttentionKind::Full {
            layer.attention = WINDOW;
        }
    }
    let storage = || "lut4".parse::<Storage>().unwrap();
    let storage = Recipe::new(storage(), storage(), Storage::default());
    ConversionPlan::new(decoder, Options { context_length: 4096, single_cache, storage, ..Options::default() }).unwrap()
}

fn windows_table() -> String {
    const CHIPS: [Chip; 3] = [Chip::A19Pro, Chip::M4, Chip::M4Pro];
    let mut text = String::from(
        "\n## Windows of 1024 tokens in a context of 4096\n\n\
         | model, 4-bit palettes | with a window | state, whole and window | a19-pro, tokens/s | m4 | m4-pro | published |\n\
         | --- | --- | --: | --: | --: | --: | --- |\n",
    );
    for (name, layers, published) in WINDOWED {
        let costs = [true, false].map(|single_cache| Cost::of(&windowed(name, single_cache)));
        let pair = |figure: &dyn Fn(&Cost) -> String| costs.each_ref().map(figure).join(" → ");
        let state = pair(&|cost| ByteSize(cost.memory.state).to_string());
        let bounds = CHIPS.map(|chip| pair(&|cost| format!("{:.1}", cost.bounds(chip.facts()).unwrap().decode)));
        let _ = writeln!(text, "| {name} | {layers} | {state} | {} | {published} |", bounds.join(" | "));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "three figures are shown")]
fn tables() -> String {
    let mut text = String::from(
        "## Published speeds and their bounds\n\n| model | chip | GB a token | published | bound | share | who |\n\
         | --- | --- | --: | --: | --: | --: | --- |\n",
    );
    for published in PUBLISHED {
        let cost = cost(&published.weights);
        let gigabytes = (cost.weight_bytes_per_token + cost.cache_bytes_per_token) as f64 / 1e9;
        let chip = published.chip.map_or("not stated", Chip::name);
        let (bound, share) = match bound(published) {
            Some(bound) => (format!("{bound:.1}"), format!("{:.0} %", 100.0 * published.tokens_per_second / bound)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            text,
            "| {} | {chip} | {gigabytes:.2} | {} | {bound} | {share} | {} |",
            published.model, published.tokens_per_second, published.who
        );
    }
    text.push_str(&windows_table());
    text.push_str(
        "\n## Chips\n\n| chip | weights, GB/s | source | memory, GB/s | source | 10^12 op/s | source |\n\
         | --- | --: | --- | --: | --- | --: | --- |\n",
    );
    text.extend(CHIPS.iter().filter(|facts| facts.chip != Chip::Generic).map(chip_row));
    text
}

#[test]
fn no_published_speed_exceeds_its_bound() {
    for published in PUBLISHED {
        if let Some(bound) = bound(published) {
            let (model, who) = (published.model, published.who);
            assert!(published.tokens_per_second <= bound, "{model}, {who}: {} > {bound}", published.tokens_per_second);
        }
    }
}

#[test]
fn a_window_of_a_quarter_of_the_context_takes_a_quarter_of_the_state() {
    let [whole, window] = [true, false].map(|single_cache| windowed("qwen3-1.7b", single_cache));
    assert_eq!(whole.state_bytes(), 4 * window.state_bytes());
    assert_eq!(whole.state_bytes(), estimate::cache_bytes(&whole.decoder, 4096));
}

#[test]
fn full_speed_reads_come_close_to_their_bound_and_reads_on_the_notch_do_not() {
    let share = |who: &str| {
        let published =
            PUBLISHED.iter().find(|published| published.who == who && published.model.starts_with("Llama")).unwrap();
        published.tokens_per_second / bound(published).unwrap()
    };
    assert!(share("E. Yoon, off the notch") > 0.9);
    assert!(share("stablehlo-coreml PR 110") > 0.9);
    assert!(share("E. Yoon, on the notch") < 0.5);
    assert!(share("the same, on the notch") < 0.5);
}

#[test]
fn the_tables_of_the_documentation_are_up_to_date() {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = tables();
    if std::env::var_os("ANEC_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, expected, "run the test with ANEC_BLESS=1 and review the change");
    }
}
