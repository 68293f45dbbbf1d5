"""GGUF files: every type of blocks and every architecture computes what llama.cpp's own decoder says the file holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gguf_files

#: Divergence from the forward pass of the decoded checkpoint in nats: fp32 sums in another order.
KL = 1e-6
TOKENS = 96


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
