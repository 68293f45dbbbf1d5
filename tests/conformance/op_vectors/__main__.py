"""Writes the vectors of the ops named on the command line, or of all."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in (".", "judges")]

import quiet  # noqa: E402, F401 - before coremltools

# isort: split

from op_vectors.case import families, file_text, vector_file  # noqa: E402


def main(names: list[str]) -> int:
    known = families()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no vectors for {', '.join(unknown)}, expected {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    for name in names or sorted(known):
        vector_file(name).write_text(file_text(known[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
