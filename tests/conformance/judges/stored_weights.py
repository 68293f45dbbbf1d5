"""The projections and the head of a converted directory, as they are stored: read by provenance, expanded with NumPy.

Nothing of Core ML's programs is looked at, so a whole model is expanded in seconds. What a program makes of its weights
is judged elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from package_file import BlobEntry, PackageError, WeightFile

HEAD = "lm_head.weight"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@dataclass(frozen=True)
class Stored:
    """Weights by name, fp32, and the bits that they take with palettes and scales, over their number."""

    weights: dict[str, np.ndarray]
    layer_bits: float
    head_bits: float


def stored(directory: Path) -> Stored:
    """All projections of the layers, and the head as `lm_head.weight`."""
    provenance = json.loads((directory / "provenance.json").read_text())
    parts: dict[str, list[tuple[dict, np.ndarray]]] = {}
    sizes = {True: [0, 0], False: [0, 0]}
    for stem, model in provenance["models"].items():
        file = WeightFile(directory / f"{stem}.mlpackage" / WEIGHTS)
        is_head = stem.startswith("lm_head")
        for weight in model["weights"]:
            if not is_head and not weight["tensor"].endswith("_proj.weight"):
                continue
            if is_head and weight["columns"][1] - weight["columns"][0] == 1:
                continue
            if weight.get("transforms"):
                raise PackageError(f"{weight['tensor']}: a transformed projection")
            entries = [file.entry(offset) for offset in weight["blobs"]]
            shape = (weight["rows"][1] - weight["rows"][0], weight["columns"][1] - weight["columns"][0])
            parts.setdefault(HEAD if is_head else weight["tensor"], []).append((weight, expanded(file, weight, shape)))
            size = sizes[is_head]
            size[0] += 8 * sum(entry.size for entry in entries)
            size[1] += shape[0] * shape[1]
    weights = {name: assembled(name, found) for name, found in parts.items()}
    return Stored(weights, *(bits / max(count, 1) for bits, count in (sizes[False], sizes[True])))


def assembled(name: str, parts: list[tuple[dict, np.ndarray]]) -> np.ndarray:
    """A whole tensor of its parts; each is there once, however many functions use it."""
    end = [max(weight[axis][1] for weight, _ in parts) for axis in ("rows", "columns")]
    whole = np.full(end, np.nan, dtype=np.float32)
    for weight, part in parts:
        (top, bottom), (left, right) = weight["rows"], weight["columns"]
        whole[top:bottom, left:right] = part
    if np.isnan(whole).any():
        raise PackageError(f"{name}: not all of it is stored")
    return whole


def expanded(file: WeightFile, weight: dict, shape: tuple[int, int]) -> np.ndarray:
    """What a stored weight stands for, `[rows, columns]`."""
    encoding, *entries = weight["encoding"], *(file.entry(offset) for offset in weight["blobs"])
    if encoding == "fp16":
        return halves(file, entries[0]).reshape(shape).astype(np.float32)
    if encoding == "int8":
        integers = np.frombuffer(file.data(entries[0]), np.int8).reshape(shape)
        return integers.astype(np.float32) * halves(file, entries[1]).astype(np.float32).reshape(-1, 1)
    bits = int(encoding.removeprefix("lut").split(":")[0])
    raw = np.frombuffer(file.data(entries[0]), np.uint8)
    digits = np.unpackbits(raw, bitorder="little")[: shape[0] * shape[1] * bits].reshape(-1, bits)
    indices = (digits @ (1 << np.arange(bits))).reshape(shape)
    palettes = halves(file, entries[1]).astype(np.float32).reshape(-1, 1 << bits)
    rows = np.arange(shape[0]) // (shape[0] // len(palettes))
    found = palettes[rows[:, None], indices]
    return found * halves(file, entries[2]).astype(np.float32).reshape(-1, 1) if len(entries) > 2 else found


def halves(file: WeightFile, entry: BlobEntry) -> np.ndarray:
    return np.frombuffer(file.data(entry), np.float16)
