"""Evaluates a package that was read back from disk, on the CPU.

coremltools loads the program, so every op has passed its type inference; PyTorch computes it (`mil_ops`). Two numerics:

- `f32`: nothing is rounded. Is the graph right?
- `fp16`: every fp16 result is rounded to fp16, and finite values that overflow are counted. Will it survive on a device
  that computes in fp16?

States live outside, in a dict by name, so that all functions of all packages of a model share them as on a device.
"""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

from mil_ops import MOVES, OPS
from package_file import PackageFile
from palette import EXPANDED, dense_weight

torch.set_grad_enabled(False)
# The tensors are too small to share between threads.
torch.set_num_threads(1)

#: Replaces the weight of a convolution, given its name.
WeightHook = Callable[[str, torch.Tensor], torch.Tensor]

State = dict[str, torch.Tensor]


@dataclass
class Step:
    """One op, prepared: constants are bound, other arguments are looked up by name."""

    operation: object
    compute: Callable | None
    constants: dict
    variables: dict[str, str | list]
    results: list[tuple[str, bool, list[int | None]]] = field(default_factory=list)


class Function:
    """A function of a loaded package."""

    def __init__(self, name: str, function, numerics: str, weight_hook: WeightHook | None) -> None:
        self.name = name
        self.rounds = numerics == "fp16"
        self.overflows = 0
        self.weights: dict[str, torch.Tensor] = {}
        self._weight_hook = weight_hook
        self.inputs = {}
        self.states = {}
        for key, value in function.inputs.items():
            if types.is_state(value.sym_type):
                self.states[key] = [int(size) for size in value.sym_type.wrapped_type().get_shape()]
            else:
                self.inputs[key] = [None if is_symbolic(size) else int(size) for size in value.shape]
        self.outputs = [value.name for value in function.outputs]
        constants = {}
        self.steps = []
        for operation in function.operations:
            if operation.op_type == "const":
                constants[operation.outputs[0].name] = as_tensor(operation.outputs[0].val)
            elif operation.op_type in EXPANDED:
                constants[operation.outputs[0].name] = as_tensor(dense_weight(operation))
            else:
                self.steps.append(self._prepare(operation, constants))

    def _prepare(self, operation, constants: dict) -> Step:
        compute = OPS.get(operation.op_type)
        if compute is None and operation.op_type not in ("read_state", "coreml_update_state"):
            raise NotImplementedError(operation.op_type)
        step = Step(operation, compute, {}, {})
        for parameter, value in operation.inputs.items():
            if value is None:
                continue
            if isinstance(value, (list, tuple)):
                step.variables[parameter] = [(element.name, constants.get(element.name)) for element in value]
            elif value.name in constants:
                step.constants[parameter] = constants[value.name]
            else:
                step.variables[parameter] = value.name
        if operation.op_type == "conv" and "weight" in step.constants:
            name = operation.weight.name
            self.weights[name] = step.constants["weight"]
            if self._weight_hook is not None:
                step.constants["weight"] = self._weight_hook(name, step.constants["weight"])
        for value in operation.outputs:
            shape = [None if is_symbolic(size) else int(size) for size in value.shape]
            computed = value.dtype == types.fp16 and operation.op_type not in MOVES
            step.results.append((value.name, computed, shape))
        return step

    def new_state(self) -> State:
        """Zeros for every state."""
        return {name: torch.zeros(shape) for name, shape in self.states.items()}

    def __call__(self, inputs: dict[str, torch.Tensor], state: State | None = None) -> dict[str, torch.Tensor]:
        """Runs the function; updates `state` in place."""
        if set(inputs) != set(self.inputs):
            raise ValueError(f"{self.name}: inputs {sorted(inputs)}, expected {sorted(self.inputs)}")
        environment = {}
        for key, value in inputs.items():
            value = as_tensor(value)
            check_shape(self.name, key, value, self.inputs[key])
            environment[key] = self._round(value) if value.is_floating_point() else value
        for key, shape in self.states.items():
            check_shape(self.name, key, state[key], shape)
        for step in self.steps:
            self._run(step, environment, state)
        return {name: environment[name] for name in self.outputs}

    def _run(self, step: Step, environment: dict, state: State | None) -> None:
        operation = step.operation
        if operation.op_type == "read_state":
            results = [state[operation.input.name]]
        elif operation.op_type == "coreml_update_state":
            state[operation.state.name] = environment[operation.value.name]
            results = [state[operation.state.name]]
        else:
            arguments = dict(step.constants)
            for parameter, name in step.variables.items():
                if isinstance(name, list):
                    arguments[parameter] = [environment[n] if c is None else c for n, c in name]
                else:
                    arguments[parameter] = environment[name]
            results = step.compute(**arguments)
            results = results if isinstance(results, list) else [results]
        for (name, rounds, shape), value in zip(step.results, results, strict=True):
            check_shape(self.name, name, value, shape)
            environment[name] = self._round(value) if rounds else value

    def _round(self, value: torch.Tensor) -> torch.Tensor:
        if not self.rounds:
            return value
        rounded = value.half().float()
        if rounded.isinf().any():
            self.overflows += int((rounded.isinf() & value.isfinite()).sum())
        return rounded


class Package:
    """A package, ready to run."""

    def __init__(self, path: str | Path, numerics: str = "f32", weight_hook: WeightHook | None = None) -> None:
        if numerics not in ("f32", "fp16"):
            raise ValueError(numerics)
        file = PackageFile(path)
        program = load(
            file.spec,
            specification_version=file.spec.specificationVersion,
            file_weights_dir=str(file.weights_directory or ""),
        )
        self.functions = {
            name: Function(name, function, numerics, weight_hook) for name, function in program.functions.items()
        }

    @property
    def overflows(self) -> int:
        """Finite values that became infinite by rounding, in all calls so far."""
        return sum(function.overflows for function in self.functions.values())


def as_tensor(value):
    """A tensor with floats as fp32 and integers as int32; strings stay as they are."""
    if isinstance(value, str):
        return value
    if not isinstance(value, torch.Tensor):
        array = np.asarray(value)
        kinds = {"f": np.float32, "i": np.int32, "u": np.int32, "b": np.bool_}
        value = torch.from_numpy(np.array(array, dtype=kinds[array.dtype.kind]))
    return value.float() if value.is_floating_point() else value


def check_shape(function: str, name: str, value: torch.Tensor, shape: list[int | None]) -> None:
    """Computed against declared sizes."""
    found = list(value.shape)
    if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        raise ValueError(f"{function}: {name} is declared {shape}, computed {found}")
