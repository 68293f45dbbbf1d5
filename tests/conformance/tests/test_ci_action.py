"""The shell of the example action does what its steps say, with the binary that is tested in place of a fresh build."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from hub_server import Hub

ACTION = Path(__file__).parents[3] / "examples/ci/anec/action.yml"
INPUT = re.compile(r"\$\{\{ inputs\.(\w+) \}\}")


@pytest.fixture
def run_action(anec, tmp_path):
    """Runs the steps that are shell, in order, and gives what each printed; stops at the first that fails."""
    source = tmp_path / "source"
    (source / "target/release").mkdir(parents=True)
    (source / "target/release/anec").symlink_to(Path(anec.binary).resolve())

    def run(**inputs: str) -> dict[str, subprocess.CompletedProcess]:
        action = yaml.safe_load(ACTION.read_text())
        values = {name: declared.get("default", "") for name, declared in action["inputs"].items()}
        values |= {"source": str(source), **inputs}
        done = {}
        for step in action["runs"]["steps"]:
            if "run" not in step or step["name"] == "Build":
                continue
            if "verify" in step.get("if", "") and values["verify"] != "true":
                continue
            if "publish" in step.get("if", "") and not values["publish"]:
                continue
            environment = {name: INPUT.sub(lambda match: values[match[1]], text) for name, text in step["env"].items()}
            environment |= {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
            # As GitHub calls it.
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            outcome = subprocess.run(
                command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False
            )
            done[step["name"]] = outcome
            if outcome.returncode:
                break
        return done

    return run


def test_the_action_converts_verifies_and_checks(run_action, small_checkpoint, tmp_path):
    done = run_action(
        model=str(small_checkpoint),
        options="--lut 4 --calibration none",
        verify="true",
        sarif=str(tmp_path / "lint.sarif"),
    )
    assert list(done) == ["Convert", "Lint", "Verify", "Check"]
    assert all(outcome.returncode == 0 for outcome in done.values()), done
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "directory=converted\n"
    assert json.loads((tmp_path / "lint.sarif").read_text())["version"] == "2.1.0"
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text()
    assert "ok      verified" in summary, summary


def test_a_conversion_that_fails_stops_the_action(run_action, small_checkpoint):
    done = run_action(model=str(small_checkpoint / "nowhere"))
    assert list(done) == ["Convert"]
    assert done["Convert"].returncode != 0


def test_the_action_publishes_what_it_has_verified(run_action, small_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "models/acme").mkdir(parents=True)
    with Hub(tmp_path / "models") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        inputs = {"model": str(small_checkpoint), "options": "--ffn int8 --lm-head int8", "token": hub.writer}
        done = run_action(**inputs, verify="true", publish="acme/tiny")
        assert list(done) == ["Convert", "Lint", "Verify", "Check", "Publish"], done
        assert all(outcome.returncode == 0 for outcome in done.values()), done
        assert hub.commits == ["acme/tiny"]
        assert "**" not in (tmp_path / "models/acme/tiny/README.md").read_text()
