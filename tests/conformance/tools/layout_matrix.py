"""Converts checkpoints under every layout and storage, verifies each, and prints a table.

    python tools/layout_matrix.py ANEC CHECKPOINT... [--limit N] [--json FILE] [--package-check COMMAND]

A row is a layout, a checkpoint and a storage: the mean divergence from the checkpoint in nats, the share of positions
with the same best token, the mean divergence from the first layout where that gives logits with the same weights, and
whether all checks passed: those of `anec verify`, those of `anec check` (contract, both forms the same, lint), and
those of another program for all packages. A conversion that a layout refuses is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

STORAGES = {
    "fp16": (),
    "lut4": ("--lut", "4", "--calibration", "none"),
    "lut6": ("--lut", "6", "--calibration", "none"),
}
OLDER = ("--target", "macos14")
#: Options of each row of the table, by its name.
LAYOUTS = {
    "anec": (),
    "anemll": ("--layout", "anemll"),
    "anemll-monolithic": ("--layout", "anemll-monolithic"),
    "host-cache": ("--layout", "host-cache"),
    "host-cache, macOS 14": ("--layout", "host-cache", "--functions", "single", *OLDER),
    "coreml-llm-cli": ("--layout", "coreml-llm-cli", "--target", "macos15"),
    "coreml-llm-cli, macOS 14": ("--layout", "coreml-llm-cli", *OLDER),
    "coreml-llm-cli-sequoia": ("--layout", "coreml-llm-cli-sequoia", "--target", "macos15"),
    "prefill": ("--layout", "prefill"),
    "embedding": ("--layout", "embedding"),
}
#: Palettes of systems that know those of a whole tensor only.
OF_A_TENSOR = ("--group-size", "tensor", "--channel-scale")


def next_tokens(anec: str, output: Path, tokens: Path, work: Path) -> np.ndarray | None:
    """Logarithms of the probabilities of the next token, `[tokens, vocab_size]`; none where a layout has no head."""
    saved = work / "saved.safetensors"
    saved.unlink(missing_ok=True)
    command = [anec, "eval", str(output), "--tokens", str(tokens), "--save", str(saved), "--json"]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    (logits,) = [value for name, value in load_file(saved).items() if name.endswith(".logits")]
    logits = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def are_sound(command: list[str], output: Path) -> bool:
    """Whether another program finds no fault with any of the packages."""
    packages = map(str, sorted(output.glob("*.mlpackage")))
    return subprocess.run([*command, *packages], capture_output=True).returncode == 0


def row(arguments: argparse.Namespace, checkpoint: Path, layout: str, storage: str, known: dict) -> dict:
    anec, limit = arguments.anec, arguments.limit
    options = [*LAYOUTS[layout], *STORAGES[storage]]
    if storage != "fp16" and "macos14" in options:
        # A table that is gathered from has no channels to scale.
        options += [*OF_A_TENSOR, "--embeddings", "fp16"]
    found = {"layout": layout, "checkpoint": checkpoint.name, "storage": storage}
    with tempfile.TemporaryDirectory() as work:
        output = Path(work, "out")
        convert = subprocess.run(
            [anec, "convert", str(checkpoint), "-o", str(output), "--quiet", *options], capture_output=True, text=True
        )
        if convert.returncode:
            return found | {"refused": convert.stderr.strip().splitlines()[0]}
        verify = subprocess.run(
            [anec, "verify", str(output), "--against", str(checkpoint), "--report", str(Path(work, "report"))]
            + ["--limit", str(limit), "--quiet", "--json"],
            capture_output=True,
            text=True,
        )
        if not verify.stdout:
            return found | {"refused": verify.stderr.strip().splitlines()[0]}
        failed = [] if subprocess.run([anec, "check", str(output)], capture_output=True).returncode == 0 else ["check"]
        if arguments.package_check and not are_sound(shlex.split(arguments.package_check), output):
            failed.append("packages")
        tokens = Path(work, "tokens.json")
        tokens.write_text(json.dumps([(7 * at + 3) % 250 for at in range(limit)]))
        probabilities = next_tokens(anec, output, tokens, Path(work))
        # Palettes of whole tensors are other weights.
        same_weights = storage == "fp16" or "macos14" not in options
        first = known.setdefault((checkpoint, storage), probabilities)
        if same_weights and probabilities is not None and first is not None:
            found["kl_first"] = float((np.exp(first) * (first - probabilities)).sum(-1).mean())
    report = json.loads(verify.stdout)
    failed += [check["name"] for check in report["checks"] if not check["passed"]]
    return found | {"kl_mean": report["decode"]["kl_mean"], "top1": report["decode"]["top1"], "failed": failed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("anec")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=80, help="tokens that are compared")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--package-check", help="command that ends with 0 where the packages behind it are sound")
    arguments = parser.parse_args()
    rows, known = [], {}
    for checkpoint in arguments.checkpoints:
        for layout in LAYOUTS:
            for storage in STORAGES:
                rows.append(row(arguments, checkpoint, layout, storage, known))
                print(line(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any("refused" in found or found["storage"] == "fp16" and found["failed"] for found in rows))


def line(found: dict) -> str:
    name = f"{found['layout']:<24}  {found['checkpoint']:<14}  {found['storage']:<5}"
    if "refused" in found:
        return f"{name}  {found['refused']}"
    failed = ", ".join(found["failed"]) or "all checks"
    first = f"{found['kl_first']:.1e}" if "kl_first" in found else "-"
    return f"{name}  {found['kl_mean']:.1e}  {found['top1']:.3f}  {first:>8}  {failed}"


if __name__ == "__main__":
    sys.exit(main())
