"""Ops that compute each element from the elements at its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from op_vectors.case import (
    TRANSCENDENTAL,
    Tensor,
    case,
    fp16,
    fp32,
    int32,
    refused,
    result,
    spread,
    vectors,
    whole,
)

#: What every function of real numbers has to get right: infinities, what is not a number, signs, extremes.
SPECIAL = [float("-inf"), float("inf"), float("nan"), 0.0, -0.0, 1.0, -1.0, 100.0, -100.0, 1e-30, -1e-30]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def of_x(function: Callable, low: float = -4.0, high: float = 4.0, tolerance: float = 0.0, integers: bool = False):
    """The cases of an op of one operand."""

    def of(name: str, x: Tensor):
        return case(name, {"x": x}, result(x.dtype, function(x.torch)), tolerance=tolerance)

    yield of("fp32", fp32(spread(2, 3, 4, low=low, high=high)))
    yield of("fp16", fp16(spread(1, 5, 1, 2, low=low, high=high)))
    yield of("a scalar", fp32(spread(1, low=low, high=high)[0]))
    yield of("no elements", fp32(spread(2, 0, 3)))
    yield of("infinities, no numbers and extremes", fp32(SPECIAL))
    if integers:
        yield of("int32", int32(whole(3, 4)))
        yield of("int32 wraps", int32([INT32_MIN, INT32_MAX, 65536, -65537]))
    else:
        yield refused("int32", {"x": int32([1, 2])}, "expected floats, got int32")
    yield refused("x is missing", {}, "parameter `x` is missing")


def of_x_y(function: Callable, integers: Callable | None = None, dtype: str | None = None, tolerance: float = 0.0):
    """The cases of an op of two operands that stretch. The result is of type `dtype`, or of that of the operands."""

    def of(name: str, x: Tensor, y: Tensor):
        apply = integers if integers and x.dtype == "int32" else function
        computed = apply(x.torch, y.torch)
        return case(name, {"x": x, "y": y}, result(dtype or x.dtype, computed), tolerance=tolerance)

    yield of("equal shapes", fp32(spread(2, 3, 4)), fp32(spread(2, 3, 4, low=0.5, high=3.0)))
    yield of("fp16", fp16(spread(1, 4, 1, 3)), fp16(spread(1, 4, 1, 3, low=-2.0, high=3.0)))
    yield of("the same numbers", fp32(whole(2, 8, low=1, high=3)), fp32(whole(2, 8, low=1, high=3)[::-1].copy()))
    yield of("y is a scalar", fp32(spread(2, 3)), fp32(1.5))
    yield of("x is a scalar", fp32(1.5), fp32(spread(2, 3)))
    yield of("two scalars", fp32(2.5), fp32(-1.0))
    yield of("y stretches at the front", fp32(spread(2, 3, 4)), fp32(spread(4)))
    yield of("y stretches at the end", fp32(spread(2, 3, 4)), fp32(spread(3, 1)))
    yield of("y stretches in the middle", fp32(spread(2, 3, 4)), fp32(spread(2, 1, 4)))
    yield of("x stretches", fp32(spread(3, 1)), fp32(spread(2, 3, 4)))
    yield of("both stretch", fp32(spread(2, 1, 4)), fp32(spread(3, 1)))
    yield of("channels of a picture", fp16(spread(1, 3, 1, 5)), fp16(spread(1, 3, 1, 1)))
    yield of("no elements", fp32(spread(0, 3)), fp32(spread(1, 3)))
    yield of("stretched to nothing", fp32(spread(2, 1)), fp32(spread(2, 0)))
    special = np.array(SPECIAL)
    yield of("infinities and no numbers", fp32(special.reshape(-1, 1)), fp32(special))
    yield of("int32", int32(whole(3, 5)), int32(whole(5, low=1, high=7)))
    yield of("int32 of both signs", int32([7, -7, 7, -7, 6, -6, 0]), int32([2, 2, -2, -2, 3, 3, -3]))
    yield refused("shapes do not broadcast", {"x": fp32(spread(2, 3)), "y": fp32(spread(2))}, "do not broadcast")
    yield refused("types differ", {"x": fp32([1.0]), "y": fp16([1.0])}, "parameter `y`")
    yield refused("y is missing", {"x": fp32([1.0])}, "parameter `y` is missing")


def extremes(function: Callable, y=(1, -1, 2, INT32_MAX, INT32_MIN), dtype: str = "int32"):
    """The ends of int32, where arithmetic wraps."""
    x, y = np.array([[INT32_MIN], [INT32_MAX], [-1]]), np.array(y)
    given = {"x": int32(x), "y": int32(y)}
    return case("the ends of int32", given, result(dtype, function(given["x"].torch, given["y"].torch)))


@vectors("add")
def add():
    yield from of_x_y(torch.add, tolerance=TRANSCENDENTAL)
    yield extremes(torch.add)


@vectors("mul")
def mul():
    yield from of_x_y(torch.mul, tolerance=TRANSCENDENTAL)
    yield extremes(torch.mul)


@vectors("sub")
def sub():
    yield from of_x_y(torch.sub, tolerance=TRANSCENDENTAL)
    yield extremes(torch.sub)


@vectors("sigmoid")
def sigmoid():
    yield from of_x(torch.sigmoid, tolerance=TRANSCENDENTAL)


@vectors("silu")
def silu():
    yield from of_x(torch.nn.functional.silu, tolerance=TRANSCENDENTAL)


@vectors("sqrt")
def sqrt():
    yield from of_x(torch.sqrt, low=0.0, high=9.0)
