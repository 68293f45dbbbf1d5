"""Programs for the compiler, as coremltools writes them.

Between them they have every element type, palette width and op that anec converts to, states, several functions, and
floats that are hard to write.
"""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

from collections.abc import Callable
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

IOS15, IOS16, IOS17, IOS18 = ct.target.iOS15, ct.target.iOS16, ct.target.iOS17, ct.target.iOS18
INDEX_TYPES = {
    1: types.np_uint1_dtype,
    2: types.np_uint2_dtype,
    3: types.np_uint3_dtype,
    4: types.np_uint4_dtype,
    6: types.np_uint6_dtype,
    8: np.uint8,
}


def save(program: object, target: ct.target, path: Path) -> None:
    """The package of a program that is taken as it is."""
    model = ct.convert(
        program,
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )
    model.save(str(path))


def halves(*shape: int) -> np.ndarray:
    count = int(np.prod(shape))
    return ((np.arange(count) - count / 2) / 16).astype(np.float16).reshape(shape)


def palettes(path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 8, 1, 4), types.fp16)], opset_version=IOS18)
    def program(x):
        for bits, dtype in INDEX_TYPES.items():
            indices = (np.arange(64).reshape(8, 8, 1, 1) % 2**bits).astype(dtype)
            lut = np.stack([halves(2**bits), halves(2**bits) * np.float16(2)]).reshape(2, 1, 1, 1, 2**bits, 1)
            weight = mb.constexpr_lut_to_dense(indices=indices, lut=lut, name=f"palette_{bits}")
            x = mb.conv(x=x, weight=weight, name=f"conv_{bits}")
        return x

    save(program, IOS18, path)


def old_palettes(path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 8), types.fp32)], opset_version=IOS16)
    def program(x):
        for bits in (1, 2, 4, 6, 8):
            indices = np.arange(8 * bits, dtype=np.uint8)
            lut = np.arange(2**bits, dtype=np.float32) / 4
            shape = np.array([8, 8], dtype=np.uint32)
            weight = mb.constexpr_lut_to_dense(indices=indices, lut=lut, shape=shape, name=f"palette_{bits}")
            x = mb.matmul(x=x, y=weight, name=f"matmul_{bits}")
        return x

    save(program, IOS16, path)


def integers(path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 64), types.fp16)], opset_version=IOS18)
    def program(x):
        data = (np.arange(64 * 64) % 255 - 127).astype(np.int8).reshape(64, 64)
        blockwise = mb.constexpr_blockwise_shift_scale(
            data=data, scale=halves(64, 2), offset=np.ones((64, 2), dtype=np.int8), name="blockwise"
        )
        nibbles = (np.arange(64 * 64) % 15 - 7).astype(types.np_int4_dtype).reshape(64, 64)
        narrow = mb.constexpr_blockwise_shift_scale(data=nibbles, scale=halves(64, 1), name="narrow")
        return mb.matmul(x=mb.matmul(x=x, y=blockwise, name="first"), y=narrow, name="second")

    save(program, IOS18, path)


def old_integers(path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((1, 16), types.fp16)], opset_version=IOS16)
    def program(x):
        weight = mb.constexpr_affine_dequantize(
            quantized_data=np.arange(256, dtype=np.uint8).reshape(16, 16),
            zero_point=np.uint8(3),
            scale=np.float16(0.1),
            axis=0,
            name="dequantized",
        )
        return mb.matmul(x=x, y=weight, name="y")

    save(program, IOS16, path)


def hard_floats(path: Path, target: ct.target = IOS18) -> None:
    """Subnormal, infinite, negative zero and nan, as scalars, in place and in the weight file, in fp16 and fp32."""
    tiny16, tiny32 = np.float16(2.0**-24), np.float32(2.0**-149)
    some16 = np.array([tiny16, -tiny16 * np.float16(3), -0.0, np.inf, -np.inf, 65504, 1 / 3], dtype=np.float16)
    some32 = np.array([tiny32, -tiny32 * np.float32(3), -0.0, np.inf, -np.inf, np.nan, 3e38, 1 / 3], dtype=np.float32)

    @mb.program(input_specs=[mb.TensorSpec((1,), types.fp32)], opset_version=target)
    def program(x):
        for number, value in enumerate([*some32, some32, np.tile(some32, 4)]):
            y = mb.add(x=x, y=value, name=f"fp32_{number}")
        half = mb.cast(x=x, dtype="fp16", name="half")
        for number, value in enumerate([*some16, some16, np.tile(some16, 4)]):
            z = mb.add(x=half, y=value, name=f"fp16_{number}")
        return y, z

    save(program, target, path)


def hard_floats_ios15(path: Path) -> None:
    hard_floats(path, IOS15)


def hard_floats_ios17(path: Path) -> None:
    hard_floats(path, IOS17)


def states(path: Path) -> None:
    specs = [
        mb.TensorSpec((1, 2, 3, 4), types.fp16),
        mb.StateTensorSpec((1, 2, 8, 4), types.fp16),
        mb.TensorSpec((1,), types.int32),
    ]

    @mb.program(input_specs=specs, opset_version=IOS18)
    def program(x, cache, position):
        before = mb.read_state(input=cache, name="before")
        end = mb.add(x=position, y=np.int32(3), name="end")
        begin = mb.concat(values=[np.array([0, 0], np.int32), position, np.array([0], np.int32)], axis=0, name="from")
        end = mb.concat(values=[np.array([0, 0], np.int32), end, np.array([0], np.int32)], axis=0, name="to")
        updated = mb.slice_update(
            x=before,
            update=x,
            begin=begin,
            end=end,
            begin_mask=[True, True, False, True],
            end_mask=[True, True, False, True],
            name="updated",
        )
        after = mb.coreml_update_state(state=cache, value=updated, name="after")
        return mb.reduce_sum(x=after, axes=[2], keep_dims=False, name="y")

    save(program, IOS18, path)


def converter_ops(path: Path) -> None:
    """Every op that a converted decoder has, beside those of the other programs."""

    @mb.program(
        input_specs=[mb.TensorSpec((1, 4, 8), types.fp16), mb.TensorSpec((4,), types.int32)], opset_version=IOS18
    )
    def program(x, positions):
        channels = mb.expand_dims(x=mb.transpose(x=x, perm=[0, 2, 1], name="transposed"), axes=[2], name="channels")
        negated = mb.mul(x=channels, y=np.float16(-1), name="negated")
        both = mb.concat(values=[channels, negated], axis=1, name="both")
        norm = mb.layer_norm(x=both, axes=[1], epsilon=np.float16(1e-5), name="norm")
        first, _ = mb.split(x=norm, num_splits=2, axis=1, name="halves")
        conv = mb.conv(x=first, weight=halves(8, 8, 1, 1), bias=halves(8), pad_type="valid", name="projected")
        gate = mb.mul(x=mb.silu(x=conv, name="silu"), y=mb.sigmoid(x=conv, name="sigmoid"), name="gated")
        heads = mb.reshape(x=gate, shape=[1, 2, 4, 4], name="heads")
        table = mb.gather(x=halves(16, 4), indices=positions, axis=0, validate_indices=False, name="table")
        left = mb.slice_by_index(x=heads, begin=[0, 0, 0, 0], end=[1, 2, 4, 2], name="left")
        right = mb.slice_by_size(x=heads, begin=[0, 0, 0, 2], size=[1, 2, 4, 2], name="right")
        rotated = mb.concat(values=[mb.sub(x=np.float16(0), y=right, name="minus"), left], axis=-1, name="rotated")
        mixed = mb.add(x=heads, y=mb.mul(x=rotated, y=table, name="turned"), name="mixed")
        scores = mb.matmul(x=mixed, y=heads, transpose_y=True, name="scores")
        shares = mb.softmax(x=scores, axis=-1, name="shares")
        values = mb.squeeze(x=mb.matmul(x=shares, y=heads, name="values"), axes=[0], name="squeezed")
        repeated = mb.tile(x=values, reps=[1, 1, 2], name="repeated")
        best = mb.reduce_argmax(x=repeated, axis=-1, keep_dims=True, name="best")
        peak = mb.reduce_max(x=repeated, axes=[-1], keep_dims=True, name="peak")
        small = mb.cast(x=best, dtype="int16", name="small")
        return mb.cast(x=small, dtype="int32", name="index"), mb.identity(x=peak, name="peaks")

    save(program, IOS18, path)


def several_functions(path: Path) -> None:
    """Two functions that share a weight."""
    weight = halves(8, 8, 1, 1)

    def one(tokens: int, part: Path) -> None:
        @mb.program(input_specs=[mb.TensorSpec((1, 8, 1, tokens), types.fp16)], opset_version=IOS18)
        def program(x):
            return mb.conv(x=x, weight=weight, name="y")

        save(program, IOS18, part)

    description = ct.utils.MultiFunctionDescriptor()
    for name, tokens in [("prefill", 4), ("infer", 1)]:
        part = path.parent / f"{name}.part.mlpackage"
        one(tokens, part)
        description.add_function(str(part), "main", name)
    description.default_function_name = "infer"
    ct.utils.save_multifunction(description, str(path))


PROGRAMS: dict[str, Callable[[Path], None]] = {
    build.__name__: build
    for build in (
        palettes,
        old_palettes,
        integers,
        old_integers,
        hard_floats,
        hard_floats_ios15,
        hard_floats_ios17,
        states,
        converter_ops,
        several_functions,
    )
}
