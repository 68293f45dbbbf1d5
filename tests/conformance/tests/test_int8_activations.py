"""Activations in int8: programs that round them lose what PyTorch loses with the same rounding."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

TOKENS = 24
OPTIONS = ["--ffn", "int8", "--context-length", 256]
SCALE = re.compile(r"fp16 x_int8_scale_0 = const\(\)\[.*val = fp16\((0x[^)]+|[^)]+)\)\]")


def quantized_linear(directory: Path, program: dict) -> tuple[float, torch.Tensor]:
    """The scale of the input of a kernel, by its text, and its weight, by its weight files."""
    scale = SCALE.search((directory / program["text"]).read_text()).group(1)
    scale = float.fromhex(scale) if scale.startswith("0x") else float(scale)
    blob, files = program["blobs"][0], {file["name"]: directory / file["path"] for file in program["weight_files"]}
    rows, columns = (end - start for start, end in (blob["rows"], blob["columns"]))
    # The data of a record is 64 bytes behind it.
    data = [files[record["file"]].read_bytes()[record["offset"] + 64 :] for record in blob["records"]]
    weight = np.frombuffer(data[0], "<i1", rows * columns).reshape(rows, columns).astype(np.float32)
    return scale, torch.tensor(weight * np.frombuffer(data[1], "<f2", rows).astype(np.float32)[:, None])


@torch.no_grad()
def rounded_logits(checkpoint: Path, directory: Path, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the checkpoint, and with every projection of a layer rounded as the kernels are."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, torch_dtype=torch.float32)
    plain = model(tokens).logits
    names = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    for program in json.loads((directory / "kernels.json").read_text())["programs"]:
        if program["role"] not in names:
            continue
        layer = model.model.layers[program["layer"]]
        module = getattr(layer.self_attn, program["role"], None) or getattr(layer.mlp, program["role"])
        scale, weight = quantized_linear(directory, program)
        module.weight.copy_(weight)

        def rounded(_module, inputs: tuple[torch.Tensor], scale: float = scale) -> tuple[torch.Tensor]:
            return ((inputs[0] / scale).round().clamp(-128, 127) * scale,)

        module.register_forward_pre_hook(rounded)
    return plain, model(tokens).logits


def kl_of(anec, directory: Path, checkpoint: Path, tokens: Path) -> np.ndarray:
    """Divergence at every position of every window."""
    limits = ["--max-kl", 1, "--min-top1", 0, "--max-perplexity-increase", 1]
    outcome = anec.run("verify", directory, "--against", checkpoint, "--tokens", tokens, "--quiet", "--json", *limits)
    assert outcome.code == 0, outcome.stderr
    return np.array(json.loads(outcome.stdout)["decode"]["kl"])


def test_kernels_lose_what_pytorch_loses_with_the_same_rounding(anec, small_checkpoint, tmp_path) -> None:
    windows = np.random.default_rng(1).integers(3, 2000, (TOKENS, 2)).tolist()
    (tmp_path / "tokens.json").write_text(json.dumps(windows))
    options = ["--layout", "kernels", *OPTIONS]
    directory = anec.convert(small_checkpoint, *options, "--int8-activations", "--calibration", "builtin")
    logits = rounded_logits(small_checkpoint, directory, torch.tensor(windows))
    plain, rounded = (x.log_softmax(-1) for x in logits)
    expected = (plain.exp() * (plain - rounded)).sum(-1).numpy()
    found = kl_of(anec, directory, small_checkpoint, tmp_path / "tokens.json")
    # A rotation by zero is exact. Others are rounded to fp16, which moves numbers past the middle between two integers.
    assert np.median(np.abs(found[:, 0] / expected[:, 0] - 1)) < 1e-3
    assert abs(found.mean() / expected.mean() - 1) < 0.2
    # Rounded activations lose more than rounded weights alone, and still little.
    weights_alone = kl_of(anec, anec.convert(small_checkpoint, *options), small_checkpoint, tmp_path / "tokens.json")
    assert weights_alone.mean() < found.mean() < 0.05


def test_prompts_alone_are_rounded_too(anec, small_checkpoint) -> None:
    options = ["--layout", "prefill", *OPTIONS, "--int8-activations", "--calibration", "builtin", "--emit", "mlpackage"]
    directory = anec.convert(small_checkpoint, *options)
    outcome = anec.run("inspect", directory, "--json")
    assert outcome.code == 0
    assert "quantize" in outcome.stdout
    (directory.parent / "rounded.json").write_text(json.dumps(list(range(3, 3 + TOKENS))))
    assert kl_of(anec, directory, small_checkpoint, directory.parent / "rounded.json").mean() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layout", "kernels"], "add `--ffn int8`"),
        (["--ffn", "int8"], "`kernels` and `prefill` take the option"),
        (["--layout", "kernels", "--ffn", "int8", "--calibration", "none"], "`--calibration none`"),
    ],
)
def test_what_rounding_needs_is_said(anec, small_checkpoint, tmp_path, options, message) -> None:
    command = ["convert", small_checkpoint, "-o", tmp_path / "out", "--context-length", 256, "--int8-activations"]
    outcome = anec.run(*command, *options)
    assert outcome.code == 1
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()
