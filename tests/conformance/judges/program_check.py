"""Structure of an ML Program: names, single assignment, values and the weight file they live in."""

from __future__ import annotations

import collections
import math
import re

from coremltools.proto import MIL_pb2

from package_file import BLOB_ALIGNMENT, BLOB_VERSION, WEIGHTS_PREFIX, PackageError, PackageFile

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_@]*")
IOS18 = 9
OPSETS = {7: "CoreML6", 8: "CoreML7", 9: "CoreML8", 10: "CoreML9"}

#: Bits of an element, and the number that a weight file has for its type.
DTYPES = {
    MIL_pb2.FLOAT16: (16, 1),
    MIL_pb2.FLOAT32: (32, 2),
    MIL_pb2.UINT8: (8, 3),
    MIL_pb2.INT8: (8, 4),
    MIL_pb2.INT16: (16, 6),
    MIL_pb2.UINT16: (16, 7),
    MIL_pb2.INT4: (4, 8),
    MIL_pb2.UINT1: (1, 9),
    MIL_pb2.UINT2: (2, 10),
    MIL_pb2.UINT4: (4, 11),
    MIL_pb2.UINT3: (3, 12),
    MIL_pb2.UINT6: (6, 13),
    MIL_pb2.INT32: (32, 14),
    MIL_pb2.UINT32: (32, 15),
}

#: The field of a tensor value that holds elements of each type.
IMMEDIATE_FIELDS = {
    MIL_pb2.BOOL: "bools",
    MIL_pb2.STRING: "strings",
    MIL_pb2.FLOAT32: "floats",
    MIL_pb2.INT16: "ints",
    MIL_pb2.UINT16: "ints",
    MIL_pb2.INT32: "ints",
}


def check(package: PackageFile) -> list[str]:
    """Everything that is wrong with the program's structure."""
    return ProgramCheck(package).run()


def shape_of(tensor) -> list[int | None]:
    """Sizes of a tensor type; None where one is unknown."""
    return [
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in tensor.dimensions
    ]


class ProgramCheck:
    """Walks a program once and collects findings."""

    def __init__(self, package: PackageFile) -> None:
        self.package = package
        self.findings: list[str] = []
        self.used_blobs: dict[int, str] = {}

    def run(self) -> list[str]:
        program, version = self.package.spec.mlProgram, self.package.spec.specificationVersion
        self.expect(program.version == 1, f"program: version {program.version}")
        self.expect(set(program.attributes) <= {"buildInfo"}, f"program: attributes {sorted(program.attributes)}")
        for name, function in sorted(program.functions.items()):
            self.expect(bool(IDENTIFIER.fullmatch(name)), f"{name}: not an identifier")
            self.expect(function.opset == OPSETS.get(version), f"{name}: opset {function.opset}, version {version}")
            if list(function.block_specializations) != [function.opset]:
                self.findings.append(f"{name}: blocks {list(function.block_specializations)}")
                continue
            self.check_function(name, function)
        self.check_weight_file()
        return self.findings

    def expect(self, condition: bool, finding: str) -> None:
        if not condition:
            self.findings.append(finding)

    def check_function(self, name: str, function) -> None:
        block = function.block_specializations[function.opset]
        self.expect(not (block.inputs or block.attributes or function.attributes), f"{name}: unexpected attributes")
        types = {}
        used = set(block.outputs)
        states = set()
        touched_states = set()
        operation_names = collections.Counter()
        for value in function.inputs:
            self.define(types, value, name)
            if value.type.WhichOneof("type") == "stateType":
                states.add(value.name)
        for operation in block.operations:
            where = f"{name}: {operation.type} " + ",".join(value.name for value in operation.outputs)
            operation_names[self.operation_name(operation, where)] += 1
            for parameter, argument in operation.inputs.items():
                self.expect(bool(argument.arguments), f"{where}: {parameter} is bound to nothing")
                for binding in argument.arguments:
                    if binding.WhichOneof("binding") == "name":
                        self.expect(binding.name in types, f"{where}: {parameter} uses {binding.name} before it exists")
                        used.add(binding.name)
                        if operation.type in ("read_state", "write_state"):
                            touched_states.add(binding.name)
                        else:
                            self.expect(binding.name not in states, f"{where}: uses state {binding.name} as a tensor")
                    else:
                        self.check_value(binding.value, f"{where}.{parameter}")
            self.check_attributes(operation, where)
            self.expect(operation.type == "write_state" or bool(operation.outputs), f"{where}: no results")
            for value in operation.outputs:
                self.define(types, value, where)
        for value, count in operation_names.items():
            self.expect(count == 1, f"{name}: {count} ops are named {value}")
        for value in block.outputs:
            self.expect(value in types, f"{name}: output {value} does not exist")
        self.expect(states <= touched_states, f"{name}: untouched states {sorted(states - touched_states)}")
        unused = sorted(set(types) - used - {value.name for value in function.inputs})
        self.expect(not unused, f"{name}: unused values {unused[:5]}")

    def define(self, types: dict, value, where: str) -> None:
        self.expect(bool(IDENTIFIER.fullmatch(value.name)), f"{where}: {value.name!r} is not an identifier")
        self.expect(value.name not in types, f"{where}: {value.name} is defined twice")
        types[value.name] = value.type
        kind = value.type.WhichOneof("type")
        tensor = value.type.stateType.wrappedType.tensorType if kind == "stateType" else value.type.tensorType
        self.expect(tensor.dataType != MIL_pb2.UNUSED_TYPE, f"{where}: {value.name} has no element type")
        self.expect(tensor.rank == len(tensor.dimensions), f"{where}: {value.name} has rank {tensor.rank}")
        self.expect(tensor.rank <= 5, f"{where}: {value.name} has rank {tensor.rank}")
        self.expect(0 not in shape_of(tensor), f"{where}: {value.name} is empty")

    def operation_name(self, operation, where: str) -> str:
        names = operation.attributes["name"].immediateValue.tensor.strings.values if operation.attributes else []
        self.expect(len(names) == 1, f"{where}: not one name")
        return names[0] if names else ""

    def check_attributes(self, operation, where: str) -> None:
        # Before iOS 18, what constants are made of are attributes; that they are those of coremltools is checked later.
        is_made = operation.type.startswith("constexpr_") and self.package.spec.specificationVersion < IOS18
        expected = {"name", "val"} if operation.type == "const" else {"name"}
        found = set(operation.attributes)
        self.expect(
            expected < found if is_made else found == expected, f"{where}: attributes {sorted(operation.attributes)}"
        )
        for key, value in operation.attributes.items():
            self.check_value(value, f"{where}@{key}")
        if operation.type == "const" and "val" in operation.attributes and len(operation.outputs) == 1:
            same = operation.outputs[0].type == operation.attributes["val"].type
            self.expect(same, f"{where}: the value has another type than the result")

    def check_value(self, value, where: str) -> None:
        tensor = value.type.tensorType
        shape = shape_of(tensor)
        self.expect(tensor.rank == len(shape), f"{where}: rank {tensor.rank}")
        if None in shape:
            self.findings.append(f"{where}: a value of unknown shape")
            return
        count = math.prod(shape)
        if value.WhichOneof("value") == "blobFileValue":
            self.check_blob(value.blobFileValue, tensor.dataType, count, where)
            return
        literal = value.immediateValue.tensor
        field = literal.WhichOneof("value")
        expected = IMMEDIATE_FIELDS.get(tensor.dataType, "bytes")
        if field != expected:
            self.findings.append(f"{where}: stored as {field}, expected {expected}")
            return
        stored = getattr(literal, field).values
        length = (count * DTYPES[tensor.dataType][0] + 7) // 8 if field == "bytes" else count
        self.expect(len(stored) == length, f"{where}: {len(stored)} stored, expected {length}")

    def check_blob(self, blob, dtype: int, count: int, where: str) -> None:
        if blob.fileName != WEIGHTS_PREFIX + "weight.bin" or self.package.weights is None:
            self.findings.append(f"{where}: no weight file {blob.fileName}")
            return
        try:
            entry = self.package.weights.entry(blob.offset)
        except PackageError as error:
            self.findings.append(f"{where}: {error}")
            return
        bits, number = DTYPES[dtype]
        self.expect(blob.offset % BLOB_ALIGNMENT == 0, f"{where}: offset {blob.offset} is not aligned")
        self.expect(entry.data_offset == blob.offset + BLOB_ALIGNMENT, f"{where}: data at {entry.data_offset}")
        self.expect(entry.end <= self.package.weights.size, f"{where}: data ends at {entry.end}")
        self.expect(entry.dtype == number, f"{where}: stored as type {entry.dtype}, expected {number}")
        self.expect(entry.size == (count * bits + 7) // 8, f"{where}: {entry.size} bytes for {count} elements")
        padding = -(count * bits) % 8
        self.expect(entry.padding_bits == padding, f"{where}: {entry.padding_bits} bits of padding, expected {padding}")
        self.expect(not any(entry.reserved), f"{where}: reserved fields are set")
        self.used_blobs[blob.offset] = where

    def check_weight_file(self) -> None:
        """The chain of values covers the file exactly, and every value is used."""
        if not self.used_blobs:
            return
        weights = self.package.weights
        count, version, reserved = weights.header()
        self.expect(version == BLOB_VERSION, f"weights: version {version}")
        self.expect(not any(reserved), "weights: reserved header bytes are set")
        chain, end = [], BLOB_ALIGNMENT
        for _ in range(count):
            try:
                entry = weights.entry(-(-end // BLOB_ALIGNMENT) * BLOB_ALIGNMENT)
            except PackageError as error:
                self.findings.append(f"weights: value {len(chain)} of {count}: {error}")
                return
            chain.append(entry.offset)
            end = entry.end
        self.expect(weights.size - end < BLOB_ALIGNMENT, f"weights: {weights.size - end} bytes follow the last value")
        stray = sorted(set(self.used_blobs) - set(chain))
        self.expect(not stray, f"weights: {stray[:3]} are used but not on the chain")
        unused = sorted(set(chain) - set(self.used_blobs))
        self.expect(not unused, f"weights: the values at {unused[:3]} are not used")
