"""Weights that are stored in few bits, and numbers that are quantized when the program runs."""

from __future__ import annotations

import math

import numpy as np
from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_ops as ios16
from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as ios18
from coremltools.optimize import _utils

from op_vectors.case import (
    TRANSCENDENTAL,
    axis,
    case,
    constant,
    fp16,
    fp32,
    refused,
    result,
    spread,
    tensor,
    text,
    vectors,
)

COREMLTOOLS = "coremltools"


def integers(dtype: str, *shape: int) -> np.ndarray:
    """All the integers of a type, one after another and out of order."""
    bits = int(dtype.lstrip("uint"))
    low = -(2 ** (bits - 1)) if dtype.startswith("int") else 0
    return (np.arange(math.prod(shape)) * 7 % 2**bits + low).reshape(shape)


def stored(dtype: str, values):
    """A constant."""
    return constant(tensor(dtype, values))


def packed_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Bytes that are filled from the low bits up."""
    each = (values.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(each.reshape(-1).astype(np.uint8), bitorder="little")


@vectors("constexpr_affine_dequantize", COREMLTOOLS)
def constexpr_affine_dequantize():
    def of(name: str, dtype: str, shape: tuple[int, ...], scale, zero_point, along: int, zero_dtype: str | None = None):
        data = integers(dtype, *shape)
        operands = {
            "quantized_data": stored(dtype, data),
            "scale": constant(scale),
            "zero_point": stored(zero_dtype or dtype, zero_point),
            "axis": axis(along),
        }
        expected = ios16.constexpr_affine_dequantize.decompress(
            data.astype(np.float64), np.asarray(zero_point, np.float64), scale.values, along
        )
        return case(name, operands, result(scale.dtype, expected), tolerance=TRANSCENDENTAL, opset="ios16")

    scales = spread(3, low=0.01, high=0.5)
    yield of("int8 by channel", "int8", (3, 100), fp16(scales), [0, -3, 100], 0)
    yield of("uint8 by channel", "uint8", (3, 100), fp32(scales), [128, 0, 255], 0)
    yield of("the last axis", "int8", (2, 4, 3), fp16(scales), [1, 2, 3], -1)
    yield of("an axis in the middle", "int8", (2, 3, 2, 2), fp16(scales), [1, 2, 3], 1)
    yield of("one scale and one zero point", "uint8", (2, 130), fp16(0.25), 128, 0)
    yield of("a scale by channel and one zero point", "int8", (3, 4), fp16(scales), -7, 0)
    yield of("one scale and a zero point by channel", "int8", (3, 4), fp16(0.5), [4, 5, 6], 0)
    yield of("fp32 zero point", "int8", (3, 4), fp16(scales), [0.5, 1.0, -2.25], 0, "fp32")
    yield of("a vector", "int8", (3,), fp16(scales), [4, 5, 6], 0)
    operands = {"quantized_data": stored("int8", [[1, 2]]), "scale": constant(fp16(1.0))}
    zero = {"zero_point": stored("int8", 0)}
    yield refused("no such axis", operands | zero | {"axis": axis(2)}, "parameter `axis`", opset="ios16")
    yield refused("no zero point", operands | {"axis": axis(0)}, "parameter `zero_point` is missing", opset="ios16")


@vectors("constexpr_blockwise_shift_scale", COREMLTOOLS)
def constexpr_blockwise_shift_scale():
    def of(name: str, dtype: str, shape: tuple[int, ...], scale, offset=None, offset_dtype=None, data=None):
        data = integers(dtype, *shape) if data is None else data
        operands = {"data": stored(dtype, data), "scale": constant(scale)}
        shift = None
        if offset is not None:
            operands["offset"] = stored(offset_dtype or dtype, offset)
            shift = operands["offset"].values.astype(np.float64)
        expected = ios18.constexpr_blockwise_shift_scale.decompress(data.astype(np.float64), scale.values, shift)
        return case(name, operands, result(scale.dtype, expected), tolerance=TRANSCENDENTAL)

    def scales(*shape: int):
        return fp16(spread(*shape, low=0.03125, high=1.0))

    yield of("int4 with a scale per row", "int4", (4, 16), scales(4, 1))
    yield of("int4 with blocks within rows", "int4", (2, 16), scales(2, 4))
    yield of("int4 with blocks on both axes", "int4", (4, 6), scales(2, 3), integers("int4", 2, 3))
    yield of("int4, an odd count", "int4", (3, 3), scales(3, 1), integers("int4", 3, 1))
    yield of("uint4 with offsets", "uint4", (2, 16), scales(2, 2), integers("uint4", 2, 2))
    yield of("uint4 with fp16 offsets", "uint4", (2, 4), scales(2, 2), spread(2, 2), "fp16")
    yield of("int8 in the layout of a convolution", "int8", (4, 8, 1, 1), scales(4, 2, 1, 1))
    yield of("int8 with offsets", "int8", (3, 100), scales(3, 1), [[100], [-100], [0]])
    yield of("uint8 with offsets", "uint8", (3, 100), scales(3, 1), [[255], [128], [0]])
    yield of("a scale per element", "int8", (2, 3), scales(2, 3))
    yield of("one scale", "int8", (2, 3), scales(1, 1))
    yield of("blocks of the first axis", "int8", (4, 3), scales(2, 1))
    yield of("fp32 scale", "int4", (2, 4), fp32(spread(2, 1)))
    yield of("fp16 data", "fp16", (2, 4), fp32(spread(2, 2)), data=spread(2, 4))
    data = {"data": stored("int8", [[1, 2, 3]])}
    yield refused("blocks that do not divide", data | {"scale": constant(scales(1, 2))}, "parameter `scale`")
    yield refused("another rank", data | {"scale": constant(scales(3))}, "parameter `scale`")
    offset = {"scale": constant(scales(1, 1)), "offset": stored("uint8", [[1]])}
    yield refused("an offset of another type", data | offset, "parameter `offset`")


def palette(*shape: int, dtype: str = "fp16"):
    return constant(fp16(spread(*shape)) if dtype == "fp16" else tensor(dtype, integers(dtype, *shape)))


@vectors("constexpr_lut_to_dense", COREMLTOOLS)
def constexpr_lut_to_dense():
    def grouped(name: str, bits: int, shape: tuple[int, ...], lut, along: int | None = None):
        data = integers(f"uint{bits}", *shape)
        operands = {"indices": stored(f"uint{bits}", data), "lut": lut}
        if along is not None:
            operands["vector_axis"] = axis(along)
        expected = ios18.constexpr_lut_to_dense.decompress(data, lut.values, along)
        return case(name, operands, result(lut.dtype, expected))

    def one_table(name: str, bits: int, shape: tuple[int, ...], lut):
        data = packed_bits(integers(f"uint{bits}", *shape), bits)
        operands = {"indices": stored("uint8", data), "lut": lut, "shape": stored("uint32", np.array(shape))}
        expected = ios16.constexpr_lut_to_dense.decompress(lut.values, data, np.array(shape))
        return case(name, operands, result(lut.dtype, expected), opset="ios16")

    for bits in (1, 2, 3, 4, 6, 8):
        yield grouped(f"{bits} bits, one table", bits, (2, 45), palette(1, 1, 2**bits, 1))
        yield grouped(f"{bits} bits, groups of rows", bits, (4, 9), palette(2, 1, 2**bits, 1))
        yield grouped(f"{bits} bits, groups of columns", bits, (3, 6), palette(1, 2, 2**bits, 1))
        yield grouped(f"{bits} bits, groups of both", bits, (4, 6), palette(2, 3, 2**bits, 1))
    for bits in (1, 2, 4, 6, 8):
        yield one_table(f"{bits} bits of the older form", bits, (3, 7, 5), palette(2**bits))
    yield grouped("the layout of a convolution", 4, (8, 6, 1, 1), palette(4, 1, 1, 1, 16, 1))
    yield grouped("a table per row", 2, (4, 5), palette(4, 1, 4, 1))
    yield grouped("a vector of indices", 2, (8,), palette(2, 4, 1))
    yield grouped("int8 entries", 4, (4, 6), palette(2, 1, 16, 1, dtype="int8"))
    yield grouped("uint8 entries", 6, (4, 6), palette(1, 1, 64, 1, dtype="uint8"))
    yield grouped("vectors along the first axis", 2, (4, 6), palette(1, 1, 4, 2), 0)
    yield grouped("vectors along the last axis", 3, (4, 6), palette(1, 1, 8, 3), -1)
    yield grouped("vectors along an axis in the middle", 1, (2, 2, 2), palette(1, 1, 1, 2, 3), 1)
    yield grouped("vectors with groups of rows", 2, (4, 6), palette(2, 1, 4, 2), 0)
    yield grouped("vectors with groups of columns", 2, (4, 6), palette(1, 3, 4, 2), 0)
    yield grouped("vectors with groups of columns along them", 4, (4, 6), palette(1, 3, 16, 4), 1)
    yield grouped("vectors in the layout of a convolution", 4, (4, 6, 1, 1), palette(2, 1, 1, 1, 16, 2), 0)
    yield one_table("int8 entries of the older form", 4, (3, 5), palette(16, dtype="int8"))
    indices = {"indices": stored("uint2", [[0, 1, 2]])}
    yield refused("too few entries", indices | {"lut": palette(1, 1, 2, 1)}, "parameter `lut`")
    yield refused("groups that do not divide", indices | {"lut": palette(1, 2, 4, 1)}, "parameter `lut`")
    yield refused("vectors along no axis", indices | {"lut": palette(1, 1, 4, 2)}, "`vector_axis` is missing")


@vectors("constexpr_sparse_to_dense", COREMLTOOLS)
def constexpr_sparse_to_dense():
    def of(name: str, shape: tuple[int, ...], marked, dtype: str = "fp16", older: bool = False):
        mask = np.asarray(marked).reshape(shape).astype(np.int64)
        count = int(mask.sum())
        data = spread(count, low=1.0, high=4.0) if dtype.startswith("fp") else integers(dtype, count) | 1
        expected = ios18.constexpr_sparse_to_dense.decompress(data, mask)
        operands = {"nonzero_data": stored(dtype, data)}
        if older:
            operands |= {"mask": stored("uint8", packed_bits(mask, 1)), "shape": stored("uint32", np.array(shape))}
        else:
            operands["mask"] = stored("uint1", mask)
        return case(name, operands, result(dtype, expected), opset="ios16" if older else None)

    every_third = np.arange(15) % 3 == 1
    for dtype in ("fp16", "fp32", "int8", "uint8"):
        yield of(dtype, (3, 5), every_third, dtype)
        yield of(f"{dtype} of the older form", (3, 5), every_third, dtype, older=True)
    yield of("int4", (3, 5), every_third, "int4")
    yield of("more than a word", (10, 20), np.arange(200) % 7 < 3)
    yield of("nothing", (2, 2), np.zeros(4))
    yield of("everything", (2, 2), np.ones(4))
    mask = {"mask": stored("uint1", [1, 0, 1])}
    two, three = stored("fp16", [1.0, 2.0]), stored("fp16", [1.0, 2.0, 3.0])
    yield refused("more elements than marks", mask | {"nonzero_data": three}, "one element for each of 2 places")
    sized = {"mask": stored("uint8", [5]), "shape": stored("uint32", [3, 3])}
    yield refused("too few bits", sized | {"nonzero_data": two}, "a bit for each of 9 elements", opset="ios16")


@vectors("dequantize", COREMLTOOLS)
def dequantize():
    def of(name: str, dtype: str, shape: tuple[int, ...], scale, zero_point=None, along: int | None = None):
        data = integers(dtype, *shape)
        operands = {"input": tensor(dtype, data), "scale": constant(scale)}
        if zero_point is not None:
            operands["zero_point"] = stored(dtype, zero_point)
            zero_point = np.asarray(zero_point, np.float64)
        if along is not None:
            operands["axis"] = axis(along)
        expected = _utils.dequantize_by_scale_and_zp(data.astype(np.float64), scale.values, zero_point, along)
        return case(name, operands, result(scale.dtype, expected), tolerance=TRANSCENDENTAL)

    scales = spread(3, low=0.01, high=0.5)
    yield of("one scale", "int8", (2, 130), fp16(0.25))
    yield of("one scale and zero point", "uint8", (2, 130), fp32(0.25), 128)
    yield of("a scale by channel", "int8", (3, 2), fp16(scales), None, 0)
    yield of("a scale and a zero point by channel", "uint8", (2, 3, 2), fp16(scales), [0, 128, 255], 1)
    yield of("the last axis", "int8", (2, 3), fp16(scales), [-128, 0, 127], -1)
    yield of("no elements", "int8", (0, 3), fp16(scales), [-128, 0, 127], 1)
    operands = {"input": tensor("int8", [[1, 2]]), "scale": constant(fp16([1.0, 2.0, 3.0])), "axis": axis(1)}
    yield refused("too many scales", operands, "parameter `scale`")
    longer = operands | {"scale": constant(fp16([1.0, 2.0])), "zero_point": stored("int8", [1, 2, 3])}
    yield refused("too many zero points", longer, "parameter `zero_point`")


@vectors("quantize", COREMLTOOLS)
def quantize():
    def of(name: str, dtype: str, data, scale, zero_point=None, along: int | None = None):
        operands = {"input": data, "scale": constant(scale), "output_dtype": text(dtype)}
        if zero_point is not None:
            operands["zero_point"] = stored(dtype, zero_point)
            zero_point = _utils.promote_rank_to_same_as_data(np.asarray(zero_point), data.values, along)
        if along is not None:
            operands["axis"] = axis(along)
        scales = _utils.promote_rank_to_same_as_data(scale.values, data.values, along)
        expected = _utils.quantize_by_scale_and_zp(data.values, scales, zero_point, dtype)
        return case(name, operands, result(dtype, expected))

    scales = [0.25, 0.5, 2.0]
    halves = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    yield of("halves are rounded to even", "int8", fp32(halves), fp32(1.0))
    yield of("int8 stops at its ends", "int8", fp32([-1000.0, -128.4, 127.4, 1000.0]), fp32(1.0))
    yield of("uint8 stops at its ends", "uint8", fp32([-3.0, 0.0, 255.4, 1000.0]), fp32(1.0))
    yield of("a zero point", "uint8", fp16(spread(2, 5)), fp16(0.125), 128)
    yield of("a scale by channel", "int8", fp16(spread(3, 4)), fp16(scales), None, 0)
    yield of("a scale and a zero point by channel", "uint8", fp32(spread(2, 3, 2)), fp32(scales), [0, 128, 255], 1)
    yield of("the last axis", "int8", fp32(spread(2, 3)), fp32(scales), [-100, 0, 100], -1)
    yield of("no elements", "int8", fp32(spread(3, 0)), fp32(scales), None, 0)
    operands = {"input": fp32([1.0]), "scale": constant(fp32(1.0))}
    yield refused("another type", operands | {"output_dtype": text("int16")}, "parameter `output_dtype`")
    yield refused("no type", operands, "parameter `output_dtype` is missing")
