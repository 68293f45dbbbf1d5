//! How far calibrated palettes are from a checkpoint, in nats: for measuring, not a part of the product.
//!
//! `calibration_quality CHECKPOINT KEY=VALUE…` with `calib=FILE,FILE`, `eval=FILE`, `bits=4`, `group=8`, `head=6`, …
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::pedantic, reason = "an experiment's harness")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anec_converter::calibrate::evaluate::{Replaced, divergence, hidden};
use anec_converter::calibrate::{Calibrator, PaletteShape, Palettes, Strength, TensorRows, Tokens};
use anec_converter::model::arch::{self, ArchChoice};
use anec_converter::model::decoder_plan::WeightPath;
use anec_converter::source::checkpoint::Checkpoint;
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer};

/// Windows of a file's text (every `stride`-th), or of a JSON list of windows.
fn windows(path: &str, tokenizer: &TextTokenizer, length: usize, count: usize, bos: Option<u32>) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap();
    if path.ends_with(".json") {
        let all: Vec<Vec<u32>> = serde_json::from_str(&text).unwrap();
        return all.into_iter().filter(|w| w.len() == length).take(count).flatten().collect();
    }
    let ids = tokenizer.encode(&text, SpecialTokens::Present).unwrap();
    let body = length - usize::from(bos.is_some());
    let all: Vec<&[u32]> = ids.chunks_exact(body).collect();
    let count = count.min(all.len());
    (0..count).flat_map(|i| bos.into_iter().chain(all[i * all.len() / count].iter().copied())).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let options: BTreeMap<&str, &str> = args[1..].iter().filter_map(|a| a.split_once('=')).collect();
    let number = |key: &str, default: f64| options.get(key).map_or(default, |v| v.parse().unwrap());
    let directory = Path::new(&args[0]);
    let checkpoint = Checkpoint::open(directory).unwrap();
    let plan = arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]).unwrap();
    let tokenizer = TextTokenizer::open(directory).unwrap();
    let bos = checkpoint.config_json().get("bos_token_id").and_then(|v| v.as_u64()).map(|v| v as u32);
    let length = number("length", 512.0) as usize;
    let mut calib = Vec::new();
    for file in options.get("calib").copied().unwrap_or_default().split(',').filter(|f| !f.is_empty()) {
        calib.extend(windows(file, &tokenizer, length, number("windows", 12.0) as usize, bos));
    }
    let group_rows = number("group", 8.0) as usize;
    let bits = number("bits", 4.0) as u8;
    let kv = number("kv", f64::from(bits)) as u8;
    let head = number("head", 0.0) as u8;
    let mut palettes = Palettes::new();
    let plain = options.contains_key("plain");
    let mut insert = |tensor: String, bits| {
        let end = checkpoint.tensor(&tensor).unwrap().shape[0] as u64;
        palettes.insert(TensorRows { tensor, first: 0, end }, PaletteShape { bits, group_rows });
    };
    for index in 0..plan.num_hidden_layers {
        for module in [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ] {
            let bits = if module.contains("k_proj") || module.contains("v_proj") { kv } else { bits };
            insert(plan.source(&WeightPath::weight(index, module)).tensor, bits);
        }
    }
    if head > 0 {
        insert(plan.source(&WeightPath::LM_HEAD).tensor, head);
    }
    let defaults = Strength::default();
    let strength = Strength {
        inputs: number("alpha", defaults.inputs),
        residual: number("rho", defaults.residual),
        damping: number("damping", defaults.damping),
        target_damping: number("target", defaults.target_damping),
        refits: number("refits", defaults.refits as f64) as usize,
    };
    let start = Instant::now();
    let mut replaced = Replaced::new();
    let proceed = || Ok(());
    if plain {
        for (name, shape) in &palettes {
            let info = checkpoint.tensor(&name.tensor).unwrap();
            let (rows, columns) = (info.shape[0], info.shape[1]);
            let mut w = Vec::new();
            checkpoint.rows_f16(&name.tensor, 0..rows, &mut w).unwrap();
            let mut out = Vec::new();
            let mut p = anec_quantize::Palettizer::new(shape.bits, anec_quantize::Method::Fast).unwrap();
            for group in w.chunks(columns * shape.group_rows) {
                let mut indices = Vec::new();
                let g = p.group(group, &mut indices).unwrap();
                out.extend(indices.iter().map(|i| g.palette.entries()[usize::from(*i)].to_f32()));
            }
            replaced.insert(name.clone(), out);
        }
    } else if !options.contains_key("none") {
        let tokens = Tokens { length, tokens: calib };
        println!("{} calibration tokens", tokens.tokens.len());
        let mut calibrator = Calibrator::new(&checkpoint, &plan, &palettes, strength, &tokens).unwrap();
        while let Some(results) = calibrator.next_layer(&proceed).unwrap() {
            for result in results {
                replaced.insert(result.rows.clone(), result.weights());
            }
        }
        if let Some(head) = calibrator.head(&proceed).unwrap() {
            replaced.insert(head.rows.clone(), head.weights());
        }
    }
    println!("calibrated in {:.1} s", start.elapsed().as_secs_f64());
    let mut sum = 0.0;
    let evals: Vec<&str> =
        options.get("eval").copied().unwrap_or_default().split(',').filter(|f| !f.is_empty()).collect();
    for file in &evals {
        let start = Instant::now();
        let tokens = Tokens { length, tokens: windows(file, &tokenizer, length, number("evals", 6.0) as usize, bos) };
        let reference = hidden(&checkpoint, &plan, &Replaced::new(), &tokens).unwrap();
        let model = hidden(&checkpoint, &plan, &replaced, &tokens).unwrap();
        let d = divergence(&checkpoint, &plan, &replaced, &tokens, &reference, &model).unwrap();
        sum += d.kl;
        println!(
            "{file}: KL {:.4} ppl {:.3} -> {:.3} ({:.3}x) best {:.3} ({:.1} s)",
            d.kl,
            d.reference_perplexity,
            d.perplexity,
            d.perplexity / d.reference_perplexity,
            d.same_best,
            start.elapsed().as_secs_f64()
        );
    }
    println!(
        "MEAN KL {:.4} [{}]",
        sum / evals.len() as f64,
        args[1..]
            .iter()
            .filter(|a| !a.starts_with("calib") && !a.starts_with("eval"))
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    );
}
