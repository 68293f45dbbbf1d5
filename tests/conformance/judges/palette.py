"""Expands compressed weights."""

from __future__ import annotations

import numpy as np


def dense_weight(operation) -> np.ndarray:
    """The weight that a `constexpr_` op stands for."""
    return EXPANDED[operation.op_type](operation)


def lut_to_dense(operation) -> np.ndarray:
    """The palettes are `[groups along each axis of the indices …, entries, vector]`; indices in the same group
    along every axis share one.
    """
    if operation.inputs.get("shape") is not None:
        return one_table(operation)
    indices = np.asarray(operation.indices.val).astype(np.int64)
    palettes = np.asarray(operation.lut.val)
    if palettes.shape[-1] != 1:
        raise NotImplementedError("palettes of vectors")
    for axis, (size, groups) in enumerate(zip(indices.shape, palettes.shape)):
        palettes = np.repeat(palettes, size // groups, axis=axis) if groups not in (1, size) else palettes
    palettes = np.broadcast_to(palettes[..., 0], (*indices.shape, palettes.shape[-2]))
    return np.take_along_axis(palettes, indices[..., None], axis=-1)[..., 0]


def one_table(operation) -> np.ndarray:
    """The form before iOS 18: the indices are bytes, the lowest bits of each first, and all share one palette."""
    table, shape = np.asarray(operation.lut.val), [int(length) for length in operation.shape.val]
    bits, count = int(table.size).bit_length() - 1, int(np.prod(shape))
    stream = np.unpackbits(np.asarray(operation.indices.val).astype(np.uint8), bitorder="little")
    indices = stream[: bits * count].reshape(count, bits).astype(np.int64) @ (1 << np.arange(bits))
    return table[indices].reshape(shape)


def blockwise_shift_scale(operation) -> np.ndarray:
    """Integers times scales, which are `[blocks along each axis of the integers …]`; rounded as they are."""
    data, scale = np.asarray(operation.data.val), np.asarray(operation.scale.val)
    if operation.offset is not None:
        raise NotImplementedError("offsets")
    scales = scale.astype(np.float32)
    for axis, (size, blocks) in enumerate(zip(data.shape, scale.shape)):
        scales = np.repeat(scales, size // blocks, axis=axis)
    return (data.astype(np.float32) * scales).astype(scale.dtype)


def affine_dequantize(operation) -> np.ndarray:
    """The form of integers before iOS 18: scales and zero points are scalars, or vectors along an axis."""
    data, axis = np.asarray(operation.quantized_data.val), int(operation.axis.val)
    scale = np.asarray(operation.scale.val)

    def along(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        shape = [1] * data.ndim
        shape[axis] = values.size
        return values.reshape(shape) if values.ndim else values

    zero = along(np.asarray(operation.zero_point.val))
    return ((data.astype(np.float32) - zero) * along(scale)).astype(scale.dtype)


EXPANDED = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
}
