"""`anec bench` of directories with a program for each product: operations and bytes of every kind."""

from __future__ import annotations

import json

import pytest

import synthetic

CONFIG = {**synthetic.QWEN2, **synthetic.TINY, "tie_word_embeddings": True, "use_sliding_window": False}
D, F, V, KV, COLUMNS = 64, 96, 256, 32, 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory):
    return synthetic.write(tmp_path_factory.mktemp("bench") / "checkpoint", CONFIG)


def kinds_of(anec, *arguments: object) -> dict[str, dict]:
    outcome = anec.run("bench", *arguments, "--repeat", 1, "--json")
    assert outcome.code == 0, outcome.stderr
    return {kind["kind"]: kind for kind in json.loads(outcome.stdout)["kinds"]}


def test_kernels_are_timed_by_kind(anec, checkpoint) -> None:
    directory = anec.convert(checkpoint, "--layout", "kernels", "--context-length", 64)
    found = kinds_of(anec, directory, "--decode", 1)
    shapes = {"q_proj": (D, D), "k_proj": (KV, D), "v_proj": (KV, D), "o_proj": (D, D)}
    shapes |= {"gate_proj": (F, D), "up_proj": (F, D), "down_proj": (D, F), "lm_head": (V, D)}
    assert set(found) == set(shapes)
    for kind, (rows, columns) in shapes.items():
        row = found[kind]
        assert row["operations"] == 2 * rows * columns * COLUMNS, kind
        weights = sum(path.stat().st_size for path in directory.glob(f"*{kind}*.mil/weights/*"))
        assert row["bytes"] == weights // row["programs"] + 2 * (rows + columns) * COLUMNS, kind
        assert row["programs"] == (1 if kind == "lm_head" else 2)
        assert row["error"] is None
        assert row["seconds"]["median"] > 0
        assert row["operations_per_second"] > 0
    outcome = anec.run("bench", directory, "--decode", 1, "--repeat", 1)
    lines = outcome.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("kind "))
    assert len({len(line) for line in lines[start : start + 9]}) == 1, outcome.stdout


def test_programs_of_a_training_step_are_timed_by_kind(anec, tmp_path) -> None:
    config = {**CONFIG, **synthetic.LLAMA, "num_key_value_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    outcome = anec.run(
        "convert", tmp_path / "config.json", "--layout", "training", "--sequence", 32, "-o", tmp_path / "out"
    )
    assert outcome.code == 0, outcome.stderr
    table = json.loads((tmp_path / "out" / "training.json").read_text())
    found = kinds_of(anec, tmp_path / "out")
    for program in table["programs"]:
        row = found[program["name"]]
        assert row["operations"] == program["operations"]
        assert row["bytes"] == sum(tensor["bytes"] for tensor in [*program["inputs"], program["output"]])
        assert (row["programs"], row["calls"], row["error"]) == (1, 2, None)


def test_calls_that_fail_have_no_time(anec, checkpoint, tmp_path) -> None:
    outcome = anec.run("convert", checkpoint, "--layout", "kernels", "--context-length", 64, "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.stderr
    # A weight file of infinities: every call of this program overflows.
    [weights] = (tmp_path / "out" / "layer_01_up_proj.mil" / "weights").iterdir()
    data = bytearray(weights.read_bytes())
    data[128:] = b"\x00\x7c" * ((len(data) - 128) // 2)
    weights.write_bytes(data)
    outcome = anec.run("bench", tmp_path / "out", "--decode", 1, "--repeat", 1)
    assert outcome.code == 1
    assert "1 of 8 kinds have no time: up_proj" in outcome.stderr
    assert "up_proj: a call gave" in outcome.stdout
