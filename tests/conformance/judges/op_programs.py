"""One ML Program for every case of every op.

`op_vectors` says operands and results, coremltools' builder makes the program. A model takes fp16, fp32 and int32
tensors with axes only, so operands of other types are cast after they come in, results are cast before they go out,
and scalars come in as vectors of one element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Program, types

from op_vectors.case import Case, Tensor, families

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}
IO_TYPES = ("fp16", "fp32", "int32")
#: Types that `cast` knows in every opset; the others came with ios17.
OLD_TYPES = (*IO_TYPES, "bool")

#: Ops that coremltools' builder does not take here, with the reason.
NOT_BUILT = {
    "non_zero": "the length of the result is not known; flow_programs.py has it",
}
#: Cases to whose results coremltools gives a type that they do not have, with the reason.
TYPED_OTHERWISE = {
    ("matmul", "x is a vector and y has batches"): "the batches are left out",
    ("select", "all stretch"): "the shape of the condition is left out",
    ("select", "the condition is larger"): "the shape of the condition is left out",
    ("slice_by_size", "from the end"): "a size of -1 is counted from a negative beginning",
}
#: Cases that a rule of `anec lint` calls an error.
BROKEN_RULES = {("constexpr_blockwise_shift_scale", "fp16 data"): "scale-after-palette"}
#: Cases of each op that are made for older operation sets, too.
IN_OLDER_SETS = 2


@dataclass(frozen=True)
class OpProgram:
    """A case of an op that a program can be made of."""

    op: str
    case: Case
    opset: str

    @property
    def name(self) -> str:
        return f"{self.op}: {self.case.name}, {self.opset}"

    @property
    def broken_rule(self) -> str | None:
        """The rule that it breaks so that it does not load everywhere."""
        return BROKEN_RULES.get((self.op, self.case.name))

    @property
    def typed_otherwise(self) -> bool:
        """Whether coremltools gives the result a type that it does not have."""
        return (self.op, self.case.name) in TYPED_OTHERWISE


def op_programs() -> Iterator[OpProgram]:
    """All of them, in a fixed order; the first cases of each op for every operation set."""
    for op, family in sorted(families().items()):
        if op in NOT_BUILT:
            continue
        older = 0
        for case in family.cases():
            if case.error is not None or not all(fits(tensor) for tensor in all_tensors(case)):
                continue
            yield OpProgram(op, case, case.opset or "ios18")
            if case.opset is None and older < IN_OLDER_SETS:
                older += 1
                yield from (OpProgram(op, case, opset) for opset in ("ios15", "ios16", "ios17"))


def all_tensors(case: Case) -> Iterator[Tensor]:
    for given in case.operands.values():
        yield from given if isinstance(given, list) else [given]
    yield from case.results


def fits(tensor: Tensor) -> bool:
    """Whether Core ML can have the tensor at all: it has no tensors without elements, nor of more than five axes."""
    count = math.prod(tensor.values.shape)
    return count > 0 and (tensor.constant or tensor.values.ndim <= 5)


def numpy_type(dtype: str):
    return types.nptype_from_builtin(types.string_to_builtin(dtype))


def constant_value(tensor: Tensor):
    if tensor.dtype == "string":
        return str(tensor.values.item())
    values = tensor.values.astype(numpy_type(tensor.dtype))
    return values if values.ndim else values[()]


def build(program: OpProgram, path: Path) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Writes the package of `program`, and gives its inputs and its results by name."""
    specs: dict[str, object] = {}
    inputs: dict[str, np.ndarray] = {}

    def declare(name: str, tensor: Tensor) -> None:
        dtype = tensor.dtype if tensor.dtype in IO_TYPES else "int32"
        values = np.atleast_1d(tensor.values).astype(numpy_type(dtype))
        if tensor.dtype == "fp16" and program.opset == "ios15":
            dtype, values = "fp32", values.astype(np.float32)
        specs[name] = mb.placeholder(shape=values.shape, dtype=types.string_to_builtin(dtype))
        inputs[name] = values

    for parameter, given in program.case.operands.items():
        several = given if isinstance(given, list) else [given]
        for index, tensor in enumerate(several):
            if not tensor.constant:
                declare(f"{parameter}_{index}", tensor)
    if not specs:
        # A program must have an input, and use it.
        declare("unused_0", Tensor("fp32", np.zeros(1)))

    def body(given: dict) -> list:
        def operand(name: str, tensor: Tensor):
            if tensor.constant:
                return constant_value(tensor)
            value = given[name]
            if types.builtin_to_string(value.dtype) != tensor.dtype:
                value = mb.cast(x=value, dtype=tensor.dtype)
            return mb.squeeze(x=value, axes=[0]) if tensor.values.ndim == 0 else value

        arguments = {}
        for parameter, operands in program.case.operands.items():
            if isinstance(operands, list):
                arguments[parameter] = [operand(f"{parameter}_{i}", one) for i, one in enumerate(operands)]
            else:
                arguments[parameter] = operand(f"{parameter}_0", operands)
        # A name of its own: coremltools would call the first `pad` like an input, `pad_0`.
        results = getattr(mb, program.op)(**arguments, name="computed")
        results = results if isinstance(results, (list, tuple)) else [results]
        finished = [finish(result, f"result_{index}", program.opset) for index, result in enumerate(results)]
        if "unused_0" in given:
            finished.append(mb.identity(x=given["unused_0"], name="used"))
        return finished

    write(specs, body, program.opset, path)
    return inputs, {f"result_{index}": result for index, result in enumerate(program.case.results)}


def finish(result, name: str, opset: str):
    """The value as an output of a model: of a type that it may have, and of this name."""
    dtype = types.builtin_to_string(result.dtype)
    if dtype not in IO_TYPES or (dtype == "fp16" and opset == "ios15"):
        result = mb.cast(x=result, dtype="fp32" if dtype == "fp16" else "int32")
    return mb.identity(x=result, name=name)


def write(specs: dict[str, object], body: Callable[[dict], list], opset: str, path: Path, **options) -> None:
    """Writes a package whose function `main` has these inputs and gives what `body` makes of them."""
    target = TARGETS[opset]
    made = Program()
    with Function(specs, opset_version=target) as function:
        function.set_outputs(body(function.inputs))
        made.add_function("main", function)
    model = ct.convert(
        made,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        pass_pipeline=ct.PassPipeline.EMPTY,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        **options,
    )
    model.save(str(path))
