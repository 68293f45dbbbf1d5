"""GGUF files: every type of blocks and every architecture computes what llama.cpp's own decoder says the file holds."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import gguf_files

#: Divergence from the forward pass of the decoded checkpoint in nats: fp32 sums in another order.
KL = 1e-6
TOKENS = 96
#: Of published files: rotations and norms are rounded too, and in 30 layers that adds up.
PUBLISHED_KL = 5e-6
#: Published files, where some are at hand, with the directory of the model's own tokenizer behind `=` or without.
GIVEN = [entry.split("=") for entry in os.environ.get("ANEC_GGUF", "").split(os.pathsep) if entry]
PUBLISHED = [Path(path) for path, *_ in GIVEN]
TOKENIZERS = [(Path(path), Path(*tokenizer)) for path, *tokenizer in GIVEN if tokenizer]

#: What tokenizers disagree about: spaces, digits, case, scripts, marks, signs, code and special tokens.
HARD_TEXT = """The   quick brown\tfox's 1234567 jumps, over 3.14159 lazy dogs!!! DON'T they'll I've.
  def f(x):\r\n\t\treturn x**2  # comment\n\n\n
ﬁne Ωμέγα русский 中文字符混排 日本語カタカナ 한국어 עברית العربية हिन्दी ไทย
é e\u0301 ñ 👩‍👩‍👧‍👦 🇩🇪 ½ ² \u00a0\u2009\u200bend
https://example.com/a?b=c&d=%20#x user@host <|im_start|>user\nhi<|im_end|>\n <s> </s> [INST] {"a": [1, 2.5e-3, null]}
AAAAAAAAAAAAAAAAAAAA ........ ---- ____ \\\\ $$ x̄ ﷽ İstanbul ǅ ẞ 𝕏 𠮷
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gguf")
    made = {}

    def make(model: str, kind: str):
        if (model, kind) not in made:
            made[model, kind] = gguf_files.write(directory, model, kind)
        return made[model, kind]

    return make


def verify(anec, output, against, directory):
    tokens = directory / "tokens.json"
    tokens.write_text(json.dumps(np.random.default_rng(0).integers(0, 256, TOKENS).tolist()))
    report = ("--report", directory, "--samples", 0, "--json", "--quiet")
    outcome = anec.run("verify", output, "--against", against, "--tokens", tokens, "--numerics", "f32", *report)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    return json.loads(outcome.stdout)


# All types on one architecture, and all architectures with types of each kind.
CASES = [("llama", kind) for kind in gguf_files.TYPES]
CASES += [(model, kind) for model in gguf_files.MODELS if model != "llama" for kind in ("F32", "Q8_0", "Q4_K")]


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_a_conversion_computes_what_the_decoded_file_computes(anec, files, tmp_path, model, kind):
    path, checkpoint = files(model, kind)
    output = anec.convert(path, "--context-length", 128)
    # What rounding fp32 weights to fp16 costs is no matter of decoding.
    plain = verify(anec, anec.convert(checkpoint, "--context-length", 128), checkpoint, tmp_path)["decode"]["kl_mean"]
    # The checkpoint is read by the oracle alone, the file by the reader that the conversion used.
    for against in (checkpoint, path):
        report = verify(anec, output, against, tmp_path)
        assert abs(report["decode"]["kl_mean"] - plain) <= KL, against
        assert report["origins"]["findings"] == []


def agreement(anec, path: Path, directory: Path, tokens: list[int]) -> tuple[float, float]:
    """Mean divergence from what transformers makes of a file, its weights rounded to half precision, and the share of
    positions with the same best token."""
    (directory / "tokens.json").write_text(json.dumps(tokens))
    saved = directory / "logits.safetensors"
    output = anec.convert(path, "--context-length", 128)
    outcome = anec.run("eval", output, "--tokens", directory / "tokens.json", "--save", saved)
    assert outcome.code == 0, outcome.stderr
    (found,) = [value for name, value in load_file(saved).items() if name.endswith(".logits")]
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    with torch.no_grad():
        wanted = model(torch.tensor([tokens])).logits[0].double()
    found = found.double().reshape(wanted.shape)
    own, other = wanted.log_softmax(-1), found.log_softmax(-1)
    same = (wanted.argmax(-1) == found.argmax(-1)).double().mean()
    return float((own.exp() * (own - other)).sum(-1).mean()), float(same)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K", "Q6_K"])
def test_logits_are_those_of_transformers_own_loading_of_the_file(anec, files, tmp_path, kind):
    # Of other architectures transformers counts the tokens of the tokenizer, which these files have none of.
    path, _ = files("llama", kind)
    tokens = np.random.default_rng(1).integers(0, 256, TOKENS).tolist()
    assert agreement(anec, path, tmp_path, tokens)[0] <= KL


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_file_gives_the_logits_of_transformers_own_loading_of_it(anec, tmp_path, path):
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokens = tokenizer(HARD_TEXT)["input_ids"][:TOKENS]
    divergence, same = agreement(anec, path, tmp_path, tokens)
    assert divergence <= PUBLISHED_KL
    assert same == 1


@pytest.mark.parametrize(("path", "tokenizer"), TOKENIZERS, ids=lambda path: path.stem)
def test_a_published_files_tokenizer_splits_hard_text_as_the_models_own(anec, path, tokenizer):
    """The model's own: what transformers makes of a GGUF leaves out how words are split."""
    own = AutoTokenizer.from_pretrained(anec.convert(path, "--context-length", 128))
    other = AutoTokenizer.from_pretrained(tokenizer)
    for line in [HARD_TEXT, *HARD_TEXT.splitlines()]:
        assert own(line)["input_ids"] == other(line)["input_ids"], line
        assert own.decode(own(line)["input_ids"]) == other.decode(other(line)["input_ids"])


def test_a_plan_needs_no_more_than_the_file(anec, files):
    path, _ = files("qwen2", "Q8_0")
    outcome = anec.run("plan", path, "--lut", 4, "--calibration", "none", "--json", "--context-length", 128)
    assert outcome.code == 0, outcome.stderr
    assert "a GGUF of the architecture `qwen2`" in outcome.stderr


def test_types_that_are_not_read_are_refused_by_name(anec, files, tmp_path):
    path, _ = files("llama", "F32")
    data = path.read_bytes()
    # The type of a tensor stands behind its name, its axes and their sizes.
    name = b"blk.0.attn_v.weight"
    at = data.index(name) + len(name) + 4 + 16
    assert data[at : at + 4] == b"\0\0\0\0"
    broken = tmp_path / "iq.gguf"
    broken.write_bytes(data[:at] + (23).to_bytes(4, "little") + data[at + 4 :])
    outcome = anec.run("convert", broken, "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "IQ4_XS" in outcome.stderr
    assert not (tmp_path / "out").exists()
