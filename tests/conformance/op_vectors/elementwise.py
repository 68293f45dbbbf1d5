"""Ops that compute each element from the elements at its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from op_vectors.case import (
    TRANSCENDENTAL,
    Tensor,
    booleans,
    case,
    constant,
    fp16,
    fp32,
    int32,
    refused,
    result,
    spread,
    tensor,
    text,
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


@vectors("abs")
def absolute():
    yield from of_x(torch.abs, integers=True)


@vectors("square")
def square():
    yield from of_x(torch.square, integers=True, tolerance=TRANSCENDENTAL)


@vectors("cos")
def cos():
    yield from of_x(torch.cos, tolerance=TRANSCENDENTAL)
    large = fp32([1e4, -12345.678, 65504.0])
    yield case("many turns", {"x": large}, result("fp32", torch.cos(large.float)), tolerance=TRANSCENDENTAL)


@vectors("sin")
def sin():
    yield from of_x(torch.sin, tolerance=TRANSCENDENTAL)
    large = fp32([1e4, -12345.678, 65504.0])
    yield case("many turns", {"x": large}, result("fp32", torch.sin(large.float)), tolerance=TRANSCENDENTAL)


@vectors("exp")
def exp():
    yield from of_x(torch.exp, tolerance=TRANSCENDENTAL)
    ends = fp32([88.0, 89.0, -87.0, -104.0])
    yield case("the ends of fp32", {"x": ends}, result("fp32", torch.exp(ends.float)), tolerance=1e-5)


@vectors("tanh")
def tanh():
    yield from of_x(torch.tanh, tolerance=TRANSCENDENTAL)


@vectors("relu")
def relu():
    yield from of_x(torch.relu)


@vectors("gelu")
def gelu():
    def of(name: str, x: Tensor, mode: str | None):
        function = {
            "TANH_APPROXIMATION": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
            "SIGMOID_APPROXIMATION": lambda x: x * torch.sigmoid(1.702 * x),
        }.get(mode or "EXACT", torch.nn.functional.gelu)
        operands = {"x": x} | ({"mode": text(mode)} if mode else {})
        return case(name, operands, result(x.dtype, function(x.float)), tolerance=TRANSCENDENTAL)

    yield from of_x(torch.nn.functional.gelu, tolerance=TRANSCENDENTAL)
    for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        yield of(f"{mode}, fp32", fp32(spread(2, 3, 4, low=-6.0, high=6.0)), mode)
        yield of(f"{mode}, fp16", fp16(spread(1, 5, 1, 2)), mode)
        yield of(f"{mode}, extremes", fp32(SPECIAL), mode)
        yield of(f"{mode}, no elements", fp32(spread(0, 2)), mode)
    yield refused("no such mode", {"x": fp32([1.0]), "mode": text("FAST")}, "parameter `mode`")


@vectors("rsqrt")
def rsqrt():
    def of(name: str, x: Tensor, epsilon: Tensor | None):
        operands = {"x": x} | ({"epsilon": constant(epsilon)} if epsilon else {})
        added = 1e-12 if epsilon is None else float(epsilon.values)
        return case(name, operands, result(x.dtype, torch.rsqrt(x.float + added)), tolerance=TRANSCENDENTAL)

    yield from of_x(lambda x: torch.rsqrt(x + 1e-12), low=0.125, high=9.0, tolerance=TRANSCENDENTAL)
    yield of("an epsilon", fp32([0.0, 1.0, 3.0]), fp32(0.25))
    yield of("fp16 with an epsilon", fp16([[0.0, 1.0], [3.0, 1000.0]]), fp16(1e-3))
    yield of("zero without one", fp32([0.0]), None)
    yield of("no root of what is negative", fp32([-1.0, 4.0]), None)
    two = {"x": fp32([1.0]), "epsilon": constant(fp32([1.0, 2.0]))}
    yield refused("two numbers as epsilon", two, "parameter `epsilon`: expected one float")


@vectors("clip")
def clip():
    def of(name: str, x: Tensor, alpha: float, beta: float):
        operands = {"x": x, "alpha": constant(tensor(x.dtype, alpha)), "beta": constant(tensor(x.dtype, beta))}
        return case(name, operands, result(x.dtype, torch.clamp(x.float, alpha, beta)))

    x = fp32(spread(2, 3, 4))
    yield of("fp32", x, -1.0, 2.0)
    yield of("fp16", fp16(spread(1, 5, 1, 2)), 0.0, 1.5)
    yield of("a scalar", fp32(7.0), -1.0, 2.0)
    yield of("no elements", fp32(spread(0, 3)), -1.0, 2.0)
    yield of("infinite ends", x, float("-inf"), float("inf"))
    yield of("ends the wrong way round", x, 2.0, -1.0)
    yield of("infinities and no numbers", fp32(SPECIAL), -2.0, 2.0)
    one = constant(fp32(1.0))
    yield refused("alpha is missing", {"x": x, "beta": one}, "parameter `alpha` is missing")
    yield refused("beta is missing", {"x": x, "alpha": one}, "parameter `beta` is missing")
    yield refused("x is missing", {"alpha": one, "beta": one}, "parameter `x` is missing")


@vectors("maximum")
def maximum():
    yield from of_x_y(torch.maximum)
    yield extremes(torch.maximum)


@vectors("minimum")
def minimum():
    yield from of_x_y(torch.minimum)
    yield extremes(torch.minimum)


@vectors("floor_div", source="PyTorch, NumPy")
def floor_div():
    def divide(x: torch.Tensor, y: torch.Tensor):
        with np.errstate(all="ignore"):
            return np.floor_divide(x.float().numpy(), y.float().numpy())

    def divide_integers(x: torch.Tensor, y: torch.Tensor):
        with np.errstate(all="ignore"):
            return np.floor_divide(x.numpy(), y.numpy())

    yield from of_x_y(divide, divide_integers)
    yield extremes(divide_integers)
    numbers = {"x": fp32([1.0, 0.3, -1.0, 7.5, -7.5, 1e10]), "y": fp32([0.1, 0.1, 0.1, -2.5, 2.5, 3.0])}
    expected = torch.div(*(operand.float.float() for operand in numbers.values()), rounding_mode="floor")
    yield case("quotients next to whole numbers", numbers, result("fp32", expected))
    yield case("a quotient by 0 is 0", {"x": int32([5, -5, 0]), "y": int32(0)}, result("int32", [0, 0, 0]))


@vectors("real_div")
def real_div():
    def divide_integers(x: torch.Tensor, y: torch.Tensor):
        return torch.div(x.double(), y.double(), rounding_mode="trunc")

    yield from of_x_y(torch.div, divide_integers, tolerance=TRANSCENDENTAL)
    yield case("the ends of int32", {"x": int32([INT32_MIN, INT32_MAX]), "y": int32(2)}, int32([-(2**30), 2**30 - 1]))
    nothing = {"x": int32([5]), "y": int32([0])}
    yield refused("an integer divided by 0", nothing, "expected integers other than 0, got 0")


@vectors("pow")
def power():
    signed = "int32 of both signs"
    yield from (case for case in of_x_y(torch.pow, tolerance=1e-5) if case.name != signed)
    yield extremes(torch.pow, y=(0, 1, 2, 3, 31))
    yield refused(
        "an integer to the power of a negative one",
        {"x": int32([2, 3]), "y": int32([1, -1])},
        "expected exponents of integers that are not negative, got -1",
    )


def compares(function: Callable):
    yield from of_x_y(function, dtype="bool")
    yield extremes(function, dtype="bool")


@vectors("equal")
def equal():
    yield from compares(torch.eq)


@vectors("not_equal")
def not_equal():
    yield from compares(torch.ne)


@vectors("less")
def less():
    yield from compares(torch.lt)


@vectors("less_equal")
def less_equal():
    yield from compares(torch.le)


@vectors("greater")
def greater():
    yield from compares(torch.gt)


@vectors("greater_equal")
def greater_equal():
    yield from compares(torch.ge)


@vectors("select")
def select():
    def of(name: str, cond, a: Tensor, b: Tensor):
        chosen = torch.where(booleans(cond).torch, a.torch, b.torch)
        return case(name, {"cond": booleans(cond), "a": a, "b": b}, result(a.dtype, chosen))

    def condition(*shape: int):
        return spread(*shape) > 0.0

    yield of("fp32", condition(2, 3, 4), fp32(spread(2, 3, 4)), fp32(-spread(2, 3, 4)))
    yield of("fp16", condition(1, 5), fp16(spread(1, 5)), fp16(spread(1, 5, low=10.0, high=20.0)))
    yield of("int32", condition(3, 3), int32(whole(3, 3)), int32(whole(3, 3, low=50, high=99)))
    yield of("bool", condition(2, 4), booleans(condition(2, 4)[::-1].copy()), booleans(condition(8).reshape(2, 4)))
    yield of("scalars", True, fp32(1.0), fp32(2.0))
    yield of("the condition stretches", condition(3, 1), fp32(spread(2, 3, 4)), fp32(-spread(2, 3, 4)))
    yield of("one choice is a scalar", condition(2, 3), fp32(float("-inf")), fp32(spread(2, 3)))
    yield of("all stretch", condition(2, 1, 1), fp32(spread(3, 1)), fp32(spread(4)))
    yield of("the condition is larger", condition(2, 3), fp32(1.0), fp32(-1.0))
    yield of("what is not chosen does not matter", [True, False], fp32([1.0, float("nan")]), fp32([float("inf"), 2.0]))
    yield of("no elements", condition(0, 3), fp32(spread(0, 3)), fp32(1.0))
    one = fp32([1.0])
    yield refused("types differ", {"cond": booleans([True]), "a": one, "b": fp16([1.0])}, "parameter `b`")
    yield refused("the condition is a number", {"cond": one, "a": one, "b": one}, "parameter `cond`: expected booleans")
    wide = {"cond": booleans([True, False]), "a": fp32(spread(3)), "b": one}
    yield refused("shapes do not broadcast", wide, "do not broadcast")
    yield refused("b is missing", {"cond": booleans([True]), "a": one}, "parameter `b` is missing")


@vectors("identity", source="the definition")
def identity():
    for x in (fp32(spread(2, 3)), fp16(spread(4)), int32(whole(3)), booleans([True, False]), fp32(spread(0, 2))):
        name = f"{x.dtype}, {len(x.values)} along the first axis"
        yield case(name, {"x": x}, x)
    yield case("a scalar", {"x": fp32(SPECIAL[2])}, fp32(SPECIAL[2]))
    yield refused("x is missing", {}, "parameter `x` is missing")
