"""Every package is well formed, typed as coremltools infers, and written as coremltools would write it."""

import hashlib
import shutil

import pytest

import package_check
from conftest import CONTEXT_LENGTH
from package_file import PackageFile


@pytest.mark.parametrize("runtime", ["default", "anemll"])
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("lut", ["none", "6", "4"])
def test_every_package_passes_every_check(anec, checkpoint, lut, chunks, runtime):
    output = anec.convert(
        checkpoint, "--lut", lut, "--chunks", chunks, "--runtime", runtime, "--context-length", CONTEXT_LENGTH
    )
    packages = sorted(output.glob("*.mlpackage"))
    assert len(packages) == 2 + chunks
    findings = {package.name: package_check.check(package) for package in packages}
    assert not any(findings.values()), findings


@pytest.mark.parametrize(
    "options",
    [
        ["--lut", "2"],
        ["--lut", "8"],
        ["--lut", "4", "--group-size", "tensor"],
        ["--lut", "6", "--group-size", "16"],
        ["--lut-embeddings", "4"],
        ["--lut", "4", "--palette", "exact"],
        ["--lut", "4", "--channel-scale"],
        ["--lut", "4", "--channel-scale", "--group-size", "tensor"],
        ["--lut", "6", "--int8-embeddings", "--lm-head", "int8"],
        ["--argmax"],
        ["--batch-size", "1"],
    ],
    ids=" ".join,
)
def test_packages_of_less_usual_options_pass_every_check(anec, small_checkpoint, options):
    output = anec.convert(small_checkpoint, *options, "--context-length", CONTEXT_LENGTH)
    findings = {package.name: package_check.check(package) for package in sorted(output.glob("*.mlpackage"))}
    assert not any(findings.values()), findings


def test_functions_share_every_weight(anec, small_checkpoint):
    """What only one function uses: the final norm and the last MLP, which `prefill` of the last chunk leaves out."""
    output = anec.convert(small_checkpoint, "--lut", "4", "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    first = PackageFile(output / "combined_lut4_chunk_01of02.mlpackage")
    last = PackageFile(output / "combined_lut4_chunk_02of02.mlpackage")
    offsets = {package: [blob_offsets(package, name) for name in ("infer", "prefill")] for package in (first, last)}
    assert offsets[first][0] == offsets[first][1]
    assert offsets[last][1] < offsets[last][0]


def test_checksums_cover_every_file(anec, small_checkpoint):
    output = anec.convert(small_checkpoint, "--lut", "4", "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    lines = (output / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    files = {str(path.relative_to(output)): path for path in output.rglob("*") if path.is_file()}
    del files["SHA256SUMS"]
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed


def test_without_arguments_the_checkpoint_is_here_and_so_is_the_output(anec, small_checkpoint, tmp_path):
    checkpoint = shutil.copytree(small_checkpoint, tmp_path / "checkpoint")
    options = ("--lut", "6", "--chunks", "2", "--calibration", "none")
    outcome = anec.run("convert", "--arch", "qwen", *options, cwd=checkpoint)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout == ""
    packages = sorted(path.name for path in (checkpoint / "converted_model").glob("*.mlpackage"))
    assert packages == [
        "combined_lut6_chunk_01of02.mlpackage",
        "combined_lut6_chunk_02of02.mlpackage",
        "embeddings.mlpackage",
        "lm_head_lut6.mlpackage",
    ]


def blob_offsets(package: PackageFile, function: str) -> set[int]:
    """Where a function's values are in the weight file."""
    declared = package.spec.mlProgram.functions[function]
    operations = declared.block_specializations[declared.opset].operations
    values = [value for operation in operations for value in operation.attributes.values()]
    values += [
        binding.value
        for operation in operations
        for argument in operation.inputs.values()
        for binding in argument.arguments
        if binding.WhichOneof("binding") == "value"
    ]
    return {value.blobFileValue.offset for value in values if value.WhichOneof("value") == "blobFileValue"}
