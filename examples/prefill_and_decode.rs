//! Takes a prompt through a directory of `--layout prefill`, and decodes on from its keys and values with candle.
//!
//! ```console
//! anec convert CHECKPOINT -o prompt --layout prefill
//! cargo run --release -p anec-examples --example prefill_and_decode -- prompt CHECKPOINT 1,2,3,4
//! ```
//!
//! On a device the prompt would run on the Neural Engine and the decoder on the GPU; here the reference engine takes the
//! prompt. The decoder is that of a Llama, Qwen or Mistral model without a window and without scaled rotations. With
//! `--check` the whole sequence is computed from the checkpoint alone, and every token must be the same.

use std::error::Error;
use std::path::Path;

use anec_runtime::ModelDirectory;
use anec_runtime::backend::ReferenceBackend;
use anec_runtime::oracle::{Checkpoint, Implementation, Oracle, OracleConfig, RopeScaling};
use anec_runtime::session::Output;
use candle_core::{D, Device, Tensor};

/// Tokens to decode.
const TOKENS: usize = 32;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, checkpoint, prompt, check @ ..] = arguments.as_slice() else {
        return Err("expected CONVERTED CHECKPOINT TOKEN,TOKEN,... [--check]".into());
    };
    let prompt = prompt.split(',').map(str::parse).collect::<std::result::Result<Vec<u32>, _>>()?;
    let tokens = decode_on(Path::new(directory), Path::new(checkpoint), &prompt)?;
    let text: Vec<String> = tokens.iter().skip(prompt.len()).map(u32::to_string).collect();
    write(&text.join(","))?;
    if check.iter().any(|option| option == "--check") {
        compare(Path::new(checkpoint), &tokens, prompt.len())?;
        write("the checkpoint says the same")?;
    }
    Ok(())
}

/// The prompt, and the tokens that follow it.
pub(crate) fn decode_on(directory: &Path, checkpoint: &Path, prompt: &[u32]) -> Result<Vec<u32>> {
    let config = OracleConfig::read(&checkpoint.join("config.json"))?;
    let mut decoder = Decoder::new(&config, &Checkpoint::open(checkpoint)?)?;

    let mut session = ModelDirectory::open(directory)?.session(&ReferenceBackend::default())?;
    let Some(Output::HiddenState(state)) = session.feed(prompt, 0)? else {
        return Err("the models have a head: convert with `--layout prefill`".into());
    };
    decoder.take_over(&session.read_cache()?, prompt.len())?;

    let mut token = decoder.best(&Tensor::from_slice(&state, (1, state.len()), &Device::Cpu)?)?;
    let mut tokens = prompt.to_vec();
    for position in prompt.len()..prompt.len() + TOKENS {
        tokens.push(token);
        token = decoder.step(token, position)?;
    }
    Ok(tokens)
}

/// Requires that every token behind the prompt is the best one to the checkpoint alone.
pub(crate) fn compare(checkpoint: &Path, tokens: &[u32], prompt: usize) -> Result<()> {
    let config = OracleConfig::read(&checkpoint.join("config.json"))?;
    let weights = Checkpoint::open(checkpoint)?;
    let logits = Oracle::new(config, &weights, Implementation::Automatic)?.logits(tokens)?;
    for (position, (logits, next)) in logits.iter().zip(tokens.iter().skip(1)).enumerate().skip(prompt - 1) {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token);
        if best != Some(*next as usize) {
            return Err(format!("token {next} follows position {position}, the checkpoint says {best:?}").into());
        }
    }
    Ok(())
}

fn write(line: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}")
}

/// A layer's weights, and its keys and values, `[heads, positions, head_dim]`.
struct Layer {
    norms: [Tensor; 2],
    /// Query, key, value.
    projections: [(Tensor, Option<Tensor>); 3],
    /// Norms of queries and keys.
    head_norms: Option<[Tensor; 2]>,
    output: Tensor,
    /// Gate, up, down.
    mlp: [Tensor; 3],
    cache: Option<[Tensor; 2]>,
}

struct Decoder {
    config: OracleConfig,
    embeddings: Tensor,
    head: Tensor,
    norm: Tensor,
    layers: Vec<Layer>,
}

fn tensor(weights: &Checkpoint, name: &str) -> Result<Tensor> {
    let shape = weights.shape(name).ok_or_else(|| format!("the checkpoint has no `{name}`"))?.to_vec();
    Ok(Tensor::from_vec(weights.floats(name)?, shape, &Device::Cpu)?)
}

fn optional(weights: &Checkpoint, name: &str) -> Result<Option<Tensor>> {
    weights.shape(name).map(|_| tensor(weights, name)).transpose()
}

impl Decoder {
    fn new(config: &OracleConfig, weights: &Checkpoint) -> Result<Self> {
        let is_plain = matches!(config.rope_scaling, RopeScaling::None) && config.windows.iter().all(Option::is_none);
        if !is_plain {
            return Err("the decoder of this example knows no windows and no scaled rotations".into());
        }
        let layer = |number: usize| -> Result<Layer> {
            let name = |module: &str| format!("model.layers.{number}.{module}");
            let weight = |module: &str| tensor(weights, &name(&format!("{module}.weight")));
            let projection = |module: &str| -> Result<(Tensor, Option<Tensor>)> {
                Ok((weight(module)?, optional(weights, &name(&format!("{module}.bias")))?))
            };
            let head_norm = |module: &str| optional(weights, &name(&format!("self_attn.{module}.weight")));
            Ok(Layer {
                norms: [weight("input_layernorm")?, weight("post_attention_layernorm")?],
                projections: [
                    projection("self_attn.q_proj")?,
                    projection("self_attn.k_proj")?,
                    projection("self_attn.v_proj")?,
                ],
                head_norms: head_norm("q_norm")?.zip(head_norm("k_norm")?).map(|(query, key)| [query, key]),
                output: weight("self_attn.o_proj")?,
                mlp: [weight("mlp.gate_proj")?, weight("mlp.up_proj")?, weight("mlp.down_proj")?],
                cache: None,
            })
        };
        let embeddings = tensor(weights, "model.embed_tokens.weight")?;
        Ok(Self {
            head: optional(weights, "lm_head.weight")?.unwrap_or_else(|| embeddings.clone()),
            embeddings,
            norm: tensor(weights, "model.norm.weight")?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
            config: config.clone(),
        })
    }

    /// Takes the first rows of the prompt's keys and values as its own cache: they lie alike.
    fn take_over(&mut self, caches: &anec_runtime::backend::Tensors, tokens: usize) -> Result<()> {
        let mut found = Vec::new();
        for chunk in 1.. {
            let before = found.len();
            for layer in 0.. {
                let cache = |name: &str| caches.get(&format!("chunk_{chunk}_{name}_cache_{layer}"));
                let (Some(keys), Some(values)) = (cache("k"), cache("v")) else { break };
                let mut rows = Vec::new();
                for cache in [keys, values] {
                    let shape = cache.shape().get(1..).unwrap_or_default();
                    let whole = Tensor::from_slice(&cache.as_floats()?, shape, &Device::Cpu)?;
                    rows.push(whole.narrow(1, 0, tokens)?.contiguous()?);
                }
                found.push(<[Tensor; 2]>::try_from(rows).map_err(|_| "keys and values are two")?);
            }
            if found.len() == before {
                break;
            }
        }
        if found.len() != self.layers.len() {
            return Err(format!("caches of {} layers, expected {}", found.len(), self.layers.len()).into());
        }
        for (layer, cache) in self.layers.iter_mut().zip(found) {
            layer.cache = Some(cache);
        }
        Ok(())
    }

    /// The best token after a normalized hidden state.
    fn best(&self, state: &Tensor) -> Result<u32> {
        Ok(state.matmul(&self.head.t()?)?.argmax(D::Minus1)?.to_vec1::<u32>()?.first().copied().unwrap_or(0))
    }

    /// Takes a token and gives the next.
    fn step(&mut self, token: u32, position: usize) -> Result<u32> {
        let mut x = self.embeddings.index_select(&Tensor::new(&[token], &Device::Cpu)?, 0)?;
        let config = &self.config;
        for layer in &mut self.layers {
            let normed = rms_norm(&x, &layer.norms[0], config.rms_norm_eps)?;
            x = (x + attention(config, layer, &normed, position)?)?;
            let normed = rms_norm(&x, &layer.norms[1], config.rms_norm_eps)?;
            let [gate, up, down] = &layer.mlp;
            let product = (normed.matmul(&gate.t()?)?.silu()? * normed.matmul(&up.t()?)?)?;
            x = (x + product.matmul(&down.t()?)?)?;
        }
        self.best(&rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
    }
}

fn attention(config: &OracleConfig, layer: &mut Layer, x: &Tensor, position: usize) -> Result<Tensor> {
    let (heads, key_heads, width) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    let project = |(weight, bias): &(Tensor, Option<Tensor>), heads: usize| -> Result<Tensor> {
        let mut product = x.matmul(&weight.t()?)?;
        if let Some(bias) = bias {
            product = product.broadcast_add(bias)?;
        }
        Ok(product.reshape((heads, 1, width))?)
    };
    let [query, key, value] = &layer.projections;
    let (mut query, mut key, value) = (project(query, heads)?, project(key, key_heads)?, project(value, key_heads)?);
    if let Some([query_norm, key_norm]) = &layer.head_norms {
        query = rms_norm(&query, query_norm, config.rms_norm_eps)?;
        key = rms_norm(&key, key_norm, config.rms_norm_eps)?;
    }
    let (query, key) = (rotate(&query, config, position)?, rotate(&key, config, position)?);
    let [keys, values] = layer.cache.take().ok_or("the prompt comes first")?;
    let (keys, values) = (Tensor::cat(&[&keys, &key], 1)?, Tensor::cat(&[&values, &value], 1)?);
    // The queries of a KV head are rows beside each other.
    let stacked = query.reshape((key_heads, heads / key_heads, width))?;
    #[expect(clippy::cast_precision_loss, reason = "heads are small")]
    let scores = (stacked.matmul(&keys.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
    let largest = scores.max_keepdim(D::Minus1)?;
    let weights = scores.broadcast_sub(&largest)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let mixed = weights.matmul(&values)?.reshape((1, heads * width))?;
    layer.cache = Some([keys, values]);
    Ok(mixed.matmul(&layer.output.t()?)?)
}

fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(x.broadcast_div(&(mean + epsilon)?.sqrt()?)?.broadcast_mul(weight)?)
}

/// Rotates each pair of channels `(i, i + head_dim / 2)`.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "computed in f64, kept in f32")]
fn rotate(x: &Tensor, config: &OracleConfig, position: usize) -> Result<Tensor> {
    let half = config.head_dim / 2;
    let angle = |pair: usize| position as f64 * config.rope_theta.powf(-(pair as f64) / half as f64);
    let table = |function: fn(f64) -> f64| {
        let values: Vec<f32> = (0..half).map(|pair| function(angle(pair)) as f32).collect();
        Tensor::from_vec(values, half, &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let left = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
    let right = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
    Ok(Tensor::cat(&[&left, &right], D::Minus1)?)
}
