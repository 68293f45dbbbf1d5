"""Every command of `anec` in README.md and docs/ is run, in order, as someone who follows them would.

Models and files that they name have stand-ins. A second conversion to the same place is another way to do the same, and
goes elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from documents import commands, furnish
from hub_server import Hub

#: Made of the help, not for a shell.
GENERATED = ("cli.md", "ops.md", "supported.md", "ane-rules.md")
DOCUMENTS = [REPOSITORY / "README.md"]
DOCUMENTS += [path for path in sorted((REPOSITORY / "docs").glob("*.md")) if path.name not in GENERATED]
DOCUMENTS = [path for path in DOCUMENTS if commands(path.read_text())]

#: What is true of a small model, and of a machine that is no Mac.
LIMITS = ["--max-kl", "9", "--min-top1", "0", "--max-perplexity-increase", "99", "--max-logit-error", "999"]
LIMITS += ["--min-snr", "0", "--limit", "96"]


def test_the_documents_have_commands():
    assert sum(len(commands(path.read_text())) for path in DOCUMENTS) >= 45


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_a_document_do_what_it_says(anec, small_checkpoint, document, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    furnish(anec, small_checkpoint, place)
    (tmp_path / "hub/Qwen").mkdir(parents=True)
    (place / "Qwen3-0.6B").rename(tmp_path / "hub/Qwen/Qwen3-0.6B")
    (place / "Qwen3-0.6B").symlink_to(tmp_path / "hub/Qwen/Qwen3-0.6B")
    with Hub(tmp_path / "hub") as hub:
        home = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.endpoint}
        environment = {**os.environ, **home, "HF_TOKEN": hub.writer}
        for number, words in enumerate(commands(document.read_text())):
            outcome = follow(anec.binary, words, number, place, environment)
            said = f"anec {' '.join(words)}\n{outcome.stdout}{outcome.stderr}"
            if {"coreml", "private-ane"} & set(words):
                assert outcome.returncode == 1, said
                assert "macOS" in outcome.stderr or "a Mac with" in outcome.stderr, said
            else:
                assert outcome.returncode == 0, said


def follow(binary: Path, words: list[str], number: int, place: Path, environment: dict[str, str]):
    """Runs a command."""
    output = None
    if ">" in words:
        words, output = words[: words.index(">")], place / Path(words[words.index(">") + 1]).name
    if words[0] == "verify":
        words = [*words, *LIMITS]
    if words[0] in ("run", "compare"):
        # A small model has little to say.
        words = [*words, {"run": "--max-tokens", "compare": "--tokens"}[words[0]], "4"]
    if "-o" in words:
        target = words.index("-o") + 1
        if (place / words[target]).exists():
            words = [*words[:target], f"{number}-{words[target]}", *words[target + 1 :]]
    words = [word.replace("~", environment["HOME"]) for word in words]
    result = subprocess.run(
        [str(binary), *words], capture_output=True, text=True, cwd=place, timeout=600, env=environment, check=False
    )
    if output:
        output.write_text(result.stdout)
    return result
