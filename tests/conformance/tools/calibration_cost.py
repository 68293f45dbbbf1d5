"""What calibration costs for models of published shapes: processor time and memory of a layer, and of the whole model.

    python calibration_cost.py ANEC TOKENIZER_DIRECTORY [--shape NAME]... [--text FILE] [-- OPTION...]

Converts checkpoints with random weights of a few layers of a shape and of two more, with the tokenizer of another
checkpoint. Half of the difference is a layer, and the rest, head included, is there once; the model is the sum.
Processor time of all threads, so that other work on the machine counts little. Without options it is `--lut 4`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import synthetic

#: Layers of the smaller checkpoint that is made of each shape: so many that it takes as few tokens as the whole model,
#: which has more than half a billion parameters.
FEW = {"llama-3.2-1b": 4, "llama-3.1-8b": 1}
#: How many more the other has.
MORE = 2
#: Files of a checkpoint that come from the one with the tokenizer.
COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

LLAMA_8B = synthetic.PRESETS["llama-3.1-8b"]
SHAPES = {
    "llama-3.2-1b": LLAMA_8B
    | {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": LLAMA_8B,
}


def measured(anec: Path, config: dict, layers: int, tokenizer: Path, scratch: Path, options: list[str]) -> tuple:
    """Seconds of the processor, and the largest resident size in bytes."""
    checkpoint, output = scratch / "checkpoint", scratch / "converted"
    synthetic.write(checkpoint, config | {"num_hidden_layers": layers})
    for name in COMPANIONS:
        if (tokenizer / name).is_file():
            shutil.copy(tokenizer / name, checkpoint)
    command = [anec, "convert", checkpoint, "-o", output, "--quiet", "--no-check", "--emit", "mlpackage", *options]
    process = subprocess.Popen(list(map(str, command)))
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"anec failed: {' '.join(map(str, command))}")
    shutil.rmtree(checkpoint)
    shutil.rmtree(output)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main() -> None:
    own, separator, options = sys.argv[1:], "--", ["--lut", "4"]
    if separator in own:
        own, options = own[: own.index(separator)], own[own.index(separator) + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("anec", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--shape", action="append", choices=sorted(SHAPES), help="repeat for several")
    parser.add_argument("--text", type=Path, help="what palettes are calibrated with, in place of what ships")
    parser.add_argument("--scratch", type=Path, help="directory to write below")
    arguments = parser.parse_args(own)
    if arguments.text:
        options = [*options, "--calibration", str(arguments.text.resolve())]
    for shape in arguments.shape or SHAPES:
        config = SHAPES[shape]
        found = []
        few_layers = FEW[shape]
        for layers in (few_layers, few_layers + MORE):
            with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
                anec = arguments.anec.resolve()
                found.append(measured(anec, config, layers, arguments.tokenizer, Path(scratch), options))
        (few, few_bytes), (more, more_bytes) = found
        layer = (more - few) / MORE
        whole = few + (config["num_hidden_layers"] - few_layers) * layer
        print(
            f"{shape}: processor {layer:.0f} s a layer, {few - few_layers * layer:.0f} s for the rest, "
            f"{whole / 60:.0f} min for {config['num_hidden_layers']} layers; "
            f"memory {max(few_bytes, more_bytes) / 2**30:.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
