"""Embedding models: decoders without a head, whose vectors are those of transformers, pooled as their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModel

import package_check
from client import ClientModel
from judge import evaluation_tokens, judge, reference
from mil_eval import Package

CONTEXT_LENGTH = 64
PRESETS = ["tiny-qwen3-embedding", "tiny-mistral-embedding"]
#: A token, a part of the context, all of it.
LENGTHS = [1, 23, CONTEXT_LENGTH]


def convert(anec, checkpoint: Path, *options: object) -> Path:
    return anec.convert(checkpoint, "--layout", "embedding", "--context-length", CONTEXT_LENGTH, *options)


def expected_states(checkpoint: Path, token_ids: list[int]) -> torch.Tensor:
    """States of all tokens behind the last norm, `[tokens, hidden_size]`."""
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([token_ids])).last_hidden_state[0]


def embed(
    directory: Path, token_ids: list[int], weights: list[float], numerics: str = "f32"
) -> dict[str, torch.Tensor]:
    parameters = yaml.safe_load((directory / "meta.yaml").read_text())["model_info"]["parameters"]
    assert parameters["contract"] == "embedding"
    (stem,) = parameters["files"]["encoder"]
    length = parameters["context_length"]
    # What stands behind a text must not matter.
    padding = [7] * (length - len(token_ids))
    pooling = torch.zeros(1, 1, length)
    pooling[0, 0, : len(weights)] = torch.tensor(weights)
    encoder = Package(directory / f"{stem}.mlpackage", numerics).functions["main"]
    return encoder({"input_ids": torch.tensor([token_ids + padding], dtype=torch.int32), "pooling": pooling})


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_embedding_is_the_last_state_of_length_one(anec, presets, preset, length):
    checkpoint = presets(preset)
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)[:length]
    wanted = torch.nn.functional.normalize(expected_states(checkpoint, token_ids)[-1], dim=0)
    last = [0.0] * (length - 1) + [1.0]
    found = embed(convert(anec, checkpoint), token_ids, last)
    assert (found["embedding"].flatten() - wanted).abs().max() <= 2e-3
    assert torch.dot(found["embedding"].flatten(), wanted) >= 1 - 1e-6
    fp16 = embed(convert(anec, checkpoint), token_ids, last, "fp16")
    assert torch.dot(fp16["embedding"].flatten().float(), wanted) >= 1 - 1e-4


def test_pooling_weighs_the_states(anec, presets):
    checkpoint = presets("tiny-qwen3-embedding")
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)[:20]
    wanted = expected_states(checkpoint, token_ids).mean(0)
    found = embed(convert(anec, checkpoint), token_ids, [1 / 20] * 20)
    assert (found["hidden_state"].flatten() - wanted).abs().max() <= 2e-2
    cosine = torch.nn.functional.cosine_similarity(found["embedding"].flatten(), wanted, dim=0)
    assert cosine >= 1 - 1e-6


@pytest.mark.parametrize("preset", PRESETS)
def test_verify_compares_states_by_the_token_embeddings(anec, presets, preset, tmp_path):
    checkpoint = presets(preset)
    (tmp_path / "tokens.json").write_text(json.dumps(evaluation_tokens(checkpoint, CONTEXT_LENGTH)))
    tokens = ("--tokens", tmp_path / "tokens.json", "--report", tmp_path, "--quiet", "--json")
    outcome = anec.run("verify", convert(anec, checkpoint), "--against", checkpoint, *tokens)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    assert json.loads(outcome.stdout)["decode"]["kl_mean"] <= 1e-6


@pytest.mark.parametrize("preset", PRESETS)
def test_packages_are_well_formed_and_lint_has_no_errors(anec, presets, preset):
    directory = convert(anec, presets(preset))
    packages = sorted(directory.glob("*.mlpackage"))
    assert len(packages) == 1
    findings = {package.name: package_check.check(package) for package in packages}
    assert not any(findings.values()), findings
    assert anec.run("lint", directory).code == 0


def test_a_shorter_context_shares_the_weights(anec, presets, tmp_path):
    checkpoint = presets("tiny-mistral-embedding")
    output = tmp_path / "out"
    options = ("--layout", "embedding", "--context-length", "64,32", "--calibration", "none", "--quiet")
    outcome = anec.run("convert", checkpoint, "-o", output, *options)
    assert outcome.code == 0, outcome.stderr
    token_ids = evaluation_tokens(checkpoint, 30)
    last = [0.0] * 29 + [1.0]
    short, long = (embed(output / f"context_{length}", token_ids, last)["embedding"] for length in (32, 64))
    assert (short - long).abs().max() <= 1e-5
    weights = [path.stat().st_ino for path in output.rglob("weight.bin")]
    assert len(weights) > 1
    assert len(set(weights)) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--argmax",), "has no head"),
        (("--lm-head-splits", 4), "has no head"),
        (("--functions", "single"), "one function"),
        (("--kv", "mask"), "no cache"),
        (("--chunks", 2), "is one file"),
    ],
)
def test_options_that_the_layout_cannot_honour_are_named(anec, presets, tmp_path, options, reason):
    command = ("convert", presets("tiny-qwen3-embedding"), "-o", tmp_path / "out", "--layout", "embedding", "--quiet")
    outcome = anec.run(*command, *options)
    assert outcome.code == 1
    assert options[0] in outcome.stderr
    assert reason in outcome.stderr


def test_a_bare_decoder_with_a_head_of_its_own_has_no_logits(anec, presets, tmp_path):
    outcome = anec.run("convert", presets("tiny-mistral-embedding"), "-o", tmp_path / "out", "--quiet")
    assert outcome.code == 1
    assert "lm_head.weight" in outcome.stderr
    assert "--layout embedding" in outcome.stderr


def test_a_bare_decoder_whose_head_is_its_embeddings_predicts_tokens_too(anec, presets):
    """The checkpoints of Qwen3-Embedding say `Qwen3ForCausalLM` and tie their head."""
    checkpoint = presets("tiny-qwen3-embedding")
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)
    output = anec.convert(checkpoint, "--context-length", CONTEXT_LENGTH, "--batch-size", 16)
    verdict = judge(ClientModel(output, "f32"), reference(checkpoint, token_ids), token_ids)
    assert verdict.decode.mean_kl <= 5e-6, verdict
