"""What coremltools makes of a program: the type of every value, its canonical form, and finite weights.

The program is loaded by coremltools' own reader, which runs its type inference op by op, and exported again by its own
writer. Every declared type must be the inferred one, and every op must come back as it was.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from coremltools.converters.mil.backend.mil.load import MILProtoExporter
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types.symbolic import is_symbolic
from coremltools.proto import MIL_pb2

from package_file import PackageFile, WeightFile
from palette import EXPANDED, dense_weight
from program_check import shape_of

#: Ops that coremltools fuses on reading and splits on writing; their names are its own choice.
STATE_OPS = ("read_state", "write_state")


def check(package: PackageFile) -> list[str]:
    """Everything that coremltools sees differently."""
    version = package.spec.specificationVersion
    directory = str(package.weights_directory or "")
    try:
        program = load(package.spec, specification_version=version, file_weights_dir=directory)
        program.validate()
    except Exception as error:  # noqa: BLE001 - its checks raise whatever they like
        return [f"coremltools cannot load it: {type(error).__name__}: {error}"]
    findings = []
    for name, function in program.functions.items():
        declared = package.spec.mlProgram.functions[name]
        block = declared.block_specializations[declared.opset]
        findings += [f"{name}: {finding}" for finding in check_types(block, function)]
        findings += [f"{name}: {finding}" for finding in check_finite(function)]
    return findings or check_canonical(package, program)


def check_types(block, function) -> list[str]:
    """Declared against inferred types."""
    inferred = {value.name: value.sym_type for operation in function.operations for value in operation.outputs}
    findings = []
    for operation in block.operations:
        for value in operation.outputs:
            if value.name not in inferred:
                findings.append(f"{operation.type} {value.name}: coremltools drops it")
                continue
            found = inferred[value.name]
            shape = list(found.get_shape()) if types.is_tensor(found) else []
            element = found.get_primitive() if types.is_tensor(found) else found
            tensor = value.type.tensorType
            declared = shape_of(tensor)
            same_shape = len(declared) == len(shape) and all(
                is_symbolic(size) if want is None else want == size for want, size in zip(declared, shape, strict=True)
            )
            if not same_shape or types.PROTO_TO_BUILTIN_TYPE.get(tensor.dataType) != element:
                dtype = MIL_pb2.DataType.Name(tensor.dataType)
                findings.append(
                    f"{operation.type} {value.name}: declared {dtype}{declared}, "
                    f"inferred {types.builtin_to_string(element)}{shape}"
                )
    return findings


def check_finite(function) -> list[str]:
    """No NaN in a constant, palettes expanded; infinity only where somebody would mean it, in a mask."""
    findings = []
    for operation in function.operations:
        if operation.op_type == "const":
            value = operation.outputs[0].val
        elif operation.op_type in EXPANDED:
            value = dense_weight(operation)
        elif operation.op_type.startswith("constexpr_"):
            value = operation.materialized_val_inference()
        else:
            continue
        array = np.asarray(value)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            findings.append(f"{operation.op_type} {operation.outputs[0].name}: not finite")
    return findings


def check_canonical(package: PackageFile, program) -> list[str]:
    """Every op against coremltools' own export of the program that it loaded."""
    with tempfile.TemporaryDirectory() as directory:
        exporter = MILProtoExporter(program, directory, package.spec.specificationVersion)
        exported = exporter.export()
        exporter.blob_writers.clear()
        path = Path(directory, "weight.bin")
        weights = WeightFile(path) if path.exists() else None
        findings = []
        for name, function in package.spec.mlProgram.functions.items():
            ours = canonical_operations(function, package.weights)
            theirs = canonical_operations(exported.functions[name], weights)
            findings += [f"{name}: {finding}" for finding in differences(ours, theirs)]
        return findings


def canonical_operations(function, weights: WeightFile | None) -> dict[str, dict]:
    """Ops in order, by the name of their first result, with file values replaced by what the file holds."""
    operations = {}
    for operation in function.block_specializations[function.opset].operations:
        inputs = {
            parameter: [
                binding.name if binding.WhichOneof("binding") == "name" else canonical_value(binding.value, weights)
                for binding in argument.arguments
            ]
            for parameter, argument in operation.inputs.items()
        }
        attributes = {}
        if operation.type not in STATE_OPS:
            attributes = {key: canonical_value(value, weights) for key, value in operation.attributes.items()}
        outputs = [(value.name, value.type.SerializeToString()) for value in operation.outputs]
        key = outputs[0][0] if outputs else f"{operation.type}({inputs.get('data')})"
        operations[key] = {"type": operation.type, "inputs": inputs, "attributes": attributes, "outputs": outputs}
    return operations


def canonical_value(value, weights: WeightFile | None) -> tuple:
    """A value by its type and content, and whether it is in the file."""
    if value.WhichOneof("value") != "blobFileValue":
        return value.SerializeToString(), "immediate"
    data = weights.data(weights.entry(value.blobFileValue.offset))
    return value.type.SerializeToString(), "file", hashlib.sha256(data).hexdigest()


def differences(ours: dict[str, dict], theirs: dict[str, dict]) -> list[str]:
    """Ops that one side lacks, writes otherwise, or has in another order."""
    findings = [f"{key}: coremltools would not write this op" for key in ours if key not in theirs]
    findings += [f"{key}: coremltools would also write this op" for key in theirs if key not in ours]
    for key in ours.keys() & theirs.keys():
        for part in ("type", "inputs", "attributes", "outputs"):
            mine, other = ours[key][part], theirs[key][part]
            if mine != other:
                parts = sorted(set(mine) ^ set(other)) if isinstance(mine, dict) else []
                parts = parts or (sorted(k for k in mine if mine[k] != other[k]) if isinstance(mine, dict) else "")
                findings.append(f"{ours[key]['type']} {key}: {part} {parts} differ from coremltools' own")
    if not findings and list(ours) != list(theirs):
        findings.append("coremltools orders the ops otherwise")
    return findings
