"""Converts a checkpoint on the machines of a Ray cluster: a part a task, then all parts put together.

    pip install ray
    python convert_ray.py MODEL -o OUT --parts 8 --work /shared/parts -- --lut 4 --calibration none

Every machine needs `anec`, the checkpoint, and the directory of the parts at the same paths, so both are on storage
that all of them share. A task whose machine is lost is done again on another one, and goes on where the lost one
stopped. With `--calibrate`, one task makes the calibration that all parts need before the others begin.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import subprocess
import sys
from pathlib import Path

import ray

#: How often a part is done again whose machine was lost, or whose command failed.
RETRIES = 5

#: PR_SET_PDEATHSIG of Linux.
PARENT_DEATH_SIGNAL = 1


def die_with_the_worker() -> None:
    """A command outlives no worker: the next attempt would find its lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def convert(anec: str, model: str, output: str, part: str, options: list[str]) -> str:
    """Makes a part, unless an earlier attempt has finished it."""
    finished = "calibration.json" if part == "calibration" else "part.json"
    if not (Path(output) / finished).is_file():
        command = [anec, "convert", model, "-o", output, "--part", part, "--resume", *options]
        result = subprocess.run(command, preexec_fn=die_with_the_worker, capture_output=True, text=True, check=False)
        if result.returncode:
            raise RuntimeError(f"part {part}: {result.stderr.strip()}")
    return output


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and after the first `--`."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="checkpoint, at the same path on every machine")
    parser.add_argument("-o", "--output", required=True, help="directory to write, on this machine")
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True, help="directory of the parts, shared by all machines")
    parser.add_argument("--calibrate", action="store_true", help="make the calibration once, before the parts")
    parser.add_argument("--address", help="of the cluster; without it, one is started on this machine")
    parser.add_argument("--cpus", type=float, default=1, help="processors that a part may use")
    parser.add_argument("--anec", default="anec", help="the command, on every machine")
    parser.epilog = "What follows -- are options of `anec convert`."
    given, options = split(sys.argv[1:])
    arguments = parser.parse_args(given)

    ray.init(address=arguments.address, log_to_driver=False)
    task = ray.remote(convert).options(num_cpus=arguments.cpus, max_retries=RETRIES, retry_exceptions=True)
    arguments.work.mkdir(parents=True, exist_ok=True)
    # Workers run in directories of their own.
    work = arguments.work.resolve()
    anec, model = (
        str(Path(path).resolve()) if Path(path).exists() else path for path in (arguments.anec, arguments.model)
    )

    def start(part: str, name: str, *more: str):
        return task.remote(anec, model, str(work / name), part, [*options, *more])

    calibrated: list[str] = []
    if arguments.calibrate:
        calibrated = ["--calibrated", ray.get(start("calibration", "calibration"))]
    count = arguments.parts
    waiting = [start(f"{number}/{count}", f"part-{number}-of-{count}", *calibrated) for number in range(1, count + 1)]
    parts: list[str] = []
    while waiting:
        done, waiting = ray.wait(waiting)
        parts += ray.get(done)
        print(f"{len(parts)} of {count} parts", flush=True)
    ray.shutdown()
    subprocess.run([anec, "assemble", *parts, "-o", arguments.output], check=True)


if __name__ == "__main__":
    main()
