"""Models by their name on the hub: into the cache that huggingface_hub keeps, once, and no further than asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import Hub

OPTIONS = ("--calibration", "none", "--context-length", "128", "--emit", "mlpackage")
MODEL = "acme/tiny-qwen3"


@pytest.fixture
def hub(tmp_path, small_checkpoint):
    model = tmp_path / "models" / MODEL
    shutil.copytree(small_checkpoint, model)
    (model / "pytorch_model.bin").write_bytes(b"not wanted")
    (model / "model-fp8.onnx").write_bytes(b"not wanted")
    with Hub(tmp_path / "models") as hub:
        yield hub


@pytest.fixture
def anec_on(anec, hub, tmp_path):
    """Runs the command with the hub of the test and a cache of its own."""

    def run(*arguments, cwd=None, **environment):
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
        kept |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path), **environment}
        command = [str(anec.binary), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd or tmp_path, timeout=600, env=kept)

    return run


def snapshot(hub, tmp_path) -> Path:
    return tmp_path / "hf" / "hub" / "models--acme--tiny-qwen3" / "snapshots" / hub.commit(MODEL)


def test_a_model_is_downloaded_once_and_named_after_itself(hub, anec_on, tmp_path):
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert "tiny-qwen3" in json.loads((tmp_path / "out" / "meta.json").read_text())["model_info"]["name"]
    files = {path.name for path in snapshot(hub, tmp_path).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
    assert not files & {"pytorch_model.bin", "model-fp8.onnx"}
    assert (tmp_path / "hf/hub/models--acme--tiny-qwen3/refs/main").read_text() == hub.commit(MODEL)
    hub.requests.clear()
    outcome = anec_on("convert", f"hf://{MODEL}@main", "-o", "again", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert hub.requests == [f"GET /api/models/{MODEL}/revision/main"]
    assert (tmp_path / "out/SHA256SUMS").read_text() == (tmp_path / "again/SHA256SUMS").read_text()
    outcome = anec_on("verify", "out", "--against", MODEL, "--limit", "40", "--samples", "0", "--report", "report")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_plan_downloads_the_config_alone(hub, anec_on, tmp_path):
    outcome = anec_on("plan", MODEL, *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert [path.name for path in snapshot(hub, tmp_path).iterdir()] == ["config.json"]


def test_the_cache_is_that_of_huggingface_hub(hub, anec_on, tmp_path):
    """Either takes what the other has downloaded."""
    program = (
        "import sys; from huggingface_hub import snapshot_download\n"
        "print(snapshot_download(sys.argv[1], allow_patterns=['*.json', '*.safetensors']))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
    environment["HF_HUB_DISABLE_XET"] = "1"

    def python():
        command = [sys.executable, "-c", program, MODEL]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert result.returncode == 0, result.stderr
        return Path(result.stdout.strip())

    assert anec_on("convert", MODEL, "-o", "out", *OPTIONS).returncode == 0
    hub.requests.clear()
    assert python() == snapshot(hub, tmp_path)
    assert not [request for request in hub.requests if request.startswith("GET") and "model.safetensors" in request]
    shutil.rmtree(tmp_path / "hf")
    assert python() == snapshot(hub, tmp_path)
    hub.requests.clear()
    outcome = anec_on("convert", MODEL, "-o", "again", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert not [request for request in hub.requests if request.startswith("GET") and "model.safetensors" in request]


def test_an_interrupted_download_goes_on_where_it_stopped(hub, anec_on, tmp_path):
    size = (hub.root / MODEL / "model.safetensors").stat().st_size
    blobs = tmp_path / "hf/hub/models--acme--tiny-qwen3/blobs"
    # It breaks off, and then the hub is gone.
    hub.cut["model.safetensors"] = size // 3
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    ranges = [request for request in hub.requests if "/storage/" in request and "model.safetensors" in request]
    assert len(ranges) == 2
    assert not list(blobs.glob("*.incomplete"))
    # What an earlier process left is taken too, here a third of the file.
    whole = (snapshot(hub, tmp_path) / "model.safetensors").resolve()
    content = whole.read_bytes()
    (snapshot(hub, tmp_path) / "model.safetensors").unlink()
    whole.unlink()
    whole.with_name(whole.name + ".incomplete").write_bytes(content[: size // 3])
    outcome = anec_on("convert", MODEL, "-o", "again", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert whole.read_bytes() == content
    # What is there and wrong is found out.
    (snapshot(hub, tmp_path) / "model.safetensors").unlink()
    whole.unlink()
    whole.with_name(whole.name + ".incomplete").write_bytes(b"x" * (size // 3))
    outcome = anec_on("convert", MODEL, "-o", "wrong", *OPTIONS)
    assert outcome.returncode == 1
    assert "SHA-256" in outcome.stderr
    assert not whole.exists()


def test_a_gated_model_says_where_to_agree(hub, anec_on, tmp_path):
    hub.gated[MODEL] = "hf_right"
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS)
    assert outcome.returncode == 1
    assert f"agree at {hub.endpoint}/{MODEL}" in outcome.stderr
    assert "HF_TOKEN" in outcome.stderr
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS, HF_TOKEN="hf_wrong")
    assert outcome.returncode == 1
    assert "with the account" in outcome.stderr
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS, HF_TOKEN="hf_right")
    assert outcome.returncode == 0, outcome.stderr
    assert hub.leaked == []


def test_what_is_not_there_is_said(hub, anec_on):
    for name, expected in [
        ("acme/missing", "Cannot find the model `acme/missing`"),
        (f"{MODEL}@v9", "has no revision `v9`"),
        (f"{MODEL}/missing.gguf", "there is no `missing.gguf`"),
        ("hf://nonsense", "expected hf://OWNER/MODEL"),
    ]:
        outcome = anec_on("convert", name, "-o", "out", *OPTIONS)
        assert outcome.returncode == 1
        assert expected in outcome.stderr, outcome.stderr


def test_offline_takes_the_cache_and_nothing_else(hub, anec_on, tmp_path):
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS, HF_HUB_OFFLINE="1")
    assert outcome.returncode == 1
    assert "HF_HUB_OFFLINE" in outcome.stderr
    assert anec_on("convert", MODEL, "-o", "out", *OPTIONS).returncode == 0
    hub.requests.clear()
    outcome = anec_on("convert", MODEL, "-o", "again", *OPTIONS, HF_HUB_OFFLINE="1")
    assert outcome.returncode == 0, outcome.stderr
    assert hub.requests == []
    # Nobody answers there.
    outcome = anec_on("convert", MODEL, "-o", "third", *OPTIONS, HF_ENDPOINT="http://127.0.0.1:9")
    assert outcome.returncode == 0, outcome.stderr
    assert "from the cache" in outcome.stderr
    # The folder of the model in the cache is enough of a path.
    outcome = anec_on("convert", tmp_path / "hf/hub/models--acme--tiny-qwen3", "-o", "fourth", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert "tiny-qwen3" in json.loads((tmp_path / "fourth" / "meta.json").read_text())["model_info"]["name"]


def test_a_local_directory_of_the_name_wins_and_says_so(hub, anec_on, small_checkpoint, tmp_path):
    shutil.copytree(small_checkpoint, tmp_path / MODEL)
    outcome = anec_on("convert", MODEL, "-o", "out", *OPTIONS)
    assert outcome.returncode == 0, outcome.stderr
    assert "Reading the local" in outcome.stderr
    assert hub.requests == []
