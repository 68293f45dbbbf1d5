"""Ops that sum products: matrices, layers, convolutions, attention and recurrence."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

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
    text,
    vectors,
    whole,
)

#: Relative to 1 + |expected|: sums of up to a thousand products in fp32.
SUMS = 1e-5


@vectors("matmul")
def matmul():
    def of(name: str, x: Tensor, y: Tensor, transposed: tuple[bool, bool] = (False, False), opset: str | None = None):
        operands = {"x": x, "y": y}
        for parameter, given in zip(("transpose_x", "transpose_y"), transposed, strict=True):
            if given:
                operands[parameter] = flag(True)
        left = x.torch.mT if transposed[0] and x.values.ndim > 1 else x.torch
        right = y.torch.mT if transposed[1] and y.values.ndim > 1 else y.torch
        return case(name, operands, result(x.dtype, left @ right), tolerance=SUMS, opset=opset)

    yield of("matrices", fp32(spread(3, 4)), fp32(spread(4, 5)))
    yield of("fp16", fp16(spread(3, 4)), fp16(spread(4, 5)))
    yield of("larger than a tile", fp32(spread(33, 70)), fp32(spread(70, 35)))
    yield of("x transposed", fp32(spread(4, 3)), fp32(spread(4, 5)), (True, False))
    yield of("y transposed", fp32(spread(3, 4)), fp32(spread(5, 4)), (False, True))
    yield of("both transposed", fp32(spread(4, 3)), fp32(spread(5, 4)), (True, True))
    yield of("batches", fp32(spread(2, 3, 4)), fp32(spread(2, 4, 5)))
    yield of("batches transposed", fp32(spread(2, 4, 3)), fp32(spread(2, 5, 4)), (True, True))
    yield of("batches of x are stretched", fp32(spread(1, 3, 4)), fp32(spread(2, 4, 5)))
    yield of("batches of both are stretched", fp32(spread(2, 1, 2, 3)), fp32(spread(1, 4, 3, 2)))
    yield of("y has fewer axes", fp32(spread(2, 2, 3, 4)), fp32(spread(4, 5)))
    yield of("x has fewer axes", fp32(spread(3, 4)), fp32(spread(2, 2, 5, 4)), (False, True))
    yield of("two vectors", fp32(spread(4)), fp32(spread(4)))
    yield of("x is a vector", fp32(spread(4)), fp32(spread(4, 3)))
    yield of("x is a vector and y has batches", fp32(spread(4)), fp32(spread(2, 4, 3)))
    yield of("y is a vector", fp32(spread(3, 4)), fp32(spread(4)))
    yield of("y is a vector and x has batches", fp32(spread(2, 3, 4)), fp32(spread(4)))
    yield of("one row", fp16(spread(1, 64)), fp16(spread(64, 3)))
    yield of("nothing to sum", fp32(spread(2, 0)), fp32(spread(0, 3)))
    yield of("no rows", fp32(spread(0, 2)), fp32(spread(2, 3)))
    yield of("no batches", fp32(spread(0, 2, 3)), fp32(spread(0, 3, 4)))
    yield of("int32", int32(whole(3, 4)), int32(whole(4, 2)))
    yield of("infinities", fp32([[np.inf, 1.0], [0.0, np.nan]]), fp32([[1.0, 2.0], [3.0, -1.0]]))
    yield refused("inner axes that differ", {"x": fp32(spread(2, 3)), "y": fp32(spread(2, 3))}, "inner axes")
    yield refused("batches that differ", {"x": fp32(spread(2, 1, 1)), "y": fp32(spread(3, 1, 1))}, "batch axes")
    yield refused("a scalar", {"x": fp32(1.0), "y": fp32(spread(2, 3))}, "parameter `x`")


@vectors("linear")
def linear():
    def of(name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None):
        operands = {"x": x, "weight": constant(weight)}
        expected = x.torch @ weight.torch.mT
        if bias is not None:
            operands["bias"] = constant(bias)
            expected = expected + bias.torch
        return case(name, operands, result(x.dtype, expected), tolerance=SUMS)

    yield of("a matrix", fp32(spread(3, 8)), fp32(spread(5, 8)), fp32(spread(5)))
    yield of("without bias", fp32(spread(3, 8)), fp32(spread(5, 8)))
    yield of("a vector", fp32(spread(8)), fp32(spread(5, 8)), fp32(spread(5)))
    yield of("batches", fp16(spread(2, 3, 8)), fp16(spread(5, 8)), fp16(spread(5)))
    yield of("many rows", fp32(spread(9, 40)), fp32(spread(70, 40)), fp32(spread(70)))
    yield of("one row", fp16(spread(1, 1, 100)), fp16(spread(7, 100)))
    yield of("no rows", fp32(spread(0, 8)), fp32(spread(5, 8)), fp32(spread(5)))
    yield of("nothing to sum", fp32(spread(2, 0)), fp32(spread(3, 0)), fp32(spread(3)))
    yield of("int32", int32(whole(2, 4)), int32(whole(3, 4)), int32(whole(3)))
    operands = {"x": fp32(spread(2, 3)), "weight": constant(fp32(spread(4, 5)))}
    yield refused("channels that differ", operands, "parameter `weight`")
    operands = {"x": fp32(spread(2, 3)), "weight": constant(fp32(spread(4, 3))), "bias": constant(fp32(spread(3)))}
    yield refused("a bias of another length", operands, "parameter `bias`")


def same_pads(size: int, kernel: int, stride: int, dilation: int, lower: bool) -> tuple[int, int]:
    """The padding with which every `stride`-th place has a window; the odd one is behind, or before where `lower`."""
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


@vectors("conv")
def conv():
    def of(name: str, x: Tensor, weight: Tensor, bias: Tensor | None = None, pad_type="valid", pad=None, **numbers):
        spatial = x.values.ndim - 2
        operands = {"x": x, "weight": constant(weight), "pad_type": text(pad_type)}
        if bias is not None:
            operands["bias"] = constant(bias)
        if pad is not None:
            operands["pad"] = axes(*pad)
        for parameter, value in numbers.items():
            operands[parameter] = axis(value) if parameter == "groups" else axes(*value)
        strides, dilations = (numbers.get(parameter, (1,) * spatial) for parameter in ("strides", "dilations"))
        pads = [(0, 0)] * spatial
        if pad_type == "custom":
            pads = [(pad[2 * at], pad[2 * at + 1]) for at in range(spatial)]
        elif pad_type != "valid":
            sizes = zip(x.values.shape[2:], weight.values.shape[2:], strides, dilations, strict=True)
            pads = [same_pads(*each, lower=pad_type == "same_lower") for each in sizes]
        padded = functional.pad(x.float, [count for pair in reversed(pads) for count in pair])
        apply = (functional.conv1d, functional.conv2d, functional.conv3d)[spatial - 1]
        shift = None if bias is None else bias.float
        expected = apply(padded, weight.float, shift, strides, 0, dilations, numbers.get("groups", 1))
        return case(name, operands, result(x.dtype, expected), tolerance=SUMS)

    image, kernel, bias = fp32(spread(1, 4, 7, 6)), fp32(spread(6, 4, 3, 2)), fp32(spread(6))
    yield of("a kernel of one", fp16(spread(1, 8, 1, 5)), fp16(spread(6, 8, 1, 1)), fp16(spread(6)))
    yield of("a kernel of one, one place", fp16(spread(1, 64, 1, 1)), fp16(spread(7, 64, 1, 1)))
    yield of("a kernel of one, batches", fp32(spread(2, 3, 2, 2)), fp32(spread(4, 3, 1, 1)), fp32(spread(4)))
    yield of("a kernel of one with strides", fp32(spread(1, 3, 5, 4)), fp32(spread(2, 3, 1, 1)), strides=(2, 3))
    small, points = fp32(spread(1, 3, 2, 2)), fp32(spread(2, 3, 1, 1))
    yield of("a kernel of one, padded", small, points, None, "custom", (1, 0, 0, 2))
    yield of("padding that is not custom", small, points, None, "valid", (1, 1, 1, 1))
    yield of("a kernel of one in groups", fp32(spread(1, 4, 2, 2)), fp32(spread(6, 2, 1, 1)), fp32(spread(6)), groups=2)
    yield of("a window", image, kernel, bias)
    yield of("batches", fp32(spread(2, 4, 7, 6)), kernel, bias)
    yield of("strides", image, kernel, bias, strides=(2, 3))
    yield of("dilations", image, kernel, dilations=(2, 3))
    yield of("custom padding", image, kernel, bias, "custom", (1, 2, 0, 3))
    for pad_type in ("same", "same_lower"):
        yield of(pad_type, image, kernel, bias, pad_type)
        yield of(f"{pad_type} with strides", image, kernel, None, pad_type, strides=(2, 3))
        yield of(f"{pad_type} with dilations", image, kernel, None, pad_type, dilations=(2, 2))
        yield of(f"{pad_type} with strides beyond the kernel", image, kernel, None, pad_type, strides=(4, 4))
    yield of("groups", image, fp32(spread(6, 2, 3, 2)), bias, groups=2)
    yield of("a kernel per channel", image, fp32(spread(8, 1, 3, 3)), None, "same", groups=4)
    yield of("one spatial axis", fp32(spread(2, 3, 9)), fp32(spread(4, 3, 3)), fp32(spread(4)), "custom", (2, 0))
    yield of("one spatial axis, causal", fp16(spread(1, 4, 6)), fp16(spread(4, 1, 3)), None, "custom", (2, 0), groups=4)
    yield of("three spatial axes", fp32(spread(1, 2, 4, 5, 3)), fp32(spread(3, 2, 2, 3, 2)), strides=(1, 2, 1))
    yield of("no batches", fp32(spread(0, 4, 7, 6)), kernel, bias)
    large, other = constant(fp32(spread(1, 4, 8, 1))), constant(fp32(spread(1, 3, 1, 1)))
    yield refused("a kernel that does not fit", {"x": image, "weight": large}, "does not fit")
    yield refused("channels that differ", {"x": image, "weight": other}, "input channels")
    short = {"x": image, "weight": constant(kernel), "strides": axes(2)}
    yield refused("too few strides", short, "parameter `strides`")


@vectors("scaled_dot_product_attention")
def scaled_dot_product_attention():
    def of(name: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None):
        operands = {"query": query, "key": key, "value": value}
        scores = query.float @ key.float.mT / query.values.shape[-1] ** 0.5
        if mask is not None:
            operands["attn_mask"] = mask
            scores = scores.masked_fill(~mask.torch, -torch.inf) if mask.dtype == "bool" else scores + mask.float
        return case(name, operands, result(query.dtype, torch.softmax(scores, -1) @ value.float), tolerance=SUMS)

    def heads(tokens: int, width: int, make=fp32):
        return make(spread(2, 3, tokens, width, low=-2.0, high=2.0))

    query, key, value = heads(4, 8), heads(6, 8), heads(6, 5)
    causal = np.tril(np.ones((4, 6), bool), 2)
    yield of("no mask", query, key, value)
    yield of("fp16", heads(4, 8, fp16), heads(6, 8, fp16), heads(6, 8, fp16))
    yield of("rank 3", fp32(spread(2, 3, 4)), fp32(spread(2, 5, 4)), fp32(spread(2, 5, 4)))
    yield of("booleans", query, key, value, booleans(causal))
    yield of("numbers", query, key, value, fp32(np.where(causal, 0.0, -1e4)))
    yield of("minus infinity", query, key, value, fp32(np.where(causal, 0.0, -np.inf)))
    yield of("a mask per batch", query, key, value, fp32(spread(2, 1, 4, 6)))
    yield of("a mask of keys", query, key, value, booleans(spread(2, 3, 1, 6) > -3.0))
    yield of("a mask of queries", query, key, value, fp32(spread(4, 1)))
    yield of("everything masked", query, key, value, booleans(np.zeros((4, 6), bool)))
    yield of("one query", heads(1, 8), key, value)
    yield of("no queries", heads(0, 8), key, value)
    operands = {"query": query, "key": heads(6, 7), "value": value}
    yield refused("heads that differ", operands, "parameter `key`")
    operands = {"query": query, "key": key, "value": value, "attn_mask": booleans(np.ones((3, 6), bool))}
    yield refused("a mask of another shape", operands, "parameter `attn_mask`")


@vectors("lstm")
def lstm():
    steps, batch, inputs, hidden = 4, 2, 3, 2

    def gates(values: np.ndarray) -> np.ndarray:
        """From the order of MIL (input, forget, output, cell) to that of PyTorch (input, forget, cell, output)."""
        first, second, third, fourth = np.split(values, 4)
        return np.concatenate([first, second, fourth, third])

    def of(name: str, direction: str, sequence: bool, bias: bool = True, make=fp32):
        both = direction == "bidirectional"
        width = 2 * hidden if both else hidden
        x = make(spread(steps, batch, inputs))
        operands = {
            "x": x,
            "initial_h": make(spread(batch, width, low=-1.0, high=1.0)),
            "initial_c": make(spread(batch, width)),
            "direction": text(direction),
            "output_sequence": flag(sequence),
        }
        layer = torch.nn.LSTM(inputs, hidden, bidirectional=both, dtype=torch.float64)
        with torch.no_grad():
            for index, suffix in enumerate(("", "_back")[: 1 + both]):
                names = {"weight_ih": (8, inputs), "weight_hh": (8, hidden), "bias": (8,)}
                for parameter, shape in names.items():
                    weight = make(spread(*shape, low=-1.0, high=1.5 + index))
                    at = f"{parameter}_l0" if parameter != "bias" else "bias_ih_l0"
                    target = getattr(layer, at + ("_reverse" if index else ""))
                    given = bias or parameter != "bias"
                    target.copy_(torch.from_numpy(gates(weight.values)) if given else torch.zeros(shape))
                    if given:
                        operands[parameter + suffix] = constant(weight)
                getattr(layer, "bias_hh_l0" + ("_reverse" if index else "")).zero_()
            state, cells = (
                operands[parameter].float.reshape(batch, 1 + both, hidden).transpose(0, 1).contiguous()
                for parameter in ("initial_h", "initial_c")
            )
            backwards = direction == "reverse"
            outputs, (state, cells) = layer(x.float.flip(0) if backwards else x.float, (state, cells))
            outputs = outputs.flip(0) if backwards else outputs
            state, cells = (last.transpose(0, 1).reshape(batch, width) for last in (state, cells))
        outputs = outputs if sequence else state[None]
        results = [result(x.dtype, values) for values in (outputs, state, cells)]
        return case(name, operands, *results, tolerance=SUMS)

    for direction in ("forward", "reverse", "bidirectional"):
        yield of(f"{direction}, every step", direction, True)
        yield of(f"{direction}, the last step", direction, False)
    yield of("without bias", "forward", True, bias=False)
    yield of("fp16", "bidirectional", True, make=fp16)

    def by_formula(name: str, peephole=None, clip=None, **activations: str):
        """PyTorch has no peephole, clip and other functions."""
        x, state, cells = spread(steps, 1, inputs), spread(1, hidden, low=-1.0, high=1.0), spread(1, hidden)
        weight_ih, weight_hh, bias = spread(8, inputs), spread(8, hidden), spread(8)
        operands = {
            "x": fp32(x),
            "initial_h": fp32(state),
            "initial_c": fp32(cells),
            "weight_ih": constant(fp32(weight_ih)),
            "weight_hh": constant(fp32(weight_hh)),
            "bias": constant(fp32(bias)),
            "output_sequence": flag(True),
        }
        functions = {
            "sigmoid": lambda v: 1.0 / (1.0 + np.exp(-v)),
            "tanh": np.tanh,
            "relu": lambda v: np.maximum(v, 0.0),
            "linear": lambda v: v,
            "hard_sigmoid": lambda v: np.clip(0.2 * v + 0.5, 0.0, 1.0),
        }
        defaults = {"recurrent_activation": "sigmoid", "cell_activation": "tanh", "activation": "tanh"}
        recurrent, candidate, output = (functions[name] for name in (defaults | activations).values())
        operands |= {parameter: text(function) for parameter, function in activations.items()}
        looks = np.zeros((3, hidden)) if peephole is None else peephole.reshape(3, hidden)
        if peephole is not None:
            operands["peephole"] = constant(fp32(peephole))
        if clip is not None:
            operands["clip"] = constant(fp32(clip))
        outputs = []
        for step in x:
            given = (step @ weight_ih.T + state @ weight_hh.T + bias).reshape(4, hidden)
            kept = recurrent(given[1] + looks[1] * cells) * cells
            cells = kept + recurrent(given[0] + looks[0] * cells) * candidate(given[3])
            cells = cells if clip is None else np.clip(cells, -clip, clip)
            state = recurrent(given[2] + looks[2] * cells) * output(cells)
            outputs.append(state)
        results = (fp32(np.stack(outputs)), fp32(state), fp32(cells))
        return case(name, operands, *results, tolerance=SUMS)

    yield by_formula("peepholes", peephole=spread(6))
    yield by_formula("clipped cells", clip=0.5)
    others = {"recurrent_activation": "hard_sigmoid", "cell_activation": "relu", "activation": "linear"}
    yield by_formula("other functions", **others)
    operands = {
        "x": fp32(spread(steps, batch, inputs)),
        "initial_h": fp32(spread(batch, hidden)),
        "initial_c": fp32(spread(batch, hidden)),
        "weight_ih": constant(fp32(spread(8, inputs))),
        "weight_hh": constant(fp32(spread(8, hidden))),
    }
    yield refused("no such direction", operands | {"direction": text("up")}, "parameter `direction`")
    yield refused("another state", operands | {"initial_h": fp32(spread(1, hidden))}, "parameter `initial_h`")
    yield refused("inputs that differ", operands | {"x": fp32(spread(steps, batch, 4))}, "parameter `weight_ih`")
    yield refused("no weights backwards", operands | {"direction": text("bidirectional")}, "parameter `initial_h`")
    yield refused("no such function", operands | {"activation": text("gelu")}, "parameter `activation`")
