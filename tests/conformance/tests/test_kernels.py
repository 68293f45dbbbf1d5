"""The layout of one program for each projection: what its driver gives is what transformers gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import package_check
import synthetic
from conftest import CONTEXT_LENGTH
from judge import reference_model

GREEDY_TOKENS = 64
PROMPT_TOKENS = 40
#: Between the two best logits, where rounding weights to fp16 may choose the other.
NEAR_TIE = 0.05
#: A process that may have 64 files open, and becomes a command.
LAUNCHER = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.execv(sys.argv[1], sys.argv[1:])
"""
#: Nats, unrounded.
KL_MEAN = 1e-6


@pytest.fixture(scope="module")
def kernels(anec):
    """A conversion into kernels, as texts and packages."""
    return lambda checkpoint, *options: anec.convert(
        checkpoint, "--layout", "kernels", "--context-length", CONTEXT_LENGTH, *options
    )


def test_kernels_say_what_the_checkpoint_says(anec, kernels, checkpoint, tmp_path) -> None:
    options = ["--against", checkpoint, "--limit", 100, "--report", tmp_path, "--quiet", "--json"]
    outcome = anec.run("verify", kernels(checkpoint), *options)
    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["decode"]["kl_mean"] <= KL_MEAN
    assert found["prefill"]["logit_difference"] == 0, "a prompt gives the bits of its tokens"


def test_greedy_answers_are_those_of_transformers(anec, kernels, checkpoint, token_ids, tmp_path) -> None:
    prompt = token_ids[:PROMPT_TOKENS]
    (tmp_path / "tokens.json").write_text(json.dumps(prompt))
    options = ["--greedy", "--max-tokens", GREEDY_TOKENS, "--ignore-eos", "--json"]
    outcome = anec.run("run", kernels(checkpoint), "--prompt-tokens", tmp_path / "tokens.json", *options)
    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)["token_ids"]
    assert len(found) == GREEDY_TOKENS
    model, tokens = reference_model(str(checkpoint), "{}"), list(prompt)
    for index, token in enumerate(found):
        with torch.no_grad():
            best = model(torch.tensor([tokens])).logits[0, -1].topk(2)
        if token != best.indices[0]:
            gap = (best.values[0] - best.values[1]).item()
            assert gap < NEAR_TIE, f"token {index} is {token}, transformers says {best.indices[0]} by {gap}"
        tokens.append(token)


@pytest.mark.parametrize("options", [(), ("--fuse",), ("--ffn", "int8"), ("--ffn", "lut4")], ids=str)
def test_packages_of_kernels_pass_the_strict_reader_and_lint(anec, kernels, small_checkpoint, options) -> None:
    directory = kernels(small_checkpoint, "--emit", "mlpackage", *options)
    packages = sorted(directory.glob("*.mlpackage"))
    manifest = json.loads((directory / "kernels.json").read_text())
    assert sorted(program["name"] for program in manifest["programs"]) == [path.stem for path in packages]
    for package in packages:
        assert package_check.check(package) == []
    assert anec.run("lint", directory).code == 0


def test_a_package_of_a_text_has_one_weight_file_and_passes_the_strict_reader(anec, small_checkpoint, tmp_path) -> None:
    text = anec.convert(small_checkpoint, "--layout", "kernels", "--context-length", 64, "--ffn", "lut4")
    for name in ("layer_00_q_proj_lut4", "embeddings"):
        package = tmp_path / f"{name}.mlpackage"
        outcome = anec.run("package", text / f"{name}.mil", "-o", package)
        assert outcome.code == 0, outcome.stderr
        assert [path.name for path in package.rglob("*.bin")] == ["weight.bin"]
        assert package_check.check(package) == []
        assert anec.run("diff", text / f"{name}.mil", package).code == 0


def test_every_text_is_the_program_of_its_package(anec, kernels, small_checkpoint) -> None:
    texts, packages = kernels(small_checkpoint), kernels(small_checkpoint, "--emit", "mlpackage")
    some = [path for path in sorted(Path(texts).glob("*.mil")) if "layer_0" not in path.name or "layer_00" in path.name]
    for text in some:
        assert anec.run("diff", text, packages / f"{text.stem}.mlpackage").code == 0


def test_more_programs_than_a_process_may_have_files_open_are_written_and_run(anec, small_checkpoint, tmp_path) -> None:
    config = {**synthetic.LLAMA, **synthetic.TINY, "num_hidden_layers": 12, "vocab_size": 64}
    checkpoint = synthetic.write(tmp_path / "checkpoint", config)
    shutil.copy(small_checkpoint / "tokenizer.json", checkpoint)
    output, tokens = tmp_path / "out", tmp_path / "tokens.json"
    tokens.write_text("[1, 2, 3]")
    convert = ["convert", checkpoint, "--layout", "kernels", "--context-length", 64, "-o", output, "--quiet"]
    run = ["run", output, "--prompt-tokens", tokens, "--max-tokens", 2, "--greedy", "--json"]
    for arguments in (convert, run):
        command = [sys.executable, "-c", LAUNCHER, *map(str, [anec.binary, *arguments])]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
    assert len(list(output.glob("*.mil"))) == 12 * 7 + 3
