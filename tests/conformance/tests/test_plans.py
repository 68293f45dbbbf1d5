"""Splits, functions, cache writes and context lengths do not change what a model computes."""

import pytest
import torch

import package_check
from client import ClientModel
from judge import evaluation_tokens, judge, reference
from package_file import PackageFile

CONTEXT_LENGTH = 64
OPTIONS = ("--context-length", CONTEXT_LENGTH, "--batch-size", 16)
#: Rotary tables and weights are fp16 in both numerics; what is left is their rounding.
MAX_KL = {"f32": 5e-6, "fp16": 5e-5}
#: Sums in another order, in fp32.
MAX_SPLIT_ERROR = 1e-4

CASES = {
    "single": ("--functions", "single", "--query-length", 8),
    "single of one row": ("--functions", "single", "--query-length", 1),
    "single that does not divide the context": ("--functions", "single", "--query-length", 24),
    "single with masks": ("--functions", "single", "--query-length", 8, "--kv", "mask"),
    "masks": ("--kv", "mask"),
    "m4": ("--chip", "m4"),
    "gpu": ("--target", "macos15-gpu"),
    "one head": ("--lm-head-splits", 1),
    "three heads": ("--lm-head-splits", 3),
    "seven palettized heads": ("--lm-head-splits", 7, "--lut-lm-head", 8),
}
PRESETS = ("tiny-llama-prime-vocabulary", "tiny-mistral-window", "tiny-qwen3")
SPLIT_PRESETS = {"notch-llama": ("--lm-head-splits", 1), "wide-llama": ()}


def problems(output) -> dict:
    found = {str(package): package_check.check(package) for package in sorted(output.rglob("*.mlpackage"))}
    assert found
    return {package: findings for package, findings in found.items() if findings}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("case", CASES)
def test_the_model_is_the_checkpoint(anec, presets, preset, case):
    checkpoint = presets(preset)
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)
    expected = reference(checkpoint, token_ids)
    # The judge knows one cache for the whole context; `test_windows.py` has those of windows.
    output = anec.convert(checkpoint, *OPTIONS, *CASES[case], "--single-cache")
    assert not problems(output)
    palettized = "palettized" in case
    for numerics, limit in MAX_KL.items():
        verdict = judge(ClientModel(output, numerics), expected, token_ids)
        assert verdict.decode.mean_kl <= (1e-3 if palettized else limit), verdict
        assert verdict.after_prefill.mean_kl <= (1e-3 if palettized else limit), verdict
        assert verdict.overflows == 0, verdict


@pytest.mark.parametrize("preset", SPLIT_PRESETS)
def test_split_convolutions_give_the_same_logits(anec, presets, preset):
    checkpoint = presets(preset)
    options = (*OPTIONS, *SPLIT_PRESETS[preset])
    split = anec.convert(checkpoint, *options)
    whole = anec.convert(checkpoint, *options, "--conv-splits", "none")
    assert convolutions(split) > convolutions(whole)
    assert not problems(split)
    token_ids = evaluation_tokens(checkpoint, 24)
    logits = [torch.stack(ClientModel(output).feed(token_ids)) for output in (split, whole)]
    assert float((logits[0] - logits[1]).abs().max()) <= MAX_SPLIT_ERROR * float(logits[1].abs().max())
    expected = reference(checkpoint, token_ids)
    for numerics, limit in MAX_KL.items():
        verdict = judge(ClientModel(split, numerics), expected, token_ids)
        assert verdict.decode.mean_kl <= limit, verdict


def test_palettes_of_split_convolutions_are_at_least_as_good(anec, presets):
    """Every part has palettes of its own."""
    checkpoint = presets("notch-llama")
    token_ids = evaluation_tokens(checkpoint, 24)
    expected = reference(checkpoint, token_ids)
    options = (*OPTIONS, "--lut", 8, "--group-size", 8)
    split, whole = (
        judge(ClientModel(anec.convert(checkpoint, *options, "--conv-splits", splits)), expected, token_ids)
        for splits in ("auto", "none")
    )
    assert split.decode.mean_kl <= whole.decode.mean_kl * 1.1, (split, whole)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kv", ["slice", "mask"])
def test_context_lengths_share_weights_and_agree(anec, presets, preset, kv):
    checkpoint = presets(preset)
    lengths = (64, 32, 96)
    options = ("--batch-size", 16, "--lut", 6, "--group-size", "tensor", "--kv", kv)
    output = anec.convert(checkpoint, "--context-length", ",".join(map(str, lengths)), *options)
    assert not problems(output)
    directories = {length: output / f"context_{length}" for length in lengths}
    for weights in directories[64].rglob("weight.bin"):
        names = [directory / weights.relative_to(directories[64]) for directory in directories.values()]
        assert len({name.stat().st_ino for name in names}) == 1
    token_ids = evaluation_tokens(checkpoint, 32)
    logits = [torch.stack(ClientModel(directory).feed(token_ids)) for directory in directories.values()]
    for other in logits[1:]:
        assert torch.allclose(other, logits[0], atol=1e-4, rtol=1e-4)


def test_rotary_tables_that_depend_on_the_length_are_not_shared(anec, presets, tmp_path):
    options = ("--context-length", "32,64", "--batch-size", 16)
    outcome = anec.run("convert", presets("tiny-llama-dynamic"), "-o", tmp_path / "out", *options)
    assert outcome.code == 1
    assert "one length at a time" in outcome.stderr


def test_a_single_function_verifies_drafts(anec, presets):
    """The logits of several tokens in one call are those of one call each."""
    checkpoint = presets("tiny-qwen3")
    model = ClientModel(anec.convert(checkpoint, *OPTIONS, "--functions", "single", "--query-length", 8))
    token_ids = evaluation_tokens(checkpoint, 16)
    one_by_one = [model.logits(token, position) for position, token in enumerate(token_ids)]
    together = model.feed(token_ids)
    assert len(together) == 8
    assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(one_by_one[8:], together, strict=True))


def test_masks_leave_no_slice_at_a_position(anec, presets):
    output = anec.convert(presets("tiny-qwen3"), *OPTIONS, "--kv", "mask")
    package = PackageFile(next(output.glob("*chunk_01of01.mlpackage")))
    for function in package.spec.mlProgram.functions.values():
        operations = next(iter(function.block_specializations.values())).operations
        constants = {op.outputs[0].name for op in operations if op.type == "const"}
        for op in operations:
            if op.type == "slice_update":
                bounds = [op.inputs[name].arguments[0].name for name in ("begin", "end")]
                assert set(bounds) <= constants


def convolutions(output) -> int:
    count = 0
    for path in output.glob("*.mlpackage"):
        for function in PackageFile(path).spec.mlProgram.functions.values():
            operations = next(iter(function.block_specializations.values())).operations
            count += sum(op.type == "conv" for op in operations)
    return count
