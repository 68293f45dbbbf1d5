"""The model that coreml-llm-cli computes, in PyTorch: absolute positions, and a window that moves by blocks.

A token of block b attends to the tokens up to its own, from `64 * b - (context - 64)` on: the cache holds `context -
64` tokens before the block. transformers' own forward pass of the checkpoint with this mask is the whole of it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from judge import reference_model

BLOCK = 64


def attends(count: int, context: int, window: int | None) -> torch.Tensor:
    """Which token (row) sees which (column)."""
    query, key = torch.arange(count)[:, None], torch.arange(count)[None, :]
    visible = (key <= query) & (key >= query // BLOCK * BLOCK - (context - BLOCK))
    return visible if window is None else visible & (key > query - window)


def logits(checkpoint: Path, token_ids: list[int], context: int, overrides: str = "{}") -> torch.Tensor:
    """Logits after every token, `[tokens, vocab_size]`."""
    model = reference_model(str(checkpoint), overrides)
    config = model.config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    visible = attends(len(token_ids), context, window)
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        output = model(torch.tensor([token_ids]), attention_mask=mask, use_cache=False)
    return output.logits[0].float()
