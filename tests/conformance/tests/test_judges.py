"""The judges find what is wrong: a check that cannot fail proves nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import package_check
from client import ClientModel
from client_rules import ContractError, model_files
from conftest import CONTEXT_LENGTH, TOKENS
from judge import evaluation_tokens, judge, perplexity, reference
from package_file import PackageFile

OPTIONS = ("--lut", "4", "--chunks", 2, "--context-length", CONTEXT_LENGTH)
CHUNK = "combined_lut4_chunk_01of02.mlpackage"


@pytest.fixture
def package(anec, small_checkpoint, tmp_path) -> Path:
    copy = tmp_path / CHUNK
    shutil.copytree(anec.convert(small_checkpoint, *OPTIONS) / CHUNK, copy)
    assert package_check.check(copy) == []
    return copy


def infer_operations(spec):
    function = spec.mlProgram.functions["infer"]
    return function.block_specializations[function.opset].operations


def first(operations, kind: str):
    return next(operation for operation in operations if operation.type == kind)


def widen_result(spec):
    first(infer_operations(spec), "softmax").outputs[0].type.tensorType.dimensions[3].constant.size += 1


def drop_default(spec):
    del first(infer_operations(spec), "matmul").inputs["transpose_x"]


def use_before_definition(spec):
    operations = infer_operations(spec)
    operations[0].CopyFrom(operations[-1])


def repeat_name(spec):
    operations = infer_operations(spec)
    first(operations, "silu").attributes["name"].CopyFrom(first(operations, "softmax").attributes["name"])


def move_blob(spec):
    first(infer_operations(spec), "constexpr_lut_to_dense").inputs["lut"].arguments[0].value.blobFileValue.offset += 64


def rename_output(spec):
    spec.description.functions[0].output[0].name = "hidden"


def shrink_state(spec):
    spec.description.functions[0].state[0].type.stateType.arrayType.shape[2] -= 1


def forget_default_function(spec):
    spec.description.defaultFunctionName = "main"


def lower_opset(spec):
    spec.specificationVersion = 8


@pytest.mark.parametrize(
    "damage",
    [
        widen_result,
        drop_default,
        use_before_definition,
        repeat_name,
        move_blob,
        rename_output,
        shrink_state,
        forget_default_function,
        lower_opset,
    ],
)
def test_damage_to_the_model_is_found(package, damage):
    file = PackageFile(package)
    damage(file.spec)
    file.model_path.write_bytes(file.spec.SerializeToString())
    assert package_check.check(package)


def test_damage_to_the_weight_file_is_found(package):
    path = package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    whole = path.read_bytes()
    for damaged in (whole[:-64], whole + bytes(64), bytes(64) + whole[64:], whole[:64] + bytes(4) + whole[68:]):
        path.write_bytes(damaged)
        assert package_check.check(package)


def test_damage_to_the_files_is_found(package):
    manifest = package / "Manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text())))
    assert package_check.check(package)
    (package / "Data" / "stray").touch()
    assert len(package_check.check(package)) == 2
    manifest.unlink()
    assert package_check.check(package)


def test_a_wrong_weight_shows_in_the_divergence(anec, small_checkpoint):
    token_ids = evaluation_tokens(small_checkpoint, TOKENS)
    output = anec.convert(small_checkpoint, "--chunks", 2, "--context-length", CONTEXT_LENGTH)

    def turn_heads(name: str, weight: torch.Tensor) -> torch.Tensor:
        return weight.roll(64, 0) if name.startswith("layers_0_q_proj") else weight

    verdict = judge(ClientModel(output, weight_hook=turn_heads), reference(small_checkpoint, token_ids), token_ids)
    assert verdict.decode.mean_kl > 1e-2


def test_the_reference_is_the_stored_one(checkpoint):
    """The perplexity that was recorded when the checkpoint was trained."""
    if not (checkpoint / "reference.json").is_file():
        pytest.skip("the checkpoint has no reference.json")
    stored = json.loads((checkpoint / "reference.json").read_text())
    windows = json.loads((checkpoint / "eval_tokens.json").read_text())["windows"]
    found = [perplexity(reference(checkpoint, window).logits, window) for window in windows]
    mean = torch.tensor(found).double().log().mean().exp()
    assert float(mean) == pytest.approx(stored["eval"]["perplexity"], rel=1e-4)


def test_a_directory_without_a_chunk_is_refused(anec, small_checkpoint, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(anec.convert(small_checkpoint, *OPTIONS), copy)
    assert len(model_files(copy).chunks) == 2
    shutil.rmtree(copy / "combined_lut4_chunk_02of02.mlmodelc")
    with pytest.raises(ContractError):
        model_files(copy)
