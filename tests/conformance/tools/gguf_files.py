"""Writes GGUF files of small models as llama.cpp's converter would, with every type of blocks, and what they hold.

The blocks are decoded by the `gguf` package, which is llama.cpp's own. The checkpoint beside a file has what that
gives, in fp32, under the names and in the order of transformers: what reads the file must compute what the checkpoint
computes.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.numpy import load_file, save_file

import synthetic

#: Rows of 256 elements at least, which blocks of the K types have.
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

MODELS: dict[str, dict] = {
    "llama": {**synthetic.LLAMA, **SHAPE},
    "llama3": {
        **synthetic.LLAMA,
        **SHAPE,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "qwen2": {**synthetic.QWEN2, **SHAPE, "tie_word_embeddings": True},
    "qwen3": {**synthetic.QWEN3, **SHAPE, "head_dim": 64},
    "gemma3": {
        **synthetic.GEMMA3,
        **SHAPE,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "num_hidden_layers": 6,
        "sliding_window": 32,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    },
}

TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]

#: Where in a block of a K type the factors in fp16 are, and such that elements are small and their mean is near zero.
FACTORS = {
    "Q2_K": [(80, 3e-3), (82, 4.5e-3)],
    "Q3_K": [(108, 7e-4)],
    "Q4_K": [(0, 1.5e-4), (2, 1.1e-3)],
    "Q5_K": [(0, 8e-5), (2, 1.2e-3)],
    "Q6_K": [(208, 2e-5)],
}

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def undo_interleave(weight: np.ndarray, heads: int) -> np.ndarray:
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def blocks(weight: np.ndarray, name: str, seed: int) -> np.ndarray:
    """A weight in blocks of a type; of the K types, which `gguf` cannot make, any blocks."""
    kind = GGMLQuantizationType[name]
    if name not in FACTORS:
        return gguf.quants.quantize(weight, kind)
    elements, size = GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(seed)
    made = random.integers(0, 256, (weight.size // elements, size), dtype=np.uint8)
    for at, factor in FACTORS[name]:
        made[:, at : at + 2] = np.float16(factor * random.uniform(0.5, 1.5, len(made)))[:, None].view(np.uint8)
    return made.reshape(weight.shape[0], -1)


def name_in_file(name: str, model_type: str) -> str:
    path, parameter = name.rsplit(".", 1)
    if not path.startswith("model.layers."):
        return f"{NAMES[path]}.{parameter}"
    _, _, layer, module = path.split(".", 3)
    names = {**NAMES, **GEMMA_NAMES} if model_type == "gemma3_text" else NAMES
    return f"blk.{layer}.{names[module]}.{parameter}"


def write(directory: Path, model: str, kind: str, tokenizer: Path | None = None) -> tuple[Path, Path]:
    """Writes `MODEL-KIND.gguf` and the checkpoint that it holds, and gives their paths."""
    config = MODELS[model]
    checkpoint = synthetic.write(directory / f"{model}-{kind}", config)
    weights = load_file(checkpoint / "model.safetensors")
    path = directory / f"{model}-{kind}.gguf"
    architecture = {"llama3": "llama"}.get(model, model)
    writer = gguf.GGUFWriter(path, architecture)
    add_config(writer, config, architecture)
    if tokenizer:
        add_tokenizer(writer, tokenizer)
    decoded = {}
    for index, (name, weight) in enumerate(weights.items()):
        heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
        turned = architecture == "llama" and (".q_proj." in name or ".k_proj." in name)
        stored = interleave(weight, heads) if turned else weight
        if config["model_type"] == "gemma3_text" and name.endswith("norm.weight"):
            stored = stored + 1
        if stored.ndim < 2 or kind == "F32":
            writer.add_tensor(name_in_file(name, config["model_type"]), np.ascontiguousarray(stored))
        else:
            packed = blocks(np.ascontiguousarray(stored), kind, index)
            number = GGMLQuantizationType[kind]
            writer.add_tensor(name_in_file(name, config["model_type"]), packed, raw_dtype=number)
            stored = gguf.quants.dequantize(packed, number).astype(np.float32).reshape(weight.shape)
            weight = undo_interleave(stored, heads) if turned else stored
        decoded[name] = np.ascontiguousarray(weight)
    if config.get("rope_scaling"):
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(decoded, checkpoint / "model.safetensors", metadata={"format": "pt"})
    return path, checkpoint


def add_config(writer: gguf.GGUFWriter, config: dict, architecture: str) -> None:
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(0)
    if architecture in ("qwen3", "gemma3"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config["vocab_size"])
    if architecture == "gemma3":
        writer.add_sliding_window(config["sliding_window"])


def rope_factors(config: dict) -> np.ndarray:
    """The factors that `LlamaModel.generate_extra_tensors` of llama.cpp writes."""
    scaling = config["rope_scaling"]
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    frequencies = 1.0 / config["rope_theta"] ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    context = scaling["original_max_position_embeddings"]
    factors = []
    for frequency in frequencies:
        wavelength = 2 * np.pi / frequency
        if wavelength < context / high:
            factors.append(1)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    """The vocabulary of a byte-level tokenizer.json, as `get_vocab_base` and `SpecialVocab` of llama.cpp give it."""
    tokenizer = json.loads(path.read_text())
    ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}
    special = {token["id"]: token["special"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.get)
    kinds = [{None: 1, True: 3, False: 4}[special.get(ids[token])] for token in tokens]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
