"""The layout of coreml-llm-cli: a client written from its rules alone runs it, and stops where the program would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import block_window
import package_check
from llm_cli import LlmCli, WouldStopError
from llm_cli_sequoia import GENERATION, Sequoia
from llm_cli_sequoia import PROMPT as PROMPT_FUNCTION
from package_file import PackageFile

CONTEXT = 128
#: The context of the published models.
PUBLISHED_CONTEXT = 512
#: How far generation goes past the first slide of the window.
PAST_SLIDE = 300
PROMPT = 100
#: Logits that are closer may change places: fp32 sums in another order.
NEAR_TIE = 1e-3


@pytest.fixture(scope="module")
def convert(anec):
    def run(checkpoint: Path, *options: object) -> Path:
        return anec.convert(
            checkpoint, "--layout", "coreml-llm-cli", "--context-length", CONTEXT, "--chunks", 2, *options
        )

    return run


@pytest.fixture(scope="module")
def far_checkpoint(small_checkpoint, tmp_path_factory) -> Path:
    """A checkpoint whose positions go on after a context of 512 tokens."""
    path = tmp_path_factory.mktemp("far") / small_checkpoint.name
    shutil.copytree(small_checkpoint, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return path


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


def test_tokens_past_a_slide_are_those_of_a_window_that_moves_by_blocks(anec, far_checkpoint, tmp_path):
    options = ("--layout", "coreml-llm-cli", "--context-length", PUBLISHED_CONTEXT, "--chunks", 2)
    directory = anec.convert(far_checkpoint, *options)
    prompt = [(7 * at + 3) % 500 for at in range(PROMPT)]
    tokens = tmp_path / "prompt.json"
    tokens.write_text(json.dumps(prompt))
    count = PUBLISHED_CONTEXT + PAST_SLIDE - PROMPT
    outcome = anec.run(
        "run", directory, "--prompt-tokens", tokens, "--max-tokens", count, "--ignore-eos", "--temperature", 0, "--json"
    )
    assert outcome.code == 0, outcome.stderr
    generated = json.loads(outcome.stdout)["token_ids"]
    assert len(generated) == count
    are_best(generated, block_window.logits(far_checkpoint, prompt + generated, PUBLISHED_CONTEXT)[PROMPT - 1 : -1])


def are_best(generated: list[int], logits: torch.Tensor) -> None:
    """Each token is the best one; logits that differ by less than sums in another order do may change places."""
    best, chosen = logits.max(-1).values, logits.gather(-1, torch.tensor(generated)[:, None])[:, 0]
    assert float((best - chosen).max()) <= NEAR_TIE


def rename(directory: Path, stem: str, other: str) -> None:
    (directory / f"{stem}.mlmodelc").rename(directory / f"{other}.mlmodelc")


def rename_all(directory: Path, prefix: str, other: str) -> None:
    for path in sorted(directory.glob(f"{prefix}_*.mlmodelc")):
        path.rename(directory / path.name.replace(prefix, other))


def remove(directory: Path, *stems: str) -> None:
    for stem in stems:
        shutil.rmtree(directory / f"{stem}.mlmodelc")


def described(directory: Path, stem: str, function: str | None, change: Callable[[dict], object]) -> None:
    """Changes what a compiled model says about a function."""
    path = directory / f"{stem}.mlmodelc" / "metadata.json"
    (metadata,) = json.loads(path.read_text())
    change(metadata if function is None else next(row for row in metadata["functions"] if row["name"] == function))
    path.write_text(json.dumps([metadata]))


def change(directory: Path, stem: str, name: str, function: str | None = None, /, **to: str) -> None:
    """Changes what a compiled model says about an input or output; without changes it is taken away."""

    def in_schemas(found: dict) -> None:
        rows = [(key, row) for key in ("inputSchema", "outputSchema") for row in found[key] if row["name"] == name]
        assert rows
        for key, row in rows:
            if to:
                row.update(to)
            else:
                found[key].remove(row)

    described(directory, stem, function, in_schemas)


def add(directory: Path, stem: str, key: str, /, **row: str) -> None:
    """Adds an input or output to what a compiled model says."""
    described(directory, stem, None, lambda found: found[key].append({"hasShapeFlexibility": "0", **row}))


def take_caches_away(directory: Path) -> None:
    for layer in range(2):
        for name in (f"k_cache_{layer}", f"v_cache_{layer}"):
            change(directory, "Qwen3_chunk2", name)


VIOLATIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "two prefixes": (lambda directory: rename(directory, "Qwen3_chunk3", "Other_chunk3"), "ambiguous"),
    "too few": (lambda directory: remove(directory, "Qwen3_chunk3", "Qwen3_chunk4"), "2 chunks"),
    "no cache processor": (lambda directory: remove(directory, "cache-processor"), "cache-processor is not there"),
    "no logit processor": (lambda directory: remove(directory, "logit-processor"), "logit-processor is not there"),
    "order": (lambda directory: rename(directory, "Qwen3_chunk1", "Qwen3_chunk9"), "takes no input_ids"),
    "head before": (lambda directory: rename(directory, "Qwen3_chunk3", "Qwen3_chunk9"), "gives no logits"),
    "shapes": (lambda directory: change(directory, "Qwen3_chunk3", "x", hasShapeFlexibility="1"), "several shapes"),
    "mask": (lambda directory: change(directory, "Qwen3_chunk2", "mask", shape="[1, 64, 1, 64]"), "mask is"),
    "no place": (
        lambda directory: change(directory, "Qwen3_chunk3", "new_x", shape="[1, 256, 1, 64]"),
        "no place in x",
    ),
    "in place": (lambda directory: change(directory, "Qwen3_chunk3", "new_x", name="y"), "no new_x"),
    "stranger": (
        lambda directory: add(directory, "Qwen3_chunk3", "inputSchema", name="at", dataType="Int32", shape="[1]"),
        "nobody gives at",
    ),
    "layers": (lambda directory: change(directory, "Qwen3_chunk2", "k_cache_0", name="k_cache_7"), "k_cache_7"),
    "no layers": (take_caches_away, "second chunk has no k_cache_0"),
    "values": (lambda directory: change(directory, "Qwen3_chunk2", "v_cache_1"), "k_cache_1 has no values"),
    "rows": (
        lambda directory: change(directory, "Qwen3_chunk3", "new_v_cache_0"),
        "k_cache_0 has no values, or no rows",
    ),
    "precision": (lambda directory: change(directory, "Qwen3_chunk4", "logits", dataType="Float32"), "no pixel buffer"),
    "logits": (lambda directory: change(directory, "logit-processor", "logits", name="scores"), "logit-processor"),
    "token": (lambda directory: change(directory, "logit-processor", "argmax", shape="[1, 1]"), "no token for each"),
    "shifted": (
        lambda directory: change(directory, "cache-processor", "updated_k_cache", shape="[1, 448, 1, 128]"),
        "cache-processor: ",
    ),
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
        # Two of them have what the others have.
        assert not path.stem.endswith(("chunk1", "chunk2")) or not package_check.check(path)
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
def successor(anec, far_checkpoint) -> Path:
    return anec.convert(far_checkpoint, "--layout", "coreml-llm-cli-sequoia", "--chunks", 2)


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
    assert not any(package_check.check(successor / f"Qwen3_chunk{number}.mlpackage") for number in (1, 2))
    assert {f"new_{name}" for name in given if "cache" in name} <= made
    assert anec.run("lint", successor).code == 0
    outcome = anec.run(
        "verify", successor, "--against", small_checkpoint, "--report", tmp_path, "--limit", 80, "--quiet", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["passed"]
    assert report["decode"]["kl_mean"] <= 1e-6


def test_the_successor_generates_what_the_checkpoint_does_past_the_slide_of_its_window(successor, far_checkpoint):
    """Its program reads the caches that it wrote over, and forgets what is more than 511 tokens old."""
    for count, length in [(3, 24), (500, 24)]:
        prompt = [(7 * at + 3) % 500 for at in range(count)]
        generated, found = Sequoia(successor).generate(prompt, length)
        logits = block_window.logits(far_checkpoint, prompt + generated, PUBLISHED_CONTEXT, size=1)[count - 1 : -1]
        are_best(generated, logits)
        wanted = logits.double().log_softmax(-1)
        assert float((wanted.exp() * (wanted - found.double().log_softmax(-1))).sum(-1).max()) <= 2e-6


#: Name, what is changed, and what the program says.
SUCCESSOR_VIOLATIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "dot": (lambda directory: rename_all(directory, "Qwen3", "Qwen3.5"), "0 chunks"),
    "two prefixes": (lambda directory: rename(directory, "Qwen3_chunk3", "Other_chunk3"), "ambiguous"),
    "no cache processor": (lambda directory: remove(directory, "generation-cache-processor"), "is not there"),
    "no logit processor": (lambda directory: remove(directory, "logit-processor"), "is not there"),
    "function": (
        lambda directory: described(directory, "Qwen3_chunk2", GENERATION, lambda row: row.update(name="infer")),
        "no function input_1_context_512",
    ),
    "order": (lambda directory: rename(directory, "Qwen3_chunk1", "Qwen3_chunk9"), "takes no input_ids"),
    "head before": (lambda directory: rename(directory, "Qwen3_chunk3", "Qwen3_chunk9"), "gives no logits"),
    "no x": (lambda directory: change(directory, "Qwen3_chunk2", "x", PROMPT_FUNCTION), "no keys and no x"),
    "one token": (
        lambda directory: change(directory, "Qwen3_chunk4", "x", GENERATION, name="y"),
        "neither x nor input_ids",
    ),
    "shared": (
        lambda directory: change(directory, "Qwen3_chunk2", "mask", PROMPT_FUNCTION, shape="[1, 448, 1, 512]"),
        "mask is",
    ),
    "precision": (
        lambda directory: change(directory, "Qwen3_chunk4", "logits", PROMPT_FUNCTION, dataType="Float32"),
        "no pixel buffer",
    ),
    "no rows": (
        lambda directory: change(directory, "Qwen3_chunk2", "new_v_cache_1", GENERATION),
        "takes v_cache_1 and gives no new_v_cache_1",
    ),
    "no caches": (
        lambda directory: change(directory, "Qwen3_chunk2", "new_v_cache_1", PROMPT_FUNCTION),
        "the prompt gives no new_v_cache_1",
    ),
    "lengths": (
        lambda directory: change(directory, "Qwen3_chunk3", "k_cache_0", GENERATION, shape="[1, 512, 1, 128]"),
        "the prompt gives",
    ),
    "in place": (
        lambda directory: change(directory, "Qwen3_chunk3", "new_k_cache_0", GENERATION, shape="[1, 1, 1, 128]"),
        "new_k_cache_0 is",
    ),
    "names": (
        lambda directory: change(directory, "Qwen3_chunk2", "mask", GENERATION, name="bias"),
        "the prompt has no bias",
    ),
    "logits": (
        lambda directory: change(directory, "logit-processor", "logits", shape="[1, 64, 2048]"),
        "logit-processor",
    ),
}


@pytest.mark.parametrize("violation", SUCCESSOR_VIOLATIONS)
def test_a_planted_violation_stops_the_successor(successor, tmp_path, violation):
    directory = tmp_path / "changed"
    shutil.copytree(successor, directory)
    plant, words = SUCCESSOR_VIOLATIONS[violation]
    plant(directory)
    with pytest.raises(WouldStopError, match=words):
        Sequoia(directory).generate([1, 2, 3], 2)


def test_the_successor_stops_at_a_prompt_that_is_longer_than_its_context(successor):
    with pytest.raises(WouldStopError, match="513 tokens"):
        Sequoia(successor).generate([1] * 513, 1)


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
