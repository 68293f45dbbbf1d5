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
        # PyTorch takes no axes for all axes.
        values, reduced = (x.torch, reduced) if reduced else (x.torch[..., None], (-1,))
        computed = function(values, reduced, bool(keep_dims))
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
        place = torch.from_numpy(np.atleast_1d(numpy(x.values, axis=along, keepdims=True)))
        taken = torch.take_along_dim(x.torch, place, along)
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
    yield case("int32 wraps", {"x": int32([2**31 - 1, 2, 3]), "axes": axes(0)}, result("int32", np.int32(-(2**31) + 4)))


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


@vectors("cumsum")
def cumsum():
    def of(name: str, x: Tensor, chosen: int | None = None, exclusive: bool | None = None, reverse: bool | None = None):
        operands = {"x": x}
        if chosen is not None:
            operands["axis"] = axis(chosen)
        if exclusive is not None:
            operands["exclusive"] = flag(exclusive)
        if reverse is not None:
            operands["reverse"] = flag(reverse)
        along = chosen or 0
        values = x.torch.flip(along) if reverse else x.torch
        sums = torch.cumsum(values, along, dtype=values.dtype)
        if exclusive:
            # Sums that leave the element itself out are those of the element before.
            shifted = torch.roll(sums, 1, along)
            sums = torch.where(torch.arange(values.shape[along]).reshape(axis_shape(values, along)) == 0, 0, shifted)
        sums = sums.flip(along) if reverse else sums
        return case(name, operands, result(x.dtype, sums), tolerance=TRANSCENDENTAL)

    x = fp32(spread(2, 3, 4))
    yield of("the first axis by default", x)
    yield of("the last axis", x, -1, False, False)
    yield of("an axis in the middle", x, 1, False, False)
    yield of("without the element itself", x, 1, True, False)
    yield of("from the end", x, 2, False, True)
    yield of("from the end, without the element itself", x, -2, True, True)
    yield of("fp16", fp16(spread(3, 5)), 1)
    yield of("int32", int32(whole(3, 4)), -1)
    yield of("int32, without the element itself", int32(whole(3, 4)), 0, True, False)
    yield of("int32 wraps", int32([2**31 - 1, 1, -5]), 0)
    special = [[1.0, INFINITY, 2.0], [1.0, NAN, 2.0], [INFINITY, -INFINITY, 0.0]]
    yield of("infinities and no numbers", fp32(special), 1)
    yield of("no elements", fp32(spread(0, 3)), 1)
    yield of("an empty axis", fp32(spread(2, 0)), 1)
    yield refused("no such axis", {"x": x, "axis": axis(3)}, "parameter `axis`")
    yield refused("a scalar has no axis", {"x": fp32(1.0)}, "parameter `axis`")
    yield refused("x is missing", {"axis": axis(0)}, "parameter `x` is missing")


def axis_shape(x: torch.Tensor, along: int) -> list[int]:
    """The shape of numbers along one axis of `x`."""
    return [size if index == along % x.dim() else 1 for index, size in enumerate(x.shape)]


@vectors("topk", source="PyTorch, NumPy")
def topk():
    def of(
        name: str,
        x: Tensor,
        k: int | None = None,
        chosen: int | None = None,
        ascending: bool | None = None,
        **more: Tensor,
    ):
        operands = {"x": x}
        if k is not None:
            operands["k"] = axis(k)
        if chosen is not None:
            operands["axis"] = axis(chosen)
        if ascending is not None:
            operands["ascending"] = flag(ascending)
        operands |= more
        along, count = -1 if chosen is None else chosen, k or 1
        # Sorting instead of `torch.topk`, which promises no order among equal elements.
        ordered = torch.sort(x.torch, dim=along, descending=not ascending, stable=True)
        values, indices = (part.narrow(along, 0, count) for part in ordered)
        found = torch.topk(x.torch.to(torch.float64), count, along, largest=not ascending).values
        assert torch.equal(torch.nan_to_num(found), torch.nan_to_num(values.to(torch.float64))), name
        dtype = str(more["output_indices_dtype"].values) if "output_indices_dtype" in more else "int32"
        results = [result(x.dtype, values)]
        if "return_indices" not in more or more["return_indices"].values:
            results.append(result(dtype, indices))
        return case(name, operands, *results)

    x = fp32(spread(2, 5, 3))
    yield of("the largest along the last axis by default", x)
    yield of("three along an axis in the middle", x, 3, 1, False)
    yield of("the smallest", x, 2, -2, True)
    yield of("all of an axis", x, 3, -1)
    yield of("the first axis", x, 1, 0)
    yield of("unsorted may be sorted", x, 2, 2, False, sort=flag(False))
    yield of("values alone", x, 2, 1, False, return_indices=flag(False))
    yield of("indices in uint16", x, 2, 1, False, output_indices_dtype=text("uint16"))
    yield of("fp16", fp16(spread(1, 9)), 4, 1)
    yield of("int32", int32(whole(3, 6)), 2)
    yield of("int32, the smallest", int32(whole(3, 6)), 2, 1, True)
    yield of("the first of equal elements", fp32([[1.0, 2.0, 2.0, 1.0, 2.0]]), 4)
    yield of("the first of equal elements, the smallest", fp32([[1.0, 2.0, 2.0, 1.0, 2.0]]), 4, -1, True)
    special = fp32([[1.0, NAN, INFINITY, -INFINITY, 0.0]])
    yield of("what is not a number is largest", special, 3)
    yield of("what is not a number is largest, the smallest", special, 5, -1, True)
    yield of("no elements", fp32(spread(0, 3)), 2)
    yield case("a count that is an input", {"x": int32([[3, 1, 2]]), "k": int32(2)}, int32([[3, 2]]), int32([[0, 2]]))
    yield refused("more than there are", {"x": x, "k": axis(4)}, "parameter `k`: expected 1 to 3")
    yield refused("none", {"x": x, "k": axis(0)}, "parameter `k`: expected 1 to 3")
    more = {"x": x, "k": int32(4)}
    yield refused("an input that is more than there are", more, "parameter `k`: expected 1 to 3, got 4")
    yield refused("no such axis", {"x": x, "axis": axis(3)}, "parameter `axis`")
    wrong = {"x": x, "output_indices_dtype": text("int64")}
    yield refused("an index is int32 or uint16", wrong, "parameter `output_indices_dtype`")
    yield refused("x is missing", {"axis": axis(0)}, "parameter `x` is missing")
