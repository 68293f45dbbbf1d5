"""Prints the protobuf of a program as `model.mil`, as Core ML's own compiler lays it out.

Written from the grammar of compiled models and not from anec's printer, which it judges.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from coremltools.proto import MIL_pb2, Model_pb2

FIRST_VERSION_WITH_SCALARS = 9
TYPE_NAMES = {
    MIL_pb2.DataType.Value(name): text
    for name, text in [
        ("BOOL", "bool"),
        ("STRING", "string"),
        ("FLOAT16", "fp16"),
        ("FLOAT32", "fp32"),
        ("FLOAT64", "fp64"),
        ("BFLOAT16", "bf16"),
        *((name.upper(), name) for name in ("int4", "int8", "int16", "int32", "int64")),
        *((name.upper(), name) for name in ("uint1", "uint2", "uint3", "uint4", "uint6", "uint8")),
        *((name.upper(), name) for name in ("uint16", "uint32", "uint64")),
    ]
}
OPSETS = {"CoreML5": "ios15", "CoreML6": "ios16", "CoreML7": "ios17", "CoreML8": "ios18"}


def program_text(model: Model_pb2.Model, build_info: Mapping[str, str]) -> str:
    """The text of a model whose inputs have one shape each; the compiler adds `build_info` to that of the model."""
    return Printer(model.specificationVersion >= FIRST_VERSION_WITH_SCALARS).program(model.mlProgram, build_info)


class Printer:
    """Prints in the form with scalars, or in the older one that writes them as tensors without axes."""

    def __init__(self, has_scalars: bool) -> None:
        self.has_scalars = has_scalars

    def program(self, program: MIL_pb2.Program, build_info: Mapping[str, str]) -> str:
        info = dict(build_info)
        if "buildInfo" in program.attributes:
            entries = program.attributes["buildInfo"].immediateValue.dictionary.values
            info |= {scalar_text(entry.key): scalar_text(entry.value) for entry in entries}
        pairs = ", ".join(f'{{"{key}", "{info[key]}"}}' for key in sorted(info))
        string = self.scalar_type("string")
        lines = [
            f"program({'1.3' if self.has_scalars else '1.0'})",
            f"[buildInfo = dict<{string}, {string}>({{{pairs}}})]",
            "{",
        ]
        for name in sorted(program.functions):
            lines += self.function(name, program.functions[name])
        return "\n".join([*lines, "}"])

    def function(self, name: str, function: MIL_pb2.Function) -> Iterable[str]:
        parameters = sorted(function.inputs, key=lambda parameter: parameter.name)
        block = function.block_specializations[function.opset]
        yield f"    func {name}<{OPSETS[function.opset]}>({', '.join(map(self.named, parameters))}) {{"
        for operation in block.operations:
            yield f"            {self.operation(operation)};"
        yield f"        }} -> ({', '.join(block.outputs)});"

    def operation(self, operation: MIL_pb2.Operation) -> str:
        results = ", ".join(map(self.named, operation.outputs))
        arguments = ", ".join(f"{name} = {self.argument(operation.inputs[name])}" for name in sorted(operation.inputs))
        attributes = ", ".join(
            f"{name} = {self.value(operation.attributes[name])}" for name in sorted(operation.attributes)
        )
        left = f"{results} = " if results else ""
        return f"{left}{operation.type}({arguments})" + (f"[{attributes}]" if attributes else "")

    def argument(self, argument: MIL_pb2.Argument) -> str:
        texts = [
            self.value(binding.value) if binding.WhichOneof("binding") == "value" else binding.name
            for binding in argument.arguments
        ]
        return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"

    def named(self, named: MIL_pb2.NamedValueType) -> str:
        return f"{self.type(named.type)} {named.name}"

    def type(self, kind: MIL_pb2.ValueType) -> str:
        which = kind.WhichOneof("type")
        if which == "stateType":
            return f"state<{self.type(kind.stateType.wrappedType)}>"
        if which == "listType":
            return f"list<{self.type(kind.listType.type)}, {dimension(kind.listType.length)}>"
        assert which == "tensorType", which
        dtype = TYPE_NAMES[kind.tensorType.dataType]
        if not kind.tensorType.dimensions:
            return self.scalar_type(dtype)
        return f"tensor<{dtype}, [{', '.join(map(dimension, kind.tensorType.dimensions))}]>"

    def scalar_type(self, dtype: str) -> str:
        return dtype if self.has_scalars else f"tensor<{dtype}, []>"

    def value(self, value: MIL_pb2.Value) -> str:
        return f"{self.type(value.type)}({self.literal(value)})"

    def literal(self, value: MIL_pb2.Value) -> str:
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            path = f'{self.scalar_type("string")}("{blob.fileName}")'
            return f"BLOBFILE(path = {path}, offset = {self.scalar_type('uint64')}({blob.offset}))"
        shape = [axis.constant.size for axis in value.type.tensorType.dimensions]
        return nested(elements(value), shape)


def dimension(axis: MIL_pb2.Dimension) -> str:
    return "?" if axis.WhichOneof("dimension") == "unknown" else str(axis.constant.size)


def nested(texts: list[str], shape: list[int]) -> str:
    """Brackets as the shape has them."""
    if not shape:
        return texts[0]
    size = len(texts) // shape[0] if shape[0] else 0
    parts = [nested(texts[index * size : (index + 1) * size], shape[1:]) for index in range(shape[0])]
    return f"[{', '.join(parts)}]"


def scalar_text(value: MIL_pb2.Value) -> str:
    return value.immediateValue.tensor.strings.values[0]


def elements(value: MIL_pb2.Value) -> list[str]:
    """Every element of a constant in place, as text."""
    tensor = value.immediateValue.tensor
    dtype = TYPE_NAMES[value.type.tensorType.dataType]
    which = tensor.WhichOneof("value")
    values = getattr(tensor, which).values
    if which == "bytes":
        return packed_elements(values, dtype, value.type.tensorType)
    text: Callable[[object], str] = {
        "bools": lambda element: "true" if element else "false",
        "strings": lambda element: f'"{element}"',
        "floats": hexadecimal,
        "doubles": hexadecimal,
    }.get(which, str)
    return [text(element) for element in values]


def packed_elements(data: bytes, dtype: str, kind: MIL_pb2.TensorType) -> list[str]:
    whole = {"fp16": "e", "int8": "b", "uint8": "B", "uint32": "I"}
    if dtype in whole:
        values = (element for (element,) in struct.iter_unpack(f"<{whole[dtype]}", data))
        return [hexadecimal(element) if dtype == "fp16" else str(element) for element in values]
    bits = int(dtype.lstrip("uint"))
    count = int(np.prod([axis.constant.size for axis in kind.dimensions], dtype=int))
    stream = int.from_bytes(data, "little")
    unsigned = [(stream >> (index * bits)) & ((1 << bits) - 1) for index in range(count)]
    if dtype.startswith("uint"):
        return [str(element) for element in unsigned]
    return [str(element - (1 << bits) if element >> (bits - 1) else element) for element in unsigned]


def hexadecimal(value: float) -> str:
    """As C's `%a`, without zeros at the end."""
    value = float(value)
    if not np.isfinite(value):
        return str(value)
    sign, digits = ("-", value.hex()[1:]) if value.hex().startswith("-") else ("", value.hex())
    mantissa, exponent = digits.split("p")
    if value and mantissa.startswith("0x0"):  # A subnormal double.
        fraction, power = np.frexp(abs(value))
        mantissa, exponent = float(fraction * 2).hex().split("p")[0], f"{power - 1:+d}"
    whole, _, fraction = mantissa.partition(".")
    fraction = fraction.rstrip("0")
    return f"{sign}{whole}{'.' + fraction if fraction else ''}p{exponent}"
