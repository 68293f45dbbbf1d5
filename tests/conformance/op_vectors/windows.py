"""Convolutions beyond `conv`, pools, and normalizations over channels."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional

from op_vectors.case import (
    TRANSCENDENTAL,
    axes,
    axis,
    case,
    constant,
    flag,
    fp16,
    fp32,
    refused,
    result,
    spread,
    tensor,
    text,
    vectors,
)

CONV_TRANSPOSE = [None, functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d]
CONV = [None, functional.conv1d, functional.conv2d, functional.conv3d]
MAX_POOL = [None, functional.max_pool1d, functional.max_pool2d, functional.max_pool3d]
AVG_POOL = [None, functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d]


@vectors("conv_transpose")
def conv_transpose():
    def of(name, x_shape, weight_shape, strides=1, pad=0, dilations=1, groups=1, bias=False, made=fp32):
        rank = len(x_shape) - 2
        x, weight = made(spread(*x_shape)), constant(made(spread(*weight_shape, low=-1.0, high=1.0)))
        operands = {"x": x, "weight": weight}
        if bias:
            operands["bias"] = constant(made(spread(weight_shape[1] * groups)))
        operands |= {"strides": axes(*[strides] * rank), "dilations": axes(*[dilations] * rank), "groups": axis(groups)}
        operands |= {"pad_type": text("custom" if pad else "valid"), "pad": axes(*[pad] * (2 * rank))}
        expected = CONV_TRANSPOSE[rank](
            x.float,
            weight.float,
            operands["bias"].float if bias else None,
            stride=strides,
            padding=pad,
            groups=groups,
            dilation=dilations,
        )
        return case(name, operands, result(x.dtype, expected), tolerance=1e-5)

    yield of("one axis", (2, 3, 5), (3, 4, 3))
    yield of("two axes", (1, 4, 3, 5), (4, 2, 3, 3), bias=True)
    yield of("three axes", (1, 2, 2, 3, 2), (2, 3, 2, 2, 2), strides=2)
    yield of("strides", (2, 4, 3, 3), (4, 3, 3, 3), strides=2, bias=True)
    yield of("padding", (1, 4, 4, 3), (4, 3, 3, 3), strides=2, pad=1)
    yield of("dilations", (1, 2, 4, 4), (2, 3, 3, 3), dilations=2)
    yield of("groups", (2, 4, 3, 3), (4, 2, 3, 3), groups=2, bias=True)
    yield of("a group for each channel", (1, 4, 3, 3), (4, 1, 2, 2), groups=4, strides=2)
    yield of("fp16", (1, 3, 4), (3, 2, 3), made=fp16)
    x, weight = fp32(spread(1, 3, 4, 4)), constant(fp32(spread(3, 2, 3, 3)))
    larger = functional.conv_transpose2d(x.float, weight.float, stride=2, padding=1, output_padding=1)
    given = {"x": x, "weight": weight, "strides": axes(2, 2), "pad_type": text("custom"), "pad": axes(1, 1, 1, 1)}
    given["output_shape"] = axes(*larger.shape)
    yield case("a given size", given, result("fp32", larger), tolerance=1e-5)
    other = {"x": x, "weight": constant(fp32(spread(4, 2, 3, 3)))}
    yield refused("channels that differ", other, "parameter `weight`")


@vectors("conv_quantized")
def conv_quantized():
    x = fp32(spread(1, 4, 5, 5))
    stored = np.arange(3 * 4 * 9).reshape(3, 4, 3, 3) * 7 % 256
    for name, scale, shift in (
        ("one scale", 0.03125, -4.0),
        ("a scale by channel", [0.25, 0.5, 0.125], [-1.0, 0.0, 2.0]),
    ):
        scales, shifts = (np.reshape(values, (-1, 1, 1, 1)) for values in (scale, shift))
        weight = torch.from_numpy(stored * scales + shifts)
        operands = {
            "x": x,
            "weight": constant(tensor("uint8", stored)),
            "quantization_type": text("linear"),
            "nbits": axis(8),
            "quant_scale": constant(fp32(scale)),
            "quant_bias": constant(fp32(shift)),
            "pad_type": text("custom"),
            "pad": axes(1, 1, 1, 1),
        }
        yield case(name, operands, result("fp32", functional.conv2d(x.float, weight, padding=1)), tolerance=1e-5)


def pool_case(op, name, shape, kernel, strides, pad=0, ceil=False, exclude=None, pad_type=None, made=fp32):
    rank = len(shape) - 2
    x = made(spread(*shape))
    operands = {"x": x, "kernel_sizes": axes(*[kernel] * rank), "strides": axes(*[strides] * rank)}
    operands |= {"pad_type": text(pad_type or ("custom" if pad else "valid")), "ceil_mode": flag(ceil)}
    operands["pad"] = axes(*[pad] * (2 * rank))
    if op == "avg_pool":
        operands["exclude_padding_from_average"] = flag(bool(exclude))
        given = {"kernel_size": kernel, "stride": strides, "padding": pad, "ceil_mode": ceil}
        expected = AVG_POOL[rank](x.float, count_include_pad=not exclude, **given)
    elif op == "max_pool":
        expected = MAX_POOL[rank](x.float, kernel, strides, pad, ceil_mode=ceil)
    else:
        squares = AVG_POOL[rank](x.float**2, kernel, strides, pad, count_include_pad=True)
        expected = torch.sqrt(squares * kernel**rank)
    return case(name, operands, result(x.dtype, expected), tolerance=TRANSCENDENTAL)


def pools(op: str, ranks: int):
    @vectors(op)
    def cases():
        shapes = [None, (2, 3, 9), (2, 3, 7, 8), (1, 2, 5, 6, 4)]
        for rank in range(1, ranks + 1):
            yield pool_case(op, f"{rank} axes", shapes[rank], 2, 2)
            yield pool_case(op, f"{rank} axes, overlapping", shapes[rank], 3, 1)
            yield pool_case(op, f"{rank} axes, padding", shapes[rank], 3, 2, pad=1)
            if op == "avg_pool":
                yield pool_case(op, f"{rank} axes, padding does not count", shapes[rank], 3, 2, pad=1, exclude=True)
        yield pool_case(op, "fp16", (1, 2, 6, 6), 2, 2, made=fp16)
        if op != "l2_pool":
            yield pool_case(op, "a last window partly outside", (1, 2, 7, 7), 2, 2, ceil=True)
            yield pool_case(op, "the same with padding", (1, 2, 8, 8), 3, 2, pad=1, ceil=True)
        same = {"x": fp32(spread(1, 1, 5)), "kernel_sizes": axes(2), "strides": axes(1), "pad_type": text("wide")}
        yield refused("no such padding", same, "parameter `pad_type`")
        few = {"x": fp32(spread(1, 1, 5)), "kernel_sizes": axes(2, 2), "pad_type": text("valid")}
        yield refused("a length too many", few, "parameter `kernel_sizes`")


pools("avg_pool", 3)
pools("max_pool", 3)
pools("l2_pool", 2)


@vectors("batch_norm")
def batch_norm():
    for shape in ((2, 3, 5), (2, 3, 2, 4), (1, 3, 2, 2, 2)):
        x = fp32(spread(*shape))
        mean, variance = fp32(spread(3)), fp32(spread(3, low=0.25, high=4.0))
        gamma, beta = fp32(spread(3, low=0.5, high=2.0)), fp32(spread(3))
        given = {"x": x, "mean": constant(mean), "variance": constant(variance), "epsilon": constant(fp32(1e-3))}
        plain = functional.batch_norm(x.float, mean.float, variance.float, eps=float(np.float32(1e-3)))
        yield case(f"{len(shape)} axes", given, result("fp32", plain), tolerance=TRANSCENDENTAL)
        given = given | {"gamma": constant(gamma), "beta": constant(beta)}
        scaled = functional.batch_norm(
            x.float, mean.float, variance.float, gamma.float, beta.float, eps=float(np.float32(1e-3))
        )
        yield case(f"{len(shape)} axes, scaled", given, result("fp32", scaled), tolerance=TRANSCENDENTAL)
    short = {"x": fp32(spread(2, 3, 5)), "mean": constant(fp32([1.0])), "variance": constant(fp32([1.0]))}
    yield refused("a mean too few", short, "parameter `mean`")


@vectors("instance_norm")
def instance_norm():
    for shape, scaled in itertools.product(((2, 3, 8), (2, 3, 4, 5)), (False, True)):
        x = fp32(spread(*shape))
        gamma, beta = fp32(spread(3, low=0.5, high=2.0)), fp32(spread(3))
        given = {"x": x, "epsilon": constant(fp32(1e-5))}
        factors = ()
        if scaled:
            given |= {"gamma": constant(gamma), "beta": constant(beta)}
            factors = (gamma.float, beta.float)
        expected = functional.instance_norm(x.float, None, None, *factors, eps=float(np.float32(1e-5)))
        yield case(f"{len(shape)} axes, scaled {scaled}", given, result("fp32", expected), tolerance=TRANSCENDENTAL)


@vectors("local_response_norm")
def local_response_norm():
    for size, shape in itertools.product((1, 3, 4), ((2, 6, 5), (1, 5, 3, 2))):
        x = fp32(spread(*shape))
        given = {"x": x, "size": axis(size), "alpha": constant(fp32(0.5)), "beta": constant(fp32(0.75))}
        expected = functional.local_response_norm(x.float, size, 0.5, 0.75, 1.0)
        yield case(f"{size} channels, {len(shape)} axes", given, result("fp32", expected), tolerance=TRANSCENDENTAL)
