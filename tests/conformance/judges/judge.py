"""Compares a converted directory with transformers' own forward pass of the checkpoint in fp32.

    python judge.py CONVERTED CHECKPOINT [--tokens N] [--numerics f32|fp16]

Prints a JSON report: Kullback-Leibler divergence of the next-token distributions, how often the best token is the same,
perplexity of both, and how far the KV states are from transformers' cache and from each other.
"""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from client import ClientModel


@dataclass(frozen=True)
class Agreement:
    """How far two sequences of logits are apart.

    `top1` is the share of positions whose best token is the same; `flip_gap` is how much worse, in logits of the
    reference, the best tokens are where it is not.
    """

    mean_kl: float
    max_kl: float
    top1: float
    flip_gap: float
    max_error: float

    @classmethod
    def of(cls, reference: torch.Tensor, found: torch.Tensor) -> Agreement:
        expected, actual = (logits.double().log_softmax(-1) for logits in (reference, found))
        best = reference.argmax(-1, keepdim=True), found.argmax(-1, keepdim=True)
        gaps = reference.gather(-1, best[0]) - reference.gather(-1, best[1])
        divergence = (expected.exp() * (expected - actual)).sum(-1)
        return cls(
            mean_kl=float(divergence.mean()),
            max_kl=float(divergence.max()),
            top1=float((best[0] == best[1]).double().mean()),
            flip_gap=float(gaps.max()),
            max_error=float((reference - found).abs().max()),
        )


@dataclass(frozen=True)
class Verdict:
    """The report of one sequence.

    `state_error` compares the state after decoding with transformers' cache, `prefill_state_error` the state after
    prefill with the state after decoding: the largest difference, relative to the value where that is above 1.
    """

    decode: Agreement
    after_prefill: Agreement
    perplexity: float
    reference_perplexity: float
    state_error: float
    prefill_state_error: float
    overflows: int


@dataclass(frozen=True)
class Reference:
    """What transformers computes: logits `[tokens, vocab_size]`, cache `[2 * layers, heads, tokens, head_dim]`."""

    logits: torch.Tensor
    cache: torch.Tensor


def reference(checkpoint: str | Path, token_ids: list[int], **overrides) -> Reference:
    """The forward pass over a whole sequence; `overrides` change the config."""
    model = reference_model(str(checkpoint), json.dumps(overrides))
    output = model(torch.tensor([token_ids]), use_cache=False)
    captured = cache_of(model, token_ids)
    return Reference(output.logits[0].float(), captured)


@lru_cache(maxsize=4)
def reference_model(checkpoint: str, overrides: str):
    settings = json.loads(Path(checkpoint, "config.json").read_text()) | json.loads(overrides)
    model, report = AutoModelForCausalLM.from_pretrained(
        checkpoint,
        config=AutoConfig.for_model(**settings),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    if not json.loads(overrides) and (report["missing_keys"] or report["unexpected_keys"]):
        raise ValueError(f"{checkpoint}: {report}")
    return model.eval()


def cache_of(model, token_ids: list[int]) -> torch.Tensor:
    """Keys then values of every layer; sliding layers keep only what they still see, so the rest is NaN."""
    layers = model(torch.tensor([token_ids]), use_cache=True).past_key_values.layers
    rows = []
    for part in ("keys", "values"):
        for layer in layers:
            kept = getattr(layer, part)[0]
            lost = torch.full((kept.shape[0], len(token_ids) - kept.shape[1], kept.shape[2]), float("nan"))
            rows.append(torch.cat([lost, kept], dim=1))
    return torch.stack(rows)


def state_of(model: ClientModel) -> torch.Tensor:
    """The one state, `[2 * layers, heads, context_length, head_dim]`, or with zeros behind the channels of a head."""
    (state,) = model.state.values()
    return state


def judge(model: ClientModel, expected: Reference, token_ids: list[int]) -> Verdict:
    """Feeds a sequence token by token, then as a client would, and compares both with the reference."""
    model.reset()
    decoded = torch.stack([model.logits(token, position) for position, token in enumerate(token_ids)])
    state = state_of(model)[:, :, : len(token_ids)]
    rest = torch.stack(model.feed(token_ids))
    batched_state = state_of(model)[:, :, : len(token_ids)]
    return Verdict(
        decode=Agreement.of(expected.logits, decoded),
        after_prefill=Agreement.of(expected.logits[-len(rest) :], rest),
        perplexity=perplexity(decoded, token_ids),
        reference_perplexity=perplexity(expected.logits, token_ids),
        state_error=largest_difference(state, with_zeros(expected.cache, state.shape[-1])),
        prefill_state_error=largest_difference(batched_state, state),
        overflows=model.overflows,
    )


def with_zeros(cache: torch.Tensor, channels: int) -> torch.Tensor:
    """A cache whose heads have so many channels."""
    return torch.nn.functional.pad(cache, (0, channels - cache.shape[-1]))


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).nan_to_num().max())


def perplexity(logits: torch.Tensor, token_ids: list[int]) -> float:
    targets = torch.tensor(token_ids[1:])
    return float(torch.nn.functional.cross_entropy(logits[:-1].double(), targets).exp())


def evaluation_tokens(checkpoint: str | Path, count: int) -> list[int]:
    """Held-out tokens where the checkpoint has them, else seeded random ones."""
    path = Path(checkpoint, "eval_tokens.json")
    if path.exists():
        found = json.loads(path.read_text())
        windows = found["windows"] if isinstance(found, dict) else found
        return list(windows[0])[:count]
    vocab_size = json.loads(Path(checkpoint, "config.json").read_text())["vocab_size"]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (count,), generator=generator).tolist()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("converted")
    parser.add_argument("checkpoint")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--numerics", choices=("f32", "fp16"), default="f32")
    arguments = parser.parse_args()
    token_ids = evaluation_tokens(arguments.checkpoint, arguments.tokens)
    model = ClientModel(arguments.converted, arguments.numerics)
    verdict = judge(model, reference(arguments.checkpoint, token_ids), token_ids)
    print(json.dumps(asdict(verdict), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
