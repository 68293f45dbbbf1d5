"""Ops that normalize."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from op_vectors.case import (
    TRANSCENDENTAL,
    Tensor,
    axes,
    axis,
    case,
    constant,
    fp16,
    fp32,
    refused,
    result,
    spread,
    tensor,
    vectors,
)


@vectors("softmax")
def softmax():
    def along(name: str, x, chosen: int | None):
        operands = {"x": x} if chosen is None else {"x": x, "axis": axis(chosen)}
        expected = torch.softmax(x.float, -1 if chosen is None else chosen)
        return case(name, operands, result(x.dtype, expected), tolerance=TRANSCENDENTAL)

    yield along("two equal elements", fp32([[3.0, 3.0]]), -1)
    yield along("the last axis by default", fp32(spread(2, 3, 4)), None)
    yield along("the first axis", fp32(spread(2, 3, 4)), 0)
    yield along("an axis in the middle", fp32(spread(2, 3, 4)), 1)
    yield along("an axis from the end", fp32(spread(2, 3, 4)), -2)
    yield along("fp16", fp16(spread(3, 5)), -1)
    yield along("large numbers do not overflow", fp32([[1000.0, 1001.0, -1000.0], [3e38, 3e38, -3e38]]), -1)
    yield along("minus infinity counts nothing", fp32([[float("-inf"), 0.0, 1.0]]), -1)
    yield along("nothing but minus infinity", fp32([[float("-inf"), float("-inf")]]), -1)
    yield along("infinity", fp32([[float("inf"), 0.0]]), -1)
    yield along("not a number", fp32([[float("nan"), 0.0], [1.0, 2.0]]), -1)
    yield along("no elements", fp32(spread(0, 3)), -1)
    yield along("an empty axis", fp32(spread(3, 0)), -1)
    yield refused("no such axis", {"x": fp32([1.0]), "axis": axis(1)}, "parameter `axis`")
    yield refused("a scalar has no axis", {"x": fp32(1.0)}, "parameter `axis`")
    yield refused("nothing to normalize", {"axis": axis(0)}, "parameter `x` is missing")


@vectors("layer_norm")
def layer_norm():
    def of(name: str, x: Tensor, chosen: tuple[int, ...] | None, epsilon: float | None = 1e-5, **affine: Tensor):
        operands = {"x": x, **{parameter: constant(factors) for parameter, factors in affine.items()}}
        if chosen is not None:
            operands["axes"] = axes(*chosen)
        given = tensor(x.dtype, 1e-5 if epsilon is None else epsilon)
        if epsilon is not None:
            operands["epsilon"] = constant(given)
        # What is left out is 1e-5, not the nearest number that the type of `x` can hold.
        used = 1e-5 if epsilon is None else float(given.values)
        rank = x.values.ndim
        last = sorted(axis % rank for axis in chosen) if chosen is not None else list(range(rank))
        order = [axis for axis in range(rank) if axis not in last] + last
        moved = x.float.permute(order)
        factors = {parameter: factors.float for parameter, factors in affine.items()}
        normed = functional.layer_norm(
            moved, moved.shape[rank - len(last) :], factors.get("gamma"), factors.get("beta"), used
        )
        back = [order.index(axis) for axis in range(rank)]
        return case(name, operands, result(x.dtype, normed.permute(back)), tolerance=TRANSCENDENTAL)

    x = fp32(spread(2, 3, 4))
    gamma, beta = fp32(spread(4, low=0.5, high=2.0)), fp32(spread(4, low=-1.0, high=1.0))
    yield of("the last axis", x, (-1,))
    yield of("gamma and beta", x, (2,), gamma=gamma, beta=beta)
    yield of("gamma alone", x, (2,), gamma=gamma)
    yield of("beta alone", x, (2,), beta=beta)
    yield of("the first axis", x, (0,), gamma=fp32([2.0, -1.0]))
    yield of("channels of a picture", fp16(spread(1, 6, 1, 5)), (1,), gamma=fp16(spread(6)), beta=fp16(spread(6)))
    two = {"gamma": fp32(spread(3, 4)), "beta": fp32(spread(3, 4, low=-1.0, high=1.0))}
    yield of("two axes", x, (1, 2), **two)
    yield of("axes in another order", x, (2, 1), **two)
    apart = {"gamma": fp32(spread(2, 4)), "beta": fp32(spread(2, 4, low=-1.0, high=1.0))}
    yield of("axes that are apart", x, (0, -1), **apart)
    yield of("all axes by default", x, None)
    yield of("a large epsilon", x, (-1,), epsilon=2.0)
    yield of("epsilon by default", fp32(spread(2, 5, low=-0.03125, high=0.03125)), (-1,), epsilon=None)
    yield of("fp16", fp16(spread(3, 8)), (-1,), epsilon=1e-3, gamma=fp16(spread(8)))
    rows = spread(2, 16)
    yield of("x beside -x has a mean of zero", fp32(np.concatenate([rows, -rows], axis=1)), (1,), epsilon=1e-6)
    yield of("equal elements have no variance", fp32([[5.0, 5.0, 5.0, 5.0]]), (-1,))
    yield of("a small variance far from zero", fp32(4096.0 + spread(1, 16, low=-0.5, high=0.5)), (-1,))
    yield of("squares that fp32 cannot hold", fp32(1e25 * spread(1, 8)), (-1,))
    infinite = [[1.0, float("inf"), 2.0], [1.0, float("nan"), 2.0], [1.0, 2.0, 3.0]]
    yield of("infinities and no numbers", fp32(infinite), (-1,))
    yield of("no elements", fp32(spread(0, 3)), (-1,))
    yield refused("no such axis", {"x": x, "axes": axes(3)}, "parameter `axes`")
    yield refused("an axis twice", {"x": x, "axes": axes(1, -2)}, "parameter `axes`")
    short = {"x": x, "axes": axes(-1), "gamma": constant(fp32([1.0]))}
    yield refused("gamma of another length", short, "parameter `gamma`")
    yield refused("x is missing", {"axes": axes(0)}, "parameter `x` is missing")


@vectors("l2_norm")
def l2_norm():
    def of(name: str, x: Tensor, epsilon: float | None = 1e-6):
        operands = {"x": x}
        used = 1e-6
        if epsilon is not None:
            operands["epsilon"] = constant(tensor(x.dtype, epsilon))
            used = float(operands["epsilon"].values)
        norm = torch.sqrt(x.float.square().sum((-3, -2, -1), keepdim=True) + used)
        return case(name, operands, result(x.dtype, x.float / norm), tolerance=TRANSCENDENTAL)

    yield of("three axes", fp32(spread(2, 3, 4)))
    yield of("each of a batch", fp32(spread(2, 2, 3, 2)))
    yield of("a batch of two axes", fp32(spread(2, 2, 1, 3, 2)))
    yield of("fp16", fp16(spread(1, 8, 1, 1)), epsilon=1e-3)
    yield of("epsilon by default", fp32(spread(1, 2, 2, low=-0.03125, high=0.03125)), epsilon=None)
    yield of("zeros", fp32(np.zeros((1, 2, 2))))
    yield of("squares that fp32 cannot hold", fp32(1e25 * spread(1, 2, 2)))
    yield of("infinities and no numbers", fp32([[[[float("inf"), 1.0]]], [[[float("nan"), 1.0]]], [[[3.0, 4.0]]]]))
    yield of("no elements", fp32(spread(0, 2, 3)))
    yield refused("two axes", {"x": fp32(spread(2, 3))}, "parameter `x`: expected a tensor of rank 3 or more")
    yield refused("x is missing", {}, "parameter `x` is missing")
