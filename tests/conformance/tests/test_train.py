"""`anec train` follows a training of PyTorch step by step, and goes on after a stop as if there had been none."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

DIM, HIDDEN, LAYERS, HEADS, VOCABULARY, POSITIONS = 64, 160, 2, 4, 96, 64
SEQUENCE, BATCH, STEPS, RATE, WARMUP, CLIP = 32, 2, 200, 2e-3, 10, 1.0
HEAD_DIM = DIM // HEADS
#: Of `converter/src/training/train/data.rs`.
STRIDE = 1_000_003


def weights() -> dict[str, torch.Tensor]:
    """A model that is not trained, in the order of llama2.c's checkpoints."""
    generator = torch.Generator().manual_seed(3)
    shapes = {
        "embedding": (VOCABULARY, DIM),
        "attention_norm": (LAYERS, DIM),
        "wq": (LAYERS, DIM, DIM),
        "wk": (LAYERS, DIM, DIM),
        "wv": (LAYERS, DIM, DIM),
        "wo": (LAYERS, DIM, DIM),
        "ffn_norm": (LAYERS, DIM),
        "w1": (LAYERS, HIDDEN, DIM),
        "w2": (LAYERS, DIM, HIDDEN),
        "w3": (LAYERS, HIDDEN, DIM),
        "norm": (DIM,),
    }
    return {
        name: torch.ones(shape) if "norm" in name else torch.randn(shape, generator=generator) * 0.05
        for name, shape in shapes.items()
    }


def write_checkpoint(path: Path, model: dict[str, torch.Tensor]) -> None:
    header = struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, HEADS, VOCABULARY, POSITIONS)
    tables = np.zeros(POSITIONS * HEAD_DIM, dtype="<f4").tobytes()
    path.write_bytes(header + b"".join(w.numpy().astype("<f4").tobytes() for w in model.values()) + tables)


def read_checkpoint(path: Path) -> np.ndarray:
    """All weights of a checkpoint in a row."""
    data = path.read_bytes()
    assert struct.unpack("<7i", data[:28]) == (DIM, HIDDEN, LAYERS, HEADS, HEADS, VOCABULARY, POSITIONS)
    return np.frombuffer(data[28:], dtype="<f4")[: -POSITIONS * HEAD_DIM]


def loss_of(model: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """The forward pass of llama2.c: tokens [batch, sequence + 1] to their mean loss."""
    given, targets = tokens[:, :-1], tokens[:, 1:]

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight

    angles = torch.outer(torch.arange(SEQUENCE), 10_000.0 ** (-torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    cos, sin = angles.cos(), angles.sin()

    def rotate(x: torch.Tensor) -> torch.Tensor:
        first, second = x[..., 0::2], x[..., 1::2]
        return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).flatten(-2)

    x = model["embedding"][given]
    mask = torch.triu(torch.full((SEQUENCE, SEQUENCE), -torch.inf), 1)
    for layer in range(LAYERS):
        normed = norm(x, model["attention_norm"][layer])
        q, k, v = (
            (normed @ model[name][layer].T).view(*given.shape, HEADS, HEAD_DIM).transpose(1, 2)
            for name in ("wq", "wk", "wv")
        )
        scores = rotate(q) @ rotate(k).transpose(-1, -2) / math.sqrt(HEAD_DIM) + mask
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + mixed @ model["wo"][layer].T
        normed = norm(x, model["ffn_norm"][layer])
        gate = torch.nn.functional.silu(normed @ model["w1"][layer].T)
        x = x + (gate * (normed @ model["w3"][layer].T)) @ model["w2"][layer].T
    logits = norm(x, model["norm"]) @ model["embedding"].T
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def rate(step: int) -> float:
    if step < WARMUP:
        return RATE * (step + 1) / WARMUP
    part = min((step - WARMUP) / (STEPS - WARMUP), 1)
    return RATE * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * part)))


@torch.enable_grad()
def trained_by_pytorch(model: dict[str, torch.Tensor], data: np.ndarray) -> list[float]:
    model = {name: weight.clone().requires_grad_() for name, weight in model.items()}
    optimizer = torch.optim.AdamW(model.values(), lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    sequences = (len(data) - 1) // SEQUENCE
    losses = []
    for step in range(STEPS):
        places = [(step * BATCH + i) * STRIDE % sequences * SEQUENCE for i in range(BATCH)]
        tokens = torch.tensor(np.stack([data[place : place + SEQUENCE + 1] for place in places]).astype(np.int64))
        optimizer.zero_grad()
        loss = loss_of(model, tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.values(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.step()
        losses.append(loss.item())
    return losses


def text() -> np.ndarray:
    """Tokens in which there is something to learn: words of a small vocabulary, in a changing order."""
    random = np.random.default_rng(5)
    words = [random.integers(0, VOCABULARY, length) for length in random.integers(2, 7, 40)]
    return np.concatenate([words[i] for i in random.zipf(1.5, 4000) % 40]).astype("<u2")


def test_training_follows_pytorch_and_goes_on_after_a_stop(anec, tmp_path: Path) -> None:
    model, data = weights(), text()
    write_checkpoint(tmp_path / "start.bin", model)
    (tmp_path / "data.bin").write_bytes(data.tobytes())
    options = ["--data", tmp_path / "data.bin", "--lr", RATE, "--warmup", WARMUP, "--batch", BATCH, "--quiet"]
    options += ["--sequence", SEQUENCE, "--clip", CLIP, "--save-every", 30]

    def train(output: str, steps: int, *more: str) -> list[dict]:
        outcome = anec.run("train", tmp_path / "start.bin", "-o", tmp_path / output, "--steps", steps, *options, *more)
        assert outcome.code == 0, outcome.stderr
        return [json.loads(line) for line in (tmp_path / output / "log.jsonl").read_text().splitlines()]

    log = train("whole", STEPS)
    expected = trained_by_pytorch(model, data)
    assert [line["step"] for line in log] == list(range(1, STEPS + 1))
    for line, loss in zip(log, expected, strict=True):
        assert abs(line["loss"] - loss) <= 0.01 * loss, f"step {line['step']}: {line['loss']} and {loss}"
    assert expected[-1] < 0.75 * expected[0], "something is learned"

    # Killed behind the second checkpoint, wherever that is, and gone on with.
    again = tmp_path / "again"
    command = [anec.binary, "train", tmp_path / "start.bin", "-o", again, "--steps", STEPS, *options]
    process = subprocess.Popen([str(argument) for argument in command])
    while process.poll() is None and steps_of(again) < 70:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert (again / "state.bin").is_file()
    log = train("again", STEPS, "--resume")
    assert [line["step"] for line in log] == list(range(1, STEPS + 1))
    for name in ("state.bin", "model.bin", "model.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def steps_of(directory: Path) -> int:
    """Steps in the log of a training that goes on."""
    path = directory / "log.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_a_trained_model_is_a_checkpoint_of_transformers(anec, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    write_checkpoint(tmp_path / "start.bin", weights())
    data = text()
    (tmp_path / "data.bin").write_bytes(data.tobytes())
    options = ["--data", tmp_path / "data.bin", "--steps", 1, "--lr", 0, "--sequence", SEQUENCE, "--quiet"]
    outcome = anec.run("train", tmp_path / "start.bin", "-o", tmp_path / "out", *options)
    assert outcome.code == 0, outcome.stderr
    assert np.array_equal(read_checkpoint(tmp_path / "out" / "model.bin"), read_checkpoint(tmp_path / "start.bin"))
    model = LlamaForCausalLM.from_pretrained(tmp_path / "out", torch_dtype=torch.float32)
    tokens = torch.tensor(data[: SEQUENCE + 1].astype(np.int64))[None]
    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits
        found = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:])
        assert torch.allclose(found, loss_of(weights(), tokens), rtol=1e-5)
