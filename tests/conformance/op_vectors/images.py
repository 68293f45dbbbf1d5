"""Resizing and resampling of images."""

from __future__ import annotations

import itertools

import numpy as np
from torch.nn import functional

from op_vectors.case import (
    axes,
    axis,
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
)


def scales(height, width):
    made = fp32 if isinstance(height, float) else int32
    return {"scale_factor_height": constant(made(height)), "scale_factor_width": constant(made(width))}


def size(height: int, width: int) -> dict:
    return {"target_size_height": axis(height), "target_size_width": axis(width)}


@vectors("upsample_nearest_neighbor")
def upsample_nearest_neighbor():
    for factors in ((2, 3), (1, 2), (2.5, 1.5)):
        x = fp32(spread(1, 2, 4, 6))
        target = [int(np.floor(np.float32(factor) * length)) for factor, length in zip(factors, (4, 6), strict=False)]
        expected = functional.interpolate(x.float, size=target, mode="nearest")
        yield case(f"by {factors}", {"x": x, **scales(*factors)}, result("fp32", expected))
    yield refused("a negative factor", {"x": fp32(spread(1, 2, 2)), **scales(-1, 1)}, "scale_factor_height")


@vectors("upsample_bilinear")
def upsample_bilinear():
    for factors, align in itertools.product(((2, 3), (1, 2), (2.5, 1.5)), (True, False)):
        x = fp32(spread(1, 2, 4, 6))
        target = [int(np.floor(np.float32(factor) * length)) for factor, length in zip(factors, (4, 6), strict=False)]
        expected = functional.interpolate(x.float, size=target, mode="bilinear", align_corners=align)
        operands = {"x": x, **scales(*factors), "align_corners": flag(align)}
        yield case(f"by {factors}, corners {align}", operands, result("fp32", expected), tolerance=1e-6)
    both = {"x": fp32(spread(1, 2, 2)), **scales(2, 2), "align_corners": flag(True), "half_pixel_centers": flag(True)}
    yield refused("both kinds", both, "exclude each other")


@vectors("resize_nearest_neighbor")
def resize_nearest_neighbor():
    for target in ((8, 12), (3, 5), (4, 6), (7, 2)):
        x = fp32(spread(2, 2, 4, 6))
        expected = functional.interpolate(x.float, size=target, mode="nearest")
        yield case(f"to {target}", {"x": x, **size(*target)}, result("fp32", expected))
    three = fp16(spread(2, 4, 3))
    expected = functional.interpolate(three.float[None], size=(2, 6), mode="nearest")[0]
    yield case("three axes", {"x": three, **size(2, 6)}, result("fp16", expected))


def grid(mode: str, length: int, count: int) -> np.ndarray:
    """Where the documentation of `resize_bilinear` says that points lie."""
    index = np.arange(count, dtype=np.float64)
    if mode == "DEFAULT":
        points = index * (length / count)
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = index * ((length - 1) / (count - 1)) if count > 1 else np.zeros(1)
        if mode == "ALIGN_CORNERS" and count == 1:
            points = np.array([(length - 1) / 2])
    elif mode == "OFFSET_CORNERS":
        delta = max(1, length - 1) / count
        points = 0.5 * delta + index * delta
    else:
        points = (index + 0.5) * (length / count) - 0.5
    return np.clip(points, 0, length - 1)


def read_between(x: np.ndarray, points: np.ndarray, along: int) -> np.ndarray:
    first = np.floor(points).astype(int)
    second = np.minimum(first + 1, x.shape[along] - 1)
    shape = [1] * x.ndim
    shape[along] = len(points)
    weight = (points - first).reshape(shape)
    return np.take(x, first, along) * (1 - weight) + np.take(x, second, along) * weight


MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


@vectors("resize_bilinear", "NumPy")
def resize_bilinear():
    for mode, target in itertools.product(MODES, ((7, 9), (2, 3), (1, 1), (4, 6))):
        x = fp32(spread(1, 2, 4, 6))
        expected = read_between(x.values, grid(mode, 4, target[0]), 2)
        expected = read_between(expected, grid(mode, 6, target[1]), 3)
        operands = {"x": x, **size(*target), "sampling_mode": text(mode)}
        yield case(f"{mode} to {target}", operands, result("fp32", expected), tolerance=1e-6)
    operands = {"x": fp32(spread(1, 2, 2)), **size(2, 2), "sampling_mode": text("BEST")}
    yield refused("no such mode", operands, "parameter `sampling_mode`")


@vectors("resize", "NumPy")
def resize():
    def of(name, shape, lengths, dims, mode="UNALIGN_CORNERS"):
        x = fp32(spread(*shape))
        expected = x.values
        for offset in range(1, dims + 1):
            length = lengths[-offset] or shape[-offset]
            along = len(shape) - offset
            expected = read_between(expected, grid(mode, shape[along], length), along)
        operands = {"x": x, "shape": axes(*lengths), "resized_dims": constant(tensor("uint32", dims))}
        operands |= {"interpolation_mode": text("LINEAR"), "sampling_mode": text(mode)}
        return case(name, operands, result("fp32", expected), tolerance=1e-6)

    yield of("two axes", (1, 2, 3, 4), (1, 6, 8), 2)
    yield of("0 keeps a length", (1, 2, 3, 4), (1, 0, 7), 2)
    yield of("one axis", (2, 3, 5), (9,), 1)
    for mode in MODES:
        yield of(f"{mode}", (1, 2, 3, 4), (5, 6), 2, mode)
    x = fp32(spread(1, 2, 4, 6))
    operands = {"x": x, "shape": axes(7, 9), "resized_dims": constant(tensor("uint32", 2))}
    operands |= {"interpolation_mode": text("NEAREST_NEIGHBOR"), "sampling_mode": text("DEFAULT")}
    expected = functional.interpolate(x.float, size=(7, 9), mode="nearest")
    yield case("nearest", operands, result("fp32", expected))
    many = {"x": x, "shape": axes(7, 9), "resized_dims": constant(tensor("uint32", 3))}
    yield refused("more axes than lengths", many, "parameter `resized_dims`")


@vectors("crop", "NumPy")
def crop():
    x = fp32(spread(2, 3, 5, 6))
    operands = {"x": x, "crop_height": axes(1, 2), "crop_width": axes(0, 3)}
    yield case("both axes", operands, result("fp32", x.values[:, :, 1:3, 0:3]))
    yield case("nothing", {"x": x, "crop_height": axes(0, 0), "crop_width": axes(0, 0)}, x)
    yield refused("everything", {"x": x, "crop_height": axes(3, 2), "crop_width": axes(0, 0)}, "crop_height")


def sampling(mode: str, padding: str, coordinates: str, align: bool, value: float = 0.0) -> dict:
    return {
        "sampling_mode": text(mode),
        "padding_mode": text(padding),
        "padding_value": constant(fp32(value)),
        "coordinates_mode": text(coordinates),
        "align_corners": flag(align),
    }


@vectors("resample")
def resample():
    x = fp32(spread(2, 3, 4, 5))
    points = fp32(spread(2, 3, 6, 2, low=-1.75, high=1.75))
    paddings = {("constant", True): "zeros", ("constant", False): "zeros", ("border", True): "border"}
    paddings |= {("border", False): "border", ("reflection", True): "reflection", ("symmetric", False): "reflection"}
    for mode, ((padding, align), name) in itertools.product(("bilinear", "nearest"), paddings.items()):
        # PyTorch reflects at the middles of elements if corners are aligned, and at their edges if not.
        expected = functional.grid_sample(x.float, points.float, mode, name, align_corners=align)
        operands = {"x": x, "coordinates": points, **sampling(mode, padding, "normalized_minus_one_to_one", align)}
        yield case(f"{mode}, {padding}, corners {align}", operands, result("fp32", expected), tolerance=1e-5)
    unit = fp32((points.values + 1) / 2)
    expected = functional.grid_sample(x.float, unit.float * 2 - 1, "bilinear", "zeros", align_corners=True)
    operands = {"x": x, "coordinates": unit, **sampling("bilinear", "constant", "normalized_zero_to_one", True)}
    yield case("from 0 to 1", operands, result("fp32", expected), tolerance=1e-5)
    places = int32([[[[0, 0], [4, 3]], [[2, 1], [5, 0]]]] * 2)
    expected = np.stack([[[[i[c, 0, 0], i[c, 3, 4]], [i[c, 1, 2], 9.5]] for c in range(3)] for i in x.values])
    operands = {"x": x, "coordinates": places, **sampling("bilinear", "constant", "unnormalized", True, 9.5)}
    yield case("places of elements, one outside", operands, result("fp32", expected))
    other = {"x": x, "coordinates": fp32(spread(1, 3, 6, 2)), **sampling("bilinear", "constant", "unnormalized", True)}
    yield refused("another count of images", other, "parameter `coordinates`")


@vectors("affine")
def affine():
    x = fp32(spread(2, 3, 4, 5))
    for name, rows in (("one matrix", 1), ("a matrix for each", 2)):
        matrix = fp32(np.array([[0.75, 0.25, 0.125, -0.25, 1.0, -0.5], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]])[:rows])
        grid = functional.affine_grid(matrix.float.reshape(-1, 2, 3).expand(2, 2, 3), (2, 3, 6, 7), align_corners=True)
        expected = functional.grid_sample(x.float, grid, "bilinear", "zeros", align_corners=True)
        operands = {"x": x, "transform_matrix": matrix, "output_height": axis(6), "output_width": axis(7)}
        operands |= sampling("bilinear", "constant", "normalized_minus_one_to_one", True)
        yield case(name, operands, result("fp32", expected), tolerance=1e-5)


@vectors("crop_resize", "NumPy")
def crop_resize():
    def crop(image, box, target, mode, outside=0.0):
        ends = [(box[0], box[2], target[0], image.shape[1]), (box[1], box[3], target[1], image.shape[2])]
        for along, (start, end, count, _length) in enumerate(ends, 1):
            span = end - start
            index = np.arange(count, dtype=np.float64)
            if mode == "STRICT_ALIGN_CORNERS":
                points = start + index * (span / (count - 1) if count > 1 else 0.0)
            elif mode == "OFFSET_CORNERS":
                points = start + (index + 0.5) * max(1, span) / count
            else:
                points = start + index * (span + 1) / count
            points = np.clip(points, start, end)
            image = read_between(image, points, along)
        return image

    x = fp32(spread(2, 3, 6, 8))
    boxes = np.array([[0.0, 1.0, 4.0, 6.0], [1.5, 0.5, 3.25, 7.0]])
    for mode in ("STRICT_ALIGN_CORNERS", "OFFSET_CORNERS", "DEFAULT"):
        expected = np.stack(
            [crop(x.values[image], box, (3, 4), mode) for image, box in zip((1, 0), boxes, strict=False)]
        )
        operands = {"x": x, "boxes": fp32(boxes), "box_indices": int32([1, 0]), "target_height": axis(3)}
        operands |= {"target_width": axis(4), "sampling_mode": text(mode)}
        yield case(f"{mode}", operands, result("fp32", expected), tolerance=1e-5, opset="ios17")
    older = {"x": fp32(x.values[:1]), "roi": fp32(boxes.reshape(2, 1, 4, 1, 1)), "target_height": axis(2)}
    older |= {"target_width": axis(3), "sampling_mode": text("STRICT_ALIGN_CORNERS")}
    expected = np.stack([crop(x.values[0], box, (2, 3), "STRICT_ALIGN_CORNERS") for box in boxes])[:, None]
    yield case("before ios17", older, result("fp32", expected), tolerance=1e-5, opset="ios16")
    unit = fp32(boxes / [5.0, 7.0, 5.0, 7.0])
    wide = {"x": x, "boxes": unit, "box_indices": int32([1, 0]), "target_height": axis(2), "target_width": axis(2)}
    wide |= {"sampling_mode": text("STRICT_ALIGN_CORNERS"), "normalized_coordinates": flag(True)}
    held = unit.values * [5.0, 7.0, 5.0, 7.0]
    expected = np.stack(
        [crop(x.values[image], box, (2, 2), "STRICT_ALIGN_CORNERS") for image, box in zip((1, 0), held, strict=False)]
    )
    yield case("from 0 to 1", wide, result("fp32", expected), tolerance=1e-5, opset="ios17")
    swapped = {"x": x, "boxes": fp32(boxes[:, [1, 0, 3, 2]]), "target_height": axis(2), "target_width": axis(2)}
    swapped |= {"box_coordinate_mode": text("CORNERS_WIDTH_FIRST"), "sampling_mode": text("STRICT_ALIGN_CORNERS")}
    expected = np.stack([crop(x.values[image], box, (2, 2), "STRICT_ALIGN_CORNERS") for image, box in enumerate(boxes)])
    yield case("width first", swapped, result("fp32", expected), tolerance=1e-5, opset="ios17")
    outside = {"x": x, "boxes": fp32([[0.0, 0.0, 0.0, 99.0]]), "target_height": axis(1), "target_width": axis(2)}
    outside |= {"sampling_mode": text("STRICT_ALIGN_CORNERS"), "pad_value": constant(fp32(7.0))}
    expected = np.stack([[[[x.values[0, channel, 0, 0], 7.0]] for channel in range(3)]])
    yield case("outside", outside, result("fp32", expected), opset="ios17")
    far = {"x": x, "boxes": fp32(boxes), "box_indices": int32([2, 0])}
    yield refused("no such image", far, "index 2 is outside", opset="ios17")
