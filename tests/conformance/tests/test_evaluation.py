"""The reference engine computes what transformers and an independent evaluator compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from client import ClientModel
from conftest import CHECKPOINTS, CONTEXT_LENGTH
from judge import state_of

#: Of logits against transformers in fp32; what differs are the fp16 weights and rotary tables.
MAX_LOGIT_ERROR = 1e-2
MEAN_LOGIT_ERROR = 1e-3
MAX_PERPLEXITY_ERROR = 5e-4
#: Where the two best logits are closer than this, either may win.
NEAR_TIE = 0.01
#: Of logits against another evaluator of the same packages.
MAX_EVALUATOR_ERROR = 5e-3

GREEDY_TOKENS = 32
#: Tokens for the other evaluator, which is slow: two batches of prefill and a few more.
TOKENS = 131

#: Of each conversion that users make most: palettes, chunks, and whose names the packages have.
MATRIX = [
    ("--lut", lut, "--chunks", chunks, "--runtime", runtime)
    for lut in ("none", "6", "4")
    for chunks in (1, 2)
    for runtime in ("default", "anemll")
]

with_reference = pytest.mark.parametrize(
    "checkpoint",
    [pytest.param(path, id=path.name) for path in CHECKPOINTS if (path / "reference.safetensors").is_file()],
)


@pytest.fixture(scope="module")
def plain(anec):
    return lambda checkpoint: anec.convert(checkpoint, "--chunks", 2, "--context-length", CONTEXT_LENGTH)


def evaluate(anec, directory: Path, windows: list[list[int]], path: Path, *options: object) -> tuple[dict, dict]:
    """What `anec eval` prints, and the tensors that it saves."""
    tokens = path / "tokens.json"
    tokens.write_text(json.dumps({"windows": windows}))
    saved = path / "saved.safetensors"
    outcome = anec.run("eval", directory, "--tokens", tokens, "--save", saved, "--json", *options)
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout), load_file(saved)


@with_reference
def test_logits_are_those_of_transformers(anec, plain, checkpoint, tmp_path):
    expected = load_file(checkpoint / "reference.safetensors")
    prompts = [name.removesuffix(".input_ids") for name in expected if name.endswith(".input_ids")]
    windows = [expected[f"{prompt}.input_ids"].tolist() for prompt in prompts]
    _, found = evaluate(anec, plain(checkpoint), windows, tmp_path)
    for index, prompt in enumerate(prompts):
        logits = found[f"window{index}.logits"]
        errors = [logits[-1] - expected[f"{prompt}.last_logits"]]
        if f"{prompt}.logits" in expected:
            errors.append((logits - expected[f"{prompt}.logits"]).flatten())
        error = torch.cat(errors).abs()
        print(f"{checkpoint.name} {prompt}: largest {error.max():.2e}, mean {error.mean():.2e}")
        assert error.max() <= MAX_LOGIT_ERROR
        assert error.mean() <= MEAN_LOGIT_ERROR


@with_reference
def test_greedy_text_is_that_of_transformers(anec, plain, checkpoint, tmp_path):
    for prompt in json.loads((checkpoint / "reference.json").read_text())["prompts"]:
        tokens = tmp_path / "prompt.json"
        tokens.write_text(json.dumps(prompt["input_ids"]))
        options = ("--greedy", "--max-tokens", GREEDY_TOKENS, "--ignore-eos", "--json")
        outcome = anec.run("run", plain(checkpoint), "--prompt-tokens", tokens, *options)
        assert outcome.code == 0, outcome.stderr
        found = json.loads(outcome.stdout)["token_ids"]
        assert len(found) == GREEDY_TOKENS
        differs = [index for index, pair in enumerate(zip(found, prompt["greedy"], strict=True)) if len(set(pair)) > 1]
        if differs:
            assert prompt["greedy_top2_gap"][differs[0]] < NEAR_TIE, (found, prompt["greedy"])
        else:
            assert json.loads(outcome.stdout)["text"] == prompt["greedy_text"]


@with_reference
def test_perplexity_is_that_of_transformers(anec, plain, checkpoint):
    expected = json.loads((checkpoint / "reference.json").read_text())["eval"]["perplexity"]
    outcome = anec.run("eval", plain(checkpoint), "--tokens", checkpoint / "eval_tokens.json", "--json")
    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)["perplexity"]
    print(f"{checkpoint.name}: perplexity {found:.4f}, transformers {expected:.4f}")
    assert found == pytest.approx(expected, rel=MAX_PERPLEXITY_ERROR)


@pytest.mark.parametrize("options", MATRIX, ids=lambda options: "-".join(map(str, options[1::2])))
def test_another_evaluator_computes_the_same(anec, checkpoint, token_ids, tmp_path, options):
    found, logits, model = evaluated_by_both(anec, checkpoint, token_ids, tmp_path, options, "f32")
    assert (found["window0.logits"] - logits).abs().max() <= MAX_EVALUATOR_ERROR
    ((name, state),) = ((name, tensor) for name, tensor in found.items() if ".state." in name)
    expected = state_of(model).reshape(state.shape)
    # One step of fp16. Sums that cancel are as exact as their terms, which are of the order of one.
    step = torch.finfo(torch.float16).eps * expected.abs().clamp(min=2.0**-7)
    assert ((state - expected).abs() <= step).all(), name


@pytest.mark.parametrize("lut", ["none", "6", "4"])
def test_another_evaluator_rounds_the_same(anec, checkpoint, token_ids, tmp_path, lut):
    options = ("--lut", lut, "--chunks", 2, "--runtime", "default")
    found, logits, _ = evaluated_by_both(anec, checkpoint, token_ids, tmp_path, options, "fp16")
    best = logits.argmax(-1) == found["window0.logits"].argmax(-1)
    assert best.double().mean() >= 0.97


def evaluated_by_both(anec, checkpoint, token_ids, path, options, numerics):
    """What `anec eval` saves, the other evaluator's logits, and that evaluator."""
    directory = anec.convert(checkpoint, *options, "--context-length", CONTEXT_LENGTH)
    token_ids = token_ids[:TOKENS]
    _, found = evaluate(anec, directory, [token_ids], path, "--numerics", numerics)
    model = ClientModel(directory, numerics)
    logits = torch.stack([model.logits(token, position) for position, token in enumerate(token_ids)])
    return found, logits, model


def test_a_perplexity_that_is_no_number_is_an_error(anec, small_checkpoint, plain, tmp_path):
    directory = tmp_path / "damaged"
    shutil.copytree(plain(small_checkpoint), directory)
    for path in directory.glob("embeddings.*/**/weight.bin"):
        blob = bytearray(path.read_bytes())
        # The data starts behind the header of the file and that of its only blob.
        blob[128:] = b"\x00\x7e" * ((len(blob) - 128) // 2)
        path.write_bytes(blob)
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[1, 2, 3, 4]")
    outcome = anec.run("eval", directory, "--tokens", tokens, "--json")
    assert outcome.code == 1
    assert outcome.stdout == ""
    assert "NaN" in outcome.stderr
