"""One conversion on several machines: the example scripts, with machines that are lost, give what one machine gives."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
OPTIONS = ("--lut", "4", "--calibration", "none")


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def plain(anec, small_checkpoint) -> dict[str, bytes]:
    return tree(anec.convert(small_checkpoint, *OPTIONS))


@pytest.fixture
def flaky(anec, tmp_path) -> Path:
    """The command; the first time that it makes part 2, it is killed midway, with the process that called it."""
    command = tmp_path / "bin" / "anec"
    command.parent.mkdir()
    command.write_text(
        f"""#!/bin/bash
if [[ " $* " == *" --part 2/4 "* && ! -e "{tmp_path}/lost" ]]; then
    touch "{tmp_path}/lost"
    "{anec.binary}" "$@" & made=$!
    sleep 0.05
    kill -9 "$made" "$PPID"
    exit 1
fi
exec "{anec.binary}" "$@"
"""
    )
    command.chmod(0o755)
    return command


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_does_a_part_again_whose_worker_was_killed(flaky, plain, small_checkpoint, tmp_path):
    command = [
        sys.executable,
        EXAMPLES / "scale/convert_ray.py",
        small_checkpoint,
        "-o",
        tmp_path / "out",
        "--parts",
        "4",
    ]
    command += ["--work", tmp_path / "parts", "--anec", flaky, "--", *OPTIONS, "--threads", "1"]
    environment = {**os.environ, "RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    outcome = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, env=environment)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert (tmp_path / "lost").exists(), "a worker was killed"
    assert "4 of 4 parts" in outcome.stdout
    assert tree(tmp_path / "out") == plain


def shell(script: str, environment: dict[str, str], cwd: Path) -> None:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    outcome = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_the_jobs_for_kubernetes_are_as_its_api_has_them():
    api = pytest.importorskip("kubernetes_validate")
    for job in yaml.safe_load_all((EXAMPLES / "scale/job.yaml").read_text()):
        # Strict: a key that the API does not have is an error.
        api.validate(job, api.latest_version(), strict=True)


def test_the_jobs_for_kubernetes_are_jobs_and_their_shell_does_what_they_say(anec, plain, small_checkpoint, tmp_path):
    parts, assemble = yaml.safe_load_all((EXAMPLES / "scale/job.yaml").read_text())
    for job in (parts, assemble):
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
        assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    assert parts["spec"]["completionMode"] == "Indexed"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/anec").symlink_to(anec.binary)
    places = {"MODEL": str(small_checkpoint), "WORK": str(tmp_path / "parts"), "OUTPUT": str(tmp_path / "out")}
    places["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    (tmp_path / "parts").mkdir()

    def run(job: dict, **more: str) -> None:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        declared = {variable["name"]: variable["value"] for variable in container["env"]}
        assert container["command"] == ["sh", "-ec"]
        shell(container["args"][0], declared | places | more, tmp_path)

    count = parts["spec"]["completions"]
    for index in range(count):
        run(parts, JOB_COMPLETION_INDEX=str(index))
    # One that is started again has nothing to do.
    run(parts, JOB_COMPLETION_INDEX="0")
    run(assemble)
    assert tree(tmp_path / "out") == plain


def test_the_workflow_in_parts_gives_the_bytes_of_one_machine(anec, small_checkpoint, tmp_path):
    workflow = yaml.safe_load((EXAMPLES / "ci/convert-parts.yml").read_text())
    jobs = workflow["jobs"]
    environment = {"MODEL": str(small_checkpoint), "OPTIONS": "--lut 4", "PARTS": workflow["env"]["PARTS"]}
    environment["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary")
    numbers = jobs["part"]["strategy"]["matrix"]["part"]
    assert numbers == list(range(1, int(environment["PARTS"]) + 1))

    def run(job: str, machine: str, **more: str) -> Path:
        directory = tmp_path / machine
        (directory / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(anec.binary, directory / "bin/anec")
        for step in jobs[job]["steps"]:
            if "run" in step:
                shell(step["run"], environment | more, directory)
        return directory

    calibration = run("calibrate", "calibrate") / "calibration"
    for number in numbers:
        directory = tmp_path / f"machine-{number}"
        directory.mkdir()
        shutil.copytree(calibration, directory / "calibration")
        run("part", directory.name, PART=str(number))
        shutil.copytree(directory / f"part-{number}", tmp_path / "assemble/parts" / f"part-{number}")
    converted = run("assemble", "assemble") / "converted"
    outcome = anec.run("convert", small_checkpoint, "-o", tmp_path / "plain", "--lut", "4", "--quiet")
    assert outcome.code == 0, outcome.stderr
    assert tree(converted) == tree(tmp_path / "plain")
    assert re.search(r"ok +checksums", (tmp_path / "summary").read_text())
