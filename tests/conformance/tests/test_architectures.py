"""Every option of an architecture that changes the maths, judged against transformers.

The checkpoints are small and random, with projections large enough that everything matters. Where a case names what it
is sensitive to, the reference with that broken must be far away; otherwise agreement would prove nothing.
"""

import json

import numpy as np
import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

import package_check
from client import ClientModel
from judge import Agreement, evaluation_tokens, judge, perplexity, reference

CONTEXT_LENGTH = 64
BATCH_SIZE = 16
OPTIONS = ("--context-length", CONTEXT_LENGTH, "--batch-size", BATCH_SIZE)
#: Rotary tables and weights are fp16 in both numerics; what is left is their rounding.
MAX_KL = {"f32": 5e-6, "fp16": 5e-5}
MIN_KL_WHEN_BROKEN = 1e-3

CASES = {
    "tiny-llama": {"rope_theta": 5000.0},
    "tiny-llama-biases": {"attention_bias": False},
    "tiny-llama-head-dim": {},
    "tiny-llama-fp16-tied": {},
    "tiny-llama-fp32": {},
    "tiny-llama-prime-vocabulary": {},
    "tiny-llama-linear": {"rope_scaling": None},
    "tiny-llama-dynamic": {"rope_scaling": None},
    "tiny-llama-yarn": {"rope_scaling": None},
    "tiny-llama3": {"rope_scaling": None},
    "tiny-qwen2": {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 0},
    "tiny-qwen2-window": {"use_sliding_window": False},
    "tiny-qwen3": {"rope_theta": 5000.0},
    "tiny-mistral": {"sliding_window": 16},
    "tiny-mistral-window": {"sliding_window": 17},
    "tiny-mistral-nemo": {},
    "tiny-smollm3": {"no_rope_layers": [1, 1, 1, 1]},
    "tiny-smollm3-window": {"sliding_window": 17},
    "tiny-granite": {"residual_multiplier": 0.44},
    "tiny-olmo2": {"rope_theta": 5000.0},
    "tiny-phi3": {"sliding_window": 17},
    "tiny-phi4": {"partial_rotary_factor": 1.0, "rope_scaling": None},
    "tiny-phi4-short": {"rope_scaling": None},
    "tiny-gemma3": {"sliding_window": 17},
    "tiny-gemma3-types": {"rope_local_base_freq": 500.0},
}


@pytest.mark.parametrize("preset", CASES)
def test_the_model_is_the_checkpoint(anec, presets, preset):
    checkpoint = presets(preset)
    # The whole context: dynamic scaling depends on the length, and the tables are made for the longest.
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)
    expected = reference(checkpoint, token_ids)
    # The judge knows one cache for the whole context; `test_windows.py` has those of windows.
    output = anec.convert(checkpoint, *OPTIONS, "--single-cache")
    for numerics, limit in MAX_KL.items():
        verdict = judge(ClientModel(output, numerics), expected, token_ids)
        assert verdict.decode.mean_kl <= limit, verdict
        assert verdict.after_prefill.mean_kl <= limit, verdict
        assert verdict.overflows == 0, verdict
    if CASES[preset]:
        broken = reference(checkpoint, token_ids, **CASES[preset])
        assert Agreement.of(expected.logits, broken.logits).mean_kl >= MIN_KL_WHEN_BROKEN


@pytest.mark.parametrize("preset", CASES)
def test_every_package_passes_every_check(anec, presets, preset):
    output = anec.convert(presets(preset), *OPTIONS)
    findings = {package.name: package_check.check(package) for package in sorted(output.glob("*.mlpackage"))}
    assert not any(findings.values()), findings


@pytest.mark.parametrize(
    "preset",
    [
        "tiny-gemma3",
        "tiny-gemma3-types",
        "tiny-smollm3",
        "tiny-smollm3-window",
        "tiny-granite",
        "tiny-olmo2",
        "tiny-phi3",
        "tiny-phi4",
        "tiny-phi4-short",
    ],
)
def test_verify_computes_what_transformers_computes(anec, presets, preset, tmp_path):
    """The plain forward pass of `anec verify` has the perplexity of transformers, and the conversion that of both."""
    checkpoint = presets(preset)
    token_ids = evaluation_tokens(checkpoint, CONTEXT_LENGTH)
    (tmp_path / "tokens.json").write_text(json.dumps(token_ids))
    output = anec.convert(checkpoint, *OPTIONS)
    tokens = ("--tokens", tmp_path / "tokens.json", "--report", tmp_path, "--samples", 0)
    outcome = anec.run("verify", output, "--against", checkpoint, *tokens)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    expected = perplexity(reference(checkpoint, token_ids).logits, token_ids)
    assert report["decode"]["kl_mean"] <= MAX_KL["f32"]
    assert report["decode"]["perplexity_reference"] == pytest.approx(expected, rel=1e-4)


def test_every_token_of_a_prime_vocabulary_can_be_chosen(anec, presets):
    checkpoint = presets("tiny-llama-prime-vocabulary")
    token_ids = evaluation_tokens(checkpoint, 32)
    expected = reference(checkpoint, token_ids)
    model = ClientModel(anec.convert(checkpoint, "--argmax", *OPTIONS))
    assert sum(model.files.lm_head_chunk_sizes) == 509
    found = [model.best_token(token, position) for position, token in enumerate(token_ids)]
    assert found == expected.logits.argmax(-1).tolist()
    assert len(set(found)) > 10


@pytest.mark.parametrize("arch", ["auto", "qwen"])
def test_the_family_name_finds_the_architecture(anec, presets, arch):
    for preset in ("tiny-qwen2", "tiny-qwen3"):
        assert anec.convert(presets(preset), "--arch", arch, *OPTIONS).is_dir()


def test_another_family_is_refused(anec, presets, tmp_path):
    outcome = anec.run("convert", presets("tiny-mistral"), "-o", tmp_path / "out", "--arch", "qwen")
    assert outcome.code == 1
    assert "mistral" in outcome.stderr


@pytest.fixture(scope="module")
def gemma3_with_pictures(tmp_path_factory):
    """A Gemma 3 of 4B's form: its decoder under `text_config`, beside a tower for pictures."""
    torch.manual_seed(0)
    text = {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": CONTEXT_LENGTH,
        "query_pre_attn_scalar": 24,
        "rope_theta": 1e5,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window": 16,
        "sliding_window_pattern": 2,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=255)
    model = Gemma3ForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "language_model" in name:
                weight.mul_(6.0)
    directory = tmp_path_factory.mktemp("gemma3") / "checkpoint"
    model.save_pretrained(directory)
    return directory, model


def test_the_text_of_gemma3_is_converted_without_its_pictures(anec, gemma3_with_pictures, tmp_path):
    checkpoint, model = gemma3_with_pictures
    token_ids = np.random.default_rng(0).integers(0, 250, CONTEXT_LENGTH).tolist()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([token_ids])).logits[0]
    output = tmp_path / "out"
    outcome = anec.run("convert", checkpoint, "-o", output, *OPTIONS, "--calibration", "none")
    assert outcome.code == 0, outcome.stderr
    assert "pictures" in outcome.stderr
    (tmp_path / "tokens.json").write_text(json.dumps(token_ids))
    outcome = anec.run(
        "verify", output, "--against", checkpoint, "--tokens", tmp_path / "tokens.json", "--report", tmp_path
    )
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["decode"]["kl_mean"] <= MAX_KL["f32"]
    assert report["decode"]["perplexity_reference"] == pytest.approx(perplexity(expected, token_ids), rel=1e-4)
