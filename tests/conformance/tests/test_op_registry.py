"""The declarations of ops against coremltools' own registry: names, parameters, element types, by operation set."""

from __future__ import annotations

import json

import pytest
from coremltools import target
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.input_type import TensorInputType
from coremltools.converters.mil.mil.ops import defs  # noqa: F401 - fills the registry
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

SETS = {"ios15": target.iOS15, "ios16": target.iOS16, "ios17": target.iOS17, "ios18": target.iOS18}

#: Stands for what coremltools does not know yet; no program has it.
SYMBOLIC = "_const_symbolic"
#: Programs have `write_state` where coremltools' builder has `coreml_update_state`.
WRITTEN = "write_state"
#: Parameters that coremltools' builder takes as constants only, and that programs may compute.
COMPUTED = {("topk", "k")}
#: Ops whose operands coremltools passes outside of its table of parameters.
OWN_OPERANDS = {"const", "cond", "while_loop", "make_list", "write_state", "read_state", "classify"}


@pytest.fixture(scope="module")
def declared(anec):
    outcome = anec.run("ops", "--json")
    assert outcome.code == 0, outcome.stderr
    return {op["name"]: op for op in json.loads(outcome.stdout)}


def registered(name: str, opset: str):
    """The class of an op in an operation set, if it has it."""
    variants = SSAOpRegistry.core_ops.get(name, {})
    return variants.get(SETS[opset])


def test_all_ops_are_declared_with_the_set_that_they_came_with(declared):
    known = set(SSAOpRegistry.core_ops) - {SYMBOLIC}
    assert set(declared) == known | {WRITTEN}
    assert len(declared) == 168
    for name in known:
        sets = [opset for opset in SETS if registered(name, opset) is not None]
        assert declared[name]["since"] == sets[0], name
        assert list(declared[name]["parameters"]) == sets, name


def test_no_op_came_or_changed_with_ios26():
    assert [name for name, variants in SSAOpRegistry.core_ops.items() if target.iOS26 in variants] == []


def of_coremltools(spec, domains: dict) -> dict:
    """A parameter as coremltools states it."""
    found = {"required": not spec.optional, "constant": bool(spec.const)}
    if not isinstance(spec, TensorInputType):
        return found
    names = domains[spec.type_domain_id] if spec.type_domain_id else spec.type_domain
    return found | {"types": sorted({types.builtin_to_string(dtype) for dtype in names})}


@pytest.mark.parametrize("opset", SETS)
def test_parameters_are_those_of_the_registry(declared, opset):
    differences = []
    for name, op in declared.items():
        kind = registered(name, opset)
        if kind is None or name in OWN_OPERANDS:
            continue
        domains = getattr(kind, "type_domains", {})
        expected = {key: of_coremltools(spec, domains) for key, spec in kind.input_spec.input_types.items()}
        found = {parameter["name"]: parameter for parameter in op["parameters"][opset]}
        if set(found) != set(expected):
            differences.append(f"{name}: {sorted(set(found) ^ set(expected))}")
            continue
        for parameter, wanted in expected.items():
            if (name, parameter) in COMPUTED:
                wanted["constant"] = False
            differences += [f"{name}.{parameter}: {text}" for text in differing(found[parameter], wanted)]
    assert not differences, "\n".join(differences)


def differing(found: dict, wanted: dict) -> list[str]:
    """Where a declared parameter is stricter than coremltools', or laxer."""
    differences = []
    # Presence: what coremltools takes as optional may have a default that is always written; required is required.
    if wanted["required"] != found["required"]:
        differences.append(f"required {found['required']}, coremltools {wanted['required']}")
    if wanted["constant"] and not found["constant"]:
        differences.append("may be variable, constant for coremltools")
    if not wanted["constant"] and found["constant"]:
        differences.append("must be constant, variable for coremltools")
    if found["types"] is not None and "types" in wanted and sorted(found["types"]) != wanted["types"]:
        differences.append(f"{sorted(found['types'])}, coremltools {wanted['types']}")
    return differences
