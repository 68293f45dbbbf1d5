"""Checks a package as strictly as is possible without a Core ML runtime.

    python package_check.py X.mlpackage …

Prints what is wrong, one finding a line, and fails if there is anything. Four layers: the files (here), the description
of inputs and outputs (here), the structure of the program and its weight file (`program_check`), and the types and
canonical form of every op as coremltools sees them (`inference_check`).
"""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

import collections
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from coremltools.libmodelpackage import ModelPackage
from coremltools.proto import FeatureTypes_pb2, MIL_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

import inference_check
import program_check
from package_file import MANIFEST, PackageError, PackageFile

ITEM_KEYS = {"author", "description", "name", "path"}
UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
ARRAY = FeatureTypes_pb2.ArrayFeatureType
FEATURE_DTYPES = {MIL_pb2.FLOAT16: ARRAY.FLOAT16, MIL_pb2.FLOAT32: ARRAY.FLOAT32, MIL_pb2.INT32: ARRAY.INT32}


def check(path: str | Path) -> list[str]:
    """Everything that is wrong with a package."""
    try:
        package = PackageFile(path)
        spec = package.spec
    except PackageError as error:
        return [str(error)]
    findings = [*check_manifest(package), *check_message(package)]
    if spec.WhichOneof("Type") != "mlProgram":
        return [*findings, f"model: the type is {spec.WhichOneof('Type')}, expected mlProgram"]
    findings += check_description(package)
    structure = program_check.check(package)
    findings += structure
    if not structure:
        findings += inference_check.check(package)
    return findings


def check_manifest(package: PackageFile) -> list[str]:
    """The manifest's keys, items and bytes, and that every file is named by it."""
    findings = []
    manifest = package.manifest
    canonical = (json.dumps(manifest, indent=4, sort_keys=True) + "\n").encode()
    if package.manifest_bytes != canonical:
        findings.append("manifest: not in the form that Core ML's own code writes")
    if set(manifest) != {"fileFormatVersion", "itemInfoEntries", "rootModelIdentifier"}:
        findings.append(f"manifest: keys {sorted(manifest)}")
    if manifest.get("fileFormatVersion") != "1.0.0":
        findings.append(f"manifest: fileFormatVersion {manifest.get('fileFormatVersion')!r}")
    known = {MANIFEST}
    for identifier, item in manifest["itemInfoEntries"].items():
        if set(item) != ITEM_KEYS:
            findings.append(f"manifest: item keys {sorted(item)}")
        if not UUID.fullmatch(identifier):
            findings.append(f"manifest: identifier {identifier!r} is no UUID")
        if item["path"] != f"{item['author']}/{item['name']}":
            findings.append(f"manifest: path {item['path']!r} is not author/name")
        found = package.path / "Data" / item["path"]
        files = [found] if found.is_file() else [file for file in found.rglob("*") if file.is_file()]
        if not files:
            findings.append(f"manifest: {item['path']!r} does not exist")
        known |= {str(file.relative_to(package.path)) for file in files}
    present = {str(file.relative_to(package.path)) for file in package.path.rglob("*") if file.is_file()}
    findings += [f"manifest: does not name {name}" for name in sorted(present - known)]
    if not valid_for_core_ml(package):
        findings.append("manifest: Core ML's package code calls it invalid")
    return findings


def valid_for_core_ml(package: PackageFile) -> bool:
    """Asks Core ML's package code, on a copy of the manifest because it rewrites what it opens."""
    with tempfile.TemporaryDirectory() as directory:
        shadow = Path(directory, "shadow.mlpackage")
        shadow.mkdir()
        shutil.copy(package.path / MANIFEST, shadow)
        (shadow / "Data").symlink_to((package.path / "Data").resolve())
        return ModelPackage.isValid(str(shadow))


def check_message(package: PackageFile) -> list[str]:
    """No unknown fields, and no encoding that the official library would not write."""
    findings = [f"model: unknown field {where}" for where in unknown_fields(package.spec, "Model")]
    if len(package.spec.SerializeToString()) != len(package.model_bytes):
        findings.append("model: encoded at another length than the official library does")
    return findings


def unknown_fields(message, where: str):
    """Fields that the official schema does not have."""
    for field in UnknownFieldSet(message):
        yield f"{field.field_number} of {where}"
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        inner = f"{where}.{descriptor.name}"
        if descriptor.message_type.GetOptions().map_entry:
            if descriptor.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from unknown_fields(value[key], f"{inner}[{key}]")
        elif hasattr(value, "ListFields"):
            yield from unknown_fields(value, inner)
        else:
            for index, element in enumerate(value):
                yield from unknown_fields(element, f"{inner}[{index}]")


def check_description(package: PackageFile) -> list[str]:
    """Descriptions against the rules for features and against the functions of the program."""
    findings = []
    description, program = package.spec.description, package.spec.mlProgram
    if description.functions:
        if description.input or description.output or description.state:
            findings.append("description: features at the top of a model with several functions")
        if description.defaultFunctionName not in package.described_functions():
            findings.append(f"description: default function {description.defaultFunctionName!r} does not exist")
    elif description.defaultFunctionName:
        findings.append("description: a default function without functions")
    described = package.described_functions()
    if set(described) != set(program.functions):
        return [*findings, f"description: functions {sorted(described)}, program: {sorted(program.functions)}"]
    states = {}
    for name, features in described.items():
        function = program.functions[name]
        findings += [f"description of {name}: {finding}" for finding in check_features(features, function)]
        for state in features.state:
            shape = tuple(state.type.stateType.arrayType.shape)
            if states.setdefault(state.name, shape) != shape:
                findings.append(f"description of {name}: state {state.name} differs between functions")
    return findings


def check_features(features, function) -> list[str]:
    """One function's features."""
    findings = []
    block = function.block_specializations[function.opset]
    tensors = [value for value in function.inputs if value.type.WhichOneof("type") == "tensorType"]
    states = [value for value in function.inputs if value.type.WhichOneof("type") == "stateType"]
    results = {value.name: value for operation in block.operations for value in operation.outputs}
    groups = [
        ("inputs", features.input, tensors),
        ("states", features.state, states),
        ("outputs", features.output, [results[name] for name in block.outputs if name in results]),
    ]
    for kind, described, declared in groups:
        if [feature.name for feature in described] != [value.name for value in declared]:
            findings.append(
                f"{kind} {[feature.name for feature in described]}, function: {[value.name for value in declared]}"
            )
            continue
        for feature, value in zip(described, declared, strict=True):
            findings += [f"{kind}: {feature.name}: {finding}" for finding in check_feature(kind, feature, value)]
    names = collections.Counter(feature.name for group in groups for feature in group[1])
    findings += [f"the name {name} is used {count} times" for name, count in names.items() if count > 1]
    if not features.output:
        findings.append("no outputs")
    return findings


def check_feature(kind: str, feature, value) -> list[str]:
    """One feature against the value it describes."""
    findings = []
    if kind == "states":
        array, tensor = feature.type.stateType.arrayType, value.type.stateType.wrappedType.tensorType
        if array.dataType != ARRAY.FLOAT16:
            findings.append("a state must be fp16")
    else:
        array, tensor = feature.type.multiArrayType, value.type.tensorType
    if feature.type.isOptional:
        findings.append("optional")
    if FEATURE_DTYPES.get(tensor.dataType) != array.dataType:
        findings.append(f"data type {array.dataType}, program: {MIL_pb2.DataType.Name(tensor.dataType)}")
    shape = program_check.shape_of(tensor)
    flexibility = array.WhichOneof("ShapeFlexibility")
    if None in shape and kind == "inputs" and flexibility == "shapeRange":
        findings += check_ranges(list(array.shape), shape, array.shapeRange.sizeRanges)
    elif None in shape and kind == "inputs":
        shapes = [tuple(option.shape) for option in array.enumeratedShapes.shapes]
        if not shapes or tuple(array.shape) not in shapes:
            findings.append(f"default shape {list(array.shape)} is not among the enumerated {shapes}")
        for option in shapes:
            if len(option) != len(shape) or any(
                want not in (None, have) for want, have in zip(shape, option, strict=True)
            ):
                findings.append(f"enumerated shape {option} does not fit {shape}")
    elif None not in shape:
        if flexibility:
            findings.append("flexible, but the program's shape is fixed")
        if list(array.shape) != shape:
            findings.append(f"shape {list(array.shape)}, program: {shape}")
    if any(size <= 0 for size in array.shape):
        findings.append(f"shape {list(array.shape)}")
    return findings


def check_ranges(default: list[int], shape: list[int | None], ranges) -> list[str]:
    """The sizes that an input may have against the program's shape, whose free axes are None."""
    findings = []
    if len(ranges) != len(shape) or len(default) != len(shape):
        return [f"{len(ranges)} ranges of sizes for {shape}"]
    for size, want, bounds in zip(default, shape, ranges, strict=True):
        lower, upper = bounds.lowerBound, bounds.upperBound
        if not 0 < lower <= size <= upper:
            findings.append(f"default size {size} is not in {lower}..={upper}")
        if want is not None and not lower == upper == want:
            findings.append(f"sizes {lower}..={upper} where the program has {want}")
    return findings


def main() -> int:
    failed = False
    for path in sys.argv[1:]:
        findings = check(path)
        failed |= bool(findings)
        print(f"{path}: {len(findings)} findings" if findings else f"{path}: ok")
        for finding in findings:
            print(f"  {finding}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
