"""Layers that keep their window only compute what those do that keep the whole context, and what transformers computes.

Every prompt goes in as a client feeds it, in batches and then token by token, until three windows have passed, and the
logits of every token are compared with those of the whole sequence.

Each form of each checkpoint is driven with one batch size, and each size comes about as often; `ANEC_ALL_WINDOWS=1`
drives every form with every size.
"""

import json
import os
import shutil

import pytest
import torch
import yaml

import package_check
from client import ClientModel
from judge import Agreement, reference

WINDOW, CONTEXT_LENGTH, TOKENS = 32, 128, 96
PROMPTS = (1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + WINDOW // 2)
#: Divide the window, do not, and are longer.
BATCH_SIZES = (16, 12, 48)
PRESETS = ("windows-mistral", "windows-qwen2", "windows-gemma3", "windows-odd")
#: The same sums in another order.
MAX_KL = 1e-6
#: Rotary tables and weights are fp16.
MAX_KL_TO_CHECKPOINT = 5e-6

FORMS = {
    "ring": (),
    "ring by masks": ("--kv", "mask"),
    "ring of a single function": ("--functions", "single"),
    "rotate": ("--layout", "anemll"),
}


def cases() -> list[tuple[str, str, int]]:
    """Checkpoint, form and batch size. A ring with room for a call that is longer is as long as the context."""
    found = []
    for row, preset in enumerate(PRESETS):
        for column, form in enumerate(FORMS):
            sizes = [size for size in BATCH_SIZES if "single" not in form or size <= WINDOW]
            chosen = sizes if os.environ.get("ANEC_ALL_WINDOWS") == "1" else [sizes[(row + column) % len(sizes)]]
            found += [(preset, form, size) for size in chosen]
    return found


def tokens(count: int = TOKENS) -> list[int]:
    return torch.randint(256, (count,), generator=torch.Generator().manual_seed(3)).tolist()


def convert(anec, checkpoint, batch_size, *options, context_length=CONTEXT_LENGTH):
    size = "--query-length" if "single" in options else "--batch-size"
    base = ("--context-length", context_length, size, batch_size, "--calibration", "none", "--chunks", 2)
    return anec.convert(checkpoint, *base, *options)


def fed(model: ClientModel, token_ids: list[int], prompt: int) -> tuple[int, torch.Tensor]:
    """Feeds a prompt, then single tokens; gives the position of the first logits, and all from there on."""
    found = model.feed(token_ids[:prompt])
    first = prompt - len(found)
    found += [model.logits(token, position) for position, token in list(enumerate(token_ids))[prompt:]]
    return first, torch.stack(found)


def parameters(directory) -> dict:
    return yaml.safe_load((directory / "meta.yaml").read_text())["model_info"]["parameters"]


def shapes(model: ClientModel) -> dict[str, list[int]]:
    return {name: list(state.shape) for name, state in model.state.items()}


@pytest.fixture(scope="module")
def whole(anec, presets):
    """The logits with every layer's whole context, token by token, and those of transformers."""
    found = {}

    def logits(preset: str) -> tuple[torch.Tensor, torch.Tensor]:
        if preset not in found:
            checkpoint = presets(preset)
            output = convert(anec, checkpoint, 16, "--single-cache")
            model = ClientModel(output)
            assert list(shapes(model).values())[0][2] == CONTEXT_LENGTH
            assert parameters(output)["single_cache"] is True
            decoded = torch.stack([model.logits(token, position) for position, token in enumerate(tokens())])
            found[preset] = decoded, reference(checkpoint, tokens()).logits
        return found[preset]

    return logits


@pytest.mark.parametrize(("preset", "form", "batch_size"), cases())
def test_a_window_gives_what_the_whole_context_gives(anec, presets, whole, preset, form, batch_size):
    expected, checkpoint = whole(preset)
    model = ClientModel(convert(anec, presets(preset), batch_size, *FORMS[form]))
    assert min(shape[2] for shape in shapes(model).values()) < CONTEXT_LENGTH
    for prompt in PROMPTS:
        first, found = fed(model, tokens(), prompt)
        assert Agreement.of(expected[first:], found).max_kl <= MAX_KL, prompt
        assert Agreement.of(checkpoint[first:], found).mean_kl <= MAX_KL_TO_CHECKPOINT, prompt
    assert model.overflows == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", PRESETS)
def test_packages_of_windows_pass_every_check(anec, presets, preset, form):
    output = convert(anec, presets(preset), 12, *FORMS[form])
    findings = {package.name: package_check.check(package) for package in sorted(output.glob("*.mlpackage"))}
    assert not any(findings.values()), findings


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", PRESETS)
def test_lint_has_nothing_against_windows(anec, presets, preset, form):
    def found(*options) -> set[str]:
        outcome = anec.run("lint", convert(anec, presets(preset), 12, *options), "--format", "json")
        programs = json.loads(outcome.stdout)["programs"]
        findings = [finding for program in programs for finding in program["findings"]]
        return {finding["rule"] for finding in findings if finding["severity"] != "note"}

    # The heads of some presets are narrower than the Neural Engine takes, with and without windows.
    assert found(*FORMS[form]) <= found(*FORMS[form], "--single-cache")


@pytest.mark.parametrize("form", ["ring", "rotate"])
def test_the_engine_drives_windows_as_clients_do(anec, presets, form, tmp_path):
    """`anec eval` and `anec verify` switch functions where the window is full."""
    checkpoint = presets("windows-gemma3")
    (tmp_path / "tokens.json").write_text(json.dumps(tokens()))
    output = convert(anec, checkpoint, 12, *FORMS[form])
    options = ("--tokens", tmp_path / "tokens.json", "--report", tmp_path, "--samples", 0)
    outcome = anec.run("verify", output, "--against", checkpoint, *options)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["decode"]["positions"] == TOKENS
    assert report["decode"]["kl_mean"] <= MAX_KL_TO_CHECKPOINT
    assert report["prefill"]["agreement"]["kl_mean"] <= MAX_KL_TO_CHECKPOINT


def test_layers_that_differ_have_two_states_which_every_chunk_declares(anec, presets):
    for form in ("ring", "rotate"):
        output = convert(anec, presets("windows-gemma3"), 16, *FORMS[form])
        model = ClientModel(output)
        expected = {
            "model_model_kv_cache_local": [2 * 2, 2, WINDOW, 32],
            "model_model_kv_cache_global": [2 * 2, 2, CONTEXT_LENGTH, 32],
        }
        assert shapes(model) == expected
        assert all(function.states == expected for chunk in model._chunks for function in chunk.values())


def test_positions_go_on_beyond_the_context_where_every_layer_slides(anec, presets):
    """Transformers computes the whole sequence; the ring holds one window of it."""
    checkpoint = presets("windows-mistral")
    output = convert(anec, checkpoint, 16, context_length=2 * WINDOW)
    assert parameters(output)["max_positions"] == 512
    many = tokens(300)
    expected = reference(checkpoint, many).logits
    model = ClientModel(output)
    # Heads of 16 channels have zeros behind them there.
    assert shapes(model) == {"model_model_kv_cache_0": [2 * 2, 2, WINDOW, 32]}
    first, found = fed(model, many, 200)
    assert Agreement.of(expected[first:], found).mean_kl <= MAX_KL_TO_CHECKPOINT


def test_a_window_longer_than_the_context_is_no_window(anec, presets, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(presets("windows-mistral"), checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "sliding_window": 2 * WINDOW}))
    output = convert(anec, checkpoint, 16, context_length=WINDOW)
    assert not parameters(output).keys() & {"ring_length", "sliding_window", "single_cache", "max_positions"}


@pytest.mark.parametrize("option", [("--single-cache",), ("--chip", "m1")])
def test_one_state_is_made_for_chips_that_take_states_of_one_shape(anec, presets, option):
    output = convert(anec, presets("windows-gemma3"), 16, *option)
    assert shapes(ClientModel(output)) == {"model_model_kv_cache_0": [2 * 4, 2, CONTEXT_LENGTH, 32]}
    assert anec.run("lint", output, "--chip", "m1").code == 0
    two = convert(anec, presets("windows-gemma3"), 16)
    assert "state-shapes" in anec.run("lint", two, "--chip", "m1").stdout


def test_plan_says_what_windows_save(anec, presets):
    checkpoint = presets("windows-gemma3")
    options = ("--context-length", CONTEXT_LENGTH, "--batch-size", 16)
    plan = json.loads(anec.run("plan", checkpoint, "--json", *options).stdout)
    # Keys and values of two layers over 32 positions and of two over 128, against four over 128; 64 channels in fp16.
    assert plan["cost"]["cache_bytes_per_token"] == 2 * 2 * 64 * (2 * WINDOW + 2 * CONTEXT_LENGTH)
    assert plan["cost"]["memory"]["whole_state"] == 2 * 2 * 64 * 4 * CONTEXT_LENGTH
    text = anec.run("plan", checkpoint, *options).stdout
    assert "2 of 4 layers keep their window of 32 in 32 positions in a ring" in text
