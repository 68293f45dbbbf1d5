"""Ops that reduce axes, or run along one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from op_vectors.case import (
    TRANSCENDENTAL,
    Tensor,
    axes,
    axis,
    case,
    flag,
    fp16,
    fp32,
    int32,
    refused,
    result,
    spread,
    text,
    vectors,
    whole,
)

INFINITY, NAN = float("inf"), float("nan")


def over_axes(function: Callable, empty: bool = True, low: float = -4.0):
    """The cases of an op that reduces several axes; `function(x, axes, keep_dims)` computes. `empty` tells whether it
    has a result of no elements."""

    def of(name: str, x: Tensor, chosen: tuple[int, ...] | None, keep_dims: bool | None = None):
        operands = {"x": x}
        if chosen is not None:
            operands["axes"] = axes(*chosen)
        if keep_dims is not None:
            operands["keep_dims"] = flag(keep_dims)
        reduced = tuple(range(x.values.ndim)) if chosen is None else chosen
        computed = function(x.torch, reduced, bool(keep_dims)) if reduced else function(x.torch[..., None], (-1,), False)
        computed = torch.trunc(computed).to(torch.int32) if x.dtype == "int32" else computed
        return case(name, operands, result(x.dtype, computed), tolerance=TRANSCENDENTAL)

    x = fp32(spread(2, 3, 4, low=low))
    yield of("the last axis", x, (-1,), False)
    yield of("the last axis, kept", x, (2,), True)
    yield of("the first axis", x, (0,), False)
    yield of("an axis in the middle, kept", x, (-2,), True)
    yield of("two axes at the end", x, (1, 2), False)
    yield of("two axes that are apart", x, (-1, 0), False)
    yield of("two axes that are apart, kept", x, (0, 2), True)
    yield of("all axes by default", x, None)
    yield of("all axes by default, kept", x, None, True)
    yield of("no axes", x, (), False)
    yield of("a long axis", fp32(spread(3, 37, low=low)), (1,), False)
    yield of("fp16", fp16(spread(1, 4, 1, 3, low=low)), (1,), True)
    yield of("int32", int32(whole(3, 5, low=1, high=9)), (-1,), False)
    yield of("int32 of both signs", int32(whole(4, 5)[:, ::-1].copy()), (0,), True)
    special = [[1.0, NAN, 2.0], [INFINITY, 1.0, 2.0], [-INFINITY, 1.0, 2.0], [-INFINITY, -INFINITY, -INFINITY]]
    yield of("infinities and no numbers", fp32(special), (1,), False)
    yield of("an empty result", fp32(spread(0, 3)), (1,), False)
    nothing = fp32(spread(2, 0))
    if empty:
        yield of("no elements to reduce", nothing, (1,), False)
    else:
        yield refused("no elements to reduce", {"x": nothing, "axes": axes(1)}, "expected elements to reduce")
    yield refused("no such axis", {"x": x, "axes": axes(3)}, "parameter `axes`")
    yield refused("an axis twice", {"x": x, "axes": axes(0, -3)}, "parameter `axes`")
    yield refused("x is missing", {"axes": axes(0)}, "parameter `x` is missing")


def index_along_axis(function: Callable, numpy: Callable):
    """The cases of an op that finds an index along one axis."""

    def of(name: str, x: Tensor, chosen: int | None = None, keep_dims: bool | None = None, dtype: str | None = None):
        operands = {"x": x}
        if chosen is not None:
            operands["axis"] = axis(chosen)
        if keep_dims is not None:
            operands["keep_dims"] = flag(keep_dims)
        if dtype is not None:
            operands["output_dtype"] = text(dtype)
        along = -1 if chosen is None else chosen
        # Of equal elements, NumPy gives the first; PyTorch promises none.
        computed = numpy(x.torch.numpy(), axis=along, keepdims=bool(keep_dims))
        taken = torch.take_along_dim(x.torch, torch.from_numpy(np.atleast_1d(numpy(x.values, axis=along, keepdims=True))), along)
        wanted = function(x.torch, dim=along, keepdim=True)
        assert torch.equal(torch.nan_to_num(taken), torch.nan_to_num(wanted)), name
        return case(name, operands, result(dtype or "int32", computed))

    x = fp32(spread(2, 3, 4))
    yield of("the last axis by default", x)
    yield of("the first axis", x, 0, False)
    yield of("an axis in the middle, kept", x, -2, True)
    yield of("uint16", x, 2, False, "uint16")
    yield of("int32, said so", x, 1, True, "int32")
    yield of("fp16", fp16(spread(1, 7, 1, 3)), 1, True)
    yield of("int32 elements", int32(whole(3, 5)), 1)
    yield of("the first of equal elements", fp32([[1.0, 2.0, 2.0, 1.0], [0.0, -0.0, 0.0, -0.0]]))
    yield of("the first of equal integers", int32([[3, 3, 1, 1]]))
    yield of("what is not a number comes first", fp32([[1.0, NAN, 9.0, NAN], [INFINITY, -INFINITY, NAN, 0.0]]))
    yield of("infinities", fp32([[-INFINITY, -INFINITY], [INFINITY, INFINITY], [-INFINITY, INFINITY]]))
    yield of("one axis", fp32([3.0, 4.0, 1.0]), 0, False)
    yield of("no elements", fp32(spread(0, 3)), 1)
    yield refused("an empty axis", {"x": fp32(spread(2, 0))}, "expected elements to reduce")
    yield refused("no such axis", {"x": x, "axis": axis(-4)}, "parameter `axis`")
    yield refused("a scalar has no axis", {"x": fp32(1.0)}, "parameter `axis`")
    yield refused("an index is an integer", {"x": x, "output_dtype": text("fp16")}, "parameter `output_dtype`")
    yield refused("x is missing", {"axis": axis(0)}, "parameter `x` is missing")


@vectors("reduce_max")
def reduce_max():
    yield from over_axes(torch.amax, empty=False)


@vectors("reduce_min")
def reduce_min():
    yield from over_axes(torch.amin, empty=False)


def summed(x: torch.Tensor, reduced: tuple[int, ...], keep_dims: bool) -> torch.Tensor:
    return x.sum(reduced, keepdim=keep_dims)


@vectors("reduce_sum")
def reduce_sum():
    yield from over_axes(summed)
    yield case(
        "int32 wraps", {"x": int32([2**31 - 1, 2, 3]), "axes": axes(0)}, result("int32", np.int32(-(2**31) + 4))
    )


@vectors("reduce_sum_square")
def reduce_sum_square():
    yield from over_axes(lambda x, *rest: summed(x * x, *rest))


@vectors("reduce_mean")
def reduce_mean():
    yield from over_axes(lambda x, *rest: torch.mean(x.double(), *rest))
    nothing = {"x": int32(whole(2, 0)), "axes": axes(1)}
    yield refused("no integer is the mean of nothing", nothing, "expected elements to reduce")


@vectors("reduce_l2_norm")
def reduce_l2_norm():
    yield from over_axes(lambda x, *rest: torch.sqrt(summed(x.double().square(), *rest)))


@vectors("reduce_log_sum_exp")
def reduce_log_sum_exp():
    yield from over_axes(lambda x, *rest: torch.logsumexp(x.double(), *rest))
    large = [[1000.0, 1000.0], [-1000.0, -1000.5]]
    expected = torch.logsumexp(torch.tensor(large, dtype=torch.float64), 1)
    yield case(
        "large numbers do not overflow",
        {"x": fp32(large), "axes": axes(1)},
        result("fp32", expected),
        tolerance=TRANSCENDENTAL,
    )


@vectors("reduce_argmax", source="NumPy, PyTorch")
def reduce_argmax():
    yield from index_along_axis(torch.amax, np.argmax)


@vectors("reduce_argmin", source="NumPy, PyTorch")
def reduce_argmin():
    yield from index_along_axis(torch.amin, np.argmin)
