"""Vocabularies that are not made of whole palette groups, and heads that states of the Neural Engine do not take."""

import json

import numpy as np
import pytest

import package_check
from client import ClientModel
from judge import evaluation_tokens, judge, reference

CONTEXT_LENGTH = 64
OPTIONS = ("--context-length", CONTEXT_LENGTH, "--batch-size", 16)
MAX_KL = {"f32": 5e-6, "fp16": 5e-5}
#: fp32 sums in another order, and weights rounded to fp16.
VERIFY_KL = 1e-6

HEADS = ("tiny-llama-head-48", "tiny-llama-head-80", "tiny-qwen3-head-100", "tiny-mistral-window-head-48")
#: Palettes and integers; 7 divides no vocabulary here, and no channels.
STORAGES = {
    "lut8": ("--lut", 8),
    "lut4, groups of 7": ("--lut", 4, "--calibration", "none", "--group-size", 7),
    "lut6 with scales, groups of 24": ("--lut", 6, "--calibration", "none", "--group-size", 24, "--channel-scale"),
    "int8": ("--lm-head", "int8", "--int8-embeddings"),
    "embeddings": ("--lut-embeddings", 8),
    "one part": ("--lut", 8, "--lm-head-splits", 1),
    "parts that differ": ("--lut", 8, "--lm-head-splits", 5),
}


def verify(anec, output, checkpoint, directory, *options):
    tokens = directory / "tokens.json"
    tokens.write_text(json.dumps(evaluation_tokens(checkpoint, CONTEXT_LENGTH)))
    report = ("--report", directory, "--json", "--quiet")
    outcome = anec.run("verify", output, "--against", checkpoint, "--tokens", tokens, *report, *options)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("preset", HEADS)
def test_heads_of_any_size_compute_what_the_checkpoint_computes(anec, presets, preset):
    checkpoint = presets(preset)
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)
    expected = reference(checkpoint, token_ids)
    output = anec.convert(checkpoint, *OPTIONS, "--single-cache")
    for numerics, limit in MAX_KL.items():
        verdict = judge(ClientModel(output, numerics), expected, token_ids)
        assert verdict.decode.mean_kl <= limit, verdict
        assert verdict.after_prefill.mean_kl <= limit, verdict


@pytest.mark.parametrize("preset", HEADS)
@pytest.mark.parametrize(
    "options",
    [(), ("--layout", "anemll"), ("--functions", "single"), ("--kv", "mask"), ("--layout", "host-cache")],
    ids=lambda options: " ".join(options) or "default",
)
def test_heads_of_any_size_lint_without_an_error_and_verify(anec, presets, tmp_path, preset, options):
    checkpoint = presets(preset)
    output = anec.convert(checkpoint, "--context-length", CONTEXT_LENGTH, *options)
    report = verify(anec, output, checkpoint, tmp_path)
    assert report["decode"]["kl_mean"] <= VERIFY_KL
    linted = anec.run("lint", output)
    assert linted.code == 0, linted.stdout
    findings = {package.name: package_check.check(package) for package in sorted(output.glob("*.mlpackage"))}
    assert not any(findings.values()), findings


@pytest.mark.parametrize("storage", STORAGES)
def test_a_prime_vocabulary_takes_every_storage(anec, presets, tmp_path, storage):
    checkpoint = presets("tiny-llama-prime-vocabulary")
    output = anec.convert(checkpoint, *OPTIONS, *STORAGES[storage])
    report = verify(anec, output, checkpoint, tmp_path, "--max-kl", 1, "--min-top1", 0, "--max-logit-error", 100)
    assert report["origins"]["findings"] == []
    assert sum(ClientModel(output).files.lm_head_chunk_sizes) == 509
    findings = {package.name: package_check.check(package) for package in sorted(output.glob("*.mlpackage"))}
    assert not any(findings.values()), findings
    linted = anec.run("lint", output)
    assert linted.code == 0, linted.stdout


def test_no_token_of_a_short_group_is_lost_and_none_is_made_up(anec, presets):
    """The logits of 8-bit palettes are those of the checkpoint up to rounding, for the last tokens as for the first."""
    checkpoint = presets("tiny-llama-prime-vocabulary")
    token_ids = evaluation_tokens(checkpoint, 32)
    expected = reference(checkpoint, token_ids).logits
    model = ClientModel(anec.convert(checkpoint, "--lm-head", "lut8", *OPTIONS), "f32")
    verdict = judge(model, reference(checkpoint, token_ids), token_ids)
    assert verdict.decode.mean_kl <= 1e-3, verdict
    argmax = ClientModel(anec.convert(checkpoint, "--lm-head", "lut8", "--argmax", *OPTIONS), "f32")
    found = np.array([argmax.best_token(token, position) for position, token in enumerate(token_ids)])
    best = np.sort(expected, axis=-1)[:, -2:]
    is_clear = best[:, 1] - best[:, 0] > 0.1
    assert is_clear.sum() > 10
    assert (found == expected.argmax(-1))[is_clear].all()
    assert found.max() < 509
