"""What `anec lint` says about programs, read by others."""

import json
import os
from pathlib import Path

import coremltools as ct
import pytest
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from conftest import CONTEXT_LENGTH

#: Shapes with every kind of place: a program, a function, a parameter, a result.
PROGRAM = """program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 4, 8, 20]> q, state<tensor<fp16, [1, 2, 20, 20]>> cache) {
            tensor<fp16, [1, 2, 20, 20]> keys = read_state(input = cache)[name = string("keys")];
            tensor<fp16, [1, 4, 20, 20]> copies = tile(reps = tensor<int32, [4]>([1, 2, 1, 1]), x = keys)[name = string("copies")];
            tensor<fp16, [1, 4, 8, 20]> scores = matmul(transpose_x = bool(false), transpose_y = bool(true), x = q, y = copies)[name = string("scores")];
        } -> (scores);
}"""  # noqa: E501


def validator():
    """SARIF 2.1.0 by its schema, which `ANEC_SARIF_SCHEMA` names; it is not part of this repository."""
    schema_path = os.environ.get("ANEC_SARIF_SCHEMA")
    if not schema_path:
        pytest.skip("ANEC_SARIF_SCHEMA does not name the schema of SARIF 2.1.0")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(Path(schema_path).read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def test_sarif_is_what_its_schema_says(anec, tmp_path):
    check = validator()
    program = tmp_path / "a, b.mil"
    program.write_text(PROGRAM, encoding="utf-8")
    log = json.loads(anec.run("lint", program, "--format", "sarif").stdout)
    levels = {result["level"] for result in log["runs"][0]["results"]}
    assert levels == {"error", "warning", "note"}
    assert [error.message for error in check.iter_errors(log)] == []


def test_packages_of_coremltools_are_linted(anec, tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 2, 32, 64), types.fp16)], opset_version=ct.target.iOS18)
    def program(keys):
        copies = mb.tile(x=keys, reps=[1, 4, 1, 1], name="layers_3_copies")
        return mb.matmul(x=copies, y=copies, transpose_y=True, name="scores")

    package = tmp_path / "attention.mlpackage"
    ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True).save(str(package))
    report = json.loads(anec.run("lint", package, "--format", "json").stdout)
    findings = {finding["rule"]: finding for finding in report["programs"][0]["findings"]}
    assert findings["kv-copy"]["op"] == "tile"
    assert findings["kv-copy"]["layer"] == 3


@pytest.mark.parametrize("options", [(), ("--lut", 6), ("--functions", "single"), ("--kv", "mask")], ids=str)
@pytest.mark.parametrize("target", ["ios18", "macos15"])
def test_every_checkpoint_converts_to_something_clean(anec, checkpoint, target, options):
    output = anec.convert(checkpoint, "--context-length", CONTEXT_LENGTH, "--target", target, *options)
    system = target.rstrip("0123456789")
    outcome = anec.run("lint", output, "--chip", "generic", "--target", system, "--deny", "warnings")
    assert outcome.code == 0, outcome.stdout
