"""A conversion that is killed at any moment can be gone on with. `kill.py` tries more moments."""

import pytest

import kill


@pytest.mark.parametrize(
    "options",
    [
        ["--lut", "4", "--chunks", "2"],
        ["--lut", "6", "--group-size", "tensor", "--lut-embeddings", "8"],
        ["--lut", "4", "--channel-scale", "--lm-head", "int8", "--context-length", "32,64", "--batch-size", "16"],
        ["--layout", "kernels", "--ffn", "lut4", "--context-length", "64"],
    ],
    ids=["groups", "tensor", "scales, int8, two contexts", "kernels"],
)
def test_killed_conversions_give_the_same_bytes(anec, presets, tmp_path, options):
    options = [*options, "--calibration", "none"]
    outcome = kill.check(anec.binary, presets("tiny-llama"), tmp_path, kills=4, seed=1, options=options)
    assert outcome.kills >= 4


def test_killed_calibrations_give_the_same_bytes_on_any_number_of_threads(anec, small_checkpoint, tmp_path):
    options = ["--lut", "4", "--chunks", "2"]
    outcome = kill.check(anec.binary, small_checkpoint, tmp_path, kills=5, seed=2, options=options, threads=[1, 2])
    assert outcome.kills >= 5
