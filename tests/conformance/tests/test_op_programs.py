"""Every op in every variant that has vectors, as a program by coremltools' builder: read, linted, compiled, read back.

The programs are many. One in `STRIDE` is made, always the same ones; `ANEC_ALL_OPS=1` makes all of them.
"""

from __future__ import annotations

import json
import os

import pytest

from op_programs import build, op_programs

STRIDE = 1 if os.environ.get("ANEC_ALL_OPS") == "1" else 8
PROGRAMS = list(op_programs())


def test_there_are_programs_of_every_kind():
    assert len(PROGRAMS) >= 600
    assert len({program.op for program in PROGRAMS}) >= 140


@pytest.mark.parametrize("program", PROGRAMS[::STRIDE], ids=lambda program: program.name)
def test_a_program_is_read_linted_compiled_and_read_back(anec, tmp_path, program):
    package, compiled = tmp_path / "op.mlpackage", tmp_path / "op.mlmodelc"
    try:
        build(program, package)
    except (IndexError, ValueError) as error:
        pytest.skip(f"coremltools does not build it: {error}")
    inspected = anec.run("inspect", package, "--json")
    assert inspected.code == 0, inspected.stderr
    assert json.loads(inspected.stdout)
    linted = anec.run("lint", package, "--format", "json")
    assert linted.code == 0, linted.stdout + linted.stderr
    outcome = anec.run("compile", package, "-o", compiled, "--quiet")
    if outcome.code != 0 and "--unproven" in outcome.stderr:
        outcome = anec.run("compile", package, "-o", compiled, "--quiet", "--unproven")
    assert outcome.code == 0, outcome.stderr
    difference = anec.run("diff", package, compiled)
    assert difference.code == 0, difference.stdout + difference.stderr
