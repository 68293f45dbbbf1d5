"""Converted models on their way to the hub and back: once, whole, and with a card that says what they are.

The hub is a server of the tests that huggingface_hub uploads to as well, so that what is tested is its protocol.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from hub_server import Hub

REPOSITORY = "acme/tiny-ane"


@pytest.fixture
def hub(tmp_path):
    root = tmp_path / "models"
    (root / "acme").mkdir(parents=True)
    with Hub(root) as hub:
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    home = {"HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    return {**kept, **home, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": hub.writer}


@pytest.fixture
def anec_on(anec, environment, tmp_path):
    def run(*arguments, **more):
        command = [str(anec.binary), *map(str, arguments)]
        settings = {key: value for key, value in {**environment, **more}.items() if value is not None}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600, env=settings)

    return run


@pytest.fixture
def converted(anec_on, small_checkpoint, tmp_path) -> Path:
    options = ("--lut", "4", "--calibration", "none", "--context-length", "128", "--chunks", "2")
    outcome = anec_on("convert", small_checkpoint, "-o", "out", *options)
    assert outcome.returncode == 0, outcome.stderr
    return tmp_path / "out"


def python(environment, program: str, *arguments) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def sent(hub) -> Counter:
    """How often each large file or part of one was sent."""
    return Counter(hub.arrived)


def test_a_model_goes_to_the_hub_and_comes_back_and_runs(hub, anec_on, environment, converted, small_checkpoint):
    against = ("--against", small_checkpoint, "--report", "out", "--limit", "60", "--max-kl", "9", "--min-top1", "0")
    limits = ("--max-perplexity-increase", "99", "--max-logit-error", "999", "--min-snr", "0")
    outcome = anec_on("verify", "out", *against, *limits)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--license", "mit", "--base-model", "acme/tiny")
    assert outcome.returncode == 0, outcome.stderr
    assert hub.commits == [REPOSITORY]
    assert hub.leaked == []
    card = (hub.root / REPOSITORY / "README.md").read_text()
    assert card.startswith("---\n")
    assert 'base_model: "acme/tiny"' in card
    assert "| mean KL divergence, nats |" in card

    program = "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))"
    snapshot = Path(python(environment, program, REPOSITORY))
    published = {str(path.relative_to(converted)) for path in converted.rglob("*") if path.is_file()}
    downloaded = {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}
    assert downloaded == published | {"README.md", ".gitattributes"}
    # Downloads are links into a cache; a copy has files.
    outcome = anec_on("check", snapshot)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    outcome = anec_on("run", snapshot, "--prompt", "Once", "--raw", "--max-tokens", "5")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == anec_on("run", "out", "--prompt", "Once", "--raw", "--max-tokens", "5").stdout


def test_nothing_is_sent_twice(hub, anec_on, converted):
    publish = ("publish", "out", "--repo", REPOSITORY, "--unverified")
    outcome = anec_on(*publish, "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert max(sent(hub).values()) == 1
    assert any("/" in name for name in hub.arrived), "one file goes in parts"
    files = [path for path in converted.rglob("*") if path.is_file()]
    large = [path for path in files if path.stat().st_size >= 1 << 16 or path.suffix == ".bin"]
    contents = {hashlib.sha256(path.read_bytes()).hexdigest() for path in large}
    assert {oid.split("/")[0] for oid in hub.arrived} == contents
    assert len(contents) < len(large), "both forms of a model share their weights"

    count = len(hub.arrived)
    outcome = anec_on(*publish)
    assert outcome.returncode == 0, outcome.stderr
    assert "Nothing is new" in outcome.stderr
    assert hub.commits == [REPOSITORY]
    assert len(hub.arrived) == count
    outcome = anec_on(*publish, "--license", "mit", "--json")
    assert json.loads(outcome.stdout)["changed"] == ["README.md"]
    assert len(hub.arrived) == count
    # Another branch has the same content.
    outcome = anec_on(*publish, "--revision", "other")
    assert outcome.returncode == 0, outcome.stderr
    assert len(hub.arrived) == count
    assert (hub.root / f"{REPOSITORY}@other" / "meta.yaml").is_file()


def test_an_upload_that_was_interrupted_goes_on(hub, anec_on, converted):
    publish = ("publish", "out", "--repo", REPOSITORY, "--unverified")
    # The hub refuses every attempt for some of the files, which are not the first.
    hub.refuse = {digit: 1000 for digit in "89abcdef"}
    outcome = anec_on(*publish)
    assert outcome.returncode == 1
    assert "Cannot reach" in outcome.stderr or "the server answered" in outcome.stderr, outcome.stderr
    assert "secret" not in outcome.stderr
    assert hub.commits == []
    assert not (hub.root / REPOSITORY / "meta.yaml").exists(), "no file appears before all are there"
    arrived = set(hub.objects)
    assert arrived, "some have arrived"
    # It breaks off once more for each of the others, and goes on by itself.
    hub.refuse = {digit: 1 for digit in "0123456789abcdef"}
    hub.arrived.clear()
    outcome = anec_on(*publish)
    assert outcome.returncode == 0, outcome.stderr
    assert hub.commits == [REPOSITORY]
    assert not arrived & {name.split("/")[0] for name in hub.arrived}, "what had arrived is not sent again"


def test_a_model_that_was_not_verified_needs_a_word_and_says_so(hub, anec_on, converted, small_checkpoint):
    publish = ("publish", "out", "--repo", REPOSITORY)
    outcome = anec_on(*publish)
    assert outcome.returncode == 1
    assert "was not verified" in outcome.stderr
    assert "--unverified" in outcome.stderr
    assert hub.requests == []
    outcome = anec_on(
        "verify", "out", "--against", small_checkpoint, "--report", "out", "--limit", "60", "--max-kl", "0"
    )
    assert outcome.returncode == 1
    outcome = anec_on(*publish)
    assert outcome.returncode == 1
    assert "its verification failed: decode.kl_mean" in outcome.stderr, outcome.stderr
    outcome = anec_on(*publish, "--unverified")
    assert outcome.returncode == 0, outcome.stderr
    assert "failed its verification" in (hub.root / REPOSITORY / "README.md").read_text()


def test_what_was_edited_is_not_published(hub, anec_on, converted):
    (converted / "meta.yaml").write_text((converted / "meta.yaml").read_text() + "# edited\n")
    (converted / "secret.txt").write_text("mine")
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--unverified", "--dry-run")
    assert outcome.returncode == 1
    assert "`meta.yaml` is not as SHA256SUMS says" in outcome.stderr
    assert "anec did not write it: secret.txt" in outcome.stderr
    assert hub.requests == []


def test_a_dry_run_asks_nobody_and_shows_files_sizes_and_card(hub, anec_on, converted):
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--unverified", "--dry-run", "--zip", HF_TOKEN=None)
    assert outcome.returncode == 0, outcome.stderr
    assert hub.requests == []
    assert "lm_head_lut4.mlmodelc.zip" in outcome.stdout
    assert "**This conversion was not verified" in outcome.stdout
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--unverified", "--dry-run", "--json")
    listed = {file["path"]: file for file in json.loads(outcome.stdout)["files"]}
    for line in (converted / "SHA256SUMS").read_text().splitlines():
        checksum, path = line.split("  ")
        assert listed[path]["sha256"] == checksum
        assert listed[path]["size"] == (converted / path).stat().st_size


def test_archives_hold_the_compiled_models_and_are_the_same_every_time(hub, anec_on, converted, tmp_path):
    publish = ("publish", "out", "--repo", REPOSITORY, "--unverified", "--zip", "--private")
    assert anec_on(*publish).returncode == 0
    assert hub.private == {REPOSITORY}
    archives = sorted((hub.root / REPOSITORY).glob("*.mlmodelc.zip"))
    assert [path.name for path in archives] == [f"{path.name}.zip" for path in sorted(converted.glob("*.mlmodelc"))]
    for archive in archives:
        with zipfile.ZipFile(archive) as file:
            assert file.testzip() is None
            for name in file.namelist():
                assert file.read(name) == (converted / name).read_bytes()
    outcome = anec_on(*publish)
    assert "Nothing is new" in outcome.stderr
    # Without them they go.
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--unverified")
    assert outcome.returncode == 0, outcome.stderr
    assert not list((hub.root / REPOSITORY).glob("*.zip"))


def test_models_of_an_earlier_conversion_go_and_other_files_stay(hub, anec_on, converted, small_checkpoint):
    publish = ("publish", "out", "--repo", REPOSITORY, "--unverified")
    assert anec_on(*publish).returncode == 0
    (hub.root / REPOSITORY / "picture.png").write_bytes(b"picture")
    options = ("--lut", "6", "--calibration", "none", "--context-length", "128", "--chunks", "1", "--force")
    assert anec_on("convert", small_checkpoint, "-o", "out", *options).returncode == 0
    assert anec_on(*publish, "--keep").returncode == 0
    assert len(list((hub.root / REPOSITORY).glob("lm_head_*.mlmodelc"))) == 2
    outcome = anec_on(*publish)
    assert outcome.returncode == 0, outcome.stderr
    assert "removed: combined_lut4_chunk_01of02.mlmodelc/model.mil" in outcome.stderr
    there = {str(path.relative_to(hub.root / REPOSITORY)) for path in (hub.root / REPOSITORY).rglob("*.bin")}
    assert there == {str(path.relative_to(converted)) for path in converted.rglob("*.bin")}
    assert (hub.root / REPOSITORY / "picture.png").is_file()


def test_without_a_token_or_with_a_wrong_one_nothing_is_sent(hub, anec_on, converted):
    publish = ("publish", "out", "--repo", REPOSITORY, "--unverified")
    outcome = anec_on(*publish, HF_TOKEN=None)
    assert outcome.returncode == 1
    assert "there is no token" in outcome.stderr
    assert "HF_TOKEN" in outcome.stderr
    outcome = anec_on(*publish, HF_TOKEN="hf_reader")
    assert outcome.returncode == 1
    assert "the hub does not allow it" in outcome.stderr, outcome.stderr
    assert hub.commits == []
    assert hub.arrived == []


def test_the_server_of_the_tests_is_one_that_huggingface_hub_uploads_to(hub, environment, converted):
    program = (
        "import sys; from huggingface_hub import HfApi\n"
        "api = HfApi(); api.create_repo(sys.argv[1], exist_ok=True)\n"
        "print(api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2]).oid)"
    )
    first = python(environment, program, REPOSITORY, converted)
    assert first == hub.commit(REPOSITORY)
    for path in converted.rglob("*"):
        if path.is_file():
            there = hub.root / REPOSITORY / path.relative_to(converted)
            assert there.read_bytes() == path.read_bytes()
    count = len(hub.arrived)
    assert python(environment, program, REPOSITORY, converted) == first
    assert len(hub.arrived) == count


def test_what_huggingface_hub_uploaded_is_not_sent_again(hub, environment, anec_on, converted):
    program = (
        "import sys; from huggingface_hub import HfApi\n"
        "api = HfApi(); api.create_repo(sys.argv[1], exist_ok=True)\n"
        "api.upload_folder(repo_id=sys.argv[1], folder_path=sys.argv[2])"
    )
    python(environment, program, REPOSITORY, converted)
    count = len(hub.arrived)
    outcome = anec_on("publish", "out", "--repo", REPOSITORY, "--unverified", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout)["changed"] == ["README.md"]
    assert len(hub.arrived) == count
