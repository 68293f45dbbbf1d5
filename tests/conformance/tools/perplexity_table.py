#!/usr/bin/env python3
"""Perplexity of checkpoints at every kind of palette, beside that of coremltools' palettes, as a table.

    .venv/bin/python tests/conformance/tools/perplexity_table.py CHECKPOINT... [--anec BINARY] [--write MARKDOWN]

A checkpoint needs an `eval_tokens.json` with `windows` of token ids. Every conversion is evaluated with `anec eval` in
f32. coremltools palettizes the same weights, each part of the head as a weight of its own, through its public API; what
its palettes stand for becomes a checkpoint that is converted without palettes. With `--write`, the table replaces that
between the markers in a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "judges"))

import quiet  # noqa: E402, F401 - before coremltools

# isort: split

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file

from peer_palettes import palettized

ROOT = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- perplexity: begin -->", "<!-- perplexity: end -->"
CONTEXT_LENGTH = 256
BITS = (4, 6)
#: Group sizes; where one does not divide all channels, the next number that does stands in for it.
GROUPS = ((8,), (32, 16), ())
#: How the library makes palettes, by the title of the column.
METHODS = {
    "`fast`": (),
    "`exact`": ("--palette", "exact"),
    "`fast`, `--channel-scale`": ("--channel-scale",),
}
INT8 = ("--int8-embeddings", "--lm-head", "int8")


@dataclass(frozen=True)
class Model:
    """A checkpoint and where its conversions go."""

    anec: Path
    checkpoint: Path
    scratch: Path

    def perplexity(self, *options: str, checkpoint: Path | None = None) -> float:
        """Of a conversion, which is deleted."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as directory:
            output = Path(directory) / "out"
            self.convert(checkpoint or self.checkpoint, output, *options)
            tokens = ["--tokens", self.checkpoint / "eval_tokens.json"]
            return float(json.loads(self.run("eval", output, *tokens, "--json"))["perplexity"])

    def convert(self, checkpoint: Path, output: Path, *options: str) -> None:
        """Converts to `output`."""
        self.run("convert", checkpoint, "-o", output, "--quiet", "--context-length", CONTEXT_LENGTH, *options)

    def run(self, *arguments: object) -> str:
        """The output of the command."""
        command = [str(self.anec), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def group_size(self, candidates: tuple[int, ...]) -> int | None:
        """The first that divides the output channels of all projections; none for whole tensors."""
        rows = [weight.shape[0] for weight in projections(tensors(self.checkpoint)).values()]
        return next((size for size in candidates if all(count % size == 0 for count in rows)), None)

    def peer(self, bits: int, group_size: int | None) -> float:
        """The perplexity of coremltools' palettes."""
        stored = tensors(self.checkpoint)
        config = json.loads((self.checkpoint / "config.json").read_text())
        stored.setdefault("lm_head.weight", stored["model.embed_tokens.weight"])
        parts = {name: list(weight.split(self.part_rows(name, weight))) for name, weight in projections(stored).items()}
        flat = {f"{name}/{index}": part for name, split in parts.items() for index, part in enumerate(split)}
        found = palettized({name: part[..., None, None] for name, part in flat.items()}, bits, group_size)
        for name, split in parts.items():
            restored = [found[f"{name}/{index}"].reshape(part.shape) for index, part in enumerate(split)]
            stored[name] = torch.cat(restored).half().contiguous()
        with tempfile.TemporaryDirectory(dir=self.scratch) as directory:
            checkpoint = Path(directory)
            save_file({name: tensor.clone() for name, tensor in stored.items()}, checkpoint / "model.safetensors")
            config |= {"tie_word_embeddings": False}
            (checkpoint / "config.json").write_text(json.dumps(config))
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(self.checkpoint / name, checkpoint)
            return self.perplexity(checkpoint=checkpoint)

    def part_rows(self, name: str, weight: torch.Tensor) -> int:
        """The rows of a weight that are one convolution."""
        if name != "lm_head.weight":
            return weight.shape[0]
        plan = json.loads(self.run("plan", self.checkpoint, "--json"))
        return plan["lm_head_sizes"][0]


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint."""
    return {
        name: tensor
        for file in sorted(checkpoint.glob("*.safetensors"))
        if file.stem != "reference"
        for name, tensor in load_file(file).items()
    }


def projections(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that `--lut` palettizes."""
    return {
        name: tensor for name, tensor in stored.items() if name.endswith("_proj.weight") or name == "lm_head.weight"
    }


def rows(model: Model, pool: ThreadPoolExecutor) -> Iterator[list[str]]:
    """The rows of one checkpoint."""
    name = model.checkpoint.name
    plain, int8 = pool.submit(model.perplexity), pool.submit(model.perplexity, *INT8)
    pending = []
    for bits in BITS:
        for candidates in GROUPS:
            size = model.group_size(candidates)
            options = ("--lut", str(bits), "--group-size", str(size or "tensor"))
            cells = [pool.submit(model.perplexity, *options, *method) for method in METHODS.values()]
            cells.append(pool.submit(model.peer, bits, size))
            pending.append((f"{bits} bits, " + (f"groups of {size}" if size else "per tensor"), cells))
    yield [name, "none", f"{plain.result():.3f}", *[""] * len(METHODS)]
    yield [name, "int8 embeddings and head", f"{int8.result():.3f}", *[""] * len(METHODS)]
    for title, cells in pending:
        yield [name, title, *[f"{cell.result():.3f}" for cell in cells]]


def markdown(lines: list[list[str]]) -> str:
    """A table; the first line is its head."""
    head, *body = lines
    rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--anec", type=Path, default=ROOT / "target" / "release" / "anec")
    parser.add_argument("--jobs", type=int, default=2, help="evaluations at a time")
    parser.add_argument("--write", type=Path, help="file whose table is replaced")
    options = parser.parse_args()
    lines = [["checkpoint", "palettes", *METHODS, "coremltools"]]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(options.jobs) as pool:
        for checkpoint in options.checkpoints:
            model = Model(options.anec.resolve(), checkpoint.resolve(), Path(scratch))
            for line in rows(model, pool):
                lines.append(line)
                print(" | ".join(line), file=sys.stderr, flush=True)
    table = markdown(lines)
    print(table)
    if options.write:
        text = options.write.read_text()
        before, _, rest = text.partition(BEGIN)
        _, found, after = rest.partition(END)
        if not found:
            sys.exit(f"{options.write}: no markers `{BEGIN}` and `{END}`")
        options.write.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
