"""A large conversion needs little memory, whatever the size of the checkpoint, and can be stopped."""

import signal
import subprocess
import sys
import time

import pytest

from package_file import PackageFile

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
    command = [anec.binary, "convert", checkpoint, "-o", output, "--lut", "4", "--chunks", "2", "--quiet"]
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


def test_an_interrupted_conversion_leaves_nothing(anec, presets, tmp_path):
    command = [anec.binary, "convert", presets("qwen2.5-0.5b"), "-o", tmp_path / "out", "--lut", "4", "--quiet"]
    process = subprocess.Popen(command)
    while not any(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert list(tmp_path.iterdir()) == []
