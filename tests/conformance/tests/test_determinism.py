"""The same input gives the same bytes."""

import hashlib
from pathlib import Path

import pytest


def tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "options",
    [
        ["--lut", "none"],
        ["--lut", "4"],
        ["--lut", "4", "--palette", "exact"],
        ["--lut", "6", "--group-size", "tensor", "--channel-scale"],
        ["--lut", "none", "--int8-embeddings", "--lm-head", "int8"],
    ],
    ids=" ".join,
)
def test_bytes_do_not_depend_on_the_number_of_threads(anec, small_checkpoint, options):
    trees = [
        tree(anec.convert(small_checkpoint, *options, "--chunks", 2, "--threads", threads)) for threads in (1, 2, 3)
    ]
    assert trees[0] == trees[1] == trees[2]


def test_bytes_do_not_depend_on_how_the_checkpoint_is_sharded(anec, presets):
    whole = presets("tiny-llama", seed=1)
    sharded = presets("tiny-llama", seed=1, shard_bytes=40_000)
    assert len(list(sharded.glob("*.safetensors"))) > 3
    trees = [tree(anec.convert(checkpoint, "--lut", "4")) for checkpoint in (whole, sharded)]
    packages = [{name: digest for name, digest in files.items() if ".mlpackage/" in name} for files in trees]
    assert packages[0] == packages[1]


def test_another_weight_changes_the_bytes(anec, presets):
    trees = [tree(anec.convert(presets("tiny-llama", seed=seed))) for seed in (1, 2)]
    assert trees[0] != trees[1]
