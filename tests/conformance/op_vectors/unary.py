"""Functions of one element, and the activations."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from op_vectors.case import (
    TRANSCENDENTAL,
    booleans,
    case,
    constant,
    fp16,
    fp32,
    int32,
    refused,
    result,
    spread,
    vectors,
    whole,
)

ANY = (-4.0, 4.0)


def of_one(op: str, function, low: float = -4.0, high: float = 4.0, tolerance: float = TRANSCENDENTAL, extra=()):
    @vectors(op)
    def cases():
        for made in (fp32, fp16):
            x = made(spread(3, 7, low=low, high=high))
            yield case(x.dtype, {"x": x}, result(x.dtype, function(x.float)), tolerance=tolerance)
        edges = fp32([0.0, -0.0, np.inf, -np.inf, np.nan, *extra])
        yield case("edges", {"x": edges}, result("fp32", function(edges.float)), tolerance=tolerance)
        yield case("a scalar", {"x": fp32(0.5)}, result("fp32", function(fp32(0.5).float)), tolerance=tolerance)
        yield case("no elements", {"x": fp32(spread(0, 2))}, result("fp32", spread(0, 2)))
        yield refused("nothing", {}, "parameter `x` is missing")


of_one("acos", torch.acos, -1.0, 1.0)
of_one("asin", torch.asin, -1.0, 1.0)
of_one("atan", torch.atan)
of_one("atanh", torch.atanh, -0.9, 0.9, extra=(1.0, -1.0))
of_one("ceil", torch.ceil, tolerance=0.0)
of_one("cosh", torch.cosh)
of_one("erf", torch.erf)
of_one("floor", torch.floor, tolerance=0.0)
of_one("relu6", functional.relu6, -9.0, 9.0, tolerance=0.0)
of_one("round", torch.round, tolerance=0.0, extra=(0.5, 1.5, -0.5, -2.5))
of_one("sinh", torch.sinh)
of_one("softplus", functional.softplus, extra=(30.0, -30.0, 200.0))
of_one("softsign", functional.softsign, extra=(1e30,))
of_one("tan", torch.tan, -1.4, 1.4)


@vectors("exp2")
def exp2():
    for made in (fp32, fp16):
        x = made(spread(3, 5))
        yield case(x.dtype, {"x": x}, result(x.dtype, torch.exp2(x.float)), tolerance=TRANSCENDENTAL)
    whole_numbers = int32([0, 1, 5, 30])
    yield case("int32", {"x": whole_numbers}, int32(np.exp2(whole_numbers.values)))


@vectors("sign", "NumPy")
def sign():
    for x in (fp32(spread(3, 5)), fp16([-0.5, 0.0, 2.0]), int32(whole(3, 4))):
        yield case(x.dtype, {"x": x}, result(x.dtype, np.sign(x.values)))
    yield case("edges", {"x": fp32([np.inf, -np.inf, np.nan])}, fp32([1.0, -1.0, np.nan]))


@vectors("logical_not", "NumPy")
def logical_not():
    yield case("a matrix", {"x": booleans([[True, False], [False, True]])}, booleans([[False, True], [True, False]]))
    yield case("a scalar", {"x": booleans(True)}, booleans(False))


def logical(op: str, function):
    @vectors(op, "NumPy")
    def cases():
        x, y = booleans([[True], [False]]), booleans([True, False, True])
        yield case("stretched", {"x": x, "y": y}, booleans(function(x.values.astype(bool), y.values.astype(bool))))
        pair = booleans([True, True, False, False]), booleans([True, False, True, False])
        made = function(pair[0].values.astype(bool), pair[1].values.astype(bool))
        yield case("side by side", {"x": pair[0], "y": pair[1]}, booleans(made))
        yield refused("shapes that differ", {"x": booleans([True] * 2), "y": booleans([True] * 3)}, "do not broadcast")


logical("logical_and", np.logical_and)
logical("logical_or", np.logical_or)
logical("logical_xor", np.logical_xor)


@vectors("mod", "NumPy")
def mod():
    for made in (fp32, fp16):
        x, y = made(spread(3, 4, low=-9, high=9)), made(spread(4, low=0.5, high=3.0))
        yield case(x.dtype, {"x": x, "y": y}, result(x.dtype, np.mod(x.values, y.values)), tolerance=1e-6)
        y = made(-y.values)
        yield case(
            f"{x.dtype} by negative", {"x": x, "y": y}, result(x.dtype, np.mod(x.values, y.values)), tolerance=1e-6
        )
    x, y = int32([-7, -7, 7, 7, 6]), int32([3, -3, 3, -3, 3])
    yield case("int32", {"x": x, "y": y}, int32(np.mod(x.values, y.values)))


@vectors("inverse", "NumPy")
def inverse():
    x = fp32(spread(3, 5, low=0.5, high=4.0))
    yield case("default epsilon", {"x": x}, result("fp32", 1.0 / (x.values + 1e-4)), tolerance=TRANSCENDENTAL)
    epsilon = constant(fp32(0.25))
    yield case("a given one", {"x": x, "epsilon": epsilon}, result("fp32", 1.0 / (x.values + 0.25)), tolerance=1e-6)
    mixed = {"x": fp16([1.0, -2.0]), "epsilon": constant(fp32(0.5))}
    yield case("fp16 with an fp32 epsilon", mixed, result("fp16", [1 / 1.5, 1 / -1.5]), tolerance=1e-6)


@vectors("log")
def log():
    x = fp32(spread(3, 5, low=0.125, high=40.0))
    yield case("default epsilon", {"x": x}, result("fp32", torch.log(x.float)), tolerance=TRANSCENDENTAL)
    epsilon = {"x": fp32([0.0, 1.0, 2.0]), "epsilon": constant(fp32(0.5))}
    yield case("a given one", epsilon, result("fp32", np.log([0.5, 1.5, 2.5])), tolerance=TRANSCENDENTAL)
    edges = fp32([np.inf, -1.0, np.nan])
    yield case("edges", {"x": edges}, result("fp32", torch.log(edges.float)))


def with_numbers(op: str, function, source: str = "PyTorch"):
    @vectors(op, source)
    def cases():
        for made in (fp32, fp16):
            for numbers in ((0.25, 1.5), (1.0, 0.5), (-0.5, 2.0)):
                x = made(spread(3, 7))
                names = ["alpha", "beta"][: function.__code__.co_argcount - 1]
                given = {name: constant(made(number)) for name, number in zip(names, numbers, strict=False)}
                expected = function(x.float, *numbers[: len(names)])
                name = f"{x.dtype}, {numbers[: len(names)]}"
                yield case(name, {"x": x, **given}, result(x.dtype, expected), tolerance=TRANSCENDENTAL)
        numbers = {name: constant(fp32(1.0)) for name in names}
        mixed = {"x": fp16(spread(5)), **numbers}
        used = [1.0] * len(names)
        expected = result("fp16", function(mixed["x"].float, *used))
        yield case("fp16 with fp32 numbers", mixed, expected, tolerance=TRANSCENDENTAL, opset="ios17")
        yield refused("no number", {"x": fp32([1.0])}, "parameter `alpha` is missing")


with_numbers("clamped_relu", lambda x, a, b: torch.minimum(torch.where(x >= 0, x, a * x), torch.tensor(b)))
with_numbers("elu", lambda x, a: functional.elu(x, a))
with_numbers("leaky_relu", lambda x, a: functional.leaky_relu(x, a))
with_numbers("linear_activation", lambda x, a, b: a * x + b)
with_numbers("scaled_tanh", lambda x, a, b: a * torch.tanh(b * x))
with_numbers("sigmoid_hard", lambda x, a, b: torch.clamp(a * x + b, 0.0, 1.0))
with_numbers("thresholded_relu", lambda x, a: torch.where(x >= a, x, 0.0))


@vectors("threshold", "NumPy")
def threshold():
    for x, alpha in ((fp32(spread(3, 5)), fp32(0.5)), (fp16(spread(3, 5)), fp16(-1.0)), (int32(whole(3, 4)), int32(2))):
        expected = np.maximum(x.values, alpha.values)
        yield case(x.dtype, {"x": x, "alpha": constant(alpha)}, result(x.dtype, expected))


@vectors("prelu")
def prelu():
    for shape in ((2, 3, 5), (1, 3, 2, 4), (2, 3, 1, 2, 2)):
        x, alpha = fp32(spread(*shape)), fp32([0.25, -0.5, 2.0])
        expected = functional.prelu(x.float, alpha.float)
        yield case(f"{len(shape)} axes", {"x": x, "alpha": constant(alpha)}, result("fp32", expected))
    few = {"x": fp32(spread(2, 3, 4)), "alpha": constant(fp32([1.0, 2.0]))}
    yield refused("a number too few", few, "parameter `alpha`")


@vectors("softplus_parametric")
def softplus_parametric():
    x, alpha, beta = fp32(spread(2, 3, 4)), fp32([0.25, -0.5, 2.0]), fp32([1.0, 0.5, -2.0])
    by_channel = [values.float.reshape(1, 3, 1) for values in (alpha, beta)]
    expected = by_channel[0] * functional.softplus(by_channel[1] * x.float)
    operands = {"x": x, "alpha": constant(alpha), "beta": constant(beta)}
    yield case("by channel", operands, result("fp32", expected), tolerance=TRANSCENDENTAL)
    yield refused("no second number", {"x": x, "alpha": constant(alpha)}, "is missing")
