"""The layout for prompts alone: keys, values and hidden states are the checkpoint's, in the order of decoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import package_check
from conftest import CONTEXT_LENGTH
from judge import reference_model
from mil_eval import Package

BATCH = 64
#: A full block, and a part of one.
TOKENS = 100


class PrefillClient:
    """Gives every call the caches, and copies the rows that come back to the positions of their tokens."""

    def __init__(self, directory: Path) -> None:
        self.parameters = yaml.safe_load((directory / "meta.yaml").read_text())["model_info"]["parameters"]
        assert self.parameters["contract"] == "prefill"
        assert not self.parameters.keys() & {"split_lm_head", "lm_head"}
        files = {
            role: [directory / f"{stem}.mlpackage" for stem in stems]
            for role, stems in self.parameters["files"].items()
        }
        assert files.keys() == {"embeddings", "chunk"}
        self.embeddings = Package(files["embeddings"][0]).functions["main"]
        self.chunks = [Package(path).functions["main"] for path in files["chunk"]]
        shape = (1, self.parameters["num_key_value_heads"], CONTEXT_LENGTH, self.parameters["head_dim"])
        self.caches = [
            {f"{name}_cache_{layer}": torch.zeros(shape) for name in "kv" for layer in range(layers)}
            for layers in self.parameters["chunk_layers"]
        ]

    def mask(self, position: int, window: int) -> torch.Tensor:
        query = position + torch.arange(BATCH)[:, None]
        cached, own = torch.arange(CONTEXT_LENGTH)[None, :], position + torch.arange(BATCH)[None, :]
        visible = torch.cat(
            [(cached < position) & (cached > query - window), (own <= query) & (own > query - window)], 1
        )
        return torch.full(visible.shape, -1e4).masked_fill(visible, 0.0)[None, None]

    def take(self, token_ids: list[int], position: int) -> torch.Tensor:
        """Hidden states of the tokens, `[tokens, hidden_size]`."""
        count = len(token_ids)
        looked_up = self.embeddings(
            {
                "input_ids": torch.tensor([token_ids + [0] * (BATCH - count)], dtype=torch.int32),
                "position_ids": (position + torch.arange(BATCH)).clamp(max=CONTEXT_LENGTH - 1).to(torch.int32),
            }
        )
        hidden_states = looked_up.pop("hidden_states")
        windows = enumerate(self.parameters["attention_windows"], 1)
        masks = {f"mask{number}": self.mask(position, window) for number, window in windows}
        for chunk, caches in zip(self.chunks, self.caches, strict=True):
            outputs = chunk({"hidden_states": hidden_states, **looked_up, **masks, **caches})
            hidden_states = outputs["output_hidden_states"]
            for name, cache in caches.items():
                cache[:, :, position : position + count] = outputs[f"new_{name}"][:, :, :count]
        return hidden_states[0, :count]


@pytest.fixture
def directory(anec, checkpoint) -> Path:
    return anec.convert(checkpoint, "--layout", "prefill", "--context-length", CONTEXT_LENGTH, "--chunks", 2)


def test_a_prompt_leaves_the_checkpoints_keys_values_and_hidden_states(directory, checkpoint, token_ids, expected):
    client = PrefillClient(directory)
    states = torch.cat([client.take(token_ids[:BATCH], 0), client.take(token_ids[BATCH:TOKENS], BATCH)])
    head = reference_model(str(checkpoint), "{}").get_output_embeddings().weight
    found, wanted = (states @ head.T).log_softmax(-1), torch.as_tensor(expected.logits)[:TOKENS].float().log_softmax(-1)
    divergence = (wanted.exp() * (wanted - found)).sum(-1)
    assert divergence.mean() <= 1e-6
    layers = [(caches, layer) for caches in client.caches for layer in range(len(caches) // 2)]
    for number, (caches, layer) in enumerate(layers):
        for name, row in (("k", number), ("v", len(layers) + number)):
            cache, reference = caches[f"{name}_cache_{layer}"][0, :, :TOKENS], expected.cache[row][:, :TOKENS]
            known = ~reference.isnan()
            assert (cache[known] - reference[known]).abs().max() <= 2e-2


def test_verify_uses_the_checkpoints_head(anec, directory, checkpoint, tmp_path):
    outcome = anec.run(
        "verify", directory, "--against", checkpoint, "--report", tmp_path, "--limit", 80, "--quiet", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["passed"]
    assert report["decode"]["kl_mean"] <= 1e-6


@pytest.mark.parametrize("options", [(), ("--target", "ios17"), ("--batch-size", 128)], ids=["plain", "ios17", "128"])
def test_packages_are_well_formed_and_lint_has_no_errors(anec, small_checkpoint, options):
    converted = anec.convert(
        small_checkpoint, "--layout", "prefill", "--context-length", CONTEXT_LENGTH, "--chunks", 2, *options
    )
    packages = sorted(converted.glob("*.mlpackage"))
    assert len(packages) == 3
    findings = {package.name: package_check.check(package) for package in packages}
    assert not any(findings.values()), findings
    assert anec.run("lint", converted).code == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--argmax",), "has no head"),
        (("--lm-head-splits", 4), "has no head"),
        (("--kv", "mask"), "no state to write"),
        (("--functions", "single"), "one function of `--batch-size` tokens"),
    ],
)
def test_options_for_a_head_or_a_state_are_errors(anec, small_checkpoint, tmp_path, options, words):
    outcome = anec.run("convert", small_checkpoint, "-o", tmp_path / "out", "--layout", "prefill", "--quiet", *options)
    assert outcome.code == 1
    assert words in outcome.stderr
