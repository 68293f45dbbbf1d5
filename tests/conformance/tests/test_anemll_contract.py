"""Converted directories are what ANEMLL's clients expect.

`client_rules` has the rules as they were written down. With a checkout of ANEMLL in ANEMLL_REPO, its own chat client
reads the directories too.
"""

import importlib
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

import client_rules
from package_file import PackageFile

CONTEXT_LENGTH, BATCH_SIZE = 256, 64
FP16, INT32 = 65552, 131104
LAYERS, KV_HEADS, HEAD_DIM, HIDDEN_SIZE, VOCAB_SIZE = 4, 2, 64, 256, 2048
STATE = {"model_model_kv_cache_0": (FP16, [2 * LAYERS, KV_HEADS, CONTEXT_LENGTH, HEAD_DIM])}


@pytest.fixture(
    params=[
        ["--lut", "6", "--chunks", "2"],
        ["--chunks", "1"],
        ["--lut", "4", "--argmax"],
        ["--int8-embeddings", "--lm-head", "int8"],
    ],
    ids=" ".join,
)
def converted(anec, small_checkpoint, request) -> Path:
    options = ["--context-length", CONTEXT_LENGTH, "--batch-size", BATCH_SIZE]
    return anec.convert(small_checkpoint, "--runtime", "anemll", *options, *request.param)


def test_python_clients_find_every_package(converted):
    files = client_rules.model_files(converted)
    assert (files.context_length, files.batch_size) == (CONTEXT_LENGTH, BATCH_SIZE)
    assert files.batched_prefill
    assert files.split_lm_head == 16
    for number, chunk in enumerate(files.chunks, 1):
        match = client_rules.ANEMLL_CHUNK.search(chunk.name)
        assert match
        assert (int(match.group(1)), int(match.group(2))) == (number, len(files.chunks))


def test_names_rebuilt_from_prefix_and_bits_are_the_names(converted):
    found = client_rules.parameters(converted)
    files = client_rules.model_files(converted)
    names = [files.embeddings.stem, files.chunks[0].stem, files.lm_head.stem]
    assert client_rules.rebuilt_names(found) == names
    assert [Path(found[key]).suffix for key in ("embeddings", "ffn", "lm_head")] == [".mlmodelc"] * 3


def test_swift_clients_read_numbers_as_numbers(converted):
    settings = client_rules.swift_settings(converted)
    found = client_rules.parameters(converted)
    for key in ("context_length", "batch_size", "num_chunks", "split_lm_head", "vocab_size"):
        assert settings[key] == found[key]
    for key in ("lut_ffn", "lut_lmhead"):
        assert settings[key] == (-1 if found[key] == "none" else found[key])
    assert sum(settings["lm_head_chunk_sizes"]) == VOCAB_SIZE
    assert len(set(settings["lm_head_chunk_sizes"])) == 1, "Swift clients take all parts of the head for equally large"
    assert not settings["legacy_names"]


def test_shell_scripts_read_fields_by_indentation(converted):
    text = (converted / "meta.yaml").read_text()
    info = yaml.safe_load(text)["model_info"]
    assert client_rules.shell_fields(text, "name", 4) == info["name"]
    assert client_rules.shell_fields(text, "version", 4) == info["version"]
    for key in ("context_length", "batch_size", "num_chunks", "lut_ffn", "lut_lmhead", "model_prefix"):
        assert client_rules.shell_fields(text, key, 6) == str(info["parameters"][key])


def test_flags_that_are_false_are_left_out(converted):
    found = client_rules.parameters(converted)
    assert False not in [value for value in found.values() if isinstance(value, bool)]
    assert not found.keys() & {"split_rotate", "sliding_window", "update_mask_prefill", "single_cache", "pf"}


def test_the_two_forms_of_the_metadata_agree(converted):
    text = yaml.safe_load((converted / "meta.yaml").read_text())
    described = json.loads((converted / "meta.json").read_text())
    text["model_info"]["description"] = text["model_info"]["description"].rstrip("\n")
    assert described == text


def test_packages_say_what_clients_ask_of_their_metadata(converted):
    files = client_rules.model_files(converted).packages()
    for number, chunk in enumerate(files.chunks, 1):
        metadata = PackageFile(chunk).spec.description.metadata.userDefined
        assert metadata["com.anemll.context_length"] == str(CONTEXT_LENGTH)
        assert metadata["com.anemll.batch_size"] == str(BATCH_SIZE)
        assert metadata["com.anemll.num_chunks"] == str(len(files.chunks))
        assert metadata["com.anemll.chunk_no"] == str(number)
    head = PackageFile(files.lm_head).spec.description.metadata.userDefined
    assert head["com.anemll.vocab_size"] == str(VOCAB_SIZE)
    assert head.get("com.anemll.argmax_in_model") == ("true" if files.argmax else None)


def test_inputs_outputs_and_states_are_those_of_the_contract(converted):
    files = client_rules.model_files(converted).packages()
    (embeddings,) = signatures(files.embeddings).values()
    assert embeddings["input"] == {"input_ids": (INT32, [1, 1])}
    assert list(embeddings["output"]) == ["hidden_states"]

    for index, chunk in enumerate(files.chunks):
        functions = signatures(chunk)
        assert PackageFile(chunk).spec.description.defaultFunctionName == "infer"
        assert list(functions) == ["infer", "prefill"]
        assert functions["infer"] == chunk_signature(1, 1)
        last = index == len(files.chunks) - 1
        assert functions["prefill"] == chunk_signature(BATCH_SIZE, 1 if last else BATCH_SIZE)

    (head,) = signatures(files.lm_head).values()
    assert head["input"] == {"hidden_states": (FP16, [1, 1, HIDDEN_SIZE])}
    if files.argmax:
        assert head["output"] == {"argmax_idx": (INT32, [16]), "argmax_val": (FP16, [16])}
    else:
        part = (FP16, [1, 1, VOCAB_SIZE // 16])
        assert head["output"] == {f"logits{number}": part for number in range(1, 17)}


def test_embeddings_take_one_token_or_a_batch(converted):
    files = client_rules.model_files(converted).packages()
    array = PackageFile(files.embeddings).spec.description.input[0].type.multiArrayType
    assert [list(shape.shape) for shape in array.enumeratedShapes.shapes] == [[1, 1], [1, BATCH_SIZE]]


def test_tokenizers_find_their_files(converted, small_checkpoint):
    for name in ("config.json", "tokenizer.json"):
        assert (converted / name).read_bytes() == (small_checkpoint / name).read_bytes()
    assert "chat_template" in json.loads((converted / "tokenizer_config.json").read_text())


def test_the_clients_own_code_reads_the_directory(converted, monkeypatch):
    repository = os.environ.get("ANEMLL_REPO")
    if not repository:
        pytest.skip("ANEMLL_REPO does not name a checkout of ANEMLL")
    monkeypatch.syspath_prepend(str(Path(repository, "tests")))
    monkeypatch.delitem(sys.modules, "chat", raising=False)
    chat = importlib.import_module("chat")
    monkeypatch.setattr(sys, "argv", ["chat.py", "--meta", str(converted / "meta.yaml"), "--eval"])
    arguments = chat.parse_args()
    files = client_rules.model_files(converted)
    assert (arguments.context_length, arguments.batch_size) == (CONTEXT_LENGTH, BATCH_SIZE)
    assert arguments.split_lm_head == 16
    directory = Path(arguments.d)
    found = [chat.parse_model_path(directory / name) for name in (arguments.embed, arguments.lmhead, arguments.ffn)]
    assert [Path(path) for path in found] == [files.embeddings, files.lm_head, files.chunks[0]]
    assert chat.parse_ffn_filename(found[2]) == (1, len(files.chunks))
    assert [Path(path) for path in chat.find_all_chunks(found[2])] == files.chunks


def chunk_signature(tokens: int, output_tokens: int) -> dict:
    return {
        "input": {
            "hidden_states": (FP16, [1, tokens, HIDDEN_SIZE]),
            "position_ids": (INT32, [tokens]),
            "causal_mask": (FP16, [1, 1, tokens, CONTEXT_LENGTH]),
            "current_pos": (INT32, [1]),
        },
        "output": {"output_hidden_states": (FP16, [1, output_tokens, HIDDEN_SIZE])},
        "state": STATE,
    }


def signatures(path: Path) -> dict[str, dict]:
    """Names, types and shapes of what goes in and out, by function."""
    return {
        name: {
            "input": {f.name: array(f.type.multiArrayType) for f in function.input},
            "output": {f.name: array(f.type.multiArrayType) for f in function.output},
            "state": {f.name: array(f.type.stateType.arrayType) for f in function.state},
        }
        for name, function in PackageFile(path).described_functions().items()
    }


def array(feature) -> tuple[int, list[int]]:
    return feature.dataType, list(feature.shape)


WINDOW, GEMMA_LAYERS = 32, 4


@pytest.fixture(params=[["--chunks", "1"], ["--chunks", "4"]], ids=" ".join)
def gemma3(anec, presets, request) -> Path:
    """A model of which every second layer looks back over a window, in a context of four windows."""
    options = ("--context-length", 4 * WINDOW, "--batch-size", 16, "--calibration", "none")
    return anec.convert(presets("windows-gemma3"), "--layout", "anemll", *options, *request.param)


def test_gemma3_has_four_functions_and_two_states_in_every_chunk(gemma3):
    files = client_rules.model_files(gemma3).packages()
    head_dim, heads = 32, 2
    local, whole = (FP16, [GEMMA_LAYERS, heads, WINDOW, head_dim]), (FP16, [GEMMA_LAYERS, heads, 4 * WINDOW, head_dim])
    for index, chunk in enumerate(files.chunks):
        functions = signatures(chunk)
        assert PackageFile(chunk).spec.description.defaultFunctionName == "infer"
        assert sorted(functions) == ["infer", "infer_rotate", "prefill", "prefill_rotate"]
        for name, function in functions.items():
            assert function["state"] == {"model_model_kv_cache_local": local, "model_model_kv_cache_global": whole}
            tokens = 16 if name.startswith("prefill") else 1
            assert function["input"] == {
                "hidden_states": (FP16, [1, tokens, 64]),
                "position_ids": (INT32, [tokens]),
                "causal_mask": (FP16, [1, 1, tokens, 4 * WINDOW]),
                "current_pos": (INT32, [1]),
            }
            last = index == len(files.chunks) - 1 and name.startswith("prefill")
            assert function["output"] == {"output_hidden_states": (FP16, [1, 1 if last else tokens, 64])}


def test_gemma3_says_where_its_window_is_full(gemma3):
    found = client_rules.parameters(gemma3)
    assert found["model_prefix"] == "gemma3"
    assert found["split_lm_head"] == 16
    assert found["sliding_window"] == WINDOW
    assert found["prefill_dynamic_slice"] is True
    assert "single_cache" not in found
    text = (gemma3 / "meta.yaml").read_text()
    order = [text.index(f"{key}:") for key in ("lm_head_chunk_sizes", "sliding_window", "prefill_dynamic_slice")]
    assert order == sorted(order)
    names = [path.name for path in client_rules.model_files(gemma3).chunks]
    assert all(name.startswith("gemma3_FFN_PF_chunk_") for name in names)


def test_gemma3_with_a_single_cache_has_the_functions_and_the_state_of_others(anec, presets):
    options = ("--context-length", 4 * WINDOW, "--batch-size", 16, "--calibration", "none", "--single-cache")
    output = anec.convert(presets("windows-gemma3"), "--layout", "anemll", *options)
    found = client_rules.parameters(output)
    assert found["single_cache"] is True
    assert "sliding_window" not in found
    (chunk,) = client_rules.model_files(output).packages().chunks
    functions = signatures(chunk)
    assert list(functions) == ["infer", "prefill"]
    state = {"model_model_kv_cache_0": (FP16, [2 * GEMMA_LAYERS, 2, 4 * WINDOW, 32])}
    assert all(function["state"] == state for function in functions.values())


def test_a_monolithic_gemma3_lists_its_functions_in_the_order_of_anemll(anec, presets):
    options = ("--context-length", 4 * WINDOW, "--batch-size", 16, "--calibration", "none")
    output = anec.convert(presets("windows-gemma3"), "--layout", "anemll-monolithic", *options)
    found = yaml.safe_load((output / "meta.yaml").read_text())["model_info"]["parameters"]
    assert found["functions"] == ["infer", "infer_rotate", "prefill", "prefill_rotate"]
    assert found["sliding_window"] == WINDOW


@pytest.fixture(scope="module")
def split(anec, presets):
    options = ("--context-length", 4 * WINDOW, "--batch-size", 16, "--calibration", "none", "--chunks", 2)
    return anec.convert(presets("windows-gemma3"), "--layout", "anemll", "--split-rotate", *options)


def test_split_chunks_are_those_that_chat_py_finds(split):
    """`ffn` takes a token and `pf` a batch, whatever the position; each name finds its own chunks and no others."""
    found = client_rules.parameters(split)
    assert found["split_rotate"] is True
    assert found["sliding_window"] == WINDOW
    for key, functions in (("ffn", ["infer", "infer_rotate"]), ("pf", ["prefill", "prefill_rotate"])):
        chunks = client_rules.all_chunks(client_rules.existing(split, found[key]), 2)
        for chunk in chunks:
            package = chunk.with_suffix(".mlpackage")
            assert sorted(signatures(package)) == functions
            assert PackageFile(package).spec.description.defaultFunctionName == functions[0]
    text = (split / "meta.yaml").read_text()
    order = [text.index(f"    {key}:") for key in ("ffn", "pf", "split_lm_head", "split_rotate", "sliding_window")]
    assert order == sorted(order)


def test_split_chunks_share_their_weights(split):
    for number in (1, 2):
        files = [split / f"gemma3_{kind}_chunk_{number:02}of02.mlpackage" for kind in ("FFN", "PF")]
        assert len({next(file.rglob("weight.bin")).stat().st_ino for file in files}) == 1


def test_split_chunks_verify(anec, presets, split, tmp_path):
    (tmp_path / "tokens.json").write_text(json.dumps([(7 * at + 3) % 250 for at in range(100)]))
    options = ("--tokens", tmp_path / "tokens.json", "--report", tmp_path, "--quiet", "--json")
    outcome = anec.run("verify", split, "--against", presets("windows-gemma3"), *options)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = json.loads(outcome.stdout)
    assert report["decode"]["kl_mean"] <= 5e-6
    assert report["prefill"]["agreement"]["kl_mean"] <= 5e-6


def test_split_chunks_need_a_window_to_shift(anec, presets, tmp_path):
    command = ("convert", presets("windows-gemma3"), "-o", tmp_path / "out", "--split-rotate", "--quiet")
    assert "`anemll` takes the option" in anec.run(*command).stderr
    outcome = anec.run(*command, "--layout", "anemll", "--single-cache")
    assert outcome.code == 1
    assert "shift their window" in outcome.stderr


def own_client(monkeypatch, directory: Path, key: str):
    """ANEMLL's chat client and what it makes of a directory, where a checkout is at hand that knows a key."""
    repository = os.environ.get("ANEMLL_REPO")
    if not repository:
        pytest.skip("ANEMLL_REPO does not name a checkout of ANEMLL")
    if key not in Path(repository, "tests", "chat.py").read_text():
        pytest.skip(f"ANEMLL_REPO names a checkout whose client does not know {key}, which came with 0.3.5")
    monkeypatch.syspath_prepend(str(Path(repository, "tests")))
    monkeypatch.delitem(sys.modules, "chat", raising=False)
    chat = importlib.import_module("chat")
    monkeypatch.setattr(sys, "argv", ["chat.py", "--meta", str(directory / "meta.yaml"), "--eval"])
    return chat, chat.parse_args()


def test_anemlls_own_client_finds_split_chunks(monkeypatch, split):
    chat, arguments = own_client(monkeypatch, split, "split_rotate")
    assert arguments.split_rotate is True
    assert arguments.sliding_window == WINDOW
    for name in (arguments.ffn, arguments.pf):
        chunks = chat.find_all_chunks(chat.parse_model_path(Path(arguments.d) / name))
        assert [Path(path) for path in chunks] == client_rules.all_chunks(client_rules.existing(split, name), 2)
    assert chat.parse_ffn_filename(arguments.ffn) == (1, 2)


def test_anemlls_own_client_reads_a_monolithic_directory(anec, presets, monkeypatch):
    options = ("--context-length", 4 * WINDOW, "--batch-size", 16, "--calibration", "none")
    directory = anec.convert(presets("windows-gemma3"), "--layout", "anemll-monolithic", *options)
    chat, arguments = own_client(monkeypatch, directory, "monolithic_model")
    assert arguments.is_monolithic is True
    assert (arguments.context_length, arguments.batch_size) == (4 * WINDOW, 16)
    assert arguments.sliding_window == WINDOW
    model = chat.parse_model_path(Path(arguments.d) / arguments.monolithic_model)
    assert Path(model).name == "gemma3_monolithic_full.mlmodelc"
