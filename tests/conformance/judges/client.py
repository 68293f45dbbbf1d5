"""Drives a converted directory the way clients on a device do.

Token ids go through the embeddings, then through every chunk with one shared state, then through the head. Full batches
of a prompt go through `prefill`; what remains, and every new token, goes through `infer`.

Where the meta file names a window, functions that shift it take over from the position on at which it is full.

Chunks with one function take every token through it: its rows hold the tokens, then padding, which leaves in the state
only what the mask hides. At the end of the context the rows end there, and start with tokens that are known.
"""

from __future__ import annotations

from pathlib import Path

import torch

from client_rules import model_files
from mil_eval import Package, State, WeightHook


class ClientModel:
    """A converted model and its state."""

    def __init__(self, directory: str | Path, numerics: str = "f32", weight_hook: WeightHook | None = None) -> None:
        self.files = model_files(directory).packages()
        self.context_length = self.files.context_length
        self.batch_size = self.files.batch_size
        self._packages = [
            Package(path, numerics, weight_hook)
            for path in (self.files.embeddings, *self.files.chunks, self.files.lm_head)
        ]
        self._embeddings = self._packages[0].functions["main"]
        self._chunks = [package.functions for package in self._packages[1:-1]]
        self._head = self._packages[-1].functions["main"]
        self._known: list[int] = []
        self.state: State = {}
        self.reset()

    def reset(self) -> None:
        """Forgets everything. One state serves all chunks and functions, made by the first chunk's `prefill`."""
        function = "main" if self.files.query_length else "prefill"
        self.state = self._chunks[0][function].new_state()
        self._known = []

    @property
    def overflows(self) -> int:
        return sum(package.overflows for package in self._packages)

    def weights(self) -> dict[str, torch.Tensor]:
        """The convolutions' weights of all packages, by name."""
        found = {}
        for functions in (*self._chunks, {"main": self._head}):
            for function in functions.values():
                found |= function.weights
        return found

    def prefill(self, token_ids: list[int], position: int) -> None:
        """Takes one full batch into the state."""
        if len(token_ids) != self.batch_size:
            raise ValueError(f"{len(token_ids)} tokens, a batch has {self.batch_size}")
        self._decode("prefill", token_ids, position)

    def infer(self, token_id: int, position: int) -> dict[str, torch.Tensor]:
        """Takes one token and gives the head's outputs, its only row where it has several."""
        if self.files.query_length:
            row, outputs = self._query([token_id], position)
            return {name: value[:, row] if value.dim() == 3 else value[row] for name, value in outputs.items()}
        hidden_states = self._decode("infer", [token_id], position)
        return self._head({"hidden_states": hidden_states})

    def logits(self, token_id: int, position: int) -> torch.Tensor:
        """Takes one token and gives the logits of the next, the parts of the head joined in order."""
        return self._joined(self.infer(token_id, position))

    def _joined(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        parts = [outputs[f"logits{number}"] for number in range(1, self.files.split_lm_head + 1)]
        if len(parts) != len(outputs):
            raise ValueError(f"the head has {len(outputs)} outputs, split_lm_head is {len(parts)}")
        return torch.cat([part.reshape(-1) for part in parts])

    def best_token(self, token_id: int, position: int) -> int:
        """Takes one token and gives the next by the best of the parts, as a head with `--argmax` is read."""
        outputs = self.infer(token_id, position)
        best = int(outputs["argmax_val"].argmax())
        return sum(self.files.lm_head_chunk_sizes[:best]) + int(outputs["argmax_idx"][best])

    def feed(self, token_ids: list[int]) -> list[torch.Tensor]:
        """Feeds a prompt from the start as a client does; gives the logits of the tokens that went through `infer`."""
        self.reset()
        if self.files.query_length:
            return self._feed_single(token_ids, self.files.query_length)
        batched = (len(token_ids) - 1) // self.batch_size * self.batch_size
        for start in range(0, batched, self.batch_size):
            self.prefill(token_ids[start : start + self.batch_size], start)
        return [self.logits(token_ids[position], position) for position in range(batched, len(token_ids))]

    def _feed_single(self, token_ids: list[int], rows: int) -> list[torch.Tensor]:
        """Feeds a prompt in calls of `rows` tokens; gives the logits of every token of the last call."""
        found: list[torch.Tensor] = []
        for start in range(0, len(token_ids), rows):
            tokens = token_ids[start : start + rows]
            first, outputs = self._query(tokens, start)
            each = range(first, first + len(tokens))
            found = [self._joined({name: value[:, row] for name, value in outputs.items()}) for row in each]
        return found

    def _query(self, token_ids: list[int], position: int) -> tuple[int, dict[str, torch.Tensor]]:
        """Calls the single function; gives the row of the first token, and the head's outputs."""
        rows = self.files.query_length
        start = min(position, self.files.max_positions - rows)
        self._known[position:] = token_ids
        tokens = self._known[start : start + rows]
        hidden_states = self._decode("main", tokens + [0] * (rows - len(tokens)), start)
        return position - start, self._head({"hidden_states": hidden_states})

    def _decode(self, function: str, token_ids: list[int], position: int) -> torch.Tensor:
        count = len(token_ids)
        # As `chat.py` picks functions: by the position of the first token.
        if self.files.sliding_window is not None and position >= self.files.sliding_window:
            function += "_rotate"
        ids = torch.tensor([token_ids], dtype=torch.int32)
        hidden_states = self._embeddings({"input_ids": ids})["hidden_states"]
        positions = torch.arange(position, position + count, dtype=torch.int32)
        masked = torch.arange(self.context_length)[None] > positions[:, None]
        causal_mask = torch.zeros(1, 1, count, self.context_length).masked_fill(masked, float("-inf"))
        for functions in self._chunks:
            inputs = {
                "hidden_states": hidden_states,
                "position_ids": positions,
                "causal_mask": causal_mask,
                "current_pos": positions[:1],
            }
            hidden_states = functions[function](inputs, self.state)["output_hidden_states"]
        return hidden_states
