"""The models that coreml-llm-cli and its successor compute, in PyTorch: absolute positions, and a window that moves.

A token of block b attends to the tokens up to its own, from `size * b - (context - size)` on, where a block has `size`
tokens: the cache holds `context - size` tokens before the block. A block has 64 tokens; the successor's has one.
transformers' own forward pass of the checkpoint with this mask is the whole of it.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from judge import reference_model

BLOCK = 64


def attends(count: int, context: int, window: int | None, size: int = BLOCK) -> torch.Tensor:
    """Which token (row) sees which (column)."""
    query, key = torch.arange(count)[:, None], torch.arange(count)[None, :]
    visible = (key <= query) & (key >= query // size * size - (context - size))
    return visible if window is None else visible & (key > query - window)


def logits(checkpoint: Path, token_ids: list[int], context: int, size: int = BLOCK) -> torch.Tensor:
    """Logits after every token, `[tokens, vocab_size]`, with weights that are rounded to half precision."""
    model = copy.deepcopy(reference_model(str(checkpoint), "{}"))
    for weight in model.parameters():
        weight.data = weight.data.half().float()
    config = model.config
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    visible = attends(len(token_ids), context, window, size)
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        output = model(torch.tensor([token_ids]), attention_mask=mask, use_cache=False)
    return output.logits[0].float()
