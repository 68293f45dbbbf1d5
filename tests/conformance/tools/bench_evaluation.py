"""Times the reference engine against PyTorch on the same checkpoint, threads and tokens, in one run.

    python tests/conformance/tools/bench_evaluation.py CHECKPOINT CONVERTED [--threads 2] [--decode 16] [--rounds 3]

PyTorch runs transformers' model in fp32, eagerly, with its KV cache; the engine runs `anec bench`. They take turns, so
that both meet the same other load, and both are warm: PyTorch after a round that does not count, the engine, whose
process is new in every round, in the median of three repetitions. The figures are medians over the rounds, and the
ratios are of those. More than 1 means that the engine is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time

import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache


def torch_round(model, batch: int, decode: int) -> tuple[float, float]:
    """Seconds for a prefill of `batch` tokens and for `decode` single tokens after it."""
    cache = DynamicCache()
    ids = torch.arange(batch).reshape(1, -1)
    with torch.no_grad():
        start = time.perf_counter()
        model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - start
        token = torch.zeros(1, 1, dtype=torch.long)
        start = time.perf_counter()
        for _ in range(decode):
            logits = model(token, past_key_values=cache, use_cache=True).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
        return prefill, time.perf_counter() - start


def engine_round(binary: str, converted: str, decode: int, threads: int) -> tuple[int, float, float]:
    """Batch size, and seconds for prefill and decoding."""
    command = [binary, "bench", converted, "--decode", str(decode), "--repeat", "3", "--json"]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found = json.loads(printed)
    prefill = found["prefill"]
    return int(prefill["tokens"]), prefill["seconds"]["median"], found["decode"]["seconds"]["median"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("converted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decode", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    binary = os.environ.get("ANEC_BIN", "target/release/anec")
    torch.set_num_threads(arguments.threads)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.checkpoint, torch_dtype=torch.float32, attn_implementation="eager"
    )
    model.eval()
    batch, *_ = engine_round(binary, arguments.converted, 1, arguments.threads)
    torch_round(model, batch, 1)
    figures = {"torch prefill": [], "torch decode": [], "engine prefill": [], "engine decode": []}
    for _ in range(arguments.rounds):
        prefill, decode = torch_round(model, batch, arguments.decode)
        figures["torch prefill"].append(batch / prefill)
        figures["torch decode"].append(arguments.decode / decode)
        _, prefill, decode = engine_round(binary, arguments.converted, arguments.decode, arguments.threads)
        figures["engine prefill"].append(batch / prefill)
        figures["engine decode"].append(arguments.decode / decode)
    median = {name: statistics.median(values) for name, values in figures.items()}
    for name, values in figures.items():
        spread = ", ".join(f"{value:.1f}" for value in sorted(values))
        print(f"{name:<15} {median[name]:8.1f} tokens/s  ({spread})")
    for kind in ("prefill", "decode"):
        print(f"{kind}: engine / torch = {median[f'engine {kind}'] / median[f'torch {kind}']:.2f}")


if __name__ == "__main__":
    main()
