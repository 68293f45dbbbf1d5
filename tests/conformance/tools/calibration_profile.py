"""Where the time of a calibration goes, and how near its products of matrices come to what the processor can do.

    python calibration_profile.py CHECKPOINT [--anec BINARY] [-- OPTION...]

Converts a checkpoint under `perf record`, which must be there, and shares the samples out by symbol: products of
matrices, and the rest. The operations of the products, as `anec plan` counts them, over the processor time in their
kernels are a rate of one thread; beside it stands the best that one thread of torch, or of anec, reaches with square
matrices. Without options it is `--lut 4`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
#: What symbols belong to; the first that fits counts.
PLACES = (
    ("products in f32", r"gemm_v0_gemm_\w*f32|private_gemm_x86"),
    ("products and solutions in f64", r"gemm_v0_gemm_\w*f64|faer::linalg"),
    ("weights made f32", r"V3::vectorize::imp_fastcall|half::|rows::to_f16"),
    ("weights assigned to entries", r"V3::vectorize::imp$|compensate"),
    ("palettes", r"anec_quantize|sort::|select::"),
    ("softmax and activations", r"rten_simd"),
    ("checksums", r"sha2"),
    ("the system: memory, threads, files", r"\[k\]"),
)
#: Samples a second of each thread.
RATE = 199
SIDE, ATTEMPTS = 2048, 5


def peak() -> float:
    """Operations a second of one thread, at best."""
    torch.set_num_threads(1)
    a, b = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    best = 0.0
    for _ in range(ATTEMPTS):
        started = time.perf_counter()
        torch.matmul(a, b)
        best = max(best, 2 * SIDE**3 / (time.perf_counter() - started))
    return best


def planned(anec: Path, checkpoint: Path, options: list[str]) -> dict:
    """What `anec plan` says of the calibration."""
    command = [anec, "plan", checkpoint, "--json", *options]
    process = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return json.loads(process.stdout)["calibration"]


def samples(anec: Path, checkpoint: Path, options: list[str], scratch: Path) -> tuple[dict[str, int], float]:
    """Samples by symbol, and seconds of the clock."""
    data, output = scratch / "perf.data", scratch / "converted"
    command = ["perf", "record", "-q", "-F", str(RATE), "-o", data, anec, "convert", checkpoint, "-o", output]
    started = time.monotonic()
    subprocess.run(list(map(str, [*command, "--quiet", "--no-check", *options])), check=True)
    seconds = time.monotonic() - started
    report = ["perf", "report", "-i", str(data), "--no-children", "-g", "none", "-F", "sample,symbol"]
    text = subprocess.run(report, check=True, capture_output=True, text=True).stdout
    found: dict[str, int] = {}
    for line in text.splitlines():
        if match := re.match(r"\s*(\d+)\s+(\[.\].*\S)", line):
            found[match[2]] = found.get(match[2], 0) + int(match[1])
    return found, seconds


def main() -> None:
    own, separator, options = sys.argv[1:], "--", ["--lut", "4"]
    if separator in own:
        own, options = own[: own.index(separator)], own[own.index(separator) + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--anec", type=Path, default=ROOT / "target" / "release" / "anec")
    parser.add_argument("--scratch", type=Path, help="directory to write below")
    arguments = parser.parse_args(own)
    anec = arguments.anec.resolve()
    plans = [planned(anec, arguments.checkpoint, options) for _ in range(ATTEMPTS)]
    work = plans[0]["operations"]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        found, seconds = samples(anec, arguments.checkpoint, options, Path(scratch))
    total = sum(found.values())
    shares: dict[str, int] = {}
    for symbol, count in found.items():
        place = next((place for place, pattern in PLACES if re.search(pattern, symbol)), "all else")
        shares[place] = shares.get(place, 0) + count
    print("| where | share of processor time |\n| --- | ---: |")
    for place, count in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"| {place} | {100 * count / total:.1f} % |")
    # Half of a target is solved for in f64.
    products = sum(work[name] for name in ("answers", "forward", "gram", "assignment")) + work["targets"] / 2
    rate = products / (shares["products in f32"] / RATE)
    best = max(peak(), *(plan["gigaflops_per_second"] * 1e9 / plan["threads"] for plan in plans))
    print(
        f"\n{seconds:.0f} s, {total / RATE:.0f} s of the processor ({total / RATE / seconds / os.cpu_count():.0%} of "
        f"{os.cpu_count()}); products: {products / 1e12:.1f} teraflop at {rate / 1e9:.0f} GFLOP/s a thread, "
        f"{rate / best:.0%} of the {best / 1e9:.0f} that squares reach"
    )


if __name__ == "__main__":
    main()
