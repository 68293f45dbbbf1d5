"""What the branch `sequoia` of coreml-llm-cli does with a directory: a function for the prompt, then one for a token.

A transcription of the rules of its loader and its store of arrays (at a12f09e) into Python, written from what they do
and not from `anec`. Interfaces are read from `metadata.json` of the compiled models, and programs are evaluated by
`mil_eval` from the packages beside them. Where the program would stop, this raises.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from llm_cli import Interface, WouldStopError, find_pipeline, refuse
from mil_eval import Package

PROMPT, GENERATION = "input_512_context_512", "input_1_context_512"
BESIDE = ("generation-cache-processor", "logit-processor")
#: Lengths of logits that the program gives to the logit processor as they are.
AS_THEY_ARE = (64, 511, 1, 512)


class Store:
    """Arrays by name: those with `cache` in the name are of their chunk, all others of the whole pipeline.

    It is made from the prompt's functions, and changed to those of a token once the prompt is done.
    """

    def __init__(self, chunks: list[Interface]) -> None:
        self._shared: dict[str, np.ndarray] = {}
        self._of_chunks: list[dict[str, np.ndarray]] = []
        self._backing = {"new_x": "x"}
        for chunk in chunks:
            own: dict[str, np.ndarray] = {}
            for feature in (*chunk.inputs, *chunk.outputs):
                if feature.is_half and feature.name not in self._backing:
                    place = own if "cache" in feature.name else self._shared
                    place.setdefault(feature.name, np.zeros(feature.shape, np.float16))
            self._of_chunks.append(own)

    def array(self, index: int, name: str) -> np.ndarray | None:
        return self._shared.get(name, self._of_chunks[index].get(name))

    def to_generation(self, chunks: list[Interface]) -> None:
        """What the prompt gave becomes the caches; arrays of other shapes are made anew."""
        for index, chunk in enumerate(chunks):
            own = self._of_chunks[index]
            for feature in chunk.inputs:
                if "cache" not in feature.name:
                    continue
                made = f"new_{feature.name}"
                refuse(chunk.output(made) is None, f"{chunk.stem}: takes {feature.name} and gives no {made}")
                refuse(made not in own, f"{chunk.stem}: the prompt gives no {made}")
                refuse(
                    own[made].shape != feature.shape,
                    f"{chunk.stem}: {feature.name} is {feature.shape}, the prompt gives {own[made].shape}",
                )
                # One array for what goes in and what comes out.
                own[feature.name] = own[made]
            for feature in (*chunk.inputs, *chunk.outputs):
                if not feature.is_half or feature.name in self._backing or "cache" in feature.name:
                    continue
                known = self.array(index, feature.name)
                refuse(known is None, f"{chunk.stem}: the prompt has no {feature.name}")
                if known.shape != feature.shape:
                    self._shared[feature.name] = np.zeros(feature.shape, np.float16)
        for layer in range(3):
            self._backing |= {f"new_{word}_cache_{layer}": f"{word}_cache_{layer}" for word in "kv"}

    def given(self, index: int, chunk: Interface) -> dict[str, torch.Tensor]:
        """The arrays of a model's inputs."""
        found = {}
        for feature in chunk.inputs:
            array = self.array(index, feature.name)
            if array is None:
                continue
            refuse(array.shape != feature.shape, f"{chunk.stem}: {feature.name} is {feature.shape}, not {array.shape}")
            found[feature.name] = torch.from_numpy(array.copy()).float()
        return found

    def write(self, index: int, chunk: Interface, results: dict[str, torch.Tensor]) -> None:
        """Results go where the program wants them, or it stops."""
        for feature in chunk.outputs:
            refuse(not feature.is_half, f"{chunk.stem}: {feature.name} is {feature.dtype}, no pixel buffer")
            array = self.array(index, self._backing.get(feature.name, feature.name))
            refuse(array is None, f"{chunk.stem}: {feature.name} has no array")
            refuse(array.shape != feature.shape, f"{chunk.stem}: {feature.name} is {feature.shape}, not {array.shape}")
            array[...] = results[feature.name].half().numpy()


class Sequoia:
    """The program with a directory, without its tokenizer."""

    def __init__(self, directory: Path) -> None:
        paths = find_pipeline(directory, BESIDE, cuts_at_dots=True)
        self._interfaces = {name: [Interface.read(path, name) for path in paths] for name in (PROMPT, GENERATION)}
        self._takes = Interface.read(directory / "logit-processor.mlmodelc")
        self._check_ends()
        for chunk in self._interfaces[GENERATION]:
            refuse(not (chunk.input("x") or chunk.input("input_ids")), f"{chunk.stem}: takes neither x nor input_ids")
        packages = [Package(path.with_suffix(".mlpackage")).functions for path in paths]
        self._functions = {name: [package[name] for package in packages] for name in (PROMPT, GENERATION)}
        self._processor = Package(directory / "logit-processor.mlpackage").functions["main"]

    def _check_ends(self) -> None:
        first, second, *_, last = self._interfaces[PROMPT]
        refuse(first.input("input_ids") is None, f"{first.stem}: the first chunk takes no input_ids")
        refuse(last.output("logits") is None, f"{last.stem}: the last chunk gives no logits")
        refuse(
            not (second.input("k_cache_0") or second.input("x")),
            f"{second.stem}: the second chunk takes no keys and no x",
        )
        self._longest = first.input("input_ids").shape[-1]
        taken, argmax = self._takes.input("logits"), self._takes.output("argmax")
        refuse(taken is None or argmax is None, "logit-processor: takes no logits or gives no argmax")
        gives = last.output("logits").shape
        refuse(taken.shape != gives, f"logit-processor: takes {taken.shape}, the last chunk gives {gives}")

    def generate(self, prompt: list[int], count: int) -> tuple[list[int], torch.Tensor]:
        """The next tokens, and the logits that each was picked from, `[count, vocab_size]`."""
        refuse(len(prompt) > self._longest, f"{len(prompt)} tokens, a prompt has {self._longest} at most")
        store, tokens, rows = Store(self._interfaces[PROMPT]), list(prompt), []
        for at in range(count):
            logits = self._pass(store, PROMPT if at == 0 else GENERATION, tokens)
            rows.append(logits.reshape(-1))
            tokens.append(self._best(logits))
            if at == 0:
                store.to_generation(self._interfaces[GENERATION])
        return tokens[len(prompt) :], torch.stack(rows)

    def _pass(self, store: Store, name: str, tokens: list[int]) -> torch.Tensor:
        logits = None
        for index, (chunk, function) in enumerate(zip(self._interfaces[name], self._functions[name], strict=True)):
            given = store.given(index, chunk)
            ids = chunk.input("input_ids")
            if ids is not None:
                length = ids.shape[-1]
                padded = [0] * max(0, length - len(tokens)) + tokens[-length:]
                given["input_ids"] = torch.tensor([padded], dtype=torch.int32)
            if chunk.input("full_sequence_length") is not None:
                given["full_sequence_length"] = torch.tensor([len(tokens)], dtype=torch.int32)
            missing = {feature.name for feature in chunk.inputs} - given.keys()
            refuse(bool(missing), f"{chunk.stem}: nobody gives {sorted(missing)}")
            store.write(index, chunk, function(given))
            if chunk.output("logits") is not None:
                logits = torch.from_numpy(store.array(index, "logits").copy()).float()
        refuse(logits is None, "no chunk gives logits")
        return logits

    def _best(self, logits: torch.Tensor) -> int:
        if logits.shape[1] not in AS_THEY_ARE:
            raise WouldStopError(f"logits of {logits.shape[1]} tokens are cut to 64 first, which is not transcribed")
        return int(self._processor({"logits": logits})["argmax"][0, -1])
