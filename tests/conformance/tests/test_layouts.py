"""Layouts of other programs than the stateful ones: what their clients find, and that it computes the checkpoint.

The clients here are written from the contracts alone, over the evaluator of `mil_eval`: they share no code with `anec`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import package_check
from conftest import CONTEXT_LENGTH
from mil_eval import Package
from package_file import PackageFile

BATCH = 64
#: A full batch, and some single tokens.
TOKENS = 80
LAYOUTS = {"anemll-monolithic": [], "host-cache": ["--chunks", 2]}


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


def convert(anec, checkpoint: Path, layout: str, *options: object) -> Path:
    return anec.convert(
        checkpoint, "--layout", layout, *LAYOUTS.get(layout, []), *options, "--context-length", CONTEXT_LENGTH
    )


def parameters_of(directory: Path) -> dict:
    return yaml.safe_load((directory / "meta.yaml").read_text())["model_info"]["parameters"]


def saved_logits(anec, directory: Path, token_ids: list[int], work: Path) -> torch.Tensor:
    tokens, saved = work / "tokens.json", work / f"{directory.name}.safetensors"
    tokens.write_text(json.dumps(token_ids))
    outcome = anec.run("eval", directory, "--tokens", tokens, "--save", saved, "--json")
    assert outcome.code == 0, outcome.stderr
    (logits,) = [tensor for name, tensor in load_file(saved).items() if "logits" in name]
    return logits.float().reshape(-1, logits.shape[-1])


class Monolithic:
    """One file, one state: `prefill` for a batch, `infer` for a token."""

    def __init__(self, directory: Path) -> None:
        parameters = parameters_of(directory)
        self.split = parameters["split_lm_head"]
        self.functions = Package((directory / parameters["monolithic_model"]).with_suffix(".mlpackage")).functions
        self.state = self.functions["prefill"].new_state()

    def call(self, token_ids: list[int], position: int) -> torch.Tensor:
        count = len(token_ids)
        rows = torch.arange(position, position + count)
        hidden = torch.arange(CONTEXT_LENGTH)[None, :] > rows[:, None]
        inputs = {
            "input_ids": torch.tensor([token_ids], dtype=torch.int32),
            "position_ids": rows.to(torch.int32),
            "causal_mask": torch.zeros(count, CONTEXT_LENGTH).masked_fill(hidden, float("-inf"))[None, None],
            "current_pos": torch.tensor([position], dtype=torch.int32),
        }
        outputs = self.functions["infer" if count == 1 else "prefill"](inputs, self.state)
        return torch.cat([outputs[f"logits{number}"].reshape(-1) for number in range(1, self.split + 1)])


class HostCache:
    """Keeps keys and values, gives them to every call, and copies what comes back to the positions of its tokens."""

    def __init__(self, directory: Path) -> None:
        self.parameters = parameters_of(directory)
        files = {
            role: [directory / f"{stem}.mlpackage" for stem in stems]
            for role, stems in self.parameters["files"].items()
        }
        self.embeddings = Package(files["embeddings"][0]).functions
        self.chunks = [Package(path).functions for path in files["chunk"]]
        self.head = Package(files["lm_head"][0]).functions["main"]
        channels = self.parameters["num_key_value_heads"] * self.parameters["head_dim"]
        self.caches = [
            {
                f"{name}_cache_{layer}": torch.zeros(1, channels, 1, CONTEXT_LENGTH)
                for name in "kv"
                for layer in range(layers)
            }
            for layers in self.parameters["chunk_layers"]
        ]

    def mask(self, position: int, rows: int, window: int) -> torch.Tensor:
        query = position + torch.arange(rows)[:, None]
        cached, own = torch.arange(CONTEXT_LENGTH)[None, :], position + torch.arange(rows)[None, :]
        visible = torch.cat(
            [(cached < position) & (cached > query - window), (own <= query) & (own > query - window)], 1
        )
        return torch.full(visible.shape, -1e4).masked_fill(visible, 0.0)[None, None]

    def call(self, token_ids: list[int], position: int) -> torch.Tensor:
        count = len(token_ids)
        rows = next(rows for rows in (1, 8, 16, 64) if rows >= count)
        function = f"query_{rows}"
        looked_up = self.embeddings[function](
            {
                "input_ids": torch.tensor([token_ids + [0] * (rows - count)], dtype=torch.int32),
                "position_ids": (position + torch.arange(rows)).clamp(max=CONTEXT_LENGTH - 1).to(torch.int32),
            }
        )
        hidden_states = looked_up.pop("hidden_states")
        windows = enumerate(self.parameters["attention_windows"], 1)
        masks = {f"mask{number}": self.mask(position, rows, window) for number, window in windows}
        for chunk, caches in zip(self.chunks, self.caches, strict=True):
            outputs = chunk[function]({"hidden_states": hidden_states, **looked_up, **masks, **caches})
            hidden_states = outputs["output_hidden_states"]
            for name, cache in caches.items():
                cache[..., position : position + count] = outputs[f"new_{name}"][..., :count]
        outputs = self.head({"hidden_states": hidden_states[:, count - 1 : count]})
        parts = range(1, self.parameters["split_lm_head"] + 1)
        return torch.cat([outputs[f"logits{number}"].reshape(-1) for number in parts])


CLIENTS = {"anemll-monolithic": Monolithic, "host-cache": HostCache}


def test_logits_are_those_of_the_stateful_layout(anec, checkpoint, layout, token_ids, tmp_path):
    found = saved_logits(anec, convert(anec, checkpoint, layout), token_ids[:TOKENS], tmp_path)
    stateful = saved_logits(anec, convert(anec, checkpoint, "anec"), token_ids[:TOKENS], tmp_path)
    assert found.shape == stateful.shape
    assert (found - stateful).abs().max() <= 1e-5


def test_a_client_written_from_the_contract_gets_the_checkpoints_logits(anec, checkpoint, layout, token_ids, expected):
    client = CLIENTS[layout](convert(anec, checkpoint, layout))
    after_batch = client.call(token_ids[:BATCH], 0)
    logits = [after_batch, *(client.call([token_ids[at]], at) for at in range(BATCH, TOKENS))]
    wanted = torch.as_tensor(expected.logits)[BATCH - 1 : TOKENS].float().reshape(len(logits), -1)
    divergence = torch.nn.functional.kl_div(
        torch.stack(logits).log_softmax(-1), wanted.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    assert divergence.mean() <= 1e-6


@pytest.mark.parametrize("count", [3, 8, 13])
def test_any_number_of_tokens_goes_through_the_host_cache(anec, small_checkpoint, count):
    directory = convert(anec, small_checkpoint, "host-cache")
    token_ids = [(7 * at + 3) % 500 for at in range(2 * count)]
    at_once, one_by_one = HostCache(directory), HostCache(directory)
    at_once.call(token_ids[:count], 0)
    found = at_once.call(token_ids[count:], count)
    for position, token in enumerate(token_ids):
        wanted = one_by_one.call([token], position)
    assert (found - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("options", [(), ("--lut", 4), ("--lut", 6, "--argmax")], ids=["fp16", "lut4", "lut6 argmax"])
def test_packages_are_well_formed_and_lint_has_no_errors(anec, checkpoint, layout, options):
    directory = convert(anec, checkpoint, layout, *options)
    packages = sorted(directory.glob("*.mlpackage"))
    findings = {package.name: package_check.check(package) for package in packages}
    assert not any(findings.values()), findings
    assert anec.run("lint", directory).code == 0


def test_every_conversion_passes_verification(anec, checkpoint, layout, tmp_path):
    for options in [(), ("--lut", 4), ("--lut", 6)]:
        directory = convert(anec, checkpoint, layout, *options)
        outcome = anec.run(
            "verify", directory, "--against", checkpoint, "--report", tmp_path, "--limit", TOKENS, "--quiet", "--json"
        )
        assert outcome.code == 0, outcome.stderr
        report = json.loads(outcome.stdout)
        assert report["passed"]
        assert report["tables"]
        assert options or report["decode"]["kl_mean"] <= 1e-6


@pytest.mark.parametrize("count", [1, 16])
def test_a_host_cache_before_ios_18_has_one_function(anec, small_checkpoint, tmp_path, count):
    options = ("--functions", "single", "--query-length", count, "--target", "macos14")
    directory = convert(anec, small_checkpoint, "host-cache", *options)
    for path in sorted(directory.glob("*.mlpackage")):
        spec = PackageFile(path).spec
        assert spec.specificationVersion == 7
        assert not spec.description.functions
    outcome = anec.run(
        "verify", directory, "--against", small_checkpoint, "--report", tmp_path, "--limit", TOKENS, "--quiet", "--json"
    )
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["decode"]["kl_mean"] <= 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layout", "host-cache", "--target", "macos14"), "`--functions single`"),
        (("--layout", "host-cache", "--functions", "single", "--query-length", 5), "1, 8, 16, 64"),
        (("--layout", "anec", "--target", "ios17"), "needs iOS 18 or macOS 15"),
    ],
)
def test_options_that_a_system_or_layout_cannot_honour_are_errors(anec, small_checkpoint, tmp_path, options, words):
    outcome = anec.run("convert", small_checkpoint, "-o", tmp_path / "out", "--quiet", *options)
    assert outcome.code == 1
    assert words in outcome.stderr


def test_anemll_clients_find_the_model_in_one_file(anec, small_checkpoint):
    directory = convert(anec, small_checkpoint, "anemll-monolithic", "--lut", 4, "--argmax")
    info = yaml.safe_load((directory / "meta.yaml").read_text())["model_info"]
    assert info["model_type"] == "monolithic"
    assert info["name"].endswith("-monolithic")
    parameters = info["parameters"]
    assert parameters["monolithic_model"] == "qwen_monolithic_full_lut4.mlmodelc"
    assert parameters["functions"] == ["infer", "prefill"]
    assert (parameters["lut_bits"], parameters["split_lm_head"]) == (4, 16)
    assert parameters["argmax_in_model"]
    assert parameters["prefill_dynamic_slice"]
    assert not parameters.keys() & {"num_chunks", "lut_ffn", "ffn", "embeddings", "lm_head"}
    description = json.loads((directory / "meta.json").read_text())["model_info"]
    assert description["parameters"] == parameters
    model = PackageFile(directory / "qwen_monolithic_full_lut4.mlpackage").spec.description
    assert model.defaultFunctionName == "infer"
    assert [function.name for function in model.functions] == ["infer", "prefill"]
    for function in model.functions:
        assert [output.name for output in function.output] == ["argmax_idx", "argmax_val"]
        assert [state.name for state in function.state] == ["model_model_kv_cache_0"]
    metadata = model.metadata.userDefined
    assert metadata["com.anemll.argmax_in_model"] == "true"
    assert metadata["com.anemll.functions"] == "infer,prefill"


@pytest.mark.parametrize(
    ("layout", "change", "words"),
    [
        (
            "anemll-monolithic",
            ("context_length: 256", "context_length: 128"),
            ["`qwen_monolithic_full`", "`causal_mask`"],
        ),
        ("host-cache", ("head_dim: 64", "head_dim: 32"), ["`chunk_01of02`", "`k_cache_0`"]),
        ("host-cache", ("chunk_layers: [2, 2]", "chunk_layers: [3, 1]"), ["`chunk_01of02`", "`k_cache_2`"]),
        ("host-cache", ("chunk_layers: [2, 2]", "chunk_layers: [4]"), ["`chunk_layers`"]),
    ],
)
def test_files_that_contradict_the_meta_file_are_refused(anec, small_checkpoint, tmp_path, layout, change, words):
    directory = tmp_path / "changed"
    shutil.copytree(convert(anec, small_checkpoint, layout), directory)
    meta = directory / "meta.yaml"
    text = meta.read_text()
    assert change[0] in text
    meta.write_text(text.replace(*change))
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[1, 2, 3]")
    outcome = anec.run("eval", directory, "--tokens", tokens)
    assert outcome.code == 1
    assert all(word in outcome.stderr for word in words), outcome.stderr
