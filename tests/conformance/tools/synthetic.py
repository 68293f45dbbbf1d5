"""Writes checkpoints of any size with random weights, for tests of architectures, memory and speed.

    python synthetic.py PRESET DIRECTORY [--seed N] [--shard-gigabytes N]

Weights are seeded, scaled so that every layer matters, and streamed to disk: a checkpoint of 16 GB needs little memory.
There is no tokenizer. `PRESETS` has the shapes of real models and small ones for every option that changes the maths.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

#: Elements that are made and written at a time.
PIECE = 1 << 22

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
MISTRAL = {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu"}
QWEN2 = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu"}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "attention_bias": False}
GEMMA3 = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_local_base_freq": 10000.0,
    "query_pre_attn_scalar": 24,
}

PHI3 = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_act": "silu", "pad_token_id": 0}

TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def rope_scaling(rope_type: str, factor: float, **others) -> dict:
    return {"rope_scaling": {"rope_type": rope_type, "factor": factor, **others}}


LLAMA3_SCALING = rope_scaling("llama3", 8.0, low_freq_factor=1.0, high_freq_factor=4.0)["rope_scaling"]

PRESETS: dict[str, dict] = {
    "qwen2.5-0.5b": {
        **QWEN2,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "use_sliding_window": False,
        "max_window_layers": 21,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
    "llama-3.1-8b": {
        **LLAMA,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": {**LLAMA3_SCALING, "original_max_position_embeddings": 8192},
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    },
    "tiny-llama": {**LLAMA, **TINY},
    "tiny-llama-biases": {**LLAMA, **TINY, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    "tiny-llama-head-dim": {**LLAMA, **TINY, "head_dim": 24},
    # Channels of a head that states of the Neural Engine do not take.
    "tiny-llama-head-48": {**LLAMA, **TINY, "head_dim": 48, "attention_bias": True},
    "tiny-llama-head-80": {**LLAMA, **TINY, "head_dim": 80},
    "tiny-qwen3-head-100": {**QWEN3, **TINY, "head_dim": 100},
    "tiny-mistral-window-head-48": {**MISTRAL, **TINY, "head_dim": 48, "sliding_window": 16},
    "tiny-llama-fp16-tied": {**LLAMA, **TINY, "torch_dtype": "float16", "tie_word_embeddings": True},
    "tiny-llama-fp32": {**LLAMA, **TINY, "torch_dtype": "float32"},
    "tiny-llama-prime-vocabulary": {**LLAMA, **TINY, "vocab_size": 509},
    # On the Neural Engine's slow read sizes: gate, up and down with 2 MiB per core, a head of one part with 1 MiB.
    "notch-llama": {
        **LLAMA,
        **TINY,
        "hidden_size": 1024,
        "intermediate_size": 16384,
        "num_hidden_layers": 1,
        "head_dim": 16,
        "vocab_size": 8192,
        "tie_word_embeddings": True,
    },
    # More channels than Neural Engines before M4 take.
    "wide-llama": {**LLAMA, **TINY, "intermediate_size": 16480, "mlp_bias": True},
    "tiny-llama-linear": {**LLAMA, **TINY, **rope_scaling("linear", 2.0)},
    "tiny-llama-dynamic": {**LLAMA, **TINY, "max_position_embeddings": 32, **rope_scaling("dynamic", 2.0)},
    "tiny-llama-yarn": {**LLAMA, **TINY, **rope_scaling("yarn", 4.0, original_max_position_embeddings=16)},
    "tiny-llama3": {
        **LLAMA,
        **TINY,
        "rope_scaling": {**LLAMA3_SCALING, "original_max_position_embeddings": 16},
    },
    "tiny-qwen2": {**QWEN2, **TINY, "tie_word_embeddings": True, "use_sliding_window": False, "sliding_window": 16},
    "tiny-qwen2-window": {
        **QWEN2,
        **TINY,
        "num_hidden_layers": 3,
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
    },
    "tiny-qwen3": {**QWEN3, **TINY, "head_dim": 32},
    "tiny-mistral": {**MISTRAL, **TINY, "sliding_window": None},
    "tiny-mistral-window": {**MISTRAL, **TINY, "sliding_window": 16},
    "tiny-mistral-nemo": {**MISTRAL, **TINY, "head_dim": 32, "sliding_window": None},
    "tiny-gemma3": {
        **GEMMA3,
        **TINY,
        "num_hidden_layers": 4,
        "head_dim": 32,
        "rope_theta": 100000.0,
        **rope_scaling("linear", 8.0),
        "sliding_window": 16,
        "sliding_window_pattern": 2,
        "tie_word_embeddings": True,
    },
    "tiny-smollm3": {
        "architectures": ["SmolLM3ForCausalLM"],
        "model_type": "smollm3",
        "hidden_act": "silu",
        **TINY,
        "num_hidden_layers": 4,
        "pad_token_id": 0,
        "no_rope_layers": [1, 0, 1, 1],
        "use_sliding_window": False,
        "attention_bias": True,
    },
    "tiny-smollm3-window": {
        "architectures": ["SmolLM3ForCausalLM"],
        "model_type": "smollm3",
        "hidden_act": "silu",
        **TINY,
        "num_hidden_layers": 3,
        "pad_token_id": 0,
        "no_rope_layer_interval": 2,
        "use_sliding_window": True,
        "sliding_window": 16,
        "tie_word_embeddings": True,
    },
    "tiny-granite": {
        "architectures": ["GraniteForCausalLM"],
        "model_type": "granite",
        "hidden_act": "silu",
        **TINY,
        "embedding_multiplier": 6.0,
        "attention_multiplier": 0.125,
        "residual_multiplier": 0.22,
        "logits_scaling": 2.0,
        "mlp_bias": True,
    },
    "tiny-olmo2": {
        "architectures": ["Olmo2ForCausalLM"],
        "model_type": "olmo2",
        "hidden_act": "silu",
        **TINY,
        "pad_token_id": 0,
        "attention_bias": True,
    },
    "tiny-phi3": {**PHI3, **TINY, "original_max_position_embeddings": 64, "sliding_window": 16},
    # As Phi-4-mini: a part of each head is rotated, by other factors in contexts beyond the first training's.
    "tiny-phi4": {
        **PHI3,
        **TINY,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 32,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            "long_factor": [1.0, 1.5, 2.0, 4.0, 6.0, 8.0],
        },
        "tie_word_embeddings": True,
    },
    "tiny-phi4-short": {
        **PHI3,
        **TINY,
        "max_position_embeddings": 256,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 64,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
            "long_factor": [1.0, 1.5, 2.0, 4.0, 6.0, 8.0],
        },
    },
    # As embedding models are saved: the decoder alone.
    "tiny-qwen3-embedding": {
        **QWEN3,
        **TINY,
        "architectures": ["Qwen3Model"],
        "head_dim": 32,
        "num_hidden_layers": 3,
        "tie_word_embeddings": True,
    },
    "tiny-mistral-embedding": {**MISTRAL, **TINY, "architectures": ["MistralModel"], "sliding_window": 16},
    # Windows of states whose sizes the Neural Engine takes, and one that it does not.
    "windows-mistral": {**MISTRAL, **TINY, "max_position_embeddings": 512, "sliding_window": 32},
    "windows-qwen2": {
        **QWEN2,
        **TINY,
        "num_hidden_layers": 3,
        "max_position_embeddings": 512,
        "use_sliding_window": True,
        "sliding_window": 32,
        "max_window_layers": 1,
    },
    "windows-gemma3": {
        **GEMMA3,
        **TINY,
        "num_hidden_layers": 4,
        "head_dim": 32,
        "max_position_embeddings": 512,
        "rope_theta": 100000.0,
        "sliding_window": 32,
        "sliding_window_pattern": 2,
        "tie_word_embeddings": True,
    },
    "windows-odd": {
        **QWEN2,
        **TINY,
        "num_hidden_layers": 3,
        "max_position_embeddings": 512,
        "use_sliding_window": True,
        "sliding_window": 21,
        "max_window_layers": 2,
    },
    "tiny-gemma3-types": {
        **GEMMA3,
        **TINY,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "sliding_window": 24,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "tie_word_embeddings": True,
        "attention_bias": True,
    },
}


def tensors(config: dict) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the weights, in the order in which they are written."""
    is_bare = config["architectures"][0].endswith("Model")
    for name, shape in decoder_tensors(config):
        yield name if is_bare else f"model.{name}", shape
    if not config["tie_word_embeddings"] and not is_bare:
        yield "lm_head.weight", (config["vocab_size"], config["hidden_size"])


def decoder_tensors(config: dict) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the weights of the decoder alone."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    model_type = config["model_type"]
    qkv_bias = model_type == "qwen2" or config.get("attention_bias", False)
    o_bias = model_type != "qwen2" and config.get("attention_bias", False)

    def linear(name: str, rows: int, columns: int, bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (rows, columns)
        if bias:
            yield f"{name}.bias", (rows,)

    yield "embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"layers.{layer}"
        if model_type != "olmo2":
            yield f"{prefix}.input_layernorm.weight", (hidden,)
        if model_type == "phi3":
            yield f"{prefix}.self_attn.qkv_proj.weight", ((heads + 2 * kv_heads) * head_dim, hidden)
        else:
            yield from linear(f"{prefix}.self_attn.q_proj", heads * head_dim, hidden, qkv_bias)
            yield from linear(f"{prefix}.self_attn.k_proj", kv_heads * head_dim, hidden, qkv_bias)
            yield from linear(f"{prefix}.self_attn.v_proj", kv_heads * head_dim, hidden, qkv_bias)
        yield from linear(f"{prefix}.self_attn.o_proj", hidden, heads * head_dim, o_bias)
        if model_type in ("qwen3", "gemma3_text", "olmo2"):
            whole = model_type == "olmo2"
            yield f"{prefix}.self_attn.q_norm.weight", (heads * head_dim if whole else head_dim,)
            yield f"{prefix}.self_attn.k_norm.weight", (kv_heads * head_dim if whole else head_dim,)
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
        if model_type == "gemma3_text":
            yield f"{prefix}.pre_feedforward_layernorm.weight", (hidden,)
        if model_type in ("gemma3_text", "olmo2"):
            yield f"{prefix}.post_feedforward_layernorm.weight", (hidden,)
        mlp_bias = config.get("mlp_bias", False)
        if model_type == "phi3":
            yield f"{prefix}.mlp.gate_up_proj.weight", (2 * inner, hidden)
        else:
            yield from linear(f"{prefix}.mlp.gate_proj", inner, hidden, mlp_bias)
            yield from linear(f"{prefix}.mlp.up_proj", inner, hidden, mlp_bias)
        yield from linear(f"{prefix}.mlp.down_proj", hidden, inner, mlp_bias)
    yield "norm.weight", (hidden,)


def write(directory: str | Path, config: dict, *, seed: int = 0, shard_bytes: int = 5 * 10**9) -> Path:
    """Writes a checkpoint; one file, or several with an index where one would be larger than `shard_bytes`."""
    directory = Path(directory)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    width = 4 if config["torch_dtype"] == "float32" else 2
    shards: list[list[tuple[int, str, tuple[int, ...]]]] = [[]]
    filled = 0
    for index, (name, shape) in enumerate(tensors(config)):
        size = math.prod(shape) * width
        if shards[-1] and filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append((index, name, shape))
        filled += size
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_shard(directory / file, shard, config, seed)
        weight_map |= {name: file for _, name, _ in shard}
    if len(shards) > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def write_shard(path: Path, shard: list[tuple[int, str, tuple[int, ...]]], config: dict, seed: int) -> None:
    """One safetensors file."""
    dtype = config["torch_dtype"]
    # Gemma multiplies by one more than the weight.
    norm = 0.0 if config["model_type"] == "gemma3_text" else 1.0
    label, width = {"bfloat16": ("BF16", 2), "float16": ("F16", 2), "float32": ("F32", 4)}[dtype]
    header: dict = {"__metadata__": {"format": "pt"}}
    offset = 0
    for _, name, shape in shard:
        end = offset + math.prod(shape) * width
        header[name] = {"dtype": label, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for index, name, shape in shard:
            random = np.random.default_rng([seed, index])
            count = math.prod(shape)
            for start in range(0, count, PIECE):
                values = random.standard_normal(min(PIECE, count - start), dtype=np.float32)
                file.write(encode(scale(name, shape, values, norm), dtype))


def scale(name: str, shape: tuple[int, ...], values: np.ndarray, norm: float) -> np.ndarray:
    """Norms around `norm`, biases small, projections that keep variance, embeddings of varied logits when tied."""
    if "norm" in name:
        return norm + values / 10
    if name.endswith(".bias"):
        return values / 5
    gain = 2.0 if "embed_tokens" in name or "lm_head" in name else 1.2
    return values * np.float32(gain / math.sqrt(shape[1]))


def encode(values: np.ndarray, dtype: str) -> bytes:
    """Little-endian bytes; bf16 by rounding half to even."""
    if dtype != "bfloat16":
        return values.astype(dtype).tobytes()
    bits = values.astype(np.float32).view(np.uint32)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits >> 16).astype(np.uint16).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=sorted(PRESETS))
    parser.add_argument("directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-gigabytes", type=float, default=5)
    arguments = parser.parse_args()
    write(
        arguments.directory,
        PRESETS[arguments.preset],
        seed=arguments.seed,
        shard_bytes=int(arguments.shard_gigabytes * 1e9),
    )


if __name__ == "__main__":
    main()
