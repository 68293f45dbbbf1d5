"""Ops whose results hold the elements of their operands."""

from __future__ import annotations

import numpy as np
import torch
from coremltools.converters.mil.mil.ops.defs._utils import solve_slice_by_index_slice

from op_vectors.case import (
    Tensor,
    axes,
    axis,
    booleans,
    case,
    constant,
    flag,
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

NUMPY, COREMLTOOLS = "NumPy", "coremltools"


def of_every_kind(*shape: int) -> list[Tensor]:
    """A tensor of each element type that ops move."""
    return [
        fp32(spread(*shape)),
        fp16(spread(*shape)),
        int32(whole(*shape) * 1_000_003),
        *(tensor(dtype, whole(*shape)) for dtype in ("int8", "int16")),
        *(tensor(dtype, np.abs(whole(*shape)) * scale) for dtype, scale in (("uint8", 28), ("uint16", 7000))),
        booleans(spread(*shape) > 0.0),
    ]


def moved(x: Tensor, values) -> Tensor:
    return result(x.dtype, values)


@vectors("cast")
def cast():
    def of(name: str, x: Tensor, dtype: str):
        kinds = {"fp16": torch.float16, "fp32": torch.float32, "bool": torch.bool}
        kind = kinds.get(dtype) or getattr(torch, dtype)
        return case(name, {"x": x, "dtype": text(dtype)}, result(dtype, x.torch.to(kind).to(torch.float64)))

    fractions = fp32([-2.75, -1.5, -0.5, -0.0, 0.5, 1.5, 2.75])
    for dtype in ("fp16", "fp32", "int32", "int16", "uint16", "int8", "uint8", "bool"):
        source = fp32(np.abs(fractions.values)) if dtype.startswith("uint") else fractions
        yield of(f"fp32 to {dtype}", source, dtype)
        yield of(f"int32 to {dtype}", int32(np.abs(whole(2, 3))), dtype)
        yield of(f"bool to {dtype}", booleans([True, False]), dtype)
    yield of("int8 to fp16", tensor("int8", [-128, 127]), "fp16")
    yield of("uint16 to int32", tensor("uint16", [0, 65535]), "int32")
    yield of("fp16 rounds to even and overflows", fp32([2049.0, 2051.0, 65519.0, 65520.0, -1e9, 1e-9, np.inf]), "fp16")
    yield of("what is not a number", fp32([np.nan]), "fp16")
    yield of("a scalar", fp32(1.0), "int32")
    yield of("no elements", fp32(spread(0, 2)), "int32")
    yield refused("no such type", {"x": fractions, "dtype": text("fp8")}, "parameter `dtype`")
    yield refused("a type of a later opset", {"x": fractions, "dtype": text("int8")}, "parameter `dtype`", "ios16")


@vectors("concat")
def concat():
    def of(name: str, values: list[Tensor], along: int):
        joined = np.concatenate([value.values for value in values], along)
        return case(name, {"values": values, "axis": axis(along)}, moved(values[0], joined))

    for x in of_every_kind(2, 3):
        yield of(x.dtype, [x, x], 1)
    yield of("the first axis", [fp32(spread(2, 3)), fp32(whole(1, 3)), fp32(whole(4, 3))], 0)
    yield of("an axis in the middle", [fp32(spread(2, 1, 3)), fp32(whole(2, 2, 3))], 1)
    yield of("the last axis", [fp16(spread(2, 2, 1)), fp16(spread(2, 2, 3))], -1)
    yield of("one tensor", [fp32(spread(2, 3))], 0)
    yield of("an empty tensor", [fp32(spread(2, 3)), fp32(spread(0, 3))], 0)
    yield of("nothing but empty tensors", [fp32(spread(0, 3)), fp32(spread(0, 3))], 1)
    pair = [fp32(spread(2, 2, 3)), fp32(whole(2, 2, 3))]
    for along, shape in ((0, (4, 2, 3)), (1, (2, 4, 3)), (-1, (2, 2, 6))):
        woven = np.stack([value.values for value in pair], along % 3 + 1).reshape(shape)
        operands = {"values": pair, "axis": axis(along), "interleave": flag(True)}
        yield case(f"interleaved along {along}", operands, fp32(woven))
    scalars = {"values": [int32(1), int32(2), int32(3)], "axis": axis(0)}
    yield case("scalars make a vector", scalars, int32([1, 2, 3]))
    unlike = {"values": [fp32(spread(2, 3)), fp32(spread(3, 2))], "axis": axis(0)}
    yield refused("shapes that differ", unlike, "parameter `values`")
    yield refused("no such axis", {"values": pair, "axis": axis(3)}, "parameter `axis`")


@vectors("stack", NUMPY)
def stack():
    def of(name: str, values: list[Tensor], along: int):
        joined = np.stack([value.values for value in values], along)
        return case(name, {"values": values, "axis": axis(along)}, moved(values[0], joined))

    for x in of_every_kind(2, 3):
        yield of(x.dtype, [x, x], 1)
    pair = [fp32(spread(2, 3)), fp32(whole(2, 3))]
    for along in (0, 2, -1, -3):
        yield of(f"axis {along}", pair, along)
    yield of("scalars", [int32(1), int32(2)], 0)
    yield of("one tensor", pair[:1], 1)
    yield of("no elements", [fp32(spread(0, 3)), fp32(spread(0, 3))], 1)
    unlike = {"values": [fp32(spread(2, 3)), fp32(spread(3, 2))], "axis": axis(0)}
    yield refused("shapes that differ", unlike, "parameter `values`")
    yield refused("no such axis", {"values": pair, "axis": axis(3)}, "parameter `axis`")


@vectors("expand_dims", NUMPY)
def expand_dims():
    def of(name: str, x: Tensor, *new: int):
        return case(name, {"x": x, "axes": axes(*new)}, moved(x, np.expand_dims(x.values, new)))

    for x in of_every_kind(2, 3):
        yield of(x.dtype, x, 1)
    yield of("several axes", fp32(spread(2, 3)), 0, 2)
    yield of("axes from the end", fp32(spread(2, 3)), -1, -4)
    yield of("axes in no order", fp32(spread(2, 3)), 3, 0)
    yield of("a scalar", fp32(1.5), 0)
    yield of("no elements", fp32(spread(0, 3)), 1)
    yield refused("an axis twice", {"x": fp32(spread(2)), "axes": axes(0, -3)}, "parameter `axes`")
    yield refused("no such axis", {"x": fp32(spread(2)), "axes": axes(3)}, "parameter `axes`")


@vectors("squeeze", NUMPY)
def squeeze():
    def of(name: str, x: Tensor, *dropped: int):
        operands = {"x": x, "axes": axes(*dropped)} if dropped else {"x": x}
        return case(name, operands, moved(x, np.squeeze(x.values, dropped or None)))

    for x in of_every_kind(2, 1, 3):
        yield of(x.dtype, x, 1)
    yield of("all axes of length 1", fp32(spread(1, 2, 1, 3)))
    yield of("several axes", fp32(spread(1, 2, 1, 3)), 2, 0)
    yield of("axes from the end", fp32(spread(1, 2, 1, 3)), -2)
    yield of("to a scalar", fp32(spread(1, 1)))
    yield of("no elements", fp32(spread(1, 0)), 0)
    yield refused("an axis of another length", {"x": fp32(spread(2, 1)), "axes": axes(0)}, "parameter `axes`")


@vectors("reshape", NUMPY)
def reshape():
    def of(name: str, x: Tensor, given: list[int], shape: list[int] | None = None):
        operands = {"x": x, "shape": axes(*given)}
        return case(name, operands, moved(x, x.values.reshape(given if shape is None else shape)))

    for x in of_every_kind(2, 6):
        yield of(x.dtype, x, [3, 4])
    yield of("what is left", fp32(spread(2, 6)), [4, -1])
    yield of("the length of x", fp32(spread(2, 6, 2)), [0, -1, 4], [2, 3, 4])
    yield of("to a vector", fp32(spread(2, 3)), [-1])
    yield of("to more axes", fp32(spread(4)), [1, 2, 1, 2])
    yield of("to a scalar", fp32(spread(1, 1)), [])
    yield of("no elements", fp32(spread(0, 3)), [3, -1])
    run_time = {"x": fp32(spread(2, 6)), "shape": int32([3, -1])}
    yield case("a shape of the running program", run_time, fp32(spread(2, 6).reshape(3, 4)))
    yield refused("another count", {"x": fp32(spread(2, 3)), "shape": axes(4, 2)}, "parameter `shape`")
    yield refused("two unknown lengths", {"x": fp32(spread(2, 3)), "shape": axes(-1, -1)}, "parameter `shape`")
    yield refused("another count when it runs", {"x": fp32(spread(2, 3)), "shape": int32([5, -1])}, "parameter `shape`")


@vectors("transpose", NUMPY)
def transpose():
    def of(name: str, x: Tensor, *order: int):
        return case(name, {"x": x, "perm": axes(*order)}, moved(x, x.values.transpose(order)))

    for x in of_every_kind(2, 3):
        yield of(x.dtype, x, 1, 0)
    yield of("four axes", fp32(spread(2, 3, 4, 2)), 2, 0, 3, 1)
    yield of("axes from the end", fp32(spread(2, 3, 4)), 0, -1, -2)
    yield of("as it is", fp32(spread(2, 3)), 0, 1)
    yield of("no elements", fp32(spread(2, 0, 3)), 2, 0, 1)
    yield refused("an axis twice", {"x": fp32(spread(2, 3)), "perm": axes(1, -1)}, "parameter `perm`")
    yield refused("too few axes", {"x": fp32(spread(2, 3)), "perm": axes(0)}, "parameter `perm`")


@vectors("tile", NUMPY)
def tile():
    def of(name: str, x: Tensor, *repeats: int):
        return case(name, {"x": x, "reps": axes(*repeats)}, moved(x, np.tile(x.values, repeats)))

    for x in of_every_kind(2, 3):
        yield of(x.dtype, x, 2, 1)
    yield of("all axes", fp32(spread(2, 1, 3)), 2, 3, 2)
    yield of("once", fp32(spread(2, 3)), 1, 1)
    yield of("no elements", fp32(spread(2, 0)), 2, 3)
    yield refused("too few numbers", {"x": fp32(spread(2, 3)), "reps": axes(2)}, "parameter `reps`")
    yield refused("a negative number", {"x": fp32(spread(2, 3)), "reps": axes(2, -1)}, "parameter `reps`")


@vectors("split", NUMPY)
def split():
    def of(name: str, x: Tensor, along: int, parts: int | list[int]):
        if isinstance(parts, int):
            operands, cuts = {"num_splits": axis(parts)}, parts
        else:
            operands, cuts = {"split_sizes": axes(*parts)}, np.cumsum(parts)[:-1]
        results = [moved(x, part) for part in np.split(x.values, cuts, along)]
        return case(name, {"x": x, "axis": axis(along)} | operands, *results)

    for x in of_every_kind(4, 3):
        if x.dtype != "bool":
            yield of(x.dtype, x, 0, 2)
    yield of("an axis in the middle", fp32(spread(2, 6, 2)), 1, 3)
    yield of("sizes", fp32(spread(2, 6)), -1, [1, 3, 2])
    yield of("an empty part", fp32(spread(2, 3)), 1, [0, 3])
    yield of("one part", fp32(spread(2, 3)), 0, 1)
    yield of("no elements", fp32(spread(0, 4)), 1, 2)
    x = {"x": fp32(spread(2, 5)), "axis": axis(1)}
    yield refused("parts that are not equal", x | {"num_splits": axis(2)}, "num_splits")
    yield refused("sizes of another sum", x | {"split_sizes": axes(2, 2)}, "parameter `split_sizes`")


@vectors("gather", NUMPY)
def gather():
    def of(name: str, x: Tensor, indices: Tensor, along: int | None = None, opset: str | None = None):
        operands = {"x": x, "indices": indices} | ({} if along is None else {"axis": axis(along)})
        picked = np.take(x.values, indices.values, along or 0)
        return case(name, operands, moved(x, picked), opset=opset)

    for x in of_every_kind(4, 3):
        if x.dtype != "bool":
            yield of(x.dtype, x, int32([2, 0, 2]))
    table = fp32(spread(5, 2, 3))
    yield of("the first axis", table, int32([[4, 0], [1, 1]]), 0)
    yield of("an axis in the middle", table, int32([1, 0, 1]), 1)
    yield of("the last axis", table, int32([[2], [0]]), -1)
    yield of("one index", table, int32(3))
    yield of("a vector", fp32(spread(6)), int32(2))
    yield of("no indices", table, int32(np.zeros(0)))
    for dtype in ("int16", "uint16", "int8", "uint8"):
        yield of(f"indices of {dtype}", table, tensor(dtype, [4, 0, 2]))
    yield of("negative indices of older programs", table, int32([-1, -5, 0]), 0, "ios16")

    def batched(name: str, x: Tensor, indices: Tensor, along: int, batch_dims: int):
        index = indices.values
        operands = {"x": x, "indices": indices, "axis": axis(along), "batch_dims": axis(batch_dims)}
        rows = [np.take(x.values[at], index[at], along - batch_dims) for at in np.ndindex(index.shape[:batch_dims])]
        picked = np.stack(rows).reshape(index.shape[:batch_dims] + rows[0].shape)
        return case(name, operands, moved(x, picked))

    yield batched("batches", fp32(spread(2, 5, 3)), int32([[4, 0], [1, 2]]), 1, 1)
    yield batched("batches and an axis behind", fp32(spread(2, 4, 5)), int32([[4, 0, 1], [1, 2, 2]]), 2, 1)
    yield batched("two axes of batches", fp32(spread(2, 2, 4)), int32(np.arange(12).reshape(2, 2, 3) % 4), 2, 2)
    yield batched("batches of one index", fp32(spread(3, 4)), int32([3, 0, 1]), 1, 1)
    for validated in (True, False):
        checked = {"x": table, "validate_indices": flag(validated)}
        validation = "validated" if validated else "not validated"
        yield refused(f"an index behind the end, {validation}", checked | {"indices": int32([5])}, "index 5 is outside")
        yield refused(f"a negative index, {validation}", checked | {"indices": int32([-1])}, "index -1 is outside")
    before = {"x": table, "indices": int32([-6])}
    yield refused("an index before the start of older programs", before, "index -6 is outside", "ios16")
    yield refused("an empty table", {"x": fp32(spread(0, 3)), "indices": int32([0])}, "index 0 is outside")
    yield refused("no such axis", {"x": table, "indices": int32([0]), "axis": axis(3)}, "parameter `axis`")


@vectors("gather_along_axis", NUMPY)
def gather_along_axis():
    def of(name: str, x: Tensor, indices: Tensor, along: int | None = None, opset: str | None = None):
        operands = {"x": x, "indices": indices} | ({} if along is None else {"axis": axis(along)})
        picked = np.take_along_axis(x.values, indices.values, along or 0)
        return case(name, operands, moved(x, picked), opset=opset)

    for x in of_every_kind(4, 3):
        if x.dtype != "bool":
            yield of(x.dtype, x, int32([[2, 0, 3], [1, 1, 0]]))
    x = fp32(spread(2, 3, 4))
    yield of("the first axis", x, int32(np.arange(36).reshape(3, 3, 4) % 2), 0)
    yield of("an axis in the middle", x, int32(np.arange(40).reshape(2, 5, 4) % 3), 1)
    yield of("the last axis", x, int32(np.arange(12).reshape(2, 3, 2) % 4), -1)
    yield of("no indices", x, int32(np.zeros((2, 0, 4))), 1)
    yield of("indices of uint8", x, tensor("uint8", np.arange(12).reshape(2, 3, 2) % 4), 2)
    yield of("negative indices of older programs", x, int32(np.arange(24).reshape(2, 3, 4) % 3 - 3), 1, "ios16")
    index = {"x": fp32(spread(3)), "validate_indices": flag(True)}
    yield refused("an index behind the end", index | {"indices": int32([3])}, "index 3 is outside")
    yield refused("a negative index", index | {"indices": int32([-1])}, "index -1 is outside")
    other = {"x": x, "indices": int32(np.zeros((1, 3, 4))), "axis": axis(1)}
    yield refused("another shape", other, "parameter `indices`")


@vectors("pad", NUMPY)
def pad():
    def of(name: str, x: Tensor, counts: list[int], mode: str | None = None, value: Tensor | None = None):
        operands = {"x": x, "pad": axes(*counts)}
        if mode:
            operands["mode"] = text(mode)
        if value:
            operands["constant_val"] = constant(value)
        pairs = [(0, 0)] * (x.values.ndim - len(counts) // 2)
        pairs += [(counts[at], counts[at + 1]) for at in range(0, len(counts), 2)]
        names = {"reflect": {"mode": "reflect"}, "replicate": {"mode": "edge"}}
        how = names.get(mode, {"constant_values": value.values if value else 0})
        return case(name, operands, moved(x, np.pad(x.values, pairs, **how)))

    x = fp32(spread(2, 3, 4))
    yield of("zeros by default", x, [1, 2])
    yield of("a constant", x, [1, 0, 0, 2], "constant", fp32(-1.5))
    yield of("fp16", fp16(spread(2, 3)), [0, 1, 2, 0], "constant", fp16(0.5))
    yield of("all axes", x, [1, 0, 2, 1, 0, 3])
    yield of("nothing", x, [0, 0, 0, 0])
    yield of("minus infinity", x, [0, 2], "constant", fp32(-np.inf))
    for mode in ("reflect", "replicate"):
        yield of(f"{mode} the last axis", x, [2, 3], mode)
        yield of(f"{mode} several axes", x, [1, 1, 2, 1, 3, 0], mode)
        yield of(f"{mode} a vector", fp16(spread(4)), [3, 1], mode)
    yield of("replicate more than there is", x, [6, 9], "replicate")
    yield of("an empty axis", fp32(spread(2, 0)), [1, 1])
    yield of("int32", int32(whole(2, 3)), [1, 1, 0, 2])
    run_time = {"x": fp32(spread(2)), "pad": int32([1, 2])}
    yield case("counts of the running program", run_time, fp32(np.pad(spread(2), (1, 2))))
    run_time = {"x": fp32(spread(2)), "pad": int32([-1, 0])}
    yield refused("a negative count when it runs", run_time, "counts of zero or more")
    yield refused("reflect more than there is", {"x": x, "pad": axes(4, 0), "mode": text("reflect")}, "at most 3")
    nothing = {"x": fp32(spread(0)), "pad": axes(1, 0), "mode": text("replicate")}
    yield refused("replicate nothing", nothing, "at most 0")
    yield refused("no such mode", {"x": x, "pad": axes(1, 0), "mode": text("wrap")}, "parameter `mode`")
    yield refused("too many counts", {"x": fp32(spread(2)), "pad": axes(1, 0, 1, 0)}, "parameter `pad`")


#: Slices of a tensor of shape [4, 5, 3] by name: begin, end and the rest.
SLICES: dict[str, tuple[list[int], list[int], dict[str, list]]] = {
    "a part": ([1, 0, 1], [3, 4, 3], {}),
    "all": ([0, 0, 0], [4, 5, 3], {}),
    "from the end": ([-3, -5, -1], [-1, -2, 3], {}),
    "beyond the ends": ([-9, 2, 0], [9, 100, 4], {}),
    "strides": ([0, 1, 0], [4, 5, 3], {"stride": [2, 3, 1]}),
    "strides beyond the axis": ([0, 1, 0], [4, 5, 3], {"stride": [9, 9, 9]}),
    "backwards": ([3, 4, 2], [0, 1, 0], {"stride": [-1, -2, -1]}),
    "backwards from behind the end": ([10, 4, 2], [0, 1, 0], {"stride": [-1, -1, -1]}),
    "all of it backwards": ([0] * 3, [0] * 3, {"stride": [-1] * 3, "begin_mask": [True] * 3, "end_mask": [True] * 3}),
    "no first": ([2, 2, 2], [3, 4, 3], {"begin_mask": [True, False, True]}),
    "no last": ([1, 2, 1], [0, 0, 2], {"end_mask": [True, True, False]}),
    "an axis less": ([1, 2, 0], [2, 4, 3], {"squeeze_mask": [True, False, False]}),
    "an axis less, from the end": ([0, -1, 0], [4, 0, 3], {"squeeze_mask": [False, True, False]}),
    "two axes less": ([1, 0, 2], [0, 5, 0], {"squeeze_mask": [True, False, True]}),
    "nothing": ([2, 0, 0], [2, 5, 3], {}),
    "nothing behind the end": ([4, 0, 0], [9, 5, 3], {}),
}


def slice_operands(begin: list[int], end: list[int], rest: dict[str, list], run_time: bool) -> dict[str, Tensor]:
    operands = {"begin": int32(begin), "end": int32(end)} if run_time else {"begin": axes(*begin), "end": axes(*end)}
    for parameter, values in rest.items():
        operands[parameter] = axes(*values) if parameter == "stride" else constant(booleans(values))
    return operands


def slices_of(shape: tuple[int, ...], begin: list[int], end: list[int], rest: dict[str, list]):
    parameters = ("stride", "begin_mask", "end_mask", "squeeze_mask")
    given = [np.array(rest[parameter]) if parameter in rest else None for parameter in parameters]
    slices = solve_slice_by_index_slice(shape, np.array(begin), np.array(end), *given)
    # It leaves squeezed axes at length 1.
    squeezed = rest.get("squeeze_mask", [False] * len(shape))
    return tuple(one.start if gone else one for one, gone in zip(slices, squeezed, strict=True))


@vectors("slice_by_index", COREMLTOOLS)
def slice_by_index():
    x = fp32(spread(4, 5, 3))
    for name, (begin, end, rest) in SLICES.items():
        expected = moved(x, x.values[slices_of(x.values.shape, begin, end, rest)])
        yield case(name, {"x": x} | slice_operands(begin, end, rest, run_time=False), expected)
        yield case(f"{name}, when it runs", {"x": x} | slice_operands(begin, end, rest, run_time=True), expected)
    for given in of_every_kind(3, 2):
        operands = {"x": given} | slice_operands([1, 0], [3, 1], {}, run_time=False)
        yield case(given.dtype, operands, moved(given, given.values[1:3, 0:1]))
    scalar = {"x": fp32(spread(3))} | slice_operands([1], [0], {"squeeze_mask": [True]}, run_time=False)
    yield case("to a scalar", scalar, fp32(spread(3)[1]))
    for dtype in ("int8", "int16"):
        bounds = {"begin": constant(tensor(dtype, [1])), "end": constant(tensor(dtype, [-1]))}
        yield case(f"bounds of {dtype}", {"x": fp32(spread(4))} | bounds, fp32(spread(4)[1:-1]))
    empty = {"x": fp32(spread(0, 2))} | slice_operands([0, 0], [5, 1], {}, run_time=False)
    yield case("of nothing", empty, fp32(np.zeros((0, 1))))
    for run_time in (False, True):
        when = ", when it runs" if run_time else ""
        outside = slice_operands([4, 0, 0], [5, 5, 3], {"squeeze_mask": [True, False, False]}, run_time)
        yield refused(f"an index outside{when}", {"x": x} | outside, "parameter `begin`")
        crossed = slice_operands([3, 0, 0], [1, 5, 3], {}, run_time)
        yield refused(f"an end before the begin{when}", {"x": x} | crossed, "parameter `end`")
    still = slice_operands([0, 0, 0], [1, 1, 1], {"stride": [1, 0, 1]}, run_time=False)
    yield refused("a stride of 0", {"x": x} | still, "parameter `stride`")
    yield refused("too few bounds", {"x": x} | slice_operands([0], [1], {}, run_time=False), "parameter `begin`")


@vectors("slice_by_size", NUMPY)
def slice_by_size():
    def of(name: str, x: Tensor, begin: list[int], size: list[int], run_time: bool = False):
        given = int32 if run_time else lambda values: axes(*values)
        firsts = np.where(np.array(begin) < 0, np.array(begin) + x.values.shape, begin)
        slices = [slice(first, None if n < 0 else first + n) for first, n in zip(firsts, size, strict=True)]
        return case(name, {"x": x, "begin": given(begin), "size": given(size)}, moved(x, x.values[tuple(slices)]))

    for x in of_every_kind(3, 2):
        yield of(x.dtype, x, [1, 0], [2, 1])
    x = fp32(spread(4, 5, 3))
    yield of("what follows", x, [1, 2, 0], [-1, 2, -1])
    yield of("from the end", x, [-2, -5, 0], [1, -1, 3])
    yield of("nothing", x, [1, 0, 0], [0, 5, 3])
    yield of("nothing behind the end", x, [4, 0, 0], [-1, 5, 3])
    yield of("when it runs", x, [1, 2, 0], [-1, 2, 3], run_time=True)
    for run_time in (False, True):
        given = int32 if run_time else lambda values: axes(*values)
        when = ", when it runs" if run_time else ""
        operands = {"x": fp32(spread(4)), "begin": given([2]), "size": given([3])}
        yield refused(f"more than there is{when}", operands, "do not fit axis 0")
        operands = {"x": fp32(spread(4)), "begin": given([0]), "size": given([-2])}
        yield refused(f"a negative size{when}", operands, "do not fit axis 0")
    before = {"x": fp32(spread(4)), "begin": int32([-5]), "size": int32([1])}
    yield refused("a begin before the start", before, "outside of axis 0")


@vectors("slice_update", COREMLTOOLS)
def slice_update():
    x = fp32(spread(4, 5, 3))
    for name, (begin, end, rest) in SLICES.items():
        places = slices_of(x.values.shape, begin, end, rest)
        changed = x.values.copy()
        update = fp32(whole(*changed[places].shape))
        changed[places] = update.values
        for run_time in (False, True):
            operands = {"x": x, "update": update} | slice_operands(begin, end, rest, run_time)
            yield case(f"{name}, when it runs" if run_time else name, operands, fp32(changed))
    for given in of_every_kind(3, 2):
        changed = given.values.copy()
        changed[1:3, 0:1] = given.values[0:2, 1:2]
        update = tensor(given.dtype, given.values[0:2, 1:2])
        operands = {"x": given, "update": update} | slice_operands([1, 0], [3, 1], {}, run_time=False)
        yield case(given.dtype, operands, moved(given, changed))
    for run_time in (False, True):
        bounds = slice_operands([0, 0, 0], [1, 5, 3], {}, run_time)
        operands = {"x": x, "update": fp32(spread(2, 5, 3))} | bounds
        yield refused("another shape, when it runs" if run_time else "another shape", operands, "parameter `update`")
    other = {"x": x, "update": fp16(spread(1, 5, 3))} | slice_operands([0, 0, 0], [1, 5, 3], {}, run_time=False)
    yield refused("another type", other, "parameter `update`")
