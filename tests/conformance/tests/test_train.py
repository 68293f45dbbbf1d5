"""`anec train` follows a training of PyTorch step by step, and goes on after a stop as if there had been none."""

from __future__ import annotations

import json
import math
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

import synthetic

DIM, HIDDEN, LAYERS, HEADS, VOCABULARY, POSITIONS = 64, 160, 2, 4, 96, 64
SEQUENCE, BATCH, STEPS, RATE, WARMUP, CLIP = 32, 2, 200, 2e-3, 10, 1.0
HEAD_DIM = DIM // HEADS
#: What a terminal is told when a picture comes, and when it goes.
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
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
    write_checkpoint(tmp_path / "start.bin", weights())
    data = text()
    (tmp_path / "data.bin").write_bytes(data.tobytes())
    options = ["--data", tmp_path / "data.bin", "--steps", 1, "--lr", 0, "--sequence", SEQUENCE, "--quiet"]
    outcome = anec.run("train", tmp_path / "start.bin", "-o", tmp_path / "out", *options)
    assert outcome.code == 0, outcome.stderr
    assert np.array_equal(read_checkpoint(tmp_path / "out" / "model.bin"), read_checkpoint(tmp_path / "start.bin"))
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out", torch_dtype=torch.float32)
    tokens = torch.tensor(data[: SEQUENCE + 1].astype(np.int64))[None]
    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits
        found = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:])
        assert torch.allclose(found, loss_of(weights(), tokens), rtol=1e-5)


def test_training_goes_on_from_a_checkpoint_of_transformers_and_its_result_generates(
    anec, small_checkpoint, tmp_path: Path
) -> None:
    config = {**synthetic.LLAMA, **synthetic.TINY, "num_key_value_heads": 4, "torch_dtype": "float32"}
    config |= {"rope_theta": 50000.0, "rms_norm_eps": 1e-6, "vocab_size": VOCABULARY, "tie_word_embeddings": False}
    checkpoint = synthetic.write(tmp_path / "checkpoint", config)
    data = text()
    (tmp_path / "data.bin").write_bytes(data.tobytes())
    options = ["--data", tmp_path / "data.bin", "--sequence", SEQUENCE, "--quiet"]

    tokenizer = ["--tokenizer", small_checkpoint]

    # Without a step that moves, everything is as it was.
    outcome = anec.run("train", checkpoint, "-o", tmp_path / "same", "--steps", 1, "--lr", 0, *options)
    assert outcome.code == 0, outcome.stderr
    expected, found = (load_file(path / "model.safetensors") for path in (checkpoint, tmp_path / "same"))
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    # llama2.c knows neither this epsilon nor this base.
    assert not (tmp_path / "same" / "model.bin").exists()
    model = transformers.LlamaForCausalLM.from_pretrained(checkpoint, torch_dtype=torch.float32)
    tokens = torch.tensor(data[: SEQUENCE + 1].astype(np.int64))[None]
    log = json.loads((tmp_path / "same" / "log.jsonl").read_text())
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1]).logits[0], tokens[0, 1:]).item()
    assert abs(log["loss"] - loss) <= 1e-4 * loss

    outcome = anec.run("train", checkpoint, "-o", tmp_path / "out", "--steps", 60, "--lr", RATE, *options, *tokenizer)
    assert outcome.code == 0, outcome.stderr
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out", torch_dtype=torch.float32)
    converted = anec.convert(tmp_path / "out", "--context-length", 64)
    prompt = data[:8].tolist()
    (tmp_path / "prompt.json").write_text(json.dumps(prompt))
    options = ["--prompt-tokens", tmp_path / "prompt.json", "--greedy", "--max-tokens", 16, "--ignore-eos", "--json"]
    outcome = anec.run("run", converted, *options)
    assert outcome.code == 0, outcome.stderr
    sequence = list(prompt)
    for token in json.loads(outcome.stdout)["token_ids"]:
        with torch.no_grad():
            best = model(torch.tensor([sequence])).logits[0, -1].topk(2)
        # fp16 weights may choose the other of two that are as good.
        assert token == best.indices[0] or best.values[0] - best.values[1] < 0.05
        sequence.append(token)
    assert len(sequence) == 24


def test_models_with_fewer_heads_of_keys_are_refused(anec, tmp_path: Path) -> None:
    checkpoint = synthetic.write(tmp_path / "checkpoint", {**synthetic.LLAMA, **synthetic.TINY})
    (tmp_path / "data.bin").write_bytes(text().tobytes())
    options = ["--data", tmp_path / "data.bin", "--steps", 1, "--sequence", SEQUENCE]
    outcome = anec.run("train", checkpoint, "-o", tmp_path / "out", *options)
    assert outcome.code == 1
    assert "`num_key_value_heads` is 2, expected 4" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_lines_and_texts_are_printed_where_there_is_no_terminal(anec, small_checkpoint, tmp_path: Path) -> None:
    config = {**synthetic.LLAMA, **synthetic.TINY, "num_key_value_heads": 4, "vocab_size": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "book.txt").write_text("It was a bright cold day in April. " * 40)
    outcome = anec.run("tokenize", tmp_path / "book.txt", "--tokenizer", small_checkpoint, "-o", tmp_path / "data.bin")
    assert outcome.code == 0, outcome.stderr
    options = ["--data", tmp_path / "data.bin", "--steps", 20, "--sequence", SEQUENCE, "--sample-every", 10]

    def train(output: str, *more: object) -> str:
        command = ["train", tmp_path / "config.json", "-o", tmp_path / output, *options, *more]
        outcome = anec.run(*command)
        assert outcome.code == 0, outcome.stderr
        assert outcome.stdout == ""
        return outcome.stderr

    lines = train("texts", "--tokenizer", small_checkpoint).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step ") and "/" in line] == ["1/20", "10/20", "20/20"]
    texts = [line for line in lines if line.startswith("text after step ")]
    assert [line.split(":")[0] for line in texts] == ["text after step 10", "text after step 20"]
    start = next(i for i, line in enumerate(lines) if line.startswith("program "))
    assert len({len(line) for line in lines[start : start + 7]}) == 1, "columns line up"
    # What is written meanwhile changes nothing, and the tokenizer is beside the weights.
    assert (tmp_path / "texts" / "tokenizer.json").is_file()
    train("plain")
    names = ("state.bin", "model.safetensors")
    assert all((tmp_path / "texts" / n).read_bytes() == (tmp_path / "plain" / n).read_bytes() for n in names)


def in_terminal(keys: bytes, *arguments: object) -> tuple[int, bytes]:
    """Exit code and last output of a command in a terminal, which it leaves as it was; keys are pressed as it draws."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    before, written = termios.tcgetattr(theirs), b""
    process = subprocess.Popen([str(argument) for argument in arguments], stdin=theirs, stdout=theirs, stderr=theirs)
    while True:
        has_ended = process.poll() is not None
        if select.select([ours], [], [], 0.02)[0]:
            written += os.read(ours, 1 << 16)
        elif has_ended:
            break
        if keys and ENTER in written:
            os.write(ours, keys)
            keys = b""
    assert termios.tcgetattr(theirs) == before, "keys are echoed and lines are edited as before"
    os.close(ours)
    os.close(theirs)
    assert 0 <= written.find(ENTER) < written.find(LEAVE)
    return process.returncode, written[written.rfind(LEAVE) :]


def test_the_terminal_is_given_back_however_a_training_ends(anec, tmp_path: Path) -> None:
    config = {**synthetic.LLAMA, **synthetic.TINY, "num_key_value_heads": 4, "vocab_size": VOCABULARY}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "data.bin").write_bytes(text().tobytes())
    command = [anec.binary, "train", tmp_path / "config.json", "--data", tmp_path / "data.bin", "--sequence", SEQUENCE]
    code, behind = in_terminal(b"", *command, "-o", tmp_path / "end", "--steps", 3)
    assert code == 0
    assert b"Wrote `" in behind
    code, behind = in_terminal(b"q", *command, "-o", tmp_path / "stop", "--steps", 1_000_000)
    assert code == 130
    assert b"--resume" in behind
    assert (tmp_path / "stop" / "state.bin").is_file()
    # A rate with which numbers end.
    code, behind = in_terminal(
        b"", *command, "-o", tmp_path / "fail", "--steps", 1_000_000, "--lr", 1e30, "--warmup", 0
    )
    assert code == 1
    assert b"loss" in behind
