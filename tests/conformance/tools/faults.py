"""Plants faults into copies of converted directories: the bytes of a constant are changed, everything else stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from package_file import PackageFile


class Victim:
    """A copy of a converted directory whose constants can be changed."""

    def __init__(self, directory: Path, copy: Path) -> None:
        shutil.copytree(directory, copy)
        self.directory = copy
        # Compiled models share their weights with the packages, and a runtime may prefer them.
        for compiled in copy.glob("*.mlmodelc"):
            shutil.rmtree(compiled)
        self._packages = [PackageFile(path) for path in sorted(copy.glob("*.mlpackage"))]

    def change(self, name: str, change: Callable[[np.ndarray], np.ndarray], parameter: str = "val") -> None:
        """Changes the fp16 elements of a constant, or of a `parameter` of an op that makes one, in all functions."""
        found = 0
        for package in self._packages:
            offsets = set()
            for value in values(package, name, parameter):
                found += 1
                if value.WhichOneof("value") == "blobFileValue":
                    offsets.add(value.blobFileValue.offset)
                else:
                    tensor = value.immediateValue.tensor
                    tensor.bytes.values = changed(tensor.bytes.values, change)
            for offset in offsets:
                entry = package.weights.entry(offset)
                with package.weights.path.open("r+b") as file:
                    file.seek(entry.data_offset)
                    data = file.read(entry.size)
                    file.seek(entry.data_offset)
                    file.write(changed(data, change))
            package.model_path.write_bytes(package.spec.SerializeToString())
        if not found:
            raise ValueError(f"no constant `{name}` in {self.directory}")

    def elements(self, name: str) -> np.ndarray:
        """The fp16 elements of a constant."""
        found = []
        self.change(name, lambda array: found.append(array.copy()) or array)
        return found[0]


def changed(data: bytes, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    array = np.frombuffer(data, np.float16).copy()
    result = np.ascontiguousarray(change(array), np.float16).tobytes()
    if len(result) != len(data):
        raise ValueError(f"{len(result)} bytes, expected {len(data)}")
    return result


def values(package: PackageFile, name: str, parameter: str) -> Iterator:
    """The values of a constant in every function."""
    for function in package.spec.mlProgram.functions.values():
        for operation in function.block_specializations[function.opset].operations:
            if operation.outputs and operation.outputs[0].name == name:
                if parameter in operation.attributes:
                    yield operation.attributes[parameter]
                elif parameter in operation.inputs:
                    yield operation.inputs[parameter].arguments[0].value
