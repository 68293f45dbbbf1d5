"""Expands palettized weights."""

from __future__ import annotations

import numpy as np


def dense_weight(operation) -> np.ndarray:
    """The weight that a `constexpr_lut_to_dense` stands for.

    The palettes are `[groups along each axis of the indices …, entries, vector]`; indices in the same group
    along every axis share one.
    """
    indices = np.asarray(operation.indices.val).astype(np.int64)
    palettes = np.asarray(operation.lut.val)
    if palettes.shape[-1] != 1:
        raise NotImplementedError("palettes of vectors")
    for axis, (size, groups) in enumerate(zip(indices.shape, palettes.shape)):
        palettes = np.repeat(palettes, size // groups, axis=axis) if groups not in (1, size) else palettes
    palettes = np.broadcast_to(palettes[..., 0], (*indices.shape, palettes.shape[-2]))
    return np.take_along_axis(palettes, indices[..., None], axis=-1)[..., 0]
