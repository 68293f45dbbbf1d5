"""What the tests share: the binary, the checkpoints, and conversions that are made once per session."""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import synthetic
from judge import Reference, evaluation_tokens, reference

# The workers of pytest-xdist share the cores.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
torch.set_num_threads(max(1, (os.cpu_count() or 1) // WORKERS))

REPOSITORY = Path(__file__).resolve().parents[2]

#: Short enough to evaluate quickly, long enough for two full batches and a rest.
CONTEXT_LENGTH = 256
TOKENS = 144


@dataclass(frozen=True)
class Outcome:
    """How a run of `anec` ended."""

    code: int
    stdout: str
    stderr: str


class Anec:
    """The command, and a cache of what it converted."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.binary = binary
        self._directory = directory
        self._converted: dict[tuple[str, ...], Path] = {}

    def run(self, *arguments: object, cwd: Path | None = None) -> Outcome:
        command = [str(self.binary), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=600, check=False)
        return Outcome(result.returncode, result.stdout, result.stderr)

    def convert(self, checkpoint: Path, *options: object) -> Path:
        """The converted directory, once for each request. Without calibration, unless an option says so."""
        if "--calibration" not in options:
            options = ("--calibration", "none", *options)
        key = (str(checkpoint), *map(str, options))
        if key not in self._converted:
            output = self._directory / str(len(self._converted))
            outcome = self.run("convert", checkpoint, "-o", output, "--quiet", *options)
            assert outcome.code == 0, outcome.stderr
            self._converted[key] = output
        return self._converted[key]


def find_checkpoints() -> list[Path]:
    """Checkpoints in `tests/data`, and below the paths in ANEC_FIXTURES."""
    places = [REPOSITORY / "tests" / "data"]
    places += [Path(place) for place in os.environ.get("ANEC_FIXTURES", "").split(os.pathsep) if place]
    found = {}
    for place in places:
        for directory in [place, *sorted(path for path in place.iterdir() if path.is_dir())]:
            if (directory / "config.json").is_file():
                found.setdefault(directory.name, directory)
    return list(found.values())


CHECKPOINTS = find_checkpoints()


@pytest.fixture(scope="session")
def anec(tmp_path_factory: pytest.TempPathFactory) -> Anec:
    binary = Path(os.environ.get("ANEC_BIN", REPOSITORY / "target" / "release" / "anec"))
    assert binary.is_file(), f"{binary} does not exist; run `cargo build --release`, or set ANEC_BIN"
    return Anec(binary.resolve(), tmp_path_factory.mktemp("converted"))


@pytest.fixture(scope="session", params=CHECKPOINTS, ids=lambda path: path.name)
def checkpoint(request: pytest.FixtureRequest) -> Path:
    """Every trained checkpoint."""
    return request.param


@pytest.fixture(scope="session")
def small_checkpoint() -> Path:
    """One trained checkpoint, where one is enough."""
    return REPOSITORY / "tests" / "data" / "tiny-qwen3"


@pytest.fixture(scope="session")
def token_ids(checkpoint: Path) -> list[int]:
    return evaluation_tokens(checkpoint, TOKENS)


@pytest.fixture(scope="session")
def expected(checkpoint: Path, token_ids: list[int]) -> Reference:
    """transformers' forward pass of the checkpoint."""
    return reference(checkpoint, token_ids)


@pytest.fixture(scope="session")
def presets(tmp_path_factory: pytest.TempPathFactory):
    """Writes a synthetic checkpoint by name, once."""
    directory = tmp_path_factory.mktemp("synthetic")

    def make(name: str, **options) -> Path:
        path = directory / "-".join([name, *map(str, options.values())])
        if not path.exists():
            synthetic.write(path, synthetic.PRESETS[name], **options)
        return path

    return make
