"""Constants that are both sparse and in few bits."""

from __future__ import annotations

import numpy as np
from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as ios18

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


def mask(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 5 % 7 < 3).reshape(shape).astype(np.uint8)


@vectors("constexpr_cast", COREMLTOOLS)
def constexpr_cast():
    x = constant(fp16(spread(3, 4)))
    yield case("to fp32", {"source_val": x, "output_dtype": text("fp32")}, result("fp32", x.values), opset="ios16")
    other = {"source_val": x, "output_dtype": text("fp16")}
    yield refused("to fp16", other, "parameter `output_dtype`", opset="ios16")


@vectors("constexpr_lut_to_sparse", COREMLTOOLS)
def constexpr_lut_to_sparse():
    def of(name, bits, shape, lut_shape, along=None, made=fp16):
        where = mask(*shape)
        count = int(where.sum())
        indices = np.arange(count) * 3 % 2**bits
        lut = made(spread(*lut_shape))
        operands = {
            "indices_mask": constant(tensor("uint1", where)),
            "indices_nonzero_data": constant(tensor(f"uint{bits}", indices)),
            "lut": constant(lut),
        }
        if along is not None:
            operands["vector_axis"] = axis(along)
        wide, found = ios18.constexpr_lut_to_sparse.decompress(where, indices, lut.values, along)
        return case(name, operands, tensor("uint1", wide), result(lut.dtype, found))

    yield of("one table", 4, (5, 6), (1, 1, 16, 1))
    yield of("groups of rows", 2, (4, 9), (2, 1, 4, 1))
    yield of("groups of columns", 3, (3, 6), (1, 2, 8, 1))
    yield of("a weight of a convolution", 6, (4, 4, 1, 1), (2, 1, 1, 1, 64, 1), made=fp32)
    yield of("vectors of rows", 2, (4, 6), (1, 1, 4, 2), 0)
    yield of("vectors of columns", 2, (4, 6), (2, 1, 4, 3), 1)


@vectors("constexpr_sparse_blockwise_shift_scale", COREMLTOOLS)
def constexpr_sparse_blockwise_shift_scale():
    def of(name, dtype, shape, blocks, offset=False):
        where = mask(*shape)
        count = int(where.sum())
        low = -8 if dtype == "int4" else -128 if dtype == "int8" else 0
        data = np.arange(count) * 7 % (16 if dtype.endswith("4") else 256) + low
        scale = fp16(spread(*blocks, low=0.0625, high=1.0))
        operands = {
            "data_mask": constant(tensor("uint1", where)),
            "nonzero_data": constant(tensor(dtype, data)),
            "scale": constant(scale),
        }
        shift = None
        if offset:
            shift = np.arange(np.prod(blocks)).reshape(blocks) % 5
            operands["offset"] = constant(tensor(dtype, shift))
        kept, found = ios18.constexpr_sparse_blockwise_shift_scale.decompress(
            where, data.astype(np.float64), scale.values, None if shift is None else shift.astype(np.float64)
        )
        # A scaled 0 of the dense form counts, where the mask marks it.
        return case(name, operands, tensor("uint1", kept), result("fp16", found), tolerance=TRANSCENDENTAL)

    yield of("int8 by row", "int8", (4, 9), (4, 1))
    yield of("int4 in blocks", "int4", (4, 6), (2, 3))
    yield of("uint8 with offsets", "uint8", (3, 8), (3, 2), True)
