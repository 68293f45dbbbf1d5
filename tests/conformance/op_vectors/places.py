"""Ops that put elements elsewhere, make them of little, or find them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch.nn import functional

from op_vectors.case import (
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

NUMPY = "NumPy"


def block(x: np.ndarray, size: int) -> np.ndarray:
    """Neighbouring pixels as channels, the pixel first."""
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, channels, height // size, size, width // size, size)
    return parts.transpose(0, 3, 5, 1, 2, 4).reshape(batch, channels * size * size, height // size, width // size)


def unblock(x: np.ndarray, size: int) -> np.ndarray:
    batch, channels, height, width = x.shape
    parts = x.reshape(batch, size, size, channels // size**2, height, width)
    return parts.transpose(0, 3, 4, 1, 5, 2).reshape(batch, channels // size**2, height * size, width * size)


@vectors("space_to_depth", NUMPY)
def space_to_depth():
    for size, shape in ((2, (1, 1, 2, 2)), (2, (2, 3, 4, 6)), (3, (1, 2, 3, 6))):
        x = fp32(spread(*shape))
        yield case(f"{size} of {shape}", {"x": x, "block_size": axis(size)}, result("fp32", block(x.values, size)))
    yield refused("no divisor", {"x": fp32(spread(1, 1, 3, 4)), "block_size": axis(2)}, "parameter `block_size`")


@vectors("depth_to_space", NUMPY)
def depth_to_space():
    for size, shape in ((2, (1, 4, 1, 1)), (2, (2, 12, 2, 3)), (3, (1, 18, 1, 2))):
        x = fp16(spread(*shape))
        yield case(f"{size} of {shape}", {"x": x, "block_size": axis(size)}, result("fp16", unblock(x.values, size)))
    yield refused("no divisor", {"x": fp32(spread(1, 6, 3, 4)), "block_size": axis(2)}, "parameter `block_size`")


@vectors("pixel_shuffle")
def pixel_shuffle():
    for size, shape in ((2, (1, 4, 1, 1)), (2, (2, 12, 2, 3)), (3, (1, 18, 1, 2))):
        x = fp32(spread(*shape))
        expected = functional.pixel_shuffle(x.float, size)
        yield case(f"{size} of {shape}", {"x": x, "upscale_factor": axis(size)}, result("fp32", expected))


@vectors("pixel_unshuffle")
def pixel_unshuffle():
    for size, shape in ((2, (1, 1, 2, 2)), (2, (2, 3, 4, 6)), (3, (1, 2, 3, 6))):
        x = fp32(spread(*shape))
        factor = constant(tensor("uint32", size))
        expected = functional.pixel_unshuffle(x.float, size)
        yield case(f"{size} of {shape}", {"x": x, "downscale_factor": factor}, result("fp32", expected))


def to_batch(x: np.ndarray, size, pads) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    batch, channels, height, width = x.shape
    rows, columns = size
    parts = x.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return parts.transpose(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // rows, width // columns)


@vectors("space_to_batch", NUMPY)
def space_to_batch():
    for size, pads, shape in (((2, 2), ((0, 0), (0, 0)), (1, 2, 4, 6)), ((2, 3), ((1, 0), (1, 2)), (2, 1, 3, 6))):
        x = fp32(spread(*shape))
        operands = {"x": x, "block_shape": axes(*size), "paddings": constant(int32(pads))}
        yield case(f"{size} with {pads}", operands, result("fp32", to_batch(x.values, size, pads)))


@vectors("batch_to_space", NUMPY)
def batch_to_space():
    for size, crops, shape in (((2, 2), ((0, 0), (0, 0)), (1, 2, 4, 6)), ((2, 3), ((1, 0), (1, 2)), (2, 1, 4, 9))):
        x = fp32(spread(*shape))
        blocks = fp32(to_batch(x.values, size, ((0, 0), (0, 0))))
        (top, bottom), (left, right) = crops
        expected = x.values[:, :, top : shape[2] - bottom, left : shape[3] - right]
        operands = {"x": blocks, "block_shape": axes(*size), "crops": constant(int32(crops))}
        yield case(f"{size} without {crops}", operands, result("fp32", expected))


@vectors("reverse", NUMPY)
def reverse():
    for chosen in ((0,), (1, -1), (0, 1, 2)):
        x = fp32(spread(2, 3, 4))
        yield case(f"axes {chosen}", {"x": x, "axes": axes(*chosen)}, result("fp32", np.flip(x.values, chosen)))
    for x in (booleans([True, False, False]), int32([1, 2, 3]), fp16([0.5, 1.5])):
        yield case(f"all of {x.dtype}", {"x": x}, result(x.dtype, np.flip(x.values)))
    yield case("no elements", {"x": fp32(spread(0, 2))}, result("fp32", spread(0, 2)))
    yield refused("no such axis", {"x": fp32([1.0]), "axes": axes(1)}, "parameter `axes`")


@vectors("reverse_sequence", NUMPY)
def reverse_sequence():
    for seq, batch, shape in ((1, 0, (3, 4)), (0, 1, (4, 3, 2)), (2, 0, (3, 2, 4))):
        x, lengths = fp32(spread(*shape)), [4, 2, 0]
        expected = x.values.copy()
        for index, length in enumerate(lengths):
            part = np.moveaxis(expected, (batch, seq), (0, 1))
            part[index, :length] = part[index, :length][::-1].copy()
        operands = {"x": x, "lengths": int32(lengths), "seq_axis": axis(seq), "batch_axis": axis(batch)}
        yield case(f"axis {seq} by {batch}", operands, result("fp32", expected))
    long = {"x": fp32(spread(1, 2)), "lengths": int32([3]), "seq_axis": axis(1), "batch_axis": axis(0)}
    yield refused("longer than the axis", long, "index 3 is outside")


@vectors("shape", NUMPY)
def shape():
    for sizes in ((2, 3, 4), (5,), (0, 2)):
        yield case(f"{sizes}", {"x": fp32(spread(*sizes))}, int32(np.array(sizes)))


@vectors("sliding_windows", NUMPY)
def sliding_windows():
    for along, size, stride in ((1, 3, 1), (0, 2, 2), (-1, 2, 3)):
        x = fp32(spread(4, 5, 6))
        view = np.lib.stride_tricks.sliding_window_view(x.values, size, along)
        view = np.moveaxis(view, -1, along % 3 + 1)
        expected = np.take(view, np.arange(0, view.shape[along % 3], stride), along % 3)
        operands = {"x": x, "axis": axis(along), "size": axis(size), "stride": axis(stride)}
        yield case(f"axis {along}, {size} by {stride}", operands, result("fp32", expected))
    yield refused("too long", {"x": fp32([1.0]), "axis": axis(0), "size": axis(2)}, "parameter `size`")


@vectors("flatten2d", NUMPY)
def flatten2d():
    for along, expected in ((0, (1, 24)), (1, (2, 12)), (2, (6, 4)), (-1, (6, 4))):
        x = fp32(spread(2, 3, 4))
        yield case(f"axis {along}", {"x": x, "axis": axis(along)}, result("fp32", x.values.reshape(expected)))


@vectors("reshape_like", NUMPY)
def reshape_like():
    x = fp32(spread(6, 4))
    references = [fp32(spread(2, 9)), fp32(spread(7, 3, 4))]
    operands = {
        "x": x,
        "ref_tensors": references,
        "begins": [axis(0), axis(1)],
        "ends": [axis(1), axis(0)],
        "end_masks": [flag(False), flag(True)],
    }
    yield case("of two", operands, result("fp32", x.values.reshape(2, 3, 4)))


@vectors("band_part", NUMPY)
def band_part():
    for lower, upper in ((-1, -1), (0, 0), (1, 0), (0, -1), (-1, 1), (2, 1)):
        x = fp32(spread(2, 4, 5))
        index = np.arange(4)[:, None] - np.arange(5)
        kept = (index <= (lower if lower >= 0 else 9)) & (-index <= (upper if upper >= 0 else 9))
        operands = {"x": x, "lower": axis(lower), "upper": axis(upper)}
        yield case(f"{lower} and {upper}", operands, result("fp32", x.values * kept))
    yield case("int32", {"x": int32(whole(3, 3)), "lower": axis(0), "upper": axis(-1)}, int32(np.triu(whole(3, 3))))


@vectors("fill", NUMPY)
def fill():
    for value in (fp32(1.5), fp16(-2.0), int32(7), booleans(True)):
        operands = {"shape": axes(2, 3), "value": constant(value)}
        yield case(value.dtype, operands, result(value.dtype, np.full((2, 3), value.values)))
    yield case("zeros", {"shape": axes(4)}, fp32(np.zeros(4)))
    yield refused("a negative length", {"shape": axes(-1)}, "parameter `shape`")


@vectors("fill_like", NUMPY)
def fill_like():
    operands = {"ref_tensor": fp32(spread(2, 3)), "value": constant(int32(7))}
    yield case("int32 like fp32", operands, int32(np.full((2, 3), 7)))
    yield case("zeros", {"ref_tensor": int32([1, 2])}, fp32([0.0, 0.0]))


@vectors("one_hot")
def one_hot():
    indices = int32([[0, 2], [3, 1]])
    base = functional.one_hot(torch.from_numpy(indices.values), 4).numpy()
    for along, expected in ((-1, base), (0, base.transpose(2, 0, 1)), (1, base.transpose(0, 2, 1))):
        operands = {"indices": indices, "one_hot_vector_size": axis(4), "axis": axis(along)}
        yield case(f"axis {along}", operands, int32(expected))
    values = {"on_value": constant(fp32(2.5)), "off_value": constant(fp32(-1.0))}
    operands = {"indices": indices, "one_hot_vector_size": axis(4), **values}
    yield case("other values", operands, fp32(np.where(base == 1, 2.5, -1.0)))
    outside = {"indices": int32([-1, 5, 1]), "one_hot_vector_size": axis(2)}
    yield case("outside", outside, int32([[0, 0], [0, 0], [0, 1]]))


@vectors("range_1d", NUMPY)
def range_1d():
    for made, numbers in ((int32, (0, 5, 1)), (int32, (7, -2, -3)), (fp32, (0.5, 3.0, 0.75)), (int32, (3, 3, 1))):
        start, end, step = (constant(made(number)) for number in numbers)
        expected = np.arange(*numbers)
        yield case(f"{numbers}", {"start": start, "end": end, "step": step}, result(start.dtype, expected))
    zero = {"start": axis(0), "end": axis(1), "step": axis(0)}
    yield refused("no step", zero, "parameter `step`")


@vectors("argsort", NUMPY)
def argsort():
    for along, ascending in itertools.product((-1, 0, 1), (True, False)):
        x = fp32(spread(4, 3, 5))
        expected = np.argsort(x.values if ascending else -x.values, along, kind="stable")
        operands = {"x": x, "axis": axis(along), "ascending": flag(ascending)}
        yield case(f"axis {along}, ascending {ascending}", operands, int32(expected))
    yield case("equal elements", {"x": int32([1, 1, 2, 1])}, int32([2, 0, 1, 3]))


@vectors("non_zero", NUMPY)
def non_zero():
    for x in (int32([[0, 1], [2, 0]]), fp32([0.0, -0.5, 3.0]), booleans([True, False, True])):
        yield case(x.dtype, {"x": x}, int32(np.transpose(np.nonzero(x.values))))


@vectors("einsum", NUMPY)
def einsum():
    for equation, x_shape, y_shape in (
        ("nchw,nwhu->nchu", (2, 3, 4, 5), (2, 5, 4, 6)),
        ("chw,whr->chr", (3, 4, 5), (5, 4, 6)),
        ("abcd,adce->abce", (1, 3, 4, 5), (2, 5, 4, 6)),
        ("nchw,nwhu->nchu", (2, 3, 1, 5), (2, 5, 4, 6)),
    ):
        x, y = fp32(spread(*x_shape)), fp32(spread(*y_shape, low=-1.0, high=1.0))
        letters = equation.split("->")[0].split(",")
        full = dict(
            sorted(
                itertools.chain(
                    *(zip(part, sizes, strict=False) for part, sizes in zip(letters, (x_shape, y_shape), strict=False))
                )
            )
        )
        for part, sizes in zip(letters, (x_shape, y_shape), strict=False):
            for letter, size in zip(part, sizes, strict=False):
                full[letter] = max(full[letter], size)
        wide = [np.broadcast_to(v.values, [full[a] for a in part]) for v, part in zip((x, y), letters, strict=False)]
        operands = {"values": [x, y], "equation": text(equation)}
        yield case(f"{equation} of {x_shape}", operands, result("fp32", np.einsum(equation, *wide)), tolerance=1e-5)
    pair = [fp32(spread(2, 2)), fp32(spread(2, 2))]
    yield refused("no equation", {"values": pair, "equation": text("ab,bc")}, "parameter `equation`")
    yield refused(
        "lengths that differ", {"values": [pair[0], fp32(spread(3, 2))], "equation": text("ab,bc->ac")}, "`b`"
    )


MEET = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "update": lambda old, new: new,
}


def scattered(data: np.ndarray, places, updates: np.ndarray, mode: str) -> np.ndarray:
    data = data.copy()
    for place, update in zip(places, updates, strict=False):
        data[place] = MEET[mode](data[place], update)
    return data


@vectors("scatter", NUMPY)
def scatter():
    for mode, along in itertools.product(MEET, (0, 1)):
        data, indices = fp32(spread(3, 4)), [1, 0, 1]
        updates = fp32(spread(3, 4) if along == 0 else spread(3, 3))
        expected = np.moveaxis(data.values, along, 0)
        expected = scattered(expected, indices, np.moveaxis(updates.values, along, 0), mode)
        operands = {
            "data": data,
            "indices": int32(indices),
            "updates": updates,
            "axis": axis(along),
            "mode": text(mode),
        }
        yield case(f"{mode} on {along}", operands, result("fp32", np.moveaxis(expected, 0, along)), tolerance=1e-6)
    ints = {"data": int32([1, 2, 3]), "indices": int32([2, 2]), "updates": int32([4, 5]), "mode": text("add")}
    yield case("int32", ints, int32([1, 2, 12]))
    far = {"data": fp32([1.0]), "indices": int32([1]), "updates": fp32([2.0])}
    yield refused("outside", far, "index 1 is outside")
    yield refused("no such mode", far | {"mode": text("xor")}, "parameter `mode`")


@vectors("scatter_along_axis", NUMPY)
def scatter_along_axis():
    for mode, along in itertools.product(MEET, (0, 1, -1)):
        data = fp32(spread(3, 4))
        indices = np.array([[0, 2, 1, 1], [1, 0, 0, 2]]) if along == 0 else np.array([[0, 3], [2, 2], [1, 0]])
        updates = fp32(spread(*indices.shape))
        places = []
        for place in np.ndindex(*indices.shape):
            target = list(place)
            target[along % 2] = indices[place]
            places.append(tuple(target))
        expected = scattered(data.values, places, updates.values.reshape(-1), mode)
        operands = {
            "data": data,
            "indices": int32(indices),
            "updates": updates,
            "axis": axis(along),
            "mode": text(mode),
        }
        yield case(f"{mode} on {along}", operands, result("fp32", expected), tolerance=1e-6)


@vectors("scatter_nd", NUMPY)
def scatter_nd():
    for mode in MEET:
        data, indices = fp32(spread(3, 4)), np.array([[0, 1], [2, 3], [0, 1]])
        updates = fp32(spread(3))
        expected = scattered(data.values, [tuple(index) for index in indices], updates.values, mode)
        operands = {"data": data, "indices": int32(indices), "updates": updates, "mode": text(mode)}
        yield case(f"{mode} of elements", operands, result("fp32", expected), tolerance=1e-6)
        rows = fp32(spread(2, 4))
        expected = scattered(data.values, [2, 0], rows.values, mode)
        operands = {"data": data, "indices": int32([[2], [0]]), "updates": rows, "mode": text(mode)}
        yield case(f"{mode} of rows", operands, result("fp32", expected), tolerance=1e-6)


@vectors("gather_nd", NUMPY)
def gather_nd():
    x = fp32(spread(3, 4, 5))
    for depth in (1, 2, 3):
        indices = np.array([[2, 1, 0], [0, 3, 4]])[:, :depth]
        expected = np.stack([x.values[tuple(index)] for index in indices])
        yield case(f"{depth} axes", {"x": x, "indices": int32(indices)}, result("fp32", expected))
    indices = np.array([[[1], [0]], [[3], [3]], [[2], [0]]])
    expected = np.stack([x.values[batch][indices[batch, :, 0]] for batch in range(3)])
    yield case("in batches", {"x": x, "indices": int32(indices), "batch_dims": axis(1)}, result("fp32", expected))
    older = {"x": int32([5, 6, 7]), "indices": int32([[-1]])}
    yield case("from the end before ios17", older, int32([7]), opset="ios16")
    yield refused("outside", {"x": fp32([1.0]), "indices": int32([[1]])}, "index 1 is outside")


@vectors("non_maximum_suppression", NUMPY)
def non_maximum_suppression():
    boxes = np.array([[2.0, 2.0, 4.0, 4.0], [2.5, 2.0, 4.0, 4.0], [9.0, 9.0, 2.0, 2.0], [2.0, 2.5, 4.0, 4.0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.5], [0.1, 0.7]])

    def overlap(a, b):
        low = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2)
        high = np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
        both = np.prod(np.maximum(high - low, 0))
        return both / (np.prod(a[2:]) + np.prod(b[2:]) - both)

    def chosen(threshold, most, by_class):
        best, kept = scores.max(1), []
        for place in np.argsort(-best):
            rivals = [other for other in kept if not by_class or scores[other].argmax() == scores[place].argmax()]
            if len(kept) < most and all(overlap(boxes[other], boxes[place]) <= threshold for other in rivals):
                kept.append(place)
        return kept

    for threshold, most, by_class in ((0.5, 3, False), (0.5, 4, True), (0.9, 2, False)):
        kept = chosen(threshold, most, by_class)
        empty = most - len(kept)
        out_boxes = np.concatenate([boxes[kept], np.zeros((empty, 4))])[None]
        out_scores = np.concatenate([scores[kept], np.zeros((empty, 2))])[None]
        out_indices = int32(np.array([*kept, *[-1] * empty])[None])
        shared = {"iou_threshold": constant(fp32(threshold)), "max_boxes": axis(most)}
        shared["per_class_suppression"] = flag(by_class)
        older = {"boxes": fp32(boxes[None]), "scores": fp32(scores[None]), **shared}
        older["score_threshold"] = constant(fp32(0.0))
        results = (result("fp32", out_boxes), result("fp32", out_scores), out_indices, int32([len(kept)]))
        yield case(f"{threshold} of {most}, by class {by_class}, before ios17", older, *results, opset="ios15")
        turned = [np.swapaxes(values, 1, 2) for values in (boxes[None], scores[None], out_boxes, out_scores)]
        newer = {"boxes": fp32(turned[0]), "scores": fp32(turned[1]), **shared}
        results = (result("fp32", turned[2]), result("fp32", turned[3]), out_indices)
        yield case(f"{threshold} of {most}, by class {by_class}", newer, *results, opset="ios17")


@vectors("random_normal", NUMPY)
def random_normal():
    operands = {"shape": axes(2, 3), "mean": constant(fp32(1.5)), "stddev": constant(fp32(0.0))}
    yield case("without deviation", operands, fp32(np.full((2, 3), 1.5)))


@vectors("random_uniform", NUMPY)
def random_uniform():
    operands = {"shape": axes(2, 3), "low": constant(fp16(2.5)), "high": constant(fp16(2.5))}
    yield case("between equal numbers", operands, fp16(np.full((2, 3), 2.5)))


@vectors("random_bernoulli", NUMPY)
def random_bernoulli():
    for probability in (0.0, 1.0):
        operands = {"shape": axes(5), "prob": constant(fp32(probability))}
        yield case(f"probability {probability}", operands, fp32(np.full(5, probability)))


@vectors("random_categorical", NUMPY)
def random_categorical():
    operands = {"x": fp32([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), "mode": text("probs"), "size": axis(3)}
    yield case("certain classes", operands, fp32([[1.0] * 3, [2.0] * 3]))
    sure = {"x": fp32([[-1e9, 0.0, -1e9]]), "mode": text("logits"), "size": axis(2)}
    yield case("certain logits", sure, fp32([[1.0, 1.0]]))
