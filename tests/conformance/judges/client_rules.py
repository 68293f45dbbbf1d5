"""How clients of converted models read `meta.yaml` and find the packages.

The rules were written down from the behavior of ANEMLL 0.3.5: its Python clients (`tests/chat.py`,
`tests/chat_full.py`) and its Swift library (`YAMLConfig.swift`). Nothing here is more lenient than they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

REQUIRED = ("lut_ffn", "lut_lmhead", "lut_embeddings", "num_chunks", "context_length", "batch_size")
CHUNK = re.compile(r"_chunk_(\d+)of(\d+)")
#: What the Python clients ask of a chunk's name before they load two functions from it.
ANEMLL_CHUNK = re.compile(r"FFN_PF.*_chunk_(\d+)of(\d+)")
EXTENSIONS = (".mlmodelc", ".mlpackage")


class ContractError(Exception):
    """A client would refuse the directory, or read it wrongly."""


@dataclass(frozen=True)
class ModelFiles:
    """What a Python client makes of a directory."""

    context_length: int
    batch_size: int
    embeddings: Path
    chunks: list[Path]
    lm_head: Path
    split_lm_head: int
    argmax: bool
    lm_head_chunk_sizes: list[int]
    batched_prefill: bool
    #: Positions that tokens may have; more than the context where every layer has a ring.
    max_positions: int
    #: Positions of the windows that functions of their own shift once they are full.
    sliding_window: int | None
    #: Rows of the one function of a chunk; None where it has `infer` and `prefill`.
    query_length: int | None

    def packages(self) -> ModelFiles:
        """The packages of the same models; clients prefer compiled ones, the tests read packages."""
        embeddings, lm_head, *chunks = (
            path.with_suffix(".mlpackage") for path in (self.embeddings, self.lm_head, *self.chunks)
        )
        return replace(self, embeddings=embeddings, lm_head=lm_head, chunks=chunks)


def parameters(directory: Path) -> dict:
    """`model_info.parameters` of `meta.yaml`."""
    with (directory / "meta.yaml").open(encoding="utf-8") as file:
        found = yaml.safe_load(file)["model_info"]["parameters"]
    missing = [key for key in REQUIRED if key not in found]
    if missing:
        raise ContractError(f"meta.yaml lacks {missing}")
    return found


def model_files(directory: str | Path) -> ModelFiles:
    """Reads a directory by the path keys of its `meta.yaml`, as `chat.py` does."""
    directory = Path(directory)
    found = parameters(directory)
    first = existing(directory, found["ffn"])
    sizes = list(found.get("lm_head_chunk_sizes") or [])
    return ModelFiles(
        context_length=int(found["context_length"]),
        batch_size=int(found["batch_size"]),
        embeddings=existing(directory, found["embeddings"]),
        chunks=all_chunks(first, int(found["num_chunks"])),
        lm_head=existing(directory, found["lm_head"]),
        split_lm_head=int(found.get("split_lm_head", 8)),
        argmax=bool(found.get("argmax_in_model", False)),
        lm_head_chunk_sizes=sizes,
        batched_prefill=bool(found.get("update_mask_prefill") or found.get("prefill_dynamic_slice")),
        max_positions=int(found.get("max_positions", found["context_length"])),
        sliding_window=found.get("sliding_window"),
        query_length=found.get("query_length"),
    )


def existing(directory: Path, name: str) -> Path:
    """A name with either extension, whichever is there."""
    stem = re.sub(r"\.(mlmodelc|mlpackage)$", "", name)
    for extension in EXTENSIONS:
        path = directory / (stem + extension)
        if path.is_dir():
            return path
    raise ContractError(f"no {stem} in {directory}")


def all_chunks(first: Path, num_chunks: int) -> list[Path]:
    """Every chunk beside the first one; a glob, so nothing else may match it."""
    match = CHUNK.search(first.name)
    if match is None:
        raise ContractError(f"{first.name} does not say which chunk it is")
    pattern = first.name.replace(match.group(0), "_chunk_*")
    chunks = sorted(first.parent.glob(pattern))
    if len(chunks) != int(match.group(2)) or len(chunks) != num_chunks:
        raise ContractError(f"{len(chunks)} chunks match {pattern}, expected {num_chunks}")
    return chunks


def rebuilt_names(found: dict) -> list[str]:
    """The names that `chat_full.py` makes from the prefix and the bits, without looking at the path keys."""

    def suffix(bits) -> str:
        return "" if bits == "none" else f"_lut{bits}"

    prefix, count = found.get("model_prefix", "llama"), int(found["num_chunks"])
    return [
        f"{prefix}_embeddings{suffix(found['lut_embeddings'])}",
        f"{prefix}_FFN_PF{suffix(found['lut_ffn'])}_chunk_01of{count:02d}",
        f"{prefix}_lm_head{suffix(found['lut_lmhead'])}",
    ]


def swift_settings(directory: Path) -> dict:
    """What the Swift library takes from `meta.yaml`: what is no plain integer silently becomes a default."""
    with (directory / "meta.yaml").open(encoding="utf-8") as file:
        info = yaml.safe_load(file)["model_info"]
    found = info["parameters"]

    def integer(key: str, default: int) -> int:
        value = found.get(key)
        return value if type(value) is int else default

    return {
        "context_length": integer("context_length", 2048),
        "batch_size": integer("batch_size", 32),
        "num_chunks": integer("num_chunks", 1),
        "split_lm_head": integer("split_lm_head", 8),
        "lut_ffn": integer("lut_ffn", -1),
        "lut_lmhead": integer("lut_lmhead", -1),
        "model_prefix": found.get("model_prefix", "llama"),
        "vocab_size": integer("vocab_size", 0),
        "lm_head_chunk_sizes": [size for size in found.get("lm_head_chunk_sizes", []) if type(size) is int],
        "legacy_names": str(info.get("version")) == "0.1.1",
    }


def shell_fields(text: str, key: str, field: int) -> str:
    """`grep KEY: | cut -d' ' -fN`, the way a packaging script reads the file."""
    line = next(line for line in text.splitlines() if f"{key}:" in line)
    return line.split(" ")[field - 1]
