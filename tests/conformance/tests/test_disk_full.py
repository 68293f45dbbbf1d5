"""A disk that fills up while palettes are calibrated: what is finished is kept, and a resumed conversion ends well."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kill

OPTIONS = ["--lut", "4", "--chunks", "2", "--quiet"]
#: Whose beginning is calibrated with, so that each attempt is short.
TEXT = Path(__file__).resolve().parents[3] / "converter/src/calibrate/tokens/builtin.txt"
CHARACTERS = 12_000


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and how to resize it, in KiB; only root of a Linux can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if sys.platform != "linux" or mount is None:
        pytest.skip("needs mount on Linux")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("may not mount a file system")

    def resize(kibibytes: int) -> None:
        subprocess.run([mount, "-o", f"remount,size={kibibytes}k", place], check=True)

    yield place, resize
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_loses_nothing(anec, small_checkpoint, tmp_path, small_disk):
    disk, resize = small_disk
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text()[:CHARACTERS])
    options = [*OPTIONS, "--calibration", text]
    expected = tmp_path / "expected"
    assert anec.run("convert", small_checkpoint, "-o", expected, *options).code == 0
    output = disk / "out"
    refused = 0
    # Of tokens, residuals, layers and the head, each is the first that does not fit at some size.
    for size in (64, 512, 4_000, 7_000, 8_500, 10_000, 200_000):
        resize(size)
        outcome = anec.run("convert", small_checkpoint, "-o", output, *options, "--resume")
        if outcome.code == 0:
            break
        refused += 1
        assert outcome.code == 1, outcome.stderr
        assert "No space left on device" in outcome.stderr, outcome.stderr
        assert not output.exists()
        if size > 64:
            assert "--resume" in outcome.stderr
    assert refused >= 3
    assert kill.tree(output) == kill.tree(expected)
