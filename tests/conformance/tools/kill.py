"""Kills conversions at random moments and goes on with them: the same bytes as without a kill, and no stray files.

    python kill.py ANEC CHECKPOINT [--kills N] [--seed N] [--threads N]... [-- OPTION...]

Each round starts a conversion, kills it with SIGKILL after a random time, perhaps kills the resumed one too, and lets
the last one finish. Moments are spread over the time that an undisturbed conversion takes. Without options it is
`--lut 4`, which calibrates; `-- --lut 4 --calibration none` does not. With several `--threads`, each start takes one of
them at random.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: How often one output is killed at most before it may finish.
KILLS_PER_OUTPUT = 3


@dataclass
class Outcome:
    """What the kills met."""

    kills: int = 0
    #: Kills that came too late.
    finished_before: int = 0
    #: Kills before there was anything to go on with.
    nothing_left: int = 0


def tree(directory: Path) -> dict[str, str]:
    """Every file below a directory with the checksum of its bytes."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def check(
    anec: Path,
    checkpoint: Path,
    scratch: Path,
    *,
    kills: int,
    seed: int,
    options: list[str],
    threads: Sequence[int] = (),
) -> Outcome:
    """Kills `kills` conversions below `scratch`; fails with an AssertionError where bytes or files differ."""
    moments = random.Random(seed)
    command = [str(anec), "convert", str(checkpoint), "--quiet", *options]
    expected_path = scratch / "expected"
    started = time.monotonic()
    subprocess.run([*command, "-o", str(expected_path)], check=True)
    duration = time.monotonic() - started
    expected = tree(expected_path)

    def command_on_some_threads() -> list[str]:
        return [*command, "--threads", str(moments.choice(threads))] if threads else command

    outcome = Outcome()
    while outcome.kills < kills:
        parent = scratch / "killed"
        parent.mkdir()
        output = parent / "out"
        for _ in range(moments.randint(1, KILLS_PER_OUTPUT)):
            process = subprocess.Popen([*command_on_some_threads(), "-o", str(output), "--resume"])
            time.sleep(moments.uniform(0, 1.1 * duration))
            process.kill()
            process.wait()
            outcome.kills += 1
            left = sorted(path.name for path in parent.iterdir())
            if left == ["out"]:
                outcome.finished_before += 1
                break
            outcome.nothing_left += left == []
        if sorted(path.name for path in parent.iterdir()) != ["out"]:
            subprocess.run([*command_on_some_threads(), "-o", str(output), "--resume"], check=True)
        left = sorted(path.name for path in parent.iterdir())
        assert left == ["out"], f"stray files: {left}"
        found = tree(output)
        differing = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
        assert not differing, f"files that differ: {differing}"
        shutil.rmtree(parent)
    shutil.rmtree(expected_path)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("anec", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, action="append", default=[], help="repeat for several")
    parser.add_argument("--scratch", type=Path, help="directory to write below")
    own, separator, options = sys.argv[1:], "--", []
    if separator in own:
        own, options = own[: own.index(separator)], own[own.index(separator) + 1 :]
    arguments = parser.parse_args(own)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        outcome = check(
            arguments.anec.resolve(),
            arguments.checkpoint,
            Path(scratch),
            kills=arguments.kills,
            seed=arguments.seed,
            options=options or ["--lut", "4"],
            threads=arguments.threads,
        )
    print(
        f"{outcome.kills} kills, {outcome.finished_before} after the end, {outcome.nothing_left} before the beginning; "
        "the same bytes and no stray files after all of them"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
