"""Checkpoints that others have quantized convert to what their weights decode to."""

from __future__ import annotations

import json

import numpy as np
import pytest

import quantized_checkpoints

#: Divergence from the forward pass of the decoded checkpoint in nats.
KL = 1e-6
TOKENS = 96


@pytest.mark.parametrize("way", quantized_checkpoints.WAYS)
def test_a_conversion_computes_what_the_weights_decode_to(anec, tmp_path, way):
    quantized, decoded = quantized_checkpoints.write(tmp_path, way)
    output = tmp_path / "out"
    outcome = anec.run("convert", quantized, "-o", output, "--context-length", 128)
    assert outcome.code == 0, outcome.stderr
    assert "Reading weights" in outcome.stderr
    assert "quantization" not in (output / "config.json").read_text()
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps(np.random.default_rng(0).integers(0, 256, TOKENS).tolist()))

    def verified(directory, against) -> float:
        report = ("--report", tmp_path, "--samples", 0, "--json", "--quiet", "--numerics", "f32")
        outcome = anec.run("verify", directory, "--against", against, "--tokens", tokens, *report)
        assert outcome.code == 0, outcome.stdout + outcome.stderr
        found = json.loads(outcome.stdout)
        assert found["origins"]["findings"] == []
        return found["decode"]["kl_mean"]

    # What rounding fp32 weights to fp16 costs is no matter of decoding.
    plain = verified(anec.convert(decoded, "--context-length", 128), decoded)
    # The decoded one is read by the oracle alone, the quantized one by the reader that the conversion used.
    for against in (decoded, quantized):
        assert abs(verified(output, against) - plain) <= KL, against
