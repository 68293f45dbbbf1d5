"""Every op in every variant that has vectors, as a program by coremltools' builder: linted, compiled, read back, run.

The programs are many. One in `STRIDE` is made, always the same ones; `ANEC_ALL_OPS=1` makes all of them.
"""

from __future__ import annotations

import os

import pytest

from flow_programs import flow_programs
from op_judge import judge_calls, judge_forms, judge_results
from op_programs import build, op_programs

STRIDE = 1 if os.environ.get("ANEC_ALL_OPS") == "1" else 8
PROGRAMS = list(op_programs())


def test_there_are_programs_of_every_kind():
    assert len(PROGRAMS) >= 1300
    in_flow = {op for program in flow_programs() for op in program.ops}
    ops = {program.op for program in PROGRAMS} | in_flow | {"const"}
    assert len(ops) == 168


@pytest.mark.parametrize(
    "program",
    [program for program in PROGRAMS if not program.typed_otherwise][::STRIDE],
    ids=lambda program: program.name,
)
def test_a_program_is_read_linted_compiled_and_computed(anec, tmp_path, program):
    package = tmp_path / "op.mlpackage"
    try:
        inputs, results = build(program, package)
    except (AttributeError, IndexError, NotImplementedError, ValueError) as error:
        pytest.skip(f"coremltools does not build it: {error}")
    _, compiled, _ = judge_forms(anec, package, tmp_path, program.broken_rule)
    judge_results(anec, compiled, inputs, results, program.case.tolerance)


@pytest.mark.parametrize("program", [one for one in PROGRAMS if one.typed_otherwise], ids=lambda one: one.name)
def test_a_program_that_coremltools_types_wrongly_is_refused(anec, tmp_path, program):
    package = tmp_path / "op.mlpackage"
    build(program, package)
    outcome = anec.run("compile", package, "--unproven")
    assert outcome.code == 1
    assert "the result is declared as" in outcome.stderr


@pytest.mark.parametrize("program", flow_programs(), ids=lambda program: program.name)
def test_control_flow_lists_states_and_classes_are_read_compiled_and_computed(anec, tmp_path, program):
    package = tmp_path / "flow.mlpackage"
    program.write(package)
    for model in judge_forms(anec, package, tmp_path):
        judge_calls(anec, model, program.calls)
