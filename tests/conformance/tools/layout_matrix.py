"""Converts checkpoints under every layout and storage, verifies each, and prints a table.

    python tools/layout_matrix.py ANEC CHECKPOINT... [--limit N] [--json FILE]

A row is a layout, a checkpoint and a storage: the mean divergence from the checkpoint in nats, the share of positions
with the same best token, and whether all checks passed. A conversion that a layout refuses is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

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
}
#: Palettes of systems that know those of a whole tensor only.
OF_A_TENSOR = ("--group-size", "tensor", "--channel-scale")


def row(anec: str, checkpoint: Path, layout: str, storage: str, limit: int) -> dict:
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
    report = json.loads(verify.stdout)
    failed = [check["name"] for check in report["checks"] if not check["passed"]]
    return found | {"kl_mean": report["decode"]["kl_mean"], "top1": report["decode"]["top1"], "failed": failed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("anec")
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=80, help="tokens that are compared")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    rows = []
    for checkpoint in arguments.checkpoints:
        for layout in LAYOUTS:
            for storage in STORAGES:
                rows.append(row(arguments.anec, checkpoint, layout, storage, arguments.limit))
                print(line(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any("refused" in found or found["storage"] == "fp16" and found["failed"] for found in rows))


def line(found: dict) -> str:
    name = f"{found['layout']:<24}  {found['checkpoint']:<14}  {found['storage']:<5}"
    if "refused" in found:
        return f"{name}  {found['refused']}"
    failed = ", ".join(found["failed"]) or "all checks"
    return f"{name}  {found['kl_mean']:.1e}  {found['top1']:.3f}  {failed}"


if __name__ == "__main__":
    sys.exit(main())
