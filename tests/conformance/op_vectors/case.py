"""One case of one op, and the files that hold the cases of an op.

Operands are the same on every machine, without random numbers. Results are computed in fp64 and written as the nearest
fp32, so that they do not depend on the processor's vector units.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

VECTORS = Path(__file__).resolve().parents[3] / "mil" / "tests" / "vectors"

#: Relative to 1 + |expected|: for functions whose last bits differ between libraries, and for sums.
TRANSCENDENTAL = 1e-6


@dataclass(frozen=True)
class Tensor:
    """An operand or a result. `values` are strings, booleans, int64 or fp64, whatever `dtype` says."""

    dtype: str
    values: np.ndarray
    constant: bool = False

    @property
    def float(self) -> torch.Tensor:
        """The elements in fp64."""
        return torch.from_numpy(self.values.astype(np.float64))

    @property
    def int(self) -> torch.Tensor:
        """The elements as int32."""
        return torch.from_numpy(self.values.astype(np.int32))

    @property
    def torch(self) -> torch.Tensor:
        """The elements in fp64, as int32 or as booleans."""
        if self.dtype == "bool":
            return torch.from_numpy(self.values.astype(bool))
        return self.float if self.dtype in ("fp16", "fp32") else self.int

    def json(self) -> dict:
        data = [element(self.dtype, value) for value in self.values.reshape(-1).tolist()]
        described = {"dtype": self.dtype, "shape": list(self.values.shape), "data": data}
        return described | {"constant": True} if self.constant else described


def element(dtype: str, value):
    """A number as JSON has it: the digits that tell it from other fp32; infinities and the like are text."""
    if dtype not in ("fp16", "fp32"):
        return value
    return float(str(np.float32(value))) if math.isfinite(value) else str(value)


def tensor(dtype: str, values) -> Tensor:
    """A tensor of `dtype` with the nearest values that it can hold."""
    values = np.asarray(values.detach().numpy() if isinstance(values, torch.Tensor) else values)
    if dtype == "string":
        return Tensor(dtype, values)
    if dtype in ("fp16", "fp32"):
        with np.errstate(over="ignore"):
            held = values.astype(np.float16 if dtype == "fp16" else np.float32)
        return Tensor(dtype, held.astype(np.float64))
    return Tensor(dtype, values.astype(bool if dtype == "bool" else np.int64))


def fp32(values) -> Tensor:
    return tensor("fp32", values)


def fp16(values) -> Tensor:
    return tensor("fp16", values)


def int32(values) -> Tensor:
    return tensor("int32", values)


def booleans(values) -> Tensor:
    return tensor("bool", values)


def text(value: str) -> Tensor:
    return constant(tensor("string", value))


def constant(operand: Tensor) -> Tensor:
    """The operand as a constant of the program rather than an input."""
    return replace(operand, constant=True)


def axes(*values: int) -> Tensor:
    """A constant vector of int32."""
    return constant(int32(np.array(values, np.int64)))


def axis(value: int) -> Tensor:
    """A constant int32."""
    return constant(int32(value))


def flag(value: bool) -> Tensor:
    """A constant boolean."""
    return constant(booleans(value))


def result(dtype: str, values) -> Tensor:
    """A result; fp16 results are not rounded, because evaluation in fp32 does not round them."""
    made = tensor("fp32" if dtype == "fp16" else dtype, values)
    return replace(made, dtype=dtype)


def spread(*shape: int, low: float = -4.0, high: float = 4.0) -> np.ndarray:
    """Numbers all over a range, without order, that fp16 holds exactly."""
    golden = (math.sqrt(5.0) - 1.0) / 2.0
    fractions = (np.arange(1, math.prod(shape) + 1) * golden) % 1.0
    return (np.round((low + (high - low) * fractions) * 32.0) / 32.0).reshape(shape)


def whole(*shape: int, low: int = -9, high: int = 9) -> np.ndarray:
    """Integers all over a range, without order."""
    return np.rint(spread(*shape, low=low, high=high)).astype(np.int64)


@dataclass(frozen=True)
class Case:
    """Operands by parameter, and the results or a part of the error message."""

    name: str
    operands: dict[str, Tensor | list[Tensor]]
    results: tuple[Tensor, ...] = ()
    error: str | None = None
    tolerance: float = 0.0
    opset: str | None = None

    def json(self) -> dict:
        def operand(given: Tensor | list[Tensor]):
            return [one.json() for one in given] if isinstance(given, list) else given.json()

        described = {"name": self.name}
        if self.opset:
            described["opset"] = self.opset
        described["operands"] = {parameter: operand(given) for parameter, given in self.operands.items()}
        if self.error is not None:
            return described | {"error": self.error}
        described["results"] = [result.json() for result in self.results]
        return described | {"tolerance": self.tolerance} if self.tolerance else described


def case(name: str, operands: dict, *results: Tensor, tolerance: float = 0.0, opset: str | None = None) -> Case:
    """A case that has results."""
    return Case(name, operands, results, tolerance=tolerance, opset=opset)


def refused(name: str, operands: dict, error: str, opset: str | None = None) -> Case:
    """A case whose error message contains `error`."""
    return Case(name, operands, error=error, opset=opset)


@dataclass(frozen=True)
class Family:
    """The cases of one op, and whose results they are."""

    op: str
    source: str
    cases: Callable[[], Iterator[Case]]


_FAMILIES: dict[str, Family] = {}


def vectors(op: str, source: str = "PyTorch"):
    """Registers a function that gives the cases of `op`."""

    def register(cases: Callable[[], Iterator[Case]]):
        assert op not in _FAMILIES, f"{op} has cases already"
        _FAMILIES[op] = Family(op, source, cases)
        return cases

    return register


def families() -> dict[str, Family]:
    """The cases of every op, from all modules of this package."""
    package = __package__ or "op_vectors"
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")
    return _FAMILIES


def vector_file(op: str) -> Path:
    return VECTORS / f"{op}.json"


def file_text(family: Family) -> str:
    """The file of one op: one line per case."""
    cases = list(family.cases())
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), f"{family.op}: two cases of one name"
    lines = ",\n".join(json.dumps(case.json(), allow_nan=False) for case in cases)
    return f'{{"op": "{family.op}", "source": "{family.source}", "cases": [\n{lines}\n]}}\n'
