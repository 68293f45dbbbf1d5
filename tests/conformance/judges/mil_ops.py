"""What each op of an ML Program computes, in PyTorch.

Written from the documentation of the ops. Floats are held as fp32 and integers as int32, whatever the program declares;
`mil_eval` decides where to round. Only the ops that decoder models need are here: an unknown one is an error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

INTEGER_RANGES = {"int8": (-(2**7), 2**7), "uint8": (0, 2**8), "int16": (-(2**15), 2**15), "uint16": (0, 2**16)}


def integers(value) -> list[int]:
    """A shape, a list of axes or the like."""
    return [int(element) for element in torch.as_tensor(value).reshape(-1)]


def flags(value, rank: int) -> list[bool]:
    return [False] * rank if value is None else [bool(element) for element in torch.as_tensor(value).reshape(-1)]


def cast(x, dtype):
    if dtype in ("fp16", "fp32"):
        return x.float()
    if dtype == "bool":
        return x.bool()
    whole = x.to(torch.int32)
    low, high = INTEGER_RANGES.get(dtype, (None, None))
    if low is not None and (whole.min() < low or whole.max() >= high):
        raise ValueError(f"{dtype} cannot hold {whole.min()}..{whole.max()}")
    return whole


def conv(x, weight, bias=None, strides=None, dilations=None, groups=1, pad_type="valid", pad=None):
    spatial = x.dim() - 2
    if pad_type not in ("valid", "custom") and any(size != 1 for size in weight.shape[2:]):
        raise NotImplementedError(f"pad_type {pad_type}")
    if pad_type == "custom" and any(integers(pad)):
        raise NotImplementedError("padding")
    ones = [1] * spatial
    convolution = {1: F.conv1d, 2: F.conv2d}[spatial]
    strides = ones if strides is None else integers(strides)
    return convolution(x, weight, bias, strides, 0, ones if dilations is None else integers(dilations), int(groups))


def matmul(x, y, transpose_x=False, transpose_y=False):
    x = x.transpose(-1, -2) if transpose_x else x
    return x @ (y.transpose(-1, -2) if transpose_y else y)


def layer_norm(x, axes, epsilon=1e-5, gamma=None, beta=None):
    axes = [axis % x.dim() for axis in integers(axes)]
    centered = x - x.mean(axes, keepdim=True)
    normed = centered * torch.rsqrt(centered.square().mean(axes, keepdim=True) + float(epsilon))
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    normed = normed if gamma is None else normed * gamma.reshape(shape)
    return normed if beta is None else normed + beta.reshape(shape)


def gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    if int(batch_dims):
        raise NotImplementedError("batch_dims")
    axis = int(axis) % x.dim()
    indices = indices.long()
    if indices.min() < 0 or indices.max() >= x.shape[axis]:
        raise ValueError(f"gather of {indices.min()}..{indices.max()} from {x.shape[axis]} rows")
    rows = x.index_select(axis, indices.reshape(-1))
    return rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_along_axis(x, indices, axis=0, validate_indices=False):
    return torch.gather(x, int(axis), indices.long())


def window(shape, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    """The index that `slice_by_index` and `slice_update` share; what lies outside the tensor is an error."""
    begin, end = integers(begin), integers(end)
    steps = [1] * len(shape) if stride is None else integers(stride)
    masks = [flags(mask, len(shape)) for mask in (begin_mask, end_mask, squeeze_mask)]
    index = []
    for axis, size in enumerate(shape):
        first = 0 if masks[0][axis] else begin[axis] + (size if begin[axis] < 0 else 0)
        last = size if masks[1][axis] else end[axis] + (size if end[axis] < 0 else 0)
        if masks[2][axis]:
            index.append(first)
            continue
        if steps[axis] < 1 or not 0 <= first < last <= size:
            raise ValueError(f"slice {first}..{last} of an axis of {size}")
        index.append(slice(first, last, steps[axis]))
    return tuple(index)


def slice_by_index(x, begin, end, **masks):
    return x[window(x.shape, begin, end, **masks)]


def slice_update(x, update, begin, end, **masks):
    result = x.clone()
    index = window(x.shape, begin, end, **masks)
    if result[index].shape != update.shape:
        raise ValueError(f"slice_update of {list(result[index].shape)} with {list(update.shape)}")
    result[index] = update
    return result


def slice_by_size(x, begin, size):
    begin, size = integers(begin), integers(size)
    return slice_by_index(x, begin, [first + length for first, length in zip(begin, size, strict=True)])


def split(x, axis, num_splits=None, split_sizes=None):
    if split_sizes is not None:
        return list(torch.split(x, integers(split_sizes), int(axis)))
    return list(torch.split(x, x.shape[int(axis)] // int(num_splits), int(axis)))


def reshape(x, shape):
    sizes = integers(shape)
    return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)])


def expand_dims(x, axes):
    rank = x.dim() + len(integers(axes))
    for axis in sorted(axis % rank for axis in integers(axes)):
        x = x.unsqueeze(axis)
    return x


def squeeze(x, axes=None):
    axes = [axis for axis, size in enumerate(x.shape) if size == 1] if axes is None else integers(axes)
    return x.squeeze([axis % x.dim() for axis in axes])


def reduce(function):
    def apply(x, axes=None, keep_dims=False):
        return function(x, list(range(x.dim())) if axes is None else integers(axes), keepdim=bool(keep_dims))

    return apply


def reduce_argmax(x, axis=-1, keep_dims=True, output_dtype="int32"):
    return x.argmax(int(axis), keepdim=bool(keep_dims)).to(torch.int32)


def gelu(x, mode="EXACT"):
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[str(mode)])


#: Ops that only move what they are given, so that their results need no rounding.
MOVES = frozenset(
    "coreml_update_state concat expand_dims gather gather_along_axis identity read_state reduce_max relu reshape "
    "select slice_by_index slice_by_size slice_update split squeeze tile transpose".split()
)

OPS = {
    "add": lambda x, y: x + y,
    "cast": cast,
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "concat": lambda values, axis, interleave=False: torch.cat(values, int(axis)),
    "conv": conv,
    "einsum": lambda values, equation: torch.einsum(str(equation), *values),
    "equal": lambda x, y: x == y,
    "exp": lambda x: x.exp(),
    "expand_dims": expand_dims,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gelu": gelu,
    "greater_equal": lambda x, y: x >= y,
    "identity": lambda x: x,
    "layer_norm": layer_norm,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "matmul": matmul,
    "maximum": lambda x, y: torch.maximum(x, y),
    "minimum": lambda x, y: torch.minimum(x, y),
    "mul": lambda x, y: x * y,
    "pow": lambda x, y: x**y,
    "real_div": lambda x, y: x / y,
    "reduce_argmax": reduce_argmax,
    "reduce_max": reduce(torch.amax),
    "reduce_mean": reduce(torch.mean),
    "reduce_sum": reduce(torch.sum),
    "relu": lambda x: x.relu(),
    "reshape": reshape,
    "rsqrt": lambda x, epsilon=0.0: torch.rsqrt(x + float(epsilon)),
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "sigmoid": lambda x: x.sigmoid(),
    "silu": lambda x: F.silu(x),
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "softmax": lambda x, axis=-1: x.softmax(int(axis)),
    "split": split,
    "sqrt": lambda x: x.sqrt(),
    "squeeze": squeeze,
    "sub": lambda x, y: x - y,
    "tile": lambda x, reps: x.repeat(integers(reps)),
    "transpose": lambda x, perm: x.permute(integers(perm)),
}
