"""Ops that normalize."""

from __future__ import annotations

import torch

from op_vectors.case import TRANSCENDENTAL, axis, case, fp16, fp32, refused, result, spread, vectors


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
