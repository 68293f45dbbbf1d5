"""The layout of coreml-llm-cli: a client written from its rules alone runs it, and stops where the program would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import block_window
from llm_cli import LlmCli, WouldStopError
from package_file import PackageFile

CONTEXT = 128
#: How far generation goes past the first slide of the window.
PAST_SLIDE = 300
PROMPT = 100


@pytest.fixture(scope="module")
def convert(anec):
    def run(checkpoint: Path, *options: object) -> Path:
        return anec.convert(
            checkpoint, "--layout", "coreml-llm-cli", "--context-length", CONTEXT, "--chunks", 2, *options
        )

    return run


@pytest.mark.parametrize("target", ["macos14", "macos15"])
def test_the_program_says_what_the_checkpoint_says(convert, checkpoint, token_ids, expected, target):
    program = LlmCli(convert(checkpoint, "--target", target))
    divergence = []
    for count in (1, 2, 40, 64, 65, 100, 128):
        sequence = token_ids[:count]
        # A block that is full before the last one is given as it becomes full.
        for full in range(64, count, 64):
            if full > getattr(program, "fed", 0):
                program.call(token_ids[:full])
                program.fed = full
        token = program.call(sequence)
        if count % 64 == 0:
            program.fed = count
        found, wanted = program.logits(count), torch.as_tensor(expected.logits[count - 1]).float()
        assert token == int(found.argmax())
        divergence.append(float((wanted.softmax(-1) * (wanted.log_softmax(-1) - found.log_softmax(-1))).sum()))
    assert max(divergence) <= 2e-6


def test_tokens_past_a_slide_are_those_of_a_window_that_moves_by_blocks(anec, convert, small_checkpoint, tmp_path):
    directory = convert(small_checkpoint)
    prompt = [(7 * at + 3) % 500 for at in range(PROMPT)]
    tokens = tmp_path / "prompt.json"
    tokens.write_text(json.dumps(prompt))
    count = CONTEXT + PAST_SLIDE - PROMPT
    outcome = anec.run(
        "run", directory, "--prompt-tokens", tokens, "--max-tokens", count, "--ignore-eos", "--temperature", 0, "--json"
    )
    assert outcome.code == 0, outcome.stderr
    generated = json.loads(outcome.stdout)["token_ids"]
    assert len(generated) == count
    logits = block_window.logits(small_checkpoint, prompt + generated, CONTEXT)[PROMPT - 1 : -1]
    best, chosen = logits.max(-1).values, logits.gather(-1, torch.tensor(generated)[:, None])[:, 0]
    # Logits that differ by less than the rounding of the weights may change places.
    assert float((best - chosen).max()) <= 1e-2
    assert float((logits.argmax(-1) == torch.tensor(generated)).double().mean()) >= 0.99


def rename(directory: Path, stem: str, other: str) -> None:
    (directory / f"{stem}.mlmodelc").rename(directory / f"{other}.mlmodelc")


def change(directory: Path, stem: str, old: str, new: str) -> None:
    path = directory / f"{stem}.mlmodelc" / "metadata.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


VIOLATIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "two prefixes": (lambda directory: rename(directory, "Qwen3_chunk3", "Other_chunk3"), "ambiguous"),
    "too few": (lambda directory: [shutil.rmtree(directory / f"Qwen3_chunk{n}.mlmodelc") for n in (3, 4)], "2 chunks"),
    "no processor": (lambda directory: shutil.rmtree(directory / "cache-processor.mlmodelc"), "cache-processor"),
    "order": (lambda directory: rename(directory, "Qwen3_chunk1", "Qwen3_chunk9"), "logit-processor"),
    "mask": (lambda directory: change(directory, "Qwen3_chunk2", "[1, 128, 1, 64]", "[1, 64, 1, 64]"), "mask"),
    "in place": (lambda directory: change(directory, "Qwen3_chunk3", '"new_x"', '"y"'), "no new_x"),
    "layers": (lambda directory: change(directory, "Qwen3_chunk2", '"k_cache_0"', '"k_cache_7"'), "k_cache_7"),
    "precision": (lambda directory: change(directory, "Qwen3_chunk4", "Float16", "Float32"), "no pixel buffer"),
    "logits": (lambda directory: change(directory, "logit-processor", '"logits', '"scores'), "logit-processor"),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_planted_violation_stops_the_program(convert, small_checkpoint, tmp_path, violation):
    directory = tmp_path / "changed"
    shutil.copytree(convert(small_checkpoint), directory)
    plant, words = VIOLATIONS[violation]
    plant(directory)
    with pytest.raises((WouldStopError, KeyError), match=words):
        LlmCli(directory).call([1, 2, 3])


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda directory: rename(directory, "Qwen3_chunk3", "Other_chunk3"), "two pipelines"),
        (
            lambda directory: shutil.copytree(directory / "Qwen3_chunk3.mlmodelc", directory / "Qwen3_9.mlmodelc"),
            "calls",
        ),
        (lambda directory: shutil.rmtree(directory / "logit-processor.mlmodelc"), "`logit-processor`"),
    ],
    ids=["two prefixes", "another chunk", "no processor"],
)
def test_the_driver_refuses_what_the_program_would_not_load(anec, convert, small_checkpoint, tmp_path, plant, words):
    directory = tmp_path / "changed"
    shutil.copytree(convert(small_checkpoint), directory)
    plant(directory)
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[1, 2, 3]")
    outcome = anec.run("eval", directory, "--tokens", tokens)
    assert outcome.code == 1
    assert words in outcome.stderr


@pytest.mark.parametrize(("target", "version"), [("macos14", 7), ("macos15", 9)])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--lut", 4, "--group-size", "tensor", "--channel-scale"),
        ("--ffn", "int8", "--lm-head", "int8", "--int8-embeddings"),
    ],
    ids=["fp16", "lut4", "int8"],
)
def test_every_target_gets_the_programs_that_it_loads(
    anec, convert, small_checkpoint, tmp_path, target, version, options
):
    directory = convert(small_checkpoint, "--target", target, *options, *(["--calibration", "none"] if options else []))
    for path in sorted(directory.glob("*.mlpackage")):
        assert PackageFile(path).spec.specificationVersion == version
    assert anec.run("lint", directory).code == 0
    outcome = anec.run(
        "verify", directory, "--against", small_checkpoint, "--report", tmp_path, "--limit", 80, "--quiet", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["passed"]
    assert options or report["decode"]["kl_mean"] <= 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--argmax",), "picks tokens with a model of its own"),
        (("--functions", "single"), "one function of 64 tokens"),
        (("--kv", "mask"), "no state to write"),
        (("--context-length", 64), "from 128 on"),
        (("--context-length", 192, "--batch-size", 32), "blocks of 64 tokens"),
        (("--context-length", 160), "multiples of 64"),
        (("--emit", "mlpackage"), "compiled models"),
        (("--target", "macos14", "--lut", 4, "--calibration", "none"), "--group-size tensor"),
    ],
)
def test_options_that_the_program_cannot_honour_are_errors(anec, small_checkpoint, tmp_path, options, words):
    options = options if "--context-length" in options else ("--context-length", CONTEXT, *options)
    outcome = anec.run(
        "convert", small_checkpoint, "-o", tmp_path / "out", "--layout", "coreml-llm-cli", "--quiet", *options
    )
    assert outcome.code == 1
    assert words in outcome.stderr


@pytest.fixture(scope="module")
def successor(anec, small_checkpoint) -> Path:
    return anec.convert(small_checkpoint, "--layout", "coreml-llm-cli-sequoia", "--chunks", 2)


def test_the_successor_says_what_the_checkpoint_says(anec, successor, small_checkpoint, tmp_path):
    assert (successor / "generation-cache-processor.mlmodelc").is_dir()
    description = PackageFile(successor / "Qwen3_chunk2.mlpackage").spec.description
    functions = {function.name: function for function in description.functions}
    assert functions.keys() == {"input_512_context_512", "input_1_context_512"}
    given = {
        feature.name: list(feature.type.multiArrayType.shape) for feature in functions["input_1_context_512"].input
    }
    made = {feature.name for feature in functions["input_512_context_512"].output}
    assert given["k_cache_0"][1] == given["v_cache_0"][3] == 511
    assert {f"new_{name}" for name in given if "cache" in name} <= made
    assert anec.run("lint", successor).code == 0
    outcome = anec.run(
        "verify", successor, "--against", small_checkpoint, "--report", tmp_path, "--limit", 80, "--quiet", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["passed"]
    assert report["decode"]["kl_mean"] <= 1e-6


def test_the_successor_takes_one_context(anec, small_checkpoint, tmp_path):
    for options, words in [
        (("--context-length", 256), "a context of 512 tokens"),
        (("--target", "macos14"), "which macOS 15 brought"),
    ]:
        outcome = anec.run(
            "convert",
            small_checkpoint,
            "-o",
            tmp_path / "out",
            "--layout",
            "coreml-llm-cli-sequoia",
            "--quiet",
            *options,
        )
        assert outcome.code == 1
        assert words in outcome.stderr
