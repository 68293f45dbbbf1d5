"""What `anec` must do with a program of one op: read, lint, compile, take apart again, and compute it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from op_vectors.case import Tensor

#: Relative to 1 + |expected|, where a case states none: a result is rounded to fp32 once, or to fp16 by the program.
ROUNDING = {"fp16": 2.0**-11, "fp32": 2.0**-23}


def judge_forms(anec, package: Path, directory: Path, rule: str | None = None) -> list[Path]:
    """Compiles the package and makes a package of what came out; gives all three after comparing them.

    `rule` is the one that the program breaks so that it does not load everywhere.
    """
    inspected = anec.run("inspect", package, "--json")
    assert inspected.code == 0, inspected.stderr
    assert json.loads(inspected.stdout)
    linted = anec.run("lint", package, "--format", "json")
    assert linted.code == (0 if rule is None else 1), linted.stdout + linted.stderr
    assert rule is None or rule in linted.stdout
    compiled, again = directory / f"{package.stem}.mlmodelc", directory / "again.mlmodelc"
    # A compiled model says the name of its package.
    back = directory / "back" / package.name
    back.parent.mkdir()
    compile_model(anec, package, compiled)
    difference = anec.run("diff", package, compiled)
    assert difference.code == 0, difference.stdout + difference.stderr
    outcome = anec.run("package", compiled, "-o", back)
    assert outcome.code == 0, outcome.stderr
    compile_model(anec, back, again)
    assert contents(again) == contents(compiled)
    return [package, compiled, back]


def compile_model(anec, package: Path, compiled: Path) -> None:
    """Compiles, also what no one has shown."""
    outcome = anec.run("compile", package, "-o", compiled, "--quiet")
    if outcome.code != 0 and "--unproven" in outcome.stderr:
        outcome = anec.run("compile", package, "-o", compiled, "--quiet", "--unproven")
    assert outcome.code == 0, outcome.stderr


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, but for statistics of the compiler, which name the package."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    relative = {str(path.relative_to(directory)): path for path in files}
    return {name: path.read_bytes() for name, path in relative.items() if not name.startswith("analytics")}


def judge_results(
    anec, model: Path, inputs: dict[str, np.ndarray], results: dict[str, Tensor], tolerance: float
) -> None:
    """Runs the model, and compares every result with what others compute."""
    directory = model.parent / f"{model.name}.values"
    directory.mkdir()
    given = []
    for name, values in inputs.items():
        np.save(directory / f"{name}.npy", values)
        given += ["--input", f"{name}={directory / name}.npy"]
    outcome = anec.run("predict", model, *given, "-o", directory / "out")
    assert outcome.code == 0, outcome.stderr
    for name, expected in results.items():
        compare(name, np.load(directory / "out" / f"{name}.npy"), expected, tolerance)


def compare(name: str, found: np.ndarray, expected: Tensor, tolerance: float) -> None:
    wanted = np.asarray(expected.values)
    # Outputs of models have axes, where values of programs need none.
    assert found.shape in (wanted.shape, wanted.shape or (1,)), f"{name}: {found.shape}, expected {wanted.shape}"
    wanted = wanted.reshape(found.shape)
    if expected.dtype == "bool":
        wanted = wanted.astype(np.int64)
    relative = max(tolerance, ROUNDING.get(expected.dtype, 0.0))
    np.testing.assert_allclose(
        found.astype(np.float64), wanted.astype(np.float64), rtol=relative, atol=relative, err_msg=name
    )


def judge_calls(anec, model: Path, calls: list[tuple[dict, dict]]) -> None:
    """Runs the model once for each call, and compares the results; a state is kept between them."""
    directory = model.parent / f"{model.name}.calls"
    directory.mkdir()
    given = []
    for index, (inputs, _) in enumerate(calls):
        for name, values in inputs.items():
            np.save(directory / f"{name}{index}.npy", values)
            given += ["--input", f"{name}={directory / name}{index}.npy"]
    outcome = anec.run("predict", model, *given, "--repeat", len(calls), "-o", directory / "out")
    assert outcome.code == 0, outcome.stderr
    for index, (_, results) in enumerate(calls):
        place = directory / "out" / str(index + 1) if len(calls) > 1 else directory / "out"
        for name, expected in results.items():
            if isinstance(expected, str):
                assert json.loads((place / f"{name}.json").read_text()) == [expected]
            elif isinstance(expected, dict):
                found = json.loads((place / f"{name}.json").read_text())
                assert found.keys() == expected.keys()
                for label, probability in expected.items():
                    assert abs(found[label] - probability) <= 1e-6, label
            else:
                compare(name, np.load(place / f"{name}.npy"), Tensor("fp32", np.asarray(expected)), 1e-6)
