"""A conversion needs little memory, whatever the size of the checkpoint."""

import os
import subprocess
import time

import pytest

from package_file import PackageFile

GIBIBYTE = 1 << 30
#: `ru_maxrss` counts kilobytes on Linux.
RSS_UNIT = 1024


@pytest.mark.slow
def test_half_a_billion_parameters_convert_in_less_than_a_gibibyte(anec, presets, tmp_path):
    checkpoint = presets("qwen2.5-0.5b")
    output = tmp_path / "out"
    started = time.monotonic()
    command = [str(anec.binary), "convert", checkpoint, "-o", output, "--lut", "4", "--chunks", "2", "--quiet"]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    print(f"{seconds:.1f} s, {usage.ru_utime:.1f} s of CPU, peak of {usage.ru_maxrss * RSS_UNIT / 1e6:.0f} MB")
    assert process.returncode == 0
    assert usage.ru_maxrss * RSS_UNIT < GIBIBYTE
    chunks = [PackageFile(path) for path in sorted(output.glob("combined_*.mlpackage"))]
    assert len(chunks) == 2
    # Twelve layers of 14.9 M weights at four bits, and a palette for every eight rows.
    assert all(85e6 < chunk.weights.size < 105e6 for chunk in chunks)
