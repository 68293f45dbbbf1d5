"""What coreml-llm-cli does with a directory: which models it loads, which buffers it makes, in which order it calls.

A transcription of the rules of its loader, its store of arrays and its processors into Python, written from their
description and not from `anec`: models are found by their names, interfaces are read from `metadata.json` of the
compiled models, and programs are evaluated by `mil_eval` from the packages beside them. Where the program would stop,
this raises.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mil_eval import Package

BLOCK = 64
FEWEST = 3
BESIDE = ("cache-processor", "logit-processor")


class WouldStopError(Exception):
    """The program would not load the directory, or stop while it runs."""


def refuse(condition: bool, text: str) -> None:
    if condition:
        raise WouldStopError(text)


@dataclass(frozen=True)
class Feature:
    """An input or output of a model."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_half(self) -> bool:
        return self.dtype == "Float16"


@dataclass(frozen=True)
class Interface:
    """What a compiled model takes and gives."""

    stem: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]

    @classmethod
    def read(cls, path: Path, function: str | None = None) -> Interface:
        (metadata,) = json.loads((path / "metadata.json").read_text())
        described = metadata
        if function is not None:
            described = {row["name"]: row for row in metadata.get("functions", [])}.get(function)
            refuse(described is None, f"{path.name} has no function {function}")

        def features(key: str) -> tuple[Feature, ...]:
            found = []
            for row in described[key]:
                refuse(row.get("hasShapeFlexibility") == "1", f"{path.name}: {row['name']} has several shapes")
                found.append(Feature(row["name"], row["dataType"], tuple(json.loads(row["shape"]))))
            return tuple(found)

        return cls(path.stem, features("inputSchema"), features("outputSchema"))

    def input(self, name: str) -> Feature | None:
        return next((feature for feature in self.inputs if feature.name == name), None)

    def output(self, name: str) -> Feature | None:
        return next((feature for feature in self.outputs if feature.name == name), None)


def find_pipeline(directory: Path, beside: tuple[str, ...] = BESIDE, cuts_at_dots: bool = False) -> list[Path]:
    """The compiled models of the pipeline: by the number at the end of their names, all of one prefix."""
    numbered = []
    for path in directory.iterdir():
        if path.suffix != ".mlmodelc":
            continue
        stem = path.name.split(".")[0] if cuts_at_dots else path.stem
        *before, last = stem.split("_")
        digits = last.replace("chunk", "")
        if digits.isdigit():
            numbered.append((int(digits), "_".join(before) + "_", path))
    prefixes = {prefix for _, prefix, _ in numbered}
    refuse(len(prefixes) > 1, f"ambiguous: {sorted(prefixes)}")
    refuse(len(numbered) < FEWEST, f"{len(numbered)} chunks")
    for name in beside:
        refuse(not (directory / f"{name}.mlmodelc").is_dir(), f"{name} is not there")
    return [path for _, _, path in sorted(numbered)]


class Store:
    """Pixel buffers of the pipeline: names with `cache` in them are of their chunk, all others are shared."""

    def __init__(self, chunks: list[Interface]) -> None:
        self._buffers: dict[tuple[int | None, str], np.ndarray] = {}
        self._chunks = chunks
        for index, chunk in enumerate(chunks):
            outputs = {feature.name for feature in chunk.outputs}
            for feature in (*chunk.inputs, *chunk.outputs):
                if feature.name in outputs:
                    refuse(not feature.is_half, f"{chunk.stem}: {feature.name} is {feature.dtype}, no pixel buffer")
                if feature.is_half and feature.name != "new_x":
                    self._make(index, chunk, feature)
            for feature in chunk.outputs:
                if feature.name == "new_x":
                    refuse(self.buffer(index, "x").shape != feature.shape, f"{chunk.stem}: new_x has no place in x")
        self._check_ends()
        self._check_layers()

    def _make(self, index: int, chunk: Interface, feature: Feature) -> None:
        key = (index if "cache" in feature.name else None, feature.name)
        known = self._buffers.setdefault(key, np.zeros(feature.shape, np.float16))
        refuse(
            known.shape != feature.shape, f"{chunk.stem}: {feature.name} is {feature.shape}, the buffer {known.shape}"
        )

    def _check_ends(self) -> None:
        """What the program asks of the first and the last model before it gives them anything."""
        first, last = self._chunks[0], self._chunks[-1]
        refuse(first.input("input_ids") is None, f"{first.stem}: the first chunk takes no input_ids")
        refuse(
            not any(last.output(name) for name in ("logits", "logits_0")),
            f"{last.stem}: the last chunk gives no logits",
        )
        for chunk in self._chunks:
            for feature in chunk.inputs:
                refuse(
                    not feature.is_half and feature.name not in ("input_ids", "full_sequence_length"),
                    f"{chunk.stem}: nobody gives {feature.name}",
                )

    def _check_layers(self) -> None:
        refuse(self.layers(1) == 0, "the second chunk has no k_cache_0")
        for chunk in self._chunks:
            keys = {feature.name for feature in chunk.inputs if "k_cache" in feature.name}
            expected = {f"k_cache_{layer}" for layer in range(len(keys))}
            refuse(keys != expected, f"{chunk.stem}: layers are {sorted(keys)}")
            gives = {feature.name for feature in chunk.outputs}
            for name in keys:
                beside = [chunk.input(name.replace("k_", "v_", 1)), chunk.output(f"new_{name}")]
                beside.append(chunk.output(f"new_{name}".replace("k_", "v_", 1)))
                refuse(None in beside, f"{chunk.stem}: {name} has no values, or no rows that are new")
            refuse(bool(keys) and "new_x" not in gives, f"{chunk.stem}: no new_x, so x would stay as it is")

    def layers(self, index: int) -> int:
        """Layers of a chunk."""
        return sum(1 for feature in self._chunks[index].inputs if feature.name.startswith("k_cache_"))

    def buffer(self, index: int, name: str) -> np.ndarray:
        """The buffer that a chunk has under a name."""
        key = (index if "cache" in name else None, name)
        refuse(key not in self._buffers, f"no buffer {name}")
        return self._buffers[key]

    def backing(self, index: int, name: str) -> np.ndarray:
        """Where a result is written."""
        return self.buffer(index, "x" if name == "new_x" else name)


class LlmCli:
    """The program with a directory, without its tokenizer."""

    def __init__(self, directory: Path, numerics: str = "f32") -> None:
        paths = find_pipeline(directory)
        self.interfaces = [Interface.read(path) for path in paths]
        self.store = Store(self.interfaces)
        self.beside = {name: Interface.read(directory / f"{name}.mlmodelc") for name in BESIDE}
        self._check_beside()
        package = lambda stem: Package(directory / f"{stem}.mlpackage", numerics).functions["main"]  # noqa: E731
        self._pipeline = [package(interface.stem) for interface in self.interfaces]
        self._processors = {name: package(name) for name in BESIDE}
        self._waiting: dict[int, bool] = {}
        self._logits = [feature.name for feature in self.interfaces[-1].outputs]

    def _check_beside(self) -> None:
        shapes = {feature.name: feature.shape for feature in self.beside["cache-processor"].inputs}
        made = {feature.name: feature.shape for feature in self.beside["cache-processor"].outputs}
        for word in "kv":
            cache, new = (self.store.buffer(1, f"{kind}{word}_cache_0").shape for kind in ("", "new_"))
            found = [
                shapes.get(f"old_{word}_cache"),
                shapes.get(f"new_{word}_cache"),
                made.get(f"updated_{word}_cache"),
            ]
            refuse(found != [cache, new, cache], f"cache-processor: {found}, the buffers are {[cache, new, cache]}")
        logits = {feature.name: feature.shape for feature in self.interfaces[-1].outputs}
        taken = {feature.name: feature.shape for feature in self.beside["logit-processor"].inputs}
        refuse(logits != taken, f"logit-processor takes {taken}, the last chunk gives {logits}")
        argmax = self.beside["logit-processor"].output("argmax")
        refuse(
            argmax is None or argmax.shape != (1, BLOCK), f"logit-processor gives no token for each of {BLOCK} columns"
        )

    def call(self, sequence: list[int]) -> int:
        """One pass over the last block of a sequence; gives the next token."""
        count = len(sequence)
        pad = -count % BLOCK
        start = (count - 1) // BLOCK * BLOCK
        ids = sequence[start:] + [0] * pad
        given = {
            "input_ids": torch.tensor([ids], dtype=torch.int32),
            "full_sequence_length": torch.tensor([count + pad], dtype=torch.int32),
        }
        for index in range(len(self._pipeline)):
            self._predict(index, given if index == 0 else None)
            if self.store.layers(index) and pad == 0:
                self._waiting[index] = True
        logits = {name: self._tensor(self.store.buffer(len(self._pipeline) - 1, name)) for name in self._logits}
        argmax = self._processors["logit-processor"](logits)["argmax"]
        return int(argmax[0, (count - 1) % BLOCK])

    def logits(self, count: int) -> torch.Tensor:
        """What the last call said after token `count` of its sequence."""
        last = len(self._pipeline) - 1
        parts = [self._tensor(self.store.buffer(last, name))[0, (count - 1) % BLOCK] for name in self._logits]
        return torch.cat(parts)

    def _predict(self, index: int, given: dict[str, torch.Tensor] | None) -> None:
        if self._waiting.pop(index, False):
            self._shift(index)
        interface = self.interfaces[index]
        if given is None:
            given = {feature.name: self._tensor(self.store.buffer(index, feature.name)) for feature in interface.inputs}
        for name, result in self._pipeline[index](given).items():
            self._write(self.store.backing(index, name), result)

    def _shift(self, index: int) -> None:
        """The cache processor, once for each layer, over the caches themselves."""
        for layer in range(self.store.layers(index)):
            names = {f"{kind}_{word}_cache": (kind, word) for kind in ("old", "new") for word in "kv"}
            buffers = {
                name: self.store.buffer(index, f"{'new_' if kind == 'new' else ''}{word}_cache_{layer}")
                for name, (kind, word) in names.items()
            }
            results = self._processors["cache-processor"]({name: self._tensor(at) for name, at in buffers.items()})
            for word in "kv":
                self._write(buffers[f"old_{word}_cache"], results[f"updated_{word}_cache"])

    @staticmethod
    def _tensor(buffer: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(buffer.copy()).float()

    @staticmethod
    def _write(buffer: np.ndarray, result: torch.Tensor) -> None:
        refuse(tuple(result.shape) != buffer.shape, f"a result of {tuple(result.shape)} for a buffer of {buffer.shape}")
        buffer[...] = result.half().numpy()
