"""A large conversion needs little memory, whatever the size of the checkpoint, and can be stopped and gone on with."""

import signal
import subprocess
import sys
import time

import pytest

from package_file import PackageFile
from test_determinism import tree

GIBIBYTE = 1 << 30

#: Runs a command and prints its peak memory in kilobytes. A process of its own, because the peak of a child counts what
#: its parent held when it was started, which for these tests is more than the conversion needs.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
#: `ru_maxrss` is in kilobytes, but in bytes on a Mac.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024

pytestmark = pytest.mark.slow


def test_half_a_billion_parameters_convert_in_less_than_a_gibibyte(anec, presets, tmp_path):
    checkpoint = presets("qwen2.5-0.5b")
    output = tmp_path / "out"
    options = ["--lut", "4", "--calibration", "none", "--chunks", "2", "--quiet"]
    command = [anec.binary, "convert", checkpoint, "-o", output, *options]
    started = time.monotonic()
    result = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    assert result.returncode == 0, result.stderr
    peak = int(result.stdout) * RSS_UNIT
    print(f"{seconds:.1f} s, peak of {peak / 1e6:.0f} MB")
    assert peak < GIBIBYTE
    chunks = [PackageFile(path) for path in sorted(output.glob("combined_*.mlpackage"))]
    assert len(chunks) == 2
    # Twelve layers of 14.9 M weights at four bits, and a palette for every eight rows.
    assert all(85e6 < chunk.weights.size < 105e6 for chunk in chunks)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_conversion_can_be_gone_on_with(anec, presets, tmp_path, signal_number):
    checkpoint = presets("qwen2.5-0.5b")
    options = ["--lut", "4", "--calibration", "none"]
    command = [anec.binary, "convert", checkpoint, "-o", tmp_path / "out", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / ".out.partial" / "journal"
    while not (journal.is_file() and b"part " in journal.read_bytes()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal_number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in message
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert tree(tmp_path / "out") == tree(anec.convert(checkpoint, *options))
