"""What `anec compile` makes of packages, judged by a printer of its own and by text that was checked by hand.

`ANEC_BLESS=1` writes the expected text anew; read it against the grammar before it is kept.
"""

import base64
import hashlib
import json
import os
import re
import struct
from pathlib import Path

import pytest
from coremltools.proto import Model_pb2

import mil_text
from compiled_programs import PROGRAMS
from conftest import CONTEXT_LENGTH

EXPECTED = Path(__file__).parent / "compiled"
WEIGHTS = "weights/weight.bin"
#: Versions of tools in the first lines say nothing about the program.
BUILD_INFO = re.compile(r"\A(program\(1\.\d\)\n)\[buildInfo = .*\]\n")


def package_files(package: Path) -> tuple[bytes, Path]:
    data = package / "Data" / "com.apple.CoreML"
    return (data / "model.mlmodel").read_bytes(), data / WEIGHTS


def model_of(package: Path) -> Model_pb2.Model:
    return Model_pb2.Model.FromString(package_files(package)[0])


def build_info(program: str) -> dict[str, str]:
    """What anec says about itself."""
    found = re.search(r'\{"anec-version", "([^"]*)"\}', program)
    assert found
    return {"anec-version": found.group(1)}


@pytest.fixture(scope="session")
def compiled(anec, tmp_path_factory):
    """Packages and compiled models by name, made once."""
    directory = tmp_path_factory.mktemp("compiled")
    made: dict[str, tuple[Path, Path]] = {}

    def make(name: str) -> tuple[Path, Path]:
        if name not in made:
            package, output = directory / f"{name}.mlpackage", directory / f"{name}.mlmodelc"
            PROGRAMS[name](package)
            outcome = anec.run("compile", package, "-o", output, "--quiet", "--unproven")
            assert outcome.code == 0, outcome.stderr
            made[name] = (package, output)
        return made[name]

    return make


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_coremltools_print_as_expected(compiled, name):
    package, output = compiled(name)
    program = (output / "model.mil").read_text(encoding="utf-8")
    assert program == mil_text.program_text(model_of(package), build_info(program))
    without_versions, count = BUILD_INFO.subn(r"\1", program)
    assert count == 1
    path = EXPECTED / f"{name}.mil"
    if os.environ.get("ANEC_BLESS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(without_versions, encoding="utf-8")
    assert without_versions == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiling_loses_nothing(anec, compiled, name):
    package, output = compiled(name)
    outcome = anec.run("diff", package, output)
    assert outcome.code == 0, outcome.stdout
    message, weights = package_files(package)
    if weights.exists():
        assert (output / WEIGHTS).read_bytes() == weights.read_bytes()
    model = Model_pb2.Model.FromString(message)
    data = (output / "coremldata.bin").read_bytes()
    # Compiled models always have metadata.
    model.description.metadata.SetInParent()
    assert read_description(data, model.specificationVersion) == model.description
    digest = hashlib.sha256(message).digest()
    assert base64.b64encode(digest) in (output / "analytics" / "coremldata.bin").read_bytes()


def read_description(data: bytes, version: int):
    """The description in `coremldata.bin`, whose other fields must be as the format has them."""
    compiler = {6: 5, 7: 5}.get(version, version)
    head = struct.pack("<i3Q", 502, compiler, 0, 0) + text(b"generic") + struct.pack("<3Q", version, 0, 0) + text(b"")
    assert data.startswith(head)
    (length,) = struct.unpack_from("<Q", data, len(head))
    start = len(head) + 8
    description = type(Model_pb2.Model().description).FromString(data[start : start + length])
    functions = max(1, len(description.functions))
    assert data[start + length :] == struct.pack("<2Q", 502, 0) * functions
    return description


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def test_metadata_describes_every_function(compiled):
    _, output = compiled("several_functions")
    (metadata,) = json.loads((output / "metadata.json").read_text(encoding="utf-8"))
    assert [function["name"] for function in metadata["functions"]] == ["prefill", "infer"]
    assert metadata["defaultFunctionName"] == "infer"
    assert metadata["inputSchema"][0]["formattedType"] == "MultiArray (Float16 1 × 8 × 1 × 1)"
    assert metadata["mlProgramOperationTypeHistogram"] == {"Ios18.conv": 1}
    assert metadata["availability"]["iOS"] == "18.0"


@pytest.mark.parametrize("lut", ["none", "4"])
def test_both_forms_of_a_conversion_are_one_model(anec, small_checkpoint, lut):
    output = anec.convert(small_checkpoint, "--lut", lut, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    packages = sorted(output.glob("*.mlpackage"))
    assert len(packages) == 4
    for package in packages:
        other = package.with_suffix(".mlmodelc")
        program = (other / "model.mil").read_text(encoding="utf-8")
        expected = mil_text.program_text(model_of(package), build_info(program))
        # What flexible inputs add comes from the description, which the printer of a program does not see.
        found = re.sub(r" \[FlexibleShapeInformation = .*\] \{$", " {", program, flags=re.MULTILINE)
        assert found == expected, package.name
        assert (other / WEIGHTS).samefile(package_files(package)[1])


def test_what_is_not_understood_is_refused(anec, tmp_path):
    model = Model_pb2.Model(specificationVersion=4)
    model.neuralNetwork.SetInParent()
    path = tmp_path / "network.mlmodel"
    path.write_bytes(model.SerializeToString())
    outcome = anec.run("compile", path, "-o", tmp_path / "out.mlmodelc")
    assert outcome.code == 1
    assert "neuralNetwork" in outcome.stderr
    assert not (tmp_path / "out.mlmodelc").exists()
