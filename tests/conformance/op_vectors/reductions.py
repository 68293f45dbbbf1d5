"""Reductions beyond sums, means and extremes."""

from __future__ import annotations

import numpy as np

from op_vectors.case import TRANSCENDENTAL, axes, case, flag, fp32, refused, result, spread, vectors


def over(op: str, function, low: float):
    @vectors(op, "NumPy")
    def cases():
        for chosen, keep in (((0,), False), ((1, -1), True), ((0, 1, 2), False), ((), False)):
            x = fp32(spread(2, 3, 4, low=low, high=2.0))
            operands = {"x": x, "keep_dims": flag(keep)}
            if chosen:
                operands["axes"] = axes(*chosen)
            expected = function(x.values, tuple(chosen) or None, keep)
            yield case(f"{chosen}, kept {keep}", operands, result("fp32", expected), tolerance=TRANSCENDENTAL)
        yield refused("no such axis", {"x": fp32([1.0]), "axes": axes(1)}, "parameter `axes`")


over("reduce_l1_norm", lambda x, a, k: np.abs(x).sum(a, keepdims=k), -2.0)
over("reduce_log_sum", lambda x, a, k: np.log(x.sum(a, keepdims=k)), 0.25)
over("reduce_prod", lambda x, a, k: x.prod(a, keepdims=k), -2.0)
