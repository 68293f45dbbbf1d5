"""The commands of the documents, and a place to run them in: stand-ins for the models and files that they name."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from PIL import Image

import gguf_files
from op_programs import finish, write

#: Languages of blocks that are for a shell.
SHELLS = ("console", "sh", "shell", "bash")
#: What follows a command in a line.
ENDS = ("|", "&&", ";")


def commands(text: str) -> list[list[str]]:
    """The words of every command of `anec` in a document; a comment is none, `> FILE` is."""
    found = []
    in_block = False
    for line in text.splitlines():
        if line.strip().startswith("```"):
            in_block = not in_block and line.strip()[3:] in SHELLS
        elif in_block and line.strip().startswith("anec "):
            words = shlex.split(line, comments=True)
            ends = [index for index, word in enumerate(words) if word in ENDS]
            found.append(words[1 : ends[0] if ends else None])
    return found


def checkpoints(names: list[str], model: Path, directory: Path) -> None:
    """A small trained model under each name, with as many positions as the documents ask for."""
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 8192}
    for name in names:
        shutil.copytree(model, directory / name)
        (directory / name / "config.json").write_text(json.dumps(config))


def network(path: Path, factor: float = 2.0) -> None:
    """A function of `x`."""

    def body(given: dict) -> list:
        return [finish(mb.mul(x=given["x"], y=np.float32(factor)), "y", "ios17")]

    write({"x": mb.placeholder(shape=(1, 4), dtype=types.fp32)}, body, "ios17", path)


def classifier(path: Path) -> None:
    """Calls an image by its darkest channel."""

    def body(given: dict) -> list:
        channels = mb.reduce_mean(x=given["image"], axes=[2, 3], keep_dims=False)
        return [finish(mb.softmax(x=mb.mul(x=channels, y=np.float32(-0.01)), axis=1), "scores", "ios16")]

    specs = {"image": mb.placeholder(shape=(1, 3, 8, 8), dtype=types.fp32)}
    labels = ct.ClassifierConfig(["red", "green", "blue"])
    write(specs, body, "ios16", path, inputs=[ct.ImageType("image", shape=(1, 3, 8, 8))], classifier_config=labels)


def decoder(path: Path) -> None:
    """A function `step` of `token`."""

    def body(given: dict) -> list:
        return [finish(mb.add(x=given["token"], y=np.int32(1)), "next", "ios18")]

    part = path.parent / "part.mlpackage"
    write({"token": mb.placeholder(shape=(1,), dtype=types.int32)}, body, "ios18", part)
    description = ct.utils.MultiFunctionDescriptor()
    description.add_function(str(part), "main", "step")
    description.default_function_name = "step"
    ct.utils.save_multifunction(description, str(path))


def furnish(anec, model: Path, directory: Path) -> None:
    """What the documents name and do not make, in `directory`, which is a checkpoint itself."""
    names = ["Qwen2.5-0.5B", "Llama-3.2-1B", "Llama-3.3-70B", "Qwen3-0.6B", "Qwen3-4B"]
    checkpoints(names, model, directory)
    shutil.copytree(directory / names[0], directory, dirs_exist_ok=True)
    made, _ = gguf_files.write(directory / "gguf", "qwen3", "Q4_K", model / "tokenizer.json")
    made.rename(directory / "model-Q4_K_M.gguf")
    (directory / "questions.txt").write_text("Once upon a time\n")
    (directory / "book.txt").write_text("Once upon a time there was a small fox who lived by the river. " * 8)
    network(directory / "Model.mlpackage")
    network(directory / "Quantized.mlpackage", 2.0001)
    classifier(directory / "Classifier.mlpackage")
    assert anec.run("compile", directory / "Classifier.mlpackage", "--unproven").code == 0
    decoder(directory / "Decoder.mlpackage")
    np.save(directory / "x.npy", np.ones((1, 4), np.float32))
    for name, values in {"x": [[1, 2, 3, 4]], "1": [1], "2": [2]}.items():
        (directory / f"{name}.json").write_text(json.dumps(values))
    Image.new("RGB", (8, 8), (20, 200, 200)).save(directory / "cat.jpg")
