"""Weight files that are a header and then numbers: checkpoints of llama2.c, and the flat file beside kernels."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import synthetic

#: What llama2.c knows of a model without being told.
LLAMA = {**synthetic.LLAMA, **synthetic.TINY, "torch_dtype": "float32", "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
#: What the readers of flat files know.
QWEN = {**synthetic.QWEN2, **synthetic.TINY, "torch_dtype": "float32", "rms_norm_eps": 1e-6, "rope_theta": 1e6}
QWEN |= {"tie_word_embeddings": True, "use_sliding_window": False}
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys such that the two channels of a rotation are neighbours, as llama2.c has them."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def llama2c(config: dict, weights: dict[str, np.ndarray], version: int) -> bytes:
    """A checkpoint of llama2.c, as its `export.py` writes it."""
    layers, tied = range(config["num_hidden_layers"]), config["tie_word_embeddings"]
    vocabulary, positions = config["vocab_size"], config["max_position_embeddings"]

    def all_of(module: str) -> list[np.ndarray]:
        found = [weights[f"model.layers.{layer}.{module}.weight"] for layer in layers]
        heads = {"self_attn.q_proj": "num_attention_heads", "self_attn.k_proj": "num_key_value_heads"}.get(module)
        return [paired(weight, config[heads]) for weight in found] if heads else found

    embedding, norm = [weights["model.embed_tokens.weight"]], [weights["model.norm.weight"]]
    attention_norm, mlp_norm = all_of("input_layernorm"), all_of("post_attention_layernorm")
    attention = [w for name in ("q_proj", "k_proj", "v_proj", "o_proj") for w in all_of(f"self_attn.{name}")]
    mlp = [w for name in ("gate_proj", "down_proj", "up_proj") for w in all_of(f"mlp.{name}")]
    head = [] if tied else [weights["lm_head.weight"]]
    sizes = [config[name] for name in SIZES]
    if version == 0:
        header = struct.pack("<7i", *sizes, vocabulary if tied else -vocabulary, positions)
        tables = [np.ones(positions * config["hidden_size"] // config["num_attention_heads"], np.float32)]
        order = [*embedding, *attention_norm, *attention, *mlp_norm, *mlp, *norm, *tables, *head]
    else:
        header = struct.pack("<Ii7iB", 0x616B3432, 1, *sizes, vocabulary, positions, int(tied)).ljust(256, b"\0")
        order = [*attention_norm, *mlp_norm, *norm, *embedding, *attention, *mlp, *head]
    return header + b"".join(weight.astype("<f4").tobytes() for weight in order)


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied"])
def test_checkpoints_of_llama2c_convert_to_what_transformers_has(anec, tmp_path: Path, tied: bool) -> None:
    config = {**LLAMA, "tie_word_embeddings": tied}
    checkpoint = synthetic.write(tmp_path / "checkpoint", config)
    weights = load_file(checkpoint / "model.safetensors")
    options = ["--context-length", 64, "--emit", "mlpackage"]
    expected = anec.convert(checkpoint, *options)
    for version in (0, 1):
        path = tmp_path / f"version{version}.bin"
        path.write_bytes(llama2c(config, weights, version))
        found = anec.convert(path, *options)
        for package in sorted(expected.glob("*.mlpackage")):
            outcome = anec.run("diff", package, found / package.name)
            assert outcome.code == 0, outcome.stdout
        (tmp_path / "tokens.json").write_text(json.dumps(list(range(3, 43))))
        options_of_verify = ["--tokens", tmp_path / "tokens.json", "--quiet", "--json"]
        report = anec.run("verify", found, "--against", path, *options_of_verify)
        assert report.code == 0, report.stderr
        config_file = json.loads((found / "config.json").read_text())
        assert config_file["num_key_value_heads"] == 2
        assert config_file["eos_token_id"] == [1, 2]
    assert "llama2.c, version 1" in anec.run("inspect", path).stdout
    outcome = anec.run("convert", path, "-o", tmp_path / "again", *options, "--calibration", "none")
    assert "no tokenizer is written" in outcome.stderr
    path.write_bytes(path.read_bytes()[:-4])
    outcome = anec.run("convert", path, "-o", tmp_path / "cut", *options)
    assert outcome.code == 1
    assert "bytes by the header, the file has" in outcome.stderr


def flat(config: dict, weights: dict[str, np.ndarray], positions: int, dtype: str) -> bytes:
    """The flat file of a model."""
    order = [weights["model.embed_tokens.weight"]]
    for layer in range(config["num_hidden_layers"]):
        of_layer = ["input_layernorm.weight", *(f"self_attn.{name}_proj.weight" for name in "qkvo")]
        of_layer += [f"self_attn.{name}_proj.bias" for name in "qkv"]
        of_layer += ["post_attention_layernorm.weight", *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down"))]
        order += [weights[f"model.layers.{layer}.{name}"] for name in of_layer]
    order.append(weights["model.norm.weight"])
    header = struct.pack("<7i", *(config[name] for name in SIZES), config["vocab_size"], positions)
    return header + b"".join(weight.astype(dtype).tobytes() for weight in order)


@pytest.mark.parametrize(("name", "dtype"), [("f32", "<f4"), ("f16", "<f2")])
def test_flat_files_beside_kernels_hold_every_weight_and_are_read_back(anec, tmp_path, name, dtype) -> None:
    checkpoint = synthetic.write(tmp_path / "checkpoint", QWEN)
    options = ["--layout", "kernels", "--context-length", 64]
    directory = anec.convert(checkpoint, *options, "--flat", name)
    written = directory / f"flat_{name}.bin"
    assert written.read_bytes() == flat(QWEN, load_file(checkpoint / "model.safetensors"), 64, dtype)
    assert anec.run("check", directory).code == 0
    # Kernels are in fp16, so nothing is lost on the way through either file.
    again = anec.convert(written, *options)
    for model in sorted(directory.glob("*.mil")):
        assert anec.run("diff", model, again / model.name).code == 0, model.name


def test_models_that_flat_files_cannot_tell_are_refused(anec, tmp_path) -> None:
    checkpoint = synthetic.write(tmp_path / "checkpoint", {**QWEN, "rope_theta": 10000.0})
    outcome = anec.run("convert", checkpoint, "--layout", "kernels", "--flat", "f32", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "its readers take `rope_theta` 1000000" in outcome.stderr
    outcome = anec.run("convert", checkpoint, "--flat", "f32", "-o", tmp_path / "out", "--calibration", "none")
    assert "`--flat` has no effect" in outcome.stderr
