#!/usr/bin/env python3
"""Palettizes the same weights with coremltools and with `anec-quantize`, and prints ratios.

    .venv/bin/python tests/conformance/tools/palettize_compare.py [--quick] [--binary EXAMPLE]

Each measurement is a process of its own with one thread. Time is processor time of the palettization alone; that of the
library includes packing. Memory is how far the peak of the process rises above what it held before, weights included.
Errors are computed here for both, in float64, from the weights that the stored palettes stand for.

Columns, where "x" is a ratio: how many times less time and memory the library takes, its squared error over that of
coremltools, and over that of `exact` (the optimum). "worst group" is the largest ratio of a group's error to that of
coremltools. Exits with 1 where a limit below is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}

# How many times faster than coremltools, at least: in groups by bits, in small ones, and for a whole tensor.
FAST_IN_GROUPS = {4: 100, 6: 300}
FAST_IN_SMALL_GROUPS = {4: 50, 6: 100}
FAST_PER_TENSOR = 20
EXACT_IN_GROUPS = 10
# The error of `fast` over the optimum, at most.
FAST_ERROR = 1.005
# The error of `exact` over that of coremltools, at most: in every group, and where groups are so small that
# coremltools does not look for the optimum. The optimum of these weights is at 0.9204 with 4 bits.
EXACT_ERROR = 1.0
EXACT_ERROR_IN_SMALL_GROUPS = 0.921
SMALL_GROUP = 10_000
# Weights that the library palettizes in each measurement, again and again.
MEASURED_WEIGHTS = 1 << 25


@dataclass(frozen=True)
class Case:
    """A weight and how it is palettized; no rows stand for a palette of the whole tensor."""

    rows: int
    columns: int
    bits: int
    group_rows: int

    @property
    def group(self) -> int:
        """Weights that share a palette."""
        return (self.group_rows or self.rows) * self.columns

    def __str__(self) -> str:
        grouping = f"groups of {self.group_rows}" if self.group_rows else "per tensor"
        return f"{self.rows}x{self.columns}, {self.bits} bits, {grouping}"


CASES = [
    Case(rows, columns, bits, group_rows)
    for rows, columns in ((896, 4864), (4096, 4096))
    for bits in (4, 6)
    for group_rows in (8, 16, 0)
] + [Case(896, 896, 4, 8), Case(896, 896, 6, 8)]
QUICK_CASES = [Case(896, 896, 4, 8), Case(64, 4864, 4, 8), Case(64, 4864, 6, 16), Case(896, 896, 4, 0)]


@dataclass(frozen=True)
class Measurement:
    """What a palettization took, and the squared error of each group."""

    cpu_seconds: float
    peak_growth: int
    noise: np.ndarray


def weights(case: Case) -> np.ndarray:
    """Normally distributed, as trained weights nearly are."""
    normal = np.random.default_rng(1234).standard_normal((case.rows, case.columns), dtype=np.float32)
    return (normal * np.float32(0.02)).astype(np.float16)


def noise(case: Case, stored: np.ndarray) -> np.ndarray:
    """The squared error of each group."""
    error = weights(case).astype(np.float64) - stored.astype(np.float64).reshape(case.rows, case.columns)
    return (error**2).reshape(-1, case.group).sum(axis=1)


def coremltools(case: Case, directory: Path) -> Measurement:
    """Runs `peer` in a process of its own."""
    restored = directory / "peer.npy"
    arguments = [json.dumps(vars(case)), str(restored)]
    output = run([sys.executable, __file__, "--peer", *arguments])
    result = json.loads(output.splitlines()[-1])
    return Measurement(result["cpu_seconds"], result["peak_growth_bytes"], noise(case, np.load(restored)))


def peer(case: Case, restored: str) -> None:
    """Palettizes with coremltools in this process."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "judges"))
    import quiet  # noqa: F401 - before coremltools

    # isort: split

    from coremltools.optimize import _utils as decoding
    from coremltools.optimize.coreml import _quantization_passes as passes

    weight = weights(case)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS:")
    started = time.process_time()
    params = passes.palettize_weights.blockwise_compress(
        weight, "KMEANS", case.bits, [case.group_rows, 0], channel_axis=0, num_kmeans_workers=1
    )
    cpu_seconds = time.process_time() - started
    growth = memory("VmHWM:") - before
    np.save(restored, decoding.lut_to_dense(params.indices, params.lut, params.vector_axis))
    print(json.dumps({"cpu_seconds": cpu_seconds, "peak_growth_bytes": growth}))


def memory(name: str) -> int:
    """A line of the system's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def library(case: Case, method: str, binary: Path, directory: Path) -> Measurement:
    """Runs the example of the library."""
    source, restored = directory / "weights.bin", directory / "restored.bin"
    weights(case).tofile(source)
    # The clock of processor time is coarse: long enough that it does not matter.
    repeat = max(1, MEASURED_WEIGHTS // (case.rows * case.columns))
    numbers = [case.columns, case.group_rows, case.bits]
    output = run([str(binary), str(source), *map(str, numbers), method, str(repeat), str(restored)])
    result = json.loads(output)
    measured = noise(case, np.fromfile(restored, dtype=np.float16))
    if not np.isclose(measured.sum(), result["noise"], rtol=1e-6):
        sys.exit(f"{case}: the library reports an error of {result['noise']}, but it is {measured.sum()}")
    return Measurement(result["cpu_seconds"], result["peak_growth_bytes"], measured)


def run(command: list[str]) -> str:
    """The output of a command with one thread."""
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
    ).stdout


def compare(case: Case, binary: Path) -> list[str]:
    """Prints a case; the limits that it misses."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        theirs = coremltools(case, directory)
        ours = {method: library(case, method, binary, directory) for method in ("fast", "exact")}
    missed = []
    size = case.rows * case.columns
    print(f"{case}: coremltools {theirs.cpu_seconds / size * 1e9:.0f} ns per weight, error {theirs.noise.sum():.6e}")
    optimum = ours["exact"].noise.sum()
    for method, result in ours.items():
        speed = theirs.cpu_seconds / result.cpu_seconds
        error = result.noise.sum() / theirs.noise.sum()
        worst = (result.noise / theirs.noise).max()
        print(
            f"  {method:5}  {result.cpu_seconds / size * 1e9:6.2f} ns per weight  time {speed:6.1f}x"
            f"  memory {theirs.peak_growth / max(result.peak_growth, 1):5.1f}x  error {error:.6f}x"
            f"  worst group {worst:.6f}x  over the optimum {result.noise.sum() / optimum:.6f}x",
            flush=True,
        )
        if method == "fast":
            in_groups = FAST_IN_SMALL_GROUPS if case.group < SMALL_GROUP else FAST_IN_GROUPS
            least_speed = in_groups[case.bits] if case.group_rows else FAST_PER_TENSOR
            most_error = FAST_ERROR * optimum / theirs.noise.sum()
        else:
            least_speed = EXACT_IN_GROUPS if case.group_rows else 0
            most_error = EXACT_ERROR_IN_SMALL_GROUPS if case.group < SMALL_GROUP else EXACT_ERROR
            if worst > EXACT_ERROR:
                missed.append(f"{case}, {method}: a group with {worst} times the error of coremltools")
        if speed < least_speed:
            missed.append(f"{case}, {method}: {speed:.1f} times faster, expected {least_speed}")
        if error > most_error:
            missed.append(f"{case}, {method}: {error} times the error of coremltools, expected {most_error}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small weights, a minute in all")
    parser.add_argument("--binary", type=Path, help="the example `palettize_file`; built if not given")
    parser.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(Case(**json.loads(options.peer[0])), options.peer[1])
        return 0
    binary = options.binary
    if binary is None:
        run(["cargo", "build", "--release", "--manifest-path", str(ROOT / "Cargo.toml"), "--example", "palettize_file"])
        binary = ROOT / "target" / "release" / "examples" / "palettize_file"
    missed = [limit for case in (QUICK_CASES if options.quick else CASES) for limit in compare(case, binary)]
    for limit in missed:
        print(f"missed: {limit}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
