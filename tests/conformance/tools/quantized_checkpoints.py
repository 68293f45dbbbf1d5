"""Checkpoints quantized in the ways of others, small, each with the checkpoint that it decodes to.

The packing is written down once more here, from the projects' own code, with numpy; where the project's library is
installed, the tests decode with that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import synthetic

CONFIG = {
    **synthetic.LLAMA,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

#: A weight becomes tensors by the ends of their names, and the weight that they stand for.
Made = tuple[dict[str, torch.Tensor], np.ndarray]


def words(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array).astype(np.uint32).view(np.int32))


def grouped(weight: np.ndarray, bits: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, scales and minima of groups of a row, the last two in fp16."""
    groups = weight.reshape(weight.shape[0], -1, size)
    low, high = groups.min(-1), groups.max(-1)
    scales = np.maximum((high - low) / (2**bits - 1), 1e-6).astype(np.float16)
    low = low.astype(np.float16)
    codes = np.round((groups - low[..., None].astype(np.float32)) / scales[..., None].astype(np.float32))
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint32), scales, low


def stream(codes: np.ndarray, bits: int) -> np.ndarray:
    """Rows of codes as rows of words, the lowest bits first, running on over words."""
    rows = (codes[..., None] >> np.arange(bits, dtype=np.uint32)) & 1
    packed = np.packbits(rows.reshape(len(codes), -1).astype(np.uint8), axis=-1, bitorder="little")
    return packed.view("<u4")


def mlx(bits: int, size: int) -> Callable[[np.ndarray, np.random.Generator], Made]:
    """`mlx.core.quantize`, affine."""

    def make(weight: np.ndarray, _: np.random.Generator) -> Made:
        codes, scales, low = grouped(weight, bits, size)
        decoded = codes * scales[..., None].astype(np.float32) + low[..., None].astype(np.float32)
        packed = torch.from_numpy(stream(codes.reshape(weight.shape), bits).view(np.int32)).view(torch.uint32)
        tensors = {".weight": packed, ".scales": torch.from_numpy(scales), ".biases": torch.from_numpy(low)}
        return tensors, decoded.reshape(weight.shape)

    return make


def fp8(block: tuple[int, int] | None, per_row: bool = False) -> Callable[[np.ndarray, np.random.Generator], Made]:
    """DeepSeek's blocks, a scale for every row, or one for all."""

    def make(weight: np.ndarray, _: np.random.Generator) -> Made:
        rows, columns = weight.shape
        if block:
            height, width = block
            scales = np.zeros((-(-rows // height), -(-columns // width)), np.float32)
            for row, column in np.ndindex(scales.shape):
                part = weight[row * height : (row + 1) * height, column * width : (column + 1) * width]
                scales[row, column] = np.abs(part).max() / 448
            spread = scales.repeat(height, 0)[:rows].repeat(width, 1)[:, :columns]
            name = ".weight_scale_inv"
        else:
            scales = np.abs(weight).max(1, keepdims=True) / 448 if per_row else np.array([np.abs(weight).max() / 448])
            spread, name = scales, ".weight_scale"
        codes = torch.from_numpy(weight / spread).to(torch.float8_e4m3fn)
        decoded = codes.to(torch.float32).numpy() * spread.astype(np.float32)
        return {".weight": codes, name: torch.from_numpy(scales.astype(np.float32))}, decoded.astype(np.float32)

    return make


def gptq(bits: int, size: int, act_order: bool, version: int = 1):
    """`QuantLinear.pack` of AutoGPTQ."""

    def make(weight: np.ndarray, random: np.random.Generator) -> Made:
        rows, columns = weight.shape
        order = np.arange(columns) // size
        if act_order:
            order = random.permutation(order)
        count = columns // size
        codes = np.zeros((columns, rows), np.uint32)
        scales, zeros = np.zeros((count, rows), np.float16), np.zeros((count, rows), np.uint32)
        decoded = np.zeros_like(weight)
        for group in range(count):
            part = weight[:, order == group]
            scale = np.maximum((part.max(1) - part.min(1)) / (2**bits - 1), 1e-6).astype(np.float16)
            zero = np.clip(np.round(-part.min(1) / scale.astype(np.float32)), 1, 2**bits - 1)
            code = np.clip(np.round(part / scale[:, None].astype(np.float32)) + zero[:, None], 0, 2**bits - 1)
            scales[group], zeros[group] = scale, zero.astype(np.uint32)
            codes[order == group] = code.astype(np.uint32).T
            decoded[:, order == group] = (code - zero[:, None]) * scale[:, None].astype(np.float32)
        per_word = 32 // bits
        shifts = (np.arange(per_word, dtype=np.uint32) * bits).astype(np.uint32)
        packed = (codes.reshape(-1, per_word, rows) << shifts[None, :, None]).sum(1, dtype=np.uint32)
        stored = zeros - (1 if version == 1 else 0)
        packed_zeros = (stored.reshape(count, -1, per_word) << shifts).sum(2, dtype=np.uint32)
        tensors = {".qweight": words(packed), ".qzeros": words(packed_zeros), ".scales": torch.from_numpy(scales)}
        return {**tensors, ".g_idx": torch.from_numpy(order.astype(np.int32))}, decoded

    return make


def awq(size: int):
    """`WQLinear_GEMM.from_linear` of AutoAWQ."""

    def make(weight: np.ndarray, _: np.random.Generator) -> Made:
        rows, columns = weight.shape
        groups = weight.reshape(rows, -1, size)
        scales = np.maximum((groups.max(-1) - groups.min(-1)) / 15, 1e-6).astype(np.float16)
        wide = scales.astype(np.float32)
        zeros = np.clip(np.round(-groups.min(-1) / wide), 0, 15)
        codes = np.clip(np.round(groups / wide[..., None]) + zeros[..., None], 0, 15)
        decoded = ((codes - zeros[..., None]) * wide[..., None]).reshape(weight.shape)
        order = [0, 2, 4, 6, 1, 3, 5, 7]

        def pack(array: np.ndarray) -> torch.Tensor:
            parts = array.astype(np.uint32).reshape(array.shape[0], -1, 8)
            packed = np.zeros(parts.shape[:2], np.uint32)
            for place, column in enumerate(order):
                packed |= parts[:, :, column] << np.uint32(4 * place)
            return words(packed)

        tensors = {".qweight": pack(codes.reshape(weight.shape).T), ".qzeros": pack(zeros.T)}
        return {**tensors, ".scales": torch.from_numpy(np.ascontiguousarray(scales.T))}, decoded.astype(np.float32)

    return make


#: `get_4bit_type("nf4")` of bitsandbytes.
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


def nf4(nested: bool, size: int = 64):
    """`Params4bit` of bitsandbytes, as `QuantState.as_dict(packed=True)` keeps it."""

    def make(weight: np.ndarray, random: np.random.Generator) -> Made:
        values = np.array(NF4, np.float32)
        blocks = weight.reshape(-1, size)
        absmax = np.abs(blocks).max(1).astype(np.float32)
        state = {"quant_type": "nf4", "blocksize": size, "dtype": "bfloat16", "shape": list(weight.shape)}
        tensors = {}
        if nested:
            code = np.sort(random.uniform(-1, 1, 256).astype(np.float32))
            offset = float(absmax.mean())
            runs = np.pad(absmax - offset, (0, -len(absmax) % 256)).reshape(-1, 256)
            outer = np.abs(runs).max(1).astype(np.float32)
            codes = np.abs(runs[..., None] / outer[:, None, None] - code).argmin(-1)
            absmax = (code[codes] * outer[:, None]).reshape(-1)[: len(absmax)] + np.float32(offset)
            tensors[".weight.absmax"] = torch.from_numpy(codes.reshape(-1)[: len(absmax)].astype(np.uint8))
            tensors[".weight.nested_absmax"] = torch.from_numpy(outer)
            tensors[".weight.nested_quant_map"] = torch.from_numpy(code)
            state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": offset}
        else:
            tensors[".weight.absmax"] = torch.from_numpy(absmax)
        codes = np.abs(blocks[..., None] / absmax[:, None, None] - values).argmin(-1).reshape(-1)
        packed = (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)
        tensors[".weight"] = torch.from_numpy(packed[:, None])
        tensors[".weight.quant_map"] = torch.from_numpy(values)
        description = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
        tensors[".weight.quant_state.bitsandbytes__nf4"] = torch.from_numpy(description)
        decoded = values[codes].reshape(-1, size) * absmax[:, None]
        return tensors, decoded.reshape(weight.shape).astype(np.float32)

    return make


def int8(weight: np.ndarray, _: np.random.Generator) -> Made:
    """`Linear8bitLt` of bitsandbytes."""
    scales = np.abs(weight).max(1).astype(np.float32)
    codes = np.round(weight / scales[:, None] * 127).astype(np.int8)
    tensors = {
        ".weight": torch.from_numpy(codes),
        ".SCB": torch.from_numpy(scales),
        ".weight_format": torch.tensor(0, dtype=torch.uint8),
    }
    return tensors, codes * (scales[:, None] / 127)


def packed_integers(bits: int, size: int | None, symmetric: bool):
    """`pack_to_int32` of compressed-tensors."""

    def pack(array: np.ndarray, axis: int) -> torch.Tensor:
        moved = np.moveaxis(array + 2 ** (bits - 1), axis, -1).astype(np.uint32)
        per_word = 32 // bits
        moved = np.pad(moved, ((0, 0), (0, -moved.shape[1] % per_word)))
        shifts = (np.arange(per_word, dtype=np.uint32) * bits).astype(np.uint32)
        packed = (moved.reshape(moved.shape[0], -1, per_word) << shifts).sum(-1, dtype=np.uint32)
        return words(np.moveaxis(packed, -1, axis))

    def make(weight: np.ndarray, _: np.random.Generator) -> Made:
        rows, columns = weight.shape
        groups = weight.reshape(rows, -1, size or columns)
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        if symmetric:
            scales = np.maximum(np.abs(groups).max(-1) / high, 1e-6).astype(np.float16)
            zeros = np.zeros(scales.shape, np.int64)
        else:
            scales = np.maximum((groups.max(-1) - groups.min(-1)) / (high - low), 1e-6).astype(np.float16)
            zeros = np.clip(np.round(low - groups.min(-1) / scales.astype(np.float32)), low, high).astype(np.int64)
        wide = scales.astype(np.float32)[..., None]
        codes = np.clip(np.round(groups / wide) + zeros[..., None], low, high).astype(np.int64)
        decoded = ((codes - zeros[..., None]) * wide).reshape(weight.shape).astype(np.float32)
        tensors = {
            ".weight_packed": pack(codes.reshape(weight.shape), 1),
            ".weight_scale": torch.from_numpy(scales),
            ".weight_shape": torch.tensor(weight.shape, dtype=torch.int64),
        }
        if not symmetric:
            tensors[".weight_zero_point"] = pack(zeros, 0)
        return tensors, decoded

    return make


def compressed(bits: int, form: str, **weights) -> dict:
    groups = {"group_0": {"targets": ["Linear"], "weights": {"num_bits": bits, **weights}}}
    config = {"quant_method": "compressed-tensors", "format": form, "config_groups": groups, "ignore": ["lm_head"]}
    return {"quantization_config": config}


def whole_integers(weight: np.ndarray, _: np.random.Generator) -> Made:
    """`int-quantized` of compressed-tensors, a scale for every row."""
    scales = np.abs(weight).max(1, keepdims=True).astype(np.float32) / 127
    codes = np.round(weight / scales).astype(np.int8)
    return {".weight": torch.from_numpy(codes), ".weight_scale": torch.from_numpy(scales)}, codes * scales


def bnb(**settings) -> dict:
    return {"quantization_config": {"quant_method": "bitsandbytes", **settings}}


def by_gptq(bits: int, **settings) -> dict:
    return {"quantization_config": {"quant_method": "gptq", "bits": bits, **settings}}


def by_mlx(bits: int, size: int) -> dict:
    quantization = {"group_size": size, "bits": bits}
    return {"quantization": quantization, "quantization_config": quantization}


FP8_BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}

#: What config.json says, what makes a weight, and whether embeddings and head are quantized too.
WAYS: dict[str, tuple[dict, Callable, bool]] = {
    **{f"mlx-{bits}": (by_mlx(bits, 64), mlx(bits, 64), True) for bits in (2, 3, 4, 5, 6, 8)},
    "mlx-4-32": (by_mlx(4, 32), mlx(4, 32), True),
    "fp8-blocks": ({"quantization_config": FP8_BLOCKS}, fp8((128, 128)), False),
    "fp8-tensor": ({"quantization_config": {"quant_method": "fp8"}}, fp8(None), False),
    "fp8-rows": ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, fp8(None, per_row=True), False),
    "ct-fp8": (compressed(8, "float-quantized", type="float", strategy="channel"), fp8(None, per_row=True), False),
    "gptq-4": (by_gptq(4, group_size=128), gptq(4, 128, act_order=False), False),
    "gptq-4-order": (by_gptq(4, group_size=64, desc_act=True), gptq(4, 64, act_order=True), False),
    "gptq-8": (by_gptq(8, group_size=128), gptq(8, 128, act_order=False), False),
    "gptq-v2": (by_gptq(4, checkpoint_format="gptq_v2"), gptq(4, 128, act_order=False, version=2), False),
    "awq": (
        {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}},
        awq(64),
        False,
    ),
    "nf4": (bnb(load_in_4bit=True, bnb_4bit_quant_type="nf4"), nf4(nested=False), False),
    "nf4-nested": (bnb(load_in_4bit=True, bnb_4bit_quant_type="nf4"), nf4(nested=True), False),
    "int8": (bnb(load_in_8bit=True), int8, False),
    "ct-4": (compressed(4, "pack-quantized", group_size=128), packed_integers(4, 128, symmetric=True), False),
    "ct-4-zeros": (compressed(4, "pack-quantized", group_size=64), packed_integers(4, 64, symmetric=False), False),
    "ct-8": (compressed(8, "pack-quantized"), packed_integers(8, None, symmetric=True), False),
    "ct-int8": (compressed(8, "int-quantized"), whole_integers, False),
}


def write(directory: Path, way: str) -> tuple[Path, Path]:
    """Writes a quantized checkpoint and the one that it decodes to, and gives their paths."""
    settings, make, everything = WAYS[way]
    plain = synthetic.write(directory / f"{way}-decoded", CONFIG)
    weights = load_file(plain / "model.safetensors")
    random = np.random.default_rng(7)
    stored, decoded = {}, {}
    for name, weight in weights.items():
        is_matrix = weight.dim() == 2 and (everything or ".layers." in name)
        if not is_matrix:
            stored[name] = decoded[name] = weight
            continue
        tensors, decoded_weight = make(weight.numpy(), random)
        module = name.removesuffix(".weight")
        stored |= {module + end: tensor.contiguous() for end, tensor in tensors.items()}
        decoded[name] = torch.from_numpy(np.ascontiguousarray(decoded_weight, dtype=np.float32))
    quantized = directory / way
    quantized.mkdir()
    (quantized / "config.json").write_text(json.dumps({**CONFIG, **settings}))
    save_file(stored, quantized / "model.safetensors", metadata={"format": "pt"})
    save_file(decoded, plain / "model.safetensors", metadata={"format": "pt"})
    return quantized, plain
