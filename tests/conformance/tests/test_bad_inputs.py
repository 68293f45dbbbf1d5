"""What cannot be converted is refused with a message, and leaves nothing behind."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import synthetic

SHARD = "model.safetensors"


def edit_config(**changes):
    def edit(checkpoint: Path) -> None:
        path = checkpoint / "config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in config.items() if value != "absent"}))

    return edit


def edit_header(change):
    """Rewrites the header of the weights; `change` gets it as a dict."""

    def edit(checkpoint: Path) -> None:
        path = checkpoint / SHARD
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        change(header)
        encoded = json.dumps(header).encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :])

    return edit


def rename(old: str, new: str):
    return edit_header(lambda header: header.update({new: header.pop(old)}))


def change_tensor(name: str, **changes):
    return edit_header(lambda header: header[name].update(changes))


def swap_shape(header: dict) -> None:
    header["model.layers.0.mlp.up_proj.weight"]["shape"].reverse()


def set_weight(value: float):
    """One element of a projection becomes `value`, in bf16."""

    def edit(checkpoint: Path) -> None:
        path = checkpoint / SHARD
        raw = bytearray(path.read_bytes())
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        start = 8 + length + header["model.layers.1.mlp.down_proj.weight"]["data_offsets"][0]
        raw[start : start + 2] = synthetic.encode(np.array([value]), "bfloat16")
        path.write_bytes(raw)

    return edit


def overwrite(name: str, content: bytes):
    return lambda checkpoint: (checkpoint / name).write_bytes(content)


def remove(name: str):
    return lambda checkpoint: (checkpoint / name).unlink()


def truncate(checkpoint: Path) -> None:
    os.truncate(checkpoint / SHARD, (checkpoint / SHARD).stat().st_size - 100)


def pickle_only(checkpoint: Path) -> None:
    (checkpoint / SHARD).rename(checkpoint / "pytorch_model.bin")


def escape_by_index(checkpoint: Path) -> None:
    (checkpoint / SHARD).rename(checkpoint.parent / "outside.safetensors")
    names = [name for name, _ in synthetic.tensors(json.loads((checkpoint / "config.json").read_text()))]
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "../outside.safetensors")}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def escape_by_link(checkpoint: Path) -> None:
    outside = checkpoint.parent / "outside.safetensors"
    (checkpoint / SHARD).rename(outside)
    (checkpoint / SHARD).symlink_to(outside)


def pipe(name: str):
    return lambda checkpoint: os.mkfifo(checkpoint / name)


CHECKPOINTS = {
    "no config": (remove("config.json"), "config.json"),
    "config that is no JSON": (overwrite("config.json", b"{"), "config.json"),
    "config that is no object": (overwrite("config.json", b"[]"), "config.json"),
    "config that nests without end": (overwrite("config.json", b"[" * 1_000_000), "config.json"),
    "another family": (edit_config(model_type="gemma2", architectures=["Gemma2ForCausalLM"]), "gemma2"),
    "mixture of experts": (edit_config(model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"]), "qwen3_moe"),
    "quantized checkpoint": (edit_config(quantization_config={"quant_method": "aqlm"}), "aqlm"),
    "quantized in name only": (edit_config(quantization_config={"quant_method": "gptq", "bits": 4}), "GPTQ"),
    "missing size": (edit_config(hidden_size="absent"), "hidden_size"),
    "size of zero": (edit_config(num_attention_heads=0), "num_attention_heads"),
    "negative size": (edit_config(num_hidden_layers=-2), "num_hidden_layers"),
    "size beyond reason": (edit_config(vocab_size=10**15), "vocab_size"),
    "size that is text": (edit_config(hidden_size="64"), "hidden_size"),
    "heads that do not share evenly": (edit_config(num_key_value_heads=3), "num_key_value_heads"),
    "another activation": (edit_config(hidden_act="gelu"), "hidden_act"),
    "another rotary scaling": (edit_config(rope_scaling={"rope_type": "mrope", "factor": 2.0}), "mrope"),
    "unknown option": (edit_config(attn_logit_softcapping=50.0), "attn_logit_softcapping"),
    "no weights": (remove(SHARD), "safetensors"),
    "pickled weights": (pickle_only, "pytorch_model.bin"),
    "truncated weights": (truncate, SHARD),
    "empty weights": (overwrite(SHARD, b""), SHARD),
    "header longer than the file": (overwrite(SHARD, (2**63).to_bytes(8, "little") + b"{}"), SHARD),
    "header that is no JSON": (overwrite(SHARD, (4).to_bytes(8, "little") + b"nope"), SHARD),
    "offsets beyond the file": (change_tensor("model.norm.weight", data_offsets=[0, 10**12]), "model.norm.weight"),
    "offsets that overlap": (change_tensor("model.norm.weight", data_offsets=[0, 128]), SHARD),
    "missing tensor": (rename("model.norm.weight", "model.other.weight"), "model.norm.weight"),
    "unused tensor": (rename("lm_head.weight", "visual.weight"), "visual.weight"),
    "tensor of another shape": (edit_header(swap_shape), "model.layers.0.mlp.up_proj.weight"),
    "tensor of another type": (change_tensor("model.norm.weight", dtype="I16"), "model.norm.weight"),
    "index that leaves the directory": (escape_by_index, "outside.safetensors"),
    "link that leaves the directory": (escape_by_link, SHARD),
    "pipe instead of a tokenizer": (pipe("tokenizer_config.json"), "tokenizer_config.json"),
    "pipe instead of a model card": (pipe("README.md"), "README.md"),
    "weight that is not a number": (set_weight(float("nan")), "model.layers.1.mlp.down_proj.weight"),
    "weight beyond fp16": (set_weight(1e30), "model.layers.1.mlp.down_proj.weight"),
}


@pytest.mark.parametrize("lut", ["none", "4"])
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_bad_checkpoint_is_refused(anec, presets, tmp_path, case, lut):
    damage, word = CHECKPOINTS[case]
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(presets("tiny-llama"), checkpoint)
    damage(checkpoint)
    refused(anec, tmp_path, [checkpoint, "--lut", lut, "--calibration", "none"], word)


def test_links_out_of_the_directory_are_followed_on_request(anec, presets, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(presets("tiny-llama"), checkpoint)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in sorted(checkpoint.iterdir()):
        path.rename(elsewhere / path.name)
        path.symlink_to(elsewhere / path.name)
    output, follow = tmp_path / "out", ("--follow-links", elsewhere)
    outcome = anec.run("convert", checkpoint, "-o", output)
    assert outcome.code == 1
    assert f"--follow-links {elsewhere.resolve()}" in outcome.stderr
    assert anec.run("convert", checkpoint, "-o", output, "--quiet", *follow).code == 0
    assert not any(path.is_symlink() for path in output.rglob("*"))
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[1, 2, 3, 4]")
    options = ("--tokens", tokens, "--report", tmp_path, "--samples", 0, "--quiet")
    outcome = anec.run("verify", output, "--against", checkpoint, *options, *follow)
    assert outcome.code == 0, outcome.stderr


OPTIONS = {
    "more chunks than layers": (["--chunks", "3"], "--chunks"),
    "a batch larger than the context": (["--context-length", "32", "--batch-size", "64"], "--batch-size"),
    "more head parts than tokens": (["--lm-head-splits", "300"], "--lm-head-splits"),
    "a limit that nothing fits": (["--size-limit", "1KB"], "limit"),
    "another architecture": (["--arch", "mistral"], "llama"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_do_not_fit_the_model_are_refused(anec, presets, tmp_path, case):
    options, word = OPTIONS[case]
    refused(anec, tmp_path, [presets("tiny-llama"), *options], word)


def test_a_missing_checkpoint_is_refused(anec, tmp_path):
    refused(anec, tmp_path, [tmp_path / "nothing"], "nothing")


@pytest.mark.parametrize(
    "options", [["--lut", "5"], ["--context-length", "0"], ["--chunks", "0"], ["--layout", "other"], ["--colour"]]
)
def test_options_that_make_no_sense_are_usage_errors(anec, presets, tmp_path, options):
    outcome = anec.run("convert", presets("tiny-llama"), "-o", tmp_path / "out", *options)
    assert outcome.code == 2
    assert options[0] in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_exists_is_kept(anec, presets, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    for options in ([], ["--force"]):
        outcome = anec.run("convert", presets("tiny-llama"), "-o", output, *options)
        assert outcome.code == 1
        assert str(output) in outcome.stderr
        assert [path.name for path in output.iterdir()] == ["mine.txt"]


def test_an_earlier_conversion_is_replaced_by_force(anec, presets, tmp_path):
    output = tmp_path / "out"
    for options in ([], ["--force", "--lut", "4", "--calibration", "none"]):
        assert anec.run("convert", presets("tiny-llama"), "-o", output, *options).code == 0
    assert (output / "lm_head_lut4.mlpackage").is_dir()
    assert not (output / "lm_head.mlpackage").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_unknown_option_of_the_config_can_be_ignored(anec, presets, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(presets("tiny-llama"), checkpoint)
    edit_config(attn_logit_softcapping=50.0)(checkpoint)
    ignore = ["--ignore-config-key", "attn_logit_softcapping"]
    assert anec.run("convert", checkpoint, "-o", tmp_path / "out", *ignore).code == 0


def refused(anec, directory: Path, arguments: list, word: str) -> None:
    """Exit code 1, a message with `word` in it, and the directory as before."""
    before = sorted(directory.rglob("*"))
    outcome = anec.run("convert", *arguments, "-o", directory / "out")
    assert outcome.code == 1, outcome
    assert outcome.stdout == ""
    assert "error: " in outcome.stderr
    assert word in outcome.stderr, outcome.stderr
    assert "panicked" not in outcome.stderr
    assert sorted(directory.rglob("*")) == before
